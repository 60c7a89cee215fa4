package storetest

import (
	"context"
	"errors"
	"time"

	"example.com/recovery"
)

var contextCases = []testCase{
	{"Ended", "Every method must return ctx's error soon after ctx ends, and then change nothing.", func(b *bench) {
		a := b.alice()
		r := b.live(a, t0)
		taken := recovery.Charges{b.charge(recovery.ScopeClient, 1, time.Hour)}
		b.ok(b.take(t0, taken...), "TakeLimits")
		b.add(b.job(t0))
		leased := b.claimOne(t0)
		b.add(b.job(t0))
		before := b.dump()
		ctx, cancel := context.WithCancel(b.ctx)
		cancel()
		for _, c := range []struct {
			name string
			call func() error
		}{
			{"FindAccounts", func() error {
				_, err := b.Store.FindAccounts(ctx, recovery.AccountQuery{By: recovery.ByID, Typed: "1", Canonical: "1", Max: 1})
				return err
			}},
			{"CreateResets", func() error {
				r := b.reset(a, t0)
				r.JobID = leased.ID
				_, err := b.Store.CreateResets(ctx, recovery.ResetBatch{JobID: leased.ID, LeaseID: leased.LeaseID, At: t0, Resets: []recovery.Reset{r}})
				return err
			}},
			{"Stats", func() error { _, err := b.Store.Stats(ctx); return err }},
			{"FindReset", func() error { _, _, err := b.Store.FindReset(ctx, r.Digest, t0); return err }},
			{"Redeem", func() error {
				_, err := b.Store.Redeem(ctx, recovery.Redemption{Digest: r.Digest, At: t0, PasswordHash: "hash-1"})
				return err
			}},
			{"Enqueue", func() error { return b.Store.Enqueue(ctx, b.job(t0), nil) }},
			{"TakeLimits", func() error {
				return b.Store.TakeLimits(ctx, t0, []recovery.Charge{b.charge(recovery.ScopeClient, 1, time.Hour)})
			}},
			{"RefundLimits", func() error { return b.Store.RefundLimits(ctx, taken) }},
			{"Claim", func() error {
				_, err := b.Store.Claim(ctx, recovery.Claim{LeaseID: b.id(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Minute), Max: 1})
				return err
			}},
			{"Finish", func() error {
				return b.Store.Finish(ctx, recovery.Outcome{JobID: leased.ID, LeaseID: leased.LeaseID, At: t0})
			}},
			{"Purge", func() error {
				_, err := b.Store.Purge(ctx, t0.Add(1000*time.Hour), t0.Add(2000*time.Hour), 10)
				return err
			}},
		} {
			err := c.call()
			b.want(errors.Is(err, context.Canceled), "%s returned %v", c.name, err)
			b.want(b.dump() == before && b.hash("1") == "hash-0", "%s changed the stored data", c.name)
		}
	}},
}
