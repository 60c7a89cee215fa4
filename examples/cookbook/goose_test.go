package cookbook_test

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite"

	"example.com/recovery/store/sqlstore"
)

// The files were written by
//
//	sqlstore.WriteMigrations("migrations", sqlstore.SQLite, sqlstore.Goose, nil)
//
// Call it again with a new version of the package: it adds what is new.
//
//go:embed migrations/*.sql
var migrations embed.FS

// Migrations with goose. The files are part of the program, and have a version table of their own.
// Instances that start at once need a lock. On PostgreSQL give NewProvider also
//
//	goose.WithSessionLocker(locker) // locker, err := lock.NewPostgresSessionLocker()
//
// Elsewhere run goose in one job, before the instances start.
func Example_goose() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:/goose.db?vfs=memdb&_pragma=busy_timeout(5000)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, `CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT, email TEXT, password TEXT)`); err != nil {
		log.Fatal(err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		log.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithTableName("recovery_goose"))
	if err != nil {
		log.Fatal(err)
	}
	done, err := provider.Up(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range done {
		fmt.Println(m.Source.Path)
	}

	accounts, err := sqlstore.Table{
		Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
		CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact,
		Active: sqlstore.Always, EmailVerified: sqlstore.Always,
	}.Accounts(sqlstore.SQLite)
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.New(db, sqlstore.SQLite, accounts, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(store.Check(ctx)) // names what is missing, such as a newer file
	// Output:
	// 00001_recovery.sql
	// <nil>
}
