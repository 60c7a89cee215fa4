package storetest

import (
	"time"

	"example.com/recovery"
)

var createCases = []testCase{
	{"LeavesOthers", "CreateResets must leave all other resets alone.", func(b *bench) {
		a := b.alice()
		first := b.live(a, t0)
		second := b.live(a, t0.Add(time.Minute))
		b.wantReason(first.Digest, t0.Add(time.Minute), "")
		b.wantReason(second.Digest, t0.Add(time.Minute), "")
	}},
	{"Superseded", "A reset is superseded if a newer request of the same Requester already mailed its account. It must leave those out. If none is left, it must change nothing.", func(b *bench) {
		a := b.alice()
		newer := b.live(a, t0.Add(time.Minute))
		b.mailed(newer)
		before := b.dump()
		late := b.reset(a, t0)
		superseded, err := b.create(late, b.charge(recovery.ScopeMailbox, 1, time.Hour))
		b.ok(err, "CreateResets")
		b.want(len(superseded) == 1 && superseded[0] == a.ID, "CreateResets left out %q, not alice", superseded)
		b.want(b.dump() == before, "the stored data changed")
		b.wantReason(late.Digest, t0.Add(time.Minute), recovery.TokenUnknown)
		b.wantReason(newer.Digest, t0.Add(time.Minute), "")

		b.put(account("2", "bob", "bob@example.com"), "h")
		b.store(b.reset(b.byID("2"), t0))
		elsewhere := b.reset(a, t0)
		elsewhere.Requester[31] ^= 1
		b.store(elsewhere)
	}},
	{"PartlySuperseded", "It must leave out superseded resets, and return the IDs of their accounts; the others it must store.", func(b *bench) {
		a, other := b.alice(), b.numbered(7)
		b.mailed(b.live(a, t0.Add(time.Minute)))
		first, second := b.reset(a, t0), b.reset(other, t0)
		second.JobID = first.JobID
		j := b.leased(first.JobID, t0)
		superseded, err := b.Store.CreateResets(b.ctx, recovery.ResetBatch{JobID: j.ID, LeaseID: j.LeaseID, At: t0, Resets: []recovery.Reset{first, second}})
		b.ok(err, "CreateResets")
		b.want(len(superseded) == 1 && superseded[0] == a.ID, "CreateResets left out %q, not alice", superseded)
		b.wantReason(first.Digest, t0, recovery.TokenUnknown)
		b.wantReason(second.Digest, t0, "")
	}},
	{"NotSupersededByUnsent", "A newer request whose mail was not accepted supersedes nothing.", func(b *bench) {
		a := b.alice()
		b.live(a, t0.Add(time.Minute))
		old := b.live(a, t0)
		b.wantReason(old.Digest, t0.Add(time.Minute), "")
	}},
	{"NotSupersededFromFarAhead", "Newer means a later RequestedAt, but not later than batch.At plus MaxClockSkew.", func(b *bench) {
		a := b.alice()
		b.mailed(b.live(a, t0.Add(recovery.MaxClockSkew+tick)))
		b.live(a, t0)
		other := b.numbered(1)
		b.mailed(b.live(other, t0.Add(recovery.MaxClockSkew)))
		superseded, err := b.create(b.reset(other, t0))
		b.ok(err, "CreateResets")
		b.want(len(superseded) == 1, "a request newer by the greatest skew did not supersede")
	}},
	{"Order", "Newer means a later RequestedAt, or the same and a greater JobID.", func(b *bench) {
		a := b.alice()
		first, second, third := b.reset(a, t0), b.reset(a, t0), b.reset(a, t0)
		b.store(second)
		b.mailed(second)
		superseded, err := b.create(first)
		b.ok(err, "CreateResets")
		b.want(len(superseded) == 1, "the reset with the smaller JobID was not left out")
		b.store(third)
		again := second
		again.Digest = b.digest()
		b.store(again) // a retry of the same job
		b.wantReason(again.Digest, t0, "")
		b.wantReason(second.Digest, t0, "")
	}},
	{"Limited", "If the charges may not be taken it must return Charges.Take's error and change nothing.", func(b *bench) {
		a := b.alice()
		mailbox := b.charge(recovery.ScopeMailbox, 1, time.Hour)
		_, err := b.create(b.reset(a, t0), mailbox)
		b.ok(err, "CreateResets")
		j := b.leased(b.id(), t0)
		before := b.dump()
		second := b.reset(a, t0)
		second.JobID = j.ID
		batch := recovery.ResetBatch{JobID: j.ID, LeaseID: j.LeaseID, At: t0, Resets: []recovery.Reset{second}, Charges: []recovery.Charge{b.charge(recovery.ScopeAccount, 1, time.Hour), mailbox}}
		_, err = b.Store.CreateResets(b.ctx, batch)
		b.wantLimit(err, recovery.ScopeMailbox, time.Hour)
		b.want(b.dump() == before, "the stored data changed")
		b.wantReason(second.Digest, t0, recovery.TokenUnknown)
		batch.At = t0.Add(time.Hour)
		_, err = b.Store.CreateResets(b.ctx, batch)
		b.ok(err, "CreateResets an hour later")
		b.wantLimit(b.take(t0.Add(time.Hour), mailbox), recovery.ScopeMailbox, time.Hour)
	}},
	{"ChargedOnce", "Unless the job's Charged is set, it must take batch.Charges and set Charged: a retry is not counted again.", func(b *bench) {
		a := b.alice()
		mailbox := b.charge(recovery.ScopeMailbox, 2, time.Hour)
		j := b.leased(b.id(), t0)
		for range 3 {
			b.want(j.Attempts == 1 || j.Charged, "a retry does not say that it was charged")
			r := b.reset(a, t0)
			r.JobID = j.ID
			_, err := b.Store.CreateResets(b.ctx, recovery.ResetBatch{JobID: j.ID, LeaseID: j.LeaseID, At: t0, Resets: []recovery.Reset{r}, Charges: []recovery.Charge{mailbox}})
			b.ok(err, "CreateResets")
			b.ok(b.Store.Finish(b.ctx, recovery.Outcome{JobID: j.ID, LeaseID: j.LeaseID, At: t0, RetryAt: t0}), "Finish")
			j = b.claimOne(t0)
		}
		b.ok(b.take(t0, mailbox), "TakeLimits of a charge that was counted once")
		b.wantLimit(b.take(t0, mailbox), recovery.ScopeMailbox, time.Hour)
	}},
	{"NoResets", "A mail without tokens is counted like the others.", func(b *bench) {
		mailbox := b.charge(recovery.ScopeMailbox, 1, time.Hour)
		first, second := b.leased(b.id(), t0), b.leased(b.id(), t0)
		batch := recovery.ResetBatch{JobID: first.ID, LeaseID: first.LeaseID, At: t0, Charges: []recovery.Charge{mailbox}}
		_, err := b.Store.CreateResets(b.ctx, batch)
		b.ok(err, "CreateResets")
		batch.JobID, batch.LeaseID = second.ID, second.LeaseID
		_, err = b.Store.CreateResets(b.ctx, batch)
		b.wantLimit(err, recovery.ScopeMailbox, time.Hour)
	}},
	{"RaceLimit", "Concurrent calls must have the result of some order of them: exactly as many mails pass as the limit allows.", func(b *bench) {
		a := b.alice()
		mailbox := b.charge(recovery.ScopeMailbox, 3, time.Hour)
		var batches []recovery.ResetBatch
		for range racers {
			r := b.reset(a, t0)
			j := b.leased(r.JobID, t0)
			batches = append(batches, recovery.ResetBatch{JobID: j.ID, LeaseID: j.LeaseID, At: t0, Resets: []recovery.Reset{r},
				Charges: []recovery.Charge{mailbox, b.charge(recovery.ScopeAccount, 1, time.Hour)}})
		}
		errs := together(len(batches), func(i int) error {
			_, err := b.Store.CreateResets(b.ctx, batches[i])
			return err
		})
		admitted := 0
		for i, err := range errs {
			if err == nil {
				admitted++
				b.wantReason(batches[i].Resets[0].Digest, t0, "")
			} else {
				b.wantLimit(err, recovery.ScopeMailbox, time.Hour)
				b.wantReason(batches[i].Resets[0].Digest, t0, recovery.TokenUnknown)
			}
		}
		b.want(admitted == 3, "%d of %d concurrent mails passed a limit of 3", admitted, racers)
	}},
}
