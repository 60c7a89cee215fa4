package main

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/matryer/is"
)

// A databaseServer is at the address in its variable, RECOVERY_POSTGRES (a URL) or RECOVERY_MYSQL
// (a DSN of go-sql-driver), or else on this machine.
type databaseServer struct {
	name, driver, dsn string
	flag              func(t *testing.T, dsn, database string) string
}

var (
	postgresServer = databaseServer{"PostgreSQL", "pgx",
		cmp.Or(os.Getenv("RECOVERY_POSTGRES"), "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"), postgresFlag}
	mysqlServer = databaseServer{"MariaDB", "mysql",
		cmp.Or(os.Getenv("RECOVERY_MYSQL"), "root@tcp(127.0.0.1:3306)/"), mysqlFlag}
)

// newDatabase makes a database of the test's own, drops it afterwards, and returns the flag -db for
// it.
func newDatabase(t *testing.T, s databaseServer) string {
	t.Helper()
	is := is.New(t)
	admin, err := sql.Open(s.driver, s.dsn)
	is.NoErr(err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := admin.PingContext(ctx); err != nil {
		if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
			t.Fatalf("%s was not found, and RECOVERY_REQUIRE_ALL is 1: %v", s.name, err)
		}
		t.Skipf("%s was not found, so nothing was tested with it: %v", s.name, err)
	}
	name := fmt.Sprintf("recovery_example_%d_%d", os.Getpid(), databases.Add(1))
	_, err = admin.Exec("CREATE DATABASE " + name)
	is.NoErr(err)
	t.Cleanup(func() {
		_, err := admin.Exec("DROP DATABASE " + name)
		is.NoErr(err)
		is.NoErr(admin.Close())
	})
	return s.flag(t, s.dsn, name)
}

var databases atomic.Int32

func TestDatabaseServers(t *testing.T) {
	for _, s := range []databaseServer{postgresServer, mysqlServer} {
		t.Run(s.name, func(t *testing.T) {
			is := is.New(t)
			p := start(t, "-db", newDatabase(t, s), "-accounts", "1200")
			p.ask("user001200")
			is.Equal(p.complete(p.mails(1)[0].Token), 200)
			is.Equal(p.login("user001200", "New-passw0rd-2"), 204)
			is.Equal(p.login("user001199", "Old-passw0rd-1"), 204)
			p.stop(syscall.SIGTERM)
		})
	}
}

func postgresFlag(t *testing.T, dsn, database string) string {
	u, err := url.Parse(dsn)
	is.New(t).NoErr(err)
	u.Path = "/" + database
	return u.String()
}

func mysqlFlag(t *testing.T, dsn, database string) string {
	c, err := mysql.ParseDSN(dsn)
	is.New(t).NoErr(err)
	u := url.URL{Scheme: "mysql", User: url.UserPassword(c.User, c.Passwd), Host: c.Addr, Path: "/" + database}
	return u.String()
}
