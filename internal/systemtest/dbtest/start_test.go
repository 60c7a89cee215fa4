package dbtest

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// Migrate is called at every start. Each test is one state of the tables that it may find.

func TestStartNamesATableThatWasDropped(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		for _, table := range []string{"recovery_jobs", "recovery_resets", "recovery_limits"} {
			t.Run(table, func(t *testing.T) {
				is := is.New(t)
				store, db := databases.Open(t, s)
				execute(t, db, "DROP TABLE "+table)
				err := store.Migrate(t.Context())
				is.True(err != nil)
				is.True(strings.Contains(err.Error(), "the table "+table+" is missing"))
				is.True(!strings.Contains(err.Error(), "call Store.Migrate"))
				is.True(!strings.Contains(err.Error(), "DROP TABLE")) // what is there is worth keeping
				execute(t, db, "DELETE FROM recovery_migrations")     // as the error says
				is.NoErr(store.Migrate(t.Context()))
			})
		}
	})
}

func TestStartNamesAColumnThatIsMissing(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		_, db := databases.Open(t, s)
		for _, table := range []string{"recovery_jobs", "recovery_resets", "recovery_limits"} {
			columns, _, err := databases.Rows(db, "SELECT * FROM "+table+" LIMIT 0")
			is.New(t).NoErr(err)
			is.New(t).True(len(columns) > 1)
			for _, column := range columns { // each that a new database has
				t.Run(table+"/"+column, func(t *testing.T) {
					is := is.New(t)
					rename(t, db, s.Dialect, table, column, "gone")
					defer rename(t, db, s.Dialect, table, "gone", column)
					err := databases.StoreOn(t, s.Dialect, db, "").Migrate(t.Context())
					is.True(err != nil)
					is.True(strings.Contains(err.Error(), "the table "+table+" has no column "+column))
					is.True(strings.Contains(err.Error(), "migrate again"))
					is.True(strings.Contains(err.Error(), "DROP TABLE IF EXISTS "+table))
				})
			}
		}
		is.New(t).NoErr(databases.StoreOn(t, s.Dialect, db, "").Migrate(t.Context())) // all are back
	})
}

func rename(t *testing.T, db *sql.DB, d sqlstore.Dialect, table, from, to string) {
	t.Helper()
	execute(t, db, fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", table, from, to))
}

// A newer version has migrated already: its tables are usable, and it wrote a higher number.
func TestOlderInstanceStartsOnANewerSchema(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		execute(t, db,
			"INSERT INTO recovery_migrations (version) VALUES (7)", "ALTER TABLE recovery_jobs ADD COLUMN newer INTEGER",
		)
		before := databases.Tables(t, db, s.Dialect)
		is.NoErr(store.Migrate(t.Context()))
		is.Equal(databases.Tables(t, db, s.Dialect), before)
		is.Equal(texts(t, db, "SELECT MAX(version) FROM recovery_migrations"), []string{"7"})
		is.NoErr(store.Enqueue(t.Context(), request(t0), nil))
	})
}

// The role has the rights that the package comment lists, so it can create nothing. It starts on
// tables that are up to date or newer, whether or not it may read recovery_migrations.
func TestStartNeedsNoRightToCreateTables(t *testing.T) {
	for _, version := range []string{"1", "7"} {
		for _, reads := range []bool{true, false} {
			t.Run(fmt.Sprintf("version %s, reads versions %v", version, reads), func(t *testing.T) {
				databases.OnEachOf(t, big, func(t *testing.T, s databases.Server) {
					is := is.New(t)
					p, owner := databases.Prepared(t, s)
					execute(t, owner, "UPDATE recovery_migrations SET version = "+version)
					grants := ownGrants
					if reads {
						grants = append(slices.Clone(grants), "SELECT ON recovery_migrations")
					}
					poor, _ := asPoor(t, s.Dialect, p, owner, grants)
					db := poor.Open(t)
					_, err := db.Exec("CREATE TABLE recovery_more (id INTEGER)")
					is.True(err != nil) // the role is poor indeed
					is.NoErr(databases.StoreOn(t, s.Dialect, db, "").Migrate(t.Context()))
				})
			})
		}
	}
}

// Tables that the role may not read exist, and must stay.
func TestStartWithoutTheRightToReadSaysWhatToGrant(t *testing.T) {
	databases.OnEachOf(t, big, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		p, owner := databases.Prepared(t, s)
		poor, _ := asPoor(t, s.Dialect, p, owner, ownGrants[1:])
		store := databases.StoreOn(t, s.Dialect, poor.Open(t), "")
		for _, err := range []error{store.Check(t.Context()), store.Migrate(t.Context())} {
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), "the table recovery_jobs cannot be read: grant SELECT, INSERT, UPDATE and DELETE on it"))
			is.True(!strings.Contains(strings.ToLower(err.Error()), "drop "))
			is.True(!strings.Contains(err.Error(), "grant CREATE"))
			is.True(!strings.Contains(err.Error(), "missing"))
		}
	})
}

// On a new database the role must create the tables, or somebody else must.
func TestStartWithoutTheRightToCreateSaysWhoMay(t *testing.T) {
	databases.OnEachOf(t, big, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		p, owner := databases.Prepared(t, s)
		on := "SCHEMA public"
		grants := []string{"SELECT ON users", "USAGE ON SCHEMA public"}
		if s.Dialect == sqlstore.MySQL {
			on, grants = "", []string{"SELECT ON " + texts(t, owner, "SELECT DATABASE()")[0] + ".*"}
		} else {
			execute(t, owner, "REVOKE CREATE ON "+on+" FROM PUBLIC")
		}
		for _, table := range ownTables {
			execute(t, owner, "DROP TABLE "+table)
		}
		poor, _ := asPoor(t, s.Dialect, p, owner, grants)
		err := databases.StoreOn(t, s.Dialect, poor.Open(t), "").Migrate(t.Context())
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), ": grant CREATE, or run the files of WriteMigrations with another role"))
		is.True(!strings.Contains(err.Error(), "call Store.Migrate"))
		is.True(!strings.Contains(err.Error(), " user ") && !strings.Contains(err.Error(), "@"))
	})
}

// The drivers' errors about connections contain users and hosts.
func TestStartWithoutAServerNamesNobody(t *testing.T) {
	places := map[sqlstore.Dialect][]databases.Place{
		sqlstore.PostgreSQL: {
			{Driver: "pgx", DSN: "postgres://somebody@127.0.0.1:1/somewhere?sslmode=disable"},
			{Driver: "postgres", DSN: "postgres://somebody@127.0.0.1:1/somewhere?sslmode=disable"},
		},
		sqlstore.MySQL: {{Driver: "mysql", DSN: "somebody@tcp(127.0.0.1:1)/somewhere"}},
	}
	for d, places := range places {
		for _, p := range places {
			t.Run(p.Driver, func(t *testing.T) {
				is := is.New(t)
				store := databases.StoreOn(t, d, p.Open(t), "")
				is.Equal(store.Check(t.Context()).Error(), "sqlstore: no connection to the database: connection refused")
				is.Equal(store.Migrate(t.Context()).Error(), "sqlstore: migrate: no connection to the database: connection refused")
			})
		}
	}
}
