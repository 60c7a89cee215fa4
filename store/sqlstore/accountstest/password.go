package accountstest

import (
	"database/sql"
	"strings"

	"example.com/recovery"
)

const setsOne = "SetPassword must set the whole password hash of the account with the ID, and change nothing else of it and no other account."

var passwordCases = []testCase{
	{"Sets", setsOne, func(b *bench) {
		a := b.alice()
		before := b.stored(a.ID)
		for _, hash := range []string{"hash-1", "h'; --?$1"} {
			b.write(func(tx *sql.Tx) {
				b.byID(tx, a.ID, true)
				b.set(tx, a.ID, hash)
			})
			b.hasHash(a.ID, hash)
			after := b.stored(a.ID)
			b.want(same(after, before), "SetPassword changed more of the account than its password")
			b.want(after.Version != before.Version, "the Version did not change with the password")
			before = after
		}
	}},
	{"OnlyTheOne", setsOne, func(b *bench) {
		a := b.alice()
		ids := []string{a.ID}
		for n := 2; n <= 9; n++ {
			other := a // as similar as it can be
			other.ID = b.id(n)
			if n%2 == 0 {
				other.Tenant = "acme"
			}
			if !b.try(other, "hash-0") {
				b.put(b.account(n), "hash-0")
			}
			ids = append(ids, other.ID)
		}
		for i, set := range ids {
			b.write(func(tx *sql.Tx) { b.set(tx, set, "hash-1") })
			for j, id := range ids {
				want := "hash-0"
				if j <= i {
					want = "hash-1"
				}
				b.hasHash(id, want)
			}
		}
	}},
	{"LookAlikeIDs", setsOne, func(b *bench) {
		b.eachPair(func(one, two recovery.Account) {
			b.write(func(tx *sql.Tx) { b.set(tx, one.ID, "hash-1") })
			b.hasHash(one.ID, "hash-1")
			b.hasHash(two.ID, "hash-0")
			b.write(func(tx *sql.Tx) { b.set(tx, two.ID, "hash-2") })
			b.hasHash(one.ID, "hash-1")
			b.hasHash(two.ID, "hash-2")
		})
	}},
	{"SameHash", setsOne, func(b *bench) {
		a, other := b.alice(), b.account(2)
		b.put(other, "hash-0")
		b.write(func(tx *sql.Tx) { b.set(tx, a.ID, "hash-0") }) // MySQL does not count an unchanged row
		b.hasHash(a.ID, "hash-0")
	}},
	{"NoAccount", "SetPassword must fail unless exactly one account has the ID.", func(b *bench) {
		a, other := b.alice(), b.account(2)
		b.put(other, "hash-0")
		b.attempt(func(tx *sql.Tx) {
			b.want(b.Accounts.SetPassword(b.ctx, tx, b.id(3), "hash-1") != nil, "it did not fail for an ID that nobody has")
		})
		b.ok(b.Remove(other.ID), "Remove")
		b.attempt(func(tx *sql.Tx) {
			b.want(b.Accounts.SetPassword(b.ctx, tx, other.ID, "hash-1") != nil, "it did not fail for a deleted account")
		})
		b.hasHash(a.ID, "hash-0")
	}},
	{"LongestHash", setsOne, func(b *bench) {
		a := b.alice()
		hash := strings.Repeat("h", b.HashLength-1) + "x"
		const advice = "make the column longer; if the application's hashes are shorter, set Fixture.HashLength, say to bcrypt's 60"
		b.write(func(tx *sql.Tx) {
			err := b.Accounts.SetPassword(b.ctx, tx, a.ID, hash)
			b.want(err == nil, "a hash of %d characters is refused: %v; "+advice, len(hash), err)
		})
		b.want(strings.TrimRight(b.hash(a.ID), " ") == hash, "a hash of %d characters was not stored whole; "+advice, len(hash))
	}},
	{"NeverCut", "SetPassword must set the whole password hash, or fail.", func(b *bench) {
		a := b.alice()
		hash := strings.Repeat("h", 9999) + "x"
		failed := false
		b.attempt(func(tx *sql.Tx) { failed = b.Accounts.SetPassword(b.ctx, tx, a.ID, hash) != nil })
		if failed {
			return
		}
		b.write(func(tx *sql.Tx) { b.set(tx, a.ID, hash) })
		b.want(b.hash(a.ID) == hash, "a password hash of %d bytes was cut, and SetPassword did not fail", len(hash))
	}},
}

// hasHash checks the stored hash. A CHAR may be padded.
func (b *bench) hasHash(id, want string) {
	got := strings.TrimRight(b.hash(id), " ")
	b.want(got == want, "the account %q has the password hash %q, not %q", id, got, want)
}
