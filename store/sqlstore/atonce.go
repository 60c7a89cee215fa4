package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"time"

	"example.com/recovery"
)

// On PostgreSQL additions are one statement, which locks the limits, judges them and stores the
// jobs. It judges the usual case only: all calls pass, and no charge has Repeat. It does nothing in
// any other case, and then a transaction asks Charges.Take for each call after the other.

// A judgement is what the statement needs to know of one limit. All times are microseconds.
type judgement struct {
	times   []time.Time // of the events to count, in order
	limit   recovery.Limit
	lenient bool
}

// row returns the arguments of the statement, false if only Take can judge. Of a limit whose state
// is tat, the events are counted if tat is at most ceiling, and leave the later of floor and tat +
// step. The call passes if tat is at most the last argument, which is more for a lenient charge.
func (j judgement) row(key recovery.Digest) ([]any, bool) {
	every, full := j.limit.Every, time.Duration(j.limit.Burst)*j.limit.Every
	if every%time.Microsecond != 0 {
		return nil, false
	}
	var floor time.Time
	ceiling := j.times[0].Add(full)
	most := ceiling // as far as a right clock brings a state
	for i, at := range j.times {
		next, wait := j.limit.Take(floor, at)
		if wait > 0 || next.Before(floor.Add(every)) || at.Nanosecond()%1000 != 0 { // before: clocks were set
			return nil, false
		}
		floor = next
		if c := at.Add(full - time.Duration(i+1)*every); c.Before(ceiling) {
			ceiling = c
		}
	}
	if !j.lenient {
		most = ceiling
	}
	step := time.Duration(len(j.times)) * every
	return []any{key[:], floor.UnixMicro(), step.Microseconds(), ceiling.UnixMicro(), most.UnixMicro()}, true
}

// judgements returns the rows of all limits that the calls are charged with, and those of the
// limits of each job's client: the job's place, counted from 1, the limit's key and its Every. It
// returns false if only Take can judge.
func judgements(calls []*addition) (limits, clients rows, ok bool) {
	all := map[recovery.Digest]*judgement{}
	place := int64(0)
	for _, call := range calls {
		if call.job != nil {
			place++
		}
		for _, c := range call.charges {
			j := all[c.Key]
			if j == nil {
				j = &judgement{limit: c.Limit, lenient: c.Lenient}
				all[c.Key] = j
			}
			j.times = append(j.times, call.at)
			if j.limit != c.Limit || j.lenient != c.Lenient || c.Repeat > 0 {
				return rows{}, rows{}, false
			}
			if call.job != nil && c.Scope == recovery.ScopeClient {
				clients.add(place, c.Key[:], c.Limit.Every.Microseconds())
			}
		}
	}
	for _, key := range sortedKeys(all) { // all transactions lock in one order
		row, ok := all[key].row(key)
		if !ok {
			return rows{}, rows{}, false
		}
		limits.add(row...)
	}
	return limits, clients, true
}

// addAtOnce makes the additions in one statement and reports whether it did. If not, nothing was
// done. Jobs of one client that are added together get one Turn, that of the last.
func (s *Store) addAtOnce(ctx context.Context, calls []*addition) (made bool, err error) {
	limits, clients, ok := judgements(calls)
	if !ok {
		return false, nil
	}
	var jobs []recovery.Job
	for _, c := range calls {
		if c.job != nil {
			jobs = append(jobs, *c.job)
		}
	}
	added := jobRows(jobs)
	args := slices.Concat(limits.arrays(5), clients.arrays(3), added.arrays(jobValues)[:jobValues-2]) // without turn and order_at
	err = s.transact(ctx, func() (err error) {
		if made, err = s.execAtOnce(ctx, args); code(err) == divisionByZero {
			return nil
		}
		return err
	})
	return made, err
}

// divisionByZero is how the statement undoes what it did, when a limit that it missed was made
// meanwhile.
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

// passed reads what the statement answers: whether it did something, and whether it was at the
// level READ COMMITTED, without which it does nothing.
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

// autocommits reports whether a driver sends a statement and its arguments as one message, as pgx
// does. Others first have it prepared: behind a pooler the second message may reach another
// session, unless there is a transaction.
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
