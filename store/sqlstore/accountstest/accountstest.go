// Package accountstest checks that a [sqlstore.Accounts] keeps every promise of its comments.
//
// # Use
//
// If you write an Accounts, or embed one and change a method, call [Run] from a test, with a
// function that makes an empty user table in a database of the kind that the application uses:
//
//	func TestAccounts(t *testing.T) {
//		accountstest.Run(t, func(t *testing.T) accountstest.Fixture {
//			db := openTestDatabase(t)
//			return accountstest.Fixture{
//				DB: db, Dialect: sqlstore.PostgreSQL, Accounts: users{…},
//				Put: …, Remove: …, PasswordHash: …,
//			}
//		})
//	}
//
// Each case enforces one sentence and prints it when it fails. A case that needs an account that
// the application cannot have is skipped, and says so: see [Fixture].
//
// Package storetest checks a whole [recovery.Store]. It cannot find the faults of a mapping,
// because it does not see transactions.
//
// # Compatibility
//
// A new version may have new cases: an Accounts that fails one broke a promise before.
package accountstest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
)

// A Fixture holds an Accounts under test on an empty user table, and functions that use the table
// as the application does. Put, Remove and PasswordHash work on DB outside any transaction.
type Fixture struct {
	DB       *sql.DB
	Dialect  sqlstore.Dialect
	Accounts sqlstore.Accounts

	// Put adds an account with all its fields, or replaces the one with its ID. It ignores the
	// Version. If the application cannot have such an account, Put must do nothing and return an
	// error that wraps [errors.ErrUnsupported]. Examples are a tenant where there are none, a
	// second account with an address or a user name that must be unique, and an ID that the column
	// would change.
	Put func(account recovery.Account, passwordHash string) error
	// Remove deletes an account.
	Remove func(id string) error
	// PasswordHash returns the stored password hash of an account.
	PasswordHash func(id string) (string, error)

	// ID returns the n-th ID of the tests, for n from 1 to 9, in the database's sort order. If the
	// column takes numbers or UUIDs, it returns their texts. Nil means that IDs are any text; only
	// then do the tests try IDs that look alike, such as "a" and "A".
	ID func(n int) string

	// Unusable lists the texts, besides "", that may be stored in place of a password hash, such as
	// "!", which some frameworks write for accounts that cannot log in. Nil means that there are
	// none.
	Unusable []string

	// HashLength is the length of the application's password hashes: default 97, the length of
	// [recovery.HashPassword]'s. Bcrypt's is 60.
	HashLength int
}

// Run runs every case as a subtest, each on a fixture of its own.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) {
					switch err := c.check(t.Context(), open(t)).(type) {
					case nil:
					case skipped:
						t.Skip(err)
					default:
						t.Errorf("%s\n\tthe interface says: %s", err, c.sentence)
					}
				})
			}
		})
	}
}

var groups = []struct {
	name  string
	cases []testCase
}{
	{"FindAccounts", findCases},
	{"AccountByID", byIDCases},
	{"SetPassword", passwordCases},
	{"Transactions", transactionCases},
}

type testCase struct {
	name     string
	sentence string
	run      func(*bench)
}

// patience bounds each case, because a call that waits for another connection's lock may wait for
// ever.
const patience = 30 * time.Second

// check runs the case and returns its failure, or why it is skipped.
func (c testCase) check(ctx context.Context, f Fixture) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			ended, ok := v.(end)
			if !ok {
				panic(v)
			}
			err = ended.err
		}
	}()
	if f.HashLength == 0 {
		f.HashLength = 97
	}
	c.run(&bench{Fixture: f, ctx: ctx})
	return nil
}

// end is the value with which a step panics to end its case.
type end struct{ err error }

// skipped says why a case was skipped.
type skipped string

func (s skipped) Error() string { return string(s) }

// A bench gives a case its fixture, and steps that end the case when they fail.
type bench struct {
	Fixture
	ctx context.Context
}

func (b *bench) fail(format string, args ...any) { panic(end{fmt.Errorf(format, args...)}) }

// skip ends the case because the application has nothing of the kind.
func (b *bench) skip(why string) { panic(end{skipped(why)}) }

func (b *bench) ok(err error, what string) {
	if err != nil {
		b.fail("%s: unexpected error: %v", what, err)
	}
}

func (b *bench) want(ok bool, format string, args ...any) {
	if !ok {
		b.fail(format, args...)
	}
}

func (b *bench) id(n int) string {
	if b.ID == nil {
		return strconv.Itoa(n)
	}
	return b.ID(n)
}

// account returns an eligible account with the n-th ID, not yet stored.
func (b *bench) account(n int) recovery.Account {
	name := fmt.Sprint("user", n)
	return recovery.Account{
		ID: b.id(n), Username: name, Email: name + "@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}
}

// alice stores the account that most cases use. Every application can have it.
func (b *bench) alice() recovery.Account {
	a := b.account(1)
	a.Username, a.Email = "alice", "alice@example.com"
	b.ok(b.Put(a, "hash-0"), "Put of an eligible account without a tenant") // else all cases would be skipped
	return a
}

// try stores an account, and reports whether the application can have it.
func (b *bench) try(a recovery.Account, hash string) bool {
	err := b.Put(a, hash)
	if errors.Is(err, errors.ErrUnsupported) {
		return false
	}
	b.want(err == nil, "Put: unexpected error: %v; if the application cannot have such an account, say a second one with a name"+
		" that must be unique, return errors.ErrUnsupported", err)
	return true
}

// put stores an account that the case cannot do without.
func (b *bench) put(a recovery.Account, hash string) {
	if !b.try(a, hash) {
		b.skip("Put says that the application has no such account")
	}
}

func (b *bench) hash(id string) string {
	hash, err := b.PasswordHash(id)
	b.ok(err, "PasswordHash")
	return hash
}

// reading returns the options of the Store's reading transactions.
func (b *bench) reading() *sql.TxOptions {
	if b.Dialect == sqlstore.PostgreSQL {
		return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	return nil
}

// writing returns the options of the Store's writing transactions.
func (b *bench) writing() *sql.TxOptions {
	if b.Dialect == sqlstore.PostgreSQL {
		return &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	}
	return nil
}

// in runs f in a transaction, and then commits it or rolls it back.
func (b *bench) in(opts *sql.TxOptions, end func(*sql.Tx) error, f func(tx *sql.Tx)) {
	tx, err := b.DB.BeginTx(b.ctx, opts)
	b.ok(err, "BeginTx")
	defer func() { _ = tx.Rollback() }() // after its end it does nothing
	f(tx)
	b.ok(end(tx), "the store's commit or rollback")
}

func (b *bench) look(f func(tx *sql.Tx))    { b.in(b.reading(), (*sql.Tx).Rollback, f) }
func (b *bench) attempt(f func(tx *sql.Tx)) { b.in(b.writing(), (*sql.Tx).Rollback, f) }
func (b *bench) write(f func(tx *sql.Tx))   { b.in(b.writing(), (*sql.Tx).Commit, f) }

// find asks in a transaction of its own.
func (b *bench) find(q recovery.AccountQuery) (found []recovery.Account) {
	b.look(func(tx *sql.Tx) {
		var err error
		if found, err = b.Accounts.FindAccounts(b.ctx, tx, q); errors.Is(err, sqlstore.ErrNotAnID) {
			found, err = nil, nil
		}
		b.ok(err, "FindAccounts")
	})
	return found
}

// byName asks for a user name as people type it.
func (b *bench) byName(tenant, typed string) []recovery.Account {
	return b.find(b.query(tenant, recovery.ByUsername, typed))
}

func (b *bench) byEmail(tenant, typed string) []recovery.Account {
	return b.find(b.query(tenant, recovery.ByEmail, typed))
}

// query returns the query that the Service makes of a typed text.
func (b *bench) query(tenant string, by recovery.IdentifierKind, typed string) recovery.AccountQuery {
	canonical, err := typed, error(nil)
	switch by {
	case recovery.ByUsername:
		canonical, err = recovery.CanonicalUsername(typed)
	case recovery.ByEmail:
		canonical, err = recovery.CanonicalEmail(typed)
	}
	b.ok(err, "the canonical form")
	return recovery.AccountQuery{Tenant: tenant, By: by, Typed: typed, Canonical: canonical, Max: 10}
}

// byID wants AccountByID to find the account with the ID.
func (b *bench) byID(tx *sql.Tx, id string, lock bool) recovery.Account {
	found, err := b.Accounts.AccountByID(b.ctx, tx, id, lock)
	b.ok(err, "AccountByID")
	b.want(len(found) == 1, "AccountByID found %d accounts, not 1", len(found))
	b.want(found[0].ID == id, "AccountByID found the account %q, not %q", found[0].ID, id)
	return found[0]
}

// stored returns the account with the ID, from a transaction of its own.
func (b *bench) stored(id string) (a recovery.Account) {
	b.look(func(tx *sql.Tx) { a = b.byID(tx, id, false) })
	return a
}

func (b *bench) set(tx *sql.Tx, id, hash string) {
	b.ok(b.Accounts.SetPassword(b.ctx, tx, id, hash), "SetPassword")
}

func hasID(accounts []recovery.Account, id string) bool {
	for _, a := range accounts {
		if a.ID == id {
			return true
		}
	}
	return false
}

// same reports whether two accounts are the same, except for their Versions.
func same(a, b recovery.Account) bool {
	a.Version = b.Version
	return a == b
}
