package storetest

import (
	"time"

	"example.com/recovery"
)

var purgeCases = []testCase{
	{"Resets", "Purge deletes resets whose ExpiresAt is not after the given instant.", func(b *bench) {
		a := b.alice()
		first, second := b.live(a, t0), b.live(a, t0.Add(tick))
		used := b.live(b.numbered(1), t0)
		_, err := b.redeem(used.Digest, t0, "hash-1")
		b.ok(err, "Redeem")
		b.want(b.purge(first.ExpiresAt.Add(-tick), 100) == 0, "it deleted a reset that is live")
		b.want(b.purge(first.ExpiresAt, 100) == 2, "it did not delete the two that expired, used or not")
		b.wantReason(first.Digest, t0, recovery.TokenUnknown)
		b.wantReason(used.Digest, t0, recovery.TokenUnknown)
		b.wantReason(second.Digest, t0, "")
		b.want(b.purge(first.ExpiresAt, 100) == 0, "it deleted something twice")
	}},
	{"Limits", "Purge deletes limits whose state is not after the given instant.", func(b *bench) {
		c := b.charge(recovery.ScopeClient, 2, time.Minute)
		b.ok(b.take(t0, c), "TakeLimits")
		b.ok(b.take(t0.Add(30*time.Second), c), "TakeLimits")
		over := t0.Add(2 * time.Minute) // the state after two events
		b.want(b.purge(t0.Add(time.Minute), 100) == 0, "it deleted a limit that still counts")
		b.want(b.purge(over.Add(-tick), 100) == 0, "it deleted a limit a microsecond early")
		b.wantLimit(b.take(t0.Add(59*time.Second), c), recovery.ScopeClient, time.Second)
		b.want(b.purge(over, 100) == 1, "it did not delete a limit that is over")
	}},
	{"ClockWentBack", "Purge deletes limits whose state is not after the given instant.", func(b *bench) {
		c := b.charge(recovery.ScopeClient, 1, time.Minute)
		b.ok(b.take(t0.Add(time.Hour), c), "TakeLimits")
		b.ok(b.take(t0, c), "TakeLimits with the clock an hour back") // so far ahead, the state counts as none
		b.want(b.purge(t0.Add(time.Minute-tick), 100) == 0, "it deleted a limit that still counts")
		b.want(b.purge(t0.Add(time.Minute), 100) == 1, "it did not delete a limit whose state went back with the clock")
	}},
	{"Waiting", "It must not delete a job.", func(b *bench) {
		b.add(b.job(t0))
		b.add(b.job(t0))
		leased, err := b.Store.Claim(b.ctx, recovery.Claim{LeaseID: b.id(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Hour), Max: 1})
		b.ok(err, "Claim")
		b.want(b.purge(t0.Add(10000*time.Hour), 100) == 0, "it deleted a job")
		b.finish(leased[0], t0)
		b.want(len(b.claim(t0)) == 1, "a waiting job is gone")
	}},
	{"FarAhead", "Purge deletes resets whose ExpiresAt is after ahead, and makes jobs due at once that are due only after it.", func(b *bench) {
		a := b.alice()
		wrong, right := b.live(a, t0.Add(48*time.Hour)), b.live(a, t0)
		ahead := right.ExpiresAt
		late, soon := b.leased(b.id(), t0), b.leased(b.id(), t0)
		for j, due := range map[recovery.Job]time.Time{late: ahead.Add(tick), soon: ahead} {
			b.ok(b.Store.Finish(b.ctx, recovery.Outcome{JobID: j.ID, LeaseID: j.LeaseID, At: t0, RetryAt: due}), "Finish")
		}
		n, err := b.Store.Purge(b.ctx, t0, ahead, 100)
		b.ok(err, "Purge")
		b.want(n == 2, "Purge changed %d rows, not 2", n)
		b.wantReason(wrong.Digest, t0.Add(48*time.Hour), recovery.TokenUnknown)
		b.wantReason(right.Digest, t0, "")
		b.want(b.claimOne(t0).ID == late.ID, "the job that was due far ahead is not due now")
	}},
	{"Batches", "It must change at most max rows and return how many.", func(b *bench) {
		a := b.alice()
		for range 7 {
			b.live(a, t0)
		}
		for range 4 {
			b.ok(b.take(t0, b.charge(recovery.ScopeClient, 1, time.Minute)), "TakeLimits")
		}
		total := 0
		for _, most := range []int{3, 3, 3, 3} {
			n := b.purge(t0.Add(1000*time.Hour), most)
			b.want(n <= most, "it deleted %d rows with max %d", n, most)
			total += n
		}
		b.want(total == 11, "it deleted %d rows of 11", total)
		b.want(b.purge(t0.Add(1000*time.Hour), 3) == 0, "it deleted more than there was")
		b.want(b.dump() == "", "something is left")
	}},
}

func (b *bench) purge(before time.Time, most int) int {
	n, err := b.Store.Purge(b.ctx, before, before.Add(10000*time.Hour), most)
	b.ok(err, "Purge")
	return n
}
