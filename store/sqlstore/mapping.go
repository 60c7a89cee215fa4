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

// A Mapping is a [Table] as statements in a dialect. [Table.Accounts] makes it.
type Mapping struct {
	table   Table
	dialect Dialect

	byUsername, byEmail, byID string // within a tenant, if there are tenants
	one, lock                 string // by ID, of any tenant
	set, readBack             string // readBack only for MySQL
}

// FindAccounts implements [Accounts].
func (m *Mapping) FindAccounts(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
	if q.Tenant != "" && m.table.Tenant == "" {
		return nil, nil
	}
	switch q.By {
	case recovery.ByUsername:
		return m.find(ctx, tx, m.byUsername, isColumn(m.table.CanonicalUsername), q)
	case recovery.ByEmail:
		return m.find(ctx, tx, m.byEmail, isColumn(m.table.CanonicalEmail), q)
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
		if notInCharset(err) { // nobody has the typed text; somebody may have the canonical form
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
		return nil, ErrNotAnID
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
	errSharedID = errors.New("several rows of the user table share an ID: it must be unique, also across tenants")
)

// onlyWithID keeps the one account with the ID, because MySQL finds 1 for "1 and more". Two
// accounts with one ID are an error: nobody knows whose password to set.
func onlyWithID(id string, found []recovery.Account, err error) ([]recovery.Account, error) {
	switch {
	case notOfType(err):
		return nil, ErrNotAnID
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
	n, err := affected(tx.ExecContext(ctx, m.set, hash, id))
	if err == nil && m.readBack != "" {
		n, err = m.holds(ctx, tx, id, hash)
	}
	switch {
	case err != nil:
		return err
	case n == 0:
		return errNoID
	case n > 1:
		return errSharedID
	}
	return nil
}

// holds checks the stored hash and returns how many rows have the ID. MySQL does not count a row
// that already had the hash. It cuts a hash that is too long for the column, unless its sql_mode is
// strict.
func (m *Mapping) holds(ctx context.Context, tx *sql.Tx, id, hash string) (n int64, err error) {
	rows, err := tx.QueryContext(ctx, m.readBack, id)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var storedID, stored string
		if err := rows.Scan(&storedID, &stored); err != nil {
			return 0, err
		}
		if storedID != id { // MySQL finds 1 for "1 and more"
			return 0, errNoID
		}
		if strings.TrimRight(stored, " ") != strings.TrimRight(hash, " ") { // a CHAR may be padded
			return 0, errors.New("the column does not hold the whole password hash")
		}
		n++
	}
	return n, rows.Err()
}

// notOfType reports PostgreSQL's refusal of a text that cannot be a value of the column's type.
func notOfType(err error) bool {
	c := code(err)
	return c == "22P02" || c == "22003"
}

// notInCharset reports MySQL's refusal to compare a column with a text that its character set
// cannot hold, such as latin1 with a full-width letter. No row has such a text.
func notInCharset(err error) bool {
	switch code(err) {
	case "MySQL 1267", "MySQL 1270", "MySQL 1271", // illegal mix of two, three, more collations
		"MySQL 3988": // impossible conversion
		return true
	}
	return false
}

var scanAccounts = collect(func(row *sql.Rows) (a recovery.Account, err error) {
	var hash string
	var active, hasPassword, verified int
	err = row.Scan(&a.ID, &a.Tenant, &a.Username, &a.Email, &hash, &a.Locale, &a.SignIn, &active, &hasPassword, &verified)
	a.Active, a.HasPassword, a.EmailVerified = active != 0, hasPassword != 0, verified != 0
	a.Version = recovery.NewVersion(hash, a.Email)
	return a, err
})
