package cookbook_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	_ "modernc.org/sqlite"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
)

// The store beside ent, on the pool of ent's driver. Open the generated client with the same
// driver: ent.NewClient(ent.Driver(driver)).
func Example_ent() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:/ent.db?vfs=memdb")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	driver := entsql.OpenDB(dialect.SQLite, db)
	for _, statement := range []string{
		"CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT UNIQUE, email TEXT UNIQUE, password TEXT)",
		"INSERT INTO users VALUES ('1', 'alice', 'alice@example.com', 'hash')",
	} {
		if err := driver.Exec(ctx, statement, []any{}, nil); err != nil {
			log.Fatal(err)
		}
	}

	accounts, err := sqlstore.Table{
		Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
		CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact,
		Active: sqlstore.Always, EmailVerified: sqlstore.Always,
	}.Accounts(sqlstore.SQLite)
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.New(driver.DB(), sqlstore.SQLite, accounts, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	found, err := store.FindAccounts(ctx, recovery.AccountQuery{By: recovery.ByUsername, Typed: "alice", Canonical: "alice", Max: 1})
	fmt.Println(len(found), err)
	// Output: 1 <nil>
}
