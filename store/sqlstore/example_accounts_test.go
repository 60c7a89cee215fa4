package sqlstore_test

import (
	"context"
	"database/sql"
	"log"

	"example.com/recovery/store/sqlstore"
)

// users is the application's user table. A new password ends the account's sessions.
type users struct{ *sqlstore.Mapping }

// SetPassword works in the transaction that redeems the token: all of it happens, or nothing.
func (u users) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
	if err := u.Mapping.SetPassword(ctx, tx, id, hash); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE user_id = $1`, id)
	return err
}

// An Accounts that embeds the mapping of a Table, and ends sessions in the same transaction. Have
// package accountstest check what you write.
func ExampleAccounts() {
	var db *sql.DB // the application's

	table, err := sqlstore.Table{
		Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
		CanonicalUsername: "name_canonical", CanonicalEmail: "email_canonical",
		Active: "disabled_at IS NULL", EmailVerified: "email_verified",
	}.Accounts(sqlstore.PostgreSQL)
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlstore.New(db, sqlstore.PostgreSQL, users{table}, nil)
	if err != nil {
		log.Fatal(err)
	}
	_ = store // for recovery.New
}
