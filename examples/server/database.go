package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"example.com/recovery"
	"example.com/recovery/store/memstore"
	"example.com/recovery/store/sqlstore"
)

// A database is where accounts and tokens are kept.
type database interface {
	recovery.Store
	// addAccounts adds those that are not there yet.
	addAccounts(ctx context.Context, accounts []recovery.Account, hash string) error
	// passwordHash returns the hash of the account with the ID.
	passwordHash(ctx context.Context, id string) (string, error)
	// problem returns why no request can be served, or "" if all is well. It must be cheap.
	problem(ctx context.Context) string
	close() error
}

// open returns the database that -db names, and the name without a password.
func open(ctx context.Context, name string) (database, string, error) {
	scheme, rest, _ := strings.Cut(name, ":")
	var driver, dsn, shown string
	var dialect sqlstore.Dialect
	switch scheme {
	case "memory":
		return &memory{memstore.New()}, "memory, forgotten when the program ends", nil
	case "sqlite":
		path, err := sqlitePath(rest)
		if err != nil {
			return nil, "", err
		}
		driver, dialect, shown = "sqlite", sqlstore.SQLite, "sqlite:"+path
		dsn = "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	case "postgres", "postgresql":
		u, err := url.Parse(name)
		if err != nil {
			return nil, "", errors.New("-db must be a URL such as postgres://user:password@127.0.0.1:5432/name")
		}
		driver, dialect, dsn, shown = "pgx", sqlstore.PostgreSQL, name, u.Redacted()
	case "mysql":
		u, err := url.Parse(name)
		if err != nil || u.Host == "" {
			return nil, "", errors.New("-db must be a URL such as mysql://user:password@127.0.0.1:3306/name")
		}
		c := mysql.NewConfig()
		c.User, c.Net, c.Addr, c.DBName = u.User.Username(), "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
		c.Passwd, _ = u.User.Password()
		driver, dialect, dsn, shown = "mysql", sqlstore.MySQL, c.FormatDSN(), u.Redacted()
	default:
		return nil, "", fmt.Errorf("-db must be sqlite:FILE, postgres://…, mysql://… or memory, is %q", scheme)
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, "", err
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	d, err := newRelational(ctx, db, dialect)
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("open %s: %w", shown, err), db.Close())
	}
	return d, shown, nil
}

// sqlitePath returns the file, by default one in the user's cache directory.
func sqlitePath(path string) (string, error) {
	if path != "" {
		return filepath.Abs(path)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("-db sqlite: needs a file: %w", err)
	}
	dir := filepath.Join(cache, "recovery-example")
	return filepath.Join(dir, "server.db"), os.MkdirAll(dir, 0o700)
}

// relational is a SQL database with a user table of the example's own.
type relational struct {
	*sqlstore.Store
	db      *sql.DB
	dialect sqlstore.Dialect
}

const createUsers = `CREATE TABLE IF NOT EXISTS example_users (
	id            VARCHAR(64) NOT NULL PRIMARY KEY,
	username      VARCHAR(254) NOT NULL UNIQUE,
	email         VARCHAR(254) NOT NULL,
	password_hash VARCHAR(255) NOT NULL,
	active        SMALLINT NOT NULL
)`

func newRelational(ctx context.Context, db *sql.DB, dialect sqlstore.Dialect) (*relational, error) {
	users := sqlstore.Table{
		Name: "example_users", ID: "id", Username: "username", Email: "email", PasswordHash: "password_hash",
		CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact, // stored in canonical form
		Active: "active = 1", EmailVerified: sqlstore.Always,
	}
	accounts, err := users.Accounts(dialect)
	if err != nil {
		return nil, err
	}
	store, err := sqlstore.New(db, dialect, accounts, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	create := createUsers
	if dialect == sqlstore.MySQL { // the default collation takes e for é
		create += " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
	}
	if _, err := db.ExecContext(ctx, create); err != nil {
		return nil, err
	}
	if err := createIndex(ctx, db, dialect); err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx); err != nil {
		return nil, err
	}
	return &relational{Store: store, db: db, dialect: dialect}, nil
}

func createIndex(ctx context.Context, db *sql.DB, dialect sqlstore.Dialect) error {
	const index = "example_users_email ON example_users (email)"
	if dialect != sqlstore.MySQL {
		_, err := db.ExecContext(ctx, "CREATE INDEX IF NOT EXISTS "+index)
		return err
	}
	var n int
	err := db.QueryRowContext(ctx, `SELECT COUNT(*) FROM information_schema.statistics
		WHERE table_schema = DATABASE() AND index_name = 'example_users_email'`).Scan(&n)
	if err == nil && n == 0 {
		_, err = db.ExecContext(ctx, "CREATE INDEX "+index)
	}
	return err
}

// insertBatch is how many accounts one statement adds.
const insertBatch = 500

func (r *relational) addAccounts(ctx context.Context, accounts []recovery.Account, hash string) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	for len(accounts) > 0 {
		n := min(insertBatch, len(accounts))
		var rows []string
		var args []any
		for _, a := range accounts[:n] {
			active := 0
			if a.Active {
				active = 1
			}
			rows = append(rows, "("+r.arg(len(args)+1)+", "+r.arg(len(args)+2)+", "+r.arg(len(args)+3)+", "+r.arg(len(args)+4)+", "+r.arg(len(args)+5)+")")
			args = append(args, a.ID, a.Username, a.Email, hash, active)
		}
		insert, tail := "INSERT INTO", " ON CONFLICT DO NOTHING"
		if r.dialect == sqlstore.MySQL {
			insert, tail = "INSERT IGNORE INTO", ""
		}
		if _, err := tx.ExecContext(ctx, insert+" example_users (id, username, email, password_hash, active) VALUES "+strings.Join(rows, ", ")+tail, args...); err != nil {
			return err
		}
		accounts = accounts[n:]
	}
	return tx.Commit()
}

func (r *relational) arg(n int) string {
	if r.dialect == sqlstore.PostgreSQL {
		return fmt.Sprintf("$%d", n)
	}
	return "?"
}

func (r *relational) passwordHash(ctx context.Context, id string) (hash string, err error) {
	err = r.db.QueryRowContext(ctx, "SELECT password_hash FROM example_users WHERE id = "+r.arg(1), id).Scan(&hash)
	return hash, err
}

func (r *relational) problem(ctx context.Context) string {
	if r.db.PingContext(ctx) != nil {
		return "the database does not answer"
	}
	for _, table := range []string{"recovery_jobs", "recovery_resets", "recovery_limits", "example_users"} {
		switch _, err := r.db.ExecContext(ctx, "SELECT 1 FROM "+table+" WHERE 1 = 0"); {
		case err != nil && ctx.Err() != nil:
			return "the database does not answer"
		case err != nil:
			return "the table " + table + " cannot be read"
		}
	}
	return ""
}

func (r *relational) close() error { return r.db.Close() }

// memory is memstore, for trying out and for load tests.
type memory struct{ *memstore.Store }

func (m *memory) addAccounts(_ context.Context, accounts []recovery.Account, hash string) error {
	for _, a := range accounts {
		m.Put(a, hash)
	}
	return nil
}

func (m *memory) passwordHash(_ context.Context, id string) (string, error) {
	hash, ok := m.PasswordHash(id)
	if !ok {
		return "", errors.New("no account has the ID")
	}
	return hash, nil
}

func (m *memory) problem(context.Context) string { return "" }

func (m *memory) close() error { return nil }
