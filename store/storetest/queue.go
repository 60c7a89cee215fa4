package storetest

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"example.com/recovery"
)

var queueCases = []testCase{
	{"RoundTrip", "AddRequest stores the request; ClaimRequests returns it with Attempts counted up by one and Lease set.", func(b *bench) {
		wants := map[string]recovery.Request{}
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
		for _, kind := range []recovery.RequestKind{recovery.RequestKindUsernames, recovery.RequestKindNotice, recovery.RequestKindOnReset} {
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
			b.want(got.Lease != "", "Lease is not set")
			want.Attempts, want.Lease = 1, got.Lease
			b.want(got == want, "request %s came back with other fields", got.ID)
		}
	}},
	{"Due", "ClaimRequests leases requests whose DueAt has come (DueAt <= lease.At).", func(b *bench) {
		r := b.request(t0)
		r.DueAt = t0.Add(time.Hour)
		b.add(r)
		b.want(len(b.claim(r.DueAt.Add(-tick))) == 0, "it was claimed a microsecond early")
		b.want(b.claimOne(r.DueAt).ID == r.ID, "it was not claimed when due")
	}},
	{"LongestDueFirst", "ClaimRequests leases up to lease.Max requests, the longest due first.", func(b *bench) {
		var ids [5]string
		for _, i := range []int{3, 0, 4, 1, 2} {
			r := b.request(t0)
			r.DueAt = t0.Add(time.Duration(i) * tick)
			ids[i] = r.ID
			b.add(r)
		}
		for _, want := range [][]string{ids[:2], ids[2:4], ids[4:], nil} {
			got, err := b.Store.ClaimRequests(b.ctx, recovery.Lease{ID: b.id(), At: t0.Add(time.Hour), Until: t0.Add(2 * time.Hour), Max: 2})
			b.ok(err, "ClaimRequests")
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
		first, err := b.Store.ClaimRequests(b.ctx, recovery.Lease{ID: "lease-1", At: t0, Until: t0.Add(time.Minute), Max: 10})
		b.ok(err, "ClaimRequests")
		b.want(len(first) == 1 && first[0].Lease == "lease-1" && first[0].Attempts == 1, "the claim is not as asked for")
		b.want(len(b.claim(t0)) == 0, "another call got it at once")
		b.want(len(b.claim(t0.Add(time.Minute-tick))) == 0, "another call got it a microsecond early")
		again := b.claimOne(t0.Add(time.Minute))
		b.want(again.ID == first[0].ID && again.Attempts == 2 && again.Lease != "lease-1", "the second claim is not one of its own")
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
				claimed, err := b.Store.ClaimRequests(b.ctx, recovery.Lease{ID: leases[i], At: t0, Until: t0.Add(time.Minute), Max: 7})
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
			b.ok(err, "ClaimRequests")
		}
		b.want(len(got) == requests, "%d of %d requests were claimed", len(got), requests)
		for _, n := range got {
			b.want(n == 1, "a request was claimed %d times", n)
		}
	}},
}

func hasRequest(requests []recovery.Request, id string) bool {
	for _, r := range requests {
		if r.ID == id {
			return true
		}
	}
	return false
}
