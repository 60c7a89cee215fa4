package cookbook_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	_ "modernc.org/sqlite"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/sqlstore"
)

// SQLite without cgo. A file needs the DSN
//
//	file:app.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)
func Example_sqlite() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:/cookbook.db?vfs=memdb&_pragma=busy_timeout(5000)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `
		CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE COLLATE NOCASE,
			email TEXT UNIQUE COLLATE NOCASE, password TEXT, verified_at INTEGER, disabled INTEGER DEFAULT 0);
		INSERT INTO users VALUES (1, 'Alice', 'Alice@example.com', 'hash', 1780000000, 0)`); err != nil {
		log.Fatal(err)
	}
	accounts, err := sqlstore.Table{
		Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
		CanonicalUsername: sqlstore.Collation, CanonicalEmail: sqlstore.Collation,
		Active: "disabled = 0", EmailVerified: "verified_at IS NOT NULL",
	}.Accounts(sqlstore.SQLite)
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.New(db, sqlstore.SQLite, accounts, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil { // reports what cannot work with the table
		log.Fatal(err)
	}
	var mails mailertest.Recorder
	svc, err := recovery.New(store, &mails, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice"}); err != nil {
		log.Fatal(err)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	mail, _ := mails.Last()
	fmt.Println(mail.Kind, mail.To)
	// Output: reset_token Alice@example.com
}
