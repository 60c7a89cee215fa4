package sqlstore

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Table maps a user table. Names are quoted as they are given; a table's may have a schema before
// it ("app.users"). Conditions are SQL about a row of the table, such as "disabled_at IS NULL";
// they are part of the program, never of a request.
type Table struct {
	Name         string
	ID           string // column of the primary key, of any type; as text at most 255 bytes long
	Username     string // column
	Email        string // column
	PasswordHash string // column; NULL or '' means no local password
	Locale       string // column, or "" if there is none

	// Tenant is the column that says whose account it is, of any type, or "" if there are no
	// tenants: then only requests of the tenant "" find anybody. It must be NOT NULL: an account
	// whose tenant is NULL is found by no request. Tenants that differ in one byte are different,
	// whatever the column's collation says. Every look-up begins with the tenant, and so should its
	// index:
	//
	//	CREATE INDEX users_tenant_name ON users (tenant, name);
	//	CREATE INDEX users_tenant_email ON users (tenant, email);
	//
	// The ID must be unique over all tenants, and needs an index of its own, such as the primary
	// key's: tokens are found without a tenant. Of two rows with one ID, neither's password is ever
	// set.
	Tenant string

	// CanonicalUsername and CanonicalEmail are columns that hold what the functions of the same
	// names of package recovery return, or Options.CanonicalUsername if that is set. Accounts are
	// then found however their name was written; without them, only as it was typed or in canonical
	// form. Each should have an index, after the tenant if there is one.
	CanonicalUsername string
	CanonicalEmail    string

	// Conditions; "" is always true.
	Active        string
	HasPassword   string
	EmailVerified string

	// SignIn is SQL about a row, too, or "" if there is none: where an account without a password
	// logs in, such as "provider" or "CASE provider WHEN 1 THEN 'Google' END". NULL reads as ''.
	SignIn string
}

// Accounts returns the mapping for a dialect. The error names everything that is missing.
func (t Table) Accounts(d Dialect) (*Mapping, error) {
	var faults []error
	for _, field := range []struct{ name, value string }{
		{"Name", t.Name}, {"ID", t.ID}, {"Username", t.Username}, {"Email", t.Email}, {"PasswordHash", t.PasswordHash},
	} {
		if field.value == "" {
			faults = append(faults, fmt.Errorf("sqlstore: Table.%s must be given", field.name))
		}
	}
	if d < PostgreSQL || d > SQLite {
		faults = append(faults, errors.New("sqlstore: the Dialect must be PostgreSQL, MySQL or SQLite"))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return t.mapping(d), nil
}

// mapping writes the statements.
func (t Table) mapping(d Dialect) *Mapping {
	m := &Mapping{table: t, dialect: d}
	account := "SELECT " + strings.Join([]string{
		m.text(t.ID), m.text(t.Tenant), m.text(t.Username), m.text(t.Email), m.text(t.PasswordHash), m.text(t.Locale),
		m.signIn(), bit(t.Active), bit(t.HasPassword), bit(t.EmailVerified),
	}, ", ") + " FROM " + d.quote(t.Name) + " WHERE "
	id := m.column(t.ID) + " = "

	tenant, n := m.ofTenant()
	m.byUsername = account + tenant + m.matches(t.Username, t.CanonicalUsername, n)
	m.byEmail = account + tenant + m.matches(t.Email, t.CanonicalEmail, n)
	m.byID = account + tenant + id + d.arg(n+1)

	m.one = account + id + d.arg(1)
	m.lock = m.one
	if d != SQLite { // there the whole database is locked
		m.lock += " FOR UPDATE"
	}
	m.set = "UPDATE " + d.quote(t.Name) + " SET " + d.quote(t.PasswordHash) + " = " + d.arg(1) +
		" WHERE " + d.quote(t.ID) + " = " + d.arg(2)
	if d == MySQL {
		m.readHash = "SELECT " + m.text(t.PasswordHash) + " FROM " + d.quote(t.Name) + " WHERE " + d.quote(t.ID) + " = ?"
	}
	return m
}

// column is a column with its table: without, SQLite takes the name of one that does not exist for
// a text.
func (m *Mapping) column(name string) string {
	return m.dialect.quote(m.table.Name) + "." + m.dialect.quote(name)
}

func (m *Mapping) asText(value string) string {
	if m.dialect == MySQL {
		return "CAST(" + value + " AS CHAR CHARACTER SET utf8mb4)"
	}
	return "CAST(" + value + " AS TEXT)"
}

// text is the column as a text that is not NULL.
func (m *Mapping) text(column string) string {
	if column == "" {
		return "''"
	}
	return "COALESCE(" + m.asText(m.column(column)) + ", '')"
}

func (m *Mapping) signIn() string {
	if m.table.SignIn == "" {
		return "''"
	}
	return "COALESCE(" + m.asText("("+m.table.SignIn+")") + ", '')"
}

// bit is 1 where the condition holds, else 0.
func bit(condition string) string {
	if condition == "" {
		return "1"
	}
	return "CASE WHEN (" + condition + ") THEN 1 ELSE 0 END"
}

// ofTenant is the beginning of a WHERE clause, and how many arguments it has. The tenant is
// compared twice: as the column does, for its index, and byte for byte, or others would take places
// of the LIMIT.
func (m *Mapping) ofTenant() (where string, args int) {
	if m.table.Tenant == "" {
		return "", 0
	}
	tenant := m.column(m.table.Tenant)
	exactly := map[Dialect]string{
		PostgreSQL: m.asText(tenant) + ` COLLATE "C" = $2`,
		MySQL:      "CAST(" + m.asText(tenant) + " AS BINARY) = CAST(? AS BINARY)",
		SQLite:     m.asText(tenant) + " COLLATE BINARY = ?",
	}[m.dialect]
	return tenant + " = " + m.dialect.arg(1) + " AND " + exactly + " AND ", 2
}

// matches is the end of a look-up by user name or address, behind args arguments.
func (m *Mapping) matches(column, canonical string, args int) string {
	arg := m.dialect.arg
	order := m.order()
	if canonical != "" {
		return m.column(canonical) + " = " + arg(args+1) + order + " LIMIT " + arg(args+2)
	}
	return m.column(column) + " IN (" + arg(args+1) + ", " + arg(args+2) + ")" + order + " LIMIT " + arg(args+3)
}

// order is that of [recovery.Accounts].
func (m *Mapping) order() string {
	reachable := all(m.table.Active, m.table.EmailVerified)
	local := all(m.text(m.table.PasswordHash)+" <> ''", m.table.HasPassword)
	return " ORDER BY CASE WHEN " + reachable + " THEN CASE WHEN " + local + " THEN 2 ELSE 1 END ELSE 0 END DESC, " + m.column(m.table.ID)
}

// all joins conditions, but for those that are "".
func all(conditions ...string) string {
	conditions = slices.DeleteFunc(conditions, func(c string) bool { return c == "" })
	if len(conditions) == 0 {
		return "1 = 1"
	}
	return "(" + strings.Join(conditions, ") AND (") + ")"
}

// arg is the n-th placeholder.
func (d Dialect) arg(n int) string {
	if d == PostgreSQL {
		return "$" + strconv.Itoa(n)
	}
	return "?"
}

// quote quotes a name that may have a schema before it.
func (d Dialect) quote(name string) string {
	mark := `"`
	if d == MySQL {
		mark = "`"
	}
	parts := strings.Split(name, ".")
	for i, part := range parts {
		parts[i] = mark + strings.ReplaceAll(part, mark, mark+mark) + mark
	}
	return strings.Join(parts, ".")
}
