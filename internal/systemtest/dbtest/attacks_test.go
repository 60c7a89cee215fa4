package dbtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// S17: with binary IDs, two accounts may have one text, and a token may have no account. Each such
// column is refused at start, by name.
func TestAttack_S17_BinaryIDs(t *testing.T) {
	types := map[sqlstore.Dialect][]string{
		sqlstore.SQLite:     {"BLOB", ""},
		sqlstore.PostgreSQL: {"BYTEA"},
		sqlstore.MySQL:      {"BINARY(16)", "VARBINARY(16)"},
	}
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		db := s.Create(t)
		for _, typ := range types[s.Dialect] {
			is := is.New(t)
			makePeople(t, s.Dialect, db, databases.TextType(s.Dialect), []string{key, "id " + typ + " PRIMARY KEY"})
			_, err := startOn(t, s.Dialect, db, peopleTable, sqlstore.Options{})
			is.True(err != nil && strings.HasPrefix(err.Error(), `sqlstore: Table.ID: the column "id" is `))
			dropPeople(db)
		}
	})
}

// S19: a table that does not say who may log in, or whose address was proven, is refused; and a
// mark instead of a hash is no password.
func TestAttack_S19_NobodyElseIsLetIn(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		table := peopleTable
		table.Active, table.EmailVerified = "", " "
		_, err := table.Accounts(s.Dialect)
		is.True(err != nil)
		for _, field := range []string{"Active", "EmailVerified"} {
			is.True(strings.Contains(err.Error(), fmt.Sprintf("Table.%s must be given", field)))
		}
		site := newSite(t, hostile{server: s.Name, text: databases.TextType(s.Dialect), id: databases.TextType(s.Dialect), ids: textIDs})
		for i, mark := range []string{"!", "*", "x"} {
			is.NoErr(spy.Err(site.db.Exec(databases.Bind(s.Dialect, "UPDATE users SET password_hash = ? WHERE username = ?"), mark, []string{"mike", "weiss", "BillyBob"}[i])))
		}
		for _, name := range []string{"mike", "weiss", "BillyBob"} {
			for _, m := range site.ask(t, recovery.ResetRequest{Username: name}) {
				is.Equal(len(m.Resets), 0) // at most a mail that says so
			}
		}
	})
}
