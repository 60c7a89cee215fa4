package accountstest

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"example.com/recovery"
)

const (
	inTx   = "All methods must work in tx."
	itsEnd = "All methods must neither commit tx nor roll it back."
	again  = "If a transaction loses to another, the store calls the methods again in a new one."
)

var transactionCases = []testCase{
	{"RolledBack", inTx, func(b *bench) {
		a := b.alice()
		before := b.stored(a.ID)
		b.attempt(func(tx *sql.Tx) {
			b.byID(tx, a.ID, true)
			b.set(tx, a.ID, "hash-1")
		})
		b.hasHash(a.ID, "hash-0")
		b.want(b.stored(a.ID) == before, "a transaction that was rolled back changed the account")
	}},
	{"Again", again, func(b *bench) {
		a := b.alice()
		for range 3 {
			b.attempt(func(tx *sql.Tx) {
				b.byID(tx, a.ID, true)
				b.set(tx, a.ID, "hash-1")
				b.byID(tx, a.ID, true)
			})
			b.want(same(b.stored(a.ID), a), "after a transaction that was rolled back, the account came back with other fields")
		}
		b.write(func(tx *sql.Tx) {
			b.byID(tx, a.ID, true)
			b.set(tx, a.ID, "hash-1")
		})
		b.hasHash(a.ID, "hash-1")
	}},
	{"LeftOpen", itsEnd, func(b *bench) {
		a := b.alice()
		for name, call := range b.calls(a) {
			b.attempt(func(tx *sql.Tx) {
				b.set(tx, a.ID, "hash-1")
				b.ok(call(b.ctx, tx), name)
				_, err := tx.ExecContext(b.ctx, "SELECT 1")
				b.want(err == nil, "%s ended tx: %v", name, err)
			})
			b.hasHash(a.ID, "hash-0")
		}
		b.attempt(func(tx *sql.Tx) {
			err := b.Accounts.SetPassword(b.ctx, tx, b.id(2), "hash-1")
			b.want(err != nil, "SetPassword did not fail for an ID that nobody has")
			_, err = tx.ExecContext(b.ctx, "SELECT 1")
			b.want(!errors.Is(err, sql.ErrTxDone), "SetPassword, which failed, ended tx")
		})
	}},
	{"Context", "All methods must return ctx's error soon after ctx ends.", func(b *bench) {
		a := b.alice()
		for name, call := range b.calls(a) {
			ended, end := context.WithCancel(b.ctx)
			end()
			b.attempt(func(tx *sql.Tx) {
				b.want(call(ended, tx) != nil, "%s worked though ctx had ended", name)
			})
		}
	}},
	{"Concurrent", "Many goroutines may call the methods at once.", func(b *bench) {
		for n := range 9 {
			b.put(b.account(n+1), "hash-0")
		}
		errs := make(chan error, 9)
		var all sync.WaitGroup
		for n := range 9 {
			all.Go(func() {
				want := b.account(n + 1)
				errs <- testCase{run: func(b *bench) {
					for range 20 {
						b.want(same(b.stored(want.ID), want), "AccountByID returned another account's fields")
						for _, q := range b.queries("", want) {
							found := b.find(q)
							b.want(len(found) == 1 && same(found[0], want), "FindAccounts returned another account's fields")
						}
					}
				}}.check(b.ctx, b.Fixture)
			})
		}
		all.Wait()
		close(errs)
		for err := range errs {
			b.want(err == nil, "%v", err)
		}
	}},
}

// calls returns the calls that the store makes for the account.
func (b *bench) calls(a recovery.Account) map[string]func(context.Context, *sql.Tx) error {
	calls := map[string]func(context.Context, *sql.Tx) error{
		"AccountByID without lock": func(ctx context.Context, tx *sql.Tx) error {
			_, err := b.Accounts.AccountByID(ctx, tx, a.ID, false)
			return err
		},
		"AccountByID with lock": func(ctx context.Context, tx *sql.Tx) error {
			_, err := b.Accounts.AccountByID(ctx, tx, a.ID, true)
			return err
		},
		"SetPassword": func(ctx context.Context, tx *sql.Tx) error {
			return b.Accounts.SetPassword(ctx, tx, a.ID, "hash-1")
		},
	}
	for _, q := range b.queries("", a) {
		calls["FindAccounts by "+string(q.By)] = func(ctx context.Context, tx *sql.Tx) error {
			_, err := b.Accounts.FindAccounts(ctx, tx, q)
			return err
		}
	}
	return calls
}
