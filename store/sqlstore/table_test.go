package sqlstore

import (
	"fmt"
	"testing"

	"github.com/matryer/is"
)

// A field that names the column of another is a mistake that no database would notice.
func TestFieldsThatMayNotShareAColumn(t *testing.T) {
	for _, c := range []struct {
		change func(*Table)
		a, b   string // the fields that share the column, "" where it is allowed
		column string
	}{
		{func(t *Table) { t.PasswordHash = "email" }, "Email", "PasswordHash", "email"},
		{func(t *Table) { t.PasswordHash = "name" }, "Username", "PasswordHash", "name"},
		{func(t *Table) { t.PasswordHash = "id" }, "ID", "PasswordHash", "id"},
		{func(t *Table) { t.Tenant = "hash" }, "Tenant", "PasswordHash", "hash"},
		{func(t *Table) { t.CanonicalEmail = "hash" }, "CanonicalEmail", "PasswordHash", "hash"},
		{func(t *Table) { t.CanonicalUsername = "hash" }, "CanonicalUsername", "PasswordHash", "hash"},
		{func(t *Table) { t.Locale = "hash" }, "PasswordHash", "Locale", "hash"},
		{func(t *Table) { t.Tenant = "email" }, "Tenant", "Email", "email"},
		{func(t *Table) { t.CanonicalUsername = "email" }, "CanonicalUsername", "Email", "email"},
		{func(t *Table) { t.CanonicalEmail = "name" }, "Username", "CanonicalEmail", "name"},
		{func(t *Table) { t.CanonicalUsername, t.CanonicalEmail = "low", "low" }, "CanonicalUsername", "CanonicalEmail", "low"},
		{func(t *Table) { t.Username, t.CanonicalUsername, t.CanonicalEmail = "email", "low", "low" }, "", "", ""}, // addresses as names
		{func(t *Table) { t.ID = "email" }, "", "", ""},
		{func(t *Table) { t.CanonicalEmail = "email" }, "", "", ""},
		{func(t *Table) { t.Tenant, t.Locale = "country", "country" }, "", "", ""},
	} {
		for _, d := range dialects {
			is := is.New(t)
			table := sharing
			c.change(&table)
			_, err := table.Accounts(d)
			want := fmt.Sprintf("sqlstore: Table.%s and Table.%s both name the column %q", c.a, c.b, c.column)
			if c.a == "" {
				want = ""
			}
			is.Equal(errorText(err), want)
		}
	}
}

var sharing = Table{Name: "people", ID: "id", Username: "name", Email: "email", PasswordHash: "hash",
	CanonicalUsername: Exact, CanonicalEmail: Exact, Active: Always, EmailVerified: Always}

// PostgreSQL tells capitals in quoted names apart, the others do not.
func TestColumnsThatDifferInCase(t *testing.T) {
	for _, d := range dialects {
		is := is.New(t)
		table := sharing
		table.PasswordHash = "Email"
		_, err := table.Accounts(d)
		is.Equal(err == nil, d == PostgreSQL)
	}
}
