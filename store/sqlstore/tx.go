package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"example.com/recovery"
)

const (
	firstPause = 2 * time.Millisecond
	maxPause   = 100 * time.Millisecond
)

// read runs f in a transaction that only reads, and reads one state.
func (s *Store) read(ctx context.Context, f func(txn) error) error {
	var opts *sql.TxOptions
	if s.dialect == PostgreSQL { // the others do by default
		opts = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	return s.transact(ctx, func() error { return s.once(ctx, opts, f) })
}

// readCommitted is the level of what writes to PostgreSQL. At higher ones a statement does not see
// what was committed while its transaction waited for a lock, and a counter that many want is lost
// too often.
var readCommitted = &sql.TxOptions{Isolation: sql.LevelReadCommitted}

// write runs f in a transaction that writes.
func (s *Store) write(ctx context.Context, f func(txn) error) error {
	var opts *sql.TxOptions
	if s.dialect == PostgreSQL { // MySQL's guarded writes and locking reads see the latest state at every level
		opts = readCommitted
	}
	return s.transact(ctx, func() error {
		if err := s.turn.take(ctx); err != nil {
			return err
		}
		defer s.turn.pass()
		return s.once(ctx, opts, func(tx txn) error {
			if err := s.lock(ctx, tx); err != nil {
				return err
			}
			return f(tx)
		})
	})
}

// A turn has the writers of one process wait for each other in order, where the database can only
// have them try again after a while. A nil turn never blocks.
type turn chan struct{}

func (t turn) take(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) pass() {
	if t != nil {
		<-t
	}
}

// transact runs a transaction, again if it lost to another.
func (s *Store) transact(ctx context.Context, once func() error) error {
	for attempt := 1; ; attempt++ {
		err := once()
		switch {
		case err == nil || isOurs(err):
			return err
		case errors.Is(err, ErrUnknownOutcome) && ctx.Err() != nil:
			return fmt.Errorf("%w: %w", err, ctx.Err())
		case errors.Is(err, ErrUnknownOutcome):
			return err
		case errors.As(err, new(*loneError)) && ctx.Err() != nil:
			return err // the others are made in another transaction
		case ctx.Err() != nil:
			return fmt.Errorf("sqlstore: %w", ctx.Err()) // drivers have words of their own for it
		case !lostToAnother(err) || attempt == s.attempts:
			return fmt.Errorf("sqlstore: %w", hide(err))
		}
		pause(ctx, attempt)
	}
}

// pause waits before the next attempt, longer after each.
func pause(ctx context.Context, attempt int) {
	mean := min(firstPause<<min(attempt, 10), maxPause)
	timer := time.NewTimer(mean/2 + rand.N(mean))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (s *Store) once(ctx context.Context, opts *sql.TxOptions, f func(txn) error) error {
	tx, err := s.db.BeginTx(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := f(txn{tx, s.prepared}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err = tx.Commit(); err != nil && !decided(err) {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, hide(err))
	}
	s.prepared.prepareMissing(s.db)
	return err
}

// execAll executes a statement for all rows, if there are any.
func (s *Store) execAll(ctx context.Context, tx txn, text string, all rows) error {
	if all.len() == 0 {
		return nil
	}
	for _, some := range all.pieces(s.dialect) {
		if _, err := tx.ExecContext(ctx, some.expand(text), some.args(s.dialect)...); err != nil {
			return err
		}
	}
	return nil
}

// isOurs reports whether err is an answer of the store, not a failure of the database.
func isOurs(err error) bool {
	return errors.Is(err, recovery.ErrInvalidToken) || errors.Is(err, recovery.ErrLeaseLost) || errors.Is(err, recovery.ErrLimited)
}

// code returns the database's own name of an error, "" if it did not come from the database. It
// knows the drivers by their methods, and MySQL's by the form of its text, so that none is
// imported.
func code(err error) string {
	var state interface{ SQLState() string } // pgx, lib/pq
	if errors.As(err, &state) {
		return state.SQLState()
	}
	var number interface{ Code() int } // modernc.org/sqlite
	if errors.As(err, &number) {
		return strconv.Itoa(number.Code() & 0xff) // without the extended part
	}
	return mysqlCode(err)
}

func mysqlCode(err error) string {
	if err == nil {
		return ""
	}
	if rest, ok := strings.CutPrefix(err.Error(), "Error "); ok { // "Error 1213 (40001): …"
		if digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]; digits != "" {
			return "MySQL " + digits
		}
	}
	switch wrapper := err.(type) {
	case interface{ Unwrap() error }:
		return mysqlCode(wrapper.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range wrapper.Unwrap() {
			if c := mysqlCode(e); c != "" {
				return c
			}
		}
	}
	return ""
}

// decided reports whether the error of a commit says that nothing was committed.
func decided(err error) bool {
	if errors.Is(err, sql.ErrTxDone) {
		return true // it was not sent
	}
	switch c := code(err); c {
	case "", // no answer of the database
		"40003", "MySQL 1180", "10": // it does not know: completion unknown, error during COMMIT, SQLITE_IOERR
		return false
	case "MySQL 1053", "MySQL 1927": // shutdown, connection killed
		return false
	default: // connection exception (poolers say so for the server), operator intervention
		return !strings.HasPrefix(c, "08") && !strings.HasPrefix(c, "57P")
	}
}

// lostToAnother reports whether the transaction failed because of another one.
func lostToAnother(err error) bool {
	switch code(err) {
	case "40001", "40P01", // serialization failure, deadlock
		"MySQL 1213", "MySQL 1205", "MySQL 1020", // deadlock, lock wait timeout, record has changed
		"5", "6": // SQLITE_BUSY, SQLITE_LOCKED
		return true
	}
	return false
}

// refusedData reports whether the database refused what it was given: PostgreSQL's classes "data
// exception" and "integrity constraint violation", SQLITE_TOOBIG and SQLITE_CONSTRAINT, and of
// MySQL everything that was decided.
func refusedData(err error) bool {
	if errors.Is(err, ErrUnknownOutcome) || lostToAnother(err) {
		return false
	}
	switch c := code(err); {
	case c == "18", c == "19", strings.HasPrefix(c, "MySQL "):
		return true
	default:
		return len(c) == 5 && (c[:2] == "22" || c[:2] == "23")
	}
}

// hide keeps the values that databases put into their messages out of the text of err.
func hide(err error) error {
	if c := code(err); c != "" {
		return &databaseError{c, err}
	}
	return err
}

type databaseError struct {
	code string
	err  error
}

func (e *databaseError) Error() string { return "the database refused with code " + e.code }
func (e *databaseError) Unwrap() error { return e.err }
