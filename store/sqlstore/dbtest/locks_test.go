package dbtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// What another transaction is at is left to it: nobody waits for it, and what is free is taken.
func TestLockedRowsArePassedOver(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		if s.Dialect == sqlstore.SQLite {
			t.Skip("it locks the whole database")
		}
		is := is.New(t)
		store, db := databases.Open(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // less than who waits for a lock has
		defer cancel()
		a := stored(t, store, db, s.Dialect, 1)
		for range 2 {
			mint(t, store, resetOf(a, t0))
			is.NoErr(store.Enqueue(ctx, request(t0), nil))
			retried := lease(t, store, request(t0))
			is.NoErr(store.Finish(ctx, recovery.Outcome{JobID: retried.ID, LeaseID: retried.LeaseID, At: t0, RetryAt: t0}))
		}
		is.NoErr(store.TakeLimits(ctx, t0, recovery.Charges{
			{Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 1, Every: time.Hour}},
			{Key: recovery.Digest{2}, Limit: recovery.Limit{Burst: 1, Every: time.Hour}},
		}))
		tx, err := db.BeginTx(ctx, nil)
		is.NoErr(err)
		defer func() { _ = tx.Rollback() }()
		lock := func(table, key, where string) {
			var found any
			is.NoErr(tx.QueryRowContext(ctx, "SELECT "+key+" FROM "+table+" "+where+" ORDER BY "+key+" LIMIT 1 FOR UPDATE").Scan(&found))
		}
		lock("recovery_jobs", "id", "WHERE fresh = 0")
		lock("recovery_jobs", "id", "WHERE fresh = 1")
		claimed, err := store.Claim(ctx, recovery.Claim{LeaseID: newID(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Minute), Max: 10, Again: 3})
		is.NoErr(err)
		is.Equal(len(claimed), 2)             // one of each
		if s.Dialect == sqlstore.PostgreSQL { // MySQL has no such DELETE
			lock("recovery_resets", "digest", "")
			lock("recovery_limits", "id", "")
			n, err := store.Purge(ctx, t0.Add(48*time.Hour), t0.Add(96*time.Hour), 10)
			is.NoErr(err)
			is.Equal(n, 2)
			n, err = store.Purge(ctx, t0.Add(-time.Minute), t0.Add(-time.Second), 10) // all is ahead of this clock
			is.NoErr(err)
			is.Equal(n, 2) // the jobs that are leased; the one to be tried again is locked
		}
	})
}

// A limit that is new to two calls at once is counted for both: the second waits for the first, and
// then sees what it counted.
func TestLimitThatIsMadeMeanwhileIsCounted(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		if s.Dialect == sqlstore.SQLite {
			t.Skip("it has one writer")
		}
		is := is.New(t)
		store, db := databases.Open(t, s)
		known := recovery.Charge{Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 9, Every: time.Hour}}
		missed := recovery.Charge{Key: recovery.Digest{2}, Limit: recovery.Limit{Burst: 1, Every: time.Hour}}
		for _, charges := range []recovery.Charges{{missed}, {known, missed}} {
			databases.Empty(t, db)
			is.NoErr(store.TakeLimits(t.Context(), t0, recovery.Charges{known}))
			tx, err := db.BeginTx(t.Context(), nil)
			is.NoErr(err)
			_, err = tx.Exec(databases.Bind(s.Dialect, "INSERT INTO recovery_limits (id, tat, slot) VALUES (?, ?, 0)"), missed.Key[:], t0.Add(time.Hour).UnixMicro())
			is.NoErr(err)
			result := make(chan error, 1)
			go func() { result <- store.TakeLimits(t.Context(), t0, charges) }()
			time.Sleep(300 * time.Millisecond) // it waits for the row by now; later it sees it
			is.NoErr(tx.Commit())
			is.True(errors.Is(<-result, recovery.ErrLimited))
		}
	})
}
