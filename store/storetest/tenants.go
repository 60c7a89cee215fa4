package storetest

import (
	"fmt"
	"strings"

	"example.com/recovery"
)

// tenants are texts that a collation, a pattern or a loose comparison may take for equal.
var tenants = []string{
	"", " ", "acme", "Acme", "ACME", "acme ", " acme", "acm\u00e9", "acme\u0301", "acm", "acm_", "acm%", "a'cme\\",
	"日本", strings.Repeat("t", 63), strings.Repeat("t", 64), strings.Repeat("t", 63) + "T",
}

const ofTheTenant = "It must return every account of query.Tenant whose stored identifier is byte for byte " +
	"query.Typed or query.Canonical, and none of another tenant."

var tenantCases = []testCase{
	{"ByUsername", ofTheTenant, func(b *bench) {
		b.populate()
		b.wantApart(recovery.ByUsername, "alice")
	}},
	{"ByEmail", ofTheTenant, func(b *bench) {
		b.populate()
		b.wantApart(recovery.ByEmail, "alice@example.com")
	}},
	{"ByID", ofTheTenant, func(b *bench) {
		for i, id := range b.populate() {
			for j, tenant := range tenants {
				found := b.queryIn(tenant, recovery.ByID, id, id, 10)
				b.want(len(found) == 0 || i == j, "by ID an account of tenant %q was found in %q", tenants[i], tenant)
				b.want(len(found) == 1 || i != j, "by ID %d accounts of tenant %q were found, not 1", len(found), tenant)
			}
		}
	}},
	{"FindReset", "FindReset returns the reset with the digest, and its account as it is now.", func(b *bench) {
		for i, id := range b.populate() {
			a := b.stored(tenants[i], id)
			r := b.live(a, t0)
			_, got, err := b.Store.FindReset(b.ctx, r.Digest, t0)
			b.ok(err, "FindReset")
			b.want(got == a, "the account of a token of tenant %q is not the one that FindAccounts returns", tenants[i])
		}
	}},
	{"Redeem", "Redeem must set the account's password hash and return the account as it is then; it ends the resets of that account.", func(b *bench) {
		ids := b.populate()
		var resets []recovery.Reset
		for i, id := range ids {
			resets = append(resets, b.live(b.stored(tenants[i], id), t0))
		}
		for i, id := range ids {
			got, err := b.redeem(resets[i].Digest, t0, fmt.Sprint("new-", i))
			b.ok(err, "Redeem")
			b.want(got == b.stored(tenants[i], id) && got.Tenant == tenants[i],
				"the account of tenant %q that Redeem returned is not the one that is stored", tenants[i])
			for j, other := range ids {
				want, reason := "hash-0", recovery.TokenReason("")
				if j <= i {
					want, reason = fmt.Sprint("new-", j), recovery.TokenUsed
				}
				b.want(b.hash(other) == want, "a token of tenant %q set the password in %q", tenants[i], tenants[j])
				b.wantReason(resets[j].Digest, t0, reason)
			}
		}
	}},
}

// populate stores an account with the same name and address in every tenant, and returns the IDs.
func (b *bench) populate() (ids []string) {
	for i, tenant := range tenants {
		a := account(fmt.Sprint(i+1), "alice", "alice@example.com")
		a.Tenant = tenant
		b.put(a, "hash-0")
		ids = append(ids, a.ID)
	}
	return ids
}

// wantApart wants every tenant to find its own account by the identifier, and other tenants none.
func (b *bench) wantApart(by recovery.IdentifierKind, identifier string) {
	for i, tenant := range tenants {
		for _, most := range []int{10, 1} { // accounts of other tenants must not use Max up
			found := b.queryIn(tenant, by, identifier, identifier, most)
			b.want(len(found) == 1, "%d accounts of tenant %q were found by %s with Max %d, not 1", len(found), tenant, by, most)
			b.want(found[0].ID == fmt.Sprint(i+1) && found[0].Tenant == tenant,
				"in tenant %q an account of tenant %q was found by %s", tenant, found[0].Tenant, by)
		}
	}
	for _, tenant := range []string{"acmes", "cme", "%", "日"} {
		found := b.queryIn(tenant, by, identifier, identifier, 10)
		b.want(len(found) == 0, "%d accounts were found by %s in tenant %q, which has none", len(found), by, tenant)
	}
}
