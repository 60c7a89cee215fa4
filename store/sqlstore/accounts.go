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
// All methods must work in tx and must leave its end to the store. A method may be called again in
// another transaction when one has lost.
type Accounts interface {
	// FindAccounts must do what [recovery.Accounts] asks for. The Version of an account must change
	// whenever its password or its address does: see [recovery.NewVersion].
	FindAccounts(ctx context.Context, tx *sql.Tx, query recovery.AccountQuery) ([]recovery.Account, error)

	// AccountByID must return the account with the ID, of whatever tenant, or none, as it is at
	// that moment. With lock it must keep others from changing it until tx ends (SELECT … FOR
	// UPDATE, where there is such a thing); without, tx only reads. On SQLite other calls may share
	// tx, and if it fails there it is called again, in another.
	AccountByID(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error)

	// SetPassword must set the password hash of the account with the ID, or return an error unless
	// that changes exactly one account.
	SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error
}

// errNotAnID says that no value of the column's type is written like the ID or tenant. Nobody has
// it then. PostgreSQL has given up the transaction, which must be rolled back.
var errNotAnID = errors.New("the ID or tenant is not of its column's type")

// FindAccounts implements [recovery.Accounts]. It compares the tenant again, byte for byte: what
// the application or its column takes for equal may not be.
func (s *Store) FindAccounts(ctx context.Context, q recovery.AccountQuery) (found []recovery.Account, err error) {
	err = s.read(ctx, func(tx txn) error {
		found, err = s.accounts.FindAccounts(ctx, tx.Tx, q)
		return err
	})
	switch {
	case errors.Is(err, errNotAnID):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return slices.DeleteFunc(found, func(a recovery.Account) bool { return a.Tenant != q.Tenant }), nil
}
