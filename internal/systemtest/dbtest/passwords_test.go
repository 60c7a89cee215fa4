package dbtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// A NULL hash is no password, nor is a mark that applications write where nobody may log in.
// Accounts are in the order of recovery.Accounts whether a mark, a NULL hash or a NULL condition
// says so.
func TestOrderOfAccountsWithoutPassword(t *testing.T) {
	databases.OnEachOnce(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		db := s.Create(t)
		execute(t, db, fmt.Sprintf(`CREATE TABLE people (id INT PRIMARY KEY, name %[1]s, email %[1]s, hash VARCHAR(200), active INT, verified INT)`,
			databases.TextType(s.Dialect)))
		want := map[string][]string{}
		id := 10
		add := func(place, hash, conditions string) {
			id++
			execute(t, db, fmt.Sprintf("INSERT INTO people (id, name, email, hash, active, verified) VALUES (%d, 'all', 'all@example.com', %s, %s)", id, hash, conditions))
			want[place] = append(want[place], fmt.Sprint(id))
		}
		for _, conditions := range []string{"NULL, 1", "1, NULL", "0, 1"} {
			add("nobody", "'h'", conditions)
		}
		for _, mark := range []string{"NULL", "'!h'", "'x'", "'*'", "''", "'!'", "'!!'", "'*LK*'", "'!$2a$10$abc'"} {
			add("no password", mark, "1, 1")
		}
		for _, hash := range []string{"'h'", "'$2a$10$abc'", "'$argon2id$v=19$!'", "'xx'", "'pbkdf2_sha256$1*!'"} {
			add("eligible", hash, "1, 1")
		}
		store := databases.StoreWith(t, s.Dialect, db, sqlstore.Table{
			Name: "people", ID: "id", Username: "name", Email: "email", PasswordHash: "hash",
			CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact, Active: "active = 1", EmailVerified: "verified = 1",
		}, sqlstore.Options{})
		found, err := store.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByEmail, Typed: "all@example.com", Canonical: "all@example.com", Max: 99})
		is.NoErr(err)
		var order []string
		for _, a := range found {
			order = append(order, a.ID)
			is.Equal(a.HasPassword, !slices.Contains(want["no password"], a.ID))
		}
		is.Equal(order, slices.Concat(want["eligible"], want["no password"], want["nobody"]))
	})
}
