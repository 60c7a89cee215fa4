package dbtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// wantText makes a call and wants its error to contain one of the texts. The error must not say
// that the outcome is unknown.
func wantText(t *testing.T, store *sqlstore.Store, texts ...string) {
	t.Helper()
	err := store.Enqueue(t.Context(), request(t0), recovery.Charges{
		{Scope: recovery.ScopeClient, Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 100, Every: 1e9}},
	})
	if err == nil {
		t.Fatal("the call succeeded")
	}
	if errors.Is(err, sqlstore.ErrUnknownOutcome) {
		t.Errorf("nothing was done, but it is said to be unknown: %v", err)
	}
	for _, text := range texts {
		if strings.Contains(err.Error(), text) {
			t.Log(err)
			return
		}
	}
	t.Errorf("the error says %q, not one of %q", err, texts)
}

// An error names what is missing, in the database's own words.
func TestErrorNamesWhatIsMissing(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		execute(t, db, "ALTER TABLE recovery_jobs RENAME COLUMN portal TO portals")
		wantText(t, store,
			`column "portal" of relation "recovery_jobs" does not exist`, "Unknown column 'portal'",
			"table recovery_jobs has no column named portal")
		execute(t, db, "DROP TABLE recovery_jobs")
		wantText(t, store,
			`relation "recovery_jobs" does not exist`, `.recovery_jobs' doesn't exist`, "no such table: recovery_jobs")
		execute(t, db, "ALTER TABLE users RENAME COLUMN email TO mail")
		_, err := store.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByEmail, Typed: "a@example.com", Canonical: "a@example.com", Max: 1})
		is.True(err != nil)
		t.Log(err)
		is.True(strings.Contains(err.Error(), "email")) // the column
		is.True(!strings.Contains(err.Error(), "@"))    // no value
	})
}

// An error says that a user has no right, cannot log in or has too many connections.
func TestErrorSaysWhyAUserIsRefused(t *testing.T) {
	databases.OnEachOf(t, big, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		p, owner := databases.Prepared(t, s)
		poor, user := asPoor(t, s.Dialect, p, owner, []string{
			"SELECT, INSERT, UPDATE, DELETE ON recovery_limits", "SELECT, INSERT, UPDATE, DELETE ON users",
		})
		db := poor.Open(t)
		store := databases.StoreOn(t, s.Dialect, db, "")
		wantText(t, store, "permission denied for table recovery_jobs", "INSERT command denied for table")
		is.NoErr(db.Close())

		execute(t, owner, map[sqlstore.Dialect]string{
			sqlstore.PostgreSQL: "ALTER ROLE " + user + " CONNECTION LIMIT 0",
			sqlstore.MySQL:      "GRANT USAGE ON *.* TO " + user + " WITH MAX_USER_CONNECTIONS 1",
		}[s.Dialect])
		db = poor.Open(t)
		if s.Dialect == sqlstore.MySQL { // which has no limit of 0
			held, err := db.Conn(t.Context())
			is.NoErr(err)
			defer held.Close()
		}
		wantText(t, databases.StoreOn(t, s.Dialect, db, ""), "it has too many connections")

		nobody := placeOf(t, p, "nobody_of_this_name")
		wantText(t, databases.StoreOn(t, s.Dialect, nobody.Open(t), ""), "the login was refused")
	})
}

// An unreachable server did nothing, and its address is not in the error.
func TestErrorOfAServerThatIsAway(t *testing.T) {
	databases.OnEachOf(t, big, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		const addr = "127.0.0.1:1" // nothing listens there
		dsn := "postgres://app@" + addr + "/app?sslmode=disable"
		driver := "pgx"
		switch s.Name {
		case "MariaDB":
			driver, dsn = "mysql", "app@tcp("+addr+")/app"
		case "PostgreSQL with lib_pq":
			driver = "postgres"
		}
		err := databases.StoreOn(t, s.Dialect, databases.OpenDB(t, driver, dsn), "").Enqueue(t.Context(), request(t0), nil)
		is.True(err != nil)
		is.Equal(err.Error(), "sqlstore: no connection to the database: connection refused")
		is.True(!errors.Is(err, sqlstore.ErrUnknownOutcome))
	})
}

// An error says that a session may not write.
func TestErrorOfAReadOnlyDatabase(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		switch {
		case s.Dialect == sqlstore.MySQL:
			t.Skip("it would be the whole server, for everyone")
		case s.Name == "PostgreSQL with lib_pq":
			t.Skip("the driver begins with READ WRITE, whatever the session's default is")
		}
		store, db := databases.Open(t, s)
		db.SetMaxOpenConns(1)
		execute(t, db, map[sqlstore.Dialect]string{
			sqlstore.SQLite: "PRAGMA query_only = 1", sqlstore.PostgreSQL: "SET default_transaction_read_only = on",
		}[s.Dialect])
		wantText(t, store, "the database is read-only")
	})
}

// SQLite's files can be full, locked, damaged, or no database at all.
func TestErrorsOfSQLiteFiles(t *testing.T) {
	databases.OnEachOf(t, lite, func(t *testing.T, s databases.Server) {
		t.Run("full", func(t *testing.T) {
			is := is.New(t)
			store, db := databases.Open(t, s)
			db.SetMaxOpenConns(1)
			execute(t, db, "PRAGMA max_page_count = 1") // as many as there are
			var err error
			for range 10_000 {
				if err = store.Enqueue(t.Context(), request(t0), nil); err != nil {
					break
				}
			}
			is.True(err != nil)
			is.Equal(err.Error(), "sqlstore: the database refused with code 13: the disk is full")
			is.True(!errors.Is(err, sqlstore.ErrUnknownOutcome))
		})
		t.Run("locked", func(t *testing.T) {
			is := is.New(t)
			p, db := databases.Prepared(t, s)
			holder, err := db.Conn(t.Context())
			is.NoErr(err)
			defer holder.Close()
			_, err = holder.ExecContext(t.Context(), "BEGIN IMMEDIATE")
			is.NoErr(err)
			p.DSN = strings.NewReplacer("busy_timeout(10000)", "busy_timeout(10)", "busy_timeout=10000", "busy_timeout=10").Replace(p.DSN)
			wantText(t, databases.StoreOn(t, s.Dialect, p.Open(t), ""), "the data is locked by another connection")
		})
		t.Run("no database", func(t *testing.T) {
			is := is.New(t)
			p := s.Place(t)
			path := filepath.Join(t.TempDir(), "none.db")
			is.NoErr(os.WriteFile(path, []byte(strings.Repeat("this is no database\n", 1000)), 0o600))
			p.DSN = "file:" + path
			wantText(t, databases.StoreOn(t, s.Dialect, p.Open(t), ""), "the file is not a SQLite database")
		})
		t.Run("no directory", func(t *testing.T) {
			p := s.Place(t)
			p.DSN = "file:" + filepath.Join(t.TempDir(), "missing", "x.db")
			wantText(t, databases.StoreOn(t, s.Dialect, p.Open(t), ""), "the database file cannot be opened")
		})
	})
}

// If the server checks a constraint at the COMMIT and refuses it, the outcome is certain.
func TestFailureAtTheCommitIsCertain(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		if s.Dialect == sqlstore.MySQL {
			t.Skip("MariaDB checks at once")
		}
		is := is.New(t)
		store, db := databases.Open(t, s)
		db.SetMaxOpenConns(1) // for SQLite's setting
		execute(t, db,
			"CREATE TABLE parents (id VARCHAR(64) PRIMARY KEY)",
			"CREATE TABLE children (id VARCHAR(64) REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
			map[sqlstore.Dialect]string{
				sqlstore.PostgreSQL: `CREATE FUNCTION orphan() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO children VALUES (NEW.id); RETURN NEW; END'`,
				sqlstore.SQLite:     "PRAGMA foreign_keys = ON",
			}[s.Dialect],
			map[sqlstore.Dialect]string{
				sqlstore.PostgreSQL: "CREATE TRIGGER orphans AFTER INSERT ON recovery_jobs FOR EACH ROW EXECUTE FUNCTION orphan()",
				sqlstore.SQLite:     "CREATE TRIGGER orphans AFTER INSERT ON recovery_jobs BEGIN INSERT INTO children VALUES (NEW.id); END",
			}[s.Dialect],
		)
		wantText(t, store, "a constraint forbids it")
		is.Equal(texts(t, db, "SELECT COUNT(*) FROM recovery_jobs"), []string{"0"})
	})
}
