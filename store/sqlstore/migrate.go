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
		return hideInMigrate(ctx, err)
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

// migrated returns the version that Migrate brought the tables to.
func (s *Store) migrated(ctx context.Context, conn *sql.Conn) (int, error) {
	var version sql.NullInt64
	err := conn.QueryRowContext(ctx, s.names.in("SELECT MAX(version) FROM recovery_migrations")).Scan(&version)
	return int(version.Int64), hideInMigrate(ctx, err)
}

// alone runs f while no other instance migrates. On MySQL, whose DDL ends a transaction, the
// connection holds the lock; elsewhere the transaction does.
func (s *Store) alone(ctx context.Context, conn *sql.Conn, f func(exec func(string) error) error) (err error) {
	exec := func(statement string) error {
		_, err := conn.ExecContext(ctx, s.names.in(statement))
		return hideInMigrate(ctx, err)
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
			return hideInMigrate(ctx, err)
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
			return hideInMigrate(ctx, err)
		}
	}
	if err := f(exec); err != nil {
		return err
	}
	return exec("COMMIT")
}
