package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/accountstest"
)

// What docs/accounts.md shows, word for word. The tests of this file run it.

// users is the application's user table. A new password ends the account's sessions.
type users struct{ *sqlstore.Mapping }

// SetPassword works in the transaction that redeems the token: all of it happens, or nothing.
func (u users) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
	if err := u.Mapping.SetPassword(ctx, tx, id, hash); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE user_id = $1`, id)
	return err
}

// startSession starts a session, unless the hash that the log-in verified was replaced meanwhile.
func startSession(ctx context.Context, db *sql.DB, session, userID, verified string) error {
	result, err := db.ExecContext(ctx, `INSERT INTO sessions (id, user_id)
		SELECT $1, id FROM users WHERE id = $2 AND password = $3 FOR SHARE`, session, userID, verified)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errors.Join(errors.New("the password was changed: log in again"), err)
	}
	return nil
}

// people are the tables users (id bigint, name, password, disabled) and emails (user_id, address,
// main, verified). Everybody has one main address.
type people struct{}

const person = `SELECT u.id, u.name, e.address, coalesce(u.password, ''), NOT u.disabled, e.verified
	FROM users u JOIN emails e ON e.user_id = u.id AND e.main `

func (p people) FindAccounts(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
	column := map[recovery.IdentifierKind]string{recovery.ByUsername: "u.name", recovery.ByEmail: "e.address"}[q.By]
	switch {
	case q.Tenant != "": // there are no tenants
		return nil, nil
	case q.By == recovery.ByID:
		return p.AccountByID(ctx, tx, q.Canonical, false)
	case column == "":
		return nil, nil
	}
	return scan(tx.QueryContext(ctx, person+`WHERE `+column+` IN ($1, $2)
		ORDER BY (NOT u.disabled AND e.verified AND coalesce(u.password, '') <> '') DESC,
			(NOT u.disabled AND e.verified) DESC, u.id LIMIT $3`, q.Typed, q.Canonical, q.Max))
}

func (people) AccountByID(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != id {
		return nil, nil // nobody's, and PostgreSQL would end the transaction over it
	}
	query := person + `WHERE u.id = $1`
	if lock {
		query += ` FOR UPDATE` // of both rows
	}
	return scan(tx.QueryContext(ctx, query, n))
}

func (people) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
	result, err := tx.ExecContext(ctx, `UPDATE users SET password = $1 WHERE id = $2`, hash, id)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errors.Join(errors.New("no user has the ID"), err)
	}
	return nil
}

func scan(rows *sql.Rows, err error) (found []recovery.Account, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var a recovery.Account
		var hash string
		if err := rows.Scan(&a.ID, &a.Username, &a.Email, &hash, &a.Active, &a.EmailVerified); err != nil {
			return nil, err
		}
		a.HasPassword = hash != ""
		a.Version = recovery.NewVersion(hash, a.Email)
		found = append(found, a)
	}
	return found, rows.Err()
}

// On MySQL write ? for $1 to $5.
var (
	nextUnfilled = `SELECT id, name, email FROM users
		WHERE id > $1 AND (name_canonical IS NULL OR email_canonical IS NULL) ORDER BY id LIMIT 500`
	fillOne = `UPDATE users SET name_canonical = coalesce(name_canonical, $1),
		email_canonical = coalesce(email_canonical, $2) WHERE id = $3 AND name = $4 AND email = $5`
)

// fillCanonical fills both columns where they are NULL. It may be stopped, and run again.
func fillCanonical(ctx context.Context, db *sql.DB) error {
	type user struct {
		id          int64
		name, email string
	}
	for last := int64(0); ; {
		rows, err := db.QueryContext(ctx, nextUnfilled, last)
		if err != nil {
			return err
		}
		var page []user
		for rows.Next() {
			var u user
			if err := rows.Scan(&u.id, &u.name, &u.email); err != nil {
				return errors.Join(err, rows.Close())
			}
			page = append(page, u)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(page) == 0 {
			return err
		}
		for _, u := range page {
			name, email := canonical(u.name, u.email)
			if _, err := db.ExecContext(ctx, fillOne, name, email, u.id, u.name, u.email); err != nil {
				return err
			}
			last = u.id
		}
	}
}

// canonical returns what the two columns hold. It is NULL for what nobody can ask for, such as an
// address without "@".
func canonical(name, email string) (n, e sql.NullString) {
	var err error
	n.String, err = recovery.CanonicalUsername(name)
	n.Valid = err == nil
	e.String, err = recovery.CanonicalEmail(email)
	e.Valid = err == nil
	return n, e
}

// signUp writes both forms, and so must whatever changes a name or an address.
func signUp(ctx context.Context, tx *sql.Tx, name, email, hash string) error {
	n, e := canonical(name, email)
	_, err := tx.ExecContext(ctx, `INSERT INTO users (name, name_canonical, email, email_canonical, password)
		VALUES ($1, $2, $3, $4, $5)`, name, n, email, e, hash)
	return err
}

// The code that the pages do not show.

// blocks returns the blocks of code of a page in a language.
func blocks(t *testing.T, page, language string) (all []string) {
	t.Helper()
	is := is.New(t)
	text, err := os.ReadFile(filepath.Join("../../../docs", page))
	is.NoErr(err)
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	return all
}

// The code on the pages is in files that compile, and most of it runs here.
func TestPagesShowCodeThatRuns(t *testing.T) {
	var source strings.Builder
	for _, path := range []string{
		"pages_test.go", "../../../store/sqlstore/example_accounts_test.go", "../../../store/sqlstore/accountstest/example_test.go", "../../../store/memstore/memstore_test.go",
	} {
		text, err := os.ReadFile(path)
		is.New(t).NoErr(err)
		source.Write(text)
	}
	for _, page := range []string{"accounts.md", "store.md"} {
		t.Run(page, func(t *testing.T) {
			is := is.New(t)
			all := blocks(t, page, "go")
			is.True(len(all) > 0)
			for _, block := range all {
				if !strings.Contains(source.String(), block) {
					t.Errorf("%s shows code that is in none of the files:\n%s", page, block)
				}
			}
		})
	}
}

// The package's Example is the code that runs here.
func TestExampleOfAccountsIsCodeThatRuns(t *testing.T) {
	is := is.New(t)
	ours, err := os.ReadFile("pages_test.go")
	is.NoErr(err)
	example, err := os.ReadFile("../../../store/sqlstore/example_accounts_test.go")
	is.NoErr(err)
	_, text, ok := strings.Cut(string(example), "// users is the application's")
	is.True(ok)
	text, _, ok = strings.Cut(text, "\n}\n\n// An Accounts that embeds")
	is.True(ok)
	is.True(strings.Contains(string(ours), text))
}

// sessionsStore is a store on users, with an account that has two sessions and a live token.
func sessionsStore(t *testing.T) (*sqlstore.Store, *sql.DB, recovery.Redemption) {
	t.Helper()
	is := is.New(t)
	db := databases.Servers[0].Create(t)
	store := databases.OpenOn(t, sqlstore.SQLite, db, "TEXT")
	execute(t, db, `CREATE TABLE sessions (user_id TEXT NOT NULL)`)
	r := resetOf(stored(t, store, db, sqlstore.SQLite, 1), t0)
	mint(t, store, r)
	is.NoErr(spy.Err(db.Exec(`INSERT INTO sessions VALUES ($1), ($1), ('another')`, r.AccountID)))
	store, err := sqlstore.New(db, sqlstore.SQLite, users{tableOf(t, sqlstore.SQLite)}, nil)
	is.NoErr(err)
	return store, db, recovery.Redemption{Digest: r.Digest, At: t0, PasswordHash: "hash-1"}
}

func TestPageEndsSessionsWithThePassword(t *testing.T) {
	is := is.New(t)
	store, db, redemption := sessionsStore(t)
	a, err := store.Redeem(t.Context(), redemption)
	is.NoErr(err)
	is.Equal(texts(t, db, "SELECT user_id FROM sessions"), []string{"another"})
	hash, err := databases.PasswordHash(db, sqlstore.SQLite, a.ID)
	is.NoErr(err)
	is.Equal(hash, "hash-1")
}

func TestPageKeepsThePasswordIfSessionsCannotEnd(t *testing.T) {
	is := is.New(t)
	store, db, redemption := sessionsStore(t)
	execute(t, db, "ALTER TABLE sessions RENAME TO elsewhere")
	_, err := store.Redeem(t.Context(), redemption)
	is.True(err != nil)
	is.Equal(texts(t, db, "SELECT password_hash FROM users"), []string{"hash-0"})
	execute(t, db, "ALTER TABLE elsewhere RENAME TO sessions")
	_, err = store.Redeem(t.Context(), redemption)
	is.NoErr(err) // the token lives on
}

// A log-in verified the old password, and starts its session while a reset is being committed.
func TestPageStartsNoSessionDuringAReset(t *testing.T) {
	for _, s := range databases.Servers {
		if s.Dialect != sqlstore.PostgreSQL {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			is := is.New(t)
			db := s.Create(t)
			execute(t, db, `CREATE TABLE users (id bigint PRIMARY KEY, password text); INSERT INTO users VALUES (1, 'old');
				CREATE TABLE sessions (id text, user_id bigint)`)
			is.NoErr(startSession(t.Context(), db, "before", "1", "old"))
			reset, err := db.Begin()
			is.NoErr(err)
			execute(t, reset, "UPDATE users SET password = 'new'", "DELETE FROM sessions")

			done := make(chan error, 1)
			go func() { done <- startSession(t.Context(), db, "beside", "1", "old") }()
			for waiting := 0; waiting == 0 && len(done) == 0; {
				is.NoErr(db.QueryRow(`SELECT count(*) FROM pg_stat_activity
					WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO sessions%'`).Scan(&waiting))
			}
			is.NoErr(reset.Commit())
			is.True(<-done != nil)
			is.NoErr(startSession(t.Context(), db, "after", "1", "new"))
			is.Equal(texts(t, db, "SELECT id FROM sessions"), []string{"after"})
		})
	}
}

func TestPagePassesTheSuite(t *testing.T) {
	for _, s := range databases.Servers {
		if s.Dialect != sqlstore.PostgreSQL {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			db := s.Create(t)
			execute(t, db, `CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, password text, disabled boolean NOT NULL);
				CREATE TABLE emails (user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE, address text NOT NULL,
					main boolean NOT NULL, verified boolean NOT NULL)`)
			accountstest.Run(t, func(t *testing.T) accountstest.Fixture {
				execute(t, db, "DELETE FROM users")
				return accountstest.Fixture{
					DB: db, Dialect: s.Dialect, Accounts: people{}, ID: strconv.Itoa,
					Put: func(a recovery.Account, hash string) error { return putPerson(db, a, hash) },
					Remove: func(id string) error {
						_, err := db.Exec("DELETE FROM users WHERE id = $1", id)
						return err
					},
					PasswordHash: func(id string) (hash string, err error) {
						err = db.QueryRow("SELECT coalesce(password, '') FROM users WHERE id = $1", id).Scan(&hash)
						return hash, err
					},
				}
			})
		})
	}
}

func putPerson(db *sql.DB, a recovery.Account, hash string) error {
	if a.Tenant != "" || a.Locale != "" || a.SignIn != "" {
		return errors.ErrUnsupported
	}
	if !a.HasPassword {
		hash = ""
	}
	_, err := db.Exec(`WITH u AS (
			INSERT INTO users (id, name, password, disabled) VALUES ($1::bigint, $2, nullif($3, ''), $4)
			ON CONFLICT (id) DO UPDATE SET name = excluded.name, password = excluded.password, disabled = excluded.disabled
		), changed AS (
			UPDATE emails SET address = $5, verified = $6 WHERE user_id = $1::bigint AND main RETURNING user_id
		)
		INSERT INTO emails (user_id, address, main, verified) SELECT $1::bigint, $5, true, $6
			WHERE NOT EXISTS (SELECT FROM changed) UNION ALL
			SELECT $1::bigint, 'other' || $5, false, true WHERE NOT EXISTS (SELECT FROM changed)`,
		a.ID, a.Username, hash, !a.Active, a.Email, a.EmailVerified)
	return err
}

// canonicalSQL returns the page's statements that add the columns on the server's database.
func canonicalSQL(t *testing.T, d sqlstore.Dialect) []string {
	t.Helper()
	all := blocks(t, "accounts.md", "sql")
	is.New(t).Equal(len(all), 3) // PostgreSQL, MySQL, SQLite
	var statements []string
	for statement := range strings.SplitSeq(all[d-sqlstore.PostgreSQL], ";\n") {
		if strings.TrimSpace(statement) != "" {
			statements = append(statements, statement)
		}
	}
	return statements
}

// forDialect writes ? for $1 where the dialect wants it.
func forDialect(t *testing.T, d sqlstore.Dialect) {
	if d != sqlstore.MySQL {
		return
	}
	before := [2]string{nextUnfilled, fillOne}
	t.Cleanup(func() { nextUnfilled, fillOne = before[0], before[1] })
	mark := regexp.MustCompile(`\$\d`)
	nextUnfilled, fillOne = mark.ReplaceAllString(nextUnfilled, "?"), mark.ReplaceAllString(fillOne, "?")
}

// While the columns are filled, people sign up, change their names, and are found.
func TestPageFillsCanonicalColumns(t *testing.T) {
	for _, s := range databases.Servers { // one after the other, for forDialect changes the page's statements
		t.Run(s.Name, func(t *testing.T) {
			is := is.New(t)
			forDialect(t, s.Dialect)
			db := s.Create(t)
			id, text := "SERIAL PRIMARY KEY", "VARCHAR(254)"
			switch s.Dialect {
			case sqlstore.SQLite:
				id = "INTEGER PRIMARY KEY AUTOINCREMENT"
			case sqlstore.MySQL:
				id = "BIGINT AUTO_INCREMENT PRIMARY KEY"
			}
			execute(t, db, fmt.Sprintf("CREATE TABLE users (id %s, name %[2]s NOT NULL, email %[2]s NOT NULL, password %[2]s NOT NULL)", id, text))
			exec := func(query string, args ...any) {
				is.Helper()
				is.NoErr(spy.Err(db.Exec(databases.Bind(s.Dialect, query), args...)))
			}
			tx, err := db.Begin()
			is.NoErr(err)
			for i := range 1200 {
				is.NoErr(spy.Err(tx.Exec(databases.Bind(s.Dialect, "INSERT INTO users (name, email, password) VALUES (?, ?, 'h')"),
					fmt.Sprint("User", i), fmt.Sprintf("User%d@Example.com", i))))
			}
			is.NoErr(tx.Commit())
			exec("INSERT INTO users (name, email, password) VALUES (?, ?, 'h')", "No Address", "none")
			for _, statement := range canonicalSQL(t, s.Dialect) {
				exec(statement)
			}
			exec("UPDATE users SET name_canonical = 'by the application' WHERE name = 'User700'")
			done := make(chan error, 1)
			go func() { done <- fillCanonical(t.Context(), db) }()
			for i := range 50 {
				tx, err := db.Begin()
				is.NoErr(err)
				if s.Dialect == sqlstore.MySQL {
					n, e := canonical(fmt.Sprint("New", i), fmt.Sprintf("New%d@Example.com", i))
					_, err = tx.Exec(`INSERT INTO users (name, name_canonical, email, email_canonical, password) VALUES (?, ?, ?, ?, 'h')`,
						fmt.Sprint("New", i), n, fmt.Sprintf("New%d@Example.com", i), e)
				} else {
					err = signUp(t.Context(), tx, fmt.Sprint("New", i), fmt.Sprintf("New%d@Example.com", i), "h")
				}
				is.NoErr(err)
				is.NoErr(tx.Commit())
				name, old := fmt.Sprint("Changed", i), fmt.Sprint("User", i*20)
				n, _ := canonical(name, "")
				exec("UPDATE users SET name = ?, name_canonical = ? WHERE name = ?", name, n, old)
			}
			is.NoErr(<-done)
			is.NoErr(fillCanonical(t.Context(), db)) // again

			rows, err := db.Query("SELECT name, email, name_canonical, email_canonical FROM users")
			is.NoErr(err)
			defer rows.Close()
			seen := 0
			for ; rows.Next(); seen++ {
				var name, email string
				var n, e sql.NullString
				is.NoErr(rows.Scan(&name, &email, &n, &e))
				wantName, wantEmail := canonical(name, email)
				if name == "User700" {
					wantName.String = "by the application" // and kept
				}
				is.Equal(n, wantName)
				is.Equal(e, wantEmail)
			}
			is.NoErr(rows.Err())
			is.Equal(seen, 1251)

			store := databases.StoreWith(t, s.Dialect, db, sqlstore.Table{
				Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
				CanonicalUsername: "name_canonical", CanonicalEmail: "email_canonical",
				Active: sqlstore.Always, EmailVerified: sqlstore.Always,
			}, sqlstore.Options{})
			for _, q := range []recovery.AccountQuery{
				{By: recovery.ByUsername, Typed: "USER7", Canonical: "user7", Max: 9},
				{By: recovery.ByUsername, Typed: "changed1", Canonical: "changed1", Max: 9},
				{By: recovery.ByEmail, Typed: "new3@example.com", Canonical: "new3@example.com", Max: 9},
				{By: recovery.ByUsername, Typed: "No address", Canonical: "no address", Max: 9},
			} {
				found, err := store.FindAccounts(t.Context(), q)
				is.NoErr(err)
				is.Equal(len(found), 1)
			}
		})
	}
}

// The key types that the page lists, with an ID.
var pageKeys = map[sqlstore.Dialect]map[string]string{
	sqlstore.PostgreSQL: {
		"smallint": "7", "integer": "7", "bigint": "9007199254740993", "numeric(20)": "18446744073709551615",
		"uuid": uuidOf(7), "text": "Id é", "varchar(64)": "Id é", "char(36)": uuidOf(7),
	},
	sqlstore.MySQL: {
		"INT": "7", "BIGINT": "9007199254740993", "INT UNSIGNED": "4294967295", "BIGINT UNSIGNED": "18446744073709551615",
		"CHAR(36)": uuidOf(7), "VARCHAR(64)": "Id é", "VARCHAR(64) CHARACTER SET latin1": "Id é", "UUID": uuidOf(7),
	},
	sqlstore.SQLite: {"INTEGER": "9007199254740993", "TEXT": "Id é"},
}

func TestPageListsKeyTypesThatWork(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		for column, id := range pageKeys[s.Dialect] {
			t.Run(column, func(t *testing.T) {
				is := is.New(t)
				db := s.Create(t)
				execute(t, db, fmt.Sprintf(databases.CreateUsers, column, databases.TextType(s.Dialect)))
				a := recovery.Account{ID: id, Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true}
				is.NoErr(databases.Put(db, s.Dialect, a, "hash-0"))
				accounts := tableOf(t, s.Dialect)
				tx, err := db.Begin()
				is.NoErr(err)
				defer func() { _ = tx.Rollback() }()
				found, err := accounts.AccountByID(t.Context(), tx, id, true)
				is.NoErr(err)
				is.Equal(len(found), 1)
				is.Equal(found[0].ID, id)
				is.NoErr(accounts.SetPassword(t.Context(), tx, id, "hash-1"))
				is.NoErr(tx.Commit())
				is.Equal(texts(t, db, "SELECT password_hash FROM users"), []string{"hash-1"})
			})
		}
	})
}
