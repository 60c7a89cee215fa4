package sqlstore

import (
	"testing"

	"github.com/matryer/is"
)

// A field that names the column of another is a mistake that no database would notice.
func TestFieldsThatMayNotShareAColumn(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Table)
		want   string // "" where it is allowed
	}{
		{"the hash is the address", func(t *Table) { t.PasswordHash = "email" },
			`sqlstore: Table.Email and Table.PasswordHash both name the column "email"`},
		{"the hash is the name", func(t *Table) { t.PasswordHash = "name" },
			`sqlstore: Table.Username and Table.PasswordHash both name the column "name"`},
		{"the hash is the ID", func(t *Table) { t.PasswordHash = "id" },
			`sqlstore: Table.ID and Table.PasswordHash both name the column "id"`},
		{"the hash is the tenant", func(t *Table) { t.Tenant = "hash" },
			`sqlstore: Table.Tenant and Table.PasswordHash both name the column "hash"`},
		{"the hash is the canonical address", func(t *Table) { t.CanonicalEmail = "hash" },
			`sqlstore: Table.CanonicalEmail and Table.PasswordHash both name the column "hash"`},
		{"the hash is the canonical name", func(t *Table) { t.CanonicalUsername = "hash" },
			`sqlstore: Table.CanonicalUsername and Table.PasswordHash both name the column "hash"`},
		{"the hash is the locale", func(t *Table) { t.Locale = "hash" },
			`sqlstore: Table.PasswordHash and Table.Locale both name the column "hash"`},
		{"the tenant is the address", func(t *Table) { t.Tenant = "email" },
			`sqlstore: Table.Tenant and Table.Email both name the column "email"`},
		{"the canonical name is the address", func(t *Table) { t.CanonicalUsername = "email" },
			`sqlstore: Table.CanonicalUsername and Table.Email both name the column "email"`},
		{"the canonical address is the name", func(t *Table) { t.CanonicalEmail = "name" },
			`sqlstore: Table.Username and Table.CanonicalEmail both name the column "name"`},
		{"one canonical column for both", func(t *Table) { t.CanonicalUsername, t.CanonicalEmail = "low", "low" },
			`sqlstore: Table.CanonicalUsername and Table.CanonicalEmail both name the column "low"`},
		{"addresses as names", func(t *Table) { t.Username, t.CanonicalUsername, t.CanonicalEmail = "email", "low", "low" }, ""},
		{"addresses as IDs", func(t *Table) { t.ID = "email" }, ""},
		{"a column as its own canonical form", func(t *Table) { t.CanonicalEmail = "email" }, ""},
		{"a locale by tenant", func(t *Table) { t.Tenant, t.Locale = "country", "country" }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			table := Table{Name: "people", ID: "id", Username: "name", Email: "email", PasswordHash: "hash",
				CanonicalUsername: Exact, CanonicalEmail: Exact, Active: Always, EmailVerified: Always}
			c.change(&table)
			for _, d := range dialects {
				_, err := table.Accounts(d)
				is.Equal(errorText(err), c.want)
			}
		})
	}
}

// PostgreSQL tells capitals in quoted names apart, the others do not.
func TestColumnsThatDifferInCase(t *testing.T) {
	for _, d := range dialects {
		is := is.New(t)
		_, err := Table{Name: "people", ID: "id", Username: "name", Email: "email", PasswordHash: "Email",
			CanonicalUsername: Exact, CanonicalEmail: Exact, Active: Always, EmailVerified: Always}.Accounts(d)
		is.Equal(err == nil, d == PostgreSQL)
	}
}
