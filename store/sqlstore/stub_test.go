package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A stub is a database that knows the store's statements well enough for every method to run to its
// end: look-ups find one row, writes change one. It records every call and which writes were
// committed, and lets one call of a transaction fail.
type stub struct {
	dialect    Dialect
	rows       map[string][]driver.Value // what a look-up finds, by the beginning of its text; nil is no row
	limits     map[recovery.Digest]time.Time
	changed    func(query string, args []driver.NamedValue) int64
	refuses    []string // statements
	fault      fault
	connecting func() error // before a connection is opened; nil does nothing

	mu           sync.Mutex
	calls        []string // begin, each statement with its arguments, commit and rollback
	kept         []string // the statements that were committed
	index        int      // of the next call in its transaction; begin is 0, rollbacks do not count
	open         int      // connections
	maxOpen      int
	isolation    sql.IsolationLevel // of the last transaction
	readOnly     bool               // so is it
	dirty        int                // connections that were given back with an open transaction or a lock
	prepared     []string
	usedPrepared []string     // the texts of what was executed after it was prepared
	closed       atomic.Int64 // prepared statements
}

// A fault is one call that fails.
type fault struct {
	call  int    // index in its transaction; -1 is no call
	times int    // in how many transactions
	on    bool   // and every later call too
	err   error  // nil blocks until ctx ends
	when  moment // how far the call came
}

type moment int

const (
	before    moment = iota // nothing was done
	after                   // it was done, and the answer was lost
	inRows                  // a look-up failed while its rows were read
	afterRows               // a look-up failed after all rows were read
)

// errInterrupted is what drivers return instead of ctx's error.
var errInterrupted = errors.New("the driver was interrupted")

func newStub(d Dialect) *stub {
	return &stub{
		dialect: d, fault: fault{call: -1}, rows: stubRows(),
		limits:  map[recovery.Digest]time.Time{other.Key: now.Add(-time.Hour), full.Key: now.Add(time.Hour)},
		changed: func(string, []driver.NamedValue) int64 { return 1 },
	}
}

// db returns a pool of connections to the stub that lives as long as the test.
func (s *stub) db(t *testing.T) *sql.DB {
	t.Helper()
	db := sql.OpenDB(s)
	t.Cleanup(func() { is.New(t).NoErr(db.Close()) })
	return db
}

// store returns a Store on the stub, with the user table of these tests.
func (s *stub) store(t *testing.T, opts *Options) (*Store, *sql.DB) {
	t.Helper()
	is := is.New(t)
	accounts, err := stubUsers.Accounts(s.dialect)
	is.NoErr(err)
	db := s.db(t)
	store, err := New(db, s.dialect, accounts, opts)
	is.NoErr(err)
	return store, db
}

func (s *stub) Connect(context.Context) (driver.Conn, error) {
	if s.connecting != nil {
		if err := s.connecting(); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	s.maxOpen = max(s.maxOpen, s.open)
	return &stubConn{stub: s}, nil
}

func (s *stub) Driver() driver.Driver { return nil }

func (s *stub) record(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

// strikes records the next call of a transaction and reports whether it is the one that fails.
func (s *stub) strikes(call string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	s.index++
	index := s.index - 1
	if s.fault.call < 0 || index < s.fault.call || index > s.fault.call && !s.fault.on || s.fault.times == 0 {
		return false
	}
	s.fault.times--
	return true
}

// A stubConn is a connection, and the transaction on it.
type stubConn struct {
	stub    *stub
	ctx     context.Context // of the transaction, as drivers keep it for the commit
	writes  []string
	inTx    bool // a transaction is open
	aborted bool // PostgreSQL: it can only be rolled back
	locked  bool // the connection holds a named lock
}

// do makes one call: effect is what it does to the database.
func (c *stubConn) do(ctx context.Context, call string, effect func()) error {
	f := c.stub.fault
	if !c.stub.strikes(call) || f.when == inRows || f.when == afterRows {
		effect()
		return nil
	}
	if f.when == after {
		effect()
	}
	if f.err == nil {
		<-ctx.Done()
		return errInterrupted
	}
	c.aborted = c.inTx && c.stub.dialect == PostgreSQL && code(f.err) != ""
	return f.err
}

func (c *stubConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	c.stub.index = 0
	c.stub.isolation, c.stub.readOnly = sql.IsolationLevel(opts.Isolation), opts.ReadOnly
	c.ctx = ctx
	if err := c.do(ctx, "begin", func() {}); err != nil {
		return nil, err
	}
	c.inTx, c.writes = true, nil
	return c, nil
}

func (c *stubConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	var n int64
	err := c.statement(ctx, query, args, func() {
		n = c.stub.changed(query, args)
		switch {
		case strings.HasPrefix(query, "BEGIN"):
			c.inTx = true
		case query == "COMMIT":
			c.end(true)
		case query == "ROLLBACK":
			c.end(false)
		case strings.HasPrefix(query, "DO RELEASE_LOCK"):
			c.locked = false
		case n > 0 && c.inTx:
			c.writes = append(c.writes, callText(query, args))
		case n > 0:
			c.stub.kept = append(c.stub.kept, callText(query, args))
		}
	})
	return driver.RowsAffected(n), err
}

func (c *stubConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	f, index := c.stub.fault, c.stub.index
	rows := &stubRowsOf{}
	longest := ""
	for beginning := range c.stub.rows {
		if strings.HasPrefix(query, beginning) && len(beginning) > len(longest) {
			longest = beginning
		}
	}
	if isCheck(query) {
		longest = ""
	}
	if strings.HasPrefix(query, readsLimits(c.stub.dialect)) && longest != readsLimits(c.stub.dialect) {
		rows.columns, rows.rows = 2, c.stub.limitsIn(args)
	} else if row := c.stub.rows[longest]; row != nil {
		if longest == findsReset && slices.ContainsFunc(c.writes, func(w string) bool { return strings.Contains(w, "SET ended = 'used'") }) {
			row = append(slices.Clone(row[:len(row)-1]), "used")
		}
		rows.rows, rows.columns = [][]driver.Value{row}, len(row)
	}
	err := c.statement(ctx, query, args, func() {
		switch {
		case strings.HasPrefix(query, "SELECT GET_LOCK"):
			c.locked = true
		case strings.HasPrefix(query, claimsCTE), strings.HasPrefix(query, claims), strings.HasPrefix(query, locksLimits):
			c.writes = append(c.writes, callText(query, args))
		}
	})
	if index == f.call && f.times > 0 && (f.when == inRows || f.when == afterRows) {
		if rows.err = f.err; f.when == inRows {
			rows.rows = nil
		}
	}
	return rows, err
}

func (c *stubConn) statement(ctx context.Context, query string, args []driver.NamedValue, effect func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n := placeholders(c.stub.dialect, query); n != len(args) {
		return fmt.Errorf("%d placeholders and %d arguments: %s", n, len(args), query)
	}
	if slices.Contains(c.stub.refuses, query) {
		return missing[c.stub.dialect]
	}
	if c.aborted && query != "ROLLBACK" {
		c.stub.record(callText(query, args))
		return &stateError{"25P02", "current transaction is aborted"}
	}
	return c.do(ctx, callText(query, args), effect)
}

func (c *stubConn) Commit() error {
	if c.aborted {
		c.stub.record("commit")
		c.end(false)
		return errors.New("commit unexpectedly resulted in rollback")
	}
	err := c.do(c.ctx, "commit", func() { c.end(true) })
	c.end(false) // a failed commit ends the transaction too
	return err
}

func (c *stubConn) Rollback() error {
	c.stub.record("rollback")
	c.end(false)
	return nil
}

func (c *stubConn) end(keep bool) {
	if keep {
		c.stub.kept = append(c.stub.kept, c.writes...)
	}
	c.inTx, c.aborted, c.writes = false, false, nil
}

// ResetSession is called when the pool is about to lend the connection again.
func (c *stubConn) ResetSession(context.Context) error {
	if c.inTx || c.locked {
		c.stub.dirty++
	}
	return nil
}

func (c *stubConn) Close() error {
	c.stub.mu.Lock()
	defer c.stub.mu.Unlock()
	c.stub.open--
	return nil
}

// Poolers that share connections cannot keep prepared statements.
func (c *stubConn) Prepare(query string) (driver.Stmt, error) {
	if c.stub.dialect != SQLite {
		panic("the store prepares a statement")
	}
	c.stub.mu.Lock()
	defer c.stub.mu.Unlock()
	c.stub.prepared = append(c.stub.prepared, query)
	return &stubStmt{conn: c, query: query}, nil
}

// A stubStmt executes its text.
type stubStmt struct {
	driver.Stmt
	conn  *stubConn
	query string
}

func (s *stubStmt) Close() error {
	s.conn.stub.closed.Add(1)
	return nil
}

func (s *stubStmt) NumInput() int { return strings.Count(s.query, "?") }

func (s *stubStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.conn.stub.usedPrepared = append(s.conn.stub.usedPrepared, s.query)
	return s.conn.ExecContext(ctx, s.query, args)
}

func (s *stubStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.conn.stub.usedPrepared = append(s.conn.stub.usedPrepared, s.query)
	return s.conn.QueryContext(ctx, s.query, args)
}

func (c *stubConn) Begin() (driver.Tx, error) { panic("database/sql calls BeginTx") }

// stubRowsOf are the rows that a look-up found; with err, reading on after them fails.
type stubRowsOf struct {
	columns int
	rows    [][]driver.Value
	err     error
}

func (r *stubRowsOf) Columns() []string { return make([]string, r.columns) }
func (r *stubRowsOf) Close() error      { return nil }

func (r *stubRowsOf) Next(row []driver.Value) error {
	switch {
	case len(r.rows) == 0 && r.err != nil:
		return r.err
	case len(r.rows) == 0:
		return io.EOF
	}
	copy(row, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}

// callText is a statement with its arguments, spaces joined.
func callText(query string, args []driver.NamedValue) string {
	var b strings.Builder
	b.WriteString(strings.Join(strings.Fields(query), " "))
	for _, a := range args {
		fmt.Fprintf(&b, " | %x", a.Value)
	}
	return b.String()
}

// limitsIn returns what a look-up of limits finds: the keys are blobs, or in an array.
func (s *stub) limitsIn(args []driver.NamedValue) (found [][]driver.Value) {
	text := ""
	for _, a := range args {
		text += fmt.Sprintf("%x %[1]s ", a.Value)
	}
	for key, state := range s.limits {
		if strings.Contains(text, hex.EncodeToString(key[:])) {
			found = append(found, []driver.Value{key[:], state.UnixMicro()})
		}
	}
	return found
}

// readsLimits is the beginning of the statement that locks limits and reads them.
func readsLimits(d Dialect) string {
	if d == PostgreSQL {
		return locksLimits
	}
	return findsLimits
}

// sent is how a stub records a statement.
func sent(query string, args ...any) string {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i].Value = a
	}
	return callText(query, named)
}

func placeholders(d Dialect, query string) (n int) {
	if d != PostgreSQL {
		return strings.Count(query, "?")
	}
	for strings.Contains(query, "$"+strconv.Itoa(n+1)) {
		n++
	}
	return n
}
