package dbtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// These compare little with much. They are run as the other benchmarks are.

// BenchmarkAccounts compares a request and its mail with 1,000 accounts and with many, of which as many
// are asked for. RECOVERY_ACCOUNTS says how many; the default is 100,000.
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
					if err := errOf(svc.RequestReset(ctx, recovery.ResetRequest{Username: name, Client: benchClient})); err != nil {
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

// BenchmarkHistory compares a request's whole way through the store (add, claim, finish) with 10 rows
// in every table and with many. "of-bare" is at least 0.83 where the cost grows by 1.2 at most.
// RECOVERY_ROWS says how many; the default is 100,000.
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
	numbers := fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) ", n)
	id := "CAST(i AS CHAR(36))"
	digest := "CAST(CAST(i AS CHAR(32)) AS BINARY)"
	switch s.Dialect {
	case sqlstore.PostgreSQL:
		id, digest = "CAST(i AS TEXT)", "decode(lpad(to_hex(i), 64, '0'), 'hex')"
	case sqlstore.SQLite:
		id, digest = "CAST(i AS TEXT)", "CAST(CAST(i AS TEXT) AS BLOB)"
	}
	conn, err := db.Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if s.Dialect == sqlstore.MySQL {
		if _, err := conn.ExecContext(b.Context(), fmt.Sprintf("SET SESSION max_recursive_iterations = %d", n+1)); err != nil {
			b.Fatal(err)
		}
	}
	past, future := time.Now().Add(-1000*time.Hour).UnixMicro(), time.Now().Add(1000*time.Hour).UnixMicro()
	for _, insert := range []string{
		// Half of them wait since long, half are to be tried again much later.
		fmt.Sprintf(`INTO recovery_jobs (id, lane, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, turn, fresh, order_at)
			%%sSELECT %s, 'mail', 'reset', 'username', 'somebody', '', '', '', '', %[2]d + i, %[2]d + i, i %%%% 2,
			CASE WHEN i %%%% 2 = 1 THEN %[2]d + i ELSE %[3]d + i END FROM n`, id, past, future),
		fmt.Sprintf(`INTO recovery_resets (digest, account_id, version, job_id, requester, requested_at, expires_at, ended)
			%%sSELECT %[1]s, %[2]s, %[1]s, %[2]s, %[1]s, %[3]d, %[3]d + i, 'used' FROM n`, digest, id, future),
		fmt.Sprintf(`INTO recovery_limits (id, tat, slot) %%sSELECT %s, %d + i, %d FROM n`, digest, future, future/60_000_000),
	} {
		if _, err := conn.ExecContext(b.Context(), "INSERT "+fmt.Sprintf(insert, numbers)); err != nil {
			b.Fatal(err)
		}
	}
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
