package sqlstore

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestPreparedStatementsAreUsed(t *testing.T) {
	is := is.New(t)
	s := newStub(SQLite)
	store, db := s.store(t, nil)
	db.SetMaxOpenConns(1) // a statement is prepared on it before the transaction has it
	p := store.prepared
	exec, query, row := "UPDATE x", "SELECT x", "SELECT one"
	for range 2 { // the second time they are missing already
		for _, text := range []string{exec, query, row} {
			is.Equal(p.find(text), nil)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	p.prepare(gone, db)
	is.Equal(p.find(row), nil) // and it is missing again
	for _, text := range []string{exec, query} {
		is.Equal(p.find(text), nil)
	}
	is.NoErr(store.read(t.Context(), func(tx txn) error {
		is.Equal(s.prepared, []string{row, exec, query})
		is.Equal(p.missing, nil)
		_, err := tx.ExecContext(t.Context(), exec)
		is.NoErr(err)
		rows, err := tx.QueryContext(t.Context(), query)
		is.NoErr(err)
		is.NoErr(rows.Close())
		return tx.QueryRowContext(t.Context(), row).Err()
	}))
	is.Equal(s.usedPrepared, []string{exec, query, row})

	var none *prepared
	is.Equal(none.find("SELECT 1"), nil)
	none.prepare(t.Context(), nil)
}

func TestStatementsAreClosedWithTheirStore(t *testing.T) {
	is := is.New(t)
	s := newStub(SQLite)
	store, _ := s.store(t, nil)
	is.Equal(store.prepared.find("SELECT 1"), nil)
	is.NoErr(store.read(t.Context(), func(txn) error { return nil }))
	is.Equal(len(s.prepared), 1)
	store.prepared.find("SELECT missing")
	runtime.KeepAlive(store)
	for begin := time.Now(); s.closed.Load() == 0; time.Sleep(time.Millisecond) { // nobody has the Store any more
		is.True(time.Since(begin) < 10*time.Second)
		runtime.GC()
	}
}
