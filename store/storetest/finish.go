package storetest

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"time"

	"example.com/recovery"
)

var finishCases = []testCase{
	{"Ends", "Without RetryAt it must end the job.", func(b *bench) {
		b.add(b.job(t0))
		r := b.claimOne(t0)
		b.finish(r, t0)
		b.want(len(b.claim(t0.Add(1000*time.Hour))) == 0, "the job came back")
		err := b.Store.Finish(b.ctx, recovery.Outcome{JobID: r.ID, LeaseID: r.LeaseID, At: t0})
		b.want(errors.Is(err, recovery.ErrLeaseLost), "the second Finish returned %v", err)
	}},
	{"KeepsNoIdentifier", "It must keep none of the job's identifier, account, tenant, ticket, client and portal.", func(b *bench) {
		r := b.job(t0)
		r.By, r.Identifier, r.AccountID, r.Portal = recovery.ByEmail, "Zaphod@example.com", "account-4711", "portal-42"
		r.Client = netip.MustParseAddr("203.0.113.77")
		r.Tenant, r.Ticket = "tenant-99", recovery.Digest([]byte("a ticket of thirty-two bytes :-)"))
		ticket := hex.EncodeToString(r.Ticket[:])
		traces := []string{
			r.Identifier, strings.ToLower(r.Identifier), r.AccountID, r.Portal, r.Client.String(), r.Tenant,
			string(r.Ticket[:]), ticket, strings.ToUpper(ticket),
		}
		b.ok(b.enqueue(r, b.charge(recovery.ScopeClient, 1, time.Hour)), "Enqueue")
		b.want(strings.Contains(b.dump(), r.Identifier), "the harness's Dump does not show a waiting job")
		b.finish(b.claimOne(t0), t0)
		for _, trace := range traces {
			b.want(!strings.Contains(b.dump(), trace), "%q is still stored", trace)
		}
	}},
	{"Retry", "With RetryAt set it must make the job due then and free the lease.", func(b *bench) {
		waiting := b.job(t0)
		waiting.Tenant, waiting.Ticket = "acme", b.digest()
		b.add(waiting)
		r := b.claimOne(t0)
		retry := t0.Add(10 * time.Second) // before the lease ends
		b.ok(b.Store.Finish(b.ctx, recovery.Outcome{JobID: r.ID, LeaseID: r.LeaseID, At: t0, RetryAt: retry}), "Finish")
		b.want(len(b.claim(retry.Add(-tick))) == 0, "it was due a microsecond early")
		again := b.claimOne(retry)
		want := r
		want.Attempts, want.LeaseID = 2, again.LeaseID
		b.want(again == want, "it came back with other fields")
	}},
	{"LeaseLost", "It must return ErrLeaseLost, and change nothing, unless the job is still leased under outcome.LeaseID.", func(b *bench) {
		a := b.alice()
		old := b.live(a, t0.Add(-time.Hour))
		b.add(b.job(t0))
		b.wantLost("no such job", a, b.id(), "lease")
		first := b.claimOne(t0)
		b.wantLost("another lease", a, first.ID, "lease")
		b.wantLost("no lease", a, first.ID, "")
		second := b.claimOne(t0.Add(time.Minute))
		b.wantLost("taken by another", a, first.ID, first.LeaseID)
		b.ok(b.Store.Finish(b.ctx, recovery.Outcome{JobID: second.ID, LeaseID: second.LeaseID, At: t0, RetryAt: t0}), "Finish")
		b.wantLost("free", a, second.ID, second.LeaseID)
		b.wantLost("free, no lease", a, second.ID, "")
		b.wantReason(old.Digest, t0, "")
	}},
	{"NeverClaimed", "It must return ErrLeaseLost, and change nothing, unless the job is still leased: a job that nobody claimed is not.", func(b *bench) {
		a := b.alice()
		old := b.live(a, t0.Add(-time.Hour))
		waiting := b.job(t0)
		b.add(waiting)
		b.wantLost("never claimed", a, waiting.ID, "lease")
		b.wantLost("never claimed, no lease", a, waiting.ID, "")
		b.want(b.claimOne(t0).Attempts == 1, "the job counts as claimed before")
		b.wantReason(old.Digest, t0, "")
	}},
	{"LeaseOver", "A lease that is over but was not taken by another is still held.", func(b *bench) {
		b.add(b.job(t0))
		r := b.claimOne(t0)
		b.finish(r, t0.Add(time.Hour))
	}},
	{"Discards", "In the same transaction it must delete the resets in outcome.Discard.", func(b *bench) {
		a := b.alice()
		failed, other := b.live(a, t0), b.live(a, t0)
		j := b.leased(failed.JobID, t0)
		b.ok(b.Store.Finish(b.ctx, recovery.Outcome{
			JobID: j.ID, LeaseID: j.LeaseID, At: t0, RetryAt: t0, Discard: []recovery.Digest{failed.Digest, b.digest()},
		}), "Finish")
		b.wantReason(failed.Digest, t0, recovery.TokenUnknown)
		b.wantReason(other.Digest, t0, "")
	}},
	{"Refunds", "In the same transaction it must give back outcome.Refund and clear Charged, if the job's Charged is set.", func(b *bench) {
		a := b.alice()
		mailbox := b.charge(recovery.ScopeMailbox, 1, time.Hour)
		charges := []recovery.Charge{mailbox}
		j := b.leased(b.id(), t0)
		attempt := func(refund recovery.Charges, retry time.Time) error {
			r := b.reset(a, t0)
			r.JobID = j.ID
			_, err := b.Store.CreateResets(b.ctx, recovery.ResetBatch{JobID: j.ID, LeaseID: j.LeaseID, At: t0, Resets: []recovery.Reset{r}, Charges: charges})
			b.ok(b.Store.Finish(b.ctx, recovery.Outcome{JobID: j.ID, LeaseID: j.LeaseID, At: t0, RetryAt: retry, Refund: refund}), "Finish")
			return err
		}
		b.ok(attempt(charges, t0), "CreateResets")
		b.ok(b.take(t0, mailbox), "TakeLimits of what was given back")
		j = b.claimOne(t0)
		b.want(!j.Charged, "the job is still Charged")
		b.wantLimit(attempt(charges, t0), recovery.ScopeMailbox, time.Hour)
		b.wantLimit(b.take(t0, mailbox), recovery.ScopeMailbox, time.Hour) // what was not taken is not given back
		other := b.charge(recovery.ScopeMailbox, 1, time.Hour)
		charges = []recovery.Charge{other}
		j = b.claimOne(t0)
		b.ok(attempt(nil, time.Time{}), "CreateResets")
		b.wantLimit(b.take(t0, other), recovery.ScopeMailbox, time.Hour)
	}},
	{"Supersedes", "For each account in MailedAccountIDs it must end as superseded every live reset of outcome.Requester whose request is older.", func(b *bench) {
		a := b.alice()
		b.put(account("2", "bob", "bob@example.com"), "h")
		older, same, newer := b.live(a, t0), b.reset(a, t0.Add(time.Minute)), b.live(a, t0.Add(2*time.Minute))
		b.store(same)
		retry := same
		retry.Digest = b.digest()
		b.store(retry)
		bobs := b.live(b.byID("2"), t0)
		elsewhere := b.reset(a, t0)
		elsewhere.Requester[5] ^= 1
		b.store(elsewhere)
		b.mailed(same)
		at := t0.Add(time.Hour)
		b.wantReason(older.Digest, at, recovery.TokenSuperseded)
		b.wantReason(same.Digest, at, "")
		b.wantReason(retry.Digest, at, "")
		b.wantReason(newer.Digest, at, "")
		b.wantReason(bobs.Digest, at, "")
		b.wantReason(elsewhere.Digest, at, "")
		_, err := b.redeem(older.Digest, at, "hash-1")
		b.want(errors.Is(err, recovery.ErrInvalidToken), "a superseded token: %v", err)
		_, err = b.redeem(same.Digest, at, "hash-1")
		b.ok(err, "Redeem with the token that was mailed")
		b.wantReason(older.Digest, at, recovery.TokenSuperseded)
	}},
	{"SupersedesTheLive", "For each account in MailedAccountIDs it must end as superseded every live reset of that account: one that has ended keeps its reason.", func(b *bench) {
		a := b.alice()
		superseded, mailed := b.live(a, t0), b.live(a, t0.Add(time.Minute))
		b.mailed(mailed)
		used, voided := b.live(a, t0.Add(2*time.Minute)), b.live(a, t0.Add(3*time.Minute))
		_, err := b.redeem(used.Digest, t0.Add(4*time.Minute), "hash-1")
		b.ok(err, "Redeem")
		at := t0.Add(5 * time.Minute)
		b.mailed(b.live(b.byID("1"), at))
		b.wantReason(used.Digest, at, recovery.TokenUsed)
		b.wantReason(voided.Digest, at, recovery.TokenVoided)
		b.wantReason(mailed.Digest, at, recovery.TokenVoided)
		b.wantReason(superseded.Digest, at, recovery.TokenSuperseded)
		b.put(a, "hash-0") // the account has its old Version again
		_, err = b.redeem(used.Digest, at, "hash-2")
		b.want(errors.Is(err, recovery.ErrInvalidToken), "a used token after a newer mail: %v", err)
	}},
	{"RemembersItsOwn", "For each account in MailedAccountIDs it must remember that this request was mailed, and of no other.", func(b *bench) {
		a := b.alice()
		b.put(account("2", "bob", "bob@example.com"), "h")
		bob := b.byID("2")
		b.live(a, t0.Add(4*time.Minute)) // newer, and not mailed
		b.live(bob, t0.Add(4*time.Minute))
		b.mailed(b.live(a, t0.Add(2*time.Minute)))
		for _, c := range []struct {
			when  string
			reset recovery.Reset
			out   bool
		}{
			{"older than the one mailed", b.reset(a, t0.Add(time.Minute)), true},
			{"newer than the one mailed", b.reset(a, t0.Add(3*time.Minute)), false},
			{"of another account", b.reset(bob, t0.Add(time.Minute)), false},
		} {
			superseded, err := b.create(c.reset)
			b.ok(err, "CreateResets")
			b.want(c.out == (len(superseded) == 1), "CreateResets for a request %s left out %q", c.when, superseded)
		}
	}},
	{"EachAccount", "For each account in MailedAccountIDs it must end the older ones as superseded.", func(b *bench) {
		a, other := b.alice(), b.numbered(7)
		old, others := b.live(a, t0), b.live(other, t0)
		first, second := b.reset(a, t0.Add(time.Minute)), b.reset(other, t0.Add(time.Minute))
		second.JobID = first.JobID
		j := b.leased(first.JobID, first.RequestedAt)
		_, err := b.Store.CreateResets(b.ctx, recovery.ResetBatch{JobID: j.ID, LeaseID: j.LeaseID, At: t0, Resets: []recovery.Reset{first, second}})
		b.ok(err, "CreateResets")
		b.ok(b.Store.Finish(b.ctx, recovery.Outcome{
			JobID: j.ID, LeaseID: j.LeaseID, At: t0, MailedAccountIDs: []string{other.ID, a.ID}, Requester: requester,
		}), "Finish")
		for _, r := range []recovery.Reset{old, others} {
			b.wantReason(r.Digest, t0, recovery.TokenSuperseded)
		}
		for _, r := range []recovery.Reset{first, second} {
			b.wantReason(r.Digest, t0, "")
		}
	}},
	{"Order", "Older means an earlier RequestedAt, or the same and a smaller JobID.", func(b *bench) {
		a := b.alice()
		first, second, third := b.live(a, t0), b.live(a, t0), b.live(a, t0)
		b.mailed(second)
		b.wantReason(first.Digest, t0, recovery.TokenSuperseded)
		b.wantReason(second.Digest, t0, "")
		b.wantReason(third.Digest, t0, "")
		b.mailed(third)
		b.wantReason(second.Digest, t0, recovery.TokenSuperseded)
		b.mailed(first) // whose mail was accepted late
		b.wantReason(third.Digest, t0, "")
		b.wantReason(second.Digest, t0, recovery.TokenSuperseded)
	}},
	{"OneOfABatch", "It must end the job, and no other that is under the same lease.", func(b *bench) {
		a := b.alice()
		var resets []recovery.Reset
		for i := range 4 {
			r := b.live(a, t0.Add(time.Duration(i)*time.Minute))
			q := b.job(r.RequestedAt)
			q.ID = r.JobID
			b.add(q)
			resets = append(resets, r)
		}
		at := t0.Add(10 * time.Minute)
		lease := b.claim(at)[0].LeaseID
		finish := func(i int, mailed string, retry time.Time) {
			o := recovery.Outcome{JobID: resets[i].JobID, LeaseID: lease, At: at, RetryAt: retry}
			if mailed != "" {
				o.MailedAccountIDs, o.Requester = []string{mailed}, requester
			}
			err := b.Store.Finish(b.ctx, o)
			b.ok(err, "Finish")
		}
		finish(1, a.ID, time.Time{})
		b.wantReason(resets[0].Digest, at, recovery.TokenSuperseded)
		b.wantReason(resets[2].Digest, at, "")
		finish(2, a.ID, time.Time{})
		b.wantReason(resets[1].Digest, at, recovery.TokenSuperseded)
		b.wantReason(resets[3].Digest, at, "")
		finish(3, "", at.Add(time.Second))
		b.want(len(b.claim(at)) == 0, "a job that is leased, or due later, was claimed")
		finish(0, "", time.Time{})
		b.want(b.claimOne(at.Add(time.Second)).ID == resets[3].JobID, "Claim did not return the job to try again")
	}},
	{"NotMailed", "Without MailedAccountIDs the account's resets stay as they are.", func(b *bench) {
		a := b.alice()
		old := b.live(a, t0)
		b.add(b.job(t0.Add(time.Minute)))
		b.finish(b.claimOne(t0.Add(time.Minute)), t0.Add(time.Minute))
		b.wantReason(old.Digest, t0.Add(time.Minute), "")
	}},
	{"RaceFinish", "Concurrent calls must have the result of some order of them: one ends the job, the others get ErrLeaseLost.", func(b *bench) {
		for range rounds {
			b.add(b.job(t0))
			r := b.claimOne(t0)
			errs := together(8, func(int) error {
				return b.Store.Finish(b.ctx, recovery.Outcome{JobID: r.ID, LeaseID: r.LeaseID, At: t0})
			})
			ended := 0
			for _, err := range errs {
				if err == nil {
					ended++
				} else {
					b.want(errors.Is(err, recovery.ErrLeaseLost), "a loser got %v", err)
				}
			}
			b.want(ended == 1, "%d of 8 concurrent calls ended the job", ended)
		}
	}},
}

// wantLost wants the store to refuse every Finish and CreateResets of the job under the lease.
func (b *bench) wantLost(when string, a recovery.Account, id, lease string) {
	before := b.dump()
	wantLost := func(err error) {
		b.want(errors.Is(err, recovery.ErrLeaseLost), "%s: %v", when, err)
		b.want(b.dump() == before, "%s: the stored data changed", when)
	}
	for _, mailed := range [][]string{nil, {a.ID}} {
		for _, retry := range []time.Time{{}, t0} {
			wantLost(b.Store.Finish(b.ctx, recovery.Outcome{
				JobID: id, LeaseID: lease, At: t0, RetryAt: retry, MailedAccountIDs: mailed, Requester: requester,
			}))
		}
	}
	r := b.reset(a, t0)
	r.JobID = id
	_, err := b.Store.CreateResets(b.ctx, recovery.ResetBatch{
		JobID: id, LeaseID: lease, At: t0, Resets: []recovery.Reset{r}, Charges: []recovery.Charge{b.charge(recovery.ScopeMailbox, 1, time.Hour)},
	})
	wantLost(err)
}
