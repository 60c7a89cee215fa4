package dbtest

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// What Migrate, called at every start, finds: each test is one state of the tables.

func TestStartNamesATableThatWasDropped(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		for _, table := range []string{"recovery_jobs", "recovery_resets", "recovery_limits"} {
			t.Run(table, func(t *testing.T) {
				is := is.New(t)
				store, db := databases.Open(t, s)
				_, err := db.Exec("DROP TABLE " + table)
				is.NoErr(err)
				err = store.Migrate(t.Context())
				is.True(err != nil)
				is.True(strings.Contains(err.Error(), "the table "+table+" is missing"))
				is.True(strings.Contains(err.Error(), "drop recovery_jobs, recovery_resets, recovery_limits and recovery_migrations"))
			})
		}
	})
}

func TestStartNamesAColumnThatIsMissing(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		_, db := databases.Open(t, s)
		for _, table := range []string{"recovery_jobs", "recovery_resets", "recovery_limits"} {
			columns := columnsOf(t, db, table)
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
				})
			}
		}
		is.New(t).NoErr(databases.StoreOn(t, s.Dialect, db, "").Migrate(t.Context())) // all are back
	})
}

func rename(t *testing.T, db *sql.DB, d sqlstore.Dialect, table, from, to string) {
	t.Helper()
	is := is.New(t)
	_, err := db.Exec(fmt.Sprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", table, from, to))
	is.NoErr(err)
}

// A newer version has migrated already: its tables are usable, and it wrote a higher number.
func TestOlderInstanceStartsOnANewerSchema(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		for _, statement := range []string{
			"INSERT INTO recovery_migrations (version) VALUES (7)", "ALTER TABLE recovery_jobs ADD COLUMN newer INTEGER",
		} {
			_, err := db.Exec(statement)
			is.NoErr(err)
		}
		before := tableNames(t, db, s.Dialect)
		is.NoErr(store.Migrate(t.Context()))
		is.Equal(tableNames(t, db, s.Dialect), before)
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
				databases.OnEach(t, func(t *testing.T, s databases.Server) {
					is := is.New(t)
					if s.Dialect == sqlstore.SQLite {
						t.Skip("SQLite knows no users")
					}
					p := s.Place(t)
					owner := p.Open(t)
					databases.OpenOn(t, s.Dialect, owner, databases.TextType(s.Dialect))
					_, err := owner.Exec("UPDATE recovery_migrations SET version = " + version)
					is.NoErr(err)
					grants := ownGrants
					if reads {
						grants = append(slices.Clone(grants), "SELECT ON recovery_migrations")
					}
					db := asPoor(t, s.Dialect, p, owner, grants)
					_, err = db.Exec("CREATE TABLE recovery_more (id INTEGER)")
					is.True(err != nil) // the role is poor indeed
					is.NoErr(databases.StoreOn(t, s.Dialect, db, "").Migrate(t.Context()))
				})
			})
		}
	}
}
