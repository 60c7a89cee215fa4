package memstore_test

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/memstore"
)

// A job that was claimed by its ID is in the queue once.
func TestClaimedByIDIsClaimedOnceLater(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	// A new job was never claimed, whatever it says.
	is.NoErr(s.Enqueue(t.Context(), recovery.Job{ID: "a", RequestedAt: now, Attempts: 7, LeaseID: "old"}, nil))
	claimed, err := s.Claim(t.Context(), recovery.Claim{LeaseID: "1", At: now, Until: now.Add(time.Minute), Max: 1, JobID: "a"})
	is.NoErr(err)
	is.Equal(len(claimed), 1)
	is.Equal(claimed[0].Attempts, 1)
	claimed, err = s.Claim(t.Context(), recovery.Claim{LeaseID: "2", Lane: recovery.LaneMail, At: now.Add(time.Minute), Until: now.Add(time.Hour), Max: 9})
	is.NoErr(err)
	is.Equal(len(claimed), 1)
	is.Equal(claimed[0].Attempts, 2)
}
