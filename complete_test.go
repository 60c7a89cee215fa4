package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

func TestTokenDies(t *testing.T) {
	moved := func(w *world) {
		a := w.account("1", "alice", "alice@example.org")
		w.users.Put(a, "hash of old")
	}
	inactive := func(change func(*recovery.Account)) func(*world) {
		return func(w *world) {
			a := w.account("1", "alice", "alice@example.com")
			change(&a)
			w.users.Put(a, "hash of old")
		}
	}
	for name, c := range map[string]struct {
		happen func(*world)
		event  string
	}{
		"at 16 hours":          {func(w *world) { w.advance(16 * time.Hour) }, "TokenRefused expired"},
		"after 16 hours":       {func(w *world) { w.advance(16*time.Hour + time.Microsecond) }, "TokenRefused expired"},
		"password changed":     {func(w *world) { w.users.Put(w.account("1", "alice", "alice@example.com"), "other") }, "TokenRefused stale"},
		"address changed":      {moved, "TokenRefused stale"},
		"account deleted":      {func(w *world) { w.users.Remove("1") }, "TokenRefused account_gone"},
		"account disabled":     {inactive(func(a *recovery.Account) { a.Active = false }), "TokenRefused account_gone"},
		"password switched":    {inactive(func(a *recovery.Account) { a.HasPassword = false }), "TokenRefused account_gone"},
		"address not verified": {inactive(func(a *recovery.Account) { a.EmailVerified = false }), "TokenRefused account_gone"},
		"a newer mail":         {func(w *world) { w.token("alice") }, "TokenRefused superseded"},
		"another token": {func(w *world) {
			w.is.NoErr(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice"}))
			w.mail.Fail(func(m recovery.Message) error {
				if m.Token.IsZero() {
					return nil
				}
				return errors.Join(errors.New("down"), w.complete(m.Token.Reveal(), otherPassword))
			})
			w.deliver()
			w.mail.Fail(nil)
		}, "TokenRefused voided"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			token := w.token("alice")
			c.happen(w)
			before := w.hash("1")
			is.Equal(w.complete(token, goodPassword), recovery.ErrInvalidToken) // the bare error, without a reason
			w.hooks.wait(t, c.event)
			is.Equal(w.hash("1"), before)
		})
	}
}

func TestTokenLives(t *testing.T) {
	denied := errors.New("second factor")
	for name, c := range map[string]struct {
		opts recovery.Options
		call func(w *world, token string) error
		want error
	}{
		"a microsecond before 16 hours": {call: func(w *world, _ string) error {
			w.advance(16*time.Hour - time.Microsecond)
			return nil
		}},
		"a rejected password": {call: func(w *world, token string) error { return w.complete(token, "short") }, want: recovery.ErrInvalidPassword},
		"an own word":         {call: func(w *world, token string) error { return w.complete(token, "My-alice-n4me") }, want: recovery.ErrInvalidPassword},
		"another user's name": {call: func(w *world, token string) error {
			_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Username: "billybob", Password: goodPassword})
			return err
		}, want: recovery.ErrInvalidToken},
		"a denied approval": {
			opts: recovery.Options{Approve: func(_ context.Context, a recovery.Account, r recovery.CompleteRequest) error {
				if r.Username == "" {
					return denied
				}
				return nil
			}},
			call: func(w *world, token string) error { return w.complete(token, goodPassword) }, want: recovery.ErrDenied,
		},
		"a failing hash": {
			opts: recovery.Options{HashPassword: onceFailing()},
			call: func(w *world, token string) error { return w.complete(token, goodPassword) }, want: errHash,
		},
		"a failing store": {call: func(w *world, token string) error {
			w.store.failWith(func(method string) error {
				if method == "Redeem" {
					return errStore
				}
				return nil
			})
			defer w.store.failWith(nil)
			return w.complete(token, goodPassword)
		}, want: errStore},
		"a caller who leaves": {call: func(w *world, token string) error {
			ctx, cancel := context.WithCancel(w.ctx)
			cancel()
			_, err := w.CompleteReset(ctx, recovery.CompleteRequest{Token: token, Password: goodPassword})
			return err
		}, want: context.Canceled},
		"a newer request that fails": {call: func(w *world, _ string) error {
			w.mail.Fail(func(recovery.Message) error { return errors.New("down") })
			defer w.mail.Fail(nil)
			w.is.NoErr(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice"}))
			w.is.Equal(len(w.deliver()), 0)
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, &c.opts)
			token := w.token("alice")
			is.True(errors.Is(c.call(w, token), c.want))
			is.Equal(w.hash("1"), "hash of old")
			_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Username: "alice", Password: goodPassword})
			is.NoErr(err) // the token must still work
		})
	}
}

func onceFailing() func(string) (string, error) {
	var once sync.Once
	return func(password string) (hash string, err error) {
		hash = "hash of " + password
		once.Do(func() { hash, err = "", errHash })
		return hash, err
	}
}

func TestApproveSeesTheRequest(t *testing.T) {
	is := is.New(t)
	reason := errors.New("code for " + goodPassword + " of alice@example.com is missing")
	var seen recovery.CompleteRequest
	w := newWorld(t, &recovery.Options{Approve: func(_ context.Context, a recovery.Account, r recovery.CompleteRequest) error {
		is.Equal(a.Username, "alice")
		seen = r
		return reason
	}})
	token := w.token("alice")
	err := w.complete(token, goodPassword)
	is.True(errors.Is(err, recovery.ErrDenied))
	is.True(errors.Is(err, reason)) // the application's error is found
	is.Equal(err.Error(), "recovery: the application denied the reset")
	is.Equal(seen.Password, goodPassword)
	w.hooks.wait(t, "ResetDenied")
}

func TestApproveIsNotAskedForDeadTokens(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
		t.Error("Approve was called")
		return nil
	}})
	is.True(errors.Is(w.complete(tokenText, goodPassword), recovery.ErrInvalidToken))
	is.True(errors.Is(w.complete("x", goodPassword), recovery.ErrInvalidToken))
	w.hooks.wait(t, "TokenRefused unknown")
	w.hooks.wait(t, "TokenRefused malformed")
}

func TestEmptyHashIsRefused(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{HashPassword: func(string) (string, error) { return "", nil }})
	token := w.token("alice")
	err := w.complete(token, goodPassword)
	is.Equal(err.Error(), "recovery: Options.HashPassword returned an empty hash")
	is.Equal(w.hash("1"), "hash of old")
}

// A token that expires while the password is being hashed is dead.
func TestTokenExpiresDuringHash(t *testing.T) {
	is := is.New(t)
	var w *world
	w = newWorld(t, &recovery.Options{HashPassword: func(string) (string, error) { w.advance(time.Microsecond); return "new", nil }})
	token := w.token("alice")
	w.advance(16*time.Hour - time.Microsecond)
	is.Equal(w.complete(token, goodPassword), recovery.ErrInvalidToken)
	is.Equal(w.hash("1"), "hash of old")
}

// Should a Store forget to look at the status, the Service does not.
func TestIneligibleAccountFromTheStore(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	token := w.token("alice")
	svc, err := recovery.New(&forgetfulStore{w.users}, w.mail, &recovery.Options{Now: w.time, Hooks: w.hooks.all()})
	is.NoErr(err)
	_, err = svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: goodPassword})
	is.Equal(err, recovery.ErrInvalidToken)
	w.hooks.wait(t, "TokenRefused account_gone")
}

type forgetfulStore struct{ *memstore.Store }

func (s *forgetfulStore) FindReset(ctx context.Context, d recovery.Digest, at time.Time) (recovery.Reset, recovery.Account, error) {
	r, a, err := s.Store.FindReset(ctx, d, at)
	a.Active = false
	return r, a, err
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		hashing, release := make(chan struct{}), make(chan struct{})
		w := newWorld(t, &recovery.Options{
			HashConcurrency: 1, HashWait: 20 * time.Millisecond,
			HashPassword: func(password string) (string, error) { hashing <- struct{}{}; <-release; return "new", nil },
		})
		first, second := w.token("alice"), w.token("billybob")
		done := make(chan error)
		go func() { done <- w.complete(first, goodPassword) }()
		<-hashing
		is.True(errors.Is(w.complete(second, goodPassword), recovery.ErrBusy))
		ctx, cancel := context.WithCancel(w.ctx)
		time.AfterFunc(time.Millisecond, cancel)
		_, err := w.CompleteReset(ctx, recovery.CompleteRequest{Token: second, Password: goodPassword})
		is.Equal(err, context.Canceled)
		close(release)
		is.NoErr(<-done)
		is.NoErr(w.deadOrAlive(second, true)) // who got ErrBusy keeps the token
		go func() { <-hashing }()
		is.NoErr(w.complete(second, goodPassword)) // the slot is free again
	})
}

func TestHashSlotSurvivesAPanic(t *testing.T) {
	is := is.New(t)
	var once sync.Once
	w := newWorld(t, &recovery.Options{HashConcurrency: 1, HashPassword: func(string) (string, error) {
		once.Do(func() { panic("boom") })
		return "new", nil
	}})
	token := w.token("alice")
	func() {
		defer func() { is.True(recover() != nil) }()
		_ = w.complete(token, goodPassword)
	}()
	is.NoErr(w.complete(token, goodPassword))
}

// 64 completions of one token at once: one winner, whose hash is stored, and one notice.
func TestAttack_S40_OneWinner(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	token := w.token("alice")
	var wg sync.WaitGroup
	errs := make([]error, 64)
	start := make(chan struct{})
	for i := range errs {
		wg.Go(func() {
			<-start
			errs[i] = w.complete(token, fmt.Sprintf("Correct-h0rse-%d", i))
		})
	}
	close(start)
	wg.Wait()
	winners := 0
	for i, err := range errs {
		if err == nil {
			winners++
			is.Equal(w.hash("1"), fmt.Sprintf("hash of Correct-h0rse-%d", i))
		} else {
			is.Equal(err, recovery.ErrInvalidToken)
		}
	}
	is.Equal(winners, 1)
	is.Equal(len(w.deliver()), 1)
}

func TestCompletionsAreLimited(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{
		PerIdentifier:     []recovery.Limit{{Burst: 1000, Every: time.Second}},
		CompletePerClient: recovery.Limit{Burst: 5, Every: time.Minute},
	}})
	token := w.token("alice")
	for range 50 {
		is.True(errors.Is(w.complete("malformed", goodPassword), recovery.ErrInvalidToken)) // costs nothing, counts nothing
		is.True(errors.Is(w.complete(token, "short"), recovery.ErrInvalidPassword))
	}
	for range 5 {
		is.True(errors.Is(w.complete(tokenText, goodPassword), recovery.ErrInvalidToken))
	}
	is.True(errors.Is(w.complete(token, goodPassword), recovery.ErrLimited))
	w.hooks.wait(t, "LimitReached complete client")
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: goodPassword, Client: netip.MustParseAddr("192.0.2.99")})
	is.NoErr(err) // another client, and the token lives
}

// An IPv4 address is one client, however it is written; who has none is not counted.
func TestCompletionsAreLimitedPerAddress(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{
		PerIdentifier:     []recovery.Limit{{Burst: 1000, Every: time.Second}},
		CompletePerClient: recovery.Limit{Burst: 1, Every: time.Minute},
	}})
	guess := func(addr string) error {
		r := recovery.CompleteRequest{Token: tokenText, Password: goodPassword}
		if addr != "" {
			r.Client = netip.MustParseAddr(addr)
		}
		_, err := w.CompleteReset(w.ctx, r)
		return err
	}
	is.Equal(guess("::ffff:192.0.2.1"), recovery.ErrInvalidToken)
	is.True(errors.Is(guess("192.0.2.1"), recovery.ErrLimited))
	is.Equal(guess("::ffff:192.0.2.2"), recovery.ErrInvalidToken) // another
	w.store.calls()
	is.Equal(guess(""), recovery.ErrInvalidToken)
	is.Equal(w.store.calls(), "FindReset") // there is nothing to count
}

// Why Approve said no is told to the hook, without what it was asked about.
func TestDenialIsScrubbed(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Approve: func(_ context.Context, a recovery.Account, r recovery.CompleteRequest) error {
		return fmt.Errorf("no second factor for %s %s %s", a.Email, r.Token, r.Password)
	}})
	err := w.complete(w.token("alice"), goodPassword)
	is.True(errors.Is(err, recovery.ErrDenied))
	is.Equal(err.Error(), recovery.ErrDenied.Error())
	w.hooks.wait(t, "ResetDenied")
	event, _ := w.hooks.last("ResetDenied").(recovery.ResetEvent)
	is.Equal(event.Err.Error(), "recovery: approve: no second factor for [redacted] [redacted] [redacted]")
}

func TestOnlyLiveTokensAreHashed(t *testing.T) {
	is := is.New(t)
	hashed := 0
	w := newWorld(t, &recovery.Options{HashPassword: func(string) (string, error) { hashed++; return "new", nil }})
	token := w.token("alice")
	for i := range 1000 {
		guess := fmt.Sprintf("%s%04d", tokenText[:48], i)
		guess = strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").Replace(guess[:51]) + "a"
		is.True(errors.Is(w.complete(guess, goodPassword), recovery.ErrInvalidToken))
	}
	is.True(errors.Is(w.complete(token, "short"), recovery.ErrInvalidPassword))
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Username: "alicia", Password: goodPassword})
	is.True(errors.Is(err, recovery.ErrInvalidToken))
	is.Equal(hashed, 0)
	is.NoErr(w.complete(token, goodPassword))
	is.Equal(hashed, 1)
	is.True(errors.Is(w.complete(token, goodPassword), recovery.ErrInvalidToken))
	is.Equal(hashed, 1)
}

func TestDefaultHashIsVerifiable(t *testing.T) {
	is := is.New(t)
	users, mail := memstore.New(), &mailertest.Recorder{}
	users.Put(recovery.Account{ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true}, "x")
	svc, err := recovery.New(users, mail, &recovery.Options{Logger: slog.New(slog.DiscardHandler)})
	is.NoErr(err)
	is.NoErr(svc.RequestReset(t.Context(), recovery.ResetRequest{Username: "alice"}))
	n, err := svc.Deliver(t.Context())
	is.NoErr(err)
	is.Equal(n, 1)
	m, _ := mail.Last()
	_, err = svc.CompleteReset(t.Context(), recovery.CompleteRequest{Token: m.Token.Reveal(), Password: goodPassword})
	is.NoErr(err)
	hash, _ := users.PasswordHash("1")
	is.NoErr(recovery.VerifyPassword(hash, goodPassword))
}
