package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

var history = []recovery.PasswordReason{{Name: "history", Text: "must not be one of your last five"}}

// The application's own rule is told like any other, and sees the account.
func TestOwnPasswordRule(t *testing.T) {
	is := is.New(t)
	var asked []string
	w := newWorld(t, &recovery.Options{Policy: &recovery.Policy{
		Check: func(_ context.Context, a recovery.Account, password string) ([]recovery.PasswordReason, error) {
			asked = append(asked, a.ID+" "+password)
			if password == otherPassword {
				return history, nil
			}
			return nil, nil
		},
		Breached: func(_ context.Context, password string) (bool, error) { return password == "Leaked-h0rse", nil },
	}})
	token := w.token("alice")
	is.Equal(reasons(w.complete(token, otherPassword)), "history")
	is.Equal(reasons(w.complete(token, "short")), "too_short no_upper no_digit no_special")
	is.Equal(reasons(w.complete(token, "Alice-passw0rd")), "own_word")
	is.Equal(reasons(w.complete(token, "Leaked-h0rse")), "breached")
	is.Equal(w.complete(tokenText, otherPassword), recovery.ErrInvalidToken)
	is.Equal(asked, []string{"1 " + otherPassword}) // asked of live tokens, for what meets the other rules
	is.NoErr(w.complete(token, goodPassword))
}

// What the rule knows of earlier passwords is for nobody who lacks the second factor.
func TestOwnPasswordRuleComesAfterTheSecondFactor(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Approve: factor, Policy: &recovery.Policy{
		Check: func(context.Context, recovery.Account, string) ([]recovery.PasswordReason, error) {
			return history, nil
		},
	}})
	r := recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword, Client: client}
	_, err := w.CompleteReset(w.ctx, r)
	is.True(errors.Is(err, recovery.ErrChallenged))
	r.Factor = "4711"
	_, err = w.CompleteReset(w.ctx, r)
	is.Equal(reasons(err), "history")
}

// A PasswordError of the application is its answer wherever it comes from, and costs nothing.
func TestPasswordErrorsOfTheApplication(t *testing.T) {
	rejected := fmt.Errorf("app: %w", &recovery.PasswordError{Reasons: history})
	for name, opts := range map[string]recovery.Options{
		"Policy.Check": {Policy: &recovery.Policy{Check: func(context.Context, recovery.Account, string) ([]recovery.PasswordReason, error) {
			return nil, rejected
		}}},
		"Approve": {Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error { return rejected }},
		"Hasher":  {Hasher: recovery.Hasher{Hash: func(string) (string, error) { return "", rejected }}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, &opts)
			token := w.token("alice")
			for range 2 * recovery.MaxTries {
				err := w.complete(token, goodPassword)
				is.Equal(reasons(err), "history")
				is.Equal(err.Error(), "recovery: the password must not be one of your last five")
			}
			is.True(!w.hooks.seen("ResetDenied"))
			is.NoErr(w.deadOrAlive(token, true))
		})
	}
}

// What says nothing of the password is a failure.
func TestPasswordErrorsThatSayNothing(t *testing.T) {
	for name, answer := range map[string]struct {
		reasons []recovery.PasswordReason
		err     error
	}{
		"no reasons":      {nil, &recovery.PasswordError{}},
		"an empty reason": {[]recovery.PasswordReason{{}}, nil}, "no text": {[]recovery.PasswordReason{{Name: "x"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, &recovery.Options{Policy: &recovery.Policy{
				Check: func(context.Context, recovery.Account, string) ([]recovery.PasswordReason, error) {
					return answer.reasons, answer.err
				},
			}})
			err := w.complete(w.token("alice"), goodPassword)
			is.True(err != nil && !errors.Is(err, recovery.ErrInvalidPassword))
			is.True(strings.HasPrefix(err.Error(), "recovery: check the password: "))
			is.Equal(w.hash("1"), "hash of old")
		})
	}
}

// A failure of the application's rule is a failure, and its text is cleaned.
func TestOwnPasswordRuleThatFails(t *testing.T) {
	is := is.New(t)
	errTable := errors.New("no table of passwords of alice@example.com like " + goodPassword)
	w := newWorld(t, &recovery.Options{Policy: &recovery.Policy{
		Check: func(context.Context, recovery.Account, string) ([]recovery.PasswordReason, error) {
			return history, errTable
		},
	}})
	err := w.complete(w.token("alice"), goodPassword)
	is.True(errors.Is(err, errTable) && !errors.Is(err, recovery.ErrInvalidPassword))
	is.Equal(err.Error(), "recovery: check the password: no table of passwords of [redacted] like [redacted]")
}

// bcrypt takes 72 bytes. What is longer is told as such, before anybody is asked for a second
// factor.
func TestBcrypt(t *testing.T) {
	is := is.New(t)
	var approved atomic.Int32
	w := newWorld(t, nil)
	svc := w.service(w.store, recovery.Options{Hasher: recovery.Bcrypt(10), Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
		approved.Add(1)
		return nil
	}})
	is.Equal(svc.Options().Policy.MaxBytes, 72)
	complete := func(token, password string) error {
		_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: password})
		return err
	}
	token := w.token("alice")
	long := "Ab1-" + strings.Repeat("語", 30)
	is.Equal(len(long), 94) // in 34 characters
	err := complete(token, long)
	is.Equal(reasons(err), "too_many_bytes")
	is.Equal(err.Error(), "recovery: the password must be at most 72 bytes long")
	is.Equal(approved.Load(), int32(0))

	most := "Ab1-" + strings.Repeat("語", 22) + "xy"
	is.Equal(len(most), 72)
	is.NoErr(complete(token, most))
	is.True(strings.HasPrefix(w.hash("1"), "$2a$10$"))
	is.NoErr(recovery.VerifyPassword(w.hash("1"), most))
	is.Equal(recovery.VerifyPassword(w.hash("1"), most[:71]), recovery.ErrPasswordMismatch)

	// The policy may be stricter, and is never looser.
	for bytes, want := range map[int]int{0: 72, 40: 40, 1024: 72} {
		svc := w.service(w.store, recovery.Options{Hasher: recovery.Bcrypt(10), Policy: &recovery.Policy{MaxBytes: bytes}})
		is.Equal(svc.Options().Policy.MaxBytes, want)
	}
	for _, cost := range []int{0, 4, 9, 17, 31} {
		_, err := recovery.New(w.store, w.mail, &recovery.Options{Hasher: recovery.Bcrypt(cost)})
		is.Equal(err.Error(), fmt.Sprintf("recovery: Options.Hasher must have a bcrypt cost from 10 to 16, is %d", cost))
	}
}

// The rule about bytes is shown where a password within MaxLength can break it.
func TestRuleAboutBytes(t *testing.T) {
	is := is.New(t)
	shown := func(p recovery.Policy) string {
		for _, r := range p.Rules() {
			if r.Name == "too_many_bytes" {
				return fmt.Sprint(r.Limit, " ", r.Text)
			}
		}
		return ""
	}
	is.Equal(shown(recovery.Policy{}), "")
	is.Equal(shown(recovery.Policy{MaxBytes: 72}), "72 must be at most 72 bytes long")
	is.Equal(shown(recovery.Policy{MaxBytes: 256}), "") // 64 characters of four bytes
	is.Equal(shown(recovery.Policy{MaxBytes: 255}), "255 must be at most 255 bytes long")
	_, err := recovery.New(newWorld(t, nil).store, nil, &recovery.Options{Policy: &recovery.Policy{MinLength: 12, MaxBytes: 11}})
	is.True(strings.Contains(err.Error(), "recovery: Options.Policy.MaxBytes must be from MinLength to 1024, is 11"))
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
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
		return fmt.Errorf("app: %w", recovery.ErrChallenged)
	}})
	r := recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword, Factor: "0815"}
	for range recovery.MaxTries {
		_, err := w.CompleteReset(w.ctx, r)
		challenge, ok := errors.AsType[*recovery.ChallengeError](err)
		is.True(ok && challenge.Name != "" && challenge.Text != "")
	}
	_, err := w.CompleteReset(w.ctx, r)
	is.Equal(err, recovery.ErrInvalidToken)
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
		_, err := w.CompleteReset(w.ctx, r)
		is.Equal(err, recovery.ErrInvalidToken)
	}
}

// A factor and a ticket are secrets, also as an application cleans them.
func TestFactorsAreNotTold(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Approve: func(_ context.Context, _ recovery.Account, r recovery.CompleteRequest) error {
		return errors.New("no answer for " + strings.ReplaceAll(r.Factor, " ", "") + strings.TrimSpace(r.Ticket))
	}})
	ticket, m := w.code("alice")
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{
		Ticket: " " + ticket + "\n", Code: m.Resets[0].Code, Password: goodPassword, Factor: "471 147"})
	is.Equal(err.Error(), "recovery: approve: no answer for [redacted][redacted]")
	is.Equal(fmt.Sprintf("%+v", recovery.CompleteRequest{Factor: "471147"}), "[redacted]")
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
