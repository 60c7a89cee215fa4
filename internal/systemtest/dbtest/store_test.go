// Package dbtest runs what only a database can break against real ones: SQLite in a file, and
// PostgreSQL and MariaDB where they are found; package databases says where they are looked for.
//
// On Unix some tests start servers of their own, in temporary directories and on free ports: a
// pgbouncer before that PostgreSQL, a PostgreSQL and a MariaDB to be killed, and other versions of
// PostgreSQL; for these the programs must be installed.
//
// RECOVERY_GALERA=1 adds a Galera cluster of three nodes of MariaDB; it needs galera-4 and rsync.
// How long the tests try is set by RECOVERY_CRASHES, RECOVERY_SERVER_KILLS, RECOVERY_RACE_TOKENS,
// RECOVERY_MIGRATE_ROUNDS, RECOVERY_MODEL_STEPS, RECOVERY_CUT_STEP and RECOVERY_ACCOUNTS, each
// explained at its test; without them all take some minutes.
package dbtest

import (
	"flag"
	"os"
	"strconv"
	"testing"

	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/storetest"
)

// TestMain has all servers tried at once, on however few processors: who waits for a database
// leaves the processor to others.
func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", strconv.Itoa(len(databases.Servers)))
	os.Exit(m.Run())
}

// The same suite, every case, on every store.
func TestStore(t *testing.T) { databases.OnEach(t, keepsItsPromises) }

// keepsItsPromises runs the suite. Its cases share a database, emptied before each.
func keepsItsPromises(t *testing.T, s databases.Server) {
	store, db := databases.Open(t, s)
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		databases.Empty(t, db)
		return databases.HarnessOn(s.Dialect, store, db)
	})
}
