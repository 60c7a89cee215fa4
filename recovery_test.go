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

func TestResetPassword(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Application: "Contoso"})
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: " AliCe ", Locale: "ja", Client: client})))
	mails := w.deliver()
	is.Equal(len(mails), 1)
	m := mails[0]
	is.Equal(m.Kind, recovery.MessageResetToken)
	is.Equal(m.To, "alice@example.com")
	is.Equal(len(m.Usernames), 0) // it is with its token
	is.Equal(len(m.Resets), 1)
	is.Equal(m.Resets[0].Username, "alice")
	is.Equal(m.Application, "Contoso")
	is.Equal(m.Locale, "ja")
	is.Equal(m.Resets[0].Link, "")
	is.Equal(m.Client, client)
	is.Equal(m.RequestedAt, w.time())
	is.Equal(m.ExpiresAt, w.time().Add(16*time.Hour)) // the documented validity

	account, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{
		Username: "ALICE", Password: goodPassword, Token: " " + tokenOf(m) + "\n", Client: client,
	})
	is.NoErr(err)
	is.Equal(account.ID, "1")
	is.Equal(account.Username, "alice")
	is.Equal(w.hash("1"), "hash of "+goodPassword)
	is.Equal(w.hash("2"), "hash of old") // the other account of the address

	mails = w.deliver()
	is.Equal(len(mails), 1) // the confirmation
	is.Equal(mails[0].Kind, recovery.MessagePasswordChanged)
	is.Equal(mails[0].To, "alice@example.com")
	is.Equal(mails[0].Usernames, []string{"alice"})
	is.Equal(len(mails[0].Resets), 0)
	is.True(mails[0].ID != m.ID)
	is.Equal(w.complete(tokenOf(m), otherPassword), recovery.ErrInvalidToken) // used
	w.hooks.wait(t, "TokenRefused used")
	is.Equal(w.log.String(), "")
}

func TestFieldErrors(t *testing.T) {
	w := newWorld(t, &recovery.Options{Portals: map[string]recovery.Portal{"acme": {URL: "https://acme.example/", Tenants: []string{"acme"}}}})
	reset := func(r recovery.ResetRequest) error { return errOf(w.RequestReset(w.ctx, r)) }
	usernames := func(r recovery.UsernameRequest) error { return errOf(w.RetrieveUsername(w.ctx, r)) }
	complete := func(r recovery.CompleteRequest) error { return errOf(w.CompleteReset(w.ctx, r)) }
	const localeRule = "recovery: locale must be language tags of letters, digits and hyphens, with a comma between two, and at most 64 bytes"
	for want, errs := range map[string][]error{
		"recovery: username or email must be given":           {reset(recovery.ResetRequest{})},
		"recovery: username and email must not both be given": {reset(recovery.ResetRequest{Username: "alice", Email: "evil@example.com"})},
		"recovery: username must not be empty":                {reset(recovery.ResetRequest{Username: " "})},
		"recovery: email must be one address with exactly one @": {
			reset(recovery.ResetRequest{Email: "alice"}), usernames(recovery.UsernameRequest{Email: "alice@example.com,evil@example.com"}),
		},
		"recovery: email must not be empty": {usernames(recovery.UsernameRequest{})},
		"recovery: portal must be one that the application configured": {
			reset(recovery.ResetRequest{Username: "alice", Portal: "x"}), reset(recovery.ResetRequest{Username: "alice", Portal: "acme"}),
		},
		"recovery: tenant must be at most 64 bytes of visible text": {
			reset(recovery.ResetRequest{Username: "alice", Tenant: strings.Repeat("t", 65)}),
			reset(recovery.ResetRequest{Username: "alice", Tenant: "\u200b"}), usernames(recovery.UsernameRequest{Email: "a@b.example", Tenant: "\xff"}),
		},
		localeRule: {
			reset(recovery.ResetRequest{Username: "alice", Locale: "en\r\nBcc: x"}),
			usernames(recovery.UsernameRequest{Email: "a@b.example", Locale: strings.Repeat("x", 65)}),
			complete(recovery.CompleteRequest{Token: tokenText, Password: goodPassword, Locale: "ä"}),
		},
		"recovery: username must not contain control, format or other invisible characters": {
			complete(recovery.CompleteRequest{Token: tokenText, Password: goodPassword, Username: "ali\u200bce"}),
		},
	} {
		for _, err := range errs {
			is := is.New(t)
			is.True(errors.Is(err, recovery.ErrInvalidRequest))
			is.Equal(err.Error(), want)
		}
	}
	is := is.New(t)
	is.Equal(w.store.calls(), "") // nothing may be asked, let alone stored
	is.Equal(w.users.Dump(), "")
}

func TestLocalesThatAreTags(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	for locale, ok := range map[string]bool{
		"": true, "en": true, "zh-Hant-TW": true, "de-CH,fr": true, strings.Repeat("x", 64): true, "en_GB": false, "en ": false, "\u0161": false, // its last byte is an a's
	} {
		is.Equal(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Locale: locale})) == nil, ok)
	}
}

// What the Store says goes before the caller's leaving: it may be that nobody knows what was done.
func TestStoreErrorOfACallerWhoLeft(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(w.ctx)
	w.store.failWith(func(string) error { cancel(); return errStore })
	is.True(errors.Is(errOf(w.RequestReset(ctx, recovery.ResetRequest{Username: "alice"})), errStore))
}

func TestCallsEndWithTheirContext(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	is.Equal(errOf(w.RequestReset(ctx, recovery.ResetRequest{Username: "alice"})), context.Canceled)
	is.Equal(errOf(w.RetrieveUsername(ctx, recovery.UsernameRequest{Email: "alice@example.com"})), context.Canceled)
	is.Equal(w.users.Dump(), "")
}

// Whoever works is not reported as missing.
func TestWorkersAreNotMissing(t *testing.T) {
	for name, work := range map[string]func(w *world) (stop func()){
		"Run":        func(w *world) func() { return w.run() },
		"Deliver":    func(w *world) func() { w.deliver(); return func() {} },
		"DeliverJob": func(w *world) func() { w.is.NoErr(errOf(w.DeliverJob(w.ctx, "none"))); return func() {} },
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

// Nobody waits for the Store longer than StoreTimeout, whatever is asked.
func TestStoreTimeout(t *testing.T) {
	approve := func(context.Context, recovery.Account, recovery.CompleteRequest) error { return recovery.ErrDenied }
	for method, call := range map[string]func(*world, string) error{
		"Enqueue": func(w *world, _ string) error {
			return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: client}))
		},
		"TakeLimits": func(w *world, token string) error { return w.complete(token, goodPassword) },
		"FindReset":  func(w *world, token string) error { return w.complete(token, goodPassword) },
		"Redeem": func(w *world, token string) error {
			svc := w.service(w.store, recovery.Options{Now: time.Now, StoreTimeout: 3 * time.Second})
			return errOf(svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: goodPassword}))
		},
		"Stats": func(w *world, _ string) error { return errOf(w.Stats(w.ctx)) },
	} {
		t.Run(method, func(t *testing.T) {
			opts := recovery.Options{StoreTimeout: 3 * time.Second, Approve: approve, Limits: recovery.Limits{PerClient: recovery.Limit{Burst: 9, Every: time.Second}}}
			inBubble(t, opts, func(_ *testing.T, is *is.I, w *world) {
				token := w.token("alice")
				w.store.hangAt(method)
				start := time.Now()
				err := call(w, token)
				is.True(errors.Is(err, context.DeadlineExceeded))
				is.True(strings.HasPrefix(err.Error(), "recovery: "))
				is.Equal(time.Since(start), 3*time.Second)
				is.NoErr(w.deadOrAlive(token, true))
			})
		})
	}
}

// What is asked for must not change what the caller sees or what the Store is asked: the same calls
// with the same arguments, but for the identifier and what chance decides.
func TestRequestsAreUniform(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{
		Workers: 1, // in order, so that no mail is superseded before it is sent
		Limits: recovery.Limits{
			PerClient: recovery.Limit{Burst: 1000, Every: time.Second},
		},
	})
	w.put("6", "uverifie", "uverifie@example.com", unverified)
	w.put("4", "disabled", "disabled@example.com", inactive)
	w.put("7", "federate", "federate@example.com", noPassword)

	w.put("8", "billybob", "billybob@acme.example", inTenant("acme"))

	// All of one length, so that the recorded lengths are equal.
	names := map[string]string{
		"known": "billybob", "unknown": "nobodyxx", "disabled": "disabled", "unverified": "uverifie",
		"without password": "federate", "throttled": "throttle", "throttled unknown": "throttlx",
	}
	w.put("5", "throttle", "throttle@example.com")
	for _, name := range []string{"throttle", "throttlx"} {
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Client: client})))
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: name + "@example.com", Client: client})))
		for range 2 {
			is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: name + "@example.com", Client: client})))
		}
	}
	w.deliver()
	w.store.calls()
	sent := len(w.mail.Messages())

	traces := map[string]map[string]string{}
	for class, name := range names {
		email := name + "@example.com"
		for call, f := range map[string]func() error{
			"reset by user name": func() error {
				return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Client: client}))
			},
			"reset by address": func() error { return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: email, Client: client})) },
			"reset with a code in a tenant": func() error {
				return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Tenant: "acme", Code: true, Client: client}))
			},
			"user names": func() error {
				return errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: email, Client: client}))
			},
		} {
			is.NoErr(f())
			if traces[call] == nil {
				traces[call] = map[string]string{}
			}
			traces[call][class] = w.store.calls()
		}
	}
	for call, byClass := range traces {
		for class, trace := range byClass {
			if trace != byClass["unknown"] {
				t.Errorf("%s, %s:\n%s\nunknown:\n%s", call, class, trace, byClass["unknown"])
			}
			is.Equal(strings.Count(trace, "\n"), 0) // one call of the Store
			is.True(strings.HasPrefix(trace, "Enqueue "))
			is.Equal(strings.Contains(trace, " ticket:true "), strings.Contains(call, "code"))
			is.True(strings.HasSuffix(trace, fmt.Sprintf(" at:%v priority:%v", w.time(), w.time())))
		}
	}
	is.Equal(len(w.mail.Messages()), sent) // nothing is mailed by a call
	is.Equal(len(w.deliver()), 4)          // billybob's token and names, where federate logs in, and the tenant's token
}

func TestThrottledIsSilent(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{PerClient: recovery.Limit{Burst: 1000, Every: time.Second}}})
	mailed := 0
	for minute := range 120 {
		for _, name := range []string{"alice", " ALICE", "nobody"} {
			w.ask(name)
		}
		mailed += len(w.deliver())
		if minute == 59 {
			is.Equal(mailed, 6) // six an hour
		}
		w.advance(time.Minute)
	}
	is.Equal(mailed, 7)
	w.hooks.wait(t, "JobThrottled")
	is.True(!strings.Contains(w.users.Dump(), "alice")) // what is finished is gone
}

func TestMissingWorkerIsReportedOnce(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		svc := w.service(w.users, recovery.Options{Now: time.Now})
		is.NoErr(errOf(svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword})))
		time.Sleep(time.Minute)
		is.Equal(strings.Count(w.log.String(), "neither Run, Deliver nor DeliverJob was called"), 1) // a notice waits
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
		is.Equal(strings.Count(w.log.String(), "neither Run, Deliver nor DeliverJob was called"), 1)
	})
}

// Everybody gets a receipt, and its ID connects the caller's log with the events of the hooks.
func TestReceipts(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	seen := map[string]bool{}
	for _, name := range []string{"alice", "nobody", "mallory"} {
		for _, code := range []bool{false, true} {
			reset, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Code: code})
			is.NoErr(err)
			names, err := w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: name + "@example.com"})
			is.NoErr(err)
			for _, r := range []recovery.Receipt{reset, names} {
				is.Equal(len(r.ID), 36)
				_, err := recovery.ParseToken(r.Ticket.Reveal()) // the form of a token
				is.NoErr(err)
				is.True(!r.Ticket.IsZero() && !seen[r.ID] && !seen[r.Ticket.Reveal()])
				seen[r.ID], seen[r.Ticket.Reveal()] = true, true
			}
		}
	}
	receipt, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "b\x00b"})
	is.True(errors.Is(err, recovery.ErrInvalidRequest))
	is.True(receipt.ID == "" && receipt.Ticket.IsZero() && receipt.Ticket.Reveal() == "")

	w = newWorld(t, nil)
	receipt, err = w.RequestReset(w.ctx, recovery.ResetRequest{Username: "billybob"})
	is.NoErr(err)
	is.Equal(w.deliver()[0].ID, receipt.ID)
	w.hooks.wait(t, "MailSent")
	is.Equal(w.hooks.values[0].(recovery.JobEvent).ID, receipt.ID)
}
