package storetest

import (
	"fmt"
	"slices"

	"example.com/recovery"
)

var accountCases = []testCase{
	{"Exact", "It must return every account whose stored identifier is byte for byte query.Typed or query.Canonical.", func(b *bench) {
		b.put(account("1", "alice", "alice@example.com"), "h")
		b.put(account("2", "BillyBob", "BillyBob@Example.com"), "h")
		b.put(account("3", "Ünï'cødé \"; --", "ünï@xn--bcher-kva.example"), "h")
		for _, c := range []struct {
			by               recovery.IdentifierKind
			typed, canonical string
			id               string
		}{
			{recovery.ByUsername, "alice", "alice", "1"},
			{recovery.ByUsername, "ALICE", "alice", "1"},
			{recovery.ByUsername, "BillyBob", "billybob", "2"},
			{recovery.ByUsername, "Ünï'cødé \"; --", "Ünï'cødé \"; --", "3"},
			{recovery.ByEmail, "alice@example.com", "alice@example.com", "1"},
			{recovery.ByEmail, "Alice@EXAMPLE.com", "alice@example.com", "1"},
			{recovery.ByEmail, "BillyBob@Example.com", "billybob@example.com", "2"},
			{recovery.ByEmail, "ünï@bücher.example", "ünï@xn--bcher-kva.example", "3"},
			{recovery.ByID, "2", "2", "2"},
		} {
			found := b.query(c.by, c.typed, c.canonical, 10)
			b.want(hasID(found, c.id), "%s %q (%q) did not find account %s", c.by, c.typed, c.canonical, c.id)
		}
	}},
	{"Fields", "It must return accounts whatever their status, with the status in their fields.", func(b *bench) {
		for i := range 8 {
			a := account(fmt.Sprint(i), fmt.Sprint("user", i), fmt.Sprintf("user%d@example.com", i))
			a.Active, a.HasPassword, a.EmailVerified, a.Locale = i&1 != 0, i&2 != 0, i&4 != 0, "ja"
			a.Tenant = []string{"", "acme"}[i%2]
			a.SignIn = []string{"", "Google", "会社の \"SSO\""}[i%3]
			b.put(a, "h")
			for _, found := range [][]recovery.Account{
				b.queryIn(a.Tenant, recovery.ByUsername, a.Username, a.Username, 10),
				b.queryIn(a.Tenant, recovery.ByEmail, a.Email, a.Email, 10),
				b.queryIn(a.Tenant, recovery.ByID, a.ID, a.ID, 10),
			} {
				b.want(len(found) == 1, "found %d accounts, not 1", len(found))
				got := found[0]
				b.want(got.Version != recovery.Version{}, "the account has no Version")
				a.Version = got.Version
				b.want(got == a, "account %d came back with other fields", i)
			}
		}
	}},
	{"Empty", "An empty result is not an error.", func(b *bench) {
		b.alice()
		b.want(len(b.query(recovery.ByUsername, "nobody", "nobody", 10)) == 0, "an unknown user name found somebody")
		b.want(len(b.query(recovery.ByEmail, "nobody@example.com", "nobody@example.com", 10)) == 0, "an unknown address found somebody")
		b.want(len(b.query(recovery.ByID, "99", "99", 10)) == 0, "an unknown ID found somebody")
		b.want(len(b.query(recovery.ByID, "1 OR 1=1", "1 OR 1=1", 10)) == 0, "an impossible ID found somebody")
	}},
	{"Kind", "A query by user name must not match an address, nor the other way round.", func(b *bench) {
		b.put(account("1", "bob@example.com", "alice@example.com"), "h")
		b.put(account("2", "bob", "bob@example.com"), "h")
		byName := b.query(recovery.ByUsername, "bob@example.com", "bob@example.com", 10)
		byEmail := b.query(recovery.ByEmail, "bob@example.com", "bob@example.com", 10)
		b.want(len(byName) == 1 && byName[0].ID == "1", "by user name it did not find exactly the account with the name")
		b.want(len(byEmail) == 1 && byEmail[0].ID == "2", "by address it did not find exactly the account with the address")
		b.want(len(b.query(recovery.ByUsername, "1", "1", 10)) == 0, "by user name it found an ID")
	}},
	{"MaxAndOrder", "FindAccounts returns at most query.Max accounts: those that are Eligible first, then those that are Active with a verified address, then the rest; each part ordered by ID.", func(b *bench) {
		for _, i := range []int{7, 3, 1, 8, 5, 6, 2, 4} {
			a := account(fmt.Sprint(i), fmt.Sprint("user", i), "shared@example.com")
			a.Active, a.HasPassword, a.EmailVerified = i != 1, i != 3, i != 5
			hash := "h"
			if i == 7 { // an empty hash is no local password
				hash, a.HasPassword = "", false
			}
			b.put(a, hash)
		}
		order := []string{"2", "4", "6", "8", "3", "7", "1", "5"}
		for most := range len(order) + 2 {
			found := b.query(recovery.ByEmail, "shared@example.com", "shared@example.com", most)
			b.want(len(found) == min(most, len(order)), "found %d accounts with Max %d", len(found), most)
			for i := range found {
				b.want(found[i].ID == order[i], "account %d has ID %s, not %s", i, found[i].ID, order[i])
			}
		}
	}},
	{"Changes", "It returns the accounts as they are now.", func(b *bench) {
		a := b.alice()
		a.Username, a.Email = "alice2", "alice2@example.com"
		b.put(a, "h")
		b.want(len(b.query(recovery.ByUsername, "alice", "alice", 10)) == 0, "an old user name found somebody")
		b.want(len(b.query(recovery.ByEmail, "alice@example.com", "alice@example.com", 10)) == 0, "an old address found somebody")
		b.want(hasID(b.query(recovery.ByUsername, "alice2", "alice2", 10), "1"), "the new user name found nobody")
		b.ok(b.Remove("1"), "Remove")
		b.want(len(b.query(recovery.ByUsername, "alice2", "alice2", 10)) == 0, "a deleted account was found")
	}},
	{"Version", "Account.Version changes whenever the password or the address does.", func(b *bench) {
		a := b.alice()
		first := a.Version
		a.Username, a.Locale = "other", "ja"
		b.put(a, "hash-0")
		b.want(b.byID("1").Version == first, "Version changed with the user name or the locale")
		b.put(a, "hash-1")
		second := b.byID("1").Version
		b.want(second != first, "Version did not change with the password")
		a.Email = "other@example.com"
		b.put(a, "hash-1")
		b.want(b.byID("1").Version != second, "Version did not change with the address")
	}},
}

func (b *bench) query(by recovery.IdentifierKind, typed, canonical string, most int) []recovery.Account {
	return b.queryIn("", by, typed, canonical, most)
}

func (b *bench) queryIn(tenant string, by recovery.IdentifierKind, typed, canonical string, most int) []recovery.Account {
	found, err := b.Store.FindAccounts(b.ctx, recovery.AccountQuery{
		Tenant: tenant, By: by, Typed: typed, Canonical: canonical, Max: most,
	})
	b.ok(err, "FindAccounts")
	return found
}

func hasID(accounts []recovery.Account, id string) bool {
	return slices.ContainsFunc(accounts, func(a recovery.Account) bool { return a.ID == id })
}
