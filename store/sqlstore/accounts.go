package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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

	// LockAccount must return the account with the ID, or none, as it is at that moment, and keep
	// others from changing it until tx ends (SELECT … FOR UPDATE, where there is such a thing). On
	// SQLite other calls may share tx, and if it fails there it is called again, in another.
	LockAccount(ctx context.Context, tx *sql.Tx, id string) ([]recovery.Account, error)

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

	// CanonicalUsername and CanonicalEmail are columns that hold what the functions of the same
	// names of package recovery return. Accounts are then found however their name was written;
	// without them, only as it was typed or in canonical form. Each should have an index.
	CanonicalUsername string
	CanonicalEmail    string

	// Conditions; "" is always true.
	Active        string
	HasPassword   string
	EmailVerified string
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
	byUsername, byEmail, byID, lock string
	set, readHash                   string // readHash only for MySQL
	canonicalOnly                   map[recovery.IdentifierKind]bool
}

func (t Table) mapping(d Dialect) *mapping {
	q := d.quote
	arg := func(n int) string {
		if d == PostgreSQL {
			return "$" + strconv.Itoa(n)
		}
		return "?"
	}
	text := func(column string) string {
		switch {
		case column == "":
			return "''"
		case d == MySQL:
			return "COALESCE(CAST(" + q(column) + " AS CHAR CHARACTER SET utf8mb4), '')"
		}
		return "COALESCE(CAST(" + q(column) + " AS TEXT), '')"
	}
	flag := func(condition string) string {
		if condition == "" {
			return "1"
		}
		return "CASE WHEN (" + condition + ") THEN 1 ELSE 0 END"
	}
	selectFrom := "SELECT " + strings.Join([]string{
		text(t.ID), text(t.Username), text(t.Email), text(t.PasswordHash), text(t.Locale),
		flag(t.Active), flag(t.HasPassword), flag(t.EmailVerified),
	}, ", ") + " FROM " + q(t.Name) + " WHERE "
	eligible := text(t.PasswordHash) + " <> ''"
	for _, condition := range []string{t.Active, t.HasPassword, t.EmailVerified} {
		if condition != "" {
			eligible += " AND (" + condition + ")"
		}
	}
	tail := " ORDER BY " + flag(eligible) + " DESC, " + q(t.ID) + " LIMIT "
	m := &mapping{canonicalOnly: map[recovery.IdentifierKind]bool{
		recovery.ByUsername: t.CanonicalUsername != "", recovery.ByEmail: t.CanonicalEmail != "",
	}}
	find := func(column, canonical string) string {
		if canonical != "" {
			return selectFrom + q(canonical) + " = " + arg(1) + tail + arg(2)
		}
		return selectFrom + q(column) + " IN (" + arg(1) + ", " + arg(2) + ")" + tail + arg(3)
	}
	m.byUsername, m.byEmail = find(t.Username, t.CanonicalUsername), find(t.Email, t.CanonicalEmail)
	m.byID = selectFrom + q(t.ID) + " = " + arg(1)
	m.lock = m.byID
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
	query := map[recovery.IdentifierKind]string{recovery.ByUsername: m.byUsername, recovery.ByEmail: m.byEmail}[q.By]
	switch {
	case q.By == recovery.ByID:
		return m.byIDs(tx.QueryContext(ctx, m.byID, q.Canonical))(q.Canonical)
	case query == "":
		return nil, nil
	case m.canonicalOnly[q.By]:
		found, err := accounts(tx.QueryContext(ctx, query, q.Canonical, q.Max))
		return found, ignoreNotInCharset(err)
	}
	found, err := accounts(tx.QueryContext(ctx, query, q.Typed, q.Canonical, q.Max))
	if notInCharset(err) { // what was typed is nobody's; the canonical form may be somebody's
		found, err = accounts(tx.QueryContext(ctx, query, q.Canonical, q.Canonical, q.Max))
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

// LockAccount implements [Accounts].
func (m *mapping) LockAccount(ctx context.Context, tx *sql.Tx, id string) ([]recovery.Account, error) {
	return m.byIDs(tx.QueryContext(ctx, m.lock, id))(id)
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

// errNotAnID is PostgreSQL's refusal of an ID that no value of the column's type is written as.
// There is no such account then, but the transaction is lost and must be rolled back.
var errNotAnID = errors.New("the ID is not of the column's type")

// byIDs reads accounts and keeps the one with the ID: MySQL finds 1 for "1 and more".
func (m *mapping) byIDs(rows *sql.Rows, err error) func(id string) ([]recovery.Account, error) {
	found, err := accounts(rows, err)
	return func(id string) ([]recovery.Account, error) {
		if c := code(err); c == "22P02" || c == "22003" {
			return nil, errNotAnID
		}
		err := ignoreNotInCharset(err)
		for _, a := range found {
			if a.ID == id {
				return []recovery.Account{a}, err
			}
		}
		return nil, err
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
		if err := rows.Scan(&a.ID, &a.Username, &a.Email, &hash, &a.Locale, &active, &hasPassword, &verified); err != nil {
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
