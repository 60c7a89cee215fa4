package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"example.com/recovery"
)

// A writeTx is a transaction that writes. At its end it stores the limits and the jobs of all its
// calls, each with one statement.
type writeTx struct {
	txn
	store  *Store
	limits map[recovery.Digest]time.Time // states of the locked limits
	stored map[recovery.Digest]time.Time // the same states, as they were read
	jobs   []recovery.Job
}

func (w *writeTx) flush(ctx context.Context) error {
	counted, added := rowArgs{columns: 3}, jobRows(w.jobs)
	for _, key := range sortedKeys(w.limits) {
		if tat := w.limits[key]; tat != w.stored[key] {
			counted.add(key[:], tat.UnixMicro(), slot(tat))
		}
	}
	if w.store.sql.flush != "" {
		if counted.len()+added.len() == 0 {
			return nil
		}
		_, err := w.ExecContext(ctx, w.store.sql.flush, slices.Concat(counted.args(PostgreSQL), added.args(PostgreSQL))...)
		return err
	}
	if err := w.execAll(ctx, w.store.sql.setLimits, counted); err != nil {
		return err
	}
	return w.execAll(ctx, w.store.sql.insertJobs, added)
}

// execAll executes a statement for all rows, if there are any.
func (w *writeTx) execAll(ctx context.Context, text string, all rowArgs) error {
	for _, some := range all.pieces(w.store.dialect) {
		if _, err := w.ExecContext(ctx, some.expand(text), some.args(w.store.dialect)...); err != nil {
			return err
		}
	}
	return nil
}

// take takes the charges, or returns the error of Charges.Take. A batch has already locked the
// limits of its calls; those of a ResetBatch are locked here.
func (w *writeTx) take(ctx context.Context, at time.Time, charges recovery.Charges) error {
	if err := w.lock(ctx, charges); err != nil {
		return err
	}
	if err := charges.Take(at, w.limits); err != nil {
		return verdict{err}
	}
	return nil
}

// refund gives charges back.
func (w *writeTx) refund(ctx context.Context, charges recovery.Charges) error {
	if err := w.lock(ctx, charges); err != nil {
		return err
	}
	charges.Refund(w.limits)
	return nil
}

// lock locks the limits that are not locked yet, in the order that all transactions use, and reads
// their states. On PostgreSQL and MySQL it first inserts missing limits with state 0, because only
// rows can be locked.
func (w *writeTx) lock(ctx context.Context, charges recovery.Charges) error {
	missing := map[recovery.Digest]bool{}
	for _, c := range charges {
		if _, locked := w.limits[c.Key]; !locked {
			missing[c.Key] = true
		}
	}
	var keys rowArgs
	for _, key := range sortedKeys(missing) {
		keys.add(key[:])
		w.limits[key], w.stored[key] = time.Time{}, time.Time{}
	}
	if w.store.sql.ensureLimits != "" {
		if err := w.execAll(ctx, w.store.sql.ensureLimits, keys); err != nil {
			return err
		}
	}
	for _, some := range keys.pieces(w.store.dialect) {
		found, err := readLimits(w.QueryContext(ctx, some.expand(w.store.sql.lockLimits), some.args(w.store.dialect)...))
		if err != nil {
			return err
		}
		for _, l := range found {
			if l.tat != 0 { // zero: the row was made to be locked
				w.limits[l.key], w.stored[l.key] = fromMicro(l.tat), fromMicro(l.tat)
			}
		}
	}
	return nil
}

type storedLimit struct {
	key recovery.Digest
	tat int64
}

var readLimits = collect(func(row *sql.Rows) (l storedLimit, err error) {
	var id []byte
	err = row.Scan(&id, &l.tat)
	copy(l.key[:], id)
	return l, err
})

// slot is the minute of a state. The index is on the minute, not on the state, so most updates do
// not touch it, those of the global limit included.
func slot(tat time.Time) int64 { return tat.Unix() / 60 }

func sortedKeys[V any](m map[recovery.Digest]V) []recovery.Digest {
	return slices.SortedFunc(maps.Keys(m), func(a, b recovery.Digest) int { return bytes.Compare(a[:], b[:]) })
}
