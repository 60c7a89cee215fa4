package databases

import (
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/storetest"
)

// Users is the application's table in these tests, with every optional column.
var Users = sqlstore.Table{
	Name: "users", ID: "id", Username: "username", Email: "email", PasswordHash: "password_hash", Locale: "locale",
	Tenant: "tenant", SignIn: "sign_in", CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact,
	Active: "status = 'active'", HasPassword: "local_password = 1", EmailVerified: "verified_at IS NOT NULL",
}

// CreateUsers creates the table, given the types of the key and of the texts.
const CreateUsers = `CREATE TABLE users (
	id             %[1]s PRIMARY KEY,
	tenant         %[2]s NOT NULL DEFAULT '',
	username       %[2]s NOT NULL,
	email          %[2]s NOT NULL,
	password_hash  VARCHAR(1024) NOT NULL,
	locale         VARCHAR(35) NOT NULL,
	status         VARCHAR(16) NOT NULL,
	local_password SMALLINT NOT NULL,
	sign_in        %[2]s NULL,
	verified_at    BIGINT NULL
)`

// TextType is a type of the application's text columns that compares bytes.
func TextType(d sqlstore.Dialect) string {
	if d == sqlstore.MySQL {
		return "VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
	}
	return "VARCHAR(254)"
}

// Open returns a migrated store on a new database, with an empty user table.
func Open(t testing.TB, s Server) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	db := s.Create(t)
	return OpenOn(t, s.Dialect, db, TextType(s.Dialect)), db
}

// Prepared returns a new database that has the tables of the application and the store, and a
// connection of their owner.
func Prepared(t testing.TB, s Server) (Place, *sql.DB) {
	t.Helper()
	p := s.Place(t)
	owner := p.Open(t)
	OpenOn(t, s.Dialect, owner, TextType(s.Dialect))
	return p, owner
}

// OpenOn makes the tables of the application and the store in an empty database.
func OpenOn(t testing.TB, d sqlstore.Dialect, db *sql.DB, idType string) *sqlstore.Store {
	t.Helper()
	is := is.New(t)
	_, err := db.Exec(fmt.Sprintf(CreateUsers, idType, TextType(d)))
	is.NoErr(err)
	store := StoreOn(t, d, db, "")
	is.NoErr(store.Migrate(t.Context()))
	return store
}

// StoreOn returns a store whose tables may not be there yet.
func StoreOn(t testing.TB, d sqlstore.Dialect, db *sql.DB, prefix string) *sqlstore.Store {
	t.Helper()
	return StoreWith(t, d, db, Users, sqlstore.Options{TablePrefix: prefix})
}

// StoreWith returns one on a table of accounts, which logs nothing unless the options say so.
func StoreWith(t testing.TB, d sqlstore.Dialect, db *sql.DB, table sqlstore.Table, opts sqlstore.Options) *sqlstore.Store {
	t.Helper()
	is := is.New(t)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	accounts, err := table.Accounts(d)
	is.NoErr(err)
	store, err := sqlstore.New(db, d, accounts, &opts)
	is.NoErr(err)
	return store
}

// Bind writes the placeholders of the dialect.
func Bind(d sqlstore.Dialect, query string) string {
	if d != sqlstore.PostgreSQL {
		return query
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r == '?' {
			n++
			fmt.Fprintf(&b, "$%d", n)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Put adds an account or changes it.
func Put(db *sql.DB, d sqlstore.Dialect, a recovery.Account, hash string) error {
	return PutAll(db, d, []recovery.Account{a}, hash)
}

// PutAll adds or changes many accounts, in few statements. db is an [sql.DB] or an [sql.Tx].
func PutAll(db interface {
	Exec(query string, args ...any) (sql.Result, error)
}, d sqlstore.Dialect, accounts []recovery.Account, hash string) error {
	for some := range slices.Chunk(accounts, 100) {
		var values []any
		for _, a := range some {
			status, local, verified := "disabled", 0, any(nil)
			if a.Active {
				status = "active"
			}
			if a.HasPassword {
				local = 1
			}
			if a.EmailVerified {
				verified = 1
			}
			signIn := any(a.SignIn)
			if a.SignIn == "" {
				signIn = nil // reads as ""
			}
			values = append(values, a.Tenant, a.Username, a.Email, hash, a.Locale, status, local, signIn, verified, a.ID)
		}
		insert := "INSERT INTO users (tenant, username, email, password_hash, locale, status, local_password, sign_in, verified_at, id) VALUES " +
			strings.Repeat("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?), ", len(some)-1) + "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
		if d == sqlstore.MySQL {
			insert += `ON DUPLICATE KEY UPDATE tenant = VALUES(tenant), sign_in = VALUES(sign_in), username = VALUES(username), email = VALUES(email), password_hash = VALUES(password_hash),
				locale = VALUES(locale), status = VALUES(status), local_password = VALUES(local_password), verified_at = VALUES(verified_at)`
		} else {
			insert += `ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, sign_in = excluded.sign_in, username = excluded.username, email = excluded.email, password_hash = excluded.password_hash,
				locale = excluded.locale, status = excluded.status, local_password = excluded.local_password, verified_at = excluded.verified_at`
		}
		if _, err := db.Exec(Bind(d, insert), values...); err != nil {
			return err
		}
	}
	return nil
}

// Dump returns all rows of the store's tables, ordered.
func Dump(db *sql.DB) (string, error) { return DumpOf(db, "recovery_") }

// DumpOf returns those of the store with the prefix.
func DumpOf(db *sql.DB, prefix string) (string, error) {
	var b strings.Builder
	for table, key := range map[string]string{"limits": "id", "jobs": "id", "resets": "digest"} {
		if err := dumpTable(&b, db, prefix+table, key); err != nil {
			return "", err
		}
	}
	lines := strings.SplitAfter(b.String(), "\n")
	slices.Sort(lines)
	return strings.Join(lines, ""), nil
}

func dumpTable(b *strings.Builder, db *sql.DB, table, key string) error {
	columns, rows, err := Rows(db, "SELECT * FROM "+table+" ORDER BY "+key)
	for _, row := range rows {
		b.WriteString(table)
		for i, v := range row {
			if slices.Contains([]string{"id", "digest", "version", "requester", "ticket"}, columns[i]) {
				fmt.Fprintf(b, " %x", v.String)
			} else {
				fmt.Fprintf(b, " %s", v.String)
			}
		}
		b.WriteString("\n")
	}
	return err
}

// Rows returns the columns of a query and its rows, as text.
func Rows(db *sql.DB, query string, args ...any) (columns []string, all [][]sql.NullString, err error) {
	rows, err := db.Query(query, args...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	if columns, err = rows.Columns(); err != nil {
		return nil, nil, err
	}
	for rows.Next() {
		values, targets := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, nil, err
		}
		all = append(all, values)
	}
	return columns, all, rows.Err()
}

// Tables returns the names of all tables of the database, in order.
func Tables(t testing.TB, db *sql.DB, d sqlstore.Dialect) (names []string) {
	t.Helper()
	_, rows, err := Rows(db, map[sqlstore.Dialect]string{
		sqlstore.SQLite:     "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
		sqlstore.PostgreSQL: "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
		sqlstore.MySQL:      "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
	}[d])
	is.New(t).NoErr(err)
	for _, row := range rows {
		names = append(names, row[0].String)
	}
	slices.Sort(names)
	return names
}

// HarnessOn does the application's part through db, which may be another connection than the
// store's.
func HarnessOn(d sqlstore.Dialect, store recovery.Store, db *sql.DB) storetest.Harness {
	return storetest.Harness{
		Store: store,
		Put:   func(a recovery.Account, hash string) error { return Put(db, d, a, hash) },
		Remove: func(id string) error {
			_, err := db.Exec(Bind(d, "DELETE FROM users WHERE id = ?"), id)
			return err
		},
		PasswordHash: func(id string) (string, error) { return PasswordHash(db, d, id) },
		Dump:         func() (string, error) { return Dump(db) },
	}
}

// PasswordHash returns the hash that the application has stored.
func PasswordHash(db *sql.DB, d sqlstore.Dialect, id string) (hash string, err error) {
	err = db.QueryRow(Bind(d, "SELECT password_hash FROM users WHERE id = ?"), id).Scan(&hash)
	return hash, err
}

// Empty deletes all rows of the application and the store.
func Empty(t testing.TB, db *sql.DB) {
	t.Helper()
	is := is.New(t)
	tx, err := db.Begin()
	is.NoErr(err)
	defer tx.Rollback()
	for _, table := range []string{"users", "recovery_limits", "recovery_jobs", "recovery_resets"} {
		_, err := tx.Exec("DELETE FROM " + table)
		is.NoErr(err)
	}
	is.NoErr(tx.Commit())
}
