package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"example.com/recovery/internal/groupcommit"
)

const (
	firstPause = 2 * time.Millisecond
	maxPause   = 100 * time.Millisecond
)

// read runs f in a transaction that only reads, and sees one state of the database.
func (s *Store) read(ctx context.Context, f func(txn) error) error {
	var opts *sql.TxOptions
	if s.dialect == PostgreSQL { // the default level of the others does the same
		opts = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	return s.transact(ctx, opts, f)
}

// transact runs f in a transaction, and retries it in a new one after a conflict.
func (s *Store) transact(ctx context.Context, opts *sql.TxOptions, f func(txn) error) error {
	for attempt := 1; ; attempt++ {
		err := s.once(ctx, opts, f)
		if v, ok := err.(verdict); ok {
			return v.error
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrUnknownOutcome) && ctx.Err() != nil:
			return fmt.Errorf("%w: %w", err, ctx.Err())
		case errors.Is(err, ErrUnknownOutcome):
			return err
		case errors.As(err, new(*groupcommit.CallError)) && ctx.Err() != nil:
			return err // groupcommit retries the others without it
		case ctx.Err() != nil:
			return fmt.Errorf("sqlstore: %w", ctx.Err()) // drivers word it differently
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
	s.prepared.prepare(ctx, s.db)
	tx, err := s.db.BeginTx(ctx, opts)
	if err != nil {
		return hideInBegin(err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if err := f(txn{tx, s.prepared}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err = tx.Commit(); err != nil && !decided(err) {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, hide(err))
	}
	return err
}

// collect returns a function that reads all rows of a query, each with scan.
func collect[T any](scan func(*sql.Rows) (T, error)) func(*sql.Rows, error) ([]T, error) {
	return func(rows *sql.Rows, err error) (all []T, _ error) {
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		for rows.Next() {
			one, err := scan(rows)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
		return all, nil
	}
}
