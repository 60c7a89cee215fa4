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
// be there. It may be called at every start, by any number of instances at once: they wait for
// each other, unless the tables are up to date or newer; then nothing but the right to read the
// store's own tables is needed. It writes what it did into the table recovery_migrations.
//
// Migrate leaves complete tables alone if there is no recovery_migrations: a tool made them, and
// goes on to upgrade them. To hand tables of Migrate over to a tool, let it run the files of
// [WriteMigrations], which pass over what is there, and drop recovery_migrations.
func (s *Store) Migrate(ctx context.Context) error {
	if err := s.makeTables(ctx); err != nil {
		return err
	}
	return s.check(ctx, nil)
}

func (s *Store) makeTables(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := s.migrate(ctx)
		if err == nil {
			err = s.checkTables(ctx, s.db)
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
	conn, err := s.db.Conn(ctx) // SQLite's may fail too: who turns WAL on waits for nobody
	if err != nil {
		return err
	}
	defer conn.Close()
	all := migrationsOf(s.dialect)
	switch done, err := s.migrated(ctx, conn); {
	case err == nil && done >= len(all):
		return nil
	case err != nil && (code(err) == "" || lostToAnother(err)): // else the table is missing, or not this role's
		return err
	case err != nil && s.checkTables(ctx, conn) == nil:
		return nil
	}
	return s.alone(ctx, conn, func(exec func(string) error) error {
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
}

// migrated returns the version that Migrate brought the tables to.
func (s *Store) migrated(ctx context.Context, conn *sql.Conn) (int, error) {
	var version sql.NullInt64
	err := conn.QueryRowContext(ctx, s.names.in("SELECT MAX(version) FROM recovery_migrations")).Scan(&version)
	return int(version.Int64), err
}

// alone runs f while no other instance migrates. The lock is held by the connection (MySQL, whose
// DDL ends a transaction) or by the transaction.
func (s *Store) alone(ctx context.Context, conn *sql.Conn, f func(exec func(string) error) error) (err error) {
	exec := func(statement string) error {
		_, err := conn.ExecContext(ctx, s.names.in(statement))
		return err
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
			return err
		}
		if got.Int64 != 1 {
			return errors.New("another instance has been migrating for a minute")
		}
		return f(exec)
	}
	begin := []string{"BEGIN IMMEDIATE"}
	if s.dialect == PostgreSQL { // READ COMMITTED, to see what was done while the lock was waited for
		begin = []string{"BEGIN ISOLATION LEVEL READ COMMITTED", "SELECT pg_advisory_xact_lock(hashtext('" + lock + "'))"}
	}
	defer func() {
		if err != nil {
			release("ROLLBACK")
		}
	}()
	for _, statement := range begin {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if err := f(exec); err != nil {
		return err
	}
	return exec("COMMIT")
}

// A queryer is a *sql.DB, *sql.Conn or *sql.Tx.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// checkTables returns an error that names every table and the columns that are missing, and says
// what to do. It needs the right to read the store's tables.
func (s *Store) checkTables(ctx context.Context, q queryer) error {
	finds := func(columns, table string) error {
		err := q.QueryRowContext(ctx, s.names.in("SELECT "+columns+" FROM "+table+" WHERE 1 = 0")).Scan()
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	}
	var faults []error
	fault := func(text string, err error) { faults = append(faults, fmt.Errorf("%s: %w", s.names.in(text), err)) }
	const again = "drop recovery_jobs, recovery_resets, recovery_limits and recovery_migrations and migrate again; " +
		"the requests and tokens in them are lost"
	for _, t := range tablesOf(s.dialect) {
		err := finds(strings.Join(t.columns, ", "), t.name)
		if err == nil {
			continue
		}
		if code(err) == "" {
			return err // no answer of the database
		}
		if err := finds("1", t.name); err != nil {
			fault("the table "+t.name+" is missing or cannot be read: call Store.Migrate, or run the files of WriteMigrations. "+
				"If it was there once, "+again, err)
			continue
		}
		for _, column := range t.columns {
			if err := finds(column, t.name); err != nil {
				fault("the table "+t.name+" has no column "+column+" that can be read: run the newer files of WriteMigrations. "+
					"If an unreleased build made it, "+again, err)
			}
		}
	}
	return errors.Join(faults...)
}
