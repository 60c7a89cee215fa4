package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed migrations
var migrations embed.FS

// Migrations returns the store's tables as numbered .sql files ("00001_recovery.sql"), for goose
// and tools like it. They have the default prefix, and no statement to go back.
func Migrations(d Dialect) fs.FS {
	name := map[Dialect]string{PostgreSQL: "postgresql", MySQL: "mysql", SQLite: "sqlite"}[d]
	sub, err := fs.Sub(migrations, "migrations/"+name)
	if err != nil {
		panic(err) // d is none of the dialects
	}
	return sub
}

// Migrate brings the store's tables up to date. It may be called at every start, by any number of
// instances at once: they wait for each other, unless the tables are up to date; then nothing but
// the right to read is needed. What was done is written down in the table recovery_migrations, so a
// database is migrated either by Migrate or by a tool, not by both.
func (s *Store) Migrate(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		err := s.migrateOnce(ctx)
		if err == nil {
			return nil
		}
		if !lostToAnother(err) || ctx.Err() != nil || attempt == s.attempts {
			return fmt.Errorf("sqlstore: migrate: %w", err)
		}
		pause(ctx, attempt)
	}
}

func (s *Store) migrateOnce(ctx context.Context) error {
	conn, err := s.db.Conn(ctx) // SQLite's may fail too: who turns WAL on waits for nobody
	if err != nil {
		return err
	}
	defer conn.Close()
	return s.migrate(ctx, conn)
}

// The lock is held by the connection (MySQL, whose DDL ends a transaction) or by the transaction.
func (s *Store) migrate(ctx context.Context, conn *sql.Conn) (err error) {
	exec := func(query string, args ...any) error {
		_, err := conn.ExecContext(ctx, query, args...)
		return err
	}
	files, err := fs.Glob(Migrations(s.dialect), "*.sql")
	if err != nil {
		return err
	}
	var done sql.NullInt64
	findDone := func() error {
		return conn.QueryRowContext(ctx, "SELECT MAX(version) FROM "+s.prefix+"migrations").Scan(&done)
	}
	switch err := findDone(); {
	case err == nil && done.Int64 == int64(len(files)):
		return nil
	case err != nil && code(err) == "": // else the table is missing, as in a new database
		return err
	}
	// A connection that keeps its lock or transaction must not return to the pool.
	clean := func(query string, args ...any) {
		if _, err := conn.ExecContext(context.WithoutCancel(ctx), query, args...); err != nil {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}
	begin, end, undo := "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"
	switch s.dialect {
	case PostgreSQL:
		begin = "BEGIN ISOLATION LEVEL READ COMMITTED" // to see what was done while the lock was waited for
	case MySQL:
		begin, end, undo = "", "", ""
		defer func() { clean("DO RELEASE_LOCK(?)", s.prefix+"migrations") }()
		var locked sql.NullInt64
		if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 60)", s.prefix+"migrations").Scan(&locked); err != nil {
			return err
		}
		if locked.Int64 != 1 {
			return errors.New("another instance has been migrating for a minute")
		}
	}
	if begin != "" {
		defer func() {
			if err != nil {
				clean(undo)
			}
		}()
		if err := exec(begin); err != nil {
			return err
		}
	}
	if s.dialect == PostgreSQL {
		if err := exec("SELECT pg_advisory_xact_lock(hashtext('" + s.prefix + "migrations'))"); err != nil {
			return err
		}
	}
	if err := exec("CREATE TABLE IF NOT EXISTS " + s.prefix + "migrations (version INTEGER NOT NULL PRIMARY KEY)"); err != nil {
		return err
	}
	if err := findDone(); err != nil {
		return err
	}
	for _, name := range files { // in the order of their numbers
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			return err
		}
		if int64(version) <= done.Int64 {
			continue
		}
		text, err := fs.ReadFile(Migrations(s.dialect), name)
		if err != nil {
			return err
		}
		for statement := range strings.SplitSeq(strings.ReplaceAll(string(text), defaultPrefix, s.prefix), ";") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if err := exec(statement); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if err := exec("INSERT INTO " + s.prefix + "migrations (version) VALUES (" + strconv.Itoa(version) + ")"); err != nil {
			return err
		}
	}
	if end == "" {
		return nil
	}
	return exec(end)
}
