// Package dbtest runs what only a database can break against real ones: SQLite in a file, and
// PostgreSQL and MariaDB where they are found.
//
// PostgreSQL is looked for at RECOVERY_POSTGRES (a URL), else at 127.0.0.1:5432 and the user postgres;
// MariaDB or MySQL at RECOVERY_MYSQL (a DSN of go-sql-driver), else at 127.0.0.1:3306 and the user
// root. The tests make databases of their own there, named recovery_test_…, and drop them. A server
// that is not found is said to be missing; with RECOVERY_REQUIRE_ALL=1 that is a failure.
package dbtest

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
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
	create  func(t *testing.T) *sql.DB // a new, empty database
}

var servers = []server{
	{"SQLite", sqlstore.SQLite, newSQLite},
	{"PostgreSQL with pgx", sqlstore.PostgreSQL, func(t *testing.T) *sql.DB { return newPostgres(t, "pgx") }},
	{"PostgreSQL with lib_pq", sqlstore.PostgreSQL, func(t *testing.T) *sql.DB { return newPostgres(t, "postgres") }},
	{"MariaDB", sqlstore.MySQL, newMySQL},
}

// onEach runs f for every server, each with a database of its own.
func onEach(t *testing.T, f func(t *testing.T, s server)) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

func missing(t *testing.T, name string, err error) {
	t.Helper()
	if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
		t.Fatalf("%s was not found, and RECOVERY_REQUIRE_ALL is 1: %v", name, err)
	}
	t.Skipf("%s was not found, so nothing was tested with it: %v", name, err)
}

func newSQLite(t *testing.T) *sql.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "recovery.db")
	return openDB(t, "sqlite", sqliteDSN(path))
}

func sqliteDSN(path string) string {
	return "file:" + path + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
}

var databases atomic.Int64

func databaseName() string {
	return fmt.Sprintf("recovery_test_%d_%d", os.Getpid(), databases.Add(1))
}

func newPostgres(t *testing.T, driver string) *sql.DB {
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
	own := *base
	own.Path = "/" + name
	db := openDB(t, driver, own.String())
	dropLater(t, driver, base.String(), "DROP DATABASE "+name+" WITH (FORCE)", db)
	return db
}

func newMySQL(t *testing.T) *sql.DB {
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
	own := *config
	own.DBName = name
	db := openDB(t, "mysql", own.FormatDSN())
	dropLater(t, "mysql", config.FormatDSN(), "DROP DATABASE "+name, db)
	return db
}

func openDB(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	is.New(t).NoErr(err)
	db.SetMaxOpenConns(24)
	db.SetMaxIdleConns(24)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func dropLater(t *testing.T, driver, dsn, drop string, db *sql.DB) {
	t.Cleanup(func() {
		_ = db.Close()
		admin, err := sql.Open(driver, dsn)
		if err == nil {
			_, err = admin.Exec(drop)
			_ = admin.Close()
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
