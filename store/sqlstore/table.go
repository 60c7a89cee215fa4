package sqlstore

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Table maps a user table. Names are quoted as given; the table may have a schema before it
// ("app.users"). Conditions are SQL about a row of the table, such as "disabled_at IS NULL"; they
// are part of the program, never of a request. [Store.Check] reports at start what cannot work.
type Table struct {
	Name string

	// ID is the column of the primary key: a number, a text or a UUID, unique by itself, and as
	// text at most 255 bytes long. If two rows have one ID, neither password is ever set. A binary
	// column cannot be the ID, but its text in a generated column with a unique index can.
	ID string

	Username string // column, a text
	Email    string // column, a text
	Locale   string // column, or "" if there is none

	// PasswordHash is the column of the hash. These values mean that there is no local password:
	// NULL, '', 'x', and whatever begins with '!' or '*'. No other field may name it.
	PasswordHash string

	// Tenant is the column that says whose account it is, of any type, or "" if there are no
	// tenants: then only requests of the tenant "" find anybody. It must be NOT NULL: no request
	// finds an account whose tenant is NULL. Tenants that differ in one byte are different,
	// whatever the column's collation says. Every look-up begins with the tenant, and so should its
	// index:
	//
	//	CREATE INDEX users_tenant_name ON users (tenant, name);
	//	CREATE INDEX users_tenant_email ON users (tenant, email);
	//
	// The ID must be unique over all tenants: tokens are found without a tenant.
	Tenant string

	// CanonicalUsername and CanonicalEmail say how to find an account whose name or address is
	// stored in another form than people type. There is no default; each must be one of
	//   - a column that holds what the function of the same name of package recovery returns, or
	//     Options.CanonicalUsername if that is set;
	//   - [Collation], where the column itself ignores case;
	//   - [Exact].
	//
	// To add such a column, with utf8mb4_bin instead of "C" on MySQL, and none on SQLite:
	//
	//	ALTER TABLE users ADD COLUMN email_canonical VARCHAR(254) COLLATE "C";
	//	CREATE INDEX users_email_canonical ON users (email_canonical); -- (tenant, email_canonical)
	//
	// docs/accounts.md has the program that fills it. From then on the application writes it with
	// every change of the address. LOWER(email) is not the canonical form, which has a domain in
	// A-labels and composed letters.
	CanonicalUsername string
	CanonicalEmail    string

	// Active and EmailVerified are conditions that must be given, or [Always]: may the account log
	// in, and was its address proven to be the account holder's?
	Active        string
	EmailVerified string

	// HasPassword is a further condition for a local password, or "" if PasswordHash alone decides.
	HasPassword string

	// SignIn is an SQL expression, or "": where an account without a password logs in, such as
	// "provider" or "CASE provider WHEN 1 THEN 'Google' END". NULL reads as ''.
	SignIn string
}

// Always is a condition that holds for every row, on all databases.
const Always = "1 = 1"

// Values of Table.CanonicalUsername and Table.CanonicalEmail that are not a column.
const (
	// Exact finds an account only if the column equals the name or address as typed, or its
	// canonical form. An account stored as "Alice@Example.com" gets no mail for
	// "alice@example.com", and its owner never learns why, so Check refuses a table with such
	// addresses. It allows user names with capitals, because an application may tell case apart.
	Exact = "(exact)"

	// Collation leaves the comparison to the type or collation of the column, which must ignore
	// case: citext or a nondeterministic collation on PostgreSQL, utf8mb4_general_ci and others on
	// MySQL, COLLATE NOCASE on SQLite.
	Collation = "(collation)"
)

// Accounts returns the mapping for a dialect. The error names everything that is missing.
func (t Table) Accounts(d Dialect) (*Mapping, error) {
	const condition = ` must be given: a condition such as "status = 'active'", or sqlstore.Always`
	const canonical = " must be given: a column with the canonical form, or sqlstore.Collation if the column ignores case, or sqlstore.Exact"
	var faults []error
	for _, field := range []struct{ name, value, missing string }{
		{"Name", t.Name, " must be given"},
		{"ID", t.ID, " must be given"},
		{"Username", t.Username, " must be given"},
		{"Email", t.Email, " must be given"},
		{"PasswordHash", t.PasswordHash, " must be given"},
		{"CanonicalUsername", t.CanonicalUsername, canonical},
		{"CanonicalEmail", t.CanonicalEmail, canonical},
		{"Active", t.Active, condition},
		{"EmailVerified", t.EmailVerified, condition},
	} {
		if strings.TrimSpace(field.value) == "" {
			faults = append(faults, errors.New("sqlstore: Table."+field.name+field.missing))
		}
	}
	if d < PostgreSQL || d > SQLite {
		faults = append(faults, errors.New("sqlstore: the Dialect must be PostgreSQL, MySQL or SQLite"))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	if err := t.checkShared(d); err != nil {
		return nil, err
	}
	return t.mapping(d), nil
}

// checkShared refuses fields that name the same column, unless that makes sense.
func (t Table) checkShared(d Dialect) error {
	same := func(a, b string) bool { return a == b || d != PostgreSQL && strings.EqualFold(a, b) }
	isName := map[string]bool{"Username": true, "CanonicalUsername": true}
	isEmail := map[string]bool{"Email": true, "CanonicalEmail": true}
	mayShare := func(a, b string) bool {
		switch {
		case a == "PasswordHash" || b == "PasswordHash":
			return false
		case a == "Tenant" || b == "Tenant":
			return b == "Locale"
		case isName[a] && isEmail[b]: // addresses are the user names
			return same(t.Username, t.Email)
		}
		return true
	}
	var faults []error
	fields := t.columns()
	for i, a := range fields {
		for _, b := range fields[i+1:] {
			if same(a.column, b.column) && !mayShare(a.name, b.name) {
				faults = append(faults, fmt.Errorf("sqlstore: Table.%s and Table.%s both name the column %q", a.name, b.name, a.column))
			}
		}
	}
	return errors.Join(faults...)
}

// mapping writes the statements.
func (t Table) mapping(d Dialect) *Mapping {
	m := &Mapping{table: t, dialect: d}
	account := "SELECT " + strings.Join([]string{
		m.text(t.ID), m.text(t.Tenant), m.text(t.Username), m.text(t.Email), m.text(t.PasswordHash), m.text(t.Locale),
		m.signIn(), bit(t.Active), bit(m.local()), bit(t.EmailVerified),
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
		m.readBack = "SELECT " + m.text(t.ID) + ", " + m.text(t.PasswordHash) + " FROM " + d.quote(t.Name) + " WHERE " + d.quote(t.ID) + " = ?"
	}
	return m
}

// column returns the column with its table. Without the table, SQLite takes the name of a missing
// column for a text.
func (m *Mapping) column(name string) string {
	return m.dialect.quote(m.table.Name) + "." + m.dialect.quote(name)
}

func (m *Mapping) asText(value string) string {
	if m.dialect == MySQL {
		return "CAST(" + value + " AS CHAR CHARACTER SET utf8mb4)"
	}
	return "CAST(" + value + " AS TEXT)"
}

// text returns the column as a text that is not NULL.
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
	return "CASE WHEN (" + condition + ") THEN 1 ELSE 0 END"
}

// ofTenant returns the beginning of a WHERE clause, and its number of arguments. It compares the
// tenant twice: as the column compares, to use its index, and byte for byte, so that other tenants
// do not use up the LIMIT.
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

// matches returns the end of a look-up by user name or address; args arguments come before it.
func (m *Mapping) matches(column, canonical string, args int) string {
	arg := m.dialect.arg
	if isColumn(canonical) {
		return m.column(canonical) + " = " + arg(args+1) + m.order() + " LIMIT " + arg(args+2)
	}
	return m.column(column) + " IN (" + arg(args+1) + ", " + arg(args+2) + ")" + m.order() + " LIMIT " + arg(args+3)
}

func isColumn(canonical string) bool { return canonical != Exact && canonical != Collation }

// order returns the order that [recovery.Accounts] asks for.
func (m *Mapping) order() string {
	return " ORDER BY CASE WHEN " + m.reachable() + " THEN " + bit(m.local()) + " + 1 ELSE 0 END DESC, " + m.column(m.table.ID)
}

// reachable is the condition that a mail may be sent.
func (m *Mapping) reachable() string {
	return "(" + m.table.Active + ") AND (" + m.table.EmailVerified + ")"
}

// local is the condition that there is a local password.
func (m *Mapping) local() string {
	hash := m.asText(m.column(m.table.PasswordHash))
	local := hash + " NOT IN ('', 'x') AND SUBSTR(" + hash + ", 1, 1) NOT IN ('!', '*')"
	if m.table.HasPassword != "" {
		local += " AND (" + m.table.HasPassword + ")"
	}
	return local
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
