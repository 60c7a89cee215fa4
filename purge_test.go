package recovery_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// purging returns a Service whose Store answers Purge as it is told, and how often it was asked.
func (w *world) purging(answers func(int) (int, error)) (*purgeStore, *recovery.Service) {
	w.is.Helper()
	s := &purgeStore{Store: w.users, answers: answers}
	return s, w.service(s, recovery.Options{})
}

type purgeStore struct {
	recovery.Store
	calls   int
	answers func(call int) (int, error)
}

func (s *purgeStore) Purge(context.Context, time.Time, time.Time, int) (int, error) {
	s.calls++
	return s.answers(s.calls)
}

// The Store is purged when the worker begins and every ten minutes, by the worker's clock; when
// that clock went back too.
func TestPurgeIsNowAndThen(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	store, svc := w.purging(func(int) (int, error) { return 0, nil })
	for _, c := range []struct {
		later time.Duration
		calls int
	}{
		{0, 1}, {0, 1}, {10*time.Minute - time.Microsecond, 1}, {time.Microsecond, 2}, {0, 2}, {-time.Microsecond, 3}, {-time.Hour, 4}, {time.Minute, 4},
	} {
		w.advance(c.later)
		is.NoErr(errOf(svc.Deliver(w.ctx)))
		is.Equal(store.calls, c.calls)
	}
}

// A batch that is full is followed by another, one that failed by none.
func TestPurgeGoesOnWhileBatchesAreFull(t *testing.T) {
	for name, c := range map[string]struct {
		answers func(int) (int, error)
		calls   int
		logged  bool
	}{
		"full, full, less": {func(call int) (int, error) { return min(500, 1499-500*(call-1)), nil }, 3, false},
		"full, none":       {func(call int) (int, error) { return 500 - 500*(call-1), nil }, 2, false},
		"one less":         {func(int) (int, error) { return 499, nil }, 1, false},
		"a failure":        {func(int) (int, error) { return 500, errStore }, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			store, svc := w.purging(c.answers)
			is.NoErr(errOf(svc.Deliver(w.ctx)))
			is.Equal(store.calls, c.calls)
			is.Equal(strings.Contains(w.log.String(), "the store could not be purged"), c.logged)
		})
	}
}

// Stopping the worker while it purges is no failure.
func TestPurgeThatIsStopped(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(w.ctx)
	store, svc := w.purging(func(int) (int, error) { cancel(); return 0, ctx.Err() })
	is.Equal(errOf(svc.Deliver(ctx)), context.Canceled)
	is.Equal(store.calls, 1)
	is.Equal(w.log.String(), "")
}

// Others wait for the same database: after a batch the Store gets four times as long a rest.
func TestPurgeRestsBetweenBatches(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		start := time.Now()
		var began []time.Duration
		store := &purgeStore{Store: w.users, answers: func(call int) (int, error) {
			began = append(began, time.Since(start))
			time.Sleep(time.Duration(call) * 100 * time.Millisecond)
			return min(500, 1499-500*(call-1)), nil
		}}
		is.NoErr(errOf(w.service(store, recovery.Options{Now: time.Now}).Deliver(w.ctx)))
		is.Equal(began, []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond})
		is.Equal(time.Since(start), 1800*time.Millisecond) // and none after the last
	})
}

// A rest holds up neither the end of the worker nor its mails.
func TestPurgeThatRestsIsStopped(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		store := &purgeStore{Store: w.users, answers: func(int) (int, error) { time.Sleep(4 * time.Second); return 500, nil }}
		svc := w.service(store, recovery.Options{Now: time.Now})
		ctx, cancel := context.WithTimeout(w.ctx, 6*time.Second)
		defer cancel()
		time.AfterFunc(5*time.Second, func() { w.ask("alice") })
		start := time.Now()
		is.NoErr(svc.Run(ctx))
		is.Equal(time.Since(start), 6*time.Second)
		is.Equal(store.calls, 1)
		is.Equal(len(w.mail.Messages()), 1)
	})
}

// What a clock that is ahead would delete is still of use to others; what one that was wrong made
// is not.
func TestPurgeLeavesRoomForSkew(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	var asked spy.Purge
	svc := w.service(spy.On(w.users, func(ctx context.Context, _ string, arg any, call func(context.Context) error) error {
		if p, ok := arg.(spy.Purge); ok {
			asked = p
		}
		return call(ctx)
	}), recovery.Options{})
	is.NoErr(errOf(svc.Deliver(w.ctx)))
	is.Equal(asked, spy.Purge{Before: w.time().Add(-10 * time.Minute), Ahead: w.time().Add(24*time.Hour + 20*time.Minute), Max: 500})
}
