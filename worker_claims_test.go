package recovery_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// claims returns a Store that keeps what was claimed.
func (w *world) claims() (spy.Store, func() []recovery.Claim) {
	var mu sync.Mutex
	var claims []recovery.Claim
	store := spy.On(w.users, func(ctx context.Context, _ string, arg any, call func(context.Context) error) error {
		if c, ok := arg.(recovery.Claim); ok {
			mu.Lock()
			claims = append(claims, c)
			mu.Unlock()
		}
		return call(ctx)
	})
	return store, func() []recovery.Claim {
		mu.Lock()
		defer mu.Unlock()
		taken := claims
		claims = nil
		return taken
	}
}

// sizes returns how much was claimed at a time in one lane.
func sizes(claims []recovery.Claim, lane recovery.Lane) (sizes []int) {
	for _, c := range claims {
		if c.Lane == lane {
			sizes = append(sizes, c.Max)
		}
	}
	return sizes
}

// Each lane claims as much as it has free places.
func TestRunClaimsForFreePlaces(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		for range 3 {
			w.ask("billybob")
		}
		store, claims := w.claims()
		svc := w.service(store, recovery.Options{Now: time.Now, Workers: 5, Tick: time.Second})
		w.mail.Fail(func(recovery.Message) error { time.Sleep(2500 * time.Millisecond); return nil })
		ctx, cancel := context.WithTimeout(w.ctx, 4500*time.Millisecond)
		defer cancel()
		is.NoErr(svc.Run(ctx))
		all := claims()
		is.Equal(sizes(all, recovery.LaneMail), []int{5, 2, 2, 5})
		is.Equal(sizes(all, recovery.LaneNotice), []int{1, 1, 1, 1}) // a quarter of 5, at least one
		is.Equal(sizes(all, recovery.LaneOnReset), []int{1, 1, 1, 1})
		for _, c := range all {
			is.Equal(c.Until.Sub(c.At), 2*time.Minute) // four times SendTimeout
			is.Equal(c.JobID, "")
		}
	})
}

// A quarter of what is claimed is left to jobs that were claimed before; chance rounds it.
func TestQuarterIsForJobsThatWereClaimedBefore(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		for places, most := range map[int]int{2: 1, 4: 1, 5: 2, 32: 8} {
			store, claims := w.claims()
			svc := w.service(store, recovery.Options{Now: time.Now, Workers: places, Tick: 10 * time.Millisecond})
			ctx, cancel := context.WithTimeout(w.ctx, 4005*time.Millisecond)
			is.NoErr(svc.Run(ctx))
			cancel()
			n, sum := 0, 0
			for _, c := range claims() {
				if c.Lane == recovery.LaneMail {
					is.True(c.Again >= places/4 && c.Again <= most)
					n++
					sum += c.Again
				}
			}
			is.Equal(n, 400)
			is.True(sum >= 400*places/4-60 && sum <= 400*places/4+60) // the mean is a quarter
		}
	})
}

// What is claimed begins at once: nothing is claimed while no place is free.
func TestRunClaimsNothingWithoutAFreePlace(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		for range 5 {
			w.ask("billybob")
		}
		store, claims := w.claims()
		svc := w.service(store, recovery.Options{Now: time.Now, Workers: 2, Tick: time.Second})
		w.mail.Fail(func(recovery.Message) error { time.Sleep(10 * time.Second); return nil })
		ctx, cancel := context.WithTimeout(w.ctx, 9500*time.Millisecond)
		defer cancel()
		is.NoErr(svc.Run(ctx))
		is.Equal(sizes(claims(), recovery.LaneMail), []int{2})
		is.Equal(len(w.mail.Messages()), 2)
		is.Equal(len(w.claim(100)), 3) // the rest is left to others
	})
}

// Deliver claims until nothing is due, and as much as it has free places.
func TestDeliverClaimsUntilNothingIsDue(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	for range 7 {
		w.ask("billybob")
	}
	store, claims := w.claims()
	n, err := w.service(store, recovery.Options{Workers: 1}).Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(n, 7)
	all := claims()
	is.Equal(sizes(all, recovery.LaneMail), []int{1, 1, 1, 1, 1, 1, 1, 1, 1}) // the last two find nothing
	is.Equal(sizes(all, recovery.LaneNotice), []int{1, 1})
	is.Equal(sizes(all, recovery.LaneOnReset), []int{1, 1})
}

// A clock in the year one works.
func TestWorkerInTheYearOne(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Now: func() time.Time { return time.Time{} }})
	w.ask("billybob")
	is.Equal(len(w.deliver()), 1)
}

// A job engine's job is claimed alone.
func TestJobIsClaimedAlone(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	store, claims := w.claims()
	w.ask("alice")
	id := w.store.added()[0]
	_, err := w.service(store, recovery.Options{}).DeliverJob(w.ctx, id)
	is.NoErr(err)
	all := claims()
	is.Equal(len(all), 1)
	is.Equal(all[0].JobID, id)
	is.Equal(all[0].Max, 1)
	is.Equal(all[0].Until.Sub(all[0].At), 2*time.Minute) // four times SendTimeout
}

// Whoever works is not reported as missing.
func TestWorkersAreNotMissing(t *testing.T) {
	for name, work := range map[string]func(w *world) (stop func()){
		"Run": func(w *world) func() { return w.run() },
		"DeliverJob": func(w *world) func() {
			_, err := w.DeliverJob(w.ctx, "no such request")
			w.is.NoErr(err)
			return func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				stop := work(w)
				time.Sleep(time.Second)
				w.ask("alice")
				time.Sleep(time.Minute)
				stop()
				is.Equal(w.log.String(), "")
			})
		})
	}
}

// That a caller leaves is no failure of the Store.
func TestClaimOfACallerWhoLeft(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	_, err := w.DeliverJob(ctx, "any")
	is.Equal(err, context.Canceled)
	is.Equal(w.log.String(), "")
}

// The hooks are told why a request failed, without addresses and tokens.
func TestFailuresAreToldWithTheirReason(t *testing.T) {
	for event, failure := range map[string]error{"JobRetried": errDown, "JobFailed": recovery.ErrPermanent} {
		t.Run(event, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			w.mail.Fail(func(m recovery.Message) error {
				return fmt.Errorf("no mail for %s with %s: %w", m.To, tokenOf(m), failure)
			})
			w.ask("alice")
			w.deliver()
			w.hooks.wait(t, event)
			e, _ := w.hooks.last(event).(recovery.JobEvent)
			is.True(strings.HasPrefix(e.Err.Error(), "no mail for [redacted] with [redacted]: "))
			is.Equal(e.Account.ID, "1")
			is.Equal(e.Attempt, 1)
			is.Equal(e.Client, client)
		})
	}
}

// An outcome that cannot be written is written again, after longer and longer pauses, for as long
// as a mail may take.
func TestOutcomesAreTriedWithPauses(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		start := time.Now()
		var tries []time.Duration
		store := spy.On(w.users, func(ctx context.Context, _ string, arg any, call func(context.Context) error) error {
			o, ok := arg.(recovery.Outcome)
			if !ok {
				return call(ctx)
			}
			tries = append(tries, time.Since(start))
			is.True(o.At.Equal(start)) // when the mail was sent
			is.Equal(o.MailedAccountIDs, []string{"1"})
			return errStore
		})
		w.ask("alice")
		n, err := w.service(store, recovery.Options{Now: time.Now, StoreTimeout: time.Second}).Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(n, 1)
		is.Equal(tries[:6], []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond, 1500 * time.Millisecond, 3100 * time.Millisecond})
		is.Equal(tries[6]-tries[5], 2*time.Second) // the longest
		is.True(time.Since(start) > 25*time.Second && time.Since(start) <= 30*time.Second)
		is.True(strings.Contains(w.log.String(), "it will be repeated"))
	})
}

// A panic of foreign code is told to the log: where, and not what.
func TestPanicOfTheMailerIsLogged(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.mail.Fail(func(m recovery.Message) error { panic("no mail for " + m.To) })
	w.ask("alice")
	is.Equal(len(w.deliver()), 0)
	is.True(strings.Contains(w.log.String(), `msg="recovery: panic" while="handle a job" stack=`))
	is.True(strings.Contains(w.log.String(), "worker_claims_test.go"))
	is.True(!strings.Contains(w.log.String(), "alice@example.com"))
}

// A panickingHandler panics when it is told of a panic.
type panickingHandler struct{ slog.Handler }

func (h panickingHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "recovery: panic" {
		panic("no log")
	}
	return h.Handler.Handle(ctx, r)
}

func TestPanicOfTheLoggerThatIsToldOfOne(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.ask("alice")
	svc := w.service(w.users, recovery.Options{Logger: slog.New(panickingHandler{slog.NewTextHandler(w.log, nil)})})
	w.mail.Fail(func(recovery.Message) error { panic("no mail") })
	n, err := svc.Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(n, 1)
	is.True(strings.Contains(w.log.String(), "will be tried again")) // as after any other failure
}

// A job is reported as started once: not when it is tried again.
func TestJobStartsOnce(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.askEmail("alice@example.com")
		w.mail.Fail(func(recovery.Message) error { return errDown })
		w.deliver()
		w.mail.Fail(nil)
		time.Sleep(time.Minute)
		is.Equal(len(w.deliver()), 1)
		synctest.Wait()
		is.Equal(w.hooks.count("JobStarted"), 1)
		is.Equal(w.hooks.count("JobRetried"), 1)
		is.Equal(w.hooks.count("MailSent"), 1)
	})
}
