package accountstest

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
)

const everyAccount = "It must return every account of query.Tenant whose stored identifier is byte for byte query.Typed or query.Canonical, and none of another tenant."

var findCases = []testCase{
	{"Canonical", everyAccount, func(b *bench) {
		a := b.alice()
		for _, typed := range []string{"alice", "Alice", "ALICE"} {
			b.want(hasID(b.byName("", typed), a.ID), "the user name %q did not find %q", typed, a.Username)
			email := typed + "@EXAMPLE.com"
			b.want(hasID(b.byEmail("", email), a.ID), "the address %q did not find %q", email, a.Email)
		}
		other := b.account(2)
		other.Username, other.Email = "ünï'cødé \"; --", "o'neil+ü@xn--bcher-kva.example"
		if b.try(other, "hash-0") {
			b.want(hasID(b.byName("", other.Username), other.ID), "the user name %q was not found", other.Username)
			typed := "O'Neil+ü@bücher.example"
			b.want(hasID(b.byEmail("", typed), other.ID), "the address %q did not find %q", typed, other.Email)
		}
	}},
	{"Typed", everyAccount, func(b *bench) {
		a := b.account(1)
		a.Username, a.Email = "BillyBob", "BillyBob@example.com"
		b.put(a, "hash-0")
		b.want(hasID(b.byName("", "BillyBob"), a.ID), "the user name BillyBob was not found as it is stored")
		b.want(hasID(b.byEmail("", "BillyBob@example.com"), a.ID), "the address BillyBob@example.com was not found as it is stored")
		lower := b.account(2)
		lower.Username, lower.Email = "billybob", "billybob@example.com"
		if b.try(lower, "hash-0") {
			for _, found := range [][]recovery.Account{b.byName("", "BillyBob"), b.byEmail("", "BillyBob@example.com")} {
				b.want(hasID(found, a.ID) && hasID(found, lower.ID), "of BillyBob and billybob only %d were found", len(found))
			}
		}
	}},
	{"AnotherTenant", everyAccount, func(b *bench) {
		a := b.alice()
		for _, tenant := range []string{"acme", a.ID, " ", "%"} {
			for _, q := range b.queries(tenant, a) {
				b.want(len(b.find(q)) == 0, "the tenant %q found an account of the tenant \"\" by %s", tenant, q.By)
			}
		}
		of := b.account(2)
		of.Tenant = "acme"
		b.put(of, "hash-0")
		for _, tenant := range []string{"", "globex"} {
			for _, q := range b.queries(tenant, of) {
				b.want(len(b.find(q)) == 0, "the tenant %q found an account of acme by %s", tenant, q.By)
			}
		}
		for _, q := range b.queries("acme", of) {
			found := b.find(q)
			b.want(len(found) == 1 && same(found[0], of), "the tenant acme did not find its account by %s", q.By)
		}
	}},
	{"LookAlikeTenants", everyAccount, func(b *bench) {
		tenants := []string{"acme", "Acme", "acme ", "ácme"}
		var stored []recovery.Account
		for i, tenant := range tenants {
			a := b.account(i + 1)
			a.Tenant, a.Username, a.Email = tenant, "alice", "alice@example.com"
			if b.try(a, "hash-0") {
				stored = append(stored, a)
			}
		}
		if len(stored) == 0 {
			b.skip("the application has no tenants")
		}
		for _, a := range stored {
			for _, q := range b.queries(a.Tenant, a) {
				q.Max = 1 // none may take the place of the tenant's own
				found := b.find(q)
				b.want(len(found) == 1 && same(found[0], a), "the tenant %q did not find its own account by %s", a.Tenant, q.By)
			}
		}
		for _, tenant := range append(tenants, "ACME", "acme.", "ａcme") {
			for _, a := range stored {
				for _, q := range b.queries(tenant, a) {
					for _, found := range b.find(q) {
						b.want(found.Tenant == tenant, "the tenant %q found an account of %q by %s", tenant, found.Tenant, q.By)
					}
				}
			}
		}
	}},
	{"Kind", "A query by user name must not match an address, nor the other way round.", func(b *bench) {
		one, two := b.account(1), b.account(2)
		one.Username = two.Email
		b.put(one, "hash-0")
		b.put(two, "hash-0")
		byName, byEmail := b.byName("", two.Email), b.byEmail("", two.Email)
		b.want(len(byName) == 1 && byName[0].ID == one.ID, "a query by user name found others than the account with the name")
		b.want(len(byEmail) == 1 && byEmail[0].ID == two.ID, "a query by address found others than the account with the address")
	}},
	{"KindOfID", "A query by user name must not match an address, nor the other way round.", func(b *bench) {
		a := b.alice()
		b.want(len(b.byName("", a.ID)) == 0, "a query by user name found an ID")
		b.want(len(b.find(b.query("", recovery.ByID, a.Username))) == 0, "a query by ID found a user name")
		b.want(len(b.find(b.query("", recovery.ByID, a.Email))) == 0, "a query by ID found an address")
	}},
	{"Status", "It must return accounts whatever their status, with the status in their fields.", func(b *bench) {
		for i := range 8 {
			a := b.account(1 + i)
			a.Active, a.HasPassword, a.EmailVerified = i&1 == 0, i&2 == 0, i&4 == 0
			if !b.try(a, hashOf(a)) {
				continue
			}
			for _, q := range b.queries("", a) {
				found := b.find(q)
				b.want(len(found) == 1, "by %s, %d accounts were found, not 1", q.By, len(found))
				got := found[0]
				b.want(got.Active == a.Active, "by %s, Active is %t, not %t", q.By, got.Active, a.Active)
				b.want(got.HasPassword == a.HasPassword, "by %s, HasPassword is %t, not %t", q.By, got.HasPassword, a.HasPassword)
				b.want(got.EmailVerified == a.EmailVerified, "by %s, EmailVerified is %t, not %t", q.By, got.EmailVerified, a.EmailVerified)
			}
		}
	}},
	{"Fields", "It must return accounts whatever their status, with the status in their fields.", func(b *bench) {
		a := b.alice()
		for _, change := range []func(*recovery.Account){
			func(*recovery.Account) {},
			func(a *recovery.Account) { a.Locale = "pt-BR" },
			func(a *recovery.Account) { a.HasPassword, a.SignIn = false, "Google" },
			func(a *recovery.Account) { a.Tenant = "acme" },
		} {
			a := a
			change(&a)
			if !b.try(a, hashOf(a)) {
				continue
			}
			for _, q := range b.queries(a.Tenant, a) {
				found := b.find(q)
				b.want(len(found) == 1, "by %s, %d accounts were found, not 1", q.By, len(found))
				b.want(same(found[0], a), "by %s, the account came back with other fields", q.By)
			}
		}
	}},
	{"NoPassword", "Account.HasPassword: logs in with a password of this application.", func(b *bench) {
		a := b.alice()
		for _, none := range append([]string{""}, b.Unusable...) {
			b.put(a, none)
			b.want(!b.stored(a.ID).HasPassword, "AccountByID says that an account with the password hash %q has a password", none)
			for _, q := range b.queries("", a) {
				found := b.find(q)
				b.want(len(found) == 1 && !found[0].HasPassword, "by %s, an account with the password hash %q has a password", q.By, none)
			}
		}
	}},
	{"Nobody", "An empty result is not an error.", func(b *bench) {
		b.want(len(b.byName("", "nobody")) == 0, "in an empty table, a user name found somebody")
		b.alice()
		for _, text := range []string{"nobody", "alice'", "alice--", "' OR 1=1 --", "%", "_lice", "０", "𝓮"} {
			b.want(len(b.byName("", text)) == 0, "the user name %q, which nobody has, found somebody", text)
		}
		for _, text := range []string{"nobody@example.com", "%@example.com", "_lice@example.com", "alice@example.co"} {
			b.want(len(b.byEmail("", text)) == 0, "the address %q, which nobody has, found somebody", text)
		}
	}},
	{"UnknownID", unknownID, func(b *bench) {
		b.alice()
		for _, id := range b.unknownIDs() {
			b.look(func(tx *sql.Tx) {
				found, err := b.Accounts.FindAccounts(b.ctx, tx, b.query("", recovery.ByID, id))
				b.nobody(tx, id, found, err)
			})
		}
		for _, id := range b.lookAlikes() { // the Service compares them again
			b.find(b.query("", recovery.ByID, id))
		}
	}},
	{"Max", "FindAccounts returns the accounts that the query may mean, at most query.Max.", func(b *bench) {
		b.crowd()
		all := b.byEmail("", "shared@example.com")
		for most := range len(all) + 2 {
			q := b.query("", recovery.ByEmail, "shared@example.com")
			q.Max = most
			found := b.find(q)
			b.want(len(found) == min(most, len(all)), "with Max %d, %d accounts of %d were found", most, len(found), len(all))
			for i := range found {
				b.want(found[i] == all[i], "with Max %d, the account at %d is not the one found without it", most, i)
			}
		}
	}},
	{"Order", "Those that are Eligible come first, so that no number of others keeps them out, and each part is ordered by ID.", func(b *bench) {
		eligible, others := b.crowd()
		found := b.byEmail("", "shared@example.com")
		b.want(len(found) == len(eligible)+len(others), "%d accounts were found, not %d", len(found), len(eligible)+len(others))
		for i, id := range append(eligible, others...) {
			b.want(found[i].ID == id, "the account at %d is %q, not %q", i, found[i].ID, id)
		}
	}},
	{"Version", "The Version of an account must change whenever its password or its address does.", func(b *bench) {
		a := b.alice()
		seen := map[recovery.Version]string{{}: "no account at all"}
		for _, c := range []struct{ hash, email string }{
			{"hash-0", "alice@example.com"},
			{"hash-1", "alice@example.com"},
			{"HASH-1", "alice@example.com"},
			{"hash-1", "alice2@example.com"},
			{"hash-1a", "lice2@example.com"}, // the same text if the two are joined
			{"hash-1", "Alice2@example.com"},
		} {
			a.Email = c.email
			if !b.try(a, c.hash) {
				continue
			}
			what := fmt.Sprintf("the hash %q and the address %q", c.hash, c.email)
			version := b.stored(a.ID).Version
			b.want(seen[version] == "", "%s have the Version of %s", what, seen[version])
			seen[version] = what
			for _, q := range b.queries("", a) {
				found := b.find(q)
				b.want(len(found) == 1 && found[0].Version == version, "FindAccounts by %s and AccountByID return different Versions", q.By)
			}
		}
	}},
	{"VersionOfNothingElse", "The Version must not change with anything else, or tokens die that should live.", func(b *bench) {
		a := b.alice()
		version := b.stored(a.ID).Version
		for _, c := range []struct {
			what   string
			change func(*recovery.Account)
		}{
			{"nothing", func(*recovery.Account) {}},
			{"the user name", func(a *recovery.Account) { a.Username = "other" }},
			{"the locale", func(a *recovery.Account) { a.Locale = "ja" }},
			{"Active", func(a *recovery.Account) { a.Active = false }},
			{"EmailVerified", func(a *recovery.Account) { a.EmailVerified = false }},
			{"the sign-in", func(a *recovery.Account) { a.SignIn = "Google" }},
		} {
			changed := a
			c.change(&changed)
			if b.try(changed, "hash-0") {
				b.want(b.stored(a.ID).Version == version, "the Version changed with %s", c.what)
			}
		}
	}},
	{"Changes", "FindAccounts returns the accounts as they are.", func(b *bench) {
		a := b.alice()
		b.byName("", a.Username)
		b.byEmail("", a.Email)
		changed := a
		changed.Username, changed.Email = "alice2", "alice2@example.com"
		b.put(changed, "hash-0")
		for _, q := range b.queries("", a)[:2] {
			b.want(len(b.find(q)) == 0, "by %s, the old identifier found somebody", q.By)
		}
		for _, q := range b.queries("", changed) {
			b.want(hasID(b.find(q), a.ID), "by %s, the new identifier found nobody", q.By)
		}
		b.ok(b.Remove(a.ID), "Remove")
		for _, q := range b.queries("", changed) {
			b.want(len(b.find(q)) == 0, "by %s, a deleted account was found", q.By)
		}
	}},
}

// hashOf returns a hash for an account that may have none.
func hashOf(a recovery.Account) string {
	if a.HasPassword {
		return "hash-0"
	}
	return ""
}

// queries returns a query for the account by each of its identifiers.
func (b *bench) queries(tenant string, a recovery.Account) []recovery.AccountQuery {
	return []recovery.AccountQuery{
		b.query(tenant, recovery.ByUsername, a.Username), b.query(tenant, recovery.ByEmail, a.Email), b.query(tenant, recovery.ByID, a.ID),
	}
}

// crowd stores accounts that share an address. It returns the IDs of the eligible ones and of the
// others, each in order.
func (b *bench) crowd() (eligible, others []string) {
	for _, n := range []int{7, 3, 1, 8, 5, 2, 6, 4} {
		a := b.account(n)
		a.Email, a.Active = "shared@example.com", n%2 == 0
		b.put(a, "hash-0")
	}
	for n := 1; n <= 8; n++ {
		if n%2 == 0 {
			eligible = append(eligible, b.id(n))
		} else {
			others = append(others, b.id(n))
		}
	}
	return eligible, others
}

const unknownID = "For an ID that nobody has, in whatever form, a method must find no account, or return an error that wraps ErrNotAnID."

// unknownIDs returns IDs that nobody has while account 1 is the only one. Where IDs are numbers or
// UUIDs, most cannot be IDs at all.
func (b *bench) unknownIDs() []string {
	one := b.id(1)
	return slices.DeleteFunc([]string{
		"", " ", "0", "-1", "42", "1.5", "9" + strings.Repeat("0", 40), "9223372036854775808",
		"00000000-0000-4000-8000-ffffffffffff", "{00000000-0000-4000-8000-ffffffffffff}", "null", "true", "%", "_", "-", "\\",
		"' OR 1=1 --", "á", "１", "ｍ", strings.Repeat("9", 255), strings.Repeat("i", 255),
	}, func(id string) bool { return id == one })
}

// lookAlikes returns IDs that nobody has, but that a database may take for the ID of account 1.
func (b *bench) lookAlikes() []string {
	one := b.id(1)
	return slices.DeleteFunc([]string{
		one + " ", " " + one, "0" + one, "+" + one, one + "x", one + ".0", one + " OR 1=1", one + "\t", "{" + one + "}",
		strings.ToUpper(one), strings.ToLower(one), strings.ReplaceAll(one, "-", ""),
	}, func(id string) bool { return id == one })
}

// nobody checks the answer to an ID that nobody has.
func (b *bench) nobody(tx *sql.Tx, id string, found []recovery.Account, err error) {
	if errors.Is(err, sqlstore.ErrNotAnID) {
		return // the transaction may have ended
	}
	b.want(err == nil, "the ID %q, which nobody has, is an error: %v", id, err)
	b.want(len(found) == 0, "the ID %q, which nobody has, found somebody", id)
	b.byID(tx, b.id(1), false) // tx still works
}
