package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.com/recovery"
)

// A tally is what is known of the limits that a transaction counts against. The rows are locked, so
// nobody else counts meanwhile.
type tally struct {
	grouped bool // limits share rows
	state   map[recovery.Digest]time.Time
}

// A group is a row of SQLite, where each costs the one writer its time: the limits whose keys differ at
// the end only, as those of an identifier do.
type group struct {
	id   []byte // what the keys begin with
	tat  int64  // the latest, so that the row goes when all its limits are over
	tats []byte // an entry for each, in order: the end of its key and its state in microseconds
}

const (
	groupSize = 24
	entrySize = len(recovery.Digest{}) - groupSize + 8
)

func (g *group) add(key recovery.Digest, tat int64) {
	g.tat = max(g.tat, tat)
	g.tats = append(g.tats, key[groupSize:]...)
	g.tats = binary.BigEndian.AppendUint64(g.tats, uint64(tat))
}

// tally locks and reads the limits of the charges.
func (s *Store) tally(ctx context.Context, tx txn, calls []*addition) (*tally, error) {
	t := &tally{grouped: s.dialect == SQLite, state: map[recovery.Digest]time.Time{}}
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
	ids := t.ids()
	if s.sql.ensureLimits != "" {
		if err := s.execAll(ctx, tx, s.sql.ensureLimits, ids); err != nil {
			return nil, err
		}
	}
	for _, some := range ids.pieces(s.dialect) {
		if err := t.read(tx.QueryContext(ctx, some.expand(s.sql.lockLimits), some.args(s.dialect)...)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// ids returns the rows that hold the limits, in the order in which all transactions lock.
func (t *tally) ids() (ids rows) {
	var last []byte
	for _, key := range sortedKeys(t.state) {
		id := key[:]
		if t.grouped {
			id = key[:groupSize]
		}
		if !bytes.Equal(id, last) {
			ids.add(id)
		}
		last = id
	}
	return ids
}

func (t *tally) read(found *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	defer found.Close()
	for found.Next() {
		row := t.readLimit
		if t.grouped {
			row = t.readGroup
		}
		if err := row(found); err != nil {
			return err
		}
	}
	return found.Err()
}

func (t *tally) readLimit(row *sql.Rows) error {
	var id []byte
	var tat int64
	if err := row.Scan(&id, &tat); err != nil {
		return err
	}
	t.state[recovery.Digest(id)] = fromMicro(tat)
	return nil
}

// readGroup reads all limits of a row, for it is stored as a whole.
func (t *tally) readGroup(row *sql.Rows) error {
	var id, tats []byte
	if err := row.Scan(&id, &tats); err != nil {
		return err
	}
	if len(tats)%entrySize != 0 {
		return fmt.Errorf("the states of limits in a row are %d bytes, which is no multiple of %d", len(tats), entrySize)
	}
	var key recovery.Digest
	copy(key[:], id)
	for entry := range slices.Chunk(tats, entrySize) {
		end := copy(key[groupSize:], entry)
		t.state[key] = fromMicro(int64(binary.BigEndian.Uint64(entry[end:])))
	}
	return nil
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
	var groups []*group
	for _, key := range sortedKeys(t.state) {
		state := t.state[key]
		switch last := len(groups) - 1; {
		case state.IsZero():
		case !t.grouped:
			counted.add(key[:], state.UnixMicro())
		case last >= 0 && bytes.HasPrefix(key[:], groups[last].id):
			groups[last].add(key, state.UnixMicro())
		default:
			g := &group{id: key[:groupSize], tat: state.UnixMicro()}
			g.add(key, state.UnixMicro())
			groups = append(groups, g)
		}
	}
	for _, g := range groups {
		counted.add(g.id, g.tat, g.tats)
	}
	return counted
}
