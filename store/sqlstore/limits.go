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

// charge counts the charges in a transaction, or returns the error of Charges.Take.
func (s *Store) charge(ctx context.Context, tx txn, at time.Time, charges recovery.Charges) error {
	states, err := s.lockLimits(ctx, tx, charges)
	if err != nil {
		return err
	}
	if err := charges.Take(at, states); err != nil {
		return err
	}
	return s.setLimits(ctx, tx, states)
}

// lockLimits locks the limits of all charges and returns their states.
func (s *Store) lockLimits(ctx context.Context, tx txn, all ...recovery.Charges) (map[recovery.Digest]time.Time, error) {
	states := map[recovery.Digest]time.Time{}
	for _, charges := range all {
		for _, c := range charges {
			states[c.Key] = time.Time{}
		}
	}
	if len(states) == 0 {
		return states, nil
	}
	var ids rows
	for _, key := range sortedKeys(states) { // all transactions lock in one order
		ids.add(key[:])
	}
	if s.sql.ensureLimits != "" {
		if err := s.execAll(ctx, tx, s.sql.ensureLimits, ids); err != nil {
			return nil, err
		}
	}
	for _, some := range ids.pieces(s.dialect) {
		if err := readLimits(states)(tx.QueryContext(ctx, some.expand(s.sql.lockLimits), some.args(s.dialect)...)); err != nil {
			return nil, err
		}
	}
	return states, nil
}

func readLimits(states map[recovery.Digest]time.Time) func(*sql.Rows, error) error {
	return func(found *sql.Rows, err error) error {
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
			var key recovery.Digest
			copy(key[:], id)
			states[key] = fromMicro(tat)
		}
		return found.Err()
	}
}

func (s *Store) setLimits(ctx context.Context, tx txn, states map[recovery.Digest]time.Time) error {
	var counted rows
	for _, key := range sortedKeys(states) {
		if state := states[key]; !state.IsZero() {
			counted.add(key[:], state.UnixMicro())
		}
	}
	return s.execAll(ctx, tx, s.sql.setLimits, counted)
}

func sortedKeys[V any](m map[recovery.Digest]V) []recovery.Digest {
	return slices.SortedFunc(maps.Keys(m), func(a, b recovery.Digest) int { return bytes.Compare(a[:], b[:]) })
}
