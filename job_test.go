package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// OnReset has a context that ends, and no error of its own ends the calls.
func TestOnResetIsTriedWhateverItReturns(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		calls := 0
		svc := w.service(w.store, recovery.Options{Now: time.Now, OnReset: func(ctx context.Context, _ recovery.Account) error {
			if calls++; calls == 1 {
				<-ctx.Done()
				return fmt.Errorf("could not tell the user: %w", recovery.ErrPermanent)
			}
			return nil
		}})
		_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword})
		is.NoErr(err)
		start := time.Now()
		_, err = svc.Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(time.Since(start), 30*time.Second) // SendTimeout
		time.Sleep(time.Minute)
		_, err = svc.Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(calls, 2)
	})
}

// The notice goes to the address that the account had when its password was changed.
func TestNoticeGoesToTheOldAddress(t *testing.T) {
	for name, happen := range map[string]func(w *world){
		"address changed": func(w *world) { w.put("1", "alice", "attacker@example.com") },
		"account deleted": func(w *world) { w.users.Remove("1") },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			is.NoErr(w.complete(w.token("alice"), goodPassword))
			happen(w)
			mails := w.deliver()
			is.Equal(len(mails), 1)
			is.Equal(mails[0].Kind, recovery.MessagePasswordChanged)
			is.Equal(mails[0].To, "alice@example.com")
		})
	}
}

func TestOnReset(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		var calls []string
		svc := w.service(w.store, recovery.Options{Now: time.Now, OnReset: func(_ context.Context, a recovery.Account) error {
			calls = append(calls, a.ID+" "+a.Username)
			switch len(calls) {
			case 1:
				return errDown
			case 2:
				panic("boom")
			}
			return nil
		}})
		_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword})
		is.NoErr(err)
		for range 5 {
			_, err := svc.Deliver(w.ctx)
			is.NoErr(err)
			time.Sleep(time.Minute)
		}
		is.Equal(calls, []string{"1 alice", "1 alice", "1 alice"}) // until it returns nil
		w.hooks.wait(t, "OnResetCalled")

		// The call survives a process that does not know it, and the end of the account.
		_, err = svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: w.token("billybob"), Password: goodPassword})
		is.NoErr(err)
		w.users.Remove("3")
		w.deliver()
		is.True(strings.Contains(w.log.String(), "Options.OnReset is not set in this process"))
		time.Sleep(time.Minute)
		_, err = svc.Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(calls[len(calls)-1], "3 ")
		is.Equal(w.waiting(), 0)
	})
}

// A queue that holds what no version of the library put there loses nothing else.
func TestMalformedRequestsAreDropped(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	now := w.time()
	for i, r := range []recovery.Job{
		{Kind: recovery.JobReset, By: recovery.ByEmail, Identifier: "no address"},
		{Kind: "from the future", By: recovery.ByUsername, Identifier: "alice"},
	} {
		r.ID, r.RequestedAt, r.Turn = fmt.Sprint("id-", i), now, now
		is.NoErr(w.users.Enqueue(w.ctx, r, nil))
	}
	w.ask("alice")
	is.Equal(len(w.deliver()), 1)
	w.hooks.wait(t, "JobDropped malformed")
	is.Equal(w.waiting(), 0)
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

// A kind that a newer version put into the queue is not taken for a reset.
func TestUnknownKindIsNotMailed(t *testing.T) {
	for name, r := range map[string]recovery.Job{
		"kind":       {Kind: "from the future", By: recovery.ByUsername, Identifier: "billybob"},
		"identifier": {Kind: recovery.JobReset, By: recovery.ByEmail, Identifier: "no address"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				r.ID, r.RequestedAt, r.Turn = "id", time.Now(), time.Now()
				is.NoErr(w.users.Enqueue(w.ctx, r, nil))
				is.Equal(len(w.deliver()), 0)
				is.Equal(w.told(), []string{"JobDropped malformed", "JobStarted"})
				is.Equal(w.users.Dump(), "")
			})
		})
	}
}

// What fails is tried again: no request ends because the Store, or a portal, had no answer. The reason
// is told without addresses.
func TestFailuresAreTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		method string // of the Store, "" is the portal
		call   func(w *world)
		mails  int
	}{
		"FindAccounts": {"FindAccounts", func(w *world) { w.ask("Alice") }, 1},
		"CreateResets": {"CreateResets", func(w *world) { w.ask("Alice") }, 1},
		"of user names": {"FindAccounts", func(w *world) {
			w.is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "Alice@Example.com"})))
		}, 1},
		"of the work afterwards": {"FindAccounts", func(w *world) {
			token := w.token("alice")
			w.is.NoErr(w.complete(token, goodPassword))
		}, 1},
		"a portal": {"", func(w *world) {
			w.is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "Alice", Portal: "p"})))
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			failing, resets := false, 0
			failure := func() error {
				return fmt.Errorf("no answer about alice@example.com, Alice@Example.com or \"Alice\": %w", errStore)
			}
			w := newWorld(t, &recovery.Options{
				Portals: map[string]recovery.Portal{"p": {URL: "https://portal.example/", Allow: func(context.Context, recovery.Account) (bool, error) {
					if failing {
						return false, failure()
					}
					return true, nil
				}}},
				OnReset: func(context.Context, recovery.Account) error { resets++; return nil },
			})
			c.call(w)
			w.store.failWith(func(method string) error {
				if failing && method == c.method {
					return failure()
				}
				return nil
			})
			failing = true
			is.Equal(len(w.deliver()), 0)
			w.hooks.wait(t, "JobRetried")
			is.Equal(resets, 0)
			event, _ := w.hooks.last("JobRetried").(recovery.JobEvent)
			is.True(errors.Is(event.Err, errStore))
			if c.method != "FindAccounts" || name != "of the work afterwards" { // there the account is not known yet
				is.True(!strings.Contains(event.Err.Error()+w.log.String(), "lice@"))
			}
			failing = false
			w.advance(time.Minute)
			is.Equal(len(w.deliver()), c.mails)
		})
	}
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
