package recovery_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
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
	is.True(len(mails[0].Resets) == 0)
	is.True(mails[0].ID != m.ID)
	for _, event := range []string{"JobStarted", "MailSent", "PasswordChanged"} {
		w.hooks.wait(t, event)
	}
	is.True(errors.Is(w.complete(tokenOf(m), otherPassword), recovery.ErrInvalidToken)) // used
	w.hooks.wait(t, "TokenRefused used")
	is.Equal(w.log.String(), "")
}

func TestFieldErrors(t *testing.T) {
	w := newWorld(t, nil)
	reset := func(r recovery.ResetRequest) func() error {
		return func() error { return errOf(w.RequestReset(w.ctx, r)) }
	}
	usernames := func(r recovery.UsernameRequest) func() error {
		return func() error { return errOf(w.RetrieveUsername(w.ctx, r)) }
	}
	complete := func(r recovery.CompleteRequest) func() error {
		return func() error { _, err := w.CompleteReset(w.ctx, r); return err }
	}
	const localeRule = "recovery: locale must be a language tag of at most 35 letters, digits and hyphens"
	for want, calls := range map[string][]func() error{
		"recovery: username or email must be given":           {reset(recovery.ResetRequest{})},
		"recovery: username and email must not both be given": {reset(recovery.ResetRequest{Username: "alice", Email: "evil@example.com"})},
		"recovery: username must not be empty":                {reset(recovery.ResetRequest{Username: " "})},
		"recovery: email must be one address with exactly one @": {
			reset(recovery.ResetRequest{Email: "alice"}), usernames(recovery.UsernameRequest{Email: "alice@example.com,evil@example.com"}),
		},
		"recovery: email must not be empty":                            {usernames(recovery.UsernameRequest{})},
		"recovery: portal must be one that the application configured": {reset(recovery.ResetRequest{Username: "alice", Portal: "x"})},
		localeRule: {
			reset(recovery.ResetRequest{Username: "alice", Locale: "en\r\nBcc: x"}),
			usernames(recovery.UsernameRequest{Email: "a@b.example", Locale: strings.Repeat("x", 36)}),
			complete(recovery.CompleteRequest{Token: tokenText, Password: goodPassword, Locale: "ä"}),
		},
		"recovery: username must not contain control, format or other invisible characters": {
			complete(recovery.CompleteRequest{Token: tokenText, Password: goodPassword, Username: "ali\u200bce"}),
		},
	} {
		for _, call := range calls {
			is := is.New(t)
			err := call()
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
	for _, locale := range []string{"", "en", "zh-Hant-TW", strings.Repeat("x", 35)} {
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Locale: locale})))
	}
	for _, locale := range []string{"en_GB", "\u0161", "en ", strings.Repeat("x", 36)} { // U+0161 ends with the byte of an a
		is.True(errors.Is(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Locale: locale})), recovery.ErrInvalidRequest))
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
			_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: goodPassword})
			return err
		},
		"Stats": func(w *world, _ string) error { _, err := w.Stats(w.ctx); return err },
	} {
		t.Run(method, func(t *testing.T) {
			opts := recovery.Options{StoreTimeout: 3 * time.Second, Approve: approve, Limits: recovery.Limits{PerClient: recovery.Limit{Burst: 9, Every: time.Second}}}
			inBubble(t, opts, func(_ *testing.T, is *is.I, w *world) {
				token := w.token("alice")
				w.store.Around = func(ctx context.Context, m string, _ any, call func(context.Context) error) error {
					if m == method {
						return hangs(ctx)
					}
					return call(ctx)
				}
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

// newTenants is a world in which acme has an alice, too, on the same address, and a carol.
func newTenants(t *testing.T, opts *recovery.Options) *world {
	t.Helper()
	w := newWorld(t, opts)
	for id, name := range map[string]string{"11": "alice", "12": "carol"} {
		a := w.account(id, name, name+"@example.com")
		a.Tenant = "acme"
		w.users.Put(a, "hash of old")
	}
	return w
}

// S18: the same name in two tenants is two people, and a request means one tenant's.
func TestAttack_S18_NamesakesOfTenants(t *testing.T) {
	is := is.New(t)
	w := newTenants(t, &recovery.Options{OnReset: func(context.Context, recovery.Account) error { return nil }})
	_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: "acme", Client: client})
	is.NoErr(err)
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].Tenant, "acme")
	is.Equal(len(mails[0].Resets), 1)
	account, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: tokenOf(mails[0]), Username: "alice", Password: goodPassword})
	is.NoErr(err)
	is.Equal(account.Tenant, "acme")
	is.Equal(w.hash("11"), "hash of "+goodPassword)
	is.Equal(w.hash("1"), "hash of old")
	notice := w.deliver()
	is.Equal(len(notice), 1)
	is.Equal(notice[0].Tenant, "acme")

	_, err = w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com", Tenant: "acme", Client: client})
	is.NoErr(err)
	is.Equal(w.deliver()[0].Usernames, []string{"alice"}) // not alicia, who is of no tenant

	for _, tenant := range []string{"", "Acme", "acme ", "other"} {
		_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "carol", Tenant: tenant, Client: client})
		is.NoErr(err)
		is.Equal(len(w.deliver()), 0)
	}
	w.hooks.wait(t, "OnResetCalled")
	w.hooks.mu.Lock()
	defer w.hooks.mu.Unlock()
	for _, event := range w.hooks.values {
		if e, ok := event.(recovery.JobEvent); ok && e.Account.ID != "" {
			is.Equal(e.Tenant, "acme") // no event names another tenant's account
			is.Equal(e.Account.Tenant, "acme")
		}
	}
}

// A tenant's requests use up nothing of another tenant's mailbox, though the address is the same;
// but a client has what it has, whatever tenant it names.
func TestLimitsOfTenants(t *testing.T) {
	is := is.New(t)
	w := newTenants(t, &recovery.Options{Limits: recovery.Limits{
		PerClient: recovery.Limit{Burst: 3, Every: time.Minute}, PerMailbox: recovery.Limit{Burst: 1, Every: time.Hour},
	}})
	ask := func(tenant string) int {
		_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: tenant, Client: client})
		is.NoErr(err)
		return len(w.deliver())
	}
	is.Equal(ask("acme"), 1)
	is.Equal(ask("acme"), 0)
	is.Equal(ask(""), 1)
	_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: "third", Client: client})
	is.True(errors.Is(err, recovery.ErrLimited))
	w.hooks.wait(t, "LimitReached reset client")
	w.hooks.mu.Lock()
	defer w.hooks.mu.Unlock()
	is.Equal(w.hooks.values[len(w.hooks.values)-1].(recovery.LimitEvent).Tenant, "third")
}

func TestMalformedTenants(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	for _, tenant := range []string{strings.Repeat("t", 65), "a\nb", "a\x00", "\u200b", "\xff"} {
		_, reset := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: tenant})
		_, names := w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com", Tenant: tenant})
		for _, err := range []error{reset, names} {
			is.Equal(err.Error(), "recovery: tenant must be at most 64 bytes of visible text")
			is.True(errors.Is(err, recovery.ErrInvalidRequest))
		}
	}
	_, err := recovery.New(w.users, w.mail, &recovery.Options{Portals: map[string]recovery.Portal{
		"p": {URL: "https://portal.example/", Tenants: []string{"a\nb"}},
	}})
	is.Equal(err.Error(), `recovery: Options.Portals["p"] must have Tenants of at most 64 bytes of visible text`)
}

// S35: a portal is for its tenants. Who names another's is told so, whoever is meant.
func TestAttack_S35_PortalsOfTenants(t *testing.T) {
	is := is.New(t)
	portals := map[string]recovery.Portal{
		"acme": {URL: "https://acme.example/reset", Tenants: []string{"acme", "acme-test"}},
		"":     {URL: "https://portal.example/reset", Tenants: []string{""}},
	}
	_, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{Portals: portals})
	is.NoErr(err) // Tenants are enough, without Allow

	w := newTenants(t, &recovery.Options{Portals: portals})
	for _, name := range []string{"alice", "carol", "nobody"} {
		_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Tenant: "other", Portal: "acme"})
		is.Equal(err.Error(), "recovery: portal must be one that the application configured")
		_, err = w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Tenant: "acme"}) // whose default is not theirs
		is.True(errors.Is(err, recovery.ErrInvalidRequest))
	}
	_, err = w.RequestReset(w.ctx, recovery.ResetRequest{Username: "carol", Tenant: "acme", Portal: "acme"})
	is.NoErr(err)
	is.True(strings.HasPrefix(w.deliver()[0].Resets[0].Link, "https://acme.example/reset#token="))

	// The portal was another tenant's by the time that the mail would have been sent.
	_, err = w.RequestReset(w.ctx, recovery.ResetRequest{Username: "carol", Tenant: "acme", Portal: "acme"})
	is.NoErr(err)
	portals["acme"] = recovery.Portal{URL: "https://acme.example/reset", Tenants: []string{"acme-test"}}
	svc := w.service(w.store, recovery.Options{Portals: portals})
	_, err = svc.Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(len(w.mail.Messages()), 1)
	w.hooks.wait(t, "JobDropped portal")
}

// What a client network had of one tenant's mails is not counted against another tenant's.
func TestNetworkHasMailsOfEachTenant(t *testing.T) {
	is := is.New(t)
	w := newTenants(t, &recovery.Options{Limits: recovery.Limits{PerRequester: recovery.Limit{Burst: 1, Every: time.Hour}}})
	ask := func(tenant string) int {
		w.advance(2 * time.Minute)
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: tenant, Client: client})))
		return len(w.deliver())
	}
	is.Equal(ask("acme"), 1)
	is.Equal(ask("acme"), 0)
	is.Equal(ask(""), 1)
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
	unverified := w.account("6", "uverifie", "uverifie@example.com")
	unverified.EmailVerified = false
	w.users.Put(unverified, "hash of old")
	disabled := w.account("4", "disabled", "disabled@example.com")
	disabled.Active = false
	w.users.Put(disabled, "hash of old")
	noPassword := w.account("7", "federate", "federate@example.com")
	noPassword.HasPassword = false
	w.users.Put(noPassword, "hash of old")

	tenants := w.account("8", "billybob", "billybob@acme.example")
	tenants.Tenant = "acme"
	w.users.Put(tenants, "hash of old")

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

func TestKindsOfIdentifiersAreApart(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.put("8", "victim@example.com", "attacker@example.com") // a user name that is another's address: S12
	w.put("9", "victim", "victim@example.com")
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "victim@example.com"})))
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].To, "victim@example.com")
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "victim@example.com"})))
	mails = w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].To, "attacker@example.com")
	is.NoErr(w.deadOrAlive(tokenOf(mails[0]), true))
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
