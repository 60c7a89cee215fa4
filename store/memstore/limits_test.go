package memstore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/memstore"
)

// A refused call stores nothing of the limits that it did not reach.
func TestRefusedLimitsAreNotStored(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	once := func(key byte) recovery.Charge {
		return recovery.Charge{Key: recovery.Digest{key}, Limit: recovery.Limit{Burst: 1, Every: time.Hour}}
	}
	is.NoErr(s.TakeLimits(t.Context(), now, []recovery.Charge{once(1)}))
	before := s.Dump()
	is.True(errors.Is(s.TakeLimits(t.Context(), now, []recovery.Charge{once(1), once(2)}), recovery.ErrLimited))
	is.Equal(s.Dump(), before)
}

// Refunding a charge stores nothing if it was never taken, or if its state was purged.
func TestRefundOfNothingIsNotStored(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	charges := recovery.Charges{{Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 1, Every: time.Hour}}}
	is.NoErr(s.RefundLimits(t.Context(), charges))
	is.Equal(s.Dump(), "")
}
