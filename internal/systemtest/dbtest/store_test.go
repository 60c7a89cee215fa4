// Package dbtest has the tests that need real databases: SQLite in a file, and PostgreSQL and
// MariaDB where package databases finds them.
//
// On Unix some tests start servers of their own, in temporary directories and on free ports: a
// pgbouncer before that PostgreSQL, a PostgreSQL and a MariaDB to be killed, and other versions of
// PostgreSQL; for these the programs must be installed.
//
// RECOVERY_GALERA=1 adds a Galera cluster of three nodes of MariaDB; it needs galera-4 and rsync.
// The length of the tests is set by RECOVERY_CRASHES, RECOVERY_SERVER_KILLS, RECOVERY_RACE_TOKENS,
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

// TestMain tests all servers at once, however few processors there are: a test that waits for a
// database leaves the processor to others.
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
