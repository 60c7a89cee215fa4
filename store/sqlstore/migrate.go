package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// Migrate brings the store's tables up to date and then calls [Store.Check], so the user table must
// be there. Any number of instances may call it at every start, even at once: they wait for each
// other. If the tables are up to date or newer, Migrate does not wait, and needs only the right to
// read them. Migrate records what it did in the table recovery_migrations.
//
// Without recovery_migrations, Migrate leaves complete tables alone: a tool made them, and must
// upgrade them too. To hand tables of Migrate over to a tool, let the tool run the files of
// [WriteMigrations], which skip what exists, and drop recovery_migrations.
func (s *Store) Migrate(ctx context.Context) error {
	if err := s.makeTables(ctx); err != nil {
		return err
	}
	return s.checkRest(ctx, nil)
}

func (s *Store) makeTables(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := s.migrate(ctx)
		if err == nil {
			err = s.checkOwnTables(ctx, s.db, "Migrate made it once: run the files of WriteMigrations, or "+
				"DELETE FROM recovery_migrations and start again; both skip tables that exist")
		}
		if err == nil {
			return nil
		}
		if !lostToAnother(err) || ctx.Err() != nil || attempt == s.attempts {
			return fmt.Errorf("sqlstore: migrate: %w", err)
		}
		pause(ctx, attempt)
	}
}

func (s *Store) migrate(ctx context.Context) error {
	conn, err := s.db.Conn(ctx) // may fail on SQLite too: switching to WAL does not wait
	if err != nil {
		return plain(ctx, err)
	}
	defer conn.Close()
	all := migrationsOf(s.dialect)
	switch done, err := s.migrated(ctx, conn); {
	case err == nil && done >= len(all):
		return nil
	case err != nil && (code(err) == "" || lostToAnother(err)):
		return err
	case err != nil: // the table is missing, or not this role's
		if own := s.checkOwnTables(ctx, conn, callMigrate); own == nil || isDenied(own) {
			return own
		}
	}
	err = s.alone(ctx, conn, func(exec func(string) error) error {
		if err := exec("CREATE TABLE IF NOT EXISTS recovery_migrations (version INTEGER NOT NULL PRIMARY KEY)"); err != nil {
			return err
		}
		done, err := s.migrated(ctx, conn)
		if err != nil {
			return err
		}
		for _, m := range all[min(done, len(all)):] {
			for statement := range strings.SplitSeq(strings.TrimSuffix(m.up, ";\n"), ";\n") {
				if err := exec(statement); err != nil {
					return fmt.Errorf("version %d: %w", m.version, err)
				}
			}
			if err := exec(fmt.Sprintf("INSERT INTO recovery_migrations (version) VALUES (%d)", m.version)); err != nil {
				return err
			}
		}
		return nil
	})
	if isDenied(err) {
		err = fmt.Errorf("%w: grant CREATE, or run the files of WriteMigrations with another role", err)
	}
	return err
}

// plain returns err with a text that may be logged: the database's answer, or that there was none.
func plain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case code(err) != "":
		return hide(err)
	case ctx.Err() != nil:
		return ctx.Err() // drivers word it differently
	}
	return noConnection(err)
}

// migrated returns the version that Migrate brought the tables to.
func (s *Store) migrated(ctx context.Context, conn *sql.Conn) (int, error) {
	var version sql.NullInt64
	err := conn.QueryRowContext(ctx, s.names.in("SELECT MAX(version) FROM recovery_migrations")).Scan(&version)
	return int(version.Int64), plain(ctx, err)
}

// alone runs f while no other instance migrates. On MySQL, whose DDL ends a transaction, the
// connection holds the lock; elsewhere the transaction does.
func (s *Store) alone(ctx context.Context, conn *sql.Conn, f func(exec func(string) error) error) (err error) {
	exec := func(statement string) error {
		_, err := conn.ExecContext(ctx, s.names.in(statement))
		return plain(ctx, err)
	}
	// A connection that keeps its lock or transaction must not return to the pool.
	release := func(statement string) {
		if _, err := conn.ExecContext(context.WithoutCancel(ctx), statement); err != nil {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}
	lock := s.names.prefix + "migrations"
	if s.dialect == MySQL {
		defer release("DO RELEASE_LOCK('" + lock + "')")
		var got sql.NullInt64
		if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK('"+lock+"', 60)").Scan(&got); err != nil {
			return plain(ctx, err)
		}
		if got.Int64 != 1 {
			return errors.New("another instance has been migrating for a minute")
		}
		return f(exec)
	}
	begin := []string{"BEGIN IMMEDIATE"}
	if s.dialect == PostgreSQL { // READ COMMITTED, to see what others did before the lock was free
		begin = []string{"BEGIN ISOLATION LEVEL READ COMMITTED", "SELECT pg_advisory_xact_lock(hashtext('" + lock + "'))"}
	}
	defer func() {
		if err != nil {
			release("ROLLBACK")
		}
	}()
	for _, statement := range begin {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return plain(ctx, err)
		}
	}
	if err := f(exec); err != nil {
		return err
	}
	return exec("COMMIT")
}

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
		return plain(ctx, err)
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
