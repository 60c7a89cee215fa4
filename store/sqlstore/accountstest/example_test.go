package accountstest_test

import (
	"database/sql"
	"errors"
	"strconv"
	"testing"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/accountstest"
)

// The application's own.
var (
	openEmptyTable func(t *testing.T) *sql.DB
	accounts       sqlstore.Accounts
)

func fixture(t *testing.T) accountstest.Fixture {
	db := openEmptyTable(t)
	return accountstest.Fixture{
		DB: db, Dialect: sqlstore.PostgreSQL, Accounts: accounts,
		Put: func(a recovery.Account, hash string) error {
			if a.Tenant != "" || a.Locale != "" || a.SignIn != "" {
				return errors.ErrUnsupported // this application has none
			}
			_, err := db.Exec(`INSERT INTO users (id, name, email, password, disabled, email_verified)
				VALUES ($1, $2, $3, $4, $5, $6)
				ON CONFLICT (id) DO UPDATE SET name = $2, email = $3, password = $4, disabled = $5, email_verified = $6`,
				a.ID, a.Username, a.Email, hash, !a.Active, a.EmailVerified)
			if e, ok := errors.AsType[interface {
				error
				SQLState() string
			}](err); ok && e.SQLState() == "23505" {
				return errors.ErrUnsupported // the name or the address must be unique
			}
			return err
		},
		Remove: func(id string) error {
			_, err := db.Exec(`DELETE FROM users WHERE id = $1`, id)
			return err
		},
		PasswordHash: func(id string) (hash string, err error) {
			err = db.QueryRow(`SELECT password FROM users WHERE id = $1`, id).Scan(&hash)
			return hash, err
		},
		ID: strconv.Itoa, // the column is a number
		// HashLength: 60, for bcrypt
	}
}

func Example() {
	// func TestAccounts(t *testing.T) { accountstest.Run(t, fixture) }
	t := new(testing.T)
	accountstest.Run(t, fixture)
}
