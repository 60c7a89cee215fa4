package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
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
	r := job
	calls := []*addition{{ctx: t.Context(), at: now, job: &r}}
	for _, f := range others {
		calls = append(calls, &addition{ctx: t.Context(), write: f})
	}
	return s, store, calls
}

func writes(text string) func(context.Context, txn) error {
	return func(ctx context.Context, tx txn) error {
		_, err := tx.ExecContext(ctx, text)
		return err
	}
}

func answers(end func() error) func(context.Context, txn) error {
	return func(context.Context, txn) error { return end() }
}

func ends() error { return nil }

// made makes the calls as if they had waited, and returns what each caller gets; a panic is an
// error.
func made(store *Store, calls []*addition) (results []error) {
	for _, a := range calls {
		a.done = make(chan struct{})
	}
	store.adding.makeAll(calls)
	for _, a := range calls {
		func() {
			defer func() {
				if v := recover(); v != nil {
					results = append(results, fmt.Errorf("panic: %v", v))
				}
			}()
			results = append(results, a.result())
		}()
	}
	return results
}

func TestWritesShareATransaction(t *testing.T) {
	is := is.New(t)
	s, store, calls := sharing(t, writes("UPDATE 1"), writes("UPDATE 2"))
	is.Equal(made(store, calls), []error{nil, nil, nil})
	is.Equal(count(s.calls, "begin"), 1)
	is.Equal(count(s.calls, "commit"), 1)
	is.True(slices.ContainsFunc(s.kept, func(text string) bool { return strings.HasPrefix(text, "UPDATE 2") }))
}

// What one of them is answered is not the others', and costs them nothing.
func TestWritesAreAnswered(t *testing.T) {
	is := is.New(t)
	limited := &recovery.LimitError{Scope: recovery.ScopeMailbox, RetryAfter: time.Second}
	lost := answers(func() error { return recovery.ErrLeaseLost })
	s, store, calls := sharing(t, lost, answers(func() error { return limited }), writes("UPDATE 2"))
	is.Equal(made(store, calls), []error{nil, recovery.ErrLeaseLost, limited, nil})
	is.Equal(count(s.calls, "begin"), 1)
	is.Equal(count(s.calls, "commit"), 1)

	s, store, calls = sharing(t, lost)
	is.Equal(made(store, calls[1:]), []error{recovery.ErrLeaseLost})
	is.Equal(s.calls[len(s.calls)-1], "rollback") // there is nothing to keep
}

// An answer of a try that lost to another transaction is forgotten.
func TestAnswersOfTriesThatLost(t *testing.T) {
	is := is.New(t)
	tries := 0
	_, store, calls := sharing(t, answers(func() error {
		if tries++; tries == 1 {
			return recovery.ErrLeaseLost
		}
		return nil
	}), answers(func() error {
		if tries == 1 {
			return &numberError{5, secret}
		}
		return nil
	}))
	is.Equal(made(store, calls), []error{nil, nil, nil})
}

// What one of them fails with, be it the application's own code, is not the others'; and nothing is
// kept of it.
func TestWritesThatFailAreMadeAgainAlone(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		end  func() error
		want string
	}{
		"error": {func() error { return broken }, "sqlstore: broken"},
		"panic": {func() error { panic("hot") }, "panic: hot"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s, store, calls := sharing(t, func(ctx context.Context, tx txn) error {
				is.NoErr(writes("UPDATE 1")(ctx, tx))
				return c.end()
			}, writes("UPDATE 2"))
			results := made(store, calls)
			is.NoErr(results[0])
			is.Equal(errorText(results[1]), c.want)
			is.NoErr(results[2])
			kept := strings.Join(s.kept, "\n")
			is.Equal(strings.Count(kept, "UPDATE 1"), 0)
			is.Equal(strings.Count(kept, "UPDATE 2"), 1)
			is.Equal(strings.Count(kept, "INSERT INTO recovery_jobs"), 1)
			is.Equal(count(s.calls, "commit"), 1) // the others are together again

			_, store, calls = sharing(t, answers(c.end))
			results = made(store, calls)
			is.NoErr(results[0])
			is.Equal(errorText(results[1]), c.want)
		})
	}
}

// A write has its own caller's context, with its values, and ends when that does.
func TestWritesHaveTheirOwnContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until nobody is waited for
		is := is.New(t)
		type key struct{}
		hangs := func(ctx context.Context, _ txn) error {
			is.Equal(ctx.Value(key{}), "own")
			<-ctx.Done()
			return ctx.Err()
		}
		_, store, calls := sharing(t, hangs, writes("UPDATE 2"))
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "own"), time.Second)
		defer cancel()
		calls[1].ctx = ctx
		began := time.Now()
		results := made(store, calls)
		is.NoErr(results[0])
		is.True(errors.Is(results[1], context.DeadlineExceeded))
		is.NoErr(results[2])
		is.Equal(time.Since(began), time.Second)
	})
}

// One that hangs for as long as a transaction may last holds up the others, and is made after them.
func TestWritesThatHangFailAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until nobody is waited for
		is := is.New(t)
		began := time.Now()
		var others time.Duration
		s, store, calls := sharing(t, func(ctx context.Context, _ txn) error {
			<-ctx.Done()
			return ctx.Err()
		}, func(context.Context, txn) error {
			others = time.Since(began)
			return nil
		})
		results := made(store, calls)
		is.NoErr(results[0])
		is.True(errors.Is(results[1], context.DeadlineExceeded))
		is.NoErr(results[2])
		synctest.Wait() // for the rollbacks
		is.Equal(others, maxAddition)
		is.Equal(time.Since(began), 2*maxAddition)
		is.Equal(count(s.calls, "commit"), 1)
	})
}

// One that ends with nobody's context ends with the transaction.
func TestWritesEndWithTheirTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until nobody is waited for
		is := is.New(t)
		_, store, calls := sharing(t, func(ctx context.Context, _ txn) error {
			<-ctx.Done()
			return ctx.Err()
		})
		calls[1].ctx = context.Background()
		began := time.Now()
		is.True(made(store, calls[1:])[0] != nil)
		is.Equal(time.Since(began), maxAddition)
	})
}

// What lost to another is tried again as it was: together.
func TestSharedTransactionThatIsBusy(t *testing.T) {
	is := is.New(t)
	tries := 0
	s, store, calls := sharing(t, answers(func() error {
		if tries++; tries == 1 {
			return &numberError{5, secret}
		}
		return nil
	}))
	is.Equal(made(store, calls), []error{nil, nil})
	is.Equal(tries, 2)
	is.Equal(count(s.calls, "commit"), 1)
}

// A flood of requests does not hold up the mails.
func TestWritesComeBeforeRequests(t *testing.T) {
	is := is.New(t)
	all := &together{busy: true}
	a, b := &addition{}, &addition{}
	x, y := &addition{write: answers(ends)}, &addition{write: answers(ends)}
	for _, call := range []*addition{a, x, b, y} {
		all.enqueue(call)
	}
	is.Equal(all.waiting, []*addition{x, y, a, b})
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
			go func() { is.NoErr(all.do(&addition{ctx: t.Context(), write: answers(ends)})) }()
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
		err := store.share(ctx, answers(ends))
		cancel()
		is.Equal(err != nil, d == SQLite)
	}
}

func TestSQLiteKeepsItsStatements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStub(SQLite)
		store, db := s.store(t, nil)
		for i := range 4 {
			r := job
			r.ID = strings.Repeat("x", i+1)
			is.NoErr(store.Enqueue(t.Context(), r, recovery.Charges{free, other}))
			_, _, err := store.FindReset(t.Context(), recovery.Digest{1}, now)
			is.True(err == nil || errors.Is(err, recovery.ErrInvalidToken))
			synctest.Wait()
		}
		is.True(len(s.prepared) > 3)
		is.True(len(s.prepared) <= 5*s.maxOpen) // once for each connection
		store.prepared.close()
		is.NoErr(db.Close())
	})
}

func TestPreparedStatementsAreUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStub(SQLite)
		store, db := s.store(t, nil)
		db.SetMaxOpenConns(1)
		conn, err := db.Conn(t.Context())
		is.NoErr(err)
		exec, query, row := "UPDATE x", "SELECT x", "SELECT one"
		for range 2 { // the second time they are missing already
			for _, text := range []string{exec, query, row} {
				is.Equal(store.prepared.find(text), nil)
			}
		}
		store.prepared.prepareMissing(db)
		is.Equal(store.prepared.find("UPDATE y"), nil) // while others wait for the connection
		is.NoErr(conn.Close())
		synctest.Wait()
		is.Equal(s.prepared, []string{exec, query, row})
		is.Equal(store.prepared.missing, nil)

		bare, err := db.BeginTx(t.Context(), nil)
		is.NoErr(err)
		tx := txn{bare, store.prepared}
		_, err = tx.ExecContext(t.Context(), exec)
		is.NoErr(err)
		rows, err := tx.QueryContext(t.Context(), query)
		is.NoErr(err)
		is.NoErr(rows.Close())
		is.NoErr(tx.QueryRowContext(t.Context(), row).Err())
		is.NoErr(tx.Commit())
		is.Equal(s.usedPrepared, []string{exec, query, row})

		for range 100 {
			store.prepared.prepareMissing(db)
			store.prepared.mu.Lock()
			busy := store.prepared.busy
			store.prepared.mu.Unlock()
			is.True(!busy) // nothing is missing
		}
		store.prepared.close()
	})
}

func TestStatementsAreClosedWithTheirStore(t *testing.T) {
	is := is.New(t)
	store, db := newStub(SQLite).store(t, nil)
	p := store.prepared
	open := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.ready)
	}
	is.Equal(p.find("SELECT 1"), nil)
	p.prepareMissing(db)
	for open() == 0 {
		time.Sleep(time.Millisecond)
	}
	runtime.KeepAlive(store)
	for begin := time.Now(); open() > 0; time.Sleep(time.Millisecond) { // nobody has the Store any more
		is.True(time.Since(begin) < 10*time.Second)
		runtime.GC()
	}
}

// Nobody waits for a connection that is to prepare a statement.
func TestStatementsArePreparedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(2 * maxPrepare) // until nobody is waited for
		is := is.New(t)
		_, db := newStub(SQLite).store(t, nil)
		db.SetMaxOpenConns(1)
		conn, err := db.Conn(t.Context())
		is.NoErr(err)
		p := &prepared{ready: map[string]*sql.Stmt{}}
		is.Equal(p.find("SELECT 1"), nil)
		p.prepareMissing(db)
		time.Sleep(maxPrepare + time.Millisecond)
		is.Equal(p.find("SELECT 1"), nil) // it was not, and is missing again
		is.NoErr(conn.Close())
		p.prepareMissing(db)
		synctest.Wait()
		is.True(p.find("SELECT 1") != nil)
		p.close()
		is.Equal(p.find("SELECT 1"), nil)

		db.SetMaxOpenConns(1)
		conn, err = db.Conn(t.Context())
		is.NoErr(err)
		p = &prepared{ready: map[string]*sql.Stmt{}}
		is.Equal(p.find("SELECT 1"), nil)
		p.prepareMissing(db)
		synctest.Wait()
		p.close() // while one is being prepared
		is.NoErr(conn.Close())
		synctest.Wait()
		is.Equal(len(p.ready), 0)
		var none *prepared
		is.Equal(none.find("SELECT 1"), nil)
		none.prepareMissing(nil)
	})
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

// count returns how many of the calls begin with a text.
func count(calls []string, beginning string) (n int) {
	for _, c := range calls {
		if strings.HasPrefix(c, beginning) {
			n++
		}
	}
	return n
}
