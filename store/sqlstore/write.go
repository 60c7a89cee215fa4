package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/groupcommit"
)

const (
	// maxBatch is how many calls share a transaction: enough for the commit to cost little of each.
	maxBatch = 64

	// maxBatchTime bounds how long calls wait for a batch. A batch takes far less. The bound holds
	// even for drivers that do not heed a context: go-sql-driver's COMMIT, and lib/pq.
	maxBatchTime = 30 * time.Second
)

// A call is one write.
type call struct {
	ctx     context.Context
	charges recovery.Charges // their limits are locked before any call of the batch is made
	run     func(context.Context, *writeTx) error
	urgent  bool

	verdict error // a refusal, or nil
}

// A verdict is a refusal that the caller gets as its error: limit reached, lease lost, token dead.
// Nothing failed, so the rest of the batch is committed. A call that ends with one must have
// written nothing.
type verdict struct{ error }

func (v verdict) Unwrap() error { return v.error }

// writing is write for calls that return something. A caller that left early does not read the
// result of f.
func writing[T any](ctx context.Context, s *Store, f func(context.Context, *writeTx) (T, error)) (T, error) {
	var made, none T
	err := s.write(ctx, func(ctx context.Context, w *writeTx) (err error) {
		made, err = f(ctx, w)
		return err
	})
	if err != nil {
		return none, err
	}
	return made, nil
}

// write runs f in a transaction that writes. On SQLite, which has one writer, f shares the
// transaction and runs on another goroutine. There it goes before requests: such calls are few, and
// a flood of requests must not delay mails.
func (s *Store) write(ctx context.Context, f func(context.Context, *writeTx) error) error {
	c := &call{ctx: ctx, run: f}
	if s.dialect == SQLite {
		c.urgent = true
		return s.share(s.commits, c)
	}
	if err := s.runCalls(ctx, []*call{c}); err != nil {
		return err
	}
	return c.verdict
}

// share makes the call in a transaction that others share.
func (s *Store) share(group *groupcommit.Group[*call], c *call) error {
	switch err := group.Do(c.ctx, c, c.urgent); {
	case errors.Is(err, groupcommit.ErrLeft):
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	case err != nil && err == c.ctx.Err():
		return fmt.Errorf("sqlstore: %w", err)
	case err != nil:
		return err
	}
	return c.verdict
}

// errNothing rolls back a transaction that has nothing to keep.
var errNothing = errors.New("nothing to keep")

// readCommitted is for transactions that write to PostgreSQL. At higher levels a statement does not
// see what was committed while its transaction waited for a lock.
var readCommitted = &sql.TxOptions{Isolation: sql.LevelReadCommitted}

// runCalls makes the calls in one transaction.
func (s *Store) runCalls(ctx context.Context, calls []*call) error {
	var opts *sql.TxOptions
	if s.dialect == PostgreSQL { // MySQL's locking reads see the latest state at every level
		opts = readCommitted
	}
	err := s.transact(ctx, opts, func(tx txn) error { return s.makeCalls(ctx, tx, calls) })
	if errors.Is(err, errNothing) {
		return nil
	}
	if len(calls) > 1 && refusedData(err) { // the error does not say whose
		return fmt.Errorf("%w: %w", groupcommit.ErrApart, err)
	}
	return err
}

// makeCalls makes the calls in a transaction, one after the other.
func (s *Store) makeCalls(ctx context.Context, tx txn, calls []*call) error {
	w := &writeTx{txn: tx, store: s, limits: map[recovery.Digest]time.Time{}, stored: map[recovery.Digest]time.Time{}}
	if s.sql.lockDatabase != "" {
		if _, err := tx.ExecContext(ctx, s.sql.lockDatabase); err != nil {
			return err
		}
	}
	var charges recovery.Charges
	for _, c := range calls {
		charges = append(charges, c.charges...)
	}
	if err := w.lock(ctx, charges); err != nil {
		return err
	}
	refused := 0
	for i, c := range calls {
		err := error(nil)
		if len(calls) == 1 {
			err = c.runIn(ctx, w)
		} else {
			err = groupcommit.Call(i, func() error {
				if err := c.runIn(ctx, w); err != nil {
					return err
				}
				return ctx.Err() // blame this call if the batch ran out of time in it
			})
		}
		if err != nil {
			return err
		}
		if c.verdict != nil {
			refused++
		}
	}
	if refused == len(calls) {
		return errNothing
	}
	return w.flush(ctx)
}

// runIn makes the call within a transaction. It runs with the context of its own caller,
// because it may run the application's code.
func (c *call) runIn(ctx context.Context, w *writeTx) error {
	own, cancel := context.WithCancel(c.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	c.verdict = nil // of an earlier attempt
	err := c.run(own, w)
	if v, ok := err.(verdict); ok { // always the store's: the application cannot make one
		c.verdict, err = v.error, nil
	}
	if err != nil && c.ctx.Err() != nil {
		return c.ctx.Err() // drivers word it differently, and ctx may end a moment later
	}
	return err
}
