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

// TakeLimits implements [recovery.Queue].
func (s *Store) TakeLimits(ctx context.Context, at time.Time, charges recovery.Charges) error {
	charges = slices.Clone(charges)
	return s.share(s.tries, &call{ctx: ctx, charges: charges, run: func(ctx context.Context, w *work) error {
		return w.take(ctx, at, charges)
	}})
}

// RefundLimits implements [recovery.Queue].
func (s *Store) RefundLimits(ctx context.Context, charges recovery.Charges) error {
	charges = slices.Clone(charges)
	return s.write(ctx, func(ctx context.Context, w *work) error { return w.refund(ctx, charges) })
}

// take takes the charges, or returns the error of Charges.Take. A batch has already locked the
// limits of its calls; those of a ResetBatch are locked here.
func (w *work) take(ctx context.Context, at time.Time, charges recovery.Charges) error {
	if err := w.lock(ctx, charges); err != nil {
		return err
	}
	if err := charges.Take(at, w.limits); err != nil {
		return verdict{err}
	}
	return nil
}

// refund gives charges back.
func (w *work) refund(ctx context.Context, charges recovery.Charges) error {
	if err := w.lock(ctx, charges); err != nil {
		return err
	}
	charges.Refund(w.limits)
	return nil
}

// lock locks the limits that are not locked yet, in the order that all transactions use, and reads
// their states. On PostgreSQL and MySQL it first inserts the missing ones, with a state long past,
// to have rows to lock.
func (w *work) lock(ctx context.Context, charges recovery.Charges) error {
	missing := map[recovery.Digest]bool{}
	for _, c := range charges {
		if _, locked := w.limits[c.Key]; !locked {
			missing[c.Key] = true
		}
	}
	var keys rows
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
