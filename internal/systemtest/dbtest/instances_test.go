package dbtest

import (
	"context"
	"database/sql"
	"sync/atomic"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/storetest"
)

// The suite again, with each call made by another of several instances, and in sessions with other
// settings too. Calls of one instance do not meet in the database, because they share transactions.
func TestStoreOfManyInstances(t *testing.T) {
	run := func(t *testing.T, s databases.Server) {
		_, db := databases.Open(t, s)
		all := newManyStores(t, s.Dialect, db)
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			databases.Empty(t, db)
			return databases.HarnessOn(s.Dialect, all, db)
		})
	}
	databases.OnEachOnce(t, run)
	for _, s := range oddSessions {
		t.Run(s.Name, func(t *testing.T) { run(t, s) })
	}
}

// manyStores are stores on one database, as in processes that share it. Each call goes to another
// one.
type manyStores struct {
	recovery.Store // reads
	all            []*sqlstore.Store
	next           *atomic.Uint32
}

func newManyStores(t testing.TB, d sqlstore.Dialect, db *sql.DB) manyStores {
	t.Helper()
	n := manyStores{next: new(atomic.Uint32)}
	for range 4 {
		n.all = append(n.all, databases.StoreOn(t, d, db, ""))
	}
	n.Store = n.all[0]
	return n
}

func (n manyStores) one() *sqlstore.Store { return n.all[int(n.next.Add(1))%len(n.all)] }

func (n manyStores) CreateResets(ctx context.Context, m recovery.ResetBatch) ([]string, error) {
	return n.one().CreateResets(ctx, m)
}

func (n manyStores) Redeem(ctx context.Context, r recovery.Redemption) (recovery.Account, error) {
	return n.one().Redeem(ctx, r)
}

func (n manyStores) Enqueue(ctx context.Context, j recovery.Job, c recovery.Charges) error {
	return n.one().Enqueue(ctx, j, c)
}

func (n manyStores) TakeLimits(ctx context.Context, at time.Time, c recovery.Charges) error {
	return n.one().TakeLimits(ctx, at, c)
}

func (n manyStores) RefundLimits(ctx context.Context, c recovery.Charges) error {
	return n.one().RefundLimits(ctx, c)
}

func (n manyStores) Claim(ctx context.Context, c recovery.Claim) ([]recovery.Job, error) {
	return n.one().Claim(ctx, c)
}

func (n manyStores) Finish(ctx context.Context, o recovery.Outcome) error {
	return n.one().Finish(ctx, o)
}

func (n manyStores) Purge(ctx context.Context, before, ahead time.Time, max int) (int, error) {
	return n.one().Purge(ctx, before, ahead, max)
}
