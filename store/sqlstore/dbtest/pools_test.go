package dbtest

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/matryer/is"
	gormpostgres "gorm.io/driver/postgres"
	gormsqlite "gorm.io/driver/sqlite"
	"gorm.io/gorm"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// An application that has a pool of its own, or of its ORM, lets the store use it: the store works
// on it, and the application sees with it what the store did.
func TestPoolOfTheApplication(t *testing.T) {
	const hashOf77 = "SELECT password_hash FROM users WHERE id = '77'"
	postgres, mattn := databases.Servers[1], databases.Servers[4]
	for _, c := range []struct {
		name   string
		server databases.Server
		open   func(t *testing.T, p databases.Place) (db *sql.DB, ask func(query string) (string, error))
	}{
		{"pgxpool", postgres, openPgxPool},
		{"GORM on PostgreSQL", postgres, openGORM},
		{"GORM on SQLite", mattn, openGORM},
		{"ent on PostgreSQL", postgres, openEnt},
		{"ent on SQLite", mattn, openEnt},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			db, ask := c.open(t, c.server.Place(t))
			store := databases.OpenOn(t, c.server.Dialect, db, databases.TextType(c.server.Dialect))
			is.NoErr(databases.Put(db, c.server.Dialect, recovery.Account{
				ID: "77", Username: "name77", Email: "name77@example.com", Active: true, HasPassword: true, EmailVerified: true,
			}, "old"))
			before, err := ask(hashOf77)
			is.NoErr(err)
			is.Equal(before, "old")
			exercise(t, store)
			after, err := ask(hashOf77)
			is.NoErr(err)
			is.True(after != "old") // the store set it
			is.Equal(db.Stats().InUse, 0)
		})
	}
}

func openPgxPool(t *testing.T, p databases.Place) (*sql.DB, func(string) (string, error)) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), p.DSN)
	is.New(t).NoErr(err)
	t.Cleanup(pool.Close)
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { _ = db.Close() })
	return db, func(query string) (found string, err error) {
		err = pool.QueryRow(context.Background(), query).Scan(&found)
		return found, err
	}
}

func openGORM(t *testing.T, p databases.Place) (*sql.DB, func(string) (string, error)) {
	t.Helper()
	is := is.New(t)
	dialector := gormpostgres.Open(p.DSN)
	if p.Driver == "sqlite3" {
		dialector = gormsqlite.Open(p.DSN)
	}
	orm, err := gorm.Open(dialector, &gorm.Config{PrepareStmt: true})
	is.NoErr(err)
	db, err := orm.DB()
	is.NoErr(err)
	t.Cleanup(func() { _ = db.Close() })
	return db, func(query string) (found string, err error) {
		err = orm.Raw(query).Scan(&found).Error
		return found, err
	}
}

func openEnt(t *testing.T, p databases.Place) (*sql.DB, func(string) (string, error)) {
	t.Helper()
	name := map[string]string{"pgx": dialect.Postgres, "sqlite3": dialect.SQLite}[p.Driver]
	driver := entsql.OpenDB(name, p.Open(t))
	return driver.DB(), func(query string) (found string, err error) {
		var rows entsql.Rows
		if err := driver.Query(context.Background(), query, []any{}, &rows); err != nil {
			return "", err
		}
		defer rows.Close()
		return entsql.ScanString(rows)
	}
}

// poolUsers is how the store finds the accounts in these examples.
var poolUsers = sqlstore.Table{
	Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
	CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact,
	Active: sqlstore.Always, EmailVerified: sqlstore.Always,
}

// A store beside GORM uses GORM's own pool.
func Example_gorm() {
	type User struct {
		ID                    string
		Name, Email, Password string
	}
	ctx := context.Background()
	orm, err := gorm.Open(gormsqlite.New(gormsqlite.Config{DriverName: "sqlite", DSN: "file:/gorm.db?vfs=memdb"}), nil)
	check(err)
	check(orm.AutoMigrate(&User{}))
	check(orm.Create(&User{"1", "alice", "alice@example.com", "hash"}).Error)

	db, err := orm.DB()
	check(err)
	defer db.Close()
	accounts, err := poolUsers.Accounts(sqlstore.SQLite)
	check(err)
	store, err := sqlstore.New(db, sqlstore.SQLite, accounts, nil)
	check(err)
	check(store.Migrate(ctx))

	printAccounts(ctx, store)
	// Output: alice may be recovered: true
}

// A store beside ent uses the pool that ent's driver is made of. What ent generates is opened with
// the same driver: ent.NewClient(ent.Driver(driver)).
func Example_ent() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:/ent.db?vfs=memdb")
	check(err)
	defer db.Close()
	driver := entsql.OpenDB(dialect.SQLite, db)
	for _, statement := range []string{
		"CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL, password TEXT NOT NULL)",
		"INSERT INTO users VALUES ('1', 'alice', 'alice@example.com', 'hash')",
	} {
		check(driver.Exec(ctx, statement, []any{}, nil))
	}

	accounts, err := poolUsers.Accounts(sqlstore.SQLite)
	check(err)
	store, err := sqlstore.New(driver.DB(), sqlstore.SQLite, accounts, nil)
	check(err)
	check(store.Migrate(ctx))

	printAccounts(ctx, store)
	// Output: alice may be recovered: true
}

// A store beside pgx borrows the connections of its pool.
func Example_pgxpool() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://app@127.0.0.1:5432/app")
	check(err)
	defer pool.Close()
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()

	accounts, err := poolUsers.Accounts(sqlstore.PostgreSQL)
	check(err)
	store, err := sqlstore.New(db, sqlstore.PostgreSQL, accounts, nil)
	check(err)
	check(store.Migrate(ctx))
}

func printAccounts(ctx context.Context, store recovery.Store) {
	found, err := store.FindAccounts(ctx, recovery.AccountQuery{By: recovery.ByUsername, Typed: "alice", Canonical: "alice", Max: 10})
	check(err)
	for _, a := range found {
		fmt.Println(a.Username, "may be recovered:", a.Eligible())
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
