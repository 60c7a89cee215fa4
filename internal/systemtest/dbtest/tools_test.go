package dbtest

import (
	"cmp"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// The real tools, found on the PATH, run the files of WriteMigrations in a database that also has
// an application's tables.

// A tool runs migrations.
type tool struct {
	command string
	writes  sqlstore.Tool
	own     map[string]string // an application's migration
	// args returns the arguments for one direction, "up" or "down" to nothing.
	args func(d sqlstore.Dialect, p databases.Place, dir, versions, direction string) []string
}

const (
	makeWidgets = "CREATE TABLE widgets (id INTEGER NOT NULL PRIMARY KEY);\n"
	dropWidgets = "DROP TABLE widgets;\n"
)

var tools = []tool{
	{
		command: "goose", writes: sqlstore.Goose,
		own: map[string]string{"00001_widgets.sql": "-- +goose Up\n" + makeWidgets + "-- +goose Down\n" + dropWidgets},
		args: func(d sqlstore.Dialect, p databases.Place, dir, versions, direction string) []string {
			driver := map[sqlstore.Dialect]string{sqlstore.SQLite: "sqlite3", sqlstore.PostgreSQL: "postgres", sqlstore.MySQL: "mysql"}[d]
			dsn := p.DSN
			if d == sqlstore.MySQL {
				dsn += "?parseTime=true"
			}
			args := []string{"-dir", dir}
			if versions != "" {
				args = append(args, "-table", versions)
			}
			return append(args, driver, dsn, map[string]string{"up": "up", "down": "reset"}[direction])
		},
	},
	{
		command: "migrate", writes: sqlstore.PlainSQL,
		own: map[string]string{"000001_widgets.up.sql": makeWidgets, "000001_widgets.down.sql": dropWidgets},
		args: func(d sqlstore.Dialect, p databases.Place, dir, versions, direction string) []string {
			dsn := p.DSN
			switch d {
			case sqlstore.SQLite:
				dsn = "sqlite://" + strings.TrimPrefix(dsn, "file:")
			case sqlstore.MySQL:
				dsn = "mysql://" + dsn
			}
			if versions != "" {
				separator := "?"
				if strings.Contains(dsn, "?") {
					separator = "&"
				}
				dsn += separator + "x-migrations-table=" + versions
			}
			args := []string{"-path", dir, "-database", dsn, direction}
			if direction == "down" {
				args = append(args, "-all")
			}
			return args
		},
	},
}

func (m tool) run(t *testing.T, d sqlstore.Dialect, p databases.Place, dir, versions, direction string) {
	t.Helper()
	path, err := exec.LookPath(m.command)
	if err != nil {
		databases.Missing(t, m.command, err)
	}
	out, err := exec.CommandContext(t.Context(), path, m.args(d, p, dir, versions, direction)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", m.command, direction, err, out)
	}
}

func TestToolsMigrateBesideAnApplication(t *testing.T) {
	for _, m := range tools {
		t.Run(m.command, func(t *testing.T) {
			databases.OnEach(t, func(t *testing.T, s databases.Server) {
				for name, opts := range map[string]*sqlstore.Options{"default names": {}, "names of its own": {TablePrefix: "auth_"}} {
					t.Run(name, func(t *testing.T) {
						is := is.New(t)
						p := s.Place(t)
						db := p.Open(t)
						if opts.TablePrefix != "" && s.Dialect != sqlstore.SQLite {
							opts.Schema = newSchema(t, s.Dialect, db)
						}
						application := t.TempDir()
						for name, text := range m.own {
							is.NoErr(os.WriteFile(filepath.Join(application, name), []byte(text), 0o600))
						}
						m.run(t, s.Dialect, p, application, "", "up")
						before := databases.Tables(t, db, s.Dialect)
						is.True(slices.Contains(before, "widgets"))
						execute(t, db, fmt.Sprintf(databases.CreateUsers, databases.TextType(s.Dialect), databases.TextType(s.Dialect)))

						dir := t.TempDir()
						is.NoErr(sqlstore.WriteMigrations(dir, s.Dialect, m.writes, opts))
						store := databases.StoreWith(t, s.Dialect, db, databases.Users, *opts)
						for range 2 {
							m.run(t, s.Dialect, p, dir, "recovery_versions", "up")
							is.NoErr(store.Migrate(t.Context())) // finds complete tables
							is.Equal(tablesIn(t, db, s.Dialect, opts), []string{"jobs", "limits", "resets"})
							putAccount(t, db, s.Dialect)
							exercise(t, store)
							m.run(t, s.Dialect, p, dir, "recovery_versions", "down")
							is.Equal(tablesIn(t, db, s.Dialect, opts), nil)
						}
						for _, table := range before { // what was the application's still is
							is.True(slices.Contains(databases.Tables(t, db, s.Dialect), table))
						}
						m.run(t, s.Dialect, p, application, "", "down")
						is.True(!slices.Contains(databases.Tables(t, db, s.Dialect), "widgets"))
					})
				}
			})
		})
	}
}

// A tool may take over the tables of Migrate: its first run skips them and keeps their rows.
func TestToolTakesOverFromMigrate(t *testing.T) {
	for _, m := range tools {
		t.Run(m.command, func(t *testing.T) {
			databases.OnEach(t, func(t *testing.T, s databases.Server) {
				is := is.New(t)
				p := s.Place(t)
				db := p.Open(t)
				store := databases.OpenOn(t, s.Dialect, db, databases.TextType(s.Dialect))
				is.NoErr(store.Enqueue(t.Context(), request(t0), nil))
				before, err := databases.Dump(db)
				is.NoErr(err)
				dir := t.TempDir()
				is.NoErr(sqlstore.WriteMigrations(dir, s.Dialect, m.writes, nil))
				m.run(t, s.Dialect, p, dir, "recovery_versions", "up")
				execute(t, db, "DROP TABLE recovery_migrations")
				is.NoErr(store.Migrate(t.Context()))
				after, err := databases.Dump(db)
				is.NoErr(err)
				is.Equal(after, before)
				is.True(!slices.Contains(databases.Tables(t, db, s.Dialect), "recovery_migrations"))
			})
		})
	}
}

// Migrate works in a schema too, beside a store with the same names in another.
func TestMigrateInASchema(t *testing.T) {
	databases.OnEachOf(t, big, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		outside, db := databases.Open(t, s)
		is.NoErr(outside.Enqueue(t.Context(), request(t0), nil))
		before, err := databases.Dump(db)
		is.NoErr(err)
		putAccount(t, db, s.Dialect)
		schema := newSchema(t, s.Dialect, db)
		store := databases.StoreWith(t, s.Dialect, db, databases.Users, sqlstore.Options{Schema: schema})
		for range 2 {
			is.NoErr(store.Migrate(t.Context()))
		}
		is.Equal(tablesIn(t, db, s.Dialect, &sqlstore.Options{Schema: schema}), []string{"jobs", "limits", "migrations", "resets"})
		exercise(t, store)
		after, err := databases.Dump(db)
		is.NoErr(err)
		is.Equal(after, before)
	})
}

func TestMigrateInASchemaThatIsMissing(t *testing.T) {
	databases.OnEachOf(t, big, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		_, db := databases.Open(t, s)
		err := databases.StoreWith(t, s.Dialect, db, databases.Users, sqlstore.Options{Schema: "no_such-schema"}).Migrate(t.Context())
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), "no_such-schema")) // the database's own words
	})
}

// newSchema makes a schema, in MySQL a database, whose name needs quotes.
func newSchema(t *testing.T, d sqlstore.Dialect, db *sql.DB) string {
	t.Helper()
	name := databases.NewName() + "-App"
	if d == sqlstore.PostgreSQL {
		execute(t, db, `CREATE SCHEMA "`+name+`"`)
		return name
	}
	execute(t, db, "CREATE DATABASE `"+name+"`")
	t.Cleanup(func() {
		if _, err := db.Exec("DROP DATABASE `" + name + "`"); err != nil {
			t.Log(err)
		}
	})
	return name
}

// tablesIn returns the names, without the prefix, of a store's tables.
func tablesIn(t *testing.T, db *sql.DB, d sqlstore.Dialect, opts *sqlstore.Options) (found []string) {
	t.Helper()
	names := databases.Tables(t, db, d)
	if opts.Schema != "" {
		names = texts(t, db, "SELECT table_name FROM information_schema.tables WHERE table_schema = '"+opts.Schema+"' ORDER BY table_name")
	}
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, cmp.Or(opts.TablePrefix, "recovery_")); ok && rest != "versions" {
			found = append(found, rest)
		}
	}
	return found
}
