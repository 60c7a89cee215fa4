package dbtest

import (
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/accountstest"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// tableOf is the mapping that the kit is tried on.
func tableOf(t testing.TB, d sqlstore.Dialect) *sqlstore.Mapping {
	t.Helper()
	accounts, err := databases.Users.Accounts(d)
	is.New(t).NoErr(err)
	return accounts
}

// fixture is the kit's on an empty table users whose key has the type.
func fixture(t testing.TB, db *sql.DB, d sqlstore.Dialect, accounts sqlstore.Accounts) accountstest.Fixture {
	t.Helper()
	_, err := db.Exec("DELETE FROM users")
	is.New(t).NoErr(err)
	h := databases.HarnessOn(d, nil, db)
	put := func(a recovery.Account, hash string) error {
		if d == sqlstore.MySQL && strings.HasSuffix(a.ID, " ") {
			return errors.ErrUnsupported // its collations ignore spaces at the end
		}
		return h.Put(a, hash)
	}
	return accountstest.Fixture{
		DB: db, Dialect: d, Accounts: accounts, Put: put, Remove: h.Remove, PasswordHash: h.PasswordHash,
		Unusable: []string{"!", "!hash", "*", "x"},
	}
}

func uuidOf(n int) string { return fmt.Sprintf("a0000000-0000-4000-8000-00000000000%d", n) }

// A keyType is a type of the user table's key.
type keyType struct {
	name, column string
	id           func(n int) string
}

func keyTypes(d sqlstore.Dialect) []keyType {
	switch d {
	case sqlstore.PostgreSQL:
		return []keyType{{"text", "text", nil}, {"bigint", "bigint", strconv.Itoa}, {"uuid", "uuid", uuidOf}}
	case sqlstore.MySQL:
		return []keyType{
			{"varchar", databases.TextType(d), nil}, {"bigint", "BIGINT UNSIGNED", strconv.Itoa},
			{"latin1", "CHAR(36) CHARACTER SET latin1", uuidOf}, {"general_ci", "VARCHAR(36) COLLATE utf8mb4_general_ci", uuidOf},
		}
	}
	return []keyType{{"text", "TEXT", nil}, {"integer", "INTEGER", strconv.Itoa}, {"nocase", "TEXT COLLATE NOCASE", uuidOf}}
}

func TestTablePassesTheKit(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		types := keyTypes(s.Dialect)
		if s.Name == "SQLite" {
			types = types[:1] // the others with the driver that the race detector does not slow down
		}
		for _, key := range types {
			t.Run(key.name, func(t *testing.T) {
				db := s.Create(t)
				_, err := db.Exec(fmt.Sprintf(databases.CreateUsers, key.column, databases.TextType(s.Dialect)))
				is.New(t).NoErr(err)
				accountstest.Run(t, func(t *testing.T) accountstest.Fixture {
					f := fixture(t, db, s.Dialect, tableOf(t, s.Dialect))
					f.ID = key.id
					return f
				})
			})
		}
	})
}
