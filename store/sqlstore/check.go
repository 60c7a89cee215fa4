package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// A Checker is an [Accounts] that can check itself at start. [*Mapping] is one.
type Checker interface {
	// Check must return one error with everything that would keep the other methods from working.
	// It must call warn for what only makes them slow, and for what it cannot know. It must change
	// nothing; tx is rolled back. New password hashes have up to hashLength characters.
	Check(ctx context.Context, tx *sql.Tx, hashLength int, warn func(warning string)) error
}

// Check reports at start what would fail later: a database of another dialect or of too old a
// version, missing tables or columns of the store, missing rights, and what the Accounts report if
// they are a [Checker]. A [*Mapping] checks itself against the user table: its names, conditions
// and types, whether a password fits and can be set, whether the ID is unique, and whether a
// look-up finds accounts however their address is stored.
//
// The error joins all faults. Each names the field of Table, and shows the database's own words if
// these hold no data. Check logs a warning about what may be slow or wrong: see Options.Logger. It
// changes nothing, reads at most 1,000 rows of the user table a few times, and needs no more rights
// than the store. On SQLite it waits for its turn to write. [Store.Migrate] calls it; an
// application that migrates with a tool should call it itself.
func (s *Store) Check(ctx context.Context) error {
	own := s.checkOwnTables(ctx, s.db, callMigrate)
	if own != nil && code(own) == "" {
		return fmt.Errorf("sqlstore: %w", own) // no answer of the database
	}
	return s.checkRest(ctx, own)
}

// checkRest checks everything but the columns of the store's own tables; own says what is wrong
// with those.
func (s *Store) checkRest(ctx context.Context, own error) error {
	var opts *sql.TxOptions
	if s.dialect == PostgreSQL {
		opts = readCommitted
	}
	var p *probe
	var warnings []string
	err := s.transact(ctx, opts, func(tx txn) error {
		p, warnings = &probe{ctx: ctx, tx: tx.Tx, d: s.dialect}, nil
		switch {
		case !p.server():
		case own != nil:
			p.fault("%w", own)
		default:
			p.rights(s.names)
		}
		warn := func(warning string) { warnings = append(warnings, warning) }
		p.accounts(s.accounts, s.hashLength, warn)
		if s.dialect == SQLite && own == nil {
			p.file(s.sql.lockDatabase, warn)
		}
		return cmp.Or(p.broken, errNothing)
	})
	if !errors.Is(err, errNothing) {
		return err
	}
	logger := cmp.Or(s.logger, slog.Default())
	for _, warning := range warnings {
		logger.WarnContext(ctx, "sqlstore: "+warning)
	}
	return errors.Join(p.faults...)
}

// accounts asks the Accounts.
func (p *probe) accounts(a Accounts, hashLength int, warn func(string)) {
	checker, ok := a.(Checker)
	if !ok || p.broken != nil {
		return
	}
	err := checker.Check(p.ctx, p.tx, hashLength, warn)
	switch {
	case err == nil:
	case lostToAnother(err), p.ctx.Err() != nil:
		p.broken = err
	case len(p.faults) == 0 || err.Error() != errors.Join(p.faults...).Error(): // both check the kind of database
		p.faults = append(p.faults, err)
	}
}

// A probe queries the database in one transaction, and collects faults.
type probe struct {
	ctx    context.Context
	tx     *sql.Tx
	d      Dialect
	faults []error
	broken error // why no more queries are possible
}

func (p *probe) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf("sqlstore: "+format, args...))
}

// result returns all faults, or the error that ended the check.
func (p *probe) result() error {
	return cmp.Or(p.broken, errors.Join(p.faults...))
}

// refusal makes a call and returns the database's error, if any. The transaction can be used after
// it.
func (p *probe) refusal(call func() error) error {
	if p.broken != nil {
		return p.broken
	}
	exec := func(query string) bool {
		if p.d == PostgreSQL { // a refusal ends its transaction
			_, p.broken = p.tx.ExecContext(p.ctx, query)
		}
		return p.broken == nil
	}
	if !exec("SAVEPOINT recovery_check") {
		return p.broken
	}
	err := call()
	switch {
	case err == nil:
		exec("RELEASE SAVEPOINT recovery_check")
	case code(err) == "" || lostToAnother(err) || p.ctx.Err() != nil: // no answer to the question
		p.broken = err
	default:
		exec("ROLLBACK TO SAVEPOINT recovery_check")
		err = shown(err)
	}
	return err
}

// shown returns err with the database's own words if they are only about the statement. Other words
// may contain values of rows, or the user who was refused.
func shown(err error) error {
	switch c := code(err); {
	case isDenied(err):
		return hide(err)
	case len(c) == 5 && strings.HasPrefix(c, "42"), c == "55000", // PostgreSQL: the statement, a view
		c == "1", // SQLite
		c == "MySQL 1054", c == "MySQL 1064", c == "MySQL 1146", c == "MySQL 1305", c == "MySQL 1288", c == "MySQL 1348", c == "MySQL 1471":
		return err
	}
	return hide(err)
}

// try executes a statement that finds no row. On SQLite it is only compiled, which takes no lock.
func (p *probe) try(query string, args ...any) error {
	if p.d == SQLite {
		query = "EXPLAIN QUERY PLAN " + query
	}
	if strings.HasPrefix(query, "SELECT") { // with ExecContext, go-sql-driver may wait for ever
		_, err := p.read(query, args...)
		return err
	}
	return p.refusal(func() error {
		_, err := p.tx.ExecContext(p.ctx, query, args...)
		return err
	})
}

// A result holds the rows of a query as texts; NULL is "".
type result struct {
	columns []string // names
	types   []string // names in upper case, "" where the driver has none
	rows    [][]string
}

func (p *probe) read(query string, args ...any) (a result, err error) {
	err = p.refusal(func() error {
		rows, err := p.tx.QueryContext(p.ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		types, err := rows.ColumnTypes()
		if err != nil {
			return err
		}
		for _, t := range types {
			a.columns = append(a.columns, t.Name())
			a.types = append(a.types, strings.ToUpper(t.DatabaseTypeName()))
		}
		for rows.Next() {
			values, targets := make([]sql.NullString, len(types)), make([]any, len(types))
			for i := range values {
				targets[i] = &values[i]
			}
			if err := rows.Scan(targets...); err != nil {
				return err
			}
			row := make([]string, len(types))
			for i, v := range values {
				row[i] = v.String
			}
			a.rows = append(a.rows, row)
		}
		return rows.Err()
	})
	return a, err
}

// column returns one column of all rows.
func (a result) column(name string) (values []string) {
	for i, column := range a.columns {
		if !strings.EqualFold(column, name) {
			continue
		}
		for _, row := range a.rows {
			values = append(values, row[i])
		}
	}
	return values
}

// server checks the kind and version of the database, and reports whether it has the dialect.
func (p *probe) server() bool {
	a, _ := p.read("SELECT version()")
	if len(a.rows) == 0 {
		a, _ = p.read("SELECT 'SQLite ' || sqlite_version()")
	}
	if p.broken != nil {
		return false
	}
	if len(a.rows) == 0 {
		p.fault("the Dialect is %s, but the store does not know this database", p.d)
		return false
	}
	v := parseVersion(a.rows[0][0])
	if v.dialect != p.d {
		p.fault("the Dialect is %s, but the database is %s", p.d, v)
		return false
	}
	if least := oldest[v.product]; v.major < least.major || v.major == least.major && v.minor < least.minor {
		p.fault("%s is too old: the store needs %s", v, least)
	}
	return true
}

// A version is a kind of server and its version.
type version struct {
	product      string
	dialect      Dialect
	major, minor int
}

func (v version) String() string {
	if v.dialect == 0 {
		return v.product
	}
	return fmt.Sprintf("%s %d.%d", v.product, v.major, v.minor)
}

var oldest = map[string]version{
	"PostgreSQL": {"PostgreSQL", PostgreSQL, 12, 0},
	"MySQL":      {"MySQL", MySQL, 8, 0},
	"MariaDB":    {"MariaDB", MySQL, 10, 6},
	"SQLite":     {"SQLite", SQLite, 3, 35},
}

// parseVersion reads "PostgreSQL 15.2 on …", "8.0.36", "10.11.19-MariaDB", or "SQLite 3.45.1".
func parseVersion(text string) (v version) {
	name, rest, _ := strings.Cut(text, " ")
	switch {
	case name == "PostgreSQL", name == "SQLite":
		v = oldest[name]
		text = rest
	case strings.Contains(text, "MariaDB"):
		v = oldest["MariaDB"]
	case text != "" && '0' <= text[0] && text[0] <= '9':
		v = oldest["MySQL"]
	default:
		return version{product: name}
	}
	v.minor = 0 // "16beta1" has none
	_, _ = fmt.Sscanf(text, "%d.%d", &v.major, &v.minor)
	return v
}

// rights tries to insert, update and delete in each of the store's tables.
func (p *probe) rights(n names) {
	for _, t := range tablesOf(p.d) {
		name, column, all := n.in(t.name), t.columns[0], strings.Join(t.columns, ", ")
		for _, statement := range []string{
			"INSERT INTO " + name + " (" + all + ") SELECT " + all + " FROM " + name,
			"UPDATE " + name + " SET " + column + " = " + column,
			"DELETE FROM " + name,
		} {
			err := p.try(statement + " WHERE 1 = 0")
			switch {
			case err == nil:
				continue
			case isReadOnly(err):
				p.fault("%w", hide(err))
				return
			case isDenied(err):
				p.fault("the store's table %s: %s: %w", name, grantAll, hide(err))
			default:
				p.fault("the store's table %s cannot be written: %w", name, hide(err))
			}
			break
		}
	}
}

// file checks that SQLite's file can be written, and the settings of the connection. It must come
// last, because it locks the database.
func (p *probe) file(lock string, warn func(string)) {
	if p.broken != nil {
		return
	}
	if _, err := p.tx.ExecContext(p.ctx, lock); isReadOnly(err) { // a busy database is no fault
		p.fault("%w", hide(err))
	}
	pragma := func(name string) string {
		a, _ := p.read("PRAGMA " + name)
		if len(a.rows) == 0 {
			return ""
		}
		return strings.ToUpper(a.rows[0][0])
	}
	journal := pragma("journal_mode")
	if journal == "MEMORY" { // the database is in memory too
		return
	}
	if journal != "" && journal != "WAL" {
		warn("SQLite's journal_mode is " + journal + ", so readers and writers wait for each other: set WAL in the DSN")
	}
	if pragma("busy_timeout") == "0" {
		warn("SQLite's busy_timeout is 0, so calls fail while another writes: set 5000 in the DSN")
	}
	if level := map[string]string{"0": "OFF", "1": "NORMAL"}[pragma("synchronous")]; level != "" {
		warn("SQLite's synchronous is " + level + ", so a power failure loses what was committed: set FULL in the DSN")
	}
}
