package recovery_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

func TestRunWorksOnTheTickOnly(t *testing.T) {
	inBubble(t, recovery.Options{Tick: 250 * time.Millisecond}, func(t *testing.T, is *is.I, w *world) {
		stop := w.run()
		defer stop()
		time.Sleep(10 * time.Millisecond)
		w.ask("alice")
		w.store.calls()
		time.Sleep(239 * time.Millisecond) // 1 ms before the tick
		synctest.Wait()
		is.Equal(w.store.calls(), "") // the insert wakes nobody
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		is.Equal(len(w.mail.Messages()), 1)
		w.store.calls()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		is.Equal(strings.Count(w.store.calls()+"\n", "Claim\n"), 3*40) // one idle claim a tick and lane
	})
}

func TestRunFinishesWhatItClaimed(t *testing.T) {
	inBubble(t, recovery.Options{Workers: 1}, func(t *testing.T, is *is.I, w *world) {
		for range 10 {
			w.ask("alice")
			w.ask("billybob")
		}
		ctx, cancel := context.WithCancel(w.ctx)
		w.mail.Fail(func(recovery.Message) error {
			cancel() // while the first mail is on its way
			time.Sleep(time.Second)
			return nil
		})
		is.NoErr(w.Run(ctx))
		is.Equal(len(w.mail.Messages()), 2) // what was claimed: Run has two places at least
		is.Equal(w.waiting(), 18)           // the rest waits for another
		is.Equal(len(w.claim(100)), 18)     // and is free
	})
}

// A worker that is stopped ends within three times SendTimeout, whatever hangs until its context
// ends.
func TestRunEnds(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
		var stop context.CancelFunc
		portals := map[string]recovery.Portal{"p": {URL: "https://portal.example/", Allow: func(ctx context.Context, _ recovery.Account) (bool, error) {
			stop()
			return false, hangs(ctx)
		}}}
		inBubble(t, recovery.Options{SendTimeout: timeout, Portals: portals}, func(t *testing.T, is *is.I, w *world) {
			is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Portal: "p"})))
			w.store.hangAt("Finish")
			var ctx context.Context
			ctx, stop = context.WithCancel(w.ctx)
			start := time.Now()
			is.NoErr(w.Run(ctx))
			is.True(time.Since(start) > 2*timeout)                      // Allow hung
			is.True(time.Since(start) <= 3*timeout+10*time.Millisecond) // Tick
		})
	}
}

// Jobs that pretend to send a mail do not hold up the end.
func TestRunEndsWithoutPretending(t *testing.T) {
	inBubble(t, recovery.Options{Tick: time.Minute}, func(t *testing.T, is *is.I, w *world) {
		ctx, cancel := context.WithCancel(w.ctx)
		w.ask("nobody")
		time.AfterFunc(time.Minute+time.Second, cancel)
		start := time.Now()
		is.NoErr(w.Run(ctx))
		is.Equal(time.Since(start), time.Minute+time.Second) // not a whole Tick more
		is.Equal(w.waiting(), 0)
	})
}

// Every foreign call of the worker has a context that ends.
func TestDeadlines(t *testing.T) {
	inBubble(t, recovery.Options{SendTimeout: 9 * time.Second}, func(t *testing.T, is *is.I, w *world) {
		is.NoErr(w.complete(w.token("alice"), goodPassword))
		var mu sync.Mutex
		var took []time.Duration
		note := func(ctx context.Context) error {
			start := time.Now()
			err := hangs(ctx)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(start))
			return err
		}
		hanging := ""
		store := spy.On(w.users, func(ctx context.Context, method string, _ any, call func(context.Context) error) error {
			if method == hanging {
				return note(ctx)
			}
			return call(ctx)
		})
		allow := func(ctx context.Context, _ recovery.Account) (bool, error) { return true, note(ctx) }
		svc, err := recovery.New(store, mailerFunc(func(ctx context.Context, _ recovery.Message) error { return note(ctx) }), &recovery.Options{
			Now: time.Now, SendTimeout: 9 * time.Second, Logger: slog.New(slog.DiscardHandler), Portals: map[string]recovery.Portal{"p": {URL: "https://portal.example/", Allow: allow}},
		})
		is.NoErr(err)
		deliver := func(want ...time.Duration) {
			is.Helper()
			took = nil
			_, err := svc.Deliver(w.ctx)
			is.True(err == nil || errors.Is(err, context.DeadlineExceeded))
			is.Equal(took, want)
			time.Sleep(25 * time.Hour) // until everything is due again
		}
		const sends, stores = 9 * time.Second, 5 * time.Second
		deliver(sends) // the notice: Mailer.Send
		hanging = "Claim"
		deliver(stores, stores, stores) // of each lane
		hanging = "FindAccounts"
		deliver(stores)
		hanging = "Finish"
		deliver(sends, stores)
		hanging = "Purge"
		deliver(sends, stores)
		hanging = "Now" // once a minute
		deliver(500*time.Millisecond, sends)
		hanging = ""
		is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "billybob", Portal: "p"})))
		deliver(sends, 2*sends) // the notice again, and Allow: twice SendTimeout for all of a job
	})
}

// S47, S48: the mail system is down for a day.
func TestAttack_S48_MailDownForADay(t *testing.T) {
	const requests, notices, workers = 500, 50, 3
	inBubble(t, recovery.Options{Workers: workers, Tick: 500 * time.Millisecond}, func(t *testing.T, is *is.I, w *world) {
		names := w.many(requests + notices)
		w.completeAll(names[:notices])
		sent := len(w.mail.Messages())
		var tries, atOnce, most atomic.Int32
		var down atomic.Bool
		down.Store(true)
		w.mail.Fail(func(recovery.Message) error {
			tries.Add(1)
			most.Store(max(most.Load(), atOnce.Add(1)))
			defer atOnce.Add(-1)
			time.Sleep(20 * time.Millisecond)
			if down.Load() {
				return errDown
			}
			return nil
		})
		stop := w.run()
		defer stop()
		for _, name := range names[notices:] {
			w.ask(name)
		}
		time.Sleep(59 * time.Minute)
		is.Equal(w.waiting(), requests+notices) // all are waiting
		time.Sleep(10 * time.Minute)
		is.Equal(w.waiting(), notices) // nobody waits longer for a token
		ended := w.hooks.count("JobDropped too_old") + w.hooks.count("JobFailed")
		is.Equal(ended, requests) // each with an event
		hour := tries.Load()
		time.Sleep(24*time.Hour - 69*time.Minute)
		is.True(hour < 25*(requests+notices))     // backed off: some 5 tries in 2 minutes, then one in 5
		is.True(tries.Load()-hour < 6*23*notices) // and one in 15 for what does not end
		is.Equal(len(w.mail.Messages()), sent)    // nothing got through
		down.Store(false)
		time.Sleep(16 * time.Minute)
		mails := w.mail.Messages()[sent:]
		told := map[string]bool{}
		for _, m := range mails {
			is.Equal(m.Kind, recovery.MessagePasswordChanged)
			told[m.To] = true
		}
		is.Equal(len(mails), notices)     // every notice came,
		is.Equal(len(told), notices)      // once
		is.True(most.Load() <= workers+1) // never more at once than the lanes have places
		is.Equal(w.waiting(), 0)          // nothing is left in the queue
	})
}

func TestClaimFailures(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		w.ask("alice")
		w.store.failWith(func(string) error { return errStore })
		is.True(errors.Is(errOf(w.Deliver(w.ctx)), errStore))
		stop := w.run()
		time.Sleep(5*time.Minute - time.Second)
		w.store.failWith(nil)
		time.Sleep(time.Second)
		stop()
		is.Equal(len(w.mail.Messages()), 1)
		is.Equal(strings.Count(w.log.String(), "cannot claim jobs"), 5) // once a minute, not at every tick
		is.Equal(strings.Count(w.log.String(), "answers again"), 1)
		is.True(strings.Contains(w.log.String(), "could not be purged"))
	})
}
