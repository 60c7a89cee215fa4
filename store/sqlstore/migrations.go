package sqlstore

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// A Tool is what runs the files of [WriteMigrations].
type Tool int

// The tools.
const (
	// Goose takes one file for up and down: 00001_recovery.sql.
	Goose Tool = iota + 1
	// PlainSQL is for golang-migrate, psql, mysql and sqlite3. It takes one file for up and one for
	// down: 000001_recovery.up.sql and 000001_recovery.down.sql.
	PlainSQL
)

// WriteMigrations writes numbered files for a tool into dir, which it makes if it does not exist.
// They create and drop the store's tables, with the TablePrefix and the Schema of opts, which may
// be nil. A file that exists with the same content stays; one that differs is an error. So a call
// from a newer version of this package adds only what is new.
//
// Keep the files apart from the application's own and give them a version table of their own:
//
//	goose -dir DIR -table recovery_goose postgres DSN up
//	migrate -path DIR -database 'postgres://…?x-migrations-table=recovery_migrate' up
//
// Plain SQL has none: run each up file once.
func WriteMigrations(dir string, d Dialect, tool Tool, opts *Options) error {
	n, err := namesOf(d, opts)
	if tool != Goose && tool != PlainSQL {
		err = errors.Join(err, errors.New("sqlstore: the Tool must be Goose or PlainSQL"))
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("sqlstore: write migrations: %w", err)
	}
	for _, m := range migrationsOf(d) {
		files := map[string]string{fmt.Sprintf("%05d_%s.sql", m.version, m.name): upMark + m.up + downMark + m.down}
		if tool == PlainSQL {
			stem := fmt.Sprintf("%06d_%s", m.version, m.name)
			files = map[string]string{stem + ".up.sql": m.up, stem + ".down.sql": m.down}
		}
		for name, text := range files {
			if err := writeOnce(filepath.Join(dir, name), []byte(n.in(text))); err != nil {
				return fmt.Errorf("sqlstore: write migrations: %w", err)
			}
		}
	}
	return nil
}

// writeOnce writes a file, or finds that it was written before.
func writeOnce(path string, text []byte) error {
	switch there, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist):
		return os.WriteFile(path, text, 0o644)
	case err != nil:
		return err
	case !bytes.Equal(there, text):
		return fmt.Errorf("%s exists with other content: give the options that it was written with, or an empty directory", path)
	}
	return nil
}

// The embedded files are goose's; the others are made from them.
//
//go:embed migrations
var migrationFiles embed.FS

const (
	upMark   = "-- +goose Up\n"
	downMark = "-- +goose Down\n"
)

// A migration is one step. In its SQL, with the default names, each statement ends with ";\n".
type migration struct {
	version  int
	name     string
	up, down string
}

// migrationsOf returns the migrations in order.
func migrationsOf(d Dialect) (all []migration) {
	dir := map[Dialect]string{PostgreSQL: "postgresql", MySQL: "mysql", SQLite: "sqlite"}[d]
	paths, err := fs.Glob(migrationFiles, "migrations/"+dir+"/*.sql")
	for i, p := range paths {
		var text []byte
		if text, err = migrationFiles.ReadFile(p); err != nil {
			break
		}
		m := migration{version: i + 1}
		_, m.name, _ = strings.Cut(strings.TrimSuffix(path.Base(p), ".sql"), "_")
		m.up, m.down, _ = strings.Cut(strings.TrimPrefix(string(text), upMark), downMark)
		all = append(all, m)
	}
	if err != nil {
		panic(err) // the files are in the program
	}
	return all
}

type table struct {
	name    string
	columns []string
}

var (
	tableMade  = regexp.MustCompile(`(?s)CREATE TABLE IF NOT EXISTS (\w+) \((.*?)\n\)`)
	columnMade = regexp.MustCompile(`(?m)^\t([a-z_]+) `)
)

// tablesOf returns the tables that the migrations make.
func tablesOf(d Dialect) (tables []table) {
	for _, m := range migrationsOf(d) {
		for _, made := range tableMade.FindAllStringSubmatch(m.up, -1) {
			t := table{name: made[1]}
			for _, column := range columnMade.FindAllStringSubmatch(made[2], -1) {
				t.columns = append(t.columns, column[1])
			}
			tables = append(tables, t)
		}
	}
	return tables
}
