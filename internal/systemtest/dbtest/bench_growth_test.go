package dbtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
)

// These compare small tables with large ones. Run them like the other benchmarks.

// BenchmarkAccounts compares a request and its mail with 1,000 accounts and with many, of which as
// many are asked for. RECOVERY_ACCOUNTS says how many; the default is 100,000.
func BenchmarkAccounts(b *testing.B) {
	const few = 1000
	many := fromEnv(b, "RECOVERY_ACCOUNTS", 100_000)
	for _, s := range databases.Servers {
		b.Run(s.Name, func(b *testing.B) {
			open := func(n int) func(context.Context) error {
				store, db := databases.Open(b, s)
				addUsers(b, db, s.Dialect, n)
				svc := unreached(b, store)
				i := 0
				return func(ctx context.Context) error {
					name := fmt.Sprintf("name%d", i%few*(n/few))
					i++
					if err := spy.Err(svc.RequestReset(ctx, recovery.ResetRequest{Username: name, Client: benchClient})); err != nil {
						return err
					}
					sent, err := svc.Deliver(ctx)
					if err == nil && sent != 1 {
						err = fmt.Errorf("%d mails were sent", sent)
					}
					return err
				}
			}
			compare(b, 1, opsPerRound/4, open(few), open(many))
		})
	}
}

// BenchmarkHistory compares a request's whole way through the store (add, claim, finish) with 10
// rows in every table and with many. "of-bare" is at least 0.83 where the cost grows by 1.2 at
// most. RECOVERY_ROWS says how many; the default is 100,000.
func BenchmarkHistory(b *testing.B) {
	rows := fromEnv(b, "RECOVERY_ROWS", 100_000)
	for _, s := range databases.Servers {
		b.Run(s.Name, func(b *testing.B) {
			few, many := historical(b, s, 10), historical(b, s, rows)
			compare(b, 1, opsPerRound/4, few, many)
		})
	}
}

// historical returns one request's way through a store with n rows in each table.
func historical(b *testing.B, s databases.Server, n int) func(context.Context) error {
	store, db := databases.Open(b, s)
	fill(b, db, s.Dialect, time.Now(), n)
	return func(ctx context.Context) error {
		j := benchRequest()
		at := j.RequestedAt
		if err := store.Enqueue(ctx, j, benchCharges()); err != nil {
			return err
		}
		claimed, err := store.Claim(ctx, recovery.Claim{LeaseID: nextID(), Lane: recovery.LaneMail, At: at, Until: at.Add(time.Hour), Max: 1, Again: 1})
		if err != nil {
			return err
		}
		if len(claimed) != 1 || claimed[0].ID != j.ID {
			return fmt.Errorf("claimed %d jobs, or another", len(claimed))
		}
		return store.Finish(ctx, recovery.Outcome{JobID: claimed[0].ID, LeaseID: claimed[0].LeaseID, At: at})
	}
}
