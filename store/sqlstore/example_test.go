package sqlstore_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"example.com/recovery/store/sqlstore"
)

// Files for golang-migrate, or for psql. The program is run once for each version of the package,
// and the files are checked in.
func ExampleWriteMigrations() {
	dir, err := os.MkdirTemp("", "recovery")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	err = sqlstore.WriteMigrations(dir, sqlstore.PostgreSQL, sqlstore.PlainSQL, &sqlstore.Options{Schema: "auth"})
	if err != nil {
		log.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, file := range files {
		fmt.Println(filepath.Base(file))
	}
	// Output:
	// 000001_recovery.down.sql
	// 000001_recovery.up.sql
}

// The usual table of users:
//
//	CREATE TABLE users (
//		id          bigserial PRIMARY KEY,
//		username    citext NOT NULL UNIQUE,
//		email       citext NOT NULL UNIQUE,
//		password    text,
//		verified_at timestamptz,
//		deleted_at  timestamptz
//	);
func ExampleTable() {
	table := sqlstore.Table{
		Name: "users", ID: "id", Username: "username", Email: "email", PasswordHash: "password",
		CanonicalUsername: sqlstore.Collation, CanonicalEmail: sqlstore.Collation, // citext ignores case
		Active: "deleted_at IS NULL", EmailVerified: "verified_at IS NOT NULL",
	}
	accounts, err := table.Accounts(sqlstore.PostgreSQL)
	if err != nil {
		log.Fatal(err)
	}
	_ = accounts // for sqlstore.New

	table.EmailVerified = "" // what lets somebody in has no default
	_, err = table.Accounts(sqlstore.PostgreSQL)
	fmt.Println(err)
	// Output: sqlstore: Table.EmailVerified must be given: a condition such as "status = 'active'", or sqlstore.Always
}
