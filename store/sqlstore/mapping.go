package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"example.com/recovery"
)

var _ Accounts = (*Mapping)(nil)

// A Mapping is a [Table] in the words of a dialect. It is made by [Table.Accounts].
type Mapping struct {
	table   Table
	dialect Dialect

	byUsername, byEmail, byID string // of a tenant, if there are any
	one, lock                 string // by ID, of any tenant
	set, readHash             string // readHash only for MySQL
}

// FindAccounts implements [Accounts].
func (m *Mapping) FindAccounts(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
	if q.Tenant != "" && m.table.Tenant == "" {
		return nil, nil
	}
	switch q.By {
	case recovery.ByUsername:
		return m.find(ctx, tx, m.byUsername, m.table.CanonicalUsername != "", q)
	case recovery.ByEmail:
		return m.find(ctx, tx, m.byEmail, m.table.CanonicalEmail != "", q)
	case recovery.ByID:
		found, err := m.ofTenantFind(ctx, tx, m.byID, q.Tenant, q.Canonical)
		return onlyWithID(q.Canonical, found, err)
	}
	return nil, nil
}

// find looks for a user name or address: in the canonical column, or as typed and in canonical
// form.
func (m *Mapping) find(ctx context.Context, tx *sql.Tx, query string, canonicalOnly bool, q recovery.AccountQuery) (
	found []recovery.Account, err error) {
	if canonicalOnly {
		found, err = m.ofTenantFind(ctx, tx, query, q.Tenant, q.Canonical, q.Max)
	} else {
		found, err = m.ofTenantFind(ctx, tx, query, q.Tenant, q.Typed, q.Canonical, q.Max)
		if notInCharset(err) { // what was typed is nobody's; the canonical form may be somebody's
			found, err = m.ofTenantFind(ctx, tx, query, q.Tenant, q.Canonical, q.Canonical, q.Max)
		}
	}
	if notInCharset(err) {
		return nil, nil
	}
	return found, err
}

func (m *Mapping) ofTenantFind(ctx context.Context, tx *sql.Tx, query, tenant string, args ...any) ([]recovery.Account, error) {
	if m.table.Tenant == "" {
		return scanAccounts(tx.QueryContext(ctx, query, args...))
	}
	found, err := scanAccounts(tx.QueryContext(ctx, query, append([]any{tenant, tenant}, args...)...))
	if notOfType(err) {
		return nil, errNotAnID
	}
	return found, err
}

// AccountByID implements [Accounts].
func (m *Mapping) AccountByID(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
	query := m.one
	if lock {
		query = m.lock
	}
	found, err := scanAccounts(tx.QueryContext(ctx, query, id))
	return onlyWithID(id, found, err)
}

var (
	errNoID     = errors.New("no row of the user table has the account's ID")
	errSharedID = errors.New("several rows of the user table have one ID: it must be unique, over all tenants too")
)

// onlyWithID keeps the one account with the ID: MySQL finds 1 for "1 and more". Where two have it,
// nobody knows whose password is to be set.
func onlyWithID(id string, found []recovery.Account, err error) ([]recovery.Account, error) {
	switch {
	case notOfType(err):
		return nil, errNotAnID
	case notInCharset(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	found = slices.DeleteFunc(found, func(a recovery.Account) bool { return a.ID != id })
	if len(found) > 1 {
		return nil, errSharedID
	}
	return found, nil
}

// SetPassword implements [Accounts].
func (m *Mapping) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
	result, err := tx.ExecContext(ctx, m.set, hash, id)
	if m.readHash == "" || err != nil {
		return one(errNoID)(result, err)
	}
	// MySQL does not count a row whose hash was the same before, and unless its sql_mode is strict
	// it cuts a hash that is too long for the column.
	var stored string
	err = tx.QueryRowContext(ctx, m.readHash, id).Scan(&stored)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return errNoID
	case err == nil && strings.TrimRight(stored, " ") != strings.TrimRight(hash, " "): // a CHAR may be padded
		return errors.New("the column does not hold the whole password hash")
	}
	return err
}

// notOfType reports PostgreSQL's refusal of a text that no value of the column's type is written
// as.
func notOfType(err error) bool {
	c := code(err)
	return c == "22P02" || c == "22003"
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

func scanAccounts(rows *sql.Rows, err error) (found []recovery.Account, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var a recovery.Account
		var hash string
		var active, hasPassword, verified int
		err := rows.Scan(&a.ID, &a.Tenant, &a.Username, &a.Email, &hash, &a.Locale, &a.SignIn, &active, &hasPassword, &verified)
		if err != nil {
			return nil, err
		}
		a.Active, a.EmailVerified = active != 0, verified != 0
		a.HasPassword = hasPassword != 0 && hash != ""
		a.Version = recovery.NewVersion(hash, a.Email)
		found = append(found, a)
	}
	return found, rows.Err()
}
