// Package sqlstore is a [recovery.Store] on database/sql, for PostgreSQL, MySQL, MariaDB and
// SQLite. It imports no driver: the application brings its own, and its own user table.
//
// # Use
//
//	users := sqlstore.Table{
//		Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
//		CanonicalUsername: "name_canonical", CanonicalEmail: "email_canonical",
//		Active: "disabled_at IS NULL", EmailVerified: "email_verified = 1",
//	}
//	accounts, err := users.Accounts(sqlstore.PostgreSQL)
//	…
//	store, err := sqlstore.New(db, sqlstore.PostgreSQL, accounts, nil)
//	…
//	err = store.Migrate(ctx)
//	…
//	svc, err := recovery.New(store, mailer, nil)
//
// [Table] maps a common user table. An application that does more when a password changes, such as
// ending sessions in the same transaction, embeds the mapping in a type of its own and overrides
// SetPassword: see [Accounts]. Package accountstest checks that type. docs/accounts.md has whole
// examples, lists the column types that work, and says how to add and fill canonical columns.
//
// # Start
//
// Many faults of a mapping would show late, or never: a password column that is too short, an ID
// that is binary or not unique, addresses that no look-up finds. [Store.Check] reports them at
// start and names the field of Table. It logs a warning about look-ups without an index. Migrate
// calls Check, so the user table must be there.
//
// # Tables
//
// The store keeps three tables: recovery_jobs is the queue, recovery_resets the tokens as digests,
// recovery_limits the states of the limits. [Options] give them another prefix, or a schema. There
// are two ways to make them:
//
//   - [Store.Migrate] makes them, safely when many instances start at once. It needs the right to
//     create tables, unless they are up to date, and writes its versions into recovery_migrations.
//   - [WriteMigrations] writes .sql files, up and down, for goose, for golang-migrate or for any
//     tool that runs SQL.
//
// At every start call Migrate, or Check where a tool migrates: the error names a missing table or
// column and says what to do. Down files drop the tables, and the requests and tokens in them. The
// store needs SELECT, INSERT, UPDATE and DELETE on its tables; of the user table it needs SELECT
// and, for the password column, UPDATE.
//
// Times are BIGINT microseconds since 1970 in UTC. Only the statement of [Store.Now] reads the
// database's clock, which all instances follow. On SQLite it is the clock of the machine.
//
// # Transactions
//
// Every method is one transaction. On PostgreSQL, whatever its default is, writes are at READ
// COMMITTED and reads at REPEATABLE READ; on the others both are at the default level. The affected
// rows of a guarded write decide, or a locked row, never an earlier read. Rows are locked in one
// order: accounts by their IDs, then a job, limits by their keys, resets. Only Purge takes a few of
// each in an order of its own. After a deadlock, a serialization failure or a busy database the
// store tries the whole transaction again, up to Options.Attempts times. After that the caller gets
// the error, and nothing was done. If the connection is lost or ctx ends while a transaction is
// committed, the error wraps [ErrUnknownOutcome]: trying again is safe. Drivers that do not always
// heed a context, such as go-sql-driver and lib/pq, need a timeout in their DSN.
//
// Waiting for the disk is most of what a request costs. So calls of Enqueue and of TakeLimits that
// arrive while others are being committed share the next transaction, up to 64 of them. Each
// returns when its own job is durable, with its own limit or error. On SQLite, which has one
// writer, every call that writes shares that transaction, and runs on another goroutine than its
// caller's. If one fails, even in the application's AccountByID or SetPassword, the store runs the
// others again without it, and it alone.
//
// # Many instances
//
// Any number of processes may share one database: each makes its own Store and runs Service.Run.
// They coordinate only through row locks; claims skip the jobs of others. A finished job is deleted
// at once; the worker purges expired tokens and limits that are over, in small batches.
//
// # Upgrades
//
// Migrate, or run the new files of WriteMigrations, before the first instance of a new version
// starts. A migration keeps the tables usable by the version before it, so older instances can run
// and start meanwhile. Upgrade the tables with what made them, Migrate or the tool: neither knows
// the other's versions. docs/running.md has the steps, and says what to do after a restore.
//
// # Databases
//
//   - PostgreSQL 12 and later, with any driver; 12, 15 and 18 are tested. Behind pgbouncer in
//     transaction mode, pgx needs default_query_exec_mode=exec; lib/pq needs nothing.
//   - MySQL 8 and MariaDB 10.6 and later: claims use SKIP LOCKED. sql_mode, time_zone, isolation
//     level and clientFoundRows make no difference. interpolateParams=true saves go-sql-driver two
//     of three round trips of every statement.
//   - MariaDB with Galera, writing to any node. Every connection needs wsrep_sync_wait=1, or a
//     token that was just mailed may be unknown on another node. It also needs a driver that puts
//     values into statements itself (interpolateParams=true with go-sql-driver): a transaction with
//     prepared statements that another node aborts may seem to have been committed. A COMMIT that
//     loses to another node is tried again like a deadlock.
//   - SQLite 3.35 and later, with modernc.org/sqlite or, which needs cgo, mattn/go-sqlite3. The DSN
//     needs a busy timeout, WAL and synchronous=FULL, see below. Every writing transaction begins
//     with a write, so it waits for others instead of failing later; _txlock is not needed.
//     Statements are prepared once for each connection. The driver waits for the busy timeout even
//     if ctx ends, so a call may return that late while another program holds the file. ":memory:"
//     is one database per connection: set SetMaxOpenConns(1).
//
// The DSN of SQLite, for modernc.org/sqlite and for mattn/go-sqlite3:
//
//	file:app.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)
//	file:app.db?_busy_timeout=5000&_journal_mode=WAL&_synchronous=FULL
//
// The store takes any *[sql.DB], so it can work on the pool that the application has already:
//
//   - pgx: stdlib.OpenDBFromPool(pool)
//   - GORM: gormDB.DB()
//   - ent: driver.DB() of its dialect/sql driver, or the same db that entsql.OpenDB was given
//
// An error has the database's code and says in plain words what it means. It has the database's own
// words only if they name a table or a column, and never a value. The driver's error is wrapped: do
// not log its text.
//
// A server keeps the locks of a client that vanished until it notices. Have PostgreSQL notice
// within a minute (idle_in_transaction_session_timeout, tcp_keepalives_idle), and MySQL too
// (wait_timeout).
package sqlstore

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/groupcommit"
)

var _ recovery.Store = (*Store)(nil)

// A Dialect is a kind of database.
type Dialect int

// The dialects. MySQL is also for MariaDB.
const (
	PostgreSQL Dialect = iota + 1
	MySQL
	SQLite
)

// String returns the dialect's name.
func (d Dialect) String() string {
	if name, ok := map[Dialect]string{PostgreSQL: "PostgreSQL", MySQL: "MySQL", SQLite: "SQLite"}[d]; ok {
		return name
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

// ErrUnknownOutcome says that the transaction of a method may or may not have been committed,
// because the connection was lost or ctx ended meanwhile. The method's error wraps it. Repeating
// the call is safe: Redeem changes a password once, Finish ends a job once, and CreateResets
// charges a job once; Enqueue refuses an ID that is stored; TakeLimits and RefundLimits count
// again.
var ErrUnknownOutcome = errors.New("sqlstore: the transaction may or may not have been committed")

// Options configure a [Store]. Nil Options are the zero Options.
type Options struct {
	// TablePrefix begins the names of the store's tables: default "recovery_". It has up to 32
	// lower-case letters, digits and underscores and begins with a letter.
	TablePrefix string

	// Schema holds the store's tables: a schema of PostgreSQL or a database of MySQL, which must
	// exist; default is the one that connections start in. It has up to 63 letters, digits,
	// underscores and hyphens. SQLite has none.
	Schema string

	// Attempts is how often a transaction that loses to another is tried: default 10, at most 100.
	Attempts int

	// HashLength is the most characters that a password hash has, for Check: default 97, the length
	// of recovery.HashPassword's. Set 60 with recovery.Bcrypt.
	HashLength int

	// Logger gets the warnings of Check: default slog.Default().
	Logger *slog.Logger
}

// A Store keeps tokens, limits and the queue in tables of its own, beside the accounts of the
// application. [New] makes one. It is safe for concurrent use.
type Store struct {
	db         *sql.DB
	accounts   Accounts
	names      names
	attempts   int
	hashLength int
	dialect    Dialect
	logger     *slog.Logger // nil is slog.Default()
	sql        statements
	prepared   *prepared // SQLite's

	// Shared commits: of Enqueue, and of TakeLimits, so that completions do not queue behind the
	// global limit of requests. On SQLite, which has one writer, they are one, for every write.
	commits, limitCommits *groupcommit.Group[*call]
}

// New returns a Store on db. It opens no connection. [Store.Check], which [Store.Migrate] calls,
// reports what is wrong.
func New(db *sql.DB, dialect Dialect, accounts Accounts, opts *Options) (*Store, error) {
	if opts == nil {
		opts = &Options{}
	}
	s := &Store{
		db: db, accounts: accounts, dialect: dialect, logger: opts.Logger,
		attempts: cmp.Or(opts.Attempts, 10), hashLength: cmp.Or(opts.HashLength, 97),
	}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("sqlstore: "+format, args...))
	}
	if s.hashLength < 1 {
		fault("Options.HashLength must be at least 1, is %d", s.hashLength)
	}
	if db == nil {
		fault("New needs a database")
	}
	var err error
	if s.names, err = namesOf(dialect, opts); err != nil {
		faults = append(faults, err)
	}
	if s.attempts < 1 || s.attempts > 100 {
		fault("Options.Attempts must be from 1 to 100, is %d", s.attempts)
	}
	if accounts == nil {
		fault("New needs Accounts")
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	s.sql = statementsOf(dialect).named(s.names)
	if dialect == SQLite {
		s.prepared = &prepared{stmts: map[string]*sql.Stmt{}}
		runtime.AddCleanup(s, (*prepared).close, s.prepared)
	}
	s.commits = groupcommit.New(maxBatch, maxBatchTime, s.runCalls)
	s.limitCommits = s.commits
	if dialect != SQLite {
		s.limitCommits = groupcommit.New(maxBatch, maxBatchTime, s.runCalls)
	}
	return s, nil
}

func fromMicro(micro int64) time.Time { return time.UnixMicro(micro).UTC() }

// affected returns how many rows a statement changed.
func affected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// one returns a check that a statement changed exactly one row. If not, its error is none.
func one(none error) func(sql.Result, error) error {
	return func(result sql.Result, err error) error {
		n, err := affected(result, err)
		if err == nil && n != 1 {
			return none
		}
		return err
	}
}
