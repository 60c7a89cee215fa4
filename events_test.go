package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// told returns the events so far, sorted, because what matters goes first. It is for bubbles.
func (w *world) told() []string {
	synctest.Wait()
	w.hooks.mu.Lock()
	defer w.hooks.mu.Unlock()
	return slices.Sorted(slices.Values(w.hooks.events))
}

// last returns the last event of a kind.
func (h *hookLog) last(event string) any {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, name := range slices.Backward(h.events) {
		if name == event {
			return h.values[i]
		}
	}
	return nil
}

// accountsTold returns the IDs of the accounts in the events of one kind, "" for none.
func (w *world) accountsTold(event string) (ids []string) {
	w.hooks.mu.Lock()
	defer w.hooks.mu.Unlock()
	for i, name := range w.hooks.events {
		if e, ok := w.hooks.values[i].(recovery.JobEvent); ok && name == event {
			ids = append(ids, e.Account.ID)
		}
	}
	return ids
}

// What the hooks are told of a request, and nothing else.
func TestEventsOfARequest(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.ask("billybob")
		w.deliver()
		is.Equal(w.told(), []string{"JobStarted", "MailSent"})
		is.Equal(w.accountsTold("JobStarted"), []string{""}) // not settled yet
		is.Equal(w.accountsTold("MailSent"), []string{"3"})
	})
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.ask("mallory")
		w.deliver()
		is.Equal(w.told(), []string{"JobDropped inactive", "JobStarted"})
		is.Equal(w.accountsTold("JobDropped inactive"), []string{"4"})
	})
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		disabled := w.account("5", "ali", "alice@example.com")
		disabled.Active = false
		w.users.Put(disabled, "hash of old")
		is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com"})))
		w.deliver()
		is.Equal(w.told(), []string{"JobDropped inactive", "JobStarted", "MailSent"})
		is.Equal(w.accountsTold("MailSent"), []string{"1"}) // the first that is mailed
	})
}

// The notice, and the application's own work, are about the account.
func TestEventsAfterACompletion(t *testing.T) {
	onReset := func(context.Context, recovery.Account) error { return nil }
	inBubble(t, recovery.Options{OnReset: onReset}, func(_ *testing.T, is *is.I, w *world) {
		is.NoErr(w.complete(w.token("billybob"), goodPassword))
		w.deliver()
		is.Equal(w.told(), []string{"JobStarted", "MailSent", "MailSent", "OnResetCalled", "PasswordChanged"})
		is.Equal(w.accountsTold("OnResetCalled"), []string{"3"})
		is.Equal(w.accountsTold("MailSent"), []string{"3", "3"})
	})
}

// The account that is gone has no address, so none is taken out of what is told.
func TestEventsOfAnAccountThatIsGone(t *testing.T) {
	is := is.New(t)
	down := errors.New("the sessions are not there")
	w := newWorld(t, &recovery.Options{OnReset: func(context.Context, recovery.Account) error { return down }})
	is.NoErr(w.complete(w.token("billybob"), goodPassword))
	w.users.Remove("3")
	w.deliver()
	w.hooks.wait(t, "JobRetried")
	e, _ := w.hooks.last("JobRetried").(recovery.JobEvent)
	is.Equal(e.Err.Error(), down.Error())
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

// A portal that is gone is reported as such.
func TestPortalThatIsGone(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		is.NoErr(w.users.Enqueue(w.ctx, recovery.Job{ID: "id", Kind: recovery.JobReset, By: recovery.ByUsername, Identifier: "alice",
			Portal: "gone", RequestedAt: time.Now(), Turn: time.Now()}, nil))
		is.Equal(len(w.deliver()), 0)
		is.Equal(w.told(), []string{"JobDropped portal", "JobStarted"})
	})
}

// A portal's error is told without the address that it was asked about.
func TestPortalErrorIsScrubbed(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Portals: map[string]recovery.Portal{"p": {URL: "https://portal.example/",
		Allow: func(_ context.Context, a recovery.Account) (bool, error) {
			return false, errors.New("nothing about " + a.Email)
		}}}})
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alicia", Portal: "p"})))
	is.Equal(len(w.deliver()), 0)
	w.hooks.wait(t, "JobRetried")
	event, _ := w.hooks.last("JobRetried").(recovery.JobEvent)
	is.Equal(event.Err.Error(), "nothing about [redacted]")
	is.True(strings.Contains(w.log.String(), "nothing about [redacted]"))
}

// The Mailer's, and the application's, errors are told without the address, of a notice too.
// Mail systems repeat an address as it was sent, in small letters or with the domain's A-label.
func TestAddressesAreScrubbedInEveryForm(t *testing.T) {
	for stored, repeated := range map[string]string{
		"Alice@Example.COM":      "550 5.1.1 <alice@example.com>: Recipient address rejected",
		"alice@example.com":      "550 5.1.1 <ALICE@EXAMPLE.COM>: Recipient address rejected",
		"ALICE@bücher.example":   "550 5.1.1 <alice@xn--bcher-kva.example>: Recipient address rejected",
		"alice@XN--bcher-kva.de": "550 5.1.1 <Alice@xn--BCHER-KVA.de>: Recipient address rejected",
	} {
		t.Run(stored, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			w.put("9", "ally", stored)
			w.mail.Fail(func(recovery.Message) error { return errors.New(repeated) })
			is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "ally"})))
			_, err := w.Deliver(w.ctx)
			is.NoErr(err)
			w.hooks.wait(t, "JobRetried")
			is.True(strings.Contains(w.log.String(), "550 5.1.1 <[redacted]>: Recipient address rejected"))
			local, _, _ := strings.Cut(stored, "@")
			is.True(!strings.Contains(strings.ToLower(w.log.String()), strings.ToLower(local)+"@"))
		})
	}
}

func TestErrorsAfterACompletionAreScrubbed(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{OnReset: func(_ context.Context, a recovery.Account) error { return errors.New("no sessions of " + a.Email) }})
	is.NoErr(w.complete(w.token("alice"), goodPassword))
	w.put("1", "alice", "new@example.com") // the notice goes to the address before
	w.mail.Fail(func(m recovery.Message) error { return errors.New("no mail for " + m.To) })
	w.deliver()
	is.True(strings.Contains(w.log.String(), "no mail for [redacted]"))
	is.True(strings.Contains(w.log.String(), "no sessions of [redacted]"))
	is.True(!strings.Contains(w.log.String(), "@example.com"))
}
