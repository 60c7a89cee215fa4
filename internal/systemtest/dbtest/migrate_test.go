package dbtest

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

const instances = 10

var ownTables = []string{"recovery_jobs", "recovery_limits", "recovery_migrations", "recovery_resets"}

func TestTenInstancesMigrateAtOnce(t *testing.T) {
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		p := s.Place(t)
		migrateAtOnce(t, s.Dialect, p.Open(t), p)
	})
}

// migrateAtOnce has many instances, each with connections of its own to the place, migrate an empty
// database at once. RECOVERY_MIGRATE_ROUNDS sets how many times: 3 by default, 50 in the full run.
// After the first round the database is emptied, not new. The test looks at the result through db.
func migrateAtOnce(t *testing.T, d sqlstore.Dialect, db *sql.DB, p databases.Place) {
	t.Helper()
	is := is.New(t)
	execute(t, db, fmt.Sprintf(databases.CreateUsers, databases.TextType(d), databases.TextType(d)))
	var stores []*sqlstore.Store
	for range instances {
		stores = append(stores, databases.StoreOn(t, d, p.Open(t), ""))
	}
	for range fromEnv(t, "RECOVERY_MIGRATE_ROUNDS", 3) {
		for _, err := range spy.Together(instances, func(i int) error { return stores[i].Migrate(t.Context()) }) {
			is.NoErr(err)
		}
		is.Equal(databases.Tables(t, db, d), append(slices.Clone(ownTables), "users"))
		is.Equal(texts(t, db, "SELECT COUNT(*) FROM recovery_migrations"), []string{"1"}) // each migration was done once
		for _, table := range ownTables {
			execute(t, db, "DROP TABLE "+table)
		}
	}
}

// Every statement of a store is tried while its tables are the only ones, and fails if it names
// another, then beside the tables of a second store, and leaves those as they are.
func TestPrefixesLiveBesideEachOther(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		db := s.Create(t)
		execute(t, db, fmt.Sprintf(databases.CreateUsers, databases.TextType(s.Dialect), databases.TextType(s.Dialect)))
		putAccount(t, db, s.Dialect)
		other, store := databases.StoreOn(t, s.Dialect, db, "recovery_b_"), databases.StoreOn(t, s.Dialect, db, "")
		is.NoErr(other.Migrate(t.Context()))
		is.Equal(len(databases.Tables(t, db, s.Dialect)), 1+len(ownTables))
		exercise(t, other)

		is.NoErr(store.Migrate(t.Context()))
		is.Equal(len(databases.Tables(t, db, s.Dialect)), 1+2*len(ownTables))
		before, err := databases.DumpOf(db, "recovery_b_")
		is.NoErr(err)
		is.True(strings.Contains(before, "jobs") && strings.Contains(before, "resets")) // there is something to harm
		exercise(t, store)
		is.NoErr(other.Migrate(t.Context())) // again: it changes nothing
		after, err := databases.DumpOf(db, "recovery_b_")
		is.NoErr(err)
		is.Equal(after, before) // one store does not touch what the other has
	})
}

// MySQL's DDL does not roll back: an instance that dies leaves some of the tables.
func TestMigrationThatDiedHalfWayIsCompleted(t *testing.T) {
	for _, table := range []string{"recovery_jobs", "recovery_resets", "recovery_limits"} {
		t.Run("without "+table, func(t *testing.T) {
			is := is.New(t)
			s := databases.Servers[slices.IndexFunc(databases.Servers, func(s databases.Server) bool { return s.Dialect == sqlstore.MySQL })]
			store, db := databases.Open(t, s)
			execute(t, db, "DROP TABLE "+table, "DELETE FROM recovery_migrations")
			is.NoErr(store.Migrate(t.Context()))
			is.Equal(databases.Tables(t, db, s.Dialect), append(slices.Clone(ownTables), "users"))
			_, err := databases.Dump(db)
			is.NoErr(err)
		})
	}
}

// A session that waits for the lock at a higher isolation level must still see what was done
// meanwhile. The rounds above test that only by chance; this one always waits.
func TestMigrateSeesWhatWasDoneWhileItWaited(t *testing.T) {
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			is := is.New(t)
			p := databases.NewPostgres(t, "pgx", map[string]string{"default_transaction_isolation": level})
			db := p.Open(t)
			execute(t, db, fmt.Sprintf(databases.CreateUsers, "text", "text"))
			tx, err := db.BeginTx(t.Context(), nil)
			is.NoErr(err)
			execute(t, tx, "SELECT pg_advisory_xact_lock(hashtext('recovery_migrations'))")
			done := make(chan error, 2)
			for range 2 {
				go func() { done <- databases.StoreOn(t, sqlstore.PostgreSQL, db, "").Migrate(t.Context()) }()
			}
			deadline := time.Now().Add(10 * time.Second)
			for len(texts(t, db, `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'`)) < 2 {
				is.True(time.Now().Before(deadline)) // both wait for the lock
			}
			is.NoErr(tx.Commit())
			for range 2 {
				is.NoErr(<-done)
			}
			is.Equal(fmt.Sprint(databases.Tables(t, db, sqlstore.PostgreSQL)), fmt.Sprint(append(slices.Clone(ownTables), "users")))
		})
	}
}
