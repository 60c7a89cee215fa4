// Package sqlstore is a [recovery.Store] on database/sql, for PostgreSQL, MySQL, MariaDB and SQLite.
// It imports no driver: the application brings its own, and its own user table.
//
// # Use
//
//	users := sqlstore.Table{Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password"}
//	accounts, err := users.Accounts(sqlstore.PostgreSQL)
//	…
//	store, err := sqlstore.New(db, sqlstore.PostgreSQL, accounts, nil)
//	…
//	err = store.Migrate(ctx)
//	…
//	svc, err := recovery.New(store, mailer, nil)
//
// [Table] maps a common user table. An application that does more when a password changes, such as
// ending sessions in the same transaction, embeds it in a type of its own and overrides SetPassword:
// see [Accounts].
//
// # Tables
//
// The store keeps three tables: recovery_requests is the queue, recovery_resets the tokens as
// digests, recovery_limits the state of the limits. [Store.Migrate] creates them, safely when many
// instances start at once, and writes its versions into recovery_migrations; it needs the right to
// create tables unless they are there already. [Migrations] has the same statements as numbered .sql
// files for a migration tool. Times are BIGINT microseconds since 1970 in UTC; no statement reads the database's
// clock. The store needs SELECT, INSERT, UPDATE and DELETE on them; of the user table it needs SELECT
// and, for the password column, UPDATE.
//
// # Transactions
//
// Every method is one transaction: at READ COMMITTED on PostgreSQL, whatever its default is, and at the
// default isolation level of the others. What decides is a guarded write whose affected rows are
// counted, or a row that is locked, never an earlier read. A deadlock, a serialization failure or a
// busy database is tried again as a whole transaction, a bounded number of times; then the caller
// gets the error, and nothing was done. If the connection is lost or ctx ends while a transaction is
// committed, the error wraps [ErrUnknownOutcome]: trying again is safe.
//
// Calls of AddRequest and TakeLimits that come while another is being committed share the next
// transaction, up to 64 of them: a commit to disk is what a request costs most. Each returns when its own
// request is durable, with its own limit or error. A call alone waits for nobody; after a shared one, the
// next waits up to 250 µs for the same callers to come again. On PostgreSQL they are one statement, with
// pgx one round trip, unless a limit is reached or one identifier is asked for twice at once.
//
// # Many instances
//
// Any number of processes may share one database: each makes its own Store and runs Service.Run. They
// agree through row locks alone; claims skip what another has. Their clocks should agree to the
// second. Finished requests are deleted at once; the worker purges expired tokens and limits that are
// over, in small batches.
//
// # Upgrades
//
// Migrate, or the new files of Migrations, before the first instance of a new version starts. A
// migration keeps the tables usable by the version before it.
//
// # Databases
//
//   - PostgreSQL 12 and later, with any driver. Behind pgbouncer in transaction mode, pgx needs
//     default_query_exec_mode=exec; lib/pq needs nothing.
//   - MySQL 8 and MariaDB 10.6 and later: claims use SKIP LOCKED. sql_mode, time_zone, isolation level
//     and clientFoundRows make no difference. interpolateParams=true saves go-sql-driver two of three
//     round trips of every statement.
//   - MariaDB with Galera, and any node may be written to. Every connection needs wsrep_sync_wait=1, or a
//     token that was just mailed may be unknown on another node; and statements that the driver, not the
//     server, puts together (interpolateParams=true with go-sql-driver): a transaction with prepared ones
//     that another node aborts may seem to have been committed. What a COMMIT loses to another node is
//     tried again like a deadlock.
//   - SQLite 3.35 and later, with modernc.org/sqlite, whose errors are told apart. In the DSN, set a busy
//     timeout, WAL and synchronous=FULL:
//     "file:app.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)".
//     Every writing transaction begins with a write, so it waits its turn instead of failing later. The
//     driver waits out the busy timeout even if ctx ends, so it is also how late a call may return while
//     another program holds the file. ":memory:" is one database per connection: set SetMaxOpenConns(1).
//
// A server keeps the locks of a client that vanished until it notices. Have PostgreSQL notice within a
// minute (idle_in_transaction_session_timeout, tcp_keepalives_idle), and MySQL too (wait_timeout).
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"example.com/recovery"
)

var _ recovery.Store = (*Store)(nil)

// A Dialect is a kind of database.
type Dialect int

// The dialects. MySQL is MariaDB's too.
const (
	PostgreSQL Dialect = iota + 1
	MySQL
	SQLite
)

// ErrUnknownOutcome is wrapped by the error of a method whose transaction may have been committed or
// not, because the connection was lost or ctx ended meanwhile. To repeat the call is safe: CompleteReset
// changes a password once, and FinishRequest ends a request once; AddRequest refuses an ID that is
// stored, and TakeLimits counts again.
var ErrUnknownOutcome = errors.New("sqlstore: the transaction may or may not have been committed")

// Options configure a [Store]. Nil Options are the zero Options.
type Options struct {
	// TablePrefix begins the names of the store's tables: default "recovery_". It has up to 32
	// lower-case letters, digits and underscores and begins with a letter.
	TablePrefix string

	// Attempts is how often a transaction is tried that loses to another: default 10, at most 100.
	Attempts int
}

// A Store keeps tokens, limits and the queue in tables of its own, beside the accounts of the
// application. It is made by [New] and safe for concurrent use.
type Store struct {
	db          *sql.DB
	accounts    Accounts
	prefix      string
	attempts    int
	dialect     Dialect
	sql         statements
	turn        turn        // to write, of SQLite
	autocommits atomic.Bool // a statement needs no transaction around it
	adding      together    // requests
	taking      together    // limits alone, which do not wait for the limit that all requests share
}

var validPrefix = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// New returns a Store on db. It opens no connection: a wrong mapping shows with the first call, or
// with [Store.Migrate].
func New(db *sql.DB, dialect Dialect, accounts Accounts, opts *Options) (*Store, error) {
	s := &Store{db: db, accounts: accounts, prefix: "recovery_", attempts: 10, dialect: dialect}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("sqlstore: "+format, args...))
	}
	if opts != nil && opts.TablePrefix != "" {
		s.prefix = opts.TablePrefix
	}
	if opts != nil && opts.Attempts != 0 {
		s.attempts = opts.Attempts
	}
	if db == nil {
		fault("New needs a database")
	}
	if dialect < PostgreSQL || dialect > SQLite {
		fault("the Dialect must be PostgreSQL, MySQL or SQLite")
	}
	if !validPrefix.MatchString(s.prefix) {
		fault("Options.TablePrefix must be up to 32 lower-case letters, digits and underscores, and begin with a letter")
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
	s.sql = statementsOf(dialect).prefixed(s.prefix)
	if dialect == SQLite {
		s.turn = make(turn, 1)
	}
	s.autocommits.Store(autocommits(db, dialect))
	s.adding.make, s.taking.make = s.add, s.add
	return s, nil
}

// FindAccounts implements [recovery.Accounts].
func (s *Store) FindAccounts(ctx context.Context, q recovery.AccountQuery) (found []recovery.Account, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		found, err = s.accounts.FindAccounts(ctx, tx, q)
		return err
	})
	switch {
	case errors.Is(err, errNotAnID):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return found, nil
}

// CreateReset implements [recovery.Resets]. The account is locked, so that the mail of a newer
// request cannot be finished between the look and the insert.
func (s *Store) CreateReset(ctx context.Context, r recovery.Reset) error {
	if err := fit(bounded{r.AccountID, maxAccountID}, bounded{r.RequestID, maxName}); err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		if _, err := s.accounts.LockAccount(ctx, tx, r.AccountID); err != nil {
			return err
		}
		at := r.RequestedAt.UnixMicro()
		return one(recovery.ErrSuperseded)(tx.ExecContext(ctx, s.sql.createReset,
			r.Digest[:], r.AccountID, r.Version[:], r.RequestID, at, r.ExpiresAt.UnixMicro(),
			r.AccountID, at, at, r.RequestID))
	})
}

// FindReset implements [recovery.Resets]. It reads the reset with the digest or the next one, and that
// one's account, whatever becomes of the token: an unknown one takes as long as one that was used, and as
// one whose account is gone.
func (s *Store) FindReset(ctx context.Context, digest recovery.Digest, at time.Time) (r recovery.Reset, a recovery.Account, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		next, ended, err := scanReset(tx.QueryRowContext(ctx, s.sql.findReset, digest[:]))
		if errors.Is(err, sql.ErrNoRows) {
			next.AccountID, err = "0", nil
		}
		if err != nil {
			return err
		}
		found, err := s.accounts.FindAccounts(ctx, tx, recovery.AccountQuery{
			By: recovery.ByID, Typed: next.AccountID, Canonical: next.AccountID, Max: 1,
		})
		if err != nil && !errors.Is(err, errNotAnID) {
			return err
		}
		if next.Digest != digest {
			return &recovery.TokenError{Reason: recovery.TokenUnknown}
		}
		r = next
		a, err = live(r, ended, at, found)
		return err
	})
	if err != nil {
		return recovery.Reset{}, recovery.Account{}, err
	}
	return r, a, nil
}

// reset reads the reset with the digest and how it ended, "" if it did not.
func (s *Store) reset(ctx context.Context, tx *sql.Tx, digest recovery.Digest) (r recovery.Reset, ended recovery.TokenReason, err error) {
	r, ended, err = scanReset(tx.QueryRowContext(ctx, s.sql.findReset, digest[:]))
	if errors.Is(err, sql.ErrNoRows) || err == nil && r.Digest != digest {
		return recovery.Reset{}, "", &recovery.TokenError{Reason: recovery.TokenUnknown}
	}
	return r, ended, err
}

func scanReset(row *sql.Row) (r recovery.Reset, ended recovery.TokenReason, err error) {
	var digest, version []byte
	var requestedAt, expiresAt int64
	if err = row.Scan(&digest, &r.AccountID, &version, &r.RequestID, &requestedAt, &expiresAt, &ended); err != nil {
		return r, "", err
	}
	copy(r.Digest[:], digest)
	copy(r.Version[:], version)
	r.RequestedAt, r.ExpiresAt = fromMicro(requestedAt), fromMicro(expiresAt)
	return r, ended, nil
}

// live returns the account of a reset, of those that have its ID, if it can be redeemed, or the reason
// why it cannot.
func live(r recovery.Reset, ended recovery.TokenReason, at time.Time, found []recovery.Account) (recovery.Account, error) {
	refuse := func(reason recovery.TokenReason) (recovery.Account, error) {
		return recovery.Account{}, &recovery.TokenError{Reason: reason}
	}
	switch {
	case ended != "":
		return refuse(ended)
	case !at.Before(r.ExpiresAt):
		return refuse(recovery.TokenExpired)
	case len(found) == 0 || found[0].ID != r.AccountID || !found[0].Eligible():
		return refuse(recovery.TokenAccountGone)
	case found[0].Version != r.Version:
		return refuse(recovery.TokenStale)
	}
	return found[0], nil
}

// CompleteReset implements [recovery.Resets]. Transactions about one account wait for each other at
// the lock of its row; the guarded update decides who redeems.
func (s *Store) CompleteReset(ctx context.Context, c recovery.Completion) (account recovery.Account, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		r, _, err := s.reset(ctx, tx, c.Digest)
		if err != nil {
			return err
		}
		locked, err := s.accounts.LockAccount(ctx, tx, r.AccountID)
		if errors.Is(err, errNotAnID) {
			return &recovery.TokenError{Reason: recovery.TokenAccountGone}
		}
		if err != nil {
			return err
		}
		// Read again: the lock may have been waited for. MySQL's default level shows what was before; then
		// the guard of redeem decides.
		r, ended, err := s.reset(ctx, tx, c.Digest)
		if err != nil {
			return err
		}
		if _, err := live(r, ended, c.At, locked); err != nil {
			return err
		}
		used := &recovery.TokenError{Reason: recovery.TokenUsed}
		err = one(used)(tx.ExecContext(ctx, s.sql.redeem, c.Digest[:], c.At.UnixMicro()))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, s.sql.voidOthers, r.AccountID); err != nil {
			return err
		}
		if err := s.accounts.SetPassword(ctx, tx, r.AccountID, c.PasswordHash); err != nil {
			return err
		}
		if err := s.insert(ctx, tx, c.Add...); err != nil {
			return err
		}
		after, err := s.accounts.LockAccount(ctx, tx, r.AccountID)
		if err != nil {
			return err
		}
		if len(after) != 1 {
			return errors.New("the account is gone after its password was set")
		}
		account = after[0]
		return nil
	})
	if err != nil {
		return recovery.Account{}, err
	}
	return account, nil
}

// ClaimRequests implements [recovery.Requests].
func (s *Store) ClaimRequests(ctx context.Context, l recovery.Lease) (claimed []recovery.Request, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		at, until := l.At.UnixMicro(), l.Until.UnixMicro()
		claim, lock, which := s.sql.claim, s.sql.lockDue, []any{at, l.Max}
		if l.RequestID != "" {
			claim, lock, which = s.sql.claimOne, s.sql.lockOne, []any{l.RequestID, at}
		}
		if claim != "" {
			claimed, err = s.requests(tx.QueryContext(ctx, claim, append([]any{l.ID, until}, which...)...))
			return err
		}
		claimed, err = s.requests(tx.QueryContext(ctx, lock, which...))
		if err != nil || len(claimed) == 0 {
			return err
		}
		var ids rows
		for i := range claimed {
			ids.add(claimed[i].ID)
			claimed[i].Attempts++
			claimed[i].Lease = l.ID
		}
		_, err = tx.ExecContext(ctx, ids.expand(s.sql.lease), append([]any{l.ID, until}, ids.values...)...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

// FinishRequest implements [recovery.Requests].
func (s *Store) FinishRequest(ctx context.Context, o recovery.Outcome) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		if o.Lease == "" {
			return recovery.ErrLeaseLost
		}
		var requestedAt int64
		if o.Mailed != "" { // before the request, as everywhere: account first
			if _, err := s.accounts.LockAccount(ctx, tx, o.Mailed); err != nil {
				return err
			}
			err := tx.QueryRowContext(ctx, s.sql.findLeased, o.RequestID, o.Lease).Scan(&requestedAt)
			if errors.Is(err, sql.ErrNoRows) {
				return recovery.ErrLeaseLost
			}
			if err != nil {
				return err
			}
		}
		var err error
		if o.RetryAt.IsZero() {
			err = one(recovery.ErrLeaseLost)(tx.ExecContext(ctx, s.sql.finish, o.RequestID, o.Lease))
		} else {
			at := o.RetryAt.UnixMicro()
			err = one(recovery.ErrLeaseLost)(tx.ExecContext(ctx, s.sql.retry, at, at, o.RequestID, o.Lease))
		}
		if err != nil {
			return err
		}
		if o.Mailed != "" {
			if _, err := tx.ExecContext(ctx, s.sql.markMailed, o.Mailed, o.RequestID); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, s.sql.supersede, o.Mailed, requestedAt, requestedAt, o.RequestID); err != nil {
				return err
			}
		}
		return s.insert(ctx, tx, o.Add...)
	})
}

// Purge implements [recovery.Requests].
func (s *Store) Purge(ctx context.Context, before time.Time, max int) (n int, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		resets, err := affected(tx.ExecContext(ctx, s.sql.purgeResets, before.UnixMicro(), max))
		if err != nil {
			return err
		}
		limits, err := affected(tx.ExecContext(ctx, s.sql.purgeLimits, before.UnixMicro(), max-int(resets)))
		n = int(resets + limits)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (s *Store) insert(ctx context.Context, tx *sql.Tx, requests ...recovery.Request) error {
	if len(requests) == 0 {
		return nil
	}
	for _, r := range requests {
		if err := fitRequest(r); err != nil {
			return err
		}
	}
	rows := requestRows(requests)
	_, err := tx.ExecContext(ctx, rows.expand(s.sql.insertRequests), rows.args(s.dialect)...)
	return err
}

func requestRows(requests []recovery.Request) (rows rows) {
	for _, r := range requests {
		client := ""
		if r.Client.IsValid() {
			client = r.Client.String()
		}
		throttled := int64(0)
		if r.Throttled {
			throttled = 1
		}
		due := r.DueAt.UnixMicro()
		rows.add(r.ID, string(r.Kind), string(r.By), r.Identifier, r.AccountID, r.Portal, r.Locale, client,
			r.RequestedAt.UnixMicro(), due, due, throttled)
	}
	return rows
}

func fitRequest(r recovery.Request) error {
	return fit(bounded{r.ID, maxName}, bounded{r.Identifier, maxIdentifier}, bounded{r.AccountID, maxAccountID},
		bounded{r.Portal, maxName}, bounded{r.Locale, maxName})
}

// The longest texts that are stored, in bytes. MySQL cuts longer ones unless its sql_mode is strict,
// and a cut account ID may be another account's; the others take any length.
const (
	maxName       = 64
	maxIdentifier = 254
	maxAccountID  = 255
)

type bounded struct {
	value string
	max   int
}

// fit refuses texts that are too long.
func fit(texts ...bounded) error {
	for _, t := range texts {
		if len(t.value) > t.max {
			return fmt.Errorf("a text of %d bytes is longer than %d", len(t.value), t.max)
		}
	}
	return nil
}

func fromMicro(micro int64) time.Time { return time.UnixMicro(micro).UTC() }

// affected returns how many rows a statement changed.
func affected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// one returns a check that a statement changed one row; none is the error given.
func one(none error) func(sql.Result, error) error {
	return func(result sql.Result, err error) error {
		n, err := affected(result, err)
		if err == nil && n != 1 {
			return none
		}
		return err
	}
}
