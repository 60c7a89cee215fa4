package recovery_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

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
