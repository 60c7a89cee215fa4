package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
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
