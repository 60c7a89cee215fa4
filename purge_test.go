package recovery_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A purgeStore answers Purge as it is told.
type purgeStore struct {
	recovery.Store
	calls   int
	answers func(call int) (int, error)
}

func (s *purgeStore) Purge(context.Context, time.Time, int) (int, error) {
	s.calls++
	return s.answers(s.calls)
}

func (w *world) purging(answers func(int) (int, error)) (*purgeStore, *recovery.Service) {
	w.is.Helper()
	s := &purgeStore{Store: w.users, answers: answers}
	svc, err := recovery.New(s, w.mail, &recovery.Options{Now: w.time, Logger: slog.New(slog.NewTextHandler(w.log, nil))})
	w.is.NoErr(err)
	return s, svc
}

// The Store is purged when the worker begins and every ten minutes, by the worker's clock; when that
// clock went back too.
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
		_, err := svc.Deliver(w.ctx)
		is.NoErr(err)
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
			_, err := svc.Deliver(w.ctx)
			is.NoErr(err)
			is.Equal(store.calls, c.calls)
			is.Equal(strings.Contains(w.log.String(), "the store could not be purged"), c.logged)
		})
	}
}

// That the worker is stopped while it purges is no failure.
func TestPurgeThatIsStopped(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(w.ctx)
	store, svc := w.purging(func(int) (int, error) { cancel(); return 0, ctx.Err() })
	_, err := svc.Deliver(ctx)
	is.Equal(err, context.Canceled)
	is.Equal(store.calls, 1)
	is.Equal(w.log.String(), "")
}
