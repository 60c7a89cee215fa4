package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// A queryer is a *sql.DB or a *sql.Conn.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// callMigrate says what to do about a table that is missing.
const callMigrate = "call Store.Migrate or run the files of WriteMigrations"

// grantAll says what to do about a right that is missing.
const grantAll = "grant SELECT, INSERT, UPDATE and DELETE on it"

// anotherVersion says what to do about a column that is missing.
const anotherVersion = "sqlstore: the tables are those of another version: run the newer files of WriteMigrations. " +
	"If an unreleased build made them, drop them and migrate again, and the requests and tokens in them are lost: " +
	"DROP TABLE IF EXISTS recovery_jobs; DROP TABLE IF EXISTS recovery_resets; " +
	"DROP TABLE IF EXISTS recovery_limits; DROP TABLE IF EXISTS recovery_migrations"

// checkOwnTables returns an error that names every missing table and column. missing says what to
// do about a table. It needs the right to read the store's tables.
func (s *Store) checkOwnTables(ctx context.Context, q queryer, missing string) error {
	finds := func(columns, table string) error {
		err := q.QueryRowContext(ctx, s.names.in("SELECT "+columns+" FROM "+table+" WHERE 1 = 0")).Scan()
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return hideInMigrate(ctx, err)
	}
	var faults []error
	fault := func(text string, err error) {
		err = fmt.Errorf("%s: %w", s.names.in(text), err)
		if len(faults) > 0 {
			err = fmt.Errorf("sqlstore: %w", err)
		}
		faults = append(faults, err)
	}
	otherVersion := false
	for _, t := range tablesOf(s.dialect) {
		err := finds(strings.Join(t.columns, ", "), t.name)
		switch {
		case err == nil:
			continue
		case code(err) == "": // no answer of the database
			return err
		case isDenied(err):
			fault("the table "+t.name+" cannot be read: "+grantAll, err)
			continue
		}
		if err := finds("1", t.name); err != nil {
			fault("the table "+t.name+" is missing: "+missing, err)
			continue
		}
		for _, column := range t.columns {
			if err := finds(column, t.name); err != nil {
				otherVersion = true
				fault("the table "+t.name+" has no column "+column, err)
			}
		}
	}
	if otherVersion {
		faults = append(faults, errors.New(s.names.in(anotherVersion)))
	}
	return errors.Join(faults...)
}
