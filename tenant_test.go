package recovery_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// newTenants is a world in which acme has an alice, too, on the same address, and a carol.
func newTenants(t *testing.T, opts *recovery.Options) *world {
	t.Helper()
	w := newWorld(t, opts)
	for id, name := range map[string]string{"11": "alice", "12": "carol"} {
		a := w.account(id, name, name+"@example.com")
		a.Tenant = "acme"
		w.users.Put(a, "hash of old")
	}
	return w
}

// S18: the same name in two tenants is two people, and a request means one tenant's.
func TestAttack_S18_NamesakesOfTenants(t *testing.T) {
	is := is.New(t)
	w := newTenants(t, &recovery.Options{OnReset: func(context.Context, recovery.Account) error { return nil }})
	_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: "acme", Client: client})
	is.NoErr(err)
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].Tenant, "acme")
	is.Equal(len(mails[0].Resets), 1)
	account, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: tokenOf(mails[0]), Username: "alice", Password: goodPassword})
	is.NoErr(err)
	is.Equal(account.Tenant, "acme")
	is.Equal(w.hash("11"), "hash of "+goodPassword)
	is.Equal(w.hash("1"), "hash of old")
	notice := w.deliver()
	is.Equal(len(notice), 1)
	is.Equal(notice[0].Tenant, "acme")

	_, err = w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com", Tenant: "acme", Client: client})
	is.NoErr(err)
	is.Equal(w.deliver()[0].Usernames, []string{"alice"}) // not alicia, who is of no tenant

	for _, tenant := range []string{"", "Acme", "acme ", "other"} {
		_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "carol", Tenant: tenant, Client: client})
		is.NoErr(err)
		is.Equal(len(w.deliver()), 0)
	}
	w.hooks.wait(t, "OnResetCalled")
	w.hooks.mu.Lock()
	defer w.hooks.mu.Unlock()
	for _, event := range w.hooks.values {
		if e, ok := event.(recovery.JobEvent); ok && e.Account.ID != "" {
			is.Equal(e.Tenant, "acme") // no event names another tenant's account
			is.Equal(e.Account.Tenant, "acme")
		}
	}
}

// The Store's comparison of tenants may be loose, so it is made again.
func TestTenantsAreCheckedAgain(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	other := w.account("13", "alice", "alice@example.com")
	other.Tenant = "ACME"
	svc := w.service(&looseStore{Store: w.users, accounts: []recovery.Account{other}}, recovery.Options{})
	_, err := svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: "acme"})
	is.NoErr(err)
	_, err = svc.Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(len(w.mail.Messages()), 0)
	w.hooks.wait(t, "JobDropped no_account")
}

// A tenant's requests use up nothing of another tenant's mailbox, though the address is the same;
// but a client has what it has, whatever tenant it names.
func TestLimitsOfTenants(t *testing.T) {
	is := is.New(t)
	w := newTenants(t, &recovery.Options{Limits: recovery.Limits{
		PerClient: recovery.Limit{Burst: 3, Every: time.Minute}, PerMailbox: recovery.Limit{Burst: 1, Every: time.Hour},
	}})
	ask := func(tenant string) int {
		_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: tenant, Client: client})
		is.NoErr(err)
		return len(w.deliver())
	}
	is.Equal(ask("acme"), 1)
	is.Equal(ask("acme"), 0)
	is.Equal(ask(""), 1)
	_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: "third", Client: client})
	is.True(errors.Is(err, recovery.ErrLimited))
	w.hooks.wait(t, "LimitReached reset client")
	w.hooks.mu.Lock()
	defer w.hooks.mu.Unlock()
	is.Equal(w.hooks.values[len(w.hooks.values)-1].(recovery.LimitEvent).Tenant, "third")
}

func TestMalformedTenants(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	for _, tenant := range []string{strings.Repeat("t", 65), "a\nb", "a\x00", "\u200b", "\xff"} {
		_, reset := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: tenant})
		_, names := w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com", Tenant: tenant})
		for _, err := range []error{reset, names} {
			is.Equal(err.Error(), "recovery: tenant must be at most 64 bytes of visible text")
			is.True(errors.Is(err, recovery.ErrInvalidRequest))
		}
	}
	_, err := recovery.New(w.users, w.mail, &recovery.Options{Portals: map[string]recovery.Portal{
		"p": {URL: "https://portal.example/", Tenants: []string{"a\nb"}},
	}})
	is.Equal(err.Error(), `recovery: Options.Portals["p"] must have Tenants of at most 64 bytes of visible text`)
}

// S35: a portal is for its tenants. Who names another's is told so, whoever is meant.
func TestAttack_S35_PortalsOfTenants(t *testing.T) {
	is := is.New(t)
	portals := map[string]recovery.Portal{
		"acme": {URL: "https://acme.example/reset", Tenants: []string{"acme", "acme-test"}},
		"":     {URL: "https://portal.example/reset", Tenants: []string{""}},
	}
	_, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{Portals: portals})
	is.NoErr(err) // Tenants are enough, without Allow

	w := newTenants(t, &recovery.Options{Portals: portals})
	for _, name := range []string{"alice", "carol", "nobody"} {
		_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Tenant: "other", Portal: "acme"})
		is.Equal(err.Error(), "recovery: portal must be one that the application configured")
		_, err = w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Tenant: "acme"}) // whose default is not theirs
		is.True(errors.Is(err, recovery.ErrInvalidRequest))
	}
	_, err = w.RequestReset(w.ctx, recovery.ResetRequest{Username: "carol", Tenant: "acme", Portal: "acme"})
	is.NoErr(err)
	is.True(strings.HasPrefix(w.deliver()[0].Resets[0].Link, "https://acme.example/reset#token="))

	// The portal was another tenant's by the time that the mail would have been sent.
	_, err = w.RequestReset(w.ctx, recovery.ResetRequest{Username: "carol", Tenant: "acme", Portal: "acme"})
	is.NoErr(err)
	portals["acme"] = recovery.Portal{URL: "https://acme.example/reset", Tenants: []string{"acme-test"}}
	svc := w.service(w.store, recovery.Options{Portals: portals})
	_, err = svc.Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(len(w.mail.Messages()), 1)
	w.hooks.wait(t, "JobDropped portal")
}

// The Store's comparison of tenants may be loose for IDs, too: neither a notice nor OnReset is told
// of another tenant's account.
func TestTenantsOfIDsAreCheckedAgain(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	other := w.account("13", "carol", "carol@example.com")
	other.Tenant = "ACME"
	var given []recovery.Account
	svc := w.service(&looseStore{Store: w.users, accounts: []recovery.Account{other}}, recovery.Options{
		OnReset: func(_ context.Context, a recovery.Account) error { given = append(given, a); return nil },
	})
	for _, kind := range []recovery.JobKind{recovery.JobNotice, recovery.JobOnReset} {
		is.NoErr(w.users.Enqueue(w.ctx, recovery.Job{
			ID: string(kind), Kind: kind, By: recovery.ByEmail, Identifier: "a@example.com",
			AccountID: "13", Tenant: "acme", RequestedAt: w.time(), Turn: w.time(),
		}, nil))
	}
	_, err := svc.Deliver(w.ctx)
	is.NoErr(err)
	m, _ := w.mail.Last()
	is.Equal(m.To, "a@example.com")
	is.Equal(len(m.Usernames), 0)
	is.Equal(given, []recovery.Account{{ID: "13", Tenant: "acme"}})
}

// What a client network had of one tenant's mails is not counted against another tenant's.
func TestNetworkHasMailsOfEachTenant(t *testing.T) {
	is := is.New(t)
	w := newTenants(t, &recovery.Options{Limits: recovery.Limits{PerRequester: recovery.Limit{Burst: 1, Every: time.Hour}}})
	ask := func(tenant string) int {
		w.advance(2 * time.Minute)
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: tenant, Client: client})))
		return len(w.deliver())
	}
	is.Equal(ask("acme"), 1)
	is.Equal(ask("acme"), 0)
	is.Equal(ask(""), 1)
}
