package recovery_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A timeStore is a Store whose clock is what now says.
type timeStore struct {
	recovery.Store
	now   func(context.Context) (time.Time, error)
	asked atomic.Int32
	last  atomic.Pointer[time.Time] // RequestedAt of the last job
}

func (s *timeStore) Now(ctx context.Context) (time.Time, error) {
	s.asked.Add(1)
	return s.now(ctx)
}

func (s *timeStore) Enqueue(ctx context.Context, j recovery.Job, c recovery.Charges) error {
	s.last.Store(&j.RequestedAt)
	return s.Store.Enqueue(ctx, j, c)
}

// timing returns a Service and its Store, whose clock is right.
func (w *world) timing(o recovery.Options) (*recovery.Service, *timeStore) {
	s := &timeStore{Store: w.users, now: func(context.Context) (time.Time, error) { return time.Now(), nil }}
	return w.service(s, o), s
}

// apart makes a request, and returns how far its time is from the right one.
func (w *world) apart(svc *recovery.Service, s *timeStore) time.Duration {
	w.is.Helper()
	w.is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: client})))
	return time.Until(*s.last.Load())
}

func ahead(d time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(d) }
}

// The Store's clock is followed, unless the application's is meant to be another.
func TestClockFollowsTheStore(t *testing.T) {
	for off, want := range map[time.Duration]time.Duration{
		0:                         0,
		10 * time.Minute:          0,
		-10 * time.Minute:         0,
		time.Hour:                 0,
		-time.Hour:                0,
		time.Hour + time.Second:   time.Hour + time.Second,
		-48 * time.Hour:           -48 * time.Hour,
		500 * time.Millisecond:    500 * time.Millisecond, // counts as the same
		-400 * time.Millisecond:   -400 * time.Millisecond,
		501 * time.Millisecond:    0,
		24 * 365 * 20 * time.Hour: 24 * 365 * 20 * time.Hour,
	} {
		t.Run(off.String(), func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				svc, s := w.timing(recovery.Options{Now: ahead(off)})
				is.True((w.apart(svc, s) - want).Abs() <= time.Microsecond)
			})
		})
	}
}

// Without Options.Now the Store's clock is followed however wrong the process's is.
func TestClockOfTheProcessFollowsTheStore(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		s := &timeStore{Store: w.users, now: func(context.Context) (time.Time, error) { return time.Now().Add(48 * time.Hour), nil }}
		svc, err := recovery.New(s, w.mail, &recovery.Options{Logger: slog.New(slog.DiscardHandler), Limits: recovery.Limits{InsecureOff: true}})
		is.NoErr(err)
		is.Equal(w.apart(svc, s), 48*time.Hour)
	})
}

// A Store without a clock is not followed.
func TestStoreWithoutAClock(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		svc, s := w.timing(recovery.Options{Now: ahead(time.Minute)})
		s.now = func(context.Context) (time.Time, error) { return time.Time{}, nil }
		is.Equal(w.apart(svc, s), time.Minute)
		is.Equal(w.log.String(), "")
	})
}

// The clocks are compared once a minute, whatever is called.
func TestClocksAreComparedOnceAMinute(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		svc, s := w.timing(recovery.Options{Now: time.Now})
		all := []func(){
			func() { w.apart(svc, s) },
			func() { is.NoErr(errOf(svc.Deliver(w.ctx))) },
			func() { is.NoErr(errOf(svc.DeliverJob(w.ctx, "none"))) },
			func() {
				_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: "x", Password: goodPassword})
				is.Equal(err, recovery.ErrInvalidToken)
			},
		}
		for want := range int32(2 * len(all)) {
			for i := range all { // each comes first in turn
				all[(int(want)+i)%len(all)]()
				is.Equal(s.asked.Load(), want+1)
			}
			time.Sleep(time.Minute - time.Nanosecond)
			all[want%4]()
			is.Equal(s.asked.Load(), want+1)
			time.Sleep(time.Nanosecond)
		}
	})
}

// A clock that is set back is compared again at once.
func TestClockThatIsSetBack(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		var off time.Duration
		svc, s := w.timing(recovery.Options{Now: func() time.Time { return time.Now().Add(off) }})
		for n, step := range []time.Duration{0, -2 * time.Second, -30 * time.Minute, -31 * time.Minute} {
			off = step
			is.Equal(w.apart(svc, s), time.Duration(0))
			is.Equal(s.asked.Load(), int32(n+1))
			time.Sleep(time.Second)
		}
		off -= 100 * time.Millisecond // as clocks are that are kept in time
		w.apart(svc, s)
		is.Equal(s.asked.Load(), int32(4))
		time.Sleep(30 * time.Second)
		w.apart(svc, s)
		is.Equal(s.asked.Load(), int32(4))
		off -= 20 * time.Second // to after the last comparison
		w.apart(svc, s)
		is.Equal(s.asked.Load(), int32(5))
	})
}

// What the clocks differ by stays as it is until it is another by half a second, and is none once
// it is less than that.
func TestClockDoesNotJitter(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		var off time.Duration
		svc, s := w.timing(recovery.Options{Now: func() time.Time { return time.Now().Add(off) }})
		for _, step := range []struct{ off, want time.Duration }{
			{10 * time.Second, 0},
			{10300 * time.Millisecond, 300 * time.Millisecond},
			{10500 * time.Millisecond, 500 * time.Millisecond},
			{10600 * time.Millisecond, 0},
			{500 * time.Millisecond, 500 * time.Millisecond},
			{10 * time.Second, 0},
			{300 * time.Millisecond, 300 * time.Millisecond},
		} {
			off = step.off
			time.Sleep(2 * time.Minute)
			is.Equal(w.apart(svc, s), step.want)
		}
	})
}

// A comparison that took too long is none.
func TestSlowStoreClock(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{time.Second: 0, 1100 * time.Millisecond: time.Minute} {
		t.Run(took.String(), func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				svc, s := w.timing(recovery.Options{Now: ahead(time.Minute)})
				s.now = func(context.Context) (time.Time, error) { // in the middle of that
					time.Sleep(took / 2)
					defer time.Sleep(took / 2)
					return time.Now(), nil
				}
				is.Equal(w.apart(svc, s), want)
			})
		})
	}
}

// The log says once by how much the clocks differ.
func TestClockThatDiffersIsToldOnce(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		off := 900 * time.Millisecond
		svc, s := w.timing(recovery.Options{Now: func() time.Time { return time.Now().Add(off) }})
		w.apart(svc, s)
		is.Equal(w.log.String(), "") // too little to tell
		for _, off = range []time.Duration{-time.Second, -5 * time.Minute, -10 * time.Minute} {
			time.Sleep(2 * time.Minute)
			is.Equal(w.apart(svc, s), time.Duration(0))
		}
		is.Equal(strings.Count(w.log.String(), "clock differs"), 1)
		is.True(strings.Contains(w.log.String(), "behind=1s"))
	})
}

// While the Store's clock cannot be read, what was known holds on, and nobody waits long for it.
func TestStoreClockThatFails(t *testing.T) {
	for name, fail := range map[string]func(context.Context) (time.Time, error){
		"an error":  func(context.Context) (time.Time, error) { return time.Now().Add(time.Hour), errStore },
		"a panic":   func(context.Context) (time.Time, error) { panic("boom") },
		"no time":   func(context.Context) (time.Time, error) { return time.Time{}, nil },
		"no answer": func(ctx context.Context) (time.Time, error) { return time.Time{}, hangs(ctx) },
		"an answer that took minutes": func(context.Context) (time.Time, error) {
			time.Sleep(4 * time.Minute)
			return time.Now(), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				svc, s := w.timing(recovery.Options{Now: ahead(5 * time.Minute)})
				is.Equal(w.apart(svc, s), time.Duration(0))
				right := s.now
				s.now = fail
				for n := range 3 {
					time.Sleep(2 * time.Minute)
					start := time.Now()
					is.Equal(w.apart(svc, s), time.Duration(0))
					is.Equal(s.asked.Load(), int32(n+2)) // not more often than else
					if name != "an answer that took minutes" {
						is.True(time.Since(start) <= 500*time.Millisecond)
					}
				}
				s.now = right
				time.Sleep(2 * time.Minute)
				is.Equal(w.apart(svc, s), time.Duration(0))
				is.Equal(s.asked.Load(), int32(5))
			})
		})
	}
}

// By a clock that was never compared nothing is purged: it could be far ahead.
func TestNothingIsPurgedByAnUnknownClock(t *testing.T) {
	inBubble(t, recovery.Options{TokenTTL: 30 * time.Minute}, func(t *testing.T, is *is.I, w *world) {
		w.ask("alice")
		token := w.deliver()[0].Resets[0].Token
		svc, s := w.timing(recovery.Options{Now: ahead(50 * time.Minute), Tick: time.Second})
		var works atomic.Bool
		s.now = func(context.Context) (time.Time, error) {
			time.Sleep(100 * time.Millisecond)
			if !works.Load() {
				return time.Time{}, errStore
			}
			return time.Now(), nil
		}
		ctx, cancel := context.WithCancel(w.ctx)
		done := make(chan error, 1)
		go func() { done <- svc.Run(ctx) }()
		time.Sleep(5 * time.Second)
		is.True(s.asked.Load() >= 4) // it asks again each second
		works.Store(true)
		time.Sleep(15 * time.Second) // it purges, by the Store's clock
		cancel()
		is.NoErr(<-done)
		_, _, err := w.users.FindReset(t.Context(), token.Digest(), time.Now())
		is.NoErr(err)
	})
}

const clockPause = 400 * time.Millisecond

// While the first comparison is under way, other calls wait for it, and for no later one.
func TestCallsWaitForTheFirstComparison(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		svc, s := w.timing(recovery.Options{Now: ahead(3 * time.Minute)})
		s.now = func(context.Context) (time.Time, error) {
			time.Sleep(clockPause)
			return time.Now(), nil
		}
		for range 3 {
			go func() { _ = errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: client})) }()
		}
		time.Sleep(10 * time.Millisecond)
		is.True(w.apart(svc, s).Abs() <= time.Second)

		time.Sleep(time.Minute)
		s.now = func(context.Context) (time.Time, error) {
			time.Sleep(time.Hour)
			return time.Now(), nil
		}
		go func() { _ = errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: client})) }()
		for range 2 {
			time.Sleep(time.Minute)
			began := time.Now()
			w.apart(svc, s)
			is.Equal(time.Since(began), time.Duration(0))
		}
		time.Sleep(time.Hour)
	})
}

// A clock in the year one works.
func TestWorkerInTheYearOne(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Now: func() time.Time { return time.Time{} }})
	w.ask("billybob")
	is.Equal(len(w.deliver()), 1)
}

// A clock that is days ahead for a moment makes no token that lives for days.
func TestTokenOfAMisreadClock(t *testing.T) {
	for during, mails := range map[string]int{"Claim": 0, "FindAccounts": 1, "CreateResets": 1} { // from this call to the next
		t.Run(during, func(t *testing.T) {
			is := is.New(t)
			now := time.Date(2026, 11, 21, 18, 30, 0, 0, time.UTC)
			var wrong atomic.Bool
			w := newWorld(t, &recovery.Options{Now: func() time.Time {
				if wrong.Load() {
					return now.Add(48 * time.Hour)
				}
				return now
			}})
			w.ask("billybob")
			w.store.failWith(func(method string) error {
				if method != "Now" {
					wrong.Store(method == during)
				}
				return nil
			})
			sent := w.deliver()
			is.Equal(len(sent), mails)
			for _, m := range sent {
				is.True(m.ExpiresAt.Sub(now) <= 16*time.Hour)
			}
		})
	}
}

// The Store's clock is read once a minute, whoever is meant.
func TestClockIsReadWhoeverIsMeant(t *testing.T) {
	is := is.New(t)
	for _, name := range []string{"billybob", "nobody", "mallory"} {
		w := newWorld(t, nil)
		trace := ""
		for range 5 {
			w.ask(name)
			for line := range strings.Lines(w.store.calls() + "\n") {
				method, _, _ := strings.Cut(strings.TrimSpace(line), " ")
				trace += method + " "
			}
			w.advance(30 * time.Second)
		}
		is.Equal(trace, "Now Enqueue Enqueue Now Enqueue Enqueue Now Enqueue ")
	}
}
