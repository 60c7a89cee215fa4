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

// A tally is what is known of the limits that a transaction counts against. The rows are locked, so
// nobody else counts meanwhile.
type tally struct {
	stored map[recovery.Digest]int64 // as they are in the table, in microseconds; missing ones are not there
	state  map[recovery.Digest]time.Time
}

// tally locks and reads the limits of the charges.
func (s *Store) tally(ctx context.Context, tx txn, calls []*addition) (*tally, error) {
	t := &tally{stored: map[recovery.Digest]int64{}, state: map[recovery.Digest]time.Time{}}
	for _, c := range calls {
		for _, charges := range [][]recovery.Charge{c.charges.Hard, c.charges.Soft} {
			for _, charge := range charges {
				t.state[charge.Key] = time.Time{}
			}
		}
	}
	if len(t.state) == 0 {
		return t, nil
	}
	var keys rows
	for _, key := range sortedKeys(t.state) { // all transactions lock in one order
		keys.add(key[:])
	}
	if s.sql.ensureLimits != "" {
		if err := s.execAll(ctx, tx, s.sql.ensureLimits, keys); err != nil {
			return nil, err
		}
	}
	for _, some := range keys.pieces(s.dialect) {
		if err := t.read(tx.QueryContext(ctx, some.expand(s.sql.lockLimits), some.args(s.dialect)...)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *tally) read(found *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		var id []byte
		var tat int64
		if err := found.Scan(&id, &tat); err != nil {
			return err
		}
		key := recovery.Digest(id)
		t.stored[key], t.state[key] = tat, fromMicro(tat)
	}
	return found.Err()
}

func sortedKeys[V any](m map[recovery.Digest]V) []recovery.Digest {
	return slices.SortedFunc(maps.Keys(m), func(a, b recovery.Digest) int { return bytes.Compare(a[:], b[:]) })
}

// take counts all of the charges, or none and returns the one that has to wait longest.
func (t *tally) take(at time.Time, charges []recovery.Charge) error {
	var refused *recovery.LimitError
	for _, c := range charges {
		if _, wait := c.Limit.Take(t.state[c.Key], at); wait > 0 && (refused == nil || wait > refused.RetryAfter) {
			refused = &recovery.LimitError{Scope: c.Scope, RetryAfter: wait}
		}
	}
	if refused != nil {
		return refused
	}
	for _, c := range charges {
		t.state[c.Key], _ = c.Limit.Take(t.state[c.Key], at)
	}
	return nil
}

// changes returns the limits to store: those that were counted, and those that let nothing pass as they
// are, so that a request over its limit takes as long as another.
func (t *tally) changes() (counted rows) {
	for _, key := range sortedKeys(t.state) {
		if state := t.state[key]; !state.IsZero() {
			counted.add(key[:], state.UnixMicro())
		}
	}
	return counted
}
