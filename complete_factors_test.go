package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// Approve sees the account and the request. Why it said no is told to the hook, without what it was
// asked about.
func TestDenialIsScrubbed(t *testing.T) {
	is := is.New(t)
	var reason error
	w := newWorld(t, &recovery.Options{Approve: func(_ context.Context, a recovery.Account, r recovery.CompleteRequest) error {
		reason = fmt.Errorf("no second factor for %s %s %s: %w", a.Email, r.Token, r.Password, recovery.ErrDenied)
		return reason
	}})
	err := w.complete(w.token("alice"), goodPassword)
	is.True(errors.Is(err, recovery.ErrDenied))
	is.True(errors.Is(err, reason)) // the application's error is found
	is.Equal(err.Error(), "recovery: the application denied the reset")
	w.hooks.wait(t, "ResetDenied")
	event, _ := w.hooks.last("ResetDenied").(recovery.ResetEvent)
	is.Equal(event.Err.Error(), "recovery: approve: no second factor for [redacted] [redacted] [redacted]: recovery: the application denied the reset")
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
	is.Equal(calls.Load(), int32(5))
}

// An error that is no denial costs no try: the application failed, or the caller left.
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
					_, err = w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: goodPassword, Factor: "4711", Client: client})
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

// A caller who leaves while Approve runs gets ctx's error and loses no try.
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

// A try that cannot be given back is logged, and the completion goes on.
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

// factor asks for "4711", the hard way.
func factor(_ context.Context, _ recovery.Account, r recovery.CompleteRequest) error {
	if r.Factor == "4711" {
		return nil
	}
	return fmt.Errorf("app: %w", &recovery.ChallengeError{Name: "totp", Text: "Enter the code of your app."})
}

// A second factor is asked for as often as anybody likes, and answered wrongly five times.
func TestSecondFactor(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Approve: factor})
	token := w.token("alice")
	complete := func(factor string) error {
		_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: goodPassword, Factor: factor, Client: client})
		return err
	}
	for range 2 * recovery.MaxTries {
		err := complete("")
		challenge, ok := errors.AsType[*recovery.ChallengeError](err)
		is.True(ok)
		is.Equal(*challenge, recovery.ChallengeError{Name: "totp", Text: "Enter the code of your app."})
		is.True(errors.Is(err, recovery.ErrChallenged) && !errors.Is(err, recovery.ErrDenied))
		is.Equal(err.Error(), "recovery: a second factor is needed: totp")
	}
	is.True(!w.hooks.seen("ResetDenied")) // to ask is no denial
	for range recovery.MaxTries - 1 {
		is.True(errors.Is(complete("0815"), recovery.ErrChallenged))
	}
	w.hooks.wait(t, "ResetDenied")
	is.NoErr(complete("4711")) // the last try

	w.deliver() // the notice
	token = w.token("alice")
	for range recovery.MaxTries {
		is.True(errors.Is(complete("0815"), recovery.ErrChallenged))
	}
	is.Equal(complete("4711"), recovery.ErrInvalidToken)
	is.Equal(complete(""), recovery.ErrInvalidToken)
	w.hooks.wait(t, "TokenRefused tried_out")
}

// The sentinel alone is a challenge, too: nobody guesses on because of it.
func TestBareChallengesAreCounted(t *testing.T) {
	for _, bare := range []error{recovery.ErrChallenged, (*recovery.ChallengeError)(nil)} {
		is := is.New(t)
		w := newWorld(t, &recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
			return fmt.Errorf("app: %w", bare)
		}})
		r := recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword, Factor: "0815"}
		for range recovery.MaxTries {
			challenge, ok := errors.AsType[*recovery.ChallengeError](errOf(w.CompleteReset(w.ctx, r)))
			is.True(ok && challenge.Name != "" && challenge.Text != "")
		}
		is.Equal(errOf(w.CompleteReset(w.ctx, r)), recovery.ErrInvalidToken)
	}
}

// The token and the code of a mail have their tries together.
func TestFactorsOfATokenAndItsCode(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Approve: factor})
	ticket, m := w.code("alice")
	byToken := recovery.CompleteRequest{Token: tokenOf(m), Password: goodPassword, Factor: "0815"}
	byCode := recovery.CompleteRequest{Ticket: ticket, Code: m.Resets[0].Code, Password: goodPassword, Factor: "0815"}
	for i := range recovery.MaxTries {
		_, err := w.CompleteReset(w.ctx, []recovery.CompleteRequest{byToken, byCode}[i%2])
		is.True(errors.Is(err, recovery.ErrChallenged))
	}
	for _, r := range []recovery.CompleteRequest{byToken, byCode} {
		is.Equal(errOf(w.CompleteReset(w.ctx, r)), recovery.ErrInvalidToken)
	}
}

// A factor, a ticket and a code are secrets, also as an application cleans them.
func TestFactorsAreNotTold(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Approve: func(_ context.Context, _ recovery.Account, r recovery.CompleteRequest) error {
		return errors.New("no answer for " + strings.ReplaceAll(r.Factor, " ", "") + strings.TrimSpace(r.Ticket) + strings.ReplaceAll(r.Code, "-", "") + r.Token)
	}})
	ticket, m := w.code("alice")
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{
		Ticket: " " + ticket + "\n", Code: m.Resets[0].Code, Password: goodPassword, Factor: "471 147"})
	is.Equal(err.Error(), "recovery: approve: no answer for [redacted][redacted][redacted]")
	is.Equal(fmt.Sprintf("%+v", recovery.CompleteRequest{Factor: "471147"}), "[redacted]")
	_, err = w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: "https://portal.example/reset#token=" + tokenOf(m), Password: goodPassword})
	is.Equal(err.Error(), "recovery: approve: no answer for [redacted]")
}

// An error of Approve that says several things is a denial if it says that.
func TestDenialGoesFirst(t *testing.T) {
	for _, also := range []error{&recovery.ChallengeError{Name: "totp"}, &recovery.PasswordError{Reasons: history}} {
		t.Run(fmt.Sprintf("%T", also), func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, &recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
				return errors.Join(also, recovery.ErrDenied)
			}})
			err := w.complete(w.token("alice"), goodPassword)
			is.True(errors.Is(err, recovery.ErrDenied))
			is.True(!errors.Is(err, recovery.ErrChallenged) && !errors.Is(err, recovery.ErrInvalidPassword))
		})
	}
}

// The tries of a token do not come back while it lives, however long that is.
func TestTriesOfATokenDoNotComeBack(t *testing.T) {
	is := is.New(t)
	asked := 0
	w := newWorld(t, &recovery.Options{TokenTTL: 24 * time.Hour, Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
		asked++
		return recovery.ErrDenied
	}})
	token := w.token("alice")
	for range recovery.MaxTries {
		is.True(errors.Is(w.complete(token, goodPassword), recovery.ErrDenied))
	}
	w.advance(24*time.Hour - time.Microsecond)
	is.NoErr(w.deadOrAlive(token, true))
	is.Equal(w.complete(token, goodPassword), recovery.ErrInvalidToken)
	is.Equal(asked, recovery.MaxTries)
}

// The accounts of one mail have tries of their own.
func TestFactorsOfTwoAccountsOfAMail(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Approve: factor})
	w.askEmail("alice@example.com")
	m := w.deliver()[0]
	complete := func(i int, factor string) error {
		_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{
			Token: m.Resets[i].Token.Reveal(), Password: goodPassword, Factor: factor, Client: client})
		return err
	}
	for range recovery.MaxTries {
		is.True(errors.Is(complete(0, "0815"), recovery.ErrChallenged))
	}
	is.Equal(complete(0, "4711"), recovery.ErrInvalidToken)
	is.NoErr(complete(1, "4711"))
}
