package dbtest

import (
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
)

// Prepared statements on SQLite keep working when a migration of the application changes the
// tables, even with one connection.
func TestTablesChangeWhileInUse(t *testing.T) {
	databases.OnEachOf(t, lite, func(t *testing.T, s databases.Server) {
		for _, conns := range []int{1, 4} {
			is := is.New(t)
			store, db := databases.Open(t, s)
			db.SetMaxOpenConns(conns)
			a := stored(t, store, db, s.Dialect, 1)
			charges := recovery.Charges{{Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 1000, Every: time.Second}}}
			through := func() {
				is.NoErr(store.TakeLimits(t.Context(), t0, charges))
				reset := resetOf(a, t0)
				mint(t, store, reset)
				_, _, err := store.FindReset(t.Context(), reset.Digest, t0)
				is.NoErr(err)
				is.NoErr(store.RefundLimits(t.Context(), charges))
			}
			for _, change := range []string{
				"ALTER TABLE recovery_jobs ADD COLUMN more TEXT", "ALTER TABLE recovery_limits ADD COLUMN more TEXT",
				"ALTER TABLE recovery_resets ADD COLUMN more TEXT", "CREATE INDEX more ON recovery_resets (job_id)",
			} {
				through()
				through()
				execute(t, db, change)
			}
			through()
		}
	})
}
