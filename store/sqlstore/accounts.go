package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"example.com/recovery"
)

// Accounts is the application's user table. [Table] makes one for the common case, a [*Mapping];
// embed that to add to what a method does:
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
// methods at once. All methods must work in tx, must leave its end to the store, and must return
// ctx's error soon after ctx ends. A method may be called again in another transaction when one has
// lost.
//
// An ID that nobody has, of whatever form, must find none, or be an error that wraps [ErrNotAnID].
type Accounts interface {
	// FindAccounts must do what [recovery.Accounts] asks for. The Version of an account must change
	// whenever its password or its address does, and must not change with anything else: see
	// [recovery.NewVersion].
	FindAccounts(ctx context.Context, tx *sql.Tx, query recovery.AccountQuery) ([]recovery.Account, error)

	// AccountByID must return the account with the ID, of whatever tenant, or none, as it is at
	// that moment. IDs that differ in one byte must be two accounts'. With lock it must keep others
	// from changing the account until tx ends (SELECT … FOR UPDATE, where there is such a thing);
	// without, it must only read. On SQLite other calls may share tx, and if it fails there it is
	// called again, in another.
	AccountByID(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error)

	// SetPassword must set the whole password hash of the account with the ID, of no other, and
	// nothing else of the account. It must fail if it cannot, and unless exactly one account has
	// the ID. The store calls it only with an ID that AccountByID returned in the same tx, with
	// lock.
	SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error
}

// ErrNotAnID is wrapped by the error of an [Accounts] for an ID or tenant that no value of the
// column's type is written like. Nobody has it then: where the store looks somebody up, it takes
// the error for an empty result. PostgreSQL ends the transaction over such a text (SQLSTATE 22P02
// or 22003). An Accounts that checks the text before it asks the database just finds none.
var ErrNotAnID = errors.New("the ID or tenant is not of its column's type")

// FindAccounts implements [recovery.Accounts]. It compares the tenant again, byte for byte: what
// the application or its column takes for equal may not be.
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
