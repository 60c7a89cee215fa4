package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// delivery works the queue off and returns how long that took.
func (w *world) delivery() time.Duration {
	w.is.Helper()
	start := time.Now()
	w.deliver()
	return time.Since(start)
}

// sends has every mail take so long, and be answered so.
func (w *world) sends(d time.Duration, err error) {
	w.mail.Fail(func(recovery.Message) error { time.Sleep(d); return err })
}

// While no mail is known, a job without one takes a tick.
func TestJobWithoutAMailTakesATick(t *testing.T) {
	inBubble(t, recovery.Options{Tick: 300 * time.Millisecond}, func(_ *testing.T, is *is.I, w *world) {
		w.ask("nobody")
		is.Equal(w.delivery(), 300*time.Millisecond)
		w.ask("mallory")
		retryAt, err := w.DeliverJob(w.ctx, w.store.added()[1])
		is.NoErr(err)
		is.True(retryAt.IsZero())
	})
}

// A job without a mail takes as long as a recent mail, from its beginning on.
func TestJobWithoutAMailTakesTheTimeOfOne(t *testing.T) {
	no := recovery.Portal{URL: "https://portal.example/", Allow: func(context.Context, recovery.Account) (bool, error) {
		time.Sleep(time.Second)
		return false, nil
	}}
	for name, ask := range map[string]func(*world) error{
		"nobody":   func(w *world) error { return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "nobody"})) },
		"disabled": func(w *world) error { return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "mallory"})) },
		"a portal that refuses": func(w *world) error {
			return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Portal: "no"}))
		},
		"user names of nobody": func(w *world) error {
			return errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "nobody@example.com"}))
		},
		"a throttled account": func(w *world) error {
			return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "billybob", Client: client}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := recovery.Options{
				Portals: map[string]recovery.Portal{"no": no},
				Limits:  recovery.Limits{PerClient: recovery.Limit{Burst: 100, Every: time.Second}},
			}
			inBubble(t, opts, func(_ *testing.T, is *is.I, w *world) {
				w.sends(2*time.Second, nil)
				w.ask("billybob")
				is.Equal(w.delivery(), 2*time.Second)
				w.store.added()
				is.NoErr(ask(w))
				is.Equal(w.delivery(), 2*time.Second)
				is.NoErr(ask(w))
				start := time.Now()
				is.NoErr(errOf(w.DeliverJob(w.ctx, w.store.added()[1])))
				is.Equal(time.Since(start), 2*time.Second)
				is.Equal(len(w.mail.Messages()), 1)
			})
		})
	}
}

// A place is taken for as long, so that what waits behind does not tell either.
func TestPlacesAreTakenWithoutAMail(t *testing.T) {
	inBubble(t, recovery.Options{Workers: 1}, func(_ *testing.T, is *is.I, w *world) {
		w.sends(2*time.Second, nil)
		for range 3 {
			w.ask("nobody")
			w.ask("billybob")
		}
		took := w.delivery()
		is.True(took >= 3*2*time.Second+10*time.Millisecond) // the first without a mail may take a tick
		w.mail.Reset()
		for range 6 {
			w.ask("nobody")
		}
		is.Equal(w.delivery(), 12*time.Second)
	})
}

// attempted returns the ID of a new job, which the next claim is the given attempt of.
func (w *world) attempted(username string, attempt int) string {
	w.is.Helper()
	w.store.added()
	w.ask(username)
	id := w.store.added()[0]
	for n := range attempt - 1 {
		lease := fmt.Sprint("attempt ", n+1)
		claimed, err := w.users.Claim(w.ctx, recovery.Claim{LeaseID: lease, At: time.Now(), Until: time.Now().Add(time.Hour), Max: 1, JobID: id})
		w.is.NoErr(err)
		w.is.Equal(len(claimed), 1)
		w.is.NoErr(w.users.Finish(w.ctx, recovery.Outcome{JobID: id, LeaseID: lease, At: time.Now(), RetryAt: time.Now()}))
	}
	return id
}

// handled works on one job and returns how long that took, and whether it comes back.
func (w *world) handled(id string) (took time.Duration, back bool) {
	w.is.Helper()
	start := time.Now()
	retryAt, err := w.DeliverJob(w.ctx, id)
	w.is.NoErr(err)
	return time.Since(start), !retryAt.IsZero()
}

// A job without a mail goes as the newest mail that can tell: a later attempt that failed, or an
// earlier one that did not. It takes as long as one with the same result.
func TestJobWithoutAMailGoesAsAMailOfItsAttempt(t *testing.T) {
	type mail struct {
		attempt int
		err     error
	}
	const first = 0 // what the job's first attempt does, and so on
	good := func(attempt int) mail { return mail{attempt, nil} }
	bad := func(attempt int) mail { return mail{attempt, errDown} }
	for name, c := range map[string]struct {
		mails []mail
		back  []bool
	}{
		"none":                           {nil, []bool{first: false, false}},
		"a failure":                      {[]mail{bad(1)}, []bool{first: true, false, false}},
		"a late failure":                 {[]mail{bad(3)}, []bool{first: true, true, true, false}},
		"a success":                      {[]mail{good(1)}, []bool{first: false, false, false}},
		"a late success":                 {[]mail{good(3)}, []bool{first: false, false, false, false}},
		"a failure, then a success":      {[]mail{bad(1), good(1)}, []bool{first: false, false}},
		"a success, then a failure":      {[]mail{good(1), bad(1)}, []bool{first: true, false}},
		"a failure, then a late success": {[]mail{bad(1), good(3)}, []bool{first: true, false, false}},
		"a late failure and success":     {[]mail{bad(2), good(3)}, []bool{first: true, true, false, false}},
		"a late failure, then a success": {[]mail{bad(3), good(1)}, []bool{first: false, false, false, false}},
		"a success, then a late failure": {[]mail{good(1), bad(3)}, []bool{first: true, true, true, false}},
		"refused for good":               {[]mail{bad(1), {1, recovery.ErrPermanent}}, []bool{first: false, false}},
		"one that is remembered":         {append([]mail{bad(3)}, slices.Repeat([]mail{good(3)}, 63)...), []bool{first: true, true, false}},
		"one that is forgotten":          {append([]mail{bad(3)}, slices.Repeat([]mail{good(3)}, 64)...), []bool{first: false, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				took := map[bool]time.Duration{false: 10 * time.Millisecond, true: 10 * time.Millisecond} // a tick
				for _, m := range c.mails {
					again := m.err == errDown
					d := map[bool]time.Duration{false: time.Second, true: 3 * time.Second}[again]
					w.sends(d, m.err)
					_, back := w.handled(w.attempted("billybob", m.attempt))
					is.Equal(back, again)
					took[again] = d
				}
				for i, want := range c.back {
					d, back := w.handled(w.attempted("nobody", i+1))
					is.Equal(back, want)
					is.Equal(d, took[want])
				}
			})
		})
	}
}

// A few mails that took long do not fill the places: no job without one takes longer than four
// times the median, or a tick.
func TestJobWithoutAMailTakesNoTail(t *testing.T) {
	for usual, most := range map[time.Duration]time.Duration{
		time.Second: 4 * time.Second, 3 * time.Millisecond: 12 * time.Millisecond, time.Millisecond: 10 * time.Millisecond,
	} {
		t.Run(usual.String(), func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				for _, took := range []time.Duration{0, 0, 20 * time.Second, usual, usual} {
					w.sends(took, nil)
					w.handled(w.attempted("billybob", 1))
				}
				seen := map[time.Duration]bool{}
				for range 100 {
					d, _ := w.handled(w.attempted("nobody", 1))
					seen[d] = true
				}
				is.Equal(seen, map[time.Duration]bool{0: true, usual: true, most: true})
			})
		})
	}
}

// How it goes is what is known when its time is over.
func TestJobWithoutAMailGoesAsTheLatestMail(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.sends(2*time.Second, nil)
		w.handled(w.attempted("billybob", 1))
		nobody, billybob := w.attempted("nobody", 1), w.attempted("billybob", 1)
		go func() {
			time.Sleep(time.Second)
			w.sends(0, errDown)
			_, _ = w.DeliverJob(w.ctx, billybob)
		}()
		took, back := w.handled(nobody)
		is.Equal(took, 2*time.Second)
		is.True(back)
	})
}

// A job without a mail comes back as often as mails have to, and the hooks are told when it ends.
func TestJobWithoutAMailComesBack(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		billybob, nobody := w.attempted("billybob", 1), w.attempted("nobody", 1)
		w.sends(time.Second, errDown)
		for range 3 {
			w.handled(billybob)
			took, back := w.handled(nobody)
			is.Equal(took, time.Second)
			is.True(back)
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		is.Equal(w.hooks.count("JobDropped no_account"), 0)
		is.Equal(w.hooks.count("JobRetried"), 3) // billybob's: the other one did not fail

		w.sends(2*time.Second, nil)
		w.handled(billybob)
		took, back := w.handled(nobody)
		is.Equal(took, 2*time.Second)
		is.True(!back)
		synctest.Wait()
		is.Equal(w.hooks.count("JobDropped no_account"), 1)
		is.Equal(w.waiting(), 0)
	})
}

// It comes back when such a mail would, and not once it is too old.
func TestJobWithoutAMailComesBackAsAMailWould(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		billybob, nobody := w.attempted("billybob", 1), w.attempted("nobody", 1)
		w.sends(0, recovery.ErrUncertain)
		for range 3 {
			w.handled(billybob)
			retryAt, err := w.DeliverJob(w.ctx, nobody)
			is.NoErr(err)
			is.Equal(time.Until(retryAt), 20*time.Minute)
			time.Sleep(20 * time.Minute)
		}
		_, back := w.handled(billybob) // an hour old
		is.True(!back)
		_, back = w.handled(nobody)
		is.True(!back)
		synctest.Wait()
		is.Equal(w.hooks.count("JobDropped no_account"), 1)
		is.Equal(w.hooks.count("JobFailed"), 1)
	})
}

// A request that waited too long is dropped at once: it is dropped whoever is meant.
func TestOldJobsTakeNoTime(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.sends(3*time.Second, nil)
		w.ask("billybob")
		w.deliver()
		w.ask("nobody")
		time.Sleep(2 * time.Hour)
		is.Equal(w.delivery(), time.Duration(0))
	})
}

// Mails of notices are none of those that a job without a mail behaves like.
func TestNoticesSetNoPace(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		is.NoErr(w.complete(w.token("alice"), goodPassword))
		w.sends(5*time.Second, errDown)
		w.deliver()
		for range 15 { // which one is drawn is chance
			w.ask("nobody")
			is.Equal(w.delivery(), time.Duration(0)) // as the token's mail
		}
		is.Equal(w.waiting(), 1) // the notice
	})
}

// Where a mail would have been sent but for a failure of the Store, the job takes its time too, and
// fails.
func TestFailureTakesTheTimeOfAMail(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.sends(2*time.Second, nil)
		w.ask("billybob")
		w.deliver()
		w.store.failAt("CreateResets", errors.New("down"))
		w.ask("billybob")
		is.Equal(w.delivery(), 2*time.Second)
		is.Equal(w.waiting(), 1)
	})
}
