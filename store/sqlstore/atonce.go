package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"time"

	"example.com/recovery"
)

// In PostgreSQL additions are one statement, which locks the limits, judges them and stores what passes.
// It can judge what is usual: calls that all pass those limits that must be passed, and of which no two
// are about one identifier. Everything else is left to a transaction, where [recovery.Limit.Take] judges
// each call after the other.

// A judgement is what the statement needs to know of one limit. All times are microseconds.
type judgement struct {
	times []time.Time // of the events to count, in order
	limit recovery.Limit
	owner int64 // the call that it throttles, counted from 1; 0 refuses all calls
}

// row returns the arguments of the statement, false if only Take can judge. Of a limit whose state is
// tat, the events pass if tat is at most ceiling, and leave the later of floor and tat + step. If tat
// is beyond absurd, it is no state.
func (j judgement) row(key recovery.Digest) ([]any, bool) {
	every, full := j.limit.Every, time.Duration(j.limit.Burst)*j.limit.Every
	if every%time.Microsecond != 0 {
		return nil, false
	}
	var floor time.Time
	ceiling := j.times[0].Add(full)
	for i, at := range j.times {
		if at.Nanosecond()%1000 != 0 || at.Sub(j.times[0]).Abs() > recovery.MaxClockSkew {
			return nil, false
		}
		var wait time.Duration
		if floor, wait = j.limit.Take(floor, at); wait > 0 {
			return nil, false
		}
		if c := at.Add(full - time.Duration(i+1)*every); c.Before(ceiling) {
			ceiling = c
		}
	}
	step := time.Duration(len(j.times)) * every
	absurd := j.times[0].Add(full + recovery.MaxClockSkew)
	return []any{key[:], floor.UnixMicro(), step.Microseconds(), ceiling.UnixMicro(), absurd.UnixMicro(), j.owner}, true
}

// judgements returns the rows of all limits that the calls are charged with, false if only Take can
// judge them.
func judgements(calls []*addition) (limits rows, ok bool) {
	all := map[recovery.Digest]*judgement{}
	charge := func(c recovery.Charge, at time.Time, owner int64) bool {
		j := all[c.Key]
		if j == nil {
			j = &judgement{limit: c.Limit, owner: owner}
			all[c.Key] = j
		}
		j.times = append(j.times, at)
		return j.limit == c.Limit && j.owner == owner && (owner == 0 || len(j.times) == 1)
	}
	for i, call := range calls {
		for _, c := range call.charges.Hard {
			if !charge(c, call.at, 0) {
				return rows{}, false
			}
		}
		for _, c := range call.charges.Soft {
			if !charge(c, call.at, int64(i+1)) {
				return rows{}, false
			}
		}
	}
	for _, key := range sortedKeys(all) { // all transactions lock in one order
		row, ok := all[key].row(key)
		if !ok {
			return rows{}, false
		}
		limits.add(row...)
	}
	return limits, true
}

// addAtOnce makes the additions in one statement and reports whether it did. If not, nothing was done.
func (s *Store) addAtOnce(ctx context.Context, calls []*addition) (made bool, err error) {
	limits, ok := judgements(calls)
	if !ok {
		return false, nil
	}
	var requests []recovery.Job
	for _, c := range calls {
		if c.request != nil {
			requests = append(requests, *c.request)
		}
	}
	added := requestRows(requests)
	args := append(limits.arrays(6), added.arrays(12)...)
	err = s.transact(ctx, func() (err error) {
		if made, err = s.execAtOnce(ctx, args); code(err) == divisionByZero {
			return nil
		}
		return err
	})
	return made, err
}

// divisionByZero is how the statement undoes what it did, when a limit that it missed was made meanwhile.
const divisionByZero = "22012"

func (s *Store) execAtOnce(ctx context.Context, args []any) (made bool, err error) {
	if s.autocommits.Load() {
		made, usual, err := passed(s.db.QueryContext(ctx, s.sql.addAtOnce, args...))
		switch {
		case err != nil && !decided(err) && !unsent(err):
			return false, fmt.Errorf("%w: %w", ErrUnknownOutcome, hide(err))
		case err != nil || usual:
			return made, err
		}
		s.autocommits.Store(false) // the sessions begin with another isolation level
	}
	err = s.once(ctx, readCommitted, func(tx txn) error {
		made, _, err = passed(tx.QueryContext(ctx, s.sql.addAtOnce, args...))
		return err
	})
	return made && err == nil, err
}

// passed reads what the statement answers: whether it did something, and whether it was at the level
// READ COMMITTED, without which it does nothing.
func passed(found *sql.Rows, err error) (made, usual bool, _ error) {
	if err != nil {
		return false, false, err
	}
	defer found.Close()
	for found.Next() {
		if err := found.Scan(&made, &usual); err != nil {
			return false, false, err
		}
	}
	if err := found.Err(); err != nil {
		return false, false, err // what came before it is undone
	}
	return made, usual, nil
}

// unsent reports whether the driver knows that nothing reached the database.
func unsent(err error) bool {
	var safe interface{ SafeToRetry() bool } // pgx
	var network *net.OpError
	return errors.Is(err, driver.ErrBadConn) || // database/sql has tried other connections
		errors.As(err, &safe) && safe.SafeToRetry() || errors.As(err, &network) && network.Op == "dial"
}

// autocommits reports whether a driver sends a statement and its arguments as one message, as pgx does.
// Others first have it prepared: behind a pooler the second message may reach another session, unless
// there is a transaction.
func autocommits(db *sql.DB, d Dialect) bool {
	if db == nil || d != PostgreSQL {
		return false
	}
	t := reflect.TypeOf(db.Driver())
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t != nil && strings.HasPrefix(t.PkgPath(), "github.com/jackc/pgx/")
}
