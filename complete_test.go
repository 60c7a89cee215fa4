package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
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
			w.is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice"})))
			w.mail.Fail(func(m recovery.Message) error {
				if len(m.Resets) == 0 {
					return nil
				}
				return errors.Join(errors.New("down"), w.complete(tokenOf(m), otherPassword))
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
			is.Equal(errOf(w.CheckReset(w.ctx, recovery.CompleteRequest{Token: token})), recovery.ErrInvalidToken)
			is.Equal(w.complete(token, goodPassword), recovery.ErrInvalidToken) // the bare error, without a reason
			w.hooks.wait(t, c.event)
			is.Equal(w.hash("1"), before)
		})
	}
}

func TestTokenLives(t *testing.T) {
	denied := fmt.Errorf("second factor: %w", recovery.ErrDenied)
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
			opts: recovery.Options{Hasher: recovery.Hasher{Hash: onceFailing()}},
			call: func(w *world, token string) error { return w.complete(token, goodPassword) }, want: errHash,
		},
		"a failing store": {call: func(w *world, token string) error {
			w.store.failAt("Redeem", errStore)
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
			w.is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice"})))
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

// Looking whether a token is alive tells whose it is, and changes nothing.
func TestCheckReset(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{
		Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error { return recovery.ErrDenied },
		Hasher:  recovery.Hasher{Hash: func(string) (string, error) { panic("hashed") }},
	})
	r := recovery.CompleteRequest{Token: w.token("alice"), Client: client}
	before := w.users.Dump()
	for range recovery.MaxTries + 1 {
		account, err := w.CheckReset(w.ctx, r)
		is.NoErr(err)
		is.Equal(account.Username, "alice")
	}
	is.Equal(w.users.Dump(), before)
	for name, change := range map[string]func(r *recovery.CompleteRequest){
		"another token":   func(r *recovery.CompleteRequest) { r.Token = tokenText },
		"another account": func(r *recovery.CompleteRequest) { r.Username = "bob" },
		"no token":        func(r *recovery.CompleteRequest) { r.Token = "" },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			r := r
			change(&r)
			account, err := w.CheckReset(w.ctx, r)
			is.Equal(err, recovery.ErrInvalidToken)
			is.Equal(account, recovery.Account{})
		})
	}
	is.True(errors.Is(errOf(w.CheckReset(w.ctx, recovery.CompleteRequest{Token: r.Token, Locale: "\n"})), recovery.ErrInvalidRequest))
}

func TestEmptyHashIsRefused(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Hasher: recovery.Hasher{Hash: func(string) (string, error) { return "", nil }}})
	err := w.complete(w.token("alice"), goodPassword)
	is.Equal(err.Error(), "recovery: Options.Hasher returned an empty hash")
	is.Equal(w.hash("1"), "hash of old")
}

// A token that expires while the password is being hashed is dead.
func TestTokenExpiresDuringHash(t *testing.T) {
	is := is.New(t)
	var w *world
	w = newWorld(t, &recovery.Options{Hasher: recovery.Hasher{Hash: func(string) (string, error) { w.advance(time.Microsecond); return "new", nil }}})
	token := w.token("alice")
	w.advance(16*time.Hour - time.Microsecond)
	is.Equal(w.complete(token, goodPassword), recovery.ErrInvalidToken)
	is.Equal(w.hash("1"), "hash of old")
}

// Should a Store forget to look at the status, the Service does not.
func TestIneligibleAccountFromTheStore(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	svc := w.service(&forgetfulStore{w.users}, recovery.Options{})
	is.Equal(errOf(svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword})), recovery.ErrInvalidToken)
	w.hooks.wait(t, "TokenRefused account_gone")
}

// A Store that gives no reason is one that knows no such token.
func TestStoreWithoutATokenReason(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.store.failAt("FindReset", fmt.Errorf("no row: %w", recovery.ErrInvalidToken))
	is.Equal(w.complete(tokenText, goodPassword), recovery.ErrInvalidToken)
	w.hooks.wait(t, "TokenRefused unknown")
}

type forgetfulStore struct{ *memstore.Store }

func (s *forgetfulStore) FindReset(ctx context.Context, d recovery.Digest, at time.Time) (recovery.Reset, recovery.Account, error) {
	r, a, err := s.Store.FindReset(ctx, d, at)
	a.Active = false
	return r, a, err
}

// Nothing is hashed for a token that is dead, and Approve is not asked about it.
func TestOnlyLiveTokensAreHashed(t *testing.T) {
	is := is.New(t)
	hashed, approved := 0, 0
	w := newWorld(t, &recovery.Options{
		Hasher:  recovery.Hasher{Hash: func(string) (string, error) { hashed++; return "new", nil }},
		Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error { approved++; return nil },
	})
	token := w.token("alice")
	for _, guess := range []string{"x", tokenText, token[1:] + "a"} {
		is.Equal(w.complete(guess, goodPassword), recovery.ErrInvalidToken)
	}
	is.True(errors.Is(w.complete(token, "short"), recovery.ErrInvalidPassword))
	is.Equal(errOf(w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Username: "alicia", Password: goodPassword})), recovery.ErrInvalidToken)
	is.Equal([]int{hashed, approved}, []int{0, 0})
	is.NoErr(w.complete(token, goodPassword))
	is.Equal(w.complete(token, goodPassword), recovery.ErrInvalidToken)
	is.Equal([]int{hashed, approved}, []int{1, 1})
}

// What the hashing says goes before the caller's leaving.
func TestHashErrorOfACallerWhoLeft(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorld(t, &recovery.Options{Hasher: recovery.Hasher{Hash: func(string) (string, error) { cancel(); return "", errHash }}})
	_, err := w.CompleteReset(ctx, recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword})
	is.True(errors.Is(err, errHash))
}

// A caller who has already left does not get the lock of a token.
func TestCompletionOfACallerWhoLeft(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	token := w.token("alice")
	w.store.calls()
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	for range 20 {
		_, err := w.CompleteReset(ctx, recovery.CompleteRequest{Token: token, Password: goodPassword})
		is.Equal(err, context.Canceled)
	}
	is.Equal(w.store.calls(), "") // nothing was looked up
}

func TestCompletionsAreLimited(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{
		CompletePerClient: recovery.Limit{Burst: 5, Every: time.Minute},
	}})
	token := w.token("alice")
	for range 50 {
		is.True(errors.Is(w.complete(token, "short"), recovery.ErrInvalidPassword)) // costs nothing, counts nothing
	}
	for _, refused := range []string{tokenText, "malformed", "", "malformed"} {
		is.Equal(w.complete(refused, goodPassword), recovery.ErrInvalidToken) // each is counted
	}
	is.NoErr(errOf(w.CheckReset(w.ctx, recovery.CompleteRequest{Token: token, Client: client}))) // so is a look
	mapped := recovery.CompleteRequest{Token: token, Password: goodPassword, Client: netip.MustParseAddr("::ffff:192.0.2.10")}
	w.store.calls()
	is.True(errors.Is(errOf(w.CompleteReset(w.ctx, mapped)), recovery.ErrLimited))
	is.Equal(w.store.calls(), "TakeLimits") // and nothing is looked up
	is.True(errors.Is(errOf(w.CheckReset(w.ctx, mapped)), recovery.ErrLimited))
	is.Equal(w.store.calls(), "TakeLimits")
	w.hooks.wait(t, "LimitReached complete client")
	is.Equal(w.hooks.last("LimitReached complete client").(recovery.LimitEvent).Client, client) // the same, however it is written
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: goodPassword, Client: netip.MustParseAddr("192.0.2.99")})
	is.NoErr(err) // another client, and the token lives
}
