package dbtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// peopleTable is a table without faults.
var peopleTable = sqlstore.Table{
	Name: "people", ID: "id", Username: "name", Email: "email", PasswordHash: "hash",
	CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact,
	Active: "status = 'active'", EmailVerified: "verified_at IS NOT NULL",
}

const createPeople = `CREATE TABLE people (
	id          INTEGER NOT NULL PRIMARY KEY,
	name        %[1]s,
	email       %[1]s,
	hash        VARCHAR(97),
	status      VARCHAR(16),
	number      INTEGER,
	verified_at BIGINT
)`

var indexPeople = []string{"CREATE INDEX people_name ON people (name)", "CREATE INDEX people_email ON people (email)"}

// startOn does what an application does at its start, and returns the error and the warnings.
func startOn(t *testing.T, d sqlstore.Dialect, db *sql.DB, table sqlstore.Table, opts sqlstore.Options) (warnings string, err error) {
	t.Helper()
	is := is.New(t)
	accounts, err := table.Accounts(d)
	is.NoErr(err)
	return startWith(t, d, db, accounts, opts)
}

func startWith(t *testing.T, d sqlstore.Dialect, db *sql.DB, accounts sqlstore.Accounts, opts sqlstore.Options) (warnings string, err error) {
	t.Helper()
	is := is.New(t)
	var log bytes.Buffer
	opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	store, err := sqlstore.New(db, d, accounts, &opts)
	is.NoErr(err)
	err = store.Migrate(t.Context())
	return log.String(), err
}

// A mistake is a fault of an application's table or of its mapping, which would show later.
type mistake struct {
	name string
	on   []sqlstore.Dialect // nil is all
	// create replaces texts in createPeople, in pairs.
	create []string
	// then are statements after that.
	then  []string
	table func(*sqlstore.Table)
	want  []string // parts of the error
}

var (
	all   = []sqlstore.Dialect(nil)
	pgsql = []sqlstore.Dialect{sqlstore.PostgreSQL}
	maria = []sqlstore.Dialect{sqlstore.MySQL}
	lite  = []sqlstore.Dialect{sqlstore.SQLite}
	big   = []sqlstore.Dialect{sqlstore.PostgreSQL, sqlstore.MySQL}
)

const key = "id          INTEGER NOT NULL PRIMARY KEY"

var mistakes = []mistake{
	{"no such table", all, nil, nil, func(t *sqlstore.Table) { t.Name = "persons" }, []string{`Table.Name: the table "persons": `}},
	{"no such ID", all, nil, nil, func(t *sqlstore.Table) { t.ID = "uid" }, []string{`Table.ID: the column "uid": `, "uid"}},
	{"no such user name", all, nil, nil, func(t *sqlstore.Table) { t.Username = "login" }, []string{`Table.Username: the column "login": `}},
	{"no such address", all, nil, nil, func(t *sqlstore.Table) { t.Email = "mail" }, []string{`Table.Email: the column "mail": `}},
	{"no such hash", all, nil, nil, func(t *sqlstore.Table) { t.PasswordHash = "password" }, []string{`Table.PasswordHash: the column "password": `}},
	{"no such locale", all, nil, nil, func(t *sqlstore.Table) { t.Locale = "lang" }, []string{`Table.Locale: the column "lang": `}},
	{"no such tenant", all, nil, nil, func(t *sqlstore.Table) { t.Tenant = "shop" }, []string{`Table.Tenant: the column "shop": `}},
	{"no such canonical user name", all, nil, nil, func(t *sqlstore.Table) { t.CanonicalUsername = "lower" }, []string{`Table.CanonicalUsername: the column "lower": `}},
	{"no such canonical address", all, nil, nil, func(t *sqlstore.Table) { t.CanonicalEmail = "lower" }, []string{`Table.CanonicalEmail: the column "lower": `}},

	{"an expression as a column", all, nil, nil, func(t *sqlstore.Table) { t.CanonicalEmail = "lower(email)" },
		[]string{`Table.CanonicalEmail: the column "lower(email)": `, "not an expression"}},

	{"a condition that names no column", all, nil, nil, func(t *sqlstore.Table) { t.Active = "disabled_at IS NULL" }, []string{`Table.Active: "disabled_at IS NULL": `}},
	{"a condition that is no SQL", all, nil, nil, func(t *sqlstore.Table) { t.EmailVerified = "verified_at IS" }, []string{`Table.EmailVerified: "verified_at IS": `}},
	{"a text column as a condition", all, nil, nil, func(t *sqlstore.Table) { t.Active = "status" }, []string{`Table.Active: "status" is VARCHAR`, "not a condition", "status = 'active'"}},
	{"a text as a condition", all, nil, nil, func(t *sqlstore.Table) { t.HasPassword = "'no'" }, []string{`Table.HasPassword: "'no'" is `, "not a condition"}},
	{"a number as a condition", pgsql, nil, nil, func(t *sqlstore.Table) { t.Active = "number" }, []string{`Table.Active: "number" is INT4, not a condition`}},
	{"a text in rows as a condition", lite, nil, []string{"INSERT INTO people (id, status) VALUES (1, 'active')"},
		func(t *sqlstore.Table) { t.Active = "lower(status)" }, []string{`Table.Active: "lower(status)" is TEXT, not a condition`}},
	{"a condition that is never true", all, nil, nil, func(t *sqlstore.Table) { t.EmailVerified = "1 = 0" },
		[]string{`Table.EmailVerified: "1 = 0" names no column and is never true`}},
	{"a column that is a text by mistake", []sqlstore.Dialect{sqlstore.MySQL, sqlstore.SQLite}, nil, nil, func(t *sqlstore.Table) { t.Active = `"statsu" = 'active'` },
		[]string{`Table.Active: "\"statsu\" = 'active'" names no column and is never true`}},
	{"a sign-in that is no SQL", all, nil, nil, func(t *sqlstore.Table) { t.SignIn = "provider" }, []string{`Table.SignIn: "provider": `}},

	{"a hash that does not fit", big, []string{"VARCHAR(97)", "VARCHAR(60)"}, nil, nil,
		[]string{`Table.PasswordHash: the column "hash" holds 60 characters, and a hash has up to 97: make it VARCHAR(255), or set Options.HashLength: 60 is bcrypt's`}},
	{"a hash that does not fit a domain", pgsql, []string{"hash        VARCHAR(97)", "hash        secret"}, []string{}, nil,
		[]string{`Table.PasswordHash: the column "hash" holds 60 characters`}},
	{"a hash that is binary", pgsql, []string{"VARCHAR(97)", "BYTEA"}, nil, nil, []string{`Table.PasswordHash: the column "hash" is BYTEA: it must be a text`}},

	{"an ID of BINARY(16)", maria, []string{key, "id BINARY(16) PRIMARY KEY"}, nil, nil, []string{`Table.ID: the column "id" is BINARY`}},
	{"an ID of VARBINARY(16)", maria, []string{key, "id VARBINARY(16) PRIMARY KEY"}, nil, nil, []string{`Table.ID: the column "id" is VARBINARY`}},
	{"an ID of bytea", pgsql, []string{key, "id BYTEA PRIMARY KEY"}, nil, nil, []string{`Table.ID: the column "id" is BYTEA`}},
	{"an ID of BLOB", lite, []string{key, "id BLOB PRIMARY KEY"}, nil, nil, []string{`Table.ID: the column "id" is BLOB`}},
	{"an ID without a type", lite, []string{key, "id PRIMARY KEY"}, nil, nil, []string{`Table.ID: the column "id" is without a type`}},
	{"an ID that is a blob in a text column", lite, []string{key, "id TEXT PRIMARY KEY"}, []string{"INSERT INTO people (id) VALUES (x'00ff')"}, nil,
		[]string{`Table.ID: the column "id" has values of the type blob`}},
	{"an ID of floating point", big, []string{key, "id DOUBLE PRECISION PRIMARY KEY"}, nil, nil, []string{`Table.ID: the column "id" is `}},

	{"a key of two columns", all, []string{key, "id INTEGER NOT NULL", "BIGINT\n", "BIGINT, PRIMARY KEY (id, number)\n"}, nil, nil,
		[]string{`Table.ID: the column "id" is not unique by itself`}},
	{"no key", all, []string{key, "id INTEGER NOT NULL"}, []string{"CREATE INDEX people_id ON people (id)"}, nil,
		[]string{`Table.ID: the column "id" is not unique by itself`}},
	{"a key under a condition", []sqlstore.Dialect{sqlstore.PostgreSQL, sqlstore.SQLite}, []string{key, "id INTEGER NOT NULL"},
		[]string{"CREATE UNIQUE INDEX people_id ON people (id) WHERE number > 0"}, nil, []string{`Table.ID: the column "id" is not unique by itself`}},
	{"a key of a part", maria, []string{key, "id VARCHAR(64) NOT NULL"}, []string{"CREATE UNIQUE INDEX people_id ON people (id(4))"}, nil,
		[]string{`Table.ID: the column "id" is not unique by itself`}},

	{"a user name that is a number", all, nil, nil, func(t *sqlstore.Table) { t.Username = "number" }, []string{`Table.Username: the column "number" is INT`, "must be a text"}},
	{"an address that is a number", all, nil, nil, func(t *sqlstore.Table) { t.Email = "number" }, []string{`Table.Email: the column "number" is INT`, "must be a text"}},
	{"a canonical form that is a number", all, nil, nil, func(t *sqlstore.Table) { t.CanonicalEmail = "number" }, []string{`Table.CanonicalEmail: the column "number" is INT`}},
	{"a user name that is a blob", lite, nil, []string{"INSERT INTO people (id, name) VALUES (1, x'61')"}, nil, []string{`Table.Username: the column "name" has values of the type blob`}},

	{"addresses with capitals", all, nil, []string{
		"INSERT INTO people (id, email, status, verified_at) VALUES (1, 'Alice@Example.com', 'active', 1), (2, 'bob@example.com', 'active', 1), (3, 'GONE@example.com', 'deleted', 1)"},
		nil, []string{`Table.CanonicalEmail is Exact, but 1 of 3 addresses in "email" have capital letters`}},
	{"the raw addresses as their canonical form", all, nil, []string{
		"INSERT INTO people (id, email, status, verified_at) VALUES (1, 'Alice@Example.com', 'active', 1), (2, 'bob@example.com', 'active', 1), (3, 'GONE@example.com', 'deleted', 1)"},
		func(t *sqlstore.Table) { t.CanonicalEmail = "email" }, []string{`Table.CanonicalEmail: 1 of 2 active, verified accounts have a text in "email" that is not canonical`}},
	{"addresses in lower case as their canonical form", all, []string{"number ", "canonical VARCHAR(254), number "}, []string{
		"INSERT INTO people (id, email, canonical, status, verified_at) VALUES (1, 'alice@b\u00fccher.example', 'alice@b\u00fccher.example', 'active', 1)"},
		func(t *sqlstore.Table) { t.CanonicalEmail = "canonical" }, []string{`Table.CanonicalEmail: 1 of 1 active, verified accounts have a text in "canonical" that is not canonical`}},
	{"a collation that tells case apart", all, nil, nil, func(t *sqlstore.Table) {
		t.CanonicalEmail, t.CanonicalUsername = sqlstore.Collation, sqlstore.Collation
	},
		[]string{`Table.CanonicalEmail is Collation, but the column "email" does not ignore case`, `Table.CanonicalUsername is Collation, but the column "name" does not ignore case`}},

	{"a view that cannot be updated", big, nil, []string{"CREATE VIEW persons AS SELECT DISTINCT * FROM people"},
		func(t *sqlstore.Table) { t.Name = "persons" }, []string{`persons`, "the database refuses "}},
	{"a view of SQLite", lite, nil, []string{"CREATE VIEW persons AS SELECT * FROM people"},
		func(t *sqlstore.Table) { t.Name = "persons" }, []string{`Table.Name: "persons" is a view`}},
	{"an engine without transactions", maria, nil, []string{"ALTER TABLE people ENGINE=MyISAM"}, nil, []string{"without transactions"}},
	{"a hash that is computed", pgsql, []string{"hash        VARCHAR(97)", "hash VARCHAR(97) GENERATED ALWAYS AS (status) STORED"}, nil, nil,
		[]string{`Table.PasswordHash: the database refuses to set "hash": `}},

	{"all at once", all, nil, nil, func(t *sqlstore.Table) {
		t.Username, t.Active, t.CanonicalEmail = "login", "status", sqlstore.Collation
	},
		[]string{"Table.Username", "Table.Active", "Table.CanonicalEmail"}},
}

func makePeople(t *testing.T, d sqlstore.Dialect, db *sql.DB, text string, replace []string) {
	t.Helper()
	is := is.New(t)
	if d == sqlstore.PostgreSQL {
		execute(t, db, "DROP DOMAIN IF EXISTS secret; CREATE DOMAIN secret AS VARCHAR(60)")
	}
	for i := 0; i < len(replace); i += 2 {
		is.True(strings.Contains(createPeople, replace[i])) // else the test tests nothing
	}
	execute(t, db, fmt.Sprintf(strings.NewReplacer(replace...).Replace(createPeople), text))
	execute(t, db, indexPeople...)
}

func dropPeople(db *sql.DB) {
	_, _ = db.Exec("DROP VIEW IF EXISTS persons")
	_, _ = db.Exec("DROP TABLE people")
	db.SetMaxIdleConns(0) // pgx keeps plans, which another table makes invalid
	db.SetMaxIdleConns(2)
}

// Without the check, each of these would start, and fail at the first request or the first
// password.
func TestMistakesAreRefusedAtStart(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		db := s.Create(t)
		for _, m := range mistakes {
			if m.on != nil && !slices.Contains(m.on, s.Dialect) {
				continue
			}
			t.Run(m.name, func(t *testing.T) {
				is := is.New(t)
				makePeople(t, s.Dialect, db, databases.TextType(s.Dialect), m.create)
				defer dropPeople(db)
				execute(t, db, m.then...)
				table := peopleTable
				if m.table != nil {
					m.table(&table)
				}
				_, err := startOn(t, s.Dialect, db, table, sqlstore.Options{})
				if err == nil {
					t.Fatal("it was not refused")
				}
				for _, part := range m.want {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("the error does not contain %q:\n%v", part, err)
					}
				}
				for line := range strings.Lines(err.Error()) {
					is.True(strings.HasPrefix(line, "sqlstore: ")) // each fault is said once
				}
				is.True(!strings.Contains(strings.ToLower(err.Error()), "alice")) // data
			})
		}
	})
}

// Correct tables are not refused, and cause no warning.
func TestTablesThatWork(t *testing.T) {
	type good struct {
		name   string
		on     []sqlstore.Dialect
		text   string // type of texts, or ""
		create []string
		then   []string
		table  func(*sqlstore.Table)
		opts   sqlstore.Options
	}
	anything := "INSERT INTO people (id, name, email, hash, status, verified_at) VALUES (1, 'Alice', 'Alice@Example.com', 'h', 'active', 1)"
	collation := func(t *sqlstore.Table) {
		t.CanonicalEmail, t.CanonicalUsername = sqlstore.Collation, sqlstore.Collation
	}
	canonical := func(t *sqlstore.Table) { t.CanonicalEmail = "canonical" }
	goods := []good{
		{"empty", all, "", nil, nil, nil, sqlstore.Options{}},
		{"names with capitals", all, "", nil, []string{"INSERT INTO people (id, name, email) VALUES (1, 'Alice', 'alice@example.com')"}, nil, sqlstore.Options{}},
		{"citext", pgsql, "citext", nil, []string{anything}, collation, sqlstore.Options{}},
		{"a nondeterministic collation", pgsql, "TEXT COLLATE nocase", nil, []string{anything}, collation, sqlstore.Options{}},
		{"utf8mb4_general_ci", maria, "VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", nil, []string{anything}, collation, sqlstore.Options{}},
		{"latin1_swedish_ci", maria, "VARCHAR(254) CHARACTER SET latin1 COLLATE latin1_swedish_ci", nil, []string{anything}, collation, sqlstore.Options{}},
		{"NOCASE", lite, "TEXT COLLATE NOCASE", nil, []string{anything}, collation, sqlstore.Options{}},
		{"a canonical column", all, "", []string{"number ", "canonical " + "VARCHAR(254), number "},
			[]string{anything, "CREATE INDEX people_canonical ON people (canonical)", "UPDATE people SET canonical = 'alice@example.com'"}, canonical, sqlstore.Options{}},
		{"a canonical column that is NULL for nobody's address", all, "", []string{"number ", "canonical VARCHAR(254), number "},
			[]string{"INSERT INTO people (id, email, status, verified_at) VALUES (1, NULL, 'active', 1), (2, 'none', 'active', 1)", "CREATE INDEX people_canonical ON people (canonical)"},
			canonical, sqlstore.Options{}},
		{"a canonical column that ignores case", lite, "TEXT COLLATE NOCASE", nil, []string{anything}, func(t *sqlstore.Table) { t.CanonicalEmail = "email" }, sqlstore.Options{}},
		{"addresses as user names", all, "", nil, nil, func(t *sqlstore.Table) { t.Username = t.Email }, sqlstore.Options{}},
		{"a condition of other rows", all, "", nil, nil, func(t *sqlstore.Table) { t.Active = "EXISTS (SELECT 1 FROM people WHERE number > 0)" }, sqlstore.Options{}},
		{"bcrypt", big, "", []string{"VARCHAR(97)", "CHAR(60)"}, nil, nil, sqlstore.Options{HashLength: 60}},
		{"a boolean", all, "", []string{"number      INTEGER", "number BOOLEAN"}, nil, func(t *sqlstore.Table) { t.Active = "number" }, sqlstore.Options{}},
		{"a number as a boolean", []sqlstore.Dialect{sqlstore.MySQL, sqlstore.SQLite}, "", nil, []string{"INSERT INTO people (id, number) VALUES (1, 1)"},
			func(t *sqlstore.Table) { t.Active, t.HasPassword = "number", "NOT number" }, sqlstore.Options{}},
		{"Always", all, "", nil, nil, func(t *sqlstore.Table) { t.Active, t.EmailVerified = sqlstore.Always, sqlstore.Always }, sqlstore.Options{}},
		{"an ID of UUID", pgsql, "", []string{key, "id UUID PRIMARY KEY"}, nil, nil, sqlstore.Options{}},
		{"an ID of a text", all, "", []string{key, "id VARCHAR(64) NOT NULL PRIMARY KEY"}, nil, nil, sqlstore.Options{}},
		{"an ID of padded text", big, "", []string{key, "id CHAR(36) NOT NULL PRIMARY KEY"}, nil, nil, sqlstore.Options{}},
		{"an ID of BIGINT", all, "", []string{key, "id BIGINT NOT NULL PRIMARY KEY"}, nil, nil, sqlstore.Options{}},
		{"an ID that is generated text", lite, "", []string{key, "raw BLOB PRIMARY KEY, id TEXT GENERATED ALWAYS AS (hex(raw)) STORED UNIQUE"}, nil, nil, sqlstore.Options{}},
		{"an ID that is generated text", maria, "", []string{key, "raw BINARY(16) PRIMARY KEY, id CHAR(32) GENERATED ALWAYS AS (HEX(raw)) STORED UNIQUE"}, nil, nil, sqlstore.Options{}},
		{"an ID beside the key", all, "", []string{key, "id INTEGER NOT NULL UNIQUE", "BIGINT\n", "BIGINT, PRIMARY KEY (number, id)\n"}, nil, nil, sqlstore.Options{}},
		{"tenants", all, "", nil, []string{"CREATE INDEX people_tn ON people (status, name)", "CREATE INDEX people_te ON people (status, email)"},
			func(t *sqlstore.Table) { t.Tenant = "status" }, sqlstore.Options{}},
	}
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		db := s.Create(t)
		if s.Dialect == sqlstore.PostgreSQL {
			execute(t, db, "CREATE EXTENSION citext; CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
		}
		for _, g := range goods {
			if g.on != nil && !slices.Contains(g.on, s.Dialect) {
				continue
			}
			t.Run(g.name, func(t *testing.T) {
				is := is.New(t)
				text := g.text
				if text == "" {
					text = databases.TextType(s.Dialect)
				}
				makePeople(t, s.Dialect, db, text, g.create)
				defer dropPeople(db)
				execute(t, db, g.then...)
				table := peopleTable
				if g.table != nil {
					g.table(&table)
				}
				warnings, err := startOn(t, s.Dialect, db, table, g.opts)
				is.NoErr(err)
				is.Equal(warnings, "")
			})
		}
	})
}

// A look-up that reads the whole table works, but not for long.
func TestLookUpsWithoutIndexAreWarnedOf(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		db := s.Create(t)
		for _, c := range []struct {
			name, index string
			tenant      string
			want        []string
		}{
			{"none", "", "", []string{"(name)", "(email)"}},
			{"on one", "CREATE INDEX people_name ON people (name)", "", []string{"(email)"}},
			{"of the tenant alone", "CREATE INDEX people_status ON people (status)", "status", []string{"(status, name)", "(status, email)"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				is := is.New(t)
				makePeople(t, s.Dialect, db, databases.TextType(s.Dialect), nil)
				defer dropPeople(db)
				drop := ""
				if s.Dialect == sqlstore.MySQL {
					drop = " ON people"
				}
				for _, index := range []string{"DROP INDEX people_name" + drop, "DROP INDEX people_email" + drop, c.index} {
					if index != "" {
						execute(t, db, index)
					}
				}
				table := peopleTable
				table.Tenant = c.tenant
				warnings, err := startOn(t, s.Dialect, db, table, sqlstore.Options{})
				is.NoErr(err)
				is.Equal(strings.Count(warnings, "level=WARN"), len(c.want))
				for _, want := range c.want {
					is.True(strings.Contains(warnings, "create an index on "+want))
				}
			})
		}
	})
}

// A setting that may be intended causes a warning only, and the application starts.
func TestWhatMayBeWrongIsWarnedOf(t *testing.T) {
	const alice = "INSERT INTO people (id, name, email, status, verified_at) VALUES (1, 'Alice', 'alice@example.com', 'active', 1)"
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		db := s.Create(t)
		for _, c := range []struct {
			name  string
			on    []sqlstore.Dialect
			table func(*sqlstore.Table)
			want  string
		}{
			{"canonical addresses to be filled", all, func(t *sqlstore.Table) { t.CanonicalEmail = "canonical" },
				`Table.CanonicalEmail: 1 of 1 active, verified accounts have no canonical form in "canonical"`},
			{"canonical user names to be filled", all, func(t *sqlstore.Table) { t.CanonicalUsername = "canonical" },
				`Table.CanonicalUsername: 1 of 1 active, verified accounts have no canonical form in "canonical"`},
			{"the raw user names as their canonical form", all, func(t *sqlstore.Table) { t.CanonicalUsername = "name" },
				`Table.CanonicalUsername: 1 of 1 active, verified accounts have a text in "name" that recovery.CanonicalUsername does not return`},
			{"a condition that is always true", []sqlstore.Dialect{sqlstore.MySQL, sqlstore.SQLite}, func(t *sqlstore.Table) { t.Active = `"statsu" <> 'banned'` },
				`names no column, so it holds for every account`},
		} {
			if c.on != nil && !slices.Contains(c.on, s.Dialect) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				is := is.New(t)
				makePeople(t, s.Dialect, db, databases.TextType(s.Dialect), []string{"number ", "canonical VARCHAR(254), number "})
				defer dropPeople(db)
				execute(t, db, alice, "CREATE INDEX people_canonical ON people (canonical)")
				table := peopleTable
				c.table(&table)
				warnings, err := startOn(t, s.Dialect, db, table, sqlstore.Options{})
				is.NoErr(err)
				is.Equal(strings.Count(warnings, "level=WARN"), 1)
				is.True(strings.Contains(strings.ReplaceAll(warnings, `\"`, `"`), c.want))
				is.True(!strings.Contains(strings.ToLower(warnings), "alice")) // data
			})
		}
	})
}

// SQLite settings that lose commits or calls cause a warning, except for a database in memory.
func TestSettingsOfSQLiteAreWarnedOf(t *testing.T) {
	for _, c := range []struct {
		name, dsn string // for a file, or all of it
		want      []string
	}{
		{"no settings", "?", []string{"journal_mode is DELETE", "busy_timeout is 0"}},
		{"no WAL", "?_pragma=busy_timeout(5000)&_pragma=synchronous(FULL)", []string{"journal_mode is DELETE"}},
		{"no busy timeout", "?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)", []string{"busy_timeout is 0"}},
		{"commits that are not synced", "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)", []string{"synchronous is NORMAL"}},
		{"never synced", "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)", []string{"synchronous is OFF"}},
		{"in memory", ":memory:", nil},
		{"in memory that is shared", "file:/start?vfs=memdb", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			dsn := c.dsn
			if strings.HasPrefix(dsn, "?") {
				file, _, _ := strings.Cut(databases.NewSQLite(t).DSN, "?")
				dsn = file + dsn
			}
			db := databases.OpenDB(t, "sqlite", dsn)
			db.SetMaxOpenConns(1)
			makePeople(t, sqlstore.SQLite, db, "TEXT", nil)
			warnings, err := startOn(t, sqlstore.SQLite, db, peopleTable, sqlstore.Options{})
			is.NoErr(err)
			is.Equal(strings.Count(warnings, "level=WARN"), len(c.want))
			for _, want := range c.want {
				is.True(strings.Contains(warnings, want))
			}
		})
	}
}

// A read-only database is one fault, whatever would write.
func TestReadOnlyDatabasesAreRefusedAtStart(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		if s.Name == "PostgreSQL with lib_pq" {
			t.Skip("the driver begins with READ WRITE, whatever the session's default is")
		}
		settings := []string{map[sqlstore.Dialect]string{
			sqlstore.PostgreSQL: "SET default_transaction_read_only = on", sqlstore.MySQL: "SET SESSION TRANSACTION READ ONLY",
			sqlstore.SQLite: "PRAGMA query_only = 1",
		}[s.Dialect]}
		if s.Dialect == sqlstore.SQLite {
			settings = append(settings, "mode=ro")
		}
		for _, setting := range settings {
			t.Run(setting, func(t *testing.T) {
				is := is.New(t)
				p, db := databases.Prepared(t, s)
				if setting == "mode=ro" {
					p.DSN += "&mode=ro"
					db = p.Open(t)
				} else {
					db.SetMaxOpenConns(1)
					execute(t, db, setting)
				}
				err := databases.StoreOn(t, s.Dialect, db, "").Migrate(t.Context())
				is.True(err != nil)
				is.Equal(strings.Count(err.Error(), "\n"), 0)
				is.True(strings.Contains(err.Error(), "the database is read-only"))
				is.True(!strings.Contains(err.Error(), "grant"))
			})
		}
	})
}

// Another writer at the time is no fault of the database.
func TestStartPassesABusySQLite(t *testing.T) {
	is := is.New(t)
	p := databases.NewSQLite(t)
	db := p.Open(t)
	databases.OpenOn(t, sqlstore.SQLite, db, "TEXT")
	tx, err := db.Begin()
	is.NoErr(err)
	defer tx.Rollback()
	execute(t, tx, "UPDATE recovery_limits SET tat = tat")
	p.DSN = strings.Replace(p.DSN, "busy_timeout(10000)", "busy_timeout(10)", 1)
	is.NoErr(databases.StoreOn(t, sqlstore.SQLite, p.Open(t), "").Migrate(t.Context()))
}

// A session may still have the statement of a Check that was cut off.
func TestCheckWarnsBesideAStatementThatWasLeft(t *testing.T) {
	databases.OnEachOf(t, pgsql, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		db := s.Create(t)
		db.SetMaxOpenConns(1)
		makePeople(t, s.Dialect, db, "text", nil)
		execute(t, db, "DROP INDEX people_name", "PREPARE recovery_check AS SELECT 1")
		warnings, err := startOn(t, s.Dialect, db, peopleTable, sqlstore.Options{})
		is.NoErr(err)
		is.Equal(strings.Count(warnings, "create an index on (name)"), 1)
		is.Equal(len(texts(t, db, "SELECT name FROM pg_prepared_statements WHERE name = 'recovery_check'")), 0)
	})
}

// It is unknown whether the ID of a view is unique.
func TestViewsAreWarnedOf(t *testing.T) {
	databases.OnEachOf(t, big, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		db := s.Create(t)
		makePeople(t, s.Dialect, db, databases.TextType(s.Dialect), nil)
		execute(t, db, "CREATE VIEW persons AS SELECT id AS i, name AS n, email AS e, hash AS h, status, verified_at FROM people")
		table := peopleTable
		table.Name, table.ID, table.Username, table.Email, table.PasswordHash = "persons", "i", "n", "e", "h"
		warnings, err := startOn(t, s.Dialect, db, table, sqlstore.Options{})
		is.NoErr(err)
		is.Equal(strings.Count(warnings, "level=WARN"), 1)
		is.True(strings.Contains(warnings, "Table.ID: "))
	})
}

// The error of a mapping or store for another dialect names the database that answered.
func TestAnotherDialectIsRefusedAtStart(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		for _, d := range []sqlstore.Dialect{sqlstore.PostgreSQL, sqlstore.MySQL, sqlstore.SQLite} {
			if d == s.Dialect {
				continue
			}
			answers := map[sqlstore.Dialect]string{sqlstore.PostgreSQL: "but the database is PostgreSQL 1", sqlstore.MySQL: "but the database is Ma", sqlstore.SQLite: "but the database is SQLite 3."}[s.Dialect]
			want := fmt.Sprintf("sqlstore: the Dialect is %v, %s", d, answers)
			t.Run(fmt.Sprint("a mapping for ", d), func(t *testing.T) {
				is := is.New(t)
				db := s.Create(t)
				makePeople(t, s.Dialect, db, databases.TextType(s.Dialect), nil)
				accounts, err := peopleTable.Accounts(d)
				is.NoErr(err)
				_, err = startWith(t, s.Dialect, db, accounts, sqlstore.Options{})
				is.True(err != nil)
				is.True(strings.HasPrefix(err.Error(), want))
			})
			t.Run(fmt.Sprint("a store for ", d), func(t *testing.T) {
				is := is.New(t)
				db := s.Create(t)
				err := databases.StoreWith(t, d, db, peopleTable, sqlstore.Options{}).Check(t.Context())
				is.True(err != nil)
				is.True(strings.HasPrefix(err.Error(), want))
				is.Equal(strings.Count(err.Error(), "\n"), 0) // it is said once
			})
		}
	})
}

// An application that migrates with a tool calls Check, which finds what the tool has not done.
func TestOwnTablesAreChecked(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		before, err := databases.Dump(db)
		is.NoErr(err)
		is.NoErr(store.Check(t.Context()))
		after, err := databases.Dump(db)
		is.NoErr(err)
		is.Equal(after, before)
		execute(t, db, "ALTER TABLE recovery_resets DROP COLUMN mailed", "DROP TABLE recovery_jobs")
		err = store.Check(t.Context())
		is.True(err != nil)
		for _, part := range []string{"the table recovery_jobs is missing", "the table recovery_resets has no column mailed"} {
			is.True(strings.Contains(err.Error(), part))
		}
		is.True(!strings.Contains(err.Error(), "the table recovery_limits"))
		is.Equal(strings.Count(err.Error(), "DROP TABLE IF EXISTS recovery_jobs"), 1)
		is.True(strings.Contains(err.Error(), "call Store.Migrate or run the files of WriteMigrations"))
	})
}

// own is an application's own Accounts.
type own struct {
	sqlstore.Accounts
	check func(hashLength int, warn func(string)) error
}

func (o own) Check(_ context.Context, _ *sql.Tx, hashLength int, warn func(string)) error {
	return o.check(hashLength, warn)
}

func TestAccountsThatEmbedAMappingAreChecked(t *testing.T) {
	is := is.New(t)
	s := databases.Servers[0]
	db := s.Create(t)
	accounts, err := peopleTable.Accounts(s.Dialect)
	is.NoErr(err)
	_, err = startWith(t, s.Dialect, db, users{accounts}, sqlstore.Options{})
	is.True(err != nil && strings.Contains(err.Error(), `Table.Name: the table "people"`))

	wrong := errors.New("the LDAP server has no such tree")
	warnings, err := startWith(t, s.Dialect, db, own{accounts, func(length int, warn func(string)) error {
		is.Equal(length, 60)
		warn("this is slow")
		return wrong
	}}, sqlstore.Options{HashLength: 60})
	is.True(errors.Is(err, wrong))
	is.True(strings.Contains(warnings, "this is slow"))

	_, err = startWith(t, s.Dialect, db, struct{ sqlstore.Accounts }{accounts}, sqlstore.Options{})
	is.NoErr(err) // it cannot be known
}
