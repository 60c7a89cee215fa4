package dbtest

import (
	"context"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// Statements skip rows that another transaction has locked: nobody waits for them, and free rows
// are taken.
func TestLockedRowsArePassedOver(t *testing.T) {
	databases.OnEachOf(t, big, func(t *testing.T, s databases.Server) {
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
