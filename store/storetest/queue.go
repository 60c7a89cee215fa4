package storetest

import (
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"example.com/recovery"
)

var queueCases = []testCase{
	{"RoundTrip", "Enqueue stores the request; Claim returns it with Attempts counted up by one and Lease set.", func(b *bench) {
		wants := map[string]recovery.Job{}
		for _, identifier := range []string{
			"alice", "Alice@Example.com", `'; DROP TABLE users; --`, "ünï\\cødé", "日本語", "% _ * ?", "😀", strings.Repeat("ß", 127),
		} {
			for _, client := range []string{"", "192.0.2.1", "2001:db8::1"} {
				r := b.request(t0)
				r.Identifier, r.Portal, r.Locale, r.AccountID = identifier, strings.Repeat("p", 64), strings.Repeat("l", 35), identifier
				if client != "" {
					r.Client = netip.MustParseAddr(client)
				}
				b.add(r)
				wants[r.ID] = r
			}
		}
		for _, kind := range []recovery.JobKind{recovery.JobUsernames, recovery.JobNotice, recovery.JobOnReset} {
			r := b.request(t0)
			r.Kind, r.By, r.RequestedAt = kind, recovery.ByEmail, t0.Add(-time.Hour+tick)
			b.add(r)
			wants[r.ID] = r
		}
		claimed := b.claim(t0)
		b.want(len(claimed) == len(wants), "%d of %d requests came back", len(claimed), len(wants))
		for _, got := range claimed {
			want, ok := wants[got.ID]
			b.want(ok, "a request came back twice, or that was never added")
			delete(wants, got.ID)
			b.want(got.LeaseID != "", "Lease is not set")
			want.Attempts, want.LeaseID = 1, got.LeaseID
			b.want(got == want, "request %s came back with other fields", got.ID)
		}
	}},
	{"Due", "Claim leases requests whose DueAt has come (DueAt <= lease.At).", func(b *bench) {
		r := b.request(t0)
		r.DueAt = t0.Add(time.Hour)
		b.add(r)
		b.want(len(b.claim(r.DueAt.Add(-tick))) == 0, "it was claimed a microsecond early")
		b.want(b.claimOne(r.DueAt).ID == r.ID, "it was not claimed when due")
	}},
	{"LongestDueFirst", "Claim leases up to lease.Max requests, the longest due first.", func(b *bench) {
		var ids [5]string
		for _, i := range []int{3, 0, 4, 1, 2} {
			r := b.request(t0)
			r.DueAt = t0.Add(time.Duration(i) * tick)
			ids[i] = r.ID
			b.add(r)
		}
		for _, want := range [][]string{ids[:2], ids[2:4], ids[4:], nil} {
			got, err := b.Store.Claim(b.ctx, recovery.Claim{LeaseID: b.id(), At: t0.Add(time.Hour), Until: t0.Add(2 * time.Hour), Max: 2})
			b.ok(err, "Claim")
			b.want(len(got) == len(want), "%d requests, not %d", len(got), len(want))
			for i := range got {
				b.want(hasRequest(got, want[i]), "a request that was due later came first")
			}
		}
	}},
	{"Empty", "An empty result is not an error.", func(b *bench) {
		b.want(len(b.claim(t0)) == 0, "an empty queue gave something")
	}},
	{"Leased", "Until lease.Until no other call must get them; from then on any may.", func(b *bench) {
		b.add(b.request(t0))
		first, err := b.Store.Claim(b.ctx, recovery.Claim{LeaseID: "lease-1", At: t0, Until: t0.Add(time.Minute), Max: 10})
		b.ok(err, "Claim")
		b.want(len(first) == 1 && first[0].LeaseID == "lease-1" && first[0].Attempts == 1, "the claim is not as asked for")
		b.want(len(b.claim(t0)) == 0, "another call got it at once")
		b.want(len(b.claim(t0.Add(time.Minute-tick))) == 0, "another call got it a microsecond early")
		again := b.claimOne(t0.Add(time.Minute))
		b.want(again.ID == first[0].ID && again.Attempts == 2 && again.LeaseID != "lease-1", "the second claim is not one of its own")
	}},
	{"OneRequest", "With lease.JobID set it must lease that request alone, even before its DueAt, unless someone else holds it.", func(b *bench) {
		r, other := b.request(t0), b.request(t0)
		r.DueAt = t0.Add(time.Hour)
		b.add(r)
		b.add(other)
		claim := func(at time.Time, id string) []recovery.Job {
			got, err := b.Store.Claim(b.ctx, recovery.Claim{LeaseID: b.id(), At: at, Until: at.Add(time.Minute), Max: 1, JobID: id})
			b.ok(err, "Claim")
			return got
		}
		b.want(len(claim(t0, b.id())) == 0, "a request that is not there was claimed")
		got := claim(t0, r.ID)
		b.want(len(got) == 1 && got[0].ID == r.ID && got[0].Attempts == 1 && got[0].LeaseID != "", "the claim did not lease the request alone")
		r.Attempts, r.LeaseID = 1, got[0].LeaseID
		b.want(got[0] == r, "it came back with other fields")
		b.want(len(claim(t0, r.ID)) == 0, "another call got it at once")
		b.want(len(claim(t0.Add(time.Minute-tick), r.ID)) == 0, "another call got it a microsecond early")
		b.want(b.claimOne(t0).ID == other.ID, "the claim took more than the request, or left it unleased")
		b.want(len(claim(t0, other.ID)) == 0, "it leased what a claim of the queue holds")
		again := claim(t0.Add(time.Minute), r.ID)
		b.want(len(again) == 1 && again[0].Attempts == 2, "it was not leased when the lease was over")
		b.ok(b.Store.Finish(b.ctx, recovery.Outcome{
			JobID: r.ID, LeaseID: again[0].LeaseID, At: t0, RetryAt: t0.Add(2 * time.Hour),
		}), "Finish")
		b.want(len(claim(t0, r.ID)) == 1, "a request to be tried again was not leased before its time")
	}},
	{"RaceOneRequest", "No two concurrent calls must get the same request.", func(b *bench) {
		for range rounds {
			r := b.request(t0)
			b.add(r)
			leases := make([]recovery.Claim, 16)
			for i := range leases {
				leases[i] = recovery.Claim{LeaseID: b.id(), At: t0, Until: t0.Add(time.Minute), Max: 1}
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
			b.want(got.Load() == 1, "a request was claimed %d times", got.Load())
		}
	}},
	{"RaceClaims", "No two concurrent calls must get the same request.", func(b *bench) {
		const claimers, requests = 8, 200
		for range requests {
			b.add(b.request(t0))
		}
		var mu sync.Mutex
		got := map[string]int{}
		leases := make([]string, claimers)
		for i := range leases {
			leases[i] = b.id()
		}
		errs := together(claimers, func(i int) error {
			for {
				claimed, err := b.Store.Claim(b.ctx, recovery.Claim{LeaseID: leases[i], At: t0, Until: t0.Add(time.Minute), Max: 7})
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
		b.want(len(got) == requests, "%d of %d requests were claimed", len(got), requests)
		for _, n := range got {
			b.want(n == 1, "a request was claimed %d times", n)
		}
	}},
}

func hasRequest(requests []recovery.Job, id string) bool {
	for _, r := range requests {
		if r.ID == id {
			return true
		}
	}
	return false
}
