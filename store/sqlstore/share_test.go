package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// sharing returns a Store on SQLite, and additions that are about to be made together.
func sharing(t *testing.T, others ...func(context.Context, txn) error) (*stub, *Store, []*addition) {
	t.Helper()
	s := newStub(SQLite)
	store, _ := s.store(t, nil)
	r := request
	calls := []*addition{{ctx: t.Context(), at: now, request: &r}}
	for _, f := range others {
		calls = append(calls, &addition{ctx: t.Context(), other: f})
	}
	return s, store, calls
}

func writes(text string) func(context.Context, txn) error {
	return func(ctx context.Context, tx txn) error {
		_, err := tx.ExecContext(ctx, text)
		return err
	}
}

func answers(err error) func(context.Context, txn) error {
	return func(context.Context, txn) error { return err }
}

func TestWritesShareATransaction(t *testing.T) {
	is := is.New(t)
	s, store, calls := sharing(t, writes("UPDATE 1"), answers(recovery.ErrLeaseLost), writes("UPDATE 2"))
	is.NoErr(store.add(t.Context(), calls))
	is.Equal([]error{calls[0].err, calls[1].err, calls[2].err, calls[3].err}, []error{nil, nil, recovery.ErrLeaseLost, nil})
	is.Equal(count(s.calls, "begin"), 1)
	is.Equal(count(s.calls, "commit"), 1)
	is.True(slices.ContainsFunc(s.kept, func(text string) bool { return strings.HasPrefix(text, "UPDATE 2") }))

	s, store, calls = sharing(t, answers(recovery.ErrSuperseded), answers(recovery.ErrLeaseLost))
	is.NoErr(store.add(t.Context(), calls[1:])) // nothing to keep
	is.Equal(calls[1].err, recovery.ErrSuperseded)
	is.Equal(count(s.calls, "commit"), 0)
}

// What one of them fails with, be it the application's own code, is not the others'.
func TestWritesThatFailAreMadeAgainAlone(t *testing.T) {
	broken := errors.New("broken")
	for name, f := range map[string]func(context.Context, txn) error{
		"error": answers(broken),
		"panic": func(context.Context, txn) error { panic(secret) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s, store, calls := sharing(t, f, writes("UPDATE 2"))
			for _, a := range calls {
				a.done = make(chan struct{})
			}
			store.adding.makeAll(calls)
			is.NoErr(calls[0].err)
			is.True(calls[1].err != nil)
			is.True(!strings.Contains(calls[1].err.Error(), secret))
			is.Equal(errors.Is(calls[1].err, broken), name == "error")
			is.NoErr(calls[2].err)
			is.Equal(count(s.calls, "commit"), 2)
			kept := strings.Join(s.kept, "\n")
			is.Equal(strings.Count(kept, "UPDATE 2"), 1)
			is.Equal(strings.Count(kept, "INSERT INTO recovery_requests"), 1)
		})
	}
}

// Whoever waits for a mail to be sent does not come again at once.
func TestNobodyWaitsForOtherWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until nobody is waited for
		is := is.New(t)
		m := &maker{takes: time.Second}
		all := &together{make: m.make}
		_, first := start(all, t.Context())
		for range 2 {
			go func() { is.NoErr(all.do(&addition{ctx: t.Context(), other: answers(nil)})) }()
		}
		synctest.Wait()
		is.NoErr(first())
		time.Sleep(time.Second)
		synctest.Wait()
		is.Equal(len(m.made), 2)
		is.Equal(len(m.made[1]), 2)
		is.NoErr(all.do(&addition{ctx: t.Context()})) // nobody is at it
		is.Equal(m.ctxs[2], t.Context())
	})
}

// Only SQLite has one writer: elsewhere these calls do not wait for each other.
func TestOnlySQLiteSharesOtherWrites(t *testing.T) {
	for _, d := range dialects {
		is := is.New(t)
		store, _ := newStub(d).store(t, nil)
		store.adding.busy = true // it never ends
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		err := store.share(ctx, answers(nil))
		cancel()
		is.Equal(err != nil, d == SQLite)
	}
}

func TestSQLiteKeepsItsStatements(t *testing.T) {
	is := is.New(t)
	s := newStub(SQLite)
	store, db := s.store(t, nil)
	db.SetMaxOpenConns(1) // preparing must not need another
	for i := range 4 {
		r := request
		r.ID = strings.Repeat("x", i+1)
		is.NoErr(store.AddRequest(t.Context(), r, recovery.Charges{Hard: []recovery.Charge{free, other}}))
		_, _, err := store.FindReset(t.Context(), recovery.Digest{1}, now)
		is.True(err == nil || errors.Is(err, recovery.ErrInvalidToken))
	}
	is.True(len(s.prepared) > 3)
	once := slices.Sorted(slices.Values(s.prepared))
	is.Equal(len(slices.Compact(once)), len(s.prepared))
}

// A statement that cannot be prepared is executed as it is.
func TestStatementsThatCannotBePrepared(t *testing.T) {
	is := is.New(t)
	p := &prepared{ready: map[string]*sql.Stmt{}}
	is.Equal(p.find("SELECT 1"), nil)
	_, db := newStub(SQLite).store(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.prepare(ctx, db)
	is.Equal(p.find("SELECT 1"), nil)
	p.prepare(t.Context(), db)
	is.True(p.find("SELECT 1") != nil)
	var none *prepared
	is.Equal(none.find("SELECT 1"), nil)
	none.prepare(t.Context(), nil)
}

func TestPieces(t *testing.T) {
	is := is.New(t)
	var r rows
	for i := range 21 {
		r.add(int64(i), int64(-i))
	}
	var sizes []int
	var values []any
	for _, some := range r.pieces(SQLite) {
		sizes = append(sizes, some.len())
		values = append(values, some.values...)
	}
	is.Equal(sizes, []int{16, 4, 1})
	is.Equal(values, r.values)
	is.Equal(len(r.pieces(MySQL)), 1)
	is.Equal(r.len(), 21)
	is.Equal(len((&rows{}).pieces(SQLite)), 0)
}

func count(calls []string, call string) (n int) {
	for _, c := range calls {
		if c == call {
			n++
		}
	}
	return n
}
