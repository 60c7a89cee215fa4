package dbtest

import (
	"fmt"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// Applications write these where nobody is to log in with a password of theirs.
func TestMarksOfUnusablePasswordsAreNoPassword(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		store, db := databases.Open(t, s)
		for hash, want := range map[string]bool{
			"": false, "!": false, "!!": false, "*": false, "x": false, "*LK*": false, "!$2a$10$abc": false,
			"!C2XqnkOmE7OqNlWXVNYqx3ZTuWbFCkG": false,
			"$2a$10$abc":                       true, "$argon2id$v=19$!": true, "xx": true, "pbkdf2_sha256$1*!": true,
		} {
			t.Run(hash, func(t *testing.T) {
				is := is.New(t)
				a := recovery.Account{ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true}
				is.NoErr(databases.Put(db, s.Dialect, a, hash))
				found, err := store.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByUsername, Typed: "alice", Canonical: "alice", Max: 9})
				is.NoErr(err)
				is.Equal(len(found), 1)
				is.Equal(found[0].HasPassword, want)
			})
		}
	})
}

// A hash that is NULL is none, and accounts are in the order of recovery.Accounts whatever says so:
// a mark, NULL, or a condition that is NULL.
func TestOrderOfAccountsWithoutPassword(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		db := s.Create(t)
		_, err := db.Exec(fmt.Sprintf(`CREATE TABLE people (id INT PRIMARY KEY, name %[1]s, email %[1]s, hash VARCHAR(200), active INT, verified INT)`,
			databases.TextType(s.Dialect)))
		is.NoErr(err)
		for id, row := range []string{"'h', NULL, 1", "'h', 1, NULL", "NULL, 1, 1", "'!h', 1, 1", "'x', 1, 1", "'*', 1, 1", "'', 1, 1", "'h', 1, 1", "'h', 0, 1"} {
			_, err := db.Exec(fmt.Sprintf("INSERT INTO people (id, name, email, hash, active, verified) VALUES (%d, 'all', 'all@example.com', %s)", id, row))
			is.NoErr(err)
		}
		accounts, err := sqlstore.Table{
			Name: "people", ID: "id", Username: "name", Email: "email", PasswordHash: "hash",
			CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact, Active: "active = 1", EmailVerified: "verified = 1",
		}.Accounts(s.Dialect)
		is.NoErr(err)
		store, err := sqlstore.New(db, s.Dialect, accounts, nil)
		is.NoErr(err)
		found, err := store.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByEmail, Typed: "all@example.com", Canonical: "all@example.com", Max: 99})
		is.NoErr(err)
		var order []string
		for _, a := range found {
			order = append(order, a.ID)
			is.Equal(a.HasPassword, a.ID == "7" || a.ID == "0" || a.ID == "1" || a.ID == "8")
		}
		is.Equal(order, []string{"7", "2", "3", "4", "5", "6", "0", "1", "8"})
	})
}

// A password is set if exactly one row has the ID, also if that row had the same hash before.
func TestPasswordIsSetInExactlyOneRow(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		db := s.Create(t)
		text := databases.TextType(s.Dialect)
		_, err := db.Exec(fmt.Sprintf("CREATE TABLE people (id %[1]s, name %[1]s, email %[1]s, hash VARCHAR(200))", text))
		is.NoErr(err)
		_, err = db.Exec("INSERT INTO people (id, hash) VALUES ('1', 'same'), ('2', 'b'), ('2', 'c')")
		is.NoErr(err)
		accounts, err := sqlstore.Table{
			Name: "people", ID: "id", Username: "name", Email: "email", PasswordHash: "hash",
			CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact, Active: sqlstore.Always, EmailVerified: sqlstore.Always,
		}.Accounts(s.Dialect)
		is.NoErr(err)
		for id, want := range map[string]string{
			"1": "",
			"2": "several rows of the user table have one ID: it must be unique, over all tenants too",
			"3": "no row of the user table has the account's ID",
		} {
			tx, err := db.Begin()
			is.NoErr(err)
			err = accounts.SetPassword(t.Context(), tx, id, "same")
			is.NoErr(tx.Rollback())
			if want == "" {
				is.NoErr(err)
				continue
			}
			is.True(err != nil)
			is.Equal(err.Error(), want)
		}
	})
}
