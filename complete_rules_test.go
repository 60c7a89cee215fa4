package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

var history = []recovery.PasswordReason{{Name: "history", Text: "must not be one of your last five"}}

// Reasons of the application's own rule reach the caller like any others. The rule sees the
// account.
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

// Nobody without the second factor learns what the rule knows of earlier passwords.
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

// A PasswordError of any of the application's functions reaches the caller and costs nothing.
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
		"no reasons": {nil, &recovery.PasswordError{}}, "nil": {nil, (*recovery.PasswordError)(nil)},
		"no name": {[]recovery.PasswordReason{{Text: "x"}}, nil}, "no text": {[]recovery.PasswordReason{{Name: "x"}}, nil},
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
