package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"example.com/recovery"
)

// Accounts reads and writes the application's user table. For the common case [Table] makes one, a
// [*Mapping]. To extend a method, embed the Mapping:
//
//	type users struct{ *sqlstore.Mapping }
//
//	func (u users) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
//		if err := u.Mapping.SetPassword(ctx, tx, id, hash); err != nil {
//			return err
//		}
//		_, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE user_id = $1`, id)
//		return err
//	}
//
// Package accountstest checks every sentence here that says "must". Many goroutines may call the
// methods at once. All methods must work in tx, must neither commit it nor roll it back, and must
// return ctx's error soon after ctx ends. If a transaction loses to another, the store calls the
// methods again in a new one.
//
// For an ID that nobody has, in whatever form, a method must find no account, or return an error
// that wraps [ErrNotAnID].
type Accounts interface {
	// FindAccounts must do what [recovery.Accounts] asks for. The Version of an account must change
	// whenever its password or its address does, and must not change with anything else: see
	// [recovery.NewVersion].
	FindAccounts(ctx context.Context, tx *sql.Tx, query recovery.AccountQuery) ([]recovery.Account, error)

	// AccountByID must return the account with the ID, of any tenant, or none, as it is at that
	// moment. IDs that differ in one byte must be different IDs. With lock it must keep others from
	// changing the account until tx ends (SELECT … FOR UPDATE, if the database has it); without
	// lock it must only read. On SQLite other calls may share tx; if AccountByID fails there, it is
	// called again in another.
	AccountByID(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error)

	// SetPassword must set the whole password hash of the account with the ID, and change nothing
	// else of it and no other account. It must fail if it cannot, and unless exactly one account
	// has the ID. It must return every error of tx, even that of an optional statement: some errors
	// end the transaction. The store calls it only with an ID that AccountByID returned in the same
	// tx, with lock.
	SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error
}

// ErrNotAnID says that a text cannot be an ID or a tenant, because the column's type has no such
// value. The methods of [Accounts] wrap it. In a look-up the store takes it for an empty result.
// PostgreSQL ends the transaction over such a text (SQLSTATE 22P02 or 22003). An Accounts that
// checks the text first can return no account instead.
var ErrNotAnID = errors.New("the ID or tenant is not of its column's type")

// FindAccounts implements [recovery.Accounts]. It compares the tenant again, byte for byte: the
// application or its column may compare loosely.
func (s *Store) FindAccounts(ctx context.Context, q recovery.AccountQuery) (found []recovery.Account, err error) {
	err = s.read(ctx, func(tx txn) error {
		found, err = s.accounts.FindAccounts(ctx, tx.Tx, q)
		return err
	})
	switch {
	case errors.Is(err, ErrNotAnID):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return slices.DeleteFunc(found, func(a recovery.Account) bool { return a.Tenant != q.Tenant }), nil
}
