package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
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

func TestResetByEmailHasATokenForEachAccount(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.askEmail("ALICE@example.com")
	mails := w.deliver()
	is.Equal(len(mails), 1) // one mail
	is.Equal(mails[0].To, "alice@example.com")
	tokens := map[string]string{}
	for _, r := range mails[0].Resets {
		tokens[r.Username] = r.Token.Reveal()
	}
	is.Equal(len(tokens), 2)
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Username: "alice", Token: tokens["alicia"], Password: goodPassword})
	is.True(errors.Is(err, recovery.ErrInvalidToken)) // each token resets its own account only
	w.hooks.wait(t, "TokenRefused other_account")
	is.NoErr(w.complete(tokens["alicia"], goodPassword))
	is.Equal(w.hash("1"), "hash of old")
	is.Equal(w.hash("2"), "hash of "+goodPassword)
	is.NoErr(w.deadOrAlive(tokens["alice"], true))
}

func TestRetrieveUsername(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "Alice@Example.com", Locale: "en"})))
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].Kind, recovery.MessageUsernames)
	is.Equal(mails[0].To, "alice@example.com")
	is.Equal(mails[0].Usernames, []string{"alice", "alicia"})
	is.True(len(mails[0].Resets) == 0)
}

// S13: one address with many accounts.
func TestManyAccountsOfOneAddress(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	for i := range 1200 {
		a := w.account(fmt.Sprintf("u%04d", i), fmt.Sprintf("user%04d", i), "many@example.com")
		a.Locale = "ja"
		w.users.Put(a, "hash of old")
	}
	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "many@example.com", Locale: "en"})))
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(len(mails[0].Usernames), 50)
	is.Equal(mails[0].MoreNames, 950)
	is.Equal(mails[0].Locale, "ja") // the account's goes first
	w.hooks.wait(t, "JobDropped too_many")

	w.askEmail("many@example.com")
	mails = w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(len(mails[0].Resets), 10)
	is.Equal(mails[0].MoreResets, 990)
	for i, r := range mails[0].Resets {
		is.Equal(r.Username, fmt.Sprintf("user%04d", i))
		is.NoErr(w.deadOrAlive(r.Token.Reveal(), true))
	}
}

// S13: whoever makes accounts with the address of somebody else, which stay unverified, does not keep that
// one out.
func TestAttack_S13_CrowdedOut(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.users.Put(w.account("z", "zoe", "zoe@example.com"), "hash of old")
	for i := range 1001 {
		a := w.account(fmt.Sprintf("u%04d", i), fmt.Sprintf("user%04d", i), "zoe@example.com")
		a.EmailVerified = false
		w.users.Put(a, "hash of old")
	}
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "zoe@example.com"})))
	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "zoe@example.com"})))
	mails := w.deliver()
	is.Equal(len(mails), 2)
	for _, m := range mails {
		for _, r := range m.Resets {
			m.Usernames = append(m.Usernames, r.Username)
		}
		is.Equal(m.Usernames, []string{"zoe"})
	}
}

// A store may find more that only look like the one that is meant than the Service asks for.
func TestTooManyFound(t *testing.T) {
	for _, c := range []struct {
		n, eligible int
		want        bool
	}{{999, 999, false}, {1000, 1000, false}, {1001, 1001, true}, {2000, 2000, true}, {2000, 1000, false}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			var alike []recovery.Account
			for i := range c.n {
				a := w.account(fmt.Sprintf("u%04d", i), "billyböb", "other@example.com")
				a.EmailVerified = i < c.eligible
				alike = append(alike, a)
			}
			svc := w.service(&looseStore{Store: w.users, accounts: alike}, recovery.Options{})
			for _, name := range []string{"billybob", "billybab"} { // events come in order
				is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: name})))
				_, err := svc.Deliver(w.ctx)
				is.NoErr(err)
			}
			for begin := time.Now(); w.hooks.count("JobDropped no_account") < 2; time.Sleep(time.Millisecond) {
				is.True(time.Since(begin) < 10*time.Second) // both were dropped
			}
			is.Equal(w.hooks.seen("JobDropped too_many"), c.want)
			is.True(!w.hooks.seen("JobRetried"))
		})
	}
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

var (
	errHash  = errors.New("hashing failed")
	errStore = errors.New("store failed")
)

func TestStoreErrorsAreWrappedAndScrubbed(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	token := w.token("alice")
	w.store.failWith(func(string) error {
		return fmt.Errorf("%w at Alice@Example.com alice@example.com %s %s", errStore, token, goodPassword)
	})
	err := errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "Alice@Example.com"}))
	is.True(errors.Is(err, errStore))
	is.True(strings.HasPrefix(err.Error(), "recovery: add the request: store failed at [redacted] [redacted] "))
	err = w.complete(token, goodPassword)
	is.True(errors.Is(err, errStore))
	is.True(errors.Is(err, errStore))
	is.True(!strings.Contains(err.Error(), token))
	is.True(!strings.Contains(fmt.Sprintf("%#v %d", err, err), goodPassword))

	// Once the account is known, so are its address and the new hash.
	w.store.failAt("Redeem", fmt.Errorf("%w at alice@example.com %s hash of %s", errStore, token, goodPassword))
	err = w.complete(token, goodPassword)
	is.Equal(err.Error(), "recovery: complete the reset: store failed at [redacted] [redacted] [redacted]")
}

// Errors need not be text: what stands beside a secret is kept, byte for byte.
func TestSecretsAmongBytesAreScrubbed(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.store.failWith(func(string) error {
		return errors.New("Alice@example.com \xff\xfe ALICE@EXAMPLE.COM \xff\x80 alice@Example.com\xff")
	})
	err := errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com"}))
	is.Equal(err.Error(), "recovery: add the request: [redacted] \xff\xfe [redacted] \xff\x80 [redacted]\xff")
}

// Secrets are taken out however they are quoted.
func TestQuotedSecretsAreScrubbed(t *testing.T) {
	is := is.New(t)
	const password = "Corr\"ct h0rse&%"
	w := newWorld(t, &recovery.Options{Hasher: recovery.Hasher{Hash: func(password string) (string, error) {
		return "", fmt.Errorf("%w: %q %s %s", errHash, password, url.QueryEscape(password), url.PathEscape(password))
	}}})
	err := w.complete(w.token("alice"), password)
	is.True(errors.Is(err, errHash))
	is.Equal(err.Error(), "recovery: hash the password: hashing failed: \"[redacted]\" [redacted] [redacted]")
}

func TestClientIsStoredNormalised(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: netip.MustParseAddr("::ffff:192.0.2.1")})))
	is.Equal(w.deliver()[0].Client, netip.MustParseAddr("192.0.2.1"))
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: netip.MustParseAddr("fe80::1%eth0")})))
	is.Equal(w.deliver()[0].Client, netip.MustParseAddr("fe80::1"))
}

// The Store is asked for what was typed and for its canonical form, both without spaces around them.
func TestAccountsAreLookedUpWithoutSpaces(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	var query recovery.AccountQuery
	svc := w.service(spy.On(w.users, func(ctx context.Context, _ string, arg any, call func(context.Context) error) error {
		if q, ok := arg.(recovery.AccountQuery); ok {
			query = q
		}
		return call(ctx)
	}), recovery.Options{})
	is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "  AliCe "})))
	_, err := svc.Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(query.Typed, "AliCe")
	is.Equal(query.Canonical, "alice")
	is.Equal(query.Max, 1001) // to see whether there are more than are mailed
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

// So does what the hashing says.
func TestHashErrorOfACallerWhoLeft(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorld(t, &recovery.Options{Hasher: recovery.Hasher{Hash: func(string) (string, error) { cancel(); return "", errHash }}})
	_, err := w.CompleteReset(ctx, recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword})
	is.True(errors.Is(err, errHash))
	is.Equal(err.Error(), "recovery: hash the password: hashing failed")
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

func TestClientAndGlobalLimits(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{
		PerClient: recovery.Limit{Burst: 2, Every: time.Minute},
		Global:    recovery.Limit{Burst: 7, Every: time.Hour},
	}})
	ask := func(addr string) error {
		return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: netip.MustParseAddr(addr)}))
	}
	refused := func(err error, scope recovery.Scope, after time.Duration) {
		is.Helper()
		var e *recovery.LimitError
		is.True(errors.As(err, &e))
		is.Equal(*e, recovery.LimitError{Scope: scope, RetryAfter: after})
	}
	is.NoErr(ask("192.0.2.1"))
	is.NoErr(ask("::ffff:192.0.2.1")) // the same client
	refused(ask("192.0.2.1"), recovery.ScopeClient, time.Minute)
	refused(ask("::ffff:192.0.2.1"), recovery.ScopeClient, time.Minute)
	refused(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "nobody@example.com", Client: netip.MustParseAddr("192.0.2.1")})), recovery.ScopeClient, time.Minute)
	is.NoErr(ask("192.0.2.2"))
	is.NoErr(ask("2001:db8:0:1::1"))
	is.NoErr(ask("2001:db8:0:1:ffff::2%eth0")) // the same /64
	refused(ask("2001:db8:0:1:8000::3"), recovery.ScopeClient, time.Minute)
	is.NoErr(ask("2001:db8:0:2::1"))
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice"})))
	refused(ask("192.0.2.3"), recovery.ScopeGlobal, time.Hour)
	w.hooks.wait(t, "LimitReached reset client")
	w.hooks.wait(t, "LimitReached usernames client")
	w.hooks.wait(t, "LimitReached reset global")
}
