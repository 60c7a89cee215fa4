package dbtest

import (
	"context"
	"database/sql"
	"sync/atomic"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
	"example.com/recovery/store/storetest"
)

// The suite again, with every call made by another of several instances: calls of one instance do not
// meet in the database, because they share transactions.
func TestStoreOfManyInstances(t *testing.T) {
	databases.OnEachOnce(t, func(t *testing.T, s databases.Server) {
		_, db := databases.Open(t, s)
		all := newManyStores(t, s.Dialect, db)
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			databases.Empty(t, db)
			return databases.HarnessOn(s.Dialect, all, db)
		})
	})
}

// manyStores are stores on one database, as processes that share it have. Each call is another one's.
type manyStores struct {
	all  []*sqlstore.Store
	next *atomic.Uint32
}

var _ recovery.Store = manyStores{}

func newManyStores(t testing.TB, d sqlstore.Dialect, db *sql.DB) manyStores {
	t.Helper()
	n := manyStores{next: new(atomic.Uint32)}
	for range 4 {
		n.all = append(n.all, databases.StoreOn(t, d, db, ""))
	}
	return n
}

func (n manyStores) one() *sqlstore.Store { return n.all[int(n.next.Add(1))%len(n.all)] }

func (n manyStores) FindAccounts(ctx context.Context, q recovery.AccountQuery) ([]recovery.Account, error) {
	return n.one().FindAccounts(ctx, q)
}

func (n manyStores) CreateResets(ctx context.Context, m recovery.Mint) ([]string, error) {
	return n.one().CreateResets(ctx, m)
}

func (n manyStores) FindReset(ctx context.Context, d recovery.Digest, at time.Time) (recovery.Reset, recovery.Account, error) {
	return n.one().FindReset(ctx, d, at)
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

func (n manyStores) Stats(ctx context.Context) ([]recovery.LaneStats, error) {
	return n.one().Stats(ctx)
}

func (n manyStores) Now(ctx context.Context) (time.Time, error) { return n.one().Now(ctx) }
