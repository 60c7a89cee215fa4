package recovery_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// Without an answer of the breach service nobody gets past it who is told to wait for one: not by leaving either.
func TestBreachedFailsClosedForWhoLeaves(t *testing.T) {
	is := is.New(t)
	var leave context.CancelFunc
	hashed := 0
	w := newWorld(t, &recovery.Options{
		Hasher: recovery.Hasher{Hash: func(string) (string, error) { hashed++; return "new", nil }},
		Policy: &recovery.Policy{BreachFailClosed: true, Breached: func(ctx context.Context, _ string) (bool, error) {
			leave()
			<-ctx.Done()
			return false, ctx.Err()
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
	is.Equal(w.hash("1"), "hash of old")
	is.Equal(w.log.String(), "") // the service did not fail
}

func TestBreachedFailureIsLogged(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Policy: &recovery.Policy{Breached: func(context.Context, string) (bool, error) {
		return false, errors.New("no route to " + goodPassword + " for alice@example.com")
	}}})
	is.NoErr(w.complete(w.token("alice"), goodPassword))
	is.True(strings.Contains(w.log.String(), "recovery: the breach service failed"))
	is.True(strings.Contains(w.log.String(), "no route to [redacted] for [redacted]"))
}

func TestBreachedThatIsDownIsNotALineACompletion(t *testing.T) {
	var failure error
	inBubble(t, recovery.Options{Limits: recovery.Limits{InsecureOff: true}, Policy: &recovery.Policy{Breached: func(context.Context, string) (bool, error) {
		return false, failure
	}}}, func(_ *testing.T, is *is.I, w *world) {
		failure = errors.New("no route")
		for range 3 {
			is.NoErr(w.complete(w.token("alice"), goodPassword))
			is.Equal(len(w.deliver()), 1) // the notice
		}
		is.Equal(strings.Count(w.log.String(), "recovery: the breach service failed"), 1)
		failure = nil
		is.NoErr(w.complete(w.token("alice"), goodPassword))
		is.Equal(strings.Count(w.log.String(), "recovery: the breach service answers again"), 1)
	})
}

func TestBreachedHasTwoSeconds(t *testing.T) {
	var given time.Duration
	inBubble(t, recovery.Options{Policy: &recovery.Policy{Breached: func(ctx context.Context, _ string) (bool, error) {
		deadline, _ := ctx.Deadline()
		given = time.Until(deadline)
		return false, nil
	}}}, func(_ *testing.T, is *is.I, w *world) {
		is.NoErr(w.complete(w.token("alice"), goodPassword))
		is.Equal(given, 2*time.Second)
	})
}

// A service that answers when nobody waits any more is not waited for, and holds no goroutine: the bubble
// would not end.
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
