package dbtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// roundTrips counts how often a call waits for the server.
func (p *proxy) roundTrips() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.turns
}

// How often each call waits for an answer of the server. lib/pq and go-sql-driver prepare a
// statement before they execute it, unless the DSN says interpolateParams=true; the latter also
// closes it, and waits for nothing then.
func TestRoundTrips(t *testing.T) {
	for _, c := range []struct {
		server databases.Server
		want   string
	}{
		{databases.Servers[1], "Enqueue 4, TakeLimits 4, Claim 4, FindAccounts 3, CreateResets 9, Finish 7, " +
			"FindReset 4, RefundLimits 4, Redeem 11, Claim of nothing 4, Purge 6, Stats 3, Now 3"},
		{databases.Servers[2], "Enqueue 6, TakeLimits 6, Claim 6, FindAccounts 4, CreateResets 16, Finish 12, " +
			"FindReset 6, RefundLimits 6, Redeem 20, Claim of nothing 6, Purge 10, Stats 3, Now 3"},
		{databases.Servers[3], "Enqueue 10, TakeLimits 8, Claim 8, FindAccounts 4, CreateResets 18, Finish 12, " +
			"FindReset 6, RefundLimits 8, Redeem 22, Claim of nothing 6, Purge 10, Stats 3, Now 3"},
		{oddSessions[2], "Enqueue 6, TakeLimits 5, Claim 5, FindAccounts 3, CreateResets 10, Finish 7, " +
			"FindReset 4, RefundLimits 5, Redeem 12, Claim of nothing 4, Purge 6, Stats 3, Now 3"},
	} {
		t.Run(c.server.Name, func(t *testing.T) {
			is := is.New(t)
			place, direct := databases.Prepared(t, c.server)
			p := newProxy(t)
			db, err := p.before(t, place)()
			is.NoErr(err)
			defer db.Close()
			db.SetMaxOpenConns(1)
			store := databases.StoreOn(t, c.server.Dialect, db, "")
			a := stored(t, store, direct, c.server.Dialect, 1)
			countRoundTrips(t, p, store, a)
			is.NoErr(databases.Put(direct, c.server.Dialect, account(1), "hash-0"))
			is.Equal(countRoundTrips(t, p, store, a), c.want) // what pgx prepares once is prepared by now
		})
	}
}

// countRoundTrips makes every call once.
func countRoundTrips(t *testing.T, p *proxy, store *sqlstore.Store, a recovery.Account) string {
	t.Helper()
	is := is.New(t)
	var counts []string
	count := func(name string, call func(ctx context.Context) error) {
		t.Helper()
		before := p.roundTrips()
		is.NoErr(call(t.Context()))
		counts = append(counts, fmt.Sprint(name, " ", p.roundTrips()-before))
	}
	j, notice, reset := request(t0), request(t0), resetOf(a, t0)
	notice.Kind = recovery.JobNotice
	var claimed []recovery.Job
	claim := func(ctx context.Context) (err error) {
		claimed, err = store.Claim(ctx, recovery.Claim{LeaseID: newID(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Hour), Max: 8, Again: 2})
		return err
	}
	count("Enqueue", func(ctx context.Context) error { return store.Enqueue(ctx, j, benchCharges()) })
	count("TakeLimits", func(ctx context.Context) error { return store.TakeLimits(ctx, t0, benchCharges()) })
	count("Claim", claim)
	is.Equal(len(claimed), 1)
	m := mintOf(claimed[0], reset)
	m.Charges = benchCharges()
	count("FindAccounts", func(ctx context.Context) error {
		return spy.Err(store.FindAccounts(ctx, recovery.AccountQuery{By: recovery.ByID, Typed: a.ID, Canonical: a.ID, Max: 1}))
	})
	count("CreateResets", func(ctx context.Context) error { return spy.Err(store.CreateResets(ctx, m)) })
	count("Finish", func(ctx context.Context) error {
		return store.Finish(ctx, recovery.Outcome{JobID: j.ID, LeaseID: m.LeaseID, At: t0, MailedAccountIDs: []string{a.ID}, Requester: reset.Requester})
	})
	count("FindReset", func(ctx context.Context) error {
		_, _, err := store.FindReset(ctx, reset.Digest, t0)
		return err
	})
	count("RefundLimits", func(ctx context.Context) error { return store.RefundLimits(ctx, benchCharges()) })
	count("Redeem", func(ctx context.Context) error {
		return spy.Err(store.Redeem(ctx, recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: "hash-1", Add: []recovery.Job{notice}}))
	})
	count("Claim of nothing", claim)
	is.Equal(len(claimed), 0)
	count("Purge", func(ctx context.Context) error { return spy.Err(store.Purge(ctx, t0, t0.Add(48*time.Hour), 500)) })
	count("Stats", func(ctx context.Context) error { return spy.Err(store.Stats(ctx)) })
	count("Now", func(ctx context.Context) error { return spy.Err(store.Now(ctx)) })
	return strings.Join(counts, ", ")
}
