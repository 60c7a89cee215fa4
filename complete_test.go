package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
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

func TestApproveSeesTheRequest(t *testing.T) {
	is := is.New(t)
	reason := fmt.Errorf("code for %s of alice@example.com is missing: %w", goodPassword, recovery.ErrDenied)
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
	w := newWorld(t, &recovery.Options{Hasher: recovery.Hasher{Hash: func(string) (string, error) { return "", nil }}})
	token := w.token("alice")
	err := w.complete(token, goodPassword)
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
	token := w.token("alice")
	svc := w.service(&forgetfulStore{w.users}, recovery.Options{})
	_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: goodPassword})
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
			Hasher: recovery.Hasher{Hash: func(password string) (string, error) { hashing <- struct{}{}; <-release; return "new", nil }},
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
	w := newWorld(t, &recovery.Options{HashConcurrency: 1, Hasher: recovery.Hasher{Hash: func(string) (string, error) {
		once.Do(func() { panic("boom") })
		return "new", nil
	}}})
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
		CompletePerClient: recovery.Limit{Burst: 5, Every: time.Minute},
	}})
	token := w.token("alice")
	for range 50 {
		is.True(errors.Is(w.complete(token, "short"), recovery.ErrInvalidPassword)) // costs nothing, counts nothing
	}
	for _, refused := range []string{tokenText, "malformed", "", tokenText, "malformed"} {
		is.True(errors.Is(w.complete(refused, goodPassword), recovery.ErrInvalidToken))
	}
	is.True(errors.Is(w.complete("malformed", goodPassword), recovery.ErrLimited))
	is.True(errors.Is(w.complete(token, goodPassword), recovery.ErrLimited))
	w.hooks.wait(t, "LimitReached complete client")
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: goodPassword, Client: netip.MustParseAddr("192.0.2.99")})
	is.NoErr(err) // another client, and the token lives
}

// An IPv4 address is one client, however it is written; all who have none are one.
func TestCompletionsAreLimitedPerAddress(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{
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
	is.Equal(guess(""), recovery.ErrInvalidToken)
	is.True(errors.Is(guess(""), recovery.ErrLimited))
}

// Why Approve said no is told to the hook, without what it was asked about.
func TestDenialIsScrubbed(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Approve: func(_ context.Context, a recovery.Account, r recovery.CompleteRequest) error {
		return fmt.Errorf("no second factor for %s %s %s: %w", a.Email, r.Token, r.Password, recovery.ErrDenied)
	}})
	err := w.complete(w.token("alice"), goodPassword)
	is.True(errors.Is(err, recovery.ErrDenied))
	is.Equal(err.Error(), recovery.ErrDenied.Error())
	w.hooks.wait(t, "ResetDenied")
	event, _ := w.hooks.last("ResetDenied").(recovery.ResetEvent)
	is.Equal(event.Err.Error(), "recovery: approve: no second factor for [redacted] [redacted] [redacted]: recovery: the application denied the reset")
}

func TestOnlyLiveTokensAreHashed(t *testing.T) {
	is := is.New(t)
	hashed := 0
	w := newWorld(t, &recovery.Options{Hasher: recovery.Hasher{Hash: func(string) (string, error) { hashed++; return "new", nil }}})
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
	is.NoErr(errOf(svc.RequestReset(t.Context(), recovery.ResetRequest{Username: "alice"})))
	n, err := svc.Deliver(t.Context())
	is.NoErr(err)
	is.Equal(n, 1)
	m, _ := mail.Last()
	_, err = svc.CompleteReset(t.Context(), recovery.CompleteRequest{Token: tokenOf(m), Password: goodPassword})
	is.NoErr(err)
	hash, _ := users.PasswordHash("1")
	is.NoErr(recovery.VerifyPassword(hash, goodPassword))
}

// denying is an Options.Approve that says no for a wrong password, and counts.
func denying(calls *atomic.Int32) func(context.Context, recovery.Account, recovery.CompleteRequest) error {
	return func(_ context.Context, _ recovery.Account, r recovery.CompleteRequest) error {
		calls.Add(1)
		if r.Password != goodPassword {
			return fmt.Errorf("wrong code: %w", recovery.ErrDenied)
		}
		return nil
	}
}

// A token survives four denials, and dies of the fifth.
func TestFiveDenialsKillAToken(t *testing.T) {
	is := is.New(t)
	var calls atomic.Int32
	w := newWorld(t, &recovery.Options{Approve: denying(&calls)})
	four, five := w.token("alice"), w.token("billybob")
	for range recovery.MaxTries - 1 {
		is.True(errors.Is(w.complete(four, otherPassword), recovery.ErrDenied))
		is.True(errors.Is(w.complete(five, otherPassword), recovery.ErrDenied))
	}
	is.True(errors.Is(w.complete(five, otherPassword), recovery.ErrDenied))
	is.NoErr(w.complete(four, goodPassword))
	calls.Store(0)
	is.Equal(w.complete(five, goodPassword), recovery.ErrInvalidToken)
	is.Equal(calls.Load(), int32(0)) // Approve is not asked any more
	w.hooks.wait(t, "TokenRefused tried_out")
	is.Equal(w.hash("3"), "hash of old")

	w.deliver() // the notice
	again := w.token("billybob")
	is.NoErr(w.complete(again, goodPassword)) // another token has tries of its own
}

// No number of callers, at two instances, has more tries than there are.
func TestDenialsAreCountedAtOnce(t *testing.T) {
	is := is.New(t)
	var calls atomic.Int32
	w := newWorld(t, &recovery.Options{Approve: denying(&calls)})
	second := w.service(w.store, recovery.Options{Approve: denying(&calls)})
	token := w.token("alice")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			svc := w.Service
			if i%2 == 0 {
				svc = second
			}
			_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: otherPassword, Client: client})
			is.True(errors.Is(err, recovery.ErrDenied) || err == recovery.ErrInvalidToken)
		})
	}
	wg.Wait()
	is.Equal(calls.Load(), int32(recovery.MaxTries))
}

// What is no denial costs no try: the application failed, or the caller left.
func TestFailuresOfApproveAreNotCounted(t *testing.T) {
	errFactor := errors.New("the second factor of alice@example.com is out of order")
	for name, c := range map[string]struct {
		fail func() error
		want error
		text string
	}{
		"an error":      {func() error { return errFactor }, errFactor, "recovery: approve: the second factor of [redacted] is out of order"},
		"busy":          {func() error { return fmt.Errorf("wait: %w", recovery.ErrBusy) }, recovery.ErrBusy, recovery.ErrBusy.Error()},
		"no own answer": {func() error { return recovery.ErrInvalidToken }, nil, "recovery: approve: recovery: the token is not valid"},
		"a panic":       {func() error { panic("boom") }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			failing := true
			w := newWorld(t, &recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
				if failing {
					return c.fail()
				}
				return nil
			}})
			token := w.token("alice")
			for range 2 * recovery.MaxTries {
				var err error
				func() {
					defer func() { is.Equal(recover() != nil, name == "a panic") }()
					err = w.complete(token, goodPassword)
				}()
				if name == "a panic" {
					continue
				}
				is.Equal(err.Error(), c.text)
				is.True(c.want == nil || errors.Is(err, c.want))
				for _, ours := range []error{recovery.ErrDenied, recovery.ErrInvalidToken} {
					is.True(!errors.Is(err, ours))
				}
			}
			failing = false
			is.NoErr(w.complete(token, goodPassword))
			is.True(!w.hooks.seen("ResetDenied"))
		})
	}
}

// A caller who leaves while Approve is asked is told so, and loses no try.
func TestCallersWhoLeaveLoseNoTry(t *testing.T) {
	is := is.New(t)
	var leave context.CancelFunc
	w := newWorld(t, &recovery.Options{Approve: func(ctx context.Context, _ recovery.Account, _ recovery.CompleteRequest) error {
		leave()
		return ctx.Err()
	}})
	token := w.token("alice")
	for range 2 * recovery.MaxTries {
		ctx, cancel := context.WithCancel(w.ctx)
		leave = cancel
		_, err := w.CompleteReset(ctx, recovery.CompleteRequest{Token: token, Password: goodPassword})
		is.Equal(err, context.Canceled)
		cancel()
	}
	is.NoErr(w.deadOrAlive(token, true))
}

// Nobody is asked before the try is counted, and nothing is counted where nobody is asked.
func TestTriesAreCountedBeforeApprove(t *testing.T) {
	is := is.New(t)
	var calls atomic.Int32
	w := newWorld(t, &recovery.Options{Approve: denying(&calls)})
	token := w.token("alice")
	w.store.failAt("TakeLimits", errStore)
	is.True(errors.Is(w.complete(token, goodPassword), errStore))
	is.Equal(calls.Load(), int32(0))

	w = newWorld(t, nil)
	token = w.token("alice")
	w.store.calls()
	is.NoErr(w.complete(token, goodPassword))
	is.Equal(w.store.calls(), "FindReset\nRedeem")
}

// A try that cannot be given back is told to the log, and the completion goes on.
func TestTryThatCannotBeGivenBack(t *testing.T) {
	is := is.New(t)
	var calls atomic.Int32
	w := newWorld(t, &recovery.Options{Approve: denying(&calls)})
	token := w.token("alice")
	w.store.failAt("RefundLimits", errors.New("no route for "+token))
	is.NoErr(w.complete(token, goodPassword))
	is.True(strings.Contains(w.log.String(), "a try that did not fail could not be given back"))
	is.True(strings.Contains(w.log.String(), "no route for [redacted]"))
}

// Malformed tokens are charged like others, before they are refused.
func TestMalformedTokensAreCharged(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{CompletePerClient: recovery.Limit{Burst: 3, Every: time.Minute}}})
	for _, token := range []string{"", "x", tokenText + "a"} {
		is.Equal(w.complete(token, goodPassword), recovery.ErrInvalidToken)
	}
	is.True(errors.Is(w.complete("", goodPassword), recovery.ErrLimited))
	w.hooks.wait(t, "TokenRefused malformed")
	w.hooks.wait(t, "LimitReached complete client")
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
