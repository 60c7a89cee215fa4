package cookbook_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	_ "modernc.org/sqlite"

	"example.com/recovery/store/sqlstore"
)

// At start, Migrate calls Check, which reports everything about the user table that cannot work. If
// a tool migrates, call Check yourself.
func Example_check() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:/check.db?vfs=memdb&_pragma=busy_timeout(5000)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `
		CREATE TABLE users (id BLOB PRIMARY KEY, name TEXT, email TEXT, password TEXT);
		INSERT INTO users VALUES (x'0102', 'Alice', 'Alice@example.com', 'hash')`); err != nil {
		log.Fatal(err)
	}
	accounts, err := sqlstore.Table{
		Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
		CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact,
		Active: "deleted_at IS NULL", EmailVerified: sqlstore.Always,
	}.Accounts(sqlstore.SQLite)
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.New(db, sqlstore.SQLite, accounts, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(store.Migrate(ctx))
	// Output:
	// sqlstore: Table.ID: the column "id" is BLOB, whose texts do not identify its values: name a column of integers, UUIDs or texts, such as a unique generated column
	// sqlstore: Table.Active: "deleted_at IS NULL": SQL logic error: no such column: deleted_at (1)
}
