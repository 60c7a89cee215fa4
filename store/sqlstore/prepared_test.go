package sqlstore

import (
	"database/sql"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

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
