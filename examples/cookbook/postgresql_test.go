package cookbook_test

import (
	"context"
	"database/sql"
	"log"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"example.com/recovery/store/sqlstore"
)

// newStore makes a Store on users that have tenants and canonical columns. Its own tables get a
// schema, which must exist.
func newStore(ctx context.Context, db *sql.DB) (*sqlstore.Store, error) {
	accounts, err := sqlstore.Table{
		Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password", Tenant: "tenant",
		CanonicalUsername: "name_canonical", CanonicalEmail: "email_canonical",
		Active: "disabled_at IS NULL", EmailVerified: "email_verified",
	}.Accounts(sqlstore.PostgreSQL)
	if err != nil {
		return nil, err
	}
	store, err := sqlstore.New(db, sqlstore.PostgreSQL, accounts, &sqlstore.Options{Schema: "recovery"})
	if err != nil {
		return nil, err
	}
	return store, store.Migrate(ctx)
}

// PostgreSQL with pgx. Behind pgbouncer in transaction mode the URL needs
// default_query_exec_mode=exec.
func Example_pgx() {
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL")) // postgres://app@127.0.0.1:5432/app
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	store, err := newStore(context.Background(), db)
	if err != nil {
		log.Fatal(err)
	}
	_ = store // for recovery.New
}

// PostgreSQL with the pgxpool that the application has: the store borrows its connections.
func Example_pgxpool() {
	pool, err := pgxpool.New(context.Background(), os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	store, err := newStore(context.Background(), db)
	if err != nil {
		log.Fatal(err)
	}
	_ = store // for recovery.New
}
