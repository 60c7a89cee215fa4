package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

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
// it, unless the error sets p.broken.
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
		err = hideInCheck(err)
	}
	return err
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
