package recovery_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A caller who leaves before the breach service has answered sets no password.
func TestBreachedHasNoAnswerForWhoLeaves(t *testing.T) {
	for _, closed := range []bool{false, true} {
		is := is.New(t)
		var leave context.CancelFunc
		hashed := 0
		w := newWorld(t, &recovery.Options{
			Hasher: recovery.Hasher{Hash: func(string) (string, error) { hashed++; return "new", nil }},
			Policy: &recovery.Policy{BreachFailClosed: closed, Breached: func(ctx context.Context, _ string) (bool, error) {
				leave()
				return false, hangs(ctx)
			}},
		})
		token := w.token("alice")
		for range 50 { // a slot to hash in is free, and so is the way out
			ctx, cancel := context.WithCancel(t.Context())
			leave = cancel
			_, err := w.CompleteReset(ctx, recovery.CompleteRequest{Token: token, Password: goodPassword})
			is.Equal(err, context.Canceled) // not ErrBusy: it is the caller who does not wait
			cancel()
		}
		is.Equal(hashed, 0)
		is.Equal(w.log.String(), "") // the service did not fail
	}
}

// The log has one line for an outage, without secrets, and one for its end.
func TestBreachedThatIsDownIsNotALineACompletion(t *testing.T) {
	var failure error
	breached := func(context.Context, string) (bool, error) { return false, failure }
	inBubble(t, recovery.Options{Policy: &recovery.Policy{Breached: breached}}, func(_ *testing.T, is *is.I, w *world) {
		failure = errors.New("no route to " + goodPassword + " for alice@example.com")
		for range 3 {
			is.NoErr(w.complete(w.token("alice"), goodPassword))
			is.Equal(len(w.deliver()), 1) // the notice
		}
		is.Equal(strings.Count(w.log.String(), "recovery: the breach service failed"), 1)
		is.True(strings.Contains(w.log.String(), "no route to [redacted] for [redacted]"))
		failure = nil
		is.NoErr(w.complete(w.token("alice"), goodPassword))
		is.Equal(strings.Count(w.log.String(), "recovery: the breach service answers again"), 1)
	})
}

// A service that answers when nobody waits any more is not waited for, and holds no goroutine: the
// bubble would not end.
func TestBreachedAnswersTooLate(t *testing.T) {
	inBubble(t, recovery.Options{Policy: &recovery.Policy{Breached: func(context.Context, string) (bool, error) {
		time.Sleep(time.Minute)
		return true, nil
	}}}, func(_ *testing.T, is *is.I, w *world) {
		start := time.Now()
		is.NoErr(w.complete(w.token("alice"), goodPassword))
		is.Equal(time.Since(start), 2*time.Second)
		time.Sleep(time.Hour)
	})
}

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
	is.Equal(reasons(err), "breached") // not ctx's error
}

func TestBreached(t *testing.T) {
	boom := errors.New("boom with " + goodPassword)
	for _, c := range []struct {
		name     string
		answer   func(ctx context.Context, password string) (bool, error)
		closed   bool
		wantErr  error
		wantName string
	}{
		{"clean", func(context.Context, string) (bool, error) { return false, nil }, true, nil, ""},
		{"leaked", func(context.Context, string) (bool, error) { return true, nil }, false, recovery.ErrInvalidPassword, "breached"},
		{"fails open", func(context.Context, string) (bool, error) { return true, boom }, false, nil, ""},
		{"fails closed", func(context.Context, string) (bool, error) { return false, boom }, true, recovery.ErrBusy, ""},
		{"hangs", func(ctx context.Context, _ string) (bool, error) { return false, hangs(ctx) }, true, recovery.ErrBusy, ""},
		{"panics", func(context.Context, string) (bool, error) { panic("boom with " + goodPassword) }, true, recovery.ErrBusy, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			var asked atomic.Int32
			w := newWorld(t, &recovery.Options{Policy: &recovery.Policy{
				BreachTimeout: 20 * time.Millisecond, BreachFailClosed: c.closed,
				Breached: func(ctx context.Context, password string) (bool, error) {
					is.Equal(password, goodPassword)
					asked.Add(1)
					return c.answer(ctx, password)
				},
			}})
			is.Equal(w.complete(tokenText, goodPassword), recovery.ErrInvalidToken)
			is.Equal(asked.Load(), int32(0)) // the token is not live
			token := w.token("alice")
			err := w.complete(token, goodPassword)
			is.True(errors.Is(err, c.wantErr))
			is.Equal(reasons(err), c.wantName)
			is.Equal(asked.Load(), int32(1))
			is.NoErr(w.deadOrAlive(token, err != nil))
			is.True(!strings.Contains(w.log.String(), goodPassword))
		})
	}
}
