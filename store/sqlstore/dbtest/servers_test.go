// Package dbtest runs what only a database can break against real ones: SQLite in a file, and
// PostgreSQL and MariaDB where they are found.
//
// PostgreSQL is looked for at RECOVERY_POSTGRES (a URL), else at 127.0.0.1:5432 and the user postgres;
// MariaDB or MySQL at RECOVERY_MYSQL (a DSN of go-sql-driver), else at 127.0.0.1:3306 and the user
// root. The tests make databases of their own there, named recovery_test_…, and drop them. On Unix
// some start servers of their own, in temporary directories and on free ports: a pgbouncer before that
// PostgreSQL, and a PostgreSQL and a MariaDB to be killed; for these the programs must be installed.
// What is not found is said to be missing; with RECOVERY_REQUIRE_ALL=1 that is a failure.
//
// RECOVERY_GALERA=1 adds a Galera cluster of three nodes of MariaDB; it needs galera-4 and rsync. How
// long the tests try is set by RECOVERY_CRASHES, RECOVERY_SERVER_KILLS, RECOVERY_RACE_TOKENS,
// RECOVERY_MIGRATE_ROUNDS, RECOVERY_MODEL_STEPS, RECOVERY_CUT_STEP and RECOVERY_ACCOUNTS, each explained
// at its test; without them all take some minutes.
package dbtest

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	"github.com/matryer/is"
	_ "modernc.org/sqlite"

	"example.com/recovery/store/sqlstore"
)

// A server is a kind of database and a driver for it.
type server struct {
	name    string
	dialect sqlstore.Dialect
	place   func(t testing.TB) place // a new, empty database
}

// A place is how to connect to a database.
type place struct{ driver, dsn string }

func (p place) open(t testing.TB) *sql.DB {
	t.Helper()
	return openDB(t, p.driver, p.dsn)
}

// create makes a new, empty database.
func (s server) create(t testing.TB) *sql.DB {
	t.Helper()
	return s.place(t).open(t)
}

var servers = []server{
	{"SQLite", sqlstore.SQLite, newSQLite},
	{"PostgreSQL with pgx", sqlstore.PostgreSQL, func(t testing.TB) place { return newPostgres(t, "pgx", nil) }},
	{"PostgreSQL with lib_pq", sqlstore.PostgreSQL, func(t testing.TB) place { return newPostgres(t, "postgres", nil) }},
	{"MariaDB", sqlstore.MySQL, func(t testing.TB) place { return newMySQL(t, nil) }},
}

// onEach runs f for every server, each with a database of its own.
func onEach(t *testing.T, f func(t *testing.T, s server)) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

func missing(t testing.TB, name string, err error) {
	t.Helper()
	if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
		t.Fatalf("%s was not found, and RECOVERY_REQUIRE_ALL is 1: %v", name, err)
	}
	t.Skipf("%s was not found, so nothing was tested with it: %v", name, err)
}

func newSQLite(t testing.TB) place {
	t.Helper()
	return place{"sqlite", sqliteDSN(filepath.Join(t.TempDir(), "recovery.db"))}
}

func sqliteDSN(path string) string {
	return "file:" + path + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
}

var databases atomic.Int64

func databaseName() string {
	return fmt.Sprintf("recovery_test_%d_%d", os.Getpid(), databases.Add(1))
}

// newPostgres makes a database whose sessions begin with the settings given.
func newPostgres(t testing.TB, driver string, settings map[string]string) place {
	t.Helper()
	is := is.New(t)
	base, err := url.Parse(cmp.Or(os.Getenv("RECOVERY_POSTGRES"), "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"))
	is.NoErr(err)
	admin, err := sql.Open(driver, base.String())
	is.NoErr(err)
	defer admin.Close()
	if err := ping(admin); err != nil {
		missing(t, "PostgreSQL", err)
	}
	name := databaseName()
	_, err = admin.Exec("CREATE DATABASE " + name)
	is.NoErr(err)
	dropLater(t, place{driver, base.String()}, "DROP DATABASE "+name+" WITH (FORCE)")
	own := *base
	own.Path = "/" + name
	query := own.Query()
	for key, value := range settings {
		query.Set(key, value)
	}
	own.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // pgx takes a plus as it is
	return place{driver, own.String()}
}

// newMySQL makes a database whose connections are configured by the function given.
func newMySQL(t testing.TB, configure func(*mysql.Config)) place {
	t.Helper()
	is := is.New(t)
	config, err := mysql.ParseDSN(cmp.Or(os.Getenv("RECOVERY_MYSQL"), "root@tcp(127.0.0.1:3306)/"))
	is.NoErr(err)
	admin, err := sql.Open("mysql", config.FormatDSN())
	is.NoErr(err)
	defer admin.Close()
	if err := ping(admin); err != nil {
		missing(t, "MariaDB", err)
	}
	name := databaseName()
	_, err = admin.Exec("CREATE DATABASE " + name)
	is.NoErr(err)
	dropLater(t, place{"mysql", config.FormatDSN()}, "DROP DATABASE "+name)
	own := config.Clone()
	own.DBName = name
	if configure != nil {
		if own.Params == nil {
			own.Params = map[string]string{}
		}
		configure(own)
	}
	return place{"mysql", own.FormatDSN()}
}

func openDB(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	is.New(t).NoErr(err)
	return limited(t, db)
}

// limited has a test use so many connections and close them when it is over.
func limited(t testing.TB, db *sql.DB) *sql.DB {
	db.SetMaxOpenConns(24)
	db.SetMaxIdleConns(24)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// dropLater has a statement executed when the test is over and what it opened later is closed.
func dropLater(t testing.TB, admin place, drop string) {
	t.Cleanup(func() {
		db, err := sql.Open(admin.driver, admin.dsn)
		if err == nil {
			_, err = db.Exec(drop)
			_ = db.Close()
		}
		if err != nil {
			t.Logf("%s: %v", drop, err)
		}
	})
}

func ping(db *sql.DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	return db.PingContext(ctx)
}
