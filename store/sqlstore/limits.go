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

// refund gives charges back in a transaction. A limit that is not stored has nothing to give back.
func (s *Store) refund(ctx context.Context, tx txn, charges recovery.Charges) error {
	states, err := s.lockStored(ctx, tx, limitRows(charges))
	if err != nil {
		return err
	}
	charges.Refund(states)
	return s.setLimits(ctx, tx, states)
}

// lockLimits locks the limits of all charges, stored or not, and returns the states of those that
// have one.
func (s *Store) lockLimits(ctx context.Context, tx txn, all ...recovery.Charges) (map[recovery.Digest]time.Time, error) {
	ids := limitRows(all...)
	if s.sql.ensureLimits != "" {
		if err := s.execAll(ctx, tx, s.sql.ensureLimits, ids); err != nil {
			return nil, err
		}
	}
	return s.lockStored(ctx, tx, ids)
}

// limitRows are the keys of all charges, each once, in the order in which all transactions lock.
func limitRows(all ...recovery.Charges) (ids rows) {
	keys := map[recovery.Digest]bool{}
	for _, charges := range all {
		for _, c := range charges {
			keys[c.Key] = true
		}
	}
	for _, key := range sortedKeys(keys) {
		ids.add(key[:])
	}
	return ids
}

// lockStored locks those limits that are stored and returns their states.
func (s *Store) lockStored(ctx context.Context, tx txn, ids rows) (map[recovery.Digest]time.Time, error) {
	states := map[recovery.Digest]time.Time{}
	if ids.len() == 0 {
		return states, nil
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
			if tat != 0 { // else the row was made to be locked
				states[key] = fromMicro(tat)
			}
		}
		return found.Err()
	}
}

func (s *Store) setLimits(ctx context.Context, tx txn, states map[recovery.Digest]time.Time) error {
	var counted rows
	for _, key := range sortedKeys(states) {
		counted.add(key[:], states[key].UnixMicro())
	}
	return s.execAll(ctx, tx, s.sql.setLimits, counted)
}

func sortedKeys[V any](m map[recovery.Digest]V) []recovery.Digest {
	return slices.SortedFunc(maps.Keys(m), func(a, b recovery.Digest) int { return bytes.Compare(a[:], b[:]) })
}
