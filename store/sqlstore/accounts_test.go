package sqlstore

import (
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

func TestTableSaysEverythingThatIsWrong(t *testing.T) {
	is := is.New(t)
	for range 10 { // in the same order every time
		accounts, err := Table{}.Accounts(0)
		is.True(accounts == nil)
		is.Equal(errorText(err), strings.Join([]string{
			"sqlstore: Table.Name must be given",
			"sqlstore: Table.ID must be given",
			"sqlstore: Table.Username must be given",
			"sqlstore: Table.Email must be given",
			"sqlstore: Table.PasswordHash must be given",
			"sqlstore: Table.CanonicalUsername must be given: a column with the canonical form, or sqlstore.Collation if the column ignores case, or sqlstore.Exact",
			"sqlstore: Table.CanonicalEmail must be given: a column with the canonical form, or sqlstore.Collation if the column ignores case, or sqlstore.Exact",
			`sqlstore: Table.Active must be given: a condition such as "status = 'active'", or sqlstore.Always`,
			`sqlstore: Table.EmailVerified must be given: a condition such as "status = 'active'", or sqlstore.Always`,
			"sqlstore: the Dialect must be PostgreSQL, MySQL or SQLite",
		}, "\n"))
	}
	nameless := stubUsers
	nameless.Username = ""
	_, err := nameless.Accounts(SQLite)
	is.Equal(errorText(err), "sqlstore: Table.Username must be given")
	_, err = stubUsers.Accounts(SQLite + 1)
	is.Equal(errorText(err), "sqlstore: the Dialect must be PostgreSQL, MySQL or SQLite")
}

// The statements about the user table are part of what an application must index and grant.
func TestTableStatementsAreTheGoldenFiles(t *testing.T) {
	tables := []struct {
		name  string
		table Table
	}{
		{"The least", stubUsers},
		{"Everything", Table{
			Name: "app.users", ID: "id", Username: "name", Email: "email", PasswordHash: "password", Locale: "language", Tenant: "shop",
			CanonicalUsername: "name_canonical", CanonicalEmail: "email_canonical",
			Active: "disabled_at IS NULL", HasPassword: "provider = 'local'", EmailVerified: "verified",
			SignIn: "CASE provider WHEN 'g' THEN 'Google' END",
		}},
	}
	onEach(t, func(t *testing.T, d Dialect) {
		var b strings.Builder
		for _, c := range tables {
			m := c.table.mapping(d)
			b.WriteString("# " + c.name + "\n\n")
			for _, statement := range []string{m.byUsername, m.byEmail, m.byID, m.one, m.lock, m.set, m.readBack} {
				b.WriteString(statement + "\n\n")
			}
		}
		spy.Golden(t, *update, "table_"+strings.ToLower(d.String())+".golden", b.String())
	})
}

func TestQuote(t *testing.T) {
	for _, c := range []struct{ name, standard, mysql string }{
		{`users`, `"users"`, "`users`"},
		{`app.users`, `"app"."users"`, "`app`.`users`"},
		{`User Name`, `"User Name"`, "`User Name`"},
		{`a"b`, `"a""b"`, "`a\"b`"},
		{"a`b", "\"a`b\"", "`a``b`"},
		{`a\`, `"a\"`, "`a\\`"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(PostgreSQL.quote(c.name), c.standard)
			is.Equal(SQLite.quote(c.name), c.standard)
			is.Equal(MySQL.quote(c.name), c.mysql)
		})
	}
}

var kinds = []recovery.IdentifierKind{recovery.ByUsername, recovery.ByEmail, recovery.ByID}

// storeOn returns a store on a user table.
func storeOn(t *testing.T, s *stub, table Table) *Store {
	t.Helper()
	is := is.New(t)
	accounts, err := table.Accounts(s.dialect)
	is.NoErr(err)
	store, err := New(s.db(t), s.dialect, accounts, nil)
	is.NoErr(err)
	return store
}

func withTenants() Table {
	table := stubUsers
	table.Tenant = "shop"
	return table
}

// The column may take another tenant for the same one, so the store compares again.
func TestTenantsAreComparedAgain(t *testing.T) {
	for _, by := range kinds {
		is := is.New(t)
		s := newStub(MySQL)
		s.rows[findsAccount][1] = "acme"
		store := storeOn(t, s, withTenants())
		for _, tenant := range []string{"", "Acme", "acme ", "acm\u00e9", "acme"} {
			found, err := store.FindAccounts(t.Context(), recovery.AccountQuery{Tenant: tenant, By: by, Typed: "7", Canonical: "7", Max: 9})
			is.NoErr(err)
			is.Equal(len(found) == 1, tenant == "acme")
		}
		s.fault = fault{call: 1, times: 1, err: errors.New("down")}
		_, err := store.FindAccounts(t.Context(), recovery.AccountQuery{Tenant: "acme", By: by, Typed: "7", Canonical: "7", Max: 9})
		is.True(err != nil)
	}
}

// Without tenants, a query for any tenant but "" finds nothing and does not ask the database.
// Neither does a query of an unknown kind.
func TestTableWithoutTenants(t *testing.T) {
	for _, by := range kinds {
		for _, query := range []recovery.AccountQuery{{Tenant: "acme", By: by, Max: 9}, {By: "telephone", Max: 9}} {
			is := is.New(t)
			s := newStub(SQLite)
			found, err := storeOn(t, s, stubUsers).FindAccounts(t.Context(), query)
			is.NoErr(err)
			is.Equal(len(found), 0)
			is.Equal(s.calls, []string{"begin", "commit"})
		}
	}
}

// MySQL finds the number 7 for the text "7 and more".
func TestIDsAreComparedAgain(t *testing.T) {
	is := is.New(t)
	store, _ := newStub(MySQL).store(t, nil)
	found, err := store.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByID, Typed: "7 and more", Canonical: "7 and more", Max: 1})
	is.NoErr(err)
	is.Equal(len(found), 0)
}

// MySQL refuses to compare a column with what its character set cannot hold. Nobody has such a
// name.
func TestNamesOutsideTheCharacterSet(t *testing.T) {
	refusal := errors.New("Error 1267 (HY000): Illegal mix of collations")
	query := recovery.AccountQuery{By: recovery.ByUsername, Typed: "ａlice", Canonical: "alice", Max: 9}
	for _, c := range []struct {
		name  string
		fault fault
		table Table
		calls int // look-ups
		found int
	}{
		{"typed", fault{call: 1, times: 1, err: refusal}, stubUsers, 2, 1},
		{"typed and canonical", fault{call: 1, times: 2, on: true, err: refusal}, stubUsers, 2, 0},
		{"canonical only", fault{call: 1, times: 1, err: refusal}, Table{
			Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
			CanonicalUsername: "canonical", CanonicalEmail: Exact, Active: Always, EmailVerified: Always,
		}, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			s := newStub(MySQL)
			s.fault = c.fault
			found, err := storeOn(t, s, c.table).FindAccounts(t.Context(), query)
			is.NoErr(err)
			is.Equal(len(found), c.found)
			is.Equal(len(s.calls), c.calls+2) // and begin and commit

			s.fault = fault{call: 1, times: 1, err: refusal}
			found, err = storeOn(t, s, c.table).FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByID, Typed: "ａ", Canonical: "ａ", Max: 1})
			is.NoErr(err)
			is.Equal(len(found), 0)
		})
	}
}

// PostgreSQL refuses an ID that is no value of the column's type, and ends the transaction.
func TestIDsOfAnotherType(t *testing.T) {
	const gone = "recovery: the token is not valid: account_gone"
	for _, c := range []struct {
		method string
		call   int
		want   string
	}{
		{"FindAccounts by ID", 1, ""}, {"FindReset", 2, gone}, {"Redeem", 2, gone},
		{"CreateResets", 1, "sqlstore: the ID or tenant is not of its column's type"},
	} {
		for _, state := range []string{"22P02", "22003"} { // no number, and one that is too large
			for _, when := range []moment{before, inRows} {
				is := is.New(t)
				s := newStub(PostgreSQL)
				s.fault = fault{call: c.call, times: 1, err: &stateError{state, secret}, when: when}
				result, err := methodNamed(c.method).call(t.Context(), storeOn(t, s, stubUsers))
				is.Equal(errorText(err), c.want)
				is.True(isZero(result))
				is.Equal(s.calls[len(s.calls)-1], "rollback")
			}
		}
	}
	for _, by := range kinds {
		is := is.New(t)
		s := newStub(PostgreSQL)
		s.fault = fault{call: 1, times: 1, err: &stateError{"22P02", secret}}
		found, err := storeOn(t, s, withTenants()).FindAccounts(t.Context(), recovery.AccountQuery{Tenant: "acme", By: by, Typed: "7", Canonical: "7", Max: 1})
		is.NoErr(err)
		is.Equal(len(found), 0)
		is.Equal(s.calls[len(s.calls)-1], "rollback")
	}
}
