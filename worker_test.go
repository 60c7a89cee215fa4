package recovery_test

import (
	"context"
	"errors"
	"fmt"
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

var errDown = errors.New("connection to alice@example.com refused")

// inBubble runs f with a Service on fake time.
func inBubble(t *testing.T, opts recovery.Options, f func(t *testing.T, is *is.I, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.Now = time.Now
		f(t, is.New(t), newWorld(t, &opts))
	})
}

// run starts the worker and returns what stops it.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		w.is.Helper()
		cancel()
		w.is.NoErr(<-done)
	}
}

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

// claim leases what is due in the lane of mails, as another worker would.
func (w *world) claim(max int) []recovery.Job {
	w.is.Helper()
	claimed, err := w.users.Claim(w.ctx, recovery.Claim{
		LeaseID: "x", Lane: recovery.LaneMail, At: time.Now(), Until: time.Now().Add(time.Hour), Max: max,
	})
	w.is.NoErr(err)
	return claimed
}

// hangs waits until ctx ends.
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// A worker that is stopped ends within three times SendTimeout, whatever hangs until its context
// ends.
func TestRunEnds(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
		t.Run(timeout.String(), func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
				store := spy.On(w.users, func(ctx context.Context, method string, _ any, call func(context.Context) error) error {
					if method == "Finish" {
						return hangs(ctx)
					}
					return call(ctx)
				})
				ctx, cancel := context.WithCancel(w.ctx)
				svc := w.service(store, recovery.Options{Now: time.Now, SendTimeout: timeout, Portals: map[string]recovery.Portal{"p": {
					URL: "https://portal.example/", Allow: func(ctx context.Context, _ recovery.Account) (bool, error) {
						cancel()
						return false, hangs(ctx)
					}}}})
				is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Portal: "p"})))
				start := time.Now()
				is.NoErr(svc.Run(ctx))
				is.True(time.Since(start) > 2*timeout)                      // Allow hung
				is.True(time.Since(start) <= 3*timeout+10*time.Millisecond) // Tick
			})
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

// A mail system that accepts mails and says so too late gets few copies.
func TestMailThatMayHaveBeenAccepted(t *testing.T) {
	inBubble(t, recovery.Options{Workers: 1, Tick: 30 * time.Second}, func(t *testing.T, is *is.I, w *world) {
		token := w.token("alice")
		is.NoErr(w.complete(token, goodPassword))
		copies := map[recovery.MessageKind]int{}
		var mu sync.Mutex
		w.mail.Fail(func(m recovery.Message) error {
			mu.Lock()
			defer mu.Unlock()
			copies[m.Kind]++
			return fmt.Errorf("no answer: %w", recovery.ErrUncertain)
		})
		stop := w.run()
		w.ask("billybob")
		time.Sleep(8 * 24 * time.Hour)
		stop()
		is.Equal(copies, map[recovery.MessageKind]int{recovery.MessageResetToken: 3, recovery.MessagePasswordChanged: 8})
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

type mailerFunc func(context.Context, recovery.Message) error

func (f mailerFunc) Send(ctx context.Context, m recovery.Message) error { return f(ctx, m) }

// A lost outcome is written again before the mail is.
func TestOutcomeIsTriedAgain(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	fails := 2
	w.store.failWith(func(method string) error {
		if method == "Finish" && fails > 0 {
			fails--
			return errStore
		}
		return nil
	})
	w.ask("alice")
	is.Equal(len(w.deliver()), 1)
	is.Equal(w.log.String(), "")
	is.Equal(w.waiting(), 0)

	w.store.failWith(func(method string) error {
		if method == "Finish" {
			return recovery.ErrLeaseLost
		}
		return nil
	})
	w.ask("billybob")
	is.Equal(len(w.deliver()), 1)
	is.Equal(w.log.String(), "") // another worker has it: nothing to say
}

func TestHangingMailHoldsUpOnePlace(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		var mails atomic.Int32
		w.mail.Fail(func(m recovery.Message) error {
			if mails.Add(1) > 1 {
				return nil
			}
			time.Sleep(30 * time.Second)
			return errDown
		})
		stop := w.run()
		defer stop()
		w.ask("alice")
		time.Sleep(time.Second)
		for i := range 20 {
			w.ask("billybob")
			time.Sleep(260 * time.Millisecond)
			synctest.Wait()
			is.Equal(len(w.mail.Messages()), i+1) // others flow
		}
	})
}

func TestRetries(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		var attempts []time.Time
		var ids, tokens []string
		w.mail.Fail(func(m recovery.Message) error {
			attempts = append(attempts, time.Now())
			ids, tokens = append(ids, m.ID), append(tokens, tokenOf(m))
			if len(attempts) < 5 {
				return errDown
			}
			return nil
		})
		stop := w.run()
		w.ask("alice")
		time.Sleep(5 * time.Minute)
		stop()
		is.Equal(len(attempts), 5)
		for i := 1; i < 5; i++ {
			wait, most := attempts[i].Sub(attempts[i-1]), 2*time.Second<<(i-1)
			is.True(wait >= most/2 && wait <= most+10*time.Millisecond) // doubling, with jitter in the upper half
			is.Equal(ids[i], ids[0])                                    // the same mail
			is.True(tokens[i] != tokens[0])                             // with a new token
		}
		for i, token := range tokens {
			is.NoErr(w.deadOrAlive(token, i == 4)) // what certainly was not accepted leaves no token
		}
		w.hooks.wait(t, "JobRetried")
		is.Equal(strings.Count(w.log.String(), "will be tried again"), 4)
		is.True(!strings.Contains(w.log.String(), "alice@example.com")) // the address in the Mailer's error is not logged
		is.True(strings.Contains(w.log.String(), "connection to [redacted] refused"))
	})
}

// S47, S48: the mail system is down for a day.
func TestAttack_S48_MailDownForADay(t *testing.T) {
	const requests, notices, workers = 500, 50, 3
	inBubble(t, recovery.Options{Workers: workers, Tick: 500 * time.Millisecond}, func(t *testing.T, is *is.I, w *world) {
		for i := range requests + notices {
			w.put(fmt.Sprint(1000+i), fmt.Sprintf("user%04d", i), fmt.Sprintf("user%04d@example.com", i))
		}
		for i := range notices {
			w.ask(fmt.Sprintf("user%04d", i))
		}
		for _, m := range w.deliver() {
			is.NoErr(w.complete(tokenOf(m), goodPassword))
		}
		sent := len(w.mail.Messages())

		var tries, atOnce, most atomic.Int32
		down := atomic.Bool{}
		down.Store(true)
		w.mail.Fail(func(recovery.Message) error {
			tries.Add(1)
			if n := atOnce.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer atOnce.Add(-1)
			time.Sleep(20 * time.Millisecond)
			if down.Load() {
				return errDown
			}
			return nil
		})
		stop := w.run()
		defer stop()
		for i := range requests {
			w.ask(fmt.Sprintf("user%04d", notices+i))
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

func TestOldRequestsAreDropped(t *testing.T) {
	inBubble(t, recovery.Options{MaxRequestAge: time.Minute}, func(t *testing.T, is *is.I, w *world) {
		w.ask("alice")
		time.Sleep(time.Minute + time.Microsecond)
		is.Equal(len(w.deliver()), 0)
		w.hooks.wait(t, "JobDropped too_old")
		w.ask("alice")
		time.Sleep(time.Minute)
		is.Equal(len(w.deliver()), 1)
	})
}

// An address that no mail reaches is not kept for ever. A notice that waited for the worker for
// longer is sent.
func TestNoticeEndsAfterAWeek(t *testing.T) {
	inBubble(t, recovery.Options{Tick: 30 * time.Second}, func(t *testing.T, is *is.I, w *world) {
		alice, billybob := w.token("alice"), w.token("billybob")
		is.NoErr(w.complete(alice, goodPassword))
		is.NoErr(w.complete(billybob, goodPassword))
		stop := w.run()
		w.mail.Fail(func(m recovery.Message) error {
			if m.To == "alice@example.com" {
				return errDown
			}
			return nil
		})
		time.Sleep(7*24*time.Hour - time.Minute)
		is.True(strings.Contains(w.users.Dump(), "alice@example.com")) // still tried
		time.Sleep(16 * time.Minute)
		stop()
		w.hooks.wait(t, "JobFailed")
		is.Equal(w.waiting(), 0)

		w.mail.Fail(nil)
		alice = w.token("alice")
		is.NoErr(w.complete(alice, otherPassword))
		time.Sleep(30 * 24 * time.Hour)
		is.Equal(len(w.deliver()), 1)
	})
}

func TestPermanentFailure(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.mail.Fail(func(recovery.Message) error { return fmt.Errorf("550 no such user: %w", recovery.ErrPermanent) })
	w.ask("alice")
	is.Equal(len(w.deliver()), 0)
	w.hooks.wait(t, "JobFailed")
	is.Equal(w.waiting(), 0) // not tried again
	is.True(strings.Contains(w.log.String(), "failed for good"))
}

// S44: killed between the mail system's acceptance and Finish.
func TestAttack_S44_OutcomeLost(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		w.store.failWith(func(method string) error {
			if method == "Finish" {
				return errStore
			}
			return nil
		})
		w.ask("alice")
		first := w.deliver()
		is.Equal(len(first), 1)
		is.True(strings.Contains(w.log.String(), "it will be repeated"))
		w.store.failWith(nil)
		is.Equal(len(w.deliver()), 0) // still leased
		time.Sleep(2 * time.Minute)
		second := w.deliver()
		is.Equal(len(second), 1)
		is.Equal(second[0].ID, first[0].ID)
		for _, m := range []recovery.Message{first[0], second[0]} {
			parsed, _ := recovery.ParseToken(tokenOf(m))
			_, _, err := w.users.FindReset(t.Context(), parsed.Digest(), time.Now())
			is.NoErr(err) // whichever mail the user opens has a token that works
		}
	})
}

func TestStoreFailures(t *testing.T) {
	for _, method := range []string{"FindAccounts", "CreateResets"} {
		t.Run(method, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			w.ask("alice")
			is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "billybob@example.com"})))
			w.store.failWith(func(m string) error {
				if m == method {
					panic("boom at alice@example.com")
				}
				return nil
			})
			w.deliver()
			w.hooks.wait(t, "JobRetried")
			is.True(!strings.Contains(w.log.String(), "alice@example.com"))
			w.store.failWith(nil)
			w.advance(time.Minute)
			w.deliver()
			is.Equal(len(w.mail.Messages()), 2)
		})
	}
}

func TestNoticeAndOnResetSurviveStoreFailures(t *testing.T) {
	is := is.New(t)
	called := 0
	w := newWorld(t, &recovery.Options{OnReset: func(context.Context, recovery.Account) error { called++; return nil }})
	is.NoErr(w.complete(w.token("alice"), goodPassword))
	w.store.failWith(func(m string) error {
		if m == "FindAccounts" {
			return errStore
		}
		return nil
	})
	is.Equal(len(w.deliver()), 0)
	w.store.failWith(nil)
	w.advance(time.Minute)
	is.Equal(len(w.deliver()), 1)
	is.Equal(called, 1)
}

func TestClaimFailures(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		w.ask("alice")
		w.store.failWith(func(string) error { return errStore })
		_, err := w.Deliver(w.ctx)
		is.True(errors.Is(err, errStore))
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

func TestPurge(t *testing.T) {
	many := recovery.Limit{Burst: 10000, Every: time.Millisecond}
	inBubble(t, recovery.Options{Tick: time.Second, Limits: recovery.Limits{
		PerClient: many, Global: many, PerAccount: many, PerRequester: many, PerMailbox: many,
	}}, func(t *testing.T, is *is.I, w *world) {
		for range 600 {
			w.ask("alice")
			w.ask("billybob")
		}
		stop := w.run()
		time.Sleep(time.Minute)
		is.True(w.users.Dump() != "")
		w.mail.Reset()
		time.Sleep(17 * time.Hour)
		stop()
		is.Equal(w.users.Dump(), "") // nothing is left, in more than one batch
	})
}

// A worker whose clock is ahead must not forget limits that still count for the others.
func TestPurgeOfAWorkerThatIsAhead(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{PerClient: recovery.Limit{Burst: 1, Every: time.Minute}}})
	ahead := w.service(w.users, recovery.Options{Now: func() time.Time { return w.time().Add(recovery.MaxClockSkew) }})
	for i := range 3 {
		err := errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: client}))
		is.Equal(errors.Is(err, recovery.ErrLimited), i > 0) // one a minute
		_, err = ahead.Deliver(w.ctx)
		is.NoErr(err)
		w.advance(10 * time.Second)
	}
}

func TestMissingWorkerIsReportedOnce(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		token := w.token("alice")
		svc := w.service(w.users, recovery.Options{Now: time.Now})
		_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: goodPassword})
		is.NoErr(err)
		time.Sleep(time.Minute)
		is.Equal(strings.Count(w.log.String(), "neither Run nor Deliver was called"), 1) // a notice waits
	})
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		w.ask("alice")
		time.Sleep(10*time.Second - time.Millisecond)
		is.Equal(w.log.String(), "")
		time.Sleep(2 * time.Millisecond)
		is.True(w.log.String() != "")
		for range 5 {
			w.ask("alice")
			time.Sleep(20 * time.Second)
		}
		is.Equal(strings.Count(w.log.String(), "neither Run nor Deliver was called"), 1)
	})
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		w.ask("alice")
		w.deliver()
		time.Sleep(time.Minute)
		w.ask("alice")
		time.Sleep(time.Minute)
		is.Equal(w.log.String(), "")
	})
}
