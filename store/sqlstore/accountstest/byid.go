package accountstest

import (
	"context"
	"database/sql"
	"time"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
)

const withLock = "With lock it must keep others from changing the account until tx ends."

var byIDCases = []testCase{
	{"Fields", "AccountByID must return the account with the ID, of any tenant.", func(b *bench) {
		a := b.alice()
		for _, change := range []func(*recovery.Account){
			func(*recovery.Account) {},
			func(a *recovery.Account) { a.Active = false },
			func(a *recovery.Account) { a.HasPassword, a.SignIn = false, "Google" },
			func(a *recovery.Account) { a.EmailVerified, a.Locale = false, "ja" },
			func(a *recovery.Account) { a.Tenant = "acme" },
		} {
			a := a
			change(&a)
			if !b.try(a, hashOf(a)) {
				continue
			}
			b.write(func(tx *sql.Tx) {
				b.want(same(b.byID(tx, a.ID, false), a), "without lock, the account came back with other fields")
				b.want(same(b.byID(tx, a.ID, true), a), "with lock, the account came back with other fields")
			})
		}
	}},
	{"Among", "AccountByID must return the account with the ID, or none.", func(b *bench) {
		for n := range 9 {
			b.put(b.account(n+1), "hash-0")
		}
		for n := range 9 {
			b.want(same(b.stored(b.id(n+1)), b.account(n+1)), "it returned another account's fields")
		}
	}},
	{"UnknownID", unknownID, func(b *bench) {
		b.alice()
		for _, lock := range []bool{false, true} {
			for _, id := range append(b.unknownIDs(), b.lookAlikes()...) {
				b.attempt(func(tx *sql.Tx) {
					found, err := b.Accounts.AccountByID(b.ctx, tx, id, lock)
					b.nobody(tx, id, found, err)
				})
			}
		}
	}},
	{"LookAlikeIDs", "IDs that differ in one byte must be different IDs.", func(b *bench) {
		b.eachPair(func(one, two recovery.Account) {
			b.want(same(b.stored(one.ID), one), "the ID %q returned another account's fields", one.ID)
			b.want(same(b.stored(two.ID), two), "the ID %q returned another account's fields", two.ID)
		})
	}},
	{"Gone", "AccountByID must return the account as it is at that moment, or none.", func(b *bench) {
		a := b.alice()
		b.stored(a.ID)
		b.ok(b.Remove(a.ID), "Remove")
		for _, lock := range []bool{false, true} {
			b.attempt(func(tx *sql.Tx) {
				found, err := b.Accounts.AccountByID(b.ctx, tx, a.ID, lock)
				b.ok(err, "AccountByID of a deleted account")
				b.want(len(found) == 0, "a deleted account was found")
			})
		}
	}},
	{"AsItIs", "AccountByID must return the account as it is at that moment.", func(b *bench) {
		a := b.alice()
		before := b.stored(a.ID)
		a.Active = false
		hash := "hash-0"
		if !b.try(a, hash) {
			a.Active, hash = true, "hash-1"
			b.put(a, hash)
		}
		after := b.stored(a.ID)
		b.want(after != before && same(after, a), "it did not return what the application changed")
		if b.Dialect == sqlstore.SQLite {
			return // nobody can change it while a transaction writes
		}
		// A MySQL transaction keeps seeing the state of its first read, except with a lock.
		b.attempt(func(tx *sql.Tx) {
			b.byID(tx, a.ID, false)
			a.Email = "new@example.com"
			b.put(a, hash)
			b.want(same(b.byID(tx, a.ID, true), a), "with lock, it returned the account as it was before another changed it")
		})
	}},
	{"AfterSetPassword", "All methods must work in tx.", func(b *bench) {
		a := b.alice()
		before := b.stored(a.ID)
		b.attempt(func(tx *sql.Tx) {
			b.byID(tx, a.ID, true)
			b.set(tx, a.ID, "hash-1")
			after := b.byID(tx, a.ID, true)
			b.want(after.Version != before.Version, "AccountByID does not see what SetPassword did in the same tx")
			found, err := b.Accounts.FindAccounts(b.ctx, tx, b.query("", recovery.ByUsername, a.Username))
			b.ok(err, "FindAccounts")
			b.want(len(found) == 1 && found[0].Version == after.Version, "FindAccounts does not see what SetPassword did in the same tx")
		})
	}},
	{"Lock", withLock, func(b *bench) {
		if b.Dialect == sqlstore.SQLite {
			b.skip("SQLite locks the whole database")
		}
		a := b.alice()
		wait := 300 * time.Millisecond // long enough for Put, and longer if Put is slow
		for range 3 {
			began := time.Now()
			b.put(a, "hash-0")
			wait = max(wait, 10*time.Since(began))
		}
		done := make(chan error, 1)
		b.write(func(tx *sql.Tx) {
			locked := b.byID(tx, a.ID, true)
			go func() { done <- b.Put(a, "hash-1") }()
			select {
			case <-done:
				b.fail("another changed the account while tx had it locked")
			case <-time.After(wait):
			}
			b.want(b.byID(tx, a.ID, true) == locked, "the account changed while tx had it locked")
		})
		b.ok(<-done, "Put, after the lock")
	}},
	{"NoLock", "Without lock, it must only read.", func(b *bench) {
		if b.Dialect == sqlstore.SQLite {
			b.skip("SQLite has no locks of rows")
		}
		a := b.alice()
		b.attempt(func(tx *sql.Tx) {
			b.byID(tx, a.ID, true)
			ctx, cancel := context.WithTimeout(b.ctx, patience/3)
			defer cancel()
			(&bench{Fixture: b.Fixture, ctx: ctx}).stored(a.ID) // does not wait for the lock
		})
	}},
	{"ReadsOnly", "Without lock, it must only read.", func(b *bench) {
		a := b.alice()
		tx, err := b.DB.BeginTx(b.ctx, &sql.TxOptions{ReadOnly: b.Dialect != sqlstore.SQLite})
		b.ok(err, "BeginTx")
		defer func() { _ = tx.Rollback() }()
		if b.Dialect == sqlstore.SQLite {
			_, err := tx.ExecContext(b.ctx, "PRAGMA query_only = 1")
			b.ok(err, "PRAGMA query_only")
			defer func() { _, _ = tx.Exec("PRAGMA query_only = 0") }() // a setting of the connection
		}
		b.byID(tx, a.ID, false)
		for _, q := range b.queries("", a) {
			_, err := b.Accounts.FindAccounts(b.ctx, tx, q)
			b.ok(err, "FindAccounts in a transaction that cannot write")
		}
	}},
}

// eachPair stores pairs of accounts whose IDs look alike, if IDs are texts, and calls f with each
// that the application can have.
func (b *bench) eachPair(f func(one, two recovery.Account)) {
	if b.ID != nil {
		b.skip("IDs are not any text")
	}
	pairs := 0
	for _, ids := range [][2]string{{"Id-1", "id-1"}, {"id-2 ", "id-2"}, {"07", "7"}, {"é", "e"}, {"ＡＢ", "AB"}, {"1e3", "1000"}, {"ß", "ss"}} {
		one, two := b.account(1), b.account(2)
		one.ID, two.ID = ids[0], ids[1]
		if !b.try(one, "hash-0") {
			continue
		}
		if b.try(two, "hash-0") {
			f(one, two)
			pairs++
			b.ok(b.Remove(two.ID), "Remove")
		}
		b.ok(b.Remove(one.ID), "Remove")
	}
	if pairs == 0 {
		b.skip("Put says that no two IDs look alike")
	}
}
