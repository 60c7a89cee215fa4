package storetest

import (
	"errors"
	"time"

	"example.com/recovery"
)

var limitCases = []testCase{
	{"HardRefuses", "If a hard charge may not pass, it must return a *LimitError with the Scope of that charge and the wait until it may, count nothing and store nothing.", func(b *bench) {
		client := b.charge(recovery.ScopeClient, 2, time.Minute)
		global := b.charge(recovery.ScopeGlobal, 10, time.Second)
		hard := recovery.Charges{Hard: []recovery.Charge{global, client}, Soft: []recovery.Charge{b.charge(recovery.ScopeIdentifier, 1, time.Hour)}}
		b.ok(b.Store.Enqueue(b.ctx, b.request(t0), hard), "first Enqueue")
		b.ok(b.Store.Enqueue(b.ctx, b.request(t0), hard), "second Enqueue")
		before := b.dump()
		b.wantLimit(b.Store.Enqueue(b.ctx, b.request(t0.Add(20*time.Second)), hard), recovery.ScopeClient, 40*time.Second)
		b.want(b.dump() == before, "what is stored changed")
		b.want(len(b.claim(t0.Add(time.Hour))) == 2, "a refused request is in the queue")
	}},
	{"FreesInTime", "Limit.Take defines the counting: the wait is exact to the microsecond.", func(b *bench) {
		c := b.charge(recovery.ScopeClient, 3, time.Minute)
		for range 3 {
			b.ok(b.take(t0, c), "TakeLimits within the burst")
		}
		b.wantLimit(b.take(t0, c), recovery.ScopeClient, time.Minute)
		b.wantLimit(b.take(t0.Add(time.Minute-tick), c), recovery.ScopeClient, tick)
		b.ok(b.take(t0.Add(time.Minute), c), "TakeLimits after a minute")
		b.wantLimit(b.take(t0.Add(time.Minute), c), recovery.ScopeClient, time.Minute)
		for range 3 {
			b.ok(b.take(t0.Add(time.Hour), c), "TakeLimits an hour later")
		}
		b.wantLimit(b.take(t0.Add(time.Hour), c), recovery.ScopeClient, time.Minute)
	}},
	{"OutOfOrder", "Limit.Take defines the counting, also of events that overtake each other and of clocks that differ.", func(b *bench) {
		c := b.charge(recovery.ScopeClient, 2, time.Minute)
		b.ok(b.take(t0, c), "TakeLimits")
		b.ok(b.take(t0, c), "TakeLimits")
		for _, back := range []time.Duration{0, tick, time.Millisecond, time.Second, time.Minute, recovery.MaxClockSkew} {
			b.wantLimit(b.take(t0.Add(-back), c), recovery.ScopeClient, time.Minute+back)
		}
	}},
	{"ClockGoesBack", "Limit.Take defines the counting, also when the clock goes back.", func(b *bench) {
		c := b.charge(recovery.ScopeClient, 2, time.Minute)
		b.ok(b.take(t0, c), "TakeLimits")
		b.ok(b.take(t0, c), "TakeLimits")
		back := t0.Add(-recovery.MaxClockSkew - tick)
		b.ok(b.take(back, c), "TakeLimits with a state that this clock cannot have made")
		b.ok(b.take(back, c), "TakeLimits again, from a new state")
		b.wantLimit(b.take(back, c), recovery.ScopeClient, time.Minute)
	}},
	{"LongestWait", "It must return the wait until it may (of several, the longest).", func(b *bench) {
		short, long := b.charge(recovery.ScopeGlobal, 1, time.Second), b.charge(recovery.ScopeClient, 1, time.Hour)
		b.ok(b.take(t0, short, long), "TakeLimits")
		b.wantLimit(b.take(t0, short, long), recovery.ScopeClient, time.Hour)
		b.wantLimit(b.take(t0, long, short), recovery.ScopeClient, time.Hour)
	}},
	{"AllOrNone", "It must count all hard charges, or nothing.", func(b *bench) {
		once, often := b.charge(recovery.ScopeClient, 1, time.Hour), b.charge(recovery.ScopeGlobal, 2, time.Hour)
		b.ok(b.take(t0, often, once), "TakeLimits")
		for range 5 {
			b.wantLimit(b.take(t0, often, once), recovery.ScopeClient, time.Hour)
			b.wantLimit(b.take(t0, once, often), recovery.ScopeClient, time.Hour)
		}
		b.ok(b.take(t0, often), "TakeLimits of a charge that refused calls must not have counted")
		b.wantLimit(b.take(t0, often), recovery.ScopeGlobal, time.Hour)
	}},
	{"SoftThrottles", "If all soft charges may pass it must count them, else count none of them and store the request with Throttled set.", func(b *bench) {
		minute, hour := b.charge(recovery.ScopeIdentifier, 1, time.Minute), b.charge(recovery.ScopeIdentifier, 2, time.Hour)
		soft := recovery.Charges{Soft: []recovery.Charge{minute, hour}}
		for i, c := range []struct {
			after     time.Duration
			throttled bool
		}{
			{0, false}, {time.Second, true}, {59 * time.Second, true}, {time.Minute, false},
			{2 * time.Minute, true}, {time.Hour - tick, true}, {time.Hour, false}, {time.Hour + time.Minute, true},
		} {
			at := t0.Add(c.after)
			b.ok(b.Store.Enqueue(b.ctx, b.request(at), soft), "Enqueue")
			r := b.claimOne(at)
			b.want(r.Throttled == c.throttled, "request %d, %v later: Throttled is %v", i, c.after, r.Throttled)
			b.finish(r, at)
		}
	}},
	{"SoftStillCountsHard", "It must count all hard charges, also of a request that is stored with Throttled set.", func(b *bench) {
		charges := recovery.Charges{
			Hard: []recovery.Charge{b.charge(recovery.ScopeClient, 2, time.Hour)},
			Soft: []recovery.Charge{b.charge(recovery.ScopeIdentifier, 1, time.Hour)},
		}
		b.ok(b.Store.Enqueue(b.ctx, b.request(t0), charges), "first Enqueue")
		b.ok(b.Store.Enqueue(b.ctx, b.request(t0), charges), "second Enqueue")
		b.wantLimit(b.Store.Enqueue(b.ctx, b.request(t0), charges), recovery.ScopeClient, time.Hour)
	}},
	{"RefusedCountsNoSoft", "If a hard charge may not pass, it must count nothing: no soft charge that may.", func(b *bench) {
		hard, soft := b.charge(recovery.ScopeClient, 1, time.Minute), b.charge(recovery.ScopeIdentifier, 1, time.Hour)
		charges := recovery.Charges{Hard: []recovery.Charge{hard}, Soft: []recovery.Charge{soft}}
		b.ok(b.take(t0, hard), "TakeLimits")
		before := b.dump()
		b.wantLimit(b.Store.Enqueue(b.ctx, b.request(t0), charges), recovery.ScopeClient, time.Minute)
		b.want(b.dump() == before, "what is stored changed")
		b.ok(b.Store.Enqueue(b.ctx, b.request(t0.Add(time.Minute)), charges), "Enqueue a minute later")
		b.want(!b.claimOne(t0.Add(time.Minute)).Throttled, "the refused request was counted")
	}},
	{"ThrottledCountsNoNew", "If not all soft charges may pass it must count none of them, those of new keys neither.", func(b *bench) {
		old, new := b.charge(recovery.ScopeIdentifier, 1, time.Hour), b.charge(recovery.ScopeIdentifier, 1, time.Minute)
		b.ok(b.take(t0, old), "TakeLimits")
		for _, charges := range [][]recovery.Charge{{old, new}, {new, old}} {
			b.ok(b.Store.Enqueue(b.ctx, b.request(t0), recovery.Charges{Soft: charges}), "Enqueue")
			r := b.claimOne(t0)
			b.want(r.Throttled, "Throttled is not set")
			b.finish(r, t0)
		}
		b.ok(b.take(t0, new), "TakeLimits of a charge that throttled calls must not have counted")
	}},
	{"SoftClockGoesBack", "Limit.Take defines the counting of soft charges too, also when the clock goes back.", func(b *bench) {
		soft := recovery.Charges{Soft: []recovery.Charge{b.charge(recovery.ScopeIdentifier, 1, time.Hour)}}
		for _, c := range []struct {
			back      time.Duration
			throttled bool
		}{{0, false}, {recovery.MaxClockSkew, true}, {recovery.MaxClockSkew + tick, false}, {recovery.MaxClockSkew + tick, true}} {
			at := t0.Add(-c.back)
			b.ok(b.Store.Enqueue(b.ctx, b.request(at), soft), "Enqueue")
			r := b.claimOne(at)
			b.want(r.Throttled == c.throttled, "%v back: Throttled is %v", c.back, r.Throttled)
			b.finish(r, at)
		}
	}},
	{"ThrottledIsClaimed", "A request with Throttled set is in the queue like the others.", func(b *bench) {
		soft := recovery.Charges{Soft: []recovery.Charge{b.charge(recovery.ScopeIdentifier, 1, time.Hour)}}
		want := b.request(t0)
		b.ok(b.Store.Enqueue(b.ctx, b.request(t0), soft), "first Enqueue")
		b.ok(b.Store.Enqueue(b.ctx, want, soft), "second Enqueue")
		for _, got := range b.claim(t0) {
			if got.ID == want.ID {
				want.Throttled, want.Attempts, want.LeaseID = true, 1, got.LeaseID
				b.want(got == want, "it came back with other fields")
				return
			}
		}
		b.fail("it was not claimed")
	}},
	{"KeysAreApart", "A limit is counted under its key alone.", func(b *bench) {
		first := b.charge(recovery.ScopeClient, 1, time.Hour)
		b.ok(b.take(t0, first), "TakeLimits")
		for i := range len(first.Key) {
			near := first
			near.Key[i] ^= 1
			b.ok(b.take(t0, near), "TakeLimits under a key that differs in one bit")
		}
		b.wantLimit(b.take(t0, first), recovery.ScopeClient, time.Hour)
	}},
	{"OneState", "TakeLimits counts hard charges alone, as Enqueue does.", func(b *bench) {
		c := b.charge(recovery.ScopeClient, 2, time.Hour)
		b.ok(b.take(t0, c), "TakeLimits")
		b.ok(b.Store.Enqueue(b.ctx, b.request(t0), recovery.Charges{Hard: []recovery.Charge{c}}), "Enqueue")
		b.wantLimit(b.take(t0, c), recovery.ScopeClient, time.Hour)
		b.wantLimit(b.Store.Enqueue(b.ctx, b.request(t0), recovery.Charges{Hard: []recovery.Charge{c}}), recovery.ScopeClient, time.Hour)
		b.want(len(b.claim(t0)) == 1, "TakeLimits put something in the queue")
	}},
	{"NoCharges", "Without charges nothing is counted and nothing refused.", func(b *bench) {
		b.ok(b.take(t0), "TakeLimits")
		for range 50 {
			r := b.request(t0)
			r.Throttled = true // Enqueue decides
			b.add(r)
		}
		claimed := b.claim(t0)
		b.want(len(claimed) == 50, "requests without charges were lost")
		for _, r := range claimed {
			b.want(!r.Throttled, "a request over no limit is Throttled")
		}
	}},
	{"RaceHard", "Counting must be exact under concurrency.", func(b *bench) {
		for range rounds {
			c := b.charge(recovery.ScopeClient, 7, time.Hour)
			errs := together(200, func(int) error { return b.take(t0, c) })
			passed := 0
			for _, err := range errs {
				if err == nil {
					passed++
				} else {
					b.wantLimit(err, recovery.ScopeClient, time.Hour)
				}
			}
			b.want(passed == 7, "%d of 200 concurrent calls passed a limit of 7", passed)
		}
	}},
	{"RaceSoft", "Counting must be exact under concurrency, and no accepted request may get lost.", func(b *bench) {
		charges := recovery.Charges{
			Hard: []recovery.Charge{b.charge(recovery.ScopeClient, 150, time.Hour), b.charge(recovery.ScopeGlobal, 180, time.Hour)},
			Soft: []recovery.Charge{b.charge(recovery.ScopeIdentifier, 3, time.Hour)},
		}
		requests := make([]recovery.Job, 200)
		for i := range requests {
			requests[i] = b.request(t0)
		}
		errs := together(len(requests), func(i int) error { return b.Store.Enqueue(b.ctx, requests[i], charges) })
		accepted := 0
		for _, err := range errs {
			if err == nil {
				accepted++
			} else {
				b.wantLimit(err, recovery.ScopeClient, time.Hour)
			}
		}
		claimed := b.claim(t0)
		free := 0
		for _, r := range claimed {
			if !r.Throttled {
				free++
			}
		}
		b.want(accepted == 150, "%d of 200 concurrent calls passed a limit of 150", accepted)
		b.want(len(claimed) == accepted, "%d calls were accepted and %d requests are in the queue", accepted, len(claimed))
		b.want(free == 3, "%d of 200 concurrent requests passed a soft limit of 3", free)
	}},
}

// charge returns one under a key that is not used yet.
func (b *bench) charge(scope recovery.Scope, burst int, every time.Duration) recovery.Charge {
	return recovery.Charge{Scope: scope, Key: b.digest(), Limit: recovery.Limit{Burst: burst, Every: every}}
}

func (b *bench) take(at time.Time, charges ...recovery.Charge) error {
	return b.Store.TakeLimits(b.ctx, at, charges)
}

func (b *bench) wantLimit(err error, scope recovery.Scope, wait time.Duration) {
	e, ok := errors.AsType[*recovery.LimitError](err)
	b.want(ok, "the error is %v, not a *LimitError", err)
	b.want(e.Scope == scope && e.RetryAfter == wait, "refused by the %s limit for %v, not by the %s limit for %v",
		e.Scope, e.RetryAfter, scope, wait)
}
