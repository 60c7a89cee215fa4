package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

func TestCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
		lost bool
	}{
		{nil, "", false},
		{errors.New("no"), "", false},
		{errors.New("Error in the network"), "", false},
		{errors.New("Error : no"), "", false},
		{errors.New("the text has Error 1213 in it"), "", false},
		{sql.ErrNoRows, "", false},
		{context.Canceled, "", false},
		{&stateError{"40001", "no"}, "40001", true},
		{&stateError{"40P01", "no"}, "40P01", true},
		{&stateError{"23505", "no"}, "23505", false},
		{&stateError{"", "no"}, "", false},
		{&numberError{5, "no"}, "5", true},
		{&numberError{6, "no"}, "6", true},
		{&numberError{261, "no"}, "5", true}, // SQLITE_BUSY_RECOVERY
		{&numberError{517, "no"}, "5", true}, // SQLITE_BUSY_SNAPSHOT
		{&numberError{262, "no"}, "6", true}, // SQLITE_LOCKED_SHAREDCACHE
		{&numberError{19, "no"}, "19", false},
		{errors.New("Error 1213 (40001): Deadlock found"), "MySQL 1213", true},
		{errors.New("Error 1213: Deadlock found"), "MySQL 1213", true}, // older drivers
		{errors.New("Error 1205 (HY000): Lock wait timeout"), "MySQL 1205", true},
		{errors.New("Error 1020 (HY000): Record has changed"), "MySQL 1020", true},
		{errors.New("Error 12130 (40001): no"), "MySQL 12130", false},
		{errors.New("Error 1062"), "MySQL 1062", false},
	} {
		for how, err := range map[string]error{
			"bare":          c.err,
			"wrapped":       fmt.Errorf("the application: %w", c.err),
			"wrapped twice": fmt.Errorf("the application: %w", fmt.Errorf("its table: %w", c.err)),
			"beside":        fmt.Errorf("the application: %w, %w", errors.New("no"), c.err),
			"joined":        errors.Join(errors.New("no"), c.err),
			"joined deep":   fmt.Errorf("the application: %w", errors.Join(errors.New("no"), fmt.Errorf("row: %w", c.err))),
		} {
			if c.err == nil && how != "bare" {
				continue
			}
			t.Run(fmt.Sprintf("%v %s", c.err, how), func(t *testing.T) {
				is := is.New(t)
				is.Equal(code(err), c.code)
				is.Equal(lostToAnother(err), c.lost)
			})
		}
	}
}

func TestDecided(t *testing.T) {
	is := is.New(t)
	is.True(decided(sql.ErrTxDone)) // ctx ended first, and database/sql rolled back
	is.True(!decided(io.ErrUnexpectedEOF))
}

// A call that always loses ends with its ctx, in the middle of a pause too.
func TestPausesEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		s.fault = fault{call: 1, times: 1000, err: &stateError{"40001", "no"}}
		store, _ := s.store(t, &Options{Attempts: 100})
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		start := time.Now()
		_, err := store.Purge(ctx, now, now, 100)
		is.True(errors.Is(err, context.DeadlineExceeded)) // ctx's own error
		is.Equal(err.Error(), "sqlstore: context deadline exceeded")
		is.Equal(time.Since(start), 4*time.Second) // at once
		is.True(len(s.calls) >= 3*26)              // begin, statement and rollback, after at most 150 ms
		is.True(len(s.calls) < 3*100)              // and, once the pauses have grown, at least 50 ms
	})
}

func TestRefusedData(t *testing.T) {
	is := is.New(t)
	mysql := func(code string) error { return errors.New("Error " + code + " (HY000): no") }
	for _, err := range []error{
		&stateError{"22021", "no"}, &stateError{"23505", "no"}, &numberError{18, "no"}, &numberError{2067, "no"},
		mysql("1062"), mysql("1406"), hide(mysql("1366")),
	} {
		t.Log(err)
		is.True(refusedData(err))
		is.True(!refusedData(fmt.Errorf("%w: %w", ErrUnknownOutcome, err))) // it may have been done
	}
	for _, err := range []error{
		nil, errors.New("no"), &stateError{"42501", "no"}, &stateError{"22", "no"}, &stateError{"40001", "no"},
		&numberError{5, "no"}, &numberError{13, "no"}, mysql("1213"), mysql("1205"),
	} {
		t.Log(err)
		is.True(!refusedData(err))
	}
}

// Who has lost waits for 2 to 6 ms, and twice as long each time, up to 50 to 150 ms: at random, so
// that two who lost to each other do not meet again.
func TestPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		const tries = 100
		store, _ := newStub(PostgreSQL).store(t, &Options{Attempts: tries})
		var shortest, longest [tries - 1]time.Duration
		for range 200 {
			n := 0
			var last time.Time
			err := store.transact(t.Context(), nil, func(txn) error {
				if n > 0 {
					took := time.Since(last)
					if shortest[n-1] == 0 || took < shortest[n-1] {
						shortest[n-1] = took
					}
					longest[n-1] = max(longest[n-1], took)
				}
				n++
				last = time.Now()
				return &stateError{"40001", "no"}
			})
			is.Equal(code(err), "40001")
			is.Equal(n, tries)
		}
		middle := 4 * time.Millisecond
		for i := range longest {
			t.Log(i, shortest[i], longest[i])
			is.True(shortest[i] >= middle/2)
			is.True(shortest[i] < middle*3/4)
			is.True(longest[i] > middle*5/4)
			is.True(longest[i] < middle*3/2)
			middle = min(2*middle, 100*time.Millisecond)
		}
	})
}

func TestCancelledBeforehand(t *testing.T) {
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			is := is.New(t)
			s := newStub(MySQL)
			store, _ := s.store(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := m.call(ctx, store)
			is.True(errors.Is(err, context.Canceled))
			is.Equal(len(s.calls), 0) // nothing was sent
		})
	}
}

// cancelling ends ctx after the last statement, before the commit.
type cancelling struct {
	Accounts
	cancel func()
}

func (c cancelling) FindAccounts(context.Context, *sql.Tx, recovery.AccountQuery) ([]recovery.Account, error) {
	c.cancel()
	return []recovery.Account{alice}, nil
}

func TestNothingIsCommittedAfterTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		ctx, cancel := context.WithCancel(t.Context())
		store, err := New(s.db(t), PostgreSQL, cancelling{cancel: cancel}, nil)
		is.NoErr(err)
		found, err := store.FindAccounts(ctx, recovery.AccountQuery{})
		is.True(errors.Is(err, context.Canceled))
		is.True(!errors.Is(err, ErrUnknownOutcome)) // it is known: nothing was sent
		is.Equal(found, nil)
		synctest.Wait() // database/sql rolls back on a goroutine of its own
		is.Equal(s.calls, []string{"begin", "rollback"})
	})
}

// panicking is an application whose mapping has a bug.
type panicking struct{ Accounts }

func (panicking) AccountByID(context.Context, *sql.Tx, string, bool) ([]recovery.Account, error) {
	panic("a bug")
}

func TestPanicRollsBack(t *testing.T) {
	is := is.New(t)
	s := newStub(SQLite)
	db := s.db(t)
	store, err := New(db, SQLite, panicking{}, nil)
	is.NoErr(err)
	func() {
		defer func() { is.Equal(recover(), "a bug") }()
		_, _ = store.CreateResets(t.Context(), mint())
	}()
	is.Equal(db.Stats().InUse, 0) // the connection is back
	is.Equal(s.calls[len(s.calls)-1], "rollback")
	is.Equal(s.kept, nil)
}

func TestErrorTexts(t *testing.T) {
	for _, c := range []struct {
		fault fault
		text  string
	}{
		{fault{call: 1, times: 1, err: errors.New("no")}, "sqlstore: no"},
		{fault{call: 1, times: 1, err: &stateError{"23505", secret}}, "sqlstore: the database refused with code 23505"},
		{fault{call: 1, times: 1, err: errors.New("Error 1062 (23000): " + secret)}, "sqlstore: the database refused with code MySQL 1062"},
		{fault{call: 5, times: 1, err: errors.New("cut")}, "sqlstore: the transaction may or may not have been committed: cut"},
		{
			fault{call: 5, times: 1, err: &stateError{"08P01", secret}},
			"sqlstore: the transaction may or may not have been committed: the database refused with code 08P01",
		},
	} {
		t.Run(c.text, func(t *testing.T) {
			is := is.New(t)
			s := newStub(MySQL)
			s.fault = c.fault
			store, _ := s.store(t, nil)
			_, err := store.Purge(t.Context(), now, now, 100)
			is.Equal(errorText(err), c.text)
		})
	}
}

// SQLite has one writer: those of a process wait in Go, where they are woken in order and end with
// their ctx. Other databases have row locks.
func TestWritersOfSQLiteTakeTurns(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newStub(d)
				s.fault = fault{call: 1, times: 1} // the first one hangs
				store, _ := s.store(t, nil)
				first, leave := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() {
					_, err := store.Purge(first, now, now, 1)
					done <- err
				}()
				synctest.Wait()
				second, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := store.Purge(second, now, now, 1)
				is.Equal(errors.Is(err, context.DeadlineExceeded), d == SQLite)
				is.Equal(err == nil, d != SQLite)
				leave()
				is.True(errors.Is(<-done, context.Canceled))
				_, err = store.Purge(t.Context(), now, now, 1)
				is.NoErr(err) // the turn was passed on
			})
		})
	}
}
