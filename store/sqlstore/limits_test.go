package sqlstore

import (
	"database/sql/driver"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// What is stored of a limit is its key and its state in microseconds.
func TestLimitsAreRows(t *testing.T) {
	for _, d := range []Dialect{MySQL, SQLite} {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			store, _ := s.store(t, nil)
			is.NoErr(store.TakeLimits(t.Context(), now, recovery.Charges{other, free}))
			next := now.Add(time.Hour).UnixMicro()
			text := strings.ReplaceAll(statementsOf(d).setLimits, "{(?, ?, ?)}", "(?, ?, ?), (?, ?, ?)")
			minute := slot(now.Add(time.Hour))
			is.Equal(s.kept[len(s.kept)-1], sent(text, free.Key[:], next, minute, other.Key[:], next, minute)) // in the order of the keys
		})
	}
}

// A state that is read is counted on: the limit of an hour, twice, is used up half.
func TestStoredStatesCount(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			s.limits[free.Key] = now.Add(time.Hour)
			store, _ := s.store(t, nil)
			is.NoErr(store.TakeLimits(t.Context(), now, recovery.Charges{free}))
			s.limits[free.Key] = now.Add(2 * time.Hour)
			err := store.TakeLimits(t.Context(), now, recovery.Charges{free})
			is.Equal(err, &recovery.LimitError{Scope: recovery.ScopeGlobal, RetryAfter: time.Hour})
		})
	}
}

// A charge that is given back is one event less. What was not stored has nothing to give back.
func TestRefundLimits(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			s.limits[free.Key] = time.UnixMicro(0) // was made to be locked
			store, _ := s.store(t, nil)
			unknown := free
			unknown.Key = recovery.Digest{99}
			is.NoErr(store.RefundLimits(t.Context(), recovery.Charges{unknown, free, full}))
			var left rows
			left.add(full.Key[:], now.UnixMicro(), slot(now))
			want := sent(left.expand(statementsOf(d).setLimits), left.args(d)...)
			if d == PostgreSQL {
				none := jobRows(nil)
				want = sent(statementsOf(d).flush, slices.Concat(left.args(d), none.args(d))...)
			}
			is.Equal(s.kept[len(s.kept)-1], want)
		})
	}
}

// Whoever had a share goes after the others, in every dialect.
func TestRepeats(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			s.limits[free.Key] = now.Add(time.Hour)
			store, _ := s.store(t, nil)
			repeated := free
			repeated.Repeat, repeated.Share = 1, other.Key
			is.NoErr(store.TakeLimits(t.Context(), now, recovery.Charges{other, repeated}))
			s.limits[other.Key] = now.Add(time.Hour)
			err := store.TakeLimits(t.Context(), now, recovery.Charges{other, repeated})
			is.Equal(err, &recovery.LimitError{Scope: recovery.ScopeGlobal, RetryAfter: time.Hour})
		})
	}
}

func TestLimitsThatCannotBeRead(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			s.rows[readsLimits(d)] = []driver.Value{free.Key[:], int64(0), "one column more"}
			store, _ := s.store(t, nil)
			is.True(store.TakeLimits(t.Context(), now, recovery.Charges{free}) != nil)
			is.Equal(s.calls[len(s.calls)-1], "rollback")
		})
	}
}

// readsLimits is the beginning of the statement that locks limits and reads them.
func readsLimits(d Dialect) string {
	if d == PostgreSQL {
		return locksLimits
	}
	return findsLimits
}
