package main

import (
	"cmp"
	"errors"
	"strconv"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/accountstest"
)

// The application's own Accounts keeps the promises of sqlstore.Accounts.
func TestAccounts(t *testing.T) {
	accountstest.Run(t, func(t *testing.T) accountstest.Fixture {
		is := is.New(t)
		db := openDB(t.Context(), t.Name())
		t.Cleanup(func() { db.Close() })
		_, err := db.Exec("DELETE FROM users")
		is.NoErr(err)
		return accountstest.Fixture{
			DB: db, Dialect: sqlstore.SQLite, Accounts: newAccounts(), ID: strconv.Itoa, HashLength: 60,
			Put: func(a recovery.Account, hash string) error {
				if a.Locale != "" {
					return errors.ErrUnsupported
				}
				var deleted any
				if !a.Active {
					deleted = "2026-12-01"
				}
				if !a.HasPassword {
					hash = ""
				}
				var taken bool
				err := db.QueryRow(`SELECT count(*) > 0 FROM users WHERE tenant = ? AND (login = ? OR email = ?) AND id <> ?`,
					a.Tenant, a.Username, a.Email, a.ID).Scan(&taken)
				if err == nil && taken {
					return errors.ErrUnsupported
				}
				_, failed := db.Exec(`INSERT OR REPLACE INTO users (id, tenant, login, email, email_confirmed, bcrypt, sign_in, deleted_at)
					VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
					a.ID, a.Tenant, a.Username, a.Email, a.EmailVerified, hash, a.SignIn, deleted)
				return cmp.Or(err, failed)
			},
			Remove: func(id string) error {
				_, err := db.Exec("DELETE FROM users WHERE id = ?", id)
				return err
			},
			PasswordHash: func(id string) (hash string, err error) {
				err = db.QueryRow("SELECT bcrypt FROM users WHERE id = ?", id).Scan(&hash)
				return hash, err
			},
		}
	})
}
