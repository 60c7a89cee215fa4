package catalogue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// tenanted has accounts of further tenants: billybob's namesake is one of acme, with his address,
// and zoe's are in acme alone.
func (s *site) tenanted() {
	s.is.Helper()
	for _, a := range [][3]string{
		{"a1", "billybob", "billybob@example.com"}, {"a2", "zoe", "zoe@example.com"}, {"a3", "zoe2", "zoe@example.com"},
	} {
		account := eligible(a[0], a[1], a[2])
		account.Tenant = "acme"
		s.put(account)
	}
}

// told returns the events since the last call. All must be of the tenant, and of nobody else's
// account.
func (s *site) told(tenant string) (jobs []recovery.JobEvent) {
	s.is.Helper()
	jobs, limits := s.takeEvents()
	for _, e := range jobs {
		if e.Tenant != tenant || e.Account.ID != "" && e.Account.Tenant != tenant {
			s.t.Errorf("%s of tenant %q is told for tenant %q, of account %s", e.Kind, e.Tenant, tenant, accountText(e.Account))
		}
	}
	for _, e := range limits {
		s.is.True(e.Tenant == tenant || e.Call == "complete")
	}
	return jobs
}

// strangers are tenants in which nobody is called zoe.
var strangers = []string{"", "umbrella", "ACME", "Acme", "acme ", " acme", "acm", "acme2", "acmé", "ａｃｍｅ", "%", "acme' OR '1'='1"}

// An account of another tenant alone is unknown here: the answer, the calls of the store and the
// events of hooks are those of an unknown name.
func TestAttack_S18_AnotherTenantsAccount(t *testing.T) {
	onEntries(t, apart, nil, func(s *site, e *entry) {
		s.tenanted()
		for _, s.tenant = range strangers {
			for _, a := range e.asks() {
				s.trace.calls()
				want := a.ask(unknown(a.kind, a.of("zoe")))
				wantCalls := shape(s.trace.calls())
				s.is.Equal(want.outcome, accepted)
				s.is.Equal(a.ask(a.of("zoe")), want)
				s.is.Equal(shape(s.trace.calls()), wantCalls)
				s.is.Equal(len(s.deliver()), 0)
				s.is.True(!slices.Contains(s.trace.calls(), "CreateResets")) // nor is a limit of hers counted
				for _, event := range s.told(s.tenant) {
					s.is.Equal(event.Account.ID, "")
				}
			}
			found, err := s.Store.FindAccounts(s.ctx, recovery.AccountQuery{Tenant: s.tenant, By: recovery.ByID, Typed: "a2", Canonical: "a2", Max: 10})
			s.is.NoErr(err)
			s.is.Equal(len(found), 0) // nor by her ID
		}
		s.tenant = "acme"
		for _, a := range e.asks() { // at home she is known
			s.is.Equal(a.ask(a.of("zoe")).outcome, accepted)
			mails := s.deliver()
			s.is.Equal(len(mails), 1)
			s.is.Equal(mails[0].Tenant, "acme")
		}
		s.told("acme")
		s.sound()
	})
}

// Two tenants have an account of the same name and address. Each gets its own mail, and its token
// changes its own password.
func TestAttack_S18_Namesakes(t *testing.T) {
	onEntries(t, apart, nil, func(s *site, e *entry) {
		s.tenanted()
		own := map[string]string{"": "3", "acme": "a1"} // IDs of billybob
		for _, a := range e.asks() {
			tokens := map[string]string{}
			for tenant := range own {
				s.tenant = tenant
				s.is.Equal(a.ask(a.of("billybob")), a.ask(unknown(a.kind, a.of("billybob"))))
				mails := s.deliver()
				s.is.Equal(len(mails), 1)
				s.is.Equal(mails[0].Tenant, tenant)
				if a.name == "names" {
					s.is.Equal(mails[0].Usernames, []string{"billybob"}) // once, not twice
				} else {
					s.is.Equal(len(mails[0].Resets), 1)
					tokens[tenant] = spy.Token(mails[0])
				}
				s.told(tenant)
			}
			// The newer mail did not supersede the older token, which is another account's.
			for tenant, token := range tokens {
				before := s.stored()
				s.tenant = tenant
				s.is.Equal(e.complete(token, newPassword).outcome, accepted)
				before[own[tenant]] = quickHash(newPassword)
				s.is.Equal(s.stored(), before) // this account's and no other's
				notices := s.deliver()
				s.is.Equal(len(notices), 1)
				s.is.Equal(notices[0].Tenant, tenant)
				s.told(tenant)
			}
			s.put(billybob)
			s.tenanted()
		}
		s.sound()
	})
}

// Callers of one tenant do not use up another tenant's limit of the same mailbox. A client has one
// limit for all tenants.
func TestAttack_S18_Limits(t *testing.T) {
	const burst = 6
	limits := func(s *site, o *recovery.Options) {
		generous(s, o)
		o.Limits.PerAccount = recovery.Limit{Burst: 1, Every: time.Hour}
		o.Limits.PerRequester = recovery.Limit{Burst: 2, Every: time.Hour}
		o.Limits.PerMailbox = recovery.Limit{Burst: 3, Every: time.Hour}
		o.Limits.UsernamesPerMailbox = recovery.Limit{Burst: 1, Every: time.Hour}
		o.Limits.PerClient = recovery.Limit{Burst: burst, Every: time.Hour}
	}
	onEntries(t, apart, limits, func(s *site, e *entry) {
		s.tenanted()
		for _, a := range e.asks() {
			mails := map[string]int{}
			for _, s.tenant = range []string{"acme", ""} { // the first uses up all that it has
				for range 5 {
					s.client = s.client.Next()
					s.is.Equal(a.ask(a.of("billybob")).outcome, accepted)
					mails[s.tenant] += len(s.deliver())
				}
				s.told(s.tenant)
			}
			s.is.True(mails["acme"] > 0 && mails["acme"] < 5)
			s.is.Equal(mails[""], mails["acme"])
			s.advance(24 * time.Hour)
			s.client = s.client.Next()
			var got []string
			for i := range burst + 2 {
				s.tenant = []string{"", "acme", "umbrella"}[i%3]
				got = append(got, a.ask(a.of("nobodyxx")).outcome)
			}
			s.is.Equal(strings.Join(got, " "), strings.Repeat(accepted+" ", burst)+limited+" "+limited) // not once more for each
			s.tenant = ""
			s.deliver()
			s.advance(24 * time.Hour)
			s.takeEvents() // they are of three tenants
		}
		s.sound()
	})
}

// A malformed tenant is refused for every name alike, before any call of the store.
func TestAttack_S18_MalformedTenants(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		e := s.direct()
		s.tenanted()
		for _, s.tenant = range []string{strings.Repeat("t", 65), "acme\x00", "acme\n", "acme\u200b", "acme\u202e", "\xff", "ac\u00adme"} {
			for _, a := range e.asks() {
				want := a.ask(unknown(a.kind, a.of("zoe")))
				s.is.Equal(want.outcome, malformed)
				s.is.Equal(a.ask(a.of("zoe")), want)
			}
		}
		s.is.Equal(s.trace.calls(), nil)
		s.tenant = ""
		s.sound()
	})
}

// A job that names an account of another tenant reveals nothing of it, neither to OnReset, nor in
// the notice, nor to hooks.
func TestAttack_S18_JobOfAnotherTenant(t *testing.T) {
	var given []string
	with := func(_ *site, o *recovery.Options) {
		o.OnReset = func(_ context.Context, a recovery.Account) error {
			given = append(given, fmt.Sprintf("%q %q %q %q", a.ID, a.Tenant, a.Username, a.Email))
			return nil
		}
	}
	for _, k := range kinds { // one after the other, for given is one
		t.Run(k.name, func(t *testing.T) {
			s := newSite(t, k.empty(t), with)
			s.tenanted()
			given = nil
			for _, kind := range []recovery.JobKind{recovery.JobOnReset, recovery.JobNotice} {
				s.is.NoErr(s.Store.Enqueue(s.ctx, recovery.Job{
					ID: "planted " + string(kind), Kind: kind, By: recovery.ByEmail, Identifier: "admin@umbrella.example",
					AccountID: "a2", Tenant: "umbrella", RequestedAt: s.clock(), Priority: s.clock(),
				}, nil))
			}
			s.attacks.Add(2)
			mails := s.deliver()
			s.is.Equal(given, []string{`"a2" "umbrella" "" ""`}) // no more than what the job says
			s.is.Equal(len(mails), 1)
			s.is.Equal(mails[0].To, "admin@umbrella.example")
			s.is.Equal(len(mails[0].Usernames), 0)
			s.told("umbrella")
			s.sound()
		})
	}
}
