package recovery_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A lookedAt is a context that, once armed, ends when somebody asks whether it has.
type lookedAt struct {
	context.Context
	armed atomic.Bool
	once  sync.Once
	done  chan struct{}
}

func (c *lookedAt) Done() <-chan struct{} { return c.done }

func (c *lookedAt) Err() error {
	if !c.armed.Load() {
		return nil
	}
	c.once.Do(func() { close(c.done) })
	return context.Canceled
}

// What the breach service said counts, even if its caller leaves at that moment.
func TestBreachedIsToldToWhoLeavesAfterTheAnswer(t *testing.T) {
	is := is.New(t)
	ctx := &lookedAt{Context: t.Context(), done: make(chan struct{})}
	w := newWorld(t, &recovery.Options{Policy: &recovery.Policy{Breached: func(context.Context, string) (bool, error) {
		ctx.armed.Store(true)
		return true, nil
	}}})
	_, err := w.CompleteReset(ctx, recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword})
	refused, ok := errors.AsType[*recovery.PasswordError](err)
	is.True(ok) // not ctx's error
	is.Equal(refused.Reasons[0].Name, "breached")
}

// The most that a stored hash may ask for, and one beyond. Its salt is too short, so that nothing is
// computed: what is said tells which of the two was looked at last.
func TestVerifyArgon2idMostExpensive(t *testing.T) {
	for params, fault := range map[string]string{
		"m=262144,t=1,p=1": "salt",
		"m=262145,t=1,p=1": "parameters",
		"m=262144,t=4,p=1": "salt", // 1 GiB × passes
		"m=262144,t=5,p=1": "parameters",
		"m=65536,t=16,p=1": "salt",
		"m=65537,t=16,p=1": "parameters",
	} {
		t.Run(params, func(t *testing.T) {
			is := is.New(t)
			err := recovery.VerifyPassword("$argon2id$v=19$"+params+"$AAAA$AAAAAAAAAAAAAAAAAAAAAA", goodPassword)
			is.True(errors.Is(err, recovery.ErrUnsupportedHash))
			is.True(strings.Contains(err.Error(), "argon2id "+fault+" must be"))
		})
	}
}

func TestHashPasswordHasSaltAndKeyOfTheirLength(t *testing.T) {
	is := is.New(t)
	hash, err := recovery.HashPassword(goodPassword)
	is.NoErr(err)
	parts := strings.Split(hash, "$")
	for part, want := range map[string]int{parts[4]: 16, parts[5]: 32} {
		b, err := base64.RawStdEncoding.DecodeString(part)
		is.NoErr(err)
		is.Equal(len(b), want)
	}
}
