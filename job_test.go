package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

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

// OnReset is called until it returns nil, whatever it returns before, and each time with a context
// that ends.
func TestOnReset(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		var calls []string
		svc := w.service(w.store, recovery.Options{Now: time.Now, OnReset: func(ctx context.Context, a recovery.Account) error {
			calls = append(calls, a.ID+" "+a.Username)
			switch len(calls) {
			case 1:
				return errDown
			case 2:
				panic("boom")
			case 3:
				return fmt.Errorf("%w: %w", hangs(ctx), recovery.ErrPermanent)
			}
			return nil
		}})
		complete := func(username string) {
			is.NoErr(errOf(svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: w.token(username), Password: goodPassword})))
		}
		complete("alice")
		for _, took := range []time.Duration{0, 0, 30 * time.Second, 0, 0} { // SendTimeout
			start := time.Now()
			is.NoErr(errOf(svc.Deliver(w.ctx)))
			is.Equal(time.Since(start), took)
			time.Sleep(time.Minute)
		}
		is.Equal(calls, []string{"1 alice", "1 alice", "1 alice", "1 alice"})
		w.hooks.wait(t, "OnResetCalled")

		// The call survives a process that does not know it, and the end of the account.
		complete("billybob")
		w.users.Remove("3")
		w.deliver()
		is.True(strings.Contains(w.log.String(), "Options.OnReset is not set in this process"))
		time.Sleep(time.Minute)
		is.NoErr(errOf(svc.Deliver(w.ctx)))
		is.Equal(calls[len(calls)-1], "3 ")
		is.Equal(w.waiting(), 0)
	})
}

// The hooks get why a request failed, without addresses, tokens and codes.
func TestFailuresAreToldWithTheirReason(t *testing.T) {
	for event, failure := range map[string]error{"JobRetried": errDown, "JobFailed": recovery.ErrPermanent} {
		t.Run(event, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			w.mail.Fail(func(m recovery.Message) error {
				code := m.Resets[0].Code
				return fmt.Errorf("no mail for %s with %s, %s, %s: %w", m.To, tokenOf(m), code, strings.ReplaceAll(code, "-", ""), failure)
			})
			is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Code: true, Client: client})))
			w.deliver()
			w.hooks.wait(t, event)
			is.Equal(w.waiting() == 0, event == "JobFailed")
			e, _ := w.hooks.last(event).(recovery.JobEvent)
			is.True(strings.HasPrefix(e.Err.Error(), "no mail for [redacted] with [redacted], [redacted], [redacted]: "))
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
				r.ID, r.RequestedAt, r.Priority = "id", time.Now(), time.Now()
				is.NoErr(w.users.Enqueue(w.ctx, r, nil))
				is.Equal(len(w.deliver()), 0)
				is.Equal(w.told(), []string{"JobDropped malformed", "JobStarted"})
				is.Equal(w.users.Dump(), "")
			})
		})
	}
}

// What fails is tried again: no request ends because the Store, or a portal, had no answer. The
// reason is told without addresses.
func TestFailuresAreTriedAgain(t *testing.T) {
	const afterwards = "of the work afterwards"
	for name, c := range map[string]struct {
		method string // of the Store, "" is the portal
		call   func(w *world) error
	}{
		"FindAccounts": {"FindAccounts", func(w *world) error { w.ask("Alice"); return nil }},
		"CreateResets": {"CreateResets", func(w *world) error { w.ask("Alice"); return nil }},
		"of user names": {"FindAccounts", func(w *world) error {
			return errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "Alice@Example.com"}))
		}},
		afterwards: {"FindAccounts", func(w *world) error { return w.complete(w.token("alice"), goodPassword) }},
		"a portal": {"", func(w *world) error {
			return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "Alice", Portal: "p"}))
		}},
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
			is.NoErr(c.call(w))
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
			told := event.Err.Error() + w.log.String()
			is.True(!strings.Contains(told, "lice@") || name == afterwards)                // there the account is not known yet
			is.True(!strings.Contains(told, "@example.com") || c.method == "FindAccounts") // nor is its address here
			failing = false
			w.advance(time.Minute)
			is.Equal(len(w.deliver()), 1)
			is.Equal(resets == 1, name == afterwards)
		})
	}
}
