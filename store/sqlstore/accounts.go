package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"example.com/recovery"
)

// Accounts is the application's user table. [Table] has one for the common case; embed it to add to
// what a method does:
//
//	type users struct{ sqlstore.Accounts }
//
//	func (u users) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
//		if err := u.Accounts.SetPassword(ctx, tx, id, hash); err != nil {
//			return err
//		}
//		_, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE user_id = $1`, id)
//		return err
//	}
//
// All methods must work in tx and must leave its end to the store. A method may be called again in
// another transaction when one has lost.
type Accounts interface {
	// FindAccounts must do what [recovery.Accounts] asks for. The Version of an account must change
	// whenever its password or its address does: see [recovery.NewVersion].
	FindAccounts(ctx context.Context, tx *sql.Tx, query recovery.AccountQuery) ([]recovery.Account, error)

	// AccountByID must return the account with the ID, of whatever tenant, or none, as it is at
	// that moment. With lock it must keep others from changing it until tx ends (SELECT … FOR
	// UPDATE, where there is such a thing); without, tx only reads. On SQLite other calls may share
	// tx, and if it fails there it is called again, in another.
	AccountByID(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error)

	// SetPassword must set the password hash of the account with the ID.
	SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error
}

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
func (t Table) Accounts(d Dialect) (Accounts, error) {
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

type mapping struct {
	byUsername, byEmail, byID string // of a tenant, if there are any
	one, lock                 string // by ID, of any tenant
	set, readHash             string // readHash only for MySQL
	canonicalOnly             map[recovery.IdentifierKind]bool
	tenants                   bool
}

func (t Table) mapping(d Dialect) *mapping {
	q := d.quote
	// With its table, a column that does not exist is an error. Without, SQLite takes it for a
	// text.
	col := func(name string) string { return q(t.Name) + "." + q(name) }
	arg := func(n int) string {
		if d == PostgreSQL {
			return "$" + strconv.Itoa(n)
		}
		return "?"
	}
	asText := func(value string) string {
		if d == MySQL {
			return "CAST(" + value + " AS CHAR CHARACTER SET utf8mb4)"
		}
		return "CAST(" + value + " AS TEXT)"
	}
	text := func(column string) string {
		if column == "" {
			return "''"
		}
		return "COALESCE(" + asText(col(column)) + ", '')"
	}
	flag := func(condition string) string {
		if condition == "" {
			return "1"
		}
		return "CASE WHEN (" + condition + ") THEN 1 ELSE 0 END"
	}
	signIn := "''"
	if t.SignIn != "" {
		signIn = "COALESCE(" + asText("("+t.SignIn+")") + ", '')"
	}
	selectFrom := "SELECT " + strings.Join([]string{
		text(t.ID), text(t.Tenant), text(t.Username), text(t.Email), text(t.PasswordHash), text(t.Locale), signIn,
		flag(t.Active), flag(t.HasPassword), flag(t.EmailVerified),
	}, ", ") + " FROM " + q(t.Name) + " WHERE "
	eligible := text(t.PasswordHash) + " <> ''"
	for _, condition := range []string{t.Active, t.HasPassword, t.EmailVerified} {
		if condition != "" {
			eligible += " AND (" + condition + ")"
		}
	}
	tail := " ORDER BY " + flag(eligible) + " DESC, " + col(t.ID) + " LIMIT "
	m := &mapping{tenants: t.Tenant != "", canonicalOnly: map[recovery.IdentifierKind]bool{
		recovery.ByUsername: t.CanonicalUsername != "", recovery.ByEmail: t.CanonicalEmail != "",
	}}
	// The tenant is compared twice: as the column does, for its index, and byte for byte, or others
	// would take places of the LIMIT.
	ofTenant, n := "", 0
	if m.tenants {
		exactly := map[Dialect]string{
			PostgreSQL: asText(col(t.Tenant)) + ` COLLATE "C" = ` + arg(2),
			MySQL:      "CAST(" + asText(col(t.Tenant)) + " AS BINARY) = CAST(? AS BINARY)",
			SQLite:     asText(col(t.Tenant)) + " COLLATE BINARY = ?",
		}[d]
		ofTenant, n = col(t.Tenant)+" = "+arg(1)+" AND "+exactly+" AND ", 2
	}
	find := func(column, canonical string) string {
		if canonical != "" {
			return selectFrom + ofTenant + col(canonical) + " = " + arg(n+1) + tail + arg(n+2)
		}
		return selectFrom + ofTenant + col(column) + " IN (" + arg(n+1) + ", " + arg(n+2) + ")" + tail + arg(n+3)
	}
	m.byUsername, m.byEmail = find(t.Username, t.CanonicalUsername), find(t.Email, t.CanonicalEmail)
	m.byID = selectFrom + ofTenant + col(t.ID) + " = " + arg(n+1)
	m.one = selectFrom + col(t.ID) + " = " + arg(1)
	m.lock = m.one
	if d != SQLite { // there the whole database is locked
		m.lock += " FOR UPDATE"
	}
	m.set = "UPDATE " + q(t.Name) + " SET " + q(t.PasswordHash) + " = " + arg(1) + " WHERE " + q(t.ID) + " = " + arg(2)
	if d == MySQL {
		m.readHash = "SELECT " + text(t.PasswordHash) + " FROM " + q(t.Name) + " WHERE " + q(t.ID) + " = " + arg(1)
	}
	return m
}

// FindAccounts implements [Accounts].
func (m *mapping) FindAccounts(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
	if q.Tenant != "" && !m.tenants {
		return nil, nil
	}
	query := map[recovery.IdentifierKind]string{recovery.ByUsername: m.byUsername, recovery.ByEmail: m.byEmail}[q.By]
	look := func(query string, args ...any) ([]recovery.Account, error) {
		if m.tenants {
			args = append([]any{q.Tenant, q.Tenant}, args...)
		}
		found, err := accounts(tx.QueryContext(ctx, query, args...))
		if m.tenants && notOfType(err) {
			err = errNotAnID
		}
		return found, err
	}
	switch {
	case q.By == recovery.ByID:
		return withID(q.Canonical)(look(m.byID, q.Canonical))
	case query == "":
		return nil, nil
	case m.canonicalOnly[q.By]:
		found, err := look(query, q.Canonical, q.Max)
		return found, ignoreNotInCharset(err)
	}
	found, err := look(query, q.Typed, q.Canonical, q.Max)
	if notInCharset(err) { // what was typed is nobody's; the canonical form may be somebody's
		found, err = look(query, q.Canonical, q.Canonical, q.Max)
	}
	return found, ignoreNotInCharset(err)
}

// notInCharset reports MySQL's refusal to compare a column with a text that the column's character
// set cannot hold: latin1 with a full-width letter. No row has such a text.
func notInCharset(err error) bool {
	switch code(err) {
	case "MySQL 1267", "MySQL 1270", "MySQL 1271", // illegal mix of two, three, more collations
		"MySQL 3988": // impossible conversion
		return true
	}
	return false
}

func ignoreNotInCharset(err error) error {
	if notInCharset(err) {
		return nil
	}
	return err
}

// AccountByID implements [Accounts].
func (m *mapping) AccountByID(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
	query := m.one
	if lock {
		query = m.lock
	}
	return withID(id)(accounts(tx.QueryContext(ctx, query, id)))
}

// SetPassword implements [Accounts].
func (m *mapping) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
	none := errors.New("no row of the user table has the account's ID")
	result, err := tx.ExecContext(ctx, m.set, hash, id)
	if m.readHash == "" || err != nil {
		return one(none)(result, err)
	}
	// MySQL does not count a row whose hash was the same before, and unless its sql_mode is strict
	// it cuts a hash that is too long for the column.
	var stored string
	err = tx.QueryRowContext(ctx, m.readHash, id).Scan(&stored)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return none
	case err == nil && strings.TrimRight(stored, " ") != strings.TrimRight(hash, " "): // a CHAR may be padded
		return errors.New("the column does not hold the whole password hash")
	}
	return err
}

// errNotAnID is PostgreSQL's refusal of an ID or tenant that no value of the column's type is
// written as. There is no such account then, but the transaction is lost and must be rolled back.
var errNotAnID = errors.New("the ID or tenant is not of its column's type")

func notOfType(err error) bool {
	c := code(err)
	return c == "22P02" || c == "22003"
}

var errSharedID = errors.New("several rows of the user table have one ID: it must be unique, over all tenants too")

// withID keeps the one account with the ID: MySQL finds 1 for "1 and more". Where two have it,
// nobody knows whose password is to be set.
func withID(id string) func([]recovery.Account, error) ([]recovery.Account, error) {
	return func(found []recovery.Account, err error) ([]recovery.Account, error) {
		if notOfType(err) {
			return nil, errNotAnID
		}
		found = slices.DeleteFunc(found, func(a recovery.Account) bool { return a.ID != id })
		if len(found) > 1 {
			return nil, errSharedID
		}
		return found, ignoreNotInCharset(err)
	}
}

func accounts(rows *sql.Rows, err error) (found []recovery.Account, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var a recovery.Account
		var hash string
		var active, hasPassword, verified int
		if err := rows.Scan(&a.ID, &a.Tenant, &a.Username, &a.Email, &hash, &a.Locale, &a.SignIn, &active, &hasPassword, &verified); err != nil {
			return nil, err
		}
		a.Active, a.EmailVerified = active != 0, verified != 0
		a.HasPassword = hasPassword != 0 && hash != ""
		a.Version = recovery.NewVersion(hash, a.Email)
		found = append(found, a)
	}
	return found, rows.Err()
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
