package sqlstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

// A call that always loses ends with its ctx, even in the middle of a pause.
func TestPausesEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		s.fault = fault{call: 1, times: 1000, err: &stateError{"40001", "no"}}
		store, _ := s.store(t, &Options{Attempts: 100})
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		start := time.Now()
		_, err := store.Purge(ctx, now, now, 100)
		is.True(errors.Is(err, context.DeadlineExceeded)) // ctx's own error
		is.Equal(err.Error(), "sqlstore: context deadline exceeded")
		is.Equal(time.Since(start), 4*time.Second) // at once
	})
}

// A transaction that lost waits for 2 to 6 ms, then twice as long each time, up to 50 to 150 ms.
// The pause is random, so that two that lost to each other do not meet again.
func TestPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const tries = 100
		store, _ := newStub(PostgreSQL).store(t, &Options{Attempts: tries})
		var shortest, longest [tries - 1]time.Duration
		for range 200 {
			n := 0
			var last time.Time
			err := store.transact(t.Context(), nil, func(txn) error {
				if n > 0 {
					took := time.Since(last)
					if shortest[n-1] == 0 || took < shortest[n-1] {
						shortest[n-1] = took
					}
					longest[n-1] = max(longest[n-1], took)
				}
				n++
				last = time.Now()
				return &stateError{"40001", "no"}
			})
			is.Equal(code(err), "40001")
			is.Equal(n, tries)
		}
		middle := 4 * time.Millisecond
		for i := range longest {
			t.Log(i, shortest[i], longest[i])
			is.True(shortest[i] >= middle/2)
			is.True(shortest[i] < middle*3/4)
			is.True(longest[i] > middle*5/4)
			is.True(longest[i] < middle*3/2)
			middle = min(2*middle, 100*time.Millisecond)
		}
	})
}

func TestNothingIsCommittedAfterTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		store, _ := s.store(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		err := store.transact(ctx, nil, func(txn) error {
			cancel()
			return nil
		})
		is.True(errors.Is(err, context.Canceled))
		is.True(!errors.Is(err, ErrUnknownOutcome))                                     // it is known: nothing was sent
		synctest.Wait()                                                                 // database/sql rolls back on a goroutine of its own
		is.Equal(errorText(store.Enqueue(ctx, job, nil)), "sqlstore: context canceled") // this does not even begin
		is.Equal(s.calls, []string{"begin", "rollback"})
	})
}
