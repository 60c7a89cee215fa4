package storetest

import (
	"bytes"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/recovery"
)

var queueCases = []testCase{
	{"RoundTrip", "Enqueue appends the job; Claim returns it with Attempts counted up by one and LeaseID set.", func(b *bench) {
		wants := map[string]recovery.Job{}
		tickets := []recovery.Digest{{}, {1}, {31: 1}, b.digest(), recovery.Digest(bytes.Repeat([]byte{0xff}, 32))}
		for _, identifier := range []string{
			"alice", "Alice@Example.com", `'; DROP TABLE users; --`, "ünï\\cødé", "日本語", "% _ * ?", "😀", strings.Repeat("ß", 127),
		} {
			for _, client := range []string{"", "192.0.2.1", "2001:db8::1"} {
				r := b.job(t0)
				r.Identifier, r.Portal, r.Locale, r.AccountID = identifier, strings.Repeat("p", 64), strings.Repeat("l", 35), identifier
				r.Tenant, r.Ticket = tenants[len(wants)%len(tenants)], tickets[len(wants)%len(tickets)]
				if client != "" {
					r.Client = netip.MustParseAddr(client)
				}
				b.add(r)
				wants[r.ID] = r
			}
		}
		for _, kind := range []recovery.JobKind{recovery.JobUsernames, recovery.JobNotice, recovery.JobOnReset} {
			r := b.job(t0)
			r.Kind, r.By, r.RequestedAt, r.Priority = kind, recovery.ByEmail, t0.Add(-time.Hour+tick), t0.Add(-time.Hour+tick)
			b.add(r)
			wants[r.ID] = r
		}
		claimed := b.claim(t0)
		b.want(len(claimed) == len(wants), "%d of %d jobs came back", len(claimed), len(wants))
		for _, got := range claimed {
			want, ok := wants[got.ID]
			b.want(ok, "a job came back twice, or was never added")
			delete(wants, got.ID)
			b.want(got.LeaseID != "", "LeaseID is not set")
			want.Attempts, want.LeaseID = 1, got.LeaseID
			b.want(got == want, "job %s came back with other fields", got.ID)
		}
	}},
	{"LatestPriorityFirst", "Of jobs that were never claimed, the latest Priority goes first.", func(b *bench) {
		client := b.charge(recovery.ScopeClient, 100, time.Minute)
		var crowd []string
		for i := range 4 { // each is a minute further back
			j := b.job(t0.Add(time.Duration(i) * time.Second))
			crowd = append(crowd, j.ID)
			b.ok(b.enqueue(j, client), "Enqueue")
		}
		old := b.job(t0.Add(-30 * time.Second))
		b.ok(b.enqueue(old, b.charge(recovery.ScopeClient, 100, time.Minute)), "Enqueue")
		for _, want := range []string{crowd[0], old.ID, crowd[1], crowd[2], crowd[3]} {
			got := b.claimMax(recovery.LaneMail, b.id(), t0, 1)
			b.want(len(got) == 1 && got[0].ID == want, "another job came first")
		}
	}},
	{"LeavesSomeAgain", "It must offer claim.Again of the claim.Max places to jobs claimed before, the longest due first. Either group must get the places that the other leaves.", func(b *bench) {
		retry := func(n int) (ids []string) {
			for i := range n {
				j := b.leased(b.id(), t0)
				ids = append(ids, j.ID)
				due := t0.Add(time.Minute - time.Duration(i)*time.Second)
				b.ok(b.Store.Finish(b.ctx, recovery.Outcome{JobID: j.ID, LeaseID: j.LeaseID, At: t0, RetryAt: due}), "Finish")
			}
			return ids
		}
		fresh := func(n int) {
			for range n {
				b.add(b.job(t0))
			}
		}
		at := t0.Add(time.Minute)
		count := func(most, again, first int) []recovery.Job {
			got := b.claimMax(recovery.LaneMail, b.id(), at, most)
			n := 0
			for _, j := range got {
				if j.Attempts > 1 {
					n++
				}
			}
			b.want(n == again && len(got)-n == first, "of %d jobs %d were claimed before, want %d and %d", len(got), n, again+first, again)
			return got
		}
		ids := retry(4)
		fresh(9)
		for _, id := range []string{ids[3], ids[2]} {
			b.want(hasJob(count(4, 1, 3), id), "a job that was due later came first")
		}
		b.want(count(1, 1, 0)[0].ID == ids[1], "the only place did not go to a job that was claimed before")
		count(5, 1, 3)
		retry(5)
		b.want(len(count(3, 3, 0)) == 3, "places were left empty")
		fresh(2)
		count(8, 2, 2)
		count(8, 0, 0)
		retry(1)
		fresh(1)
		for _, before := range []bool{false, true} {
			got, err := b.Store.Claim(b.ctx, recovery.Claim{LeaseID: b.id(), Lane: recovery.LaneMail, At: at, Until: at.Add(time.Minute), Max: 1})
			b.ok(err, "Claim")
			b.want(len(got) == 1 && (got[0].Attempts > 1) == before, "with Again 0 a job that was claimed before came first, or not at all")
		}
	}},
	{"LanesAreApart", "Claim leases jobs of claim.Lane.", func(b *bench) {
		lanes := map[recovery.JobKind]recovery.Lane{
			recovery.JobReset: recovery.LaneMail, recovery.JobUsernames: recovery.LaneMail,
			recovery.JobNotice: recovery.LaneNotice, recovery.JobOnReset: recovery.LaneOnReset,
		}
		for kind := range lanes {
			j := b.job(t0)
			j.Kind = kind
			b.add(j)
		}
		for _, lane := range []recovery.Lane{recovery.LaneOnReset, recovery.LaneMail, recovery.LaneNotice} {
			got := b.claimMax(lane, b.id(), t0, 10)
			n := 0
			for _, j := range got {
				b.want(lanes[j.Kind] == lane, "a job of kind %s is in the lane %s", j.Kind, lane)
				n++
			}
			b.want(n == 1 || n == 2 && lane == recovery.LaneMail, "%d jobs in the lane %s", n, lane)
		}
	}},
	{"Stats", "Stats returns what waits in each lane that has jobs, leased ones included.", func(b *bench) {
		stats := func() map[recovery.Lane]recovery.LaneStats {
			all, err := b.Store.Stats(b.ctx)
			b.ok(err, "Stats")
			byLane := map[recovery.Lane]recovery.LaneStats{}
			for _, s := range all {
				byLane[s.Lane] = s
			}
			b.want(len(byLane) == len(all), "a lane stands twice in %v", all)
			return byLane
		}
		b.want(len(stats()) == 0, "an empty queue has stats")
		for i := range 3 {
			b.add(b.job(t0.Add(time.Duration(i) * tick)))
		}
		notice := b.job(t0.Add(time.Hour))
		notice.Kind = recovery.JobNotice
		b.add(notice)
		b.claimMax(recovery.LaneMail, b.id(), t0, 1)
		got := stats()
		b.want(len(got) == 2, "%d lanes, not 2", len(got))
		mail, notices := got[recovery.LaneMail], got[recovery.LaneNotice]
		b.want(mail.Jobs == 3 && mail.Oldest.Equal(t0), "the lane of mails has %d jobs since %v", mail.Jobs, mail.Oldest)
		b.want(notices.Jobs == 1 && notices.Oldest.Equal(t0.Add(time.Hour)), "the lane of notices has %d jobs since %v", notices.Jobs, notices.Oldest)
	}},
	{"Now", "Now returns the time of the clock that all processes share, or the zero Time if there is none.", func(b *bench) {
		now, err := b.Store.Now(b.ctx)
		b.ok(err, "Now")
		b.want(now.IsZero() || time.Since(now).Abs() < time.Hour, "the Store's clock says %v", now)
	}},
	{"Empty", "An empty result is not an error.", func(b *bench) {
		b.want(len(b.claim(t0)) == 0, "an empty queue returned a job")
	}},
	{"Leased", "Until claim.Until no other call must get them; from then on any may.", func(b *bench) {
		b.add(b.job(t0))
		first := b.claimMax(recovery.LaneMail, "lease-1", t0, 10)
		b.want(len(first) == 1 && first[0].LeaseID == "lease-1" && first[0].Attempts == 1, "the claim does not have the lease that was asked for")
		b.want(len(b.claim(t0)) == 0, "another call got it at once")
		b.want(len(b.claim(t0.Add(time.Minute-tick))) == 0, "another call got it a microsecond early")
		again := b.claimOne(t0.Add(time.Minute))
		b.want(again.ID == first[0].ID && again.Attempts == 2 && again.LeaseID != "lease-1", "the second claim has the lease or the count of the first")
	}},
	{"OneJob", "With claim.JobID set it must lease that job alone, of whatever lane, even before it is due, unless someone else holds it.", func(b *bench) {
		j, other := b.job(t0), b.job(t0)
		j.Kind, j.Tenant, j.Ticket = recovery.JobNotice, "acme", b.digest()
		b.add(j)
		b.add(other)
		b.want(len(b.claimID(b.id(), t0)) == 0, "a job that is not there was claimed")
		got := b.claimID(j.ID, t0)
		b.want(len(got) == 1 && got[0].ID == j.ID && got[0].Attempts == 1 && got[0].LeaseID != "", "the claim did not lease the job alone")
		j.Attempts, j.LeaseID = 1, got[0].LeaseID
		b.want(got[0] == j, "it came back with other fields")
		b.want(len(b.claimID(j.ID, t0)) == 0, "another call got it at once")
		b.want(len(b.claimID(j.ID, t0.Add(time.Minute-tick))) == 0, "another call got it a microsecond early")
		b.want(b.claimOne(t0).ID == other.ID, "the claim took more than the job, or left it unleased")
		b.want(len(b.claimID(other.ID, t0)) == 0, "it leased a job that another claim holds")
		again := b.claimID(j.ID, t0.Add(time.Minute))
		b.want(len(again) == 1 && again[0].Attempts == 2, "it was not leased when the lease was over")
		b.ok(b.Store.Finish(b.ctx, recovery.Outcome{
			JobID: j.ID, LeaseID: again[0].LeaseID, At: t0, RetryAt: t0.Add(2 * time.Hour),
		}), "Finish")
		b.want(len(b.claimID(j.ID, t0)) == 1, "a job to be tried again was not leased before its time")
	}},
	{"RaceOneJob", "No two concurrent calls must get the same job.", func(b *bench) {
		for range rounds {
			r := b.job(t0)
			b.add(r)
			leases := make([]recovery.Claim, 16)
			for i := range leases {
				leases[i] = recovery.Claim{LeaseID: b.id(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Minute), Max: 1}
				if i%2 == 0 {
					leases[i].JobID = r.ID
				}
			}
			var got atomic.Int64
			errs := together(len(leases), func(i int) error {
				claimed, err := b.Store.Claim(b.ctx, leases[i])
				got.Add(int64(len(claimed)))
				return err
			})
			for _, err := range errs {
				b.ok(err, "Claim")
			}
			b.want(got.Load() == 1, "a job was claimed %d times", got.Load())
		}
	}},
	{"RaceClaims", "No two concurrent calls must get the same job.", func(b *bench) {
		const claimers, jobs = 8, 200
		for range jobs {
			b.add(b.job(t0))
		}
		var mu sync.Mutex
		got := map[string]int{}
		leases := make([]string, claimers)
		for i := range leases {
			leases[i] = b.id()
		}
		errs := together(claimers, func(i int) error {
			for {
				claimed, err := b.Store.Claim(b.ctx, recovery.Claim{LeaseID: leases[i], Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Minute), Max: 7})
				if err != nil || len(claimed) == 0 {
					return err
				}
				mu.Lock()
				for _, r := range claimed {
					got[r.ID]++
				}
				mu.Unlock()
			}
		})
		for _, err := range errs {
			b.ok(err, "Claim")
		}
		b.want(len(got) == jobs, "%d of %d jobs were claimed", len(got), jobs)
		for _, n := range got {
			b.want(n == 1, "a job was claimed %d times", n)
		}
	}},
}

func hasJob(jobs []recovery.Job, id string) bool {
	for _, j := range jobs {
		if j.ID == id {
			return true
		}
	}
	return false
}
