package memstore

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

var day = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// Removing and purging leave nothing behind, or a long-lived process would grow for ever.
func TestNothingIsLeft(t *testing.T) {
	is := is.New(t)
	s := New()
	for _, id := range []string{"1", "2"} {
		s.Put(recovery.Account{ID: id, Username: "user" + id, Email: "shared@example.com"}, "hash")
		s.Put(recovery.Account{ID: id, Tenant: "acme", Username: "name" + id, Email: "a@example.com"}, "hash")
	}
	charge := recovery.Charge{Key: recovery.Digest{3}, Limit: recovery.Limit{Burst: 2, Every: time.Minute}}
	is.NoErr(s.Enqueue(t.Context(), recovery.Job{ID: "j", RequestedAt: day}, recovery.Charges{charge}))
	claimed, err := s.Claim(t.Context(), recovery.Claim{LeaseID: "l", Lane: recovery.LaneMail, At: day, Until: day, Max: 9})
	is.NoErr(err)
	is.Equal(len(claimed), 1)
	var resets []recovery.Reset
	for i := range 4 {
		resets = append(resets, recovery.Reset{Digest: recovery.Digest{byte(i)}, AccountID: "1", ExpiresAt: day})
	}
	_, err = s.CreateResets(t.Context(), recovery.ResetBatch{JobID: "j", LeaseID: "l", At: day, Resets: resets})
	is.NoErr(err)
	is.NoErr(s.Finish(t.Context(), recovery.Outcome{JobID: "j", LeaseID: "l", Discard: []recovery.Digest{{1}, {2}}}))

	for _, id := range []string{"1", "2"} {
		s.Remove(id)
	}
	n, err := s.Purge(t.Context(), day.Add(time.Hour), day.Add(24*time.Hour), 100)
	is.NoErr(err)
	is.Equal(n, 3) // two resets, one limit
	is.Equal(len(s.accounts)+len(s.names)+len(s.emails), 0)
	is.Equal(len(s.resets)+len(s.tokens), 0)
	is.Equal(len(s.limits)+len(s.expiry.heap), 0)
	is.Equal(len(s.jobs)+len(s.queue.of(recovery.LaneMail).fresh)+len(s.queue.of(recovery.LaneMail).again), 0)
}

// When the clock goes back, Purge looks at a limit at the earlier instant, and only once.
func TestLimitOfAClockThatWentBack(t *testing.T) {
	is := is.New(t)
	s := New()
	take := func(at time.Time) {
		is.Helper()
		is.NoErr(s.TakeLimits(t.Context(), at, []recovery.Charge{{Limit: recovery.Limit{Burst: 5, Every: time.Minute}}}))
	}
	purge := func(before time.Time, want int) {
		is.Helper()
		n, err := s.Purge(t.Context(), before, before.Add(1000*time.Hour), 100)
		is.NoErr(err)
		is.Equal(n, want) // how many were deleted
	}
	ahead := day.Add(24 * time.Hour)
	take(ahead)
	purge(day, 0)
	take(day)
	purge(day.Add(time.Minute), 1) // not only a day later
	purge(ahead.Add(time.Hour), 0) // it is gone

	take(ahead)
	take(day)
	purge(ahead.Add(time.Hour), 1) // one limit, though two instants are noted

	take(ahead)
	take(day)
	for d := time.Minute; d <= 24*time.Hour+2*time.Minute; d += time.Minute {
		take(day.Add(d))
	}
	purge(ahead.Add(time.Minute), 0)
	is.Equal(len(s.expiry.heap), 1) // the instant of the clock that was ahead is forgotten
}
