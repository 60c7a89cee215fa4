package sqlstore

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
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
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			var b strings.Builder
			for _, c := range tables {
				m := c.table.mapping(d)
				b.WriteString("# " + c.name + "\n\n")
				for _, statement := range []string{m.byUsername, m.byEmail, m.byID, m.one, m.lock, m.set, m.readBack} {
					b.WriteString(statement + "\n\n")
				}
			}
			path := filepath.Join("testdata", "table_"+strings.ToLower(dialectNames[d])+".golden")
			if *update {
				is.NoErr(os.MkdirAll("testdata", 0o777))
				is.NoErr(os.WriteFile(path, []byte(b.String()), 0o666))
			}
			golden, err := os.ReadFile(path)
			is.NoErr(err)
			is.Equal(b.String(), string(golden)) // go test -update writes the file anew
		})
	}
}

func TestQuote(t *testing.T) {
	for _, c := range []struct{ name, standard, mysql string }{
		{`users`, `"users"`, "`users`"},
		{`app.users`, `"app"."users"`, "`app`.`users`"},
		{`User Name`, `"User Name"`, "`User Name`"},
		{`order`, `"order"`, "`order`"},
		{`ユーザー`, `"ユーザー"`, "`ユーザー`"},
		{`a"b`, `"a""b"`, "`a\"b`"},
		{"a`b", "\"a`b\"", "`a``b`"},
		{`"`, `""""`, "`\"`"},
		{`x"; DROP TABLE users; --`, `"x""; DROP TABLE users; --"`, "`x\"; DROP TABLE users; --`"},
		{"x`; DROP TABLE users; --", "\"x`; DROP TABLE users; --\"", "`x``; DROP TABLE users; --`"},
		{`a\`, `"a\"`, "`a\\`"},
		{`a'b`, `"a'b"`, "`a'b`"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(PostgreSQL.quote(c.name), c.standard)
			is.Equal(SQLite.quote(c.name), c.standard)
			is.Equal(MySQL.quote(c.name), c.mysql)
		})
	}
}

// Values travel as arguments, whatever is in them.
func TestValuesAreArguments(t *testing.T) {
	hostile := "x' OR '1'='1"
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			store, _ := s.store(t, nil)
			for _, by := range kinds {
				_, err := store.FindAccounts(t.Context(), recovery.AccountQuery{By: by, Typed: hostile, Canonical: hostile, Max: 1})
				is.NoErr(err)
			}
			for _, call := range s.calls {
				is.True(!strings.Contains(call, hostile)) // a value in the text of a statement
			}
		})
	}
}

func TestCanonicalColumnsAreSearchedOnce(t *testing.T) {
	is := is.New(t)
	s := newStub(PostgreSQL)
	table := stubUsers
	table.CanonicalUsername = "name_canonical"
	accounts, err := table.Accounts(PostgreSQL)
	is.NoErr(err)
	store, err := New(s.db(t), PostgreSQL, accounts, nil)
	is.NoErr(err)
	found, err := store.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByUsername, Typed: "Alice", Canonical: "alice", Max: 9})
	is.NoErr(err)
	is.Equal(len(found), 1)
	is.True(strings.HasSuffix(s.calls[1], `END DESC, "users"."id" LIMIT $2 | 616c696365 | 9`))
	is.True(strings.Contains(s.calls[1], ` WHERE "users"."name_canonical" = $1 ORDER BY CASE WHEN `))
}

// tenantStore returns a store on a user table with tenants.
func tenantStore(t *testing.T, s *stub) *Store {
	t.Helper()
	is := is.New(t)
	table := stubUsers
	table.Tenant = "shop"
	accounts, err := table.Accounts(s.dialect)
	is.NoErr(err)
	store, err := New(s.db(t), s.dialect, accounts, nil)
	is.NoErr(err)
	return store
}

var kinds = []recovery.IdentifierKind{recovery.ByUsername, recovery.ByEmail, recovery.ByID}

// A query is limited to its tenant by the database, before its LIMIT, and once more by the store:
// the column may say that two tenants are equal.
func TestAccountsOfATenant(t *testing.T) {
	for _, d := range dialects {
		for _, by := range kinds {
			t.Run(dialectNames[d]+"/"+string(by), func(t *testing.T) {
				is := is.New(t)
				s := newStub(d)
				s.rows[findsAccount][1] = "acme"
				store := tenantStore(t, s)
				query := recovery.AccountQuery{Tenant: "acme", By: by, Typed: "7", Canonical: "7", Max: 9}
				found, err := store.FindAccounts(t.Context(), query)
				is.NoErr(err)
				is.Equal(len(found), 1)
				is.Equal(found[0].Tenant, "acme")
				_, args, _ := strings.Cut(s.calls[1], " | ")
				is.True(strings.HasPrefix(args, "61636d65 | 61636d65 | 37")) // the tenant first
				for _, another := range []string{"", "Acme", "acme ", "acm\u00e9"} {
					query.Tenant = another
					found, err = store.FindAccounts(t.Context(), query)
					is.NoErr(err)
					is.Equal(len(found), 0)
				}
			})
		}
	}
}

// Without tenants there are no accounts of any but "", and the database is not asked for them.
func TestTableWithoutTenants(t *testing.T) {
	for _, by := range kinds {
		is := is.New(t)
		s := newStub(SQLite)
		store, _ := s.store(t, nil)
		found, err := store.FindAccounts(t.Context(), recovery.AccountQuery{Tenant: "acme", By: by, Typed: "7", Canonical: "7", Max: 9})
		is.NoErr(err)
		is.Equal(len(found), 0)
		is.Equal(s.calls, []string{"begin", "commit"})
	}
}

// A token needs no tenant and tells its account's.
func TestAccountOfATokenHasItsTenant(t *testing.T) {
	is := is.New(t)
	s := newStub(PostgreSQL)
	s.rows[findsAccount][1] = "acme"
	store := tenantStore(t, s)
	_, a, err := store.FindReset(t.Context(), reset.Digest, now)
	is.NoErr(err)
	is.Equal(a.Tenant, "acme")
	a, err = store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: now, PasswordHash: "new hash"})
	is.NoErr(err)
	is.Equal(a.Tenant, "acme")
}

// FindReset reads in a transaction that may do nothing else, and in which no row can be locked.
func TestOnlyWhatWritesLocksAccounts(t *testing.T) {
	is := is.New(t)
	s := newStub(PostgreSQL)
	store, _ := s.store(t, nil)
	_, _, err := store.FindReset(t.Context(), reset.Digest, now)
	is.NoErr(err)
	is.True(s.readOnly)
	is.Equal(count(s.calls, "SELECT"), 2)
	is.True(!strings.Contains(strings.Join(s.calls, "\n"), "FOR UPDATE"))
}

func TestUnknownKindFindsNothing(t *testing.T) {
	is := is.New(t)
	s := newStub(SQLite)
	store, _ := s.store(t, nil)
	found, err := store.FindAccounts(t.Context(), recovery.AccountQuery{By: "telephone", Typed: "1", Canonical: "1", Max: 1})
	is.NoErr(err)
	is.Equal(len(found), 0)
	is.Equal(s.calls, []string{"begin", "commit"})
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
			accounts, err := c.table.Accounts(MySQL)
			is.NoErr(err)
			store, err := New(s.db(t), MySQL, accounts, nil)
			is.NoErr(err)
			found, err := store.FindAccounts(t.Context(), query)
			is.NoErr(err)
			is.Equal(len(found), c.found)
			is.Equal(len(s.calls), c.calls+2) // and begin and commit
		})
	}
}

// PostgreSQL refuses an ID that is no value of the column's type, and the transaction with it.
func TestIDsOfAnotherType(t *testing.T) {
	for name, refusal := range map[string]error{
		"no number":          &stateError{"22P02", "invalid input syntax for type integer: secret"},
		"too large a number": &stateError{"22003", "value secret is out of range for type integer"},
	} {
		for _, when := range []moment{before, inRows} {
			for _, m := range methods {
				want, ok := map[string]error{
					"FindAccounts by ID": nil,
					"FindReset":          &recovery.TokenError{Reason: recovery.TokenAccountGone},
					"Redeem":             &recovery.TokenError{Reason: recovery.TokenAccountGone},
				}[m.name]
				if !ok {
					continue
				}
				t.Run(name+"/"+m.name, func(t *testing.T) {
					is := is.New(t)
					s := newStub(PostgreSQL)
					call := 2
					if want == nil {
						call = 1
					}
					s.fault = fault{call: call, times: 1, err: refusal, when: when}
					store, _ := s.store(t, nil)
					result, err := m.call(t.Context(), store)
					is.Equal(err, want)
					is.True(isZero(result))
					is.Equal(s.calls[len(s.calls)-1], "rollback")
				})
			}
		}
	}
	t.Run("a tenant", func(t *testing.T) {
		for _, by := range kinds {
			is := is.New(t)
			s := newStub(PostgreSQL)
			s.fault = fault{call: 1, times: 1, err: &stateError{"22P02", "secret"}}
			found, err := tenantStore(t, s).FindAccounts(t.Context(), recovery.AccountQuery{Tenant: "acme", By: by, Typed: "7", Canonical: "7", Max: 1})
			is.NoErr(err)
			is.Equal(len(found), 0)
			is.Equal(s.calls[len(s.calls)-1], "rollback")
		}
	})
	t.Run("a new token", func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		s.fault = fault{call: 1, times: 1, err: &stateError{"22P02", "secret"}}
		store, _ := s.store(t, nil)
		_, err := store.CreateResets(t.Context(), mint())
		is.Equal(errorText(err), "sqlstore: the ID or tenant is not of its column's type")
	})
}
