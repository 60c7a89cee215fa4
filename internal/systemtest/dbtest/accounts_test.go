package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/accountstest"
)

// tableOf is the mapping that the suite is run on.
func tableOf(t testing.TB, d sqlstore.Dialect) *sqlstore.Mapping {
	t.Helper()
	accounts, err := databases.Users.Accounts(d)
	is.New(t).NoErr(err)
	return accounts
}

// fixture returns a fixture on an empty table users whose key has the type.
func fixture(t testing.TB, db *sql.DB, d sqlstore.Dialect, accounts sqlstore.Accounts) accountstest.Fixture {
	t.Helper()
	execute(t, db, "DELETE FROM users")
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

func TestTablePassesTheSuite(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		types := keyTypes(s.Dialect)
		if s.Name == "SQLite" {
			types = types[:1] // the others with the driver that the race detector does not slow down
		}
		for _, key := range types {
			t.Run(key.name, func(t *testing.T) {
				db := s.Create(t)
				execute(t, db, fmt.Sprintf(databases.CreateUsers, key.column, databases.TextType(s.Dialect)))
				accountstest.Run(t, func(t *testing.T) accountstest.Fixture {
					f := fixture(t, db, s.Dialect, tableOf(t, s.Dialect))
					f.ID = key.id
					return f
				})
			})
		}
	})
}

// An overlooks sets passwords, and ignores the error of a statement that ended the transaction, as
// a deadlock does on MySQL and an interrupt on SQLite.
type overlooks struct{ *sqlstore.Mapping }

func (o overlooks) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
	err := o.Mapping.SetPassword(ctx, tx, id, hash)
	_, _ = tx.ExecContext(ctx, "ROLLBACK")
	return err
}

func TestTransactionThatEndsInSetPassword(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		direct, db := databases.Open(t, s)
		store, err := sqlstore.New(db, s.Dialect, overlooks{tableOf(t, s.Dialect)}, nil)
		is.NoErr(err)
		a := stored(t, direct, db, s.Dialect, 1)
		reset := resetOf(a, t0)
		mint(t, direct, reset)
		before, err := databases.PasswordHash(db, s.Dialect, a.ID)
		is.NoErr(err)
		_, err = store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: "new hash", Add: []recovery.Job{request(t0)}})
		is.True(err != nil && strings.Contains(err.Error(), "must return every error"))
		after, err := databases.PasswordHash(db, s.Dialect, a.ID)
		is.NoErr(err)
		is.Equal(after, before)
		_, err = direct.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: "new hash"})
		is.NoErr(err) // the token lives
	})
}
