package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"example.com/recovery"
)

var limitCases = []testCase{
	{"Refuses", "If the charges may not be taken, Enqueue must return Charges.Take's error and store nothing.", func(b *bench) {
		client := b.charge(recovery.ScopeClient, 2, time.Minute)
		global := b.charge(recovery.ScopeGlobal, 10, time.Second)
		b.ok(b.enqueue(b.job(t0), global, client), "first Enqueue")
		b.ok(b.enqueue(b.job(t0), global, client), "second Enqueue")
		before := b.dump()
		b.wantLimit(b.enqueue(b.job(t0.Add(20*time.Second)), global, client), recovery.ScopeClient, 40*time.Second)
		b.want(b.dump() == before, "the stored data changed")
		b.want(len(b.claim(t0.Add(time.Hour))) == 2, "a refused job is in the queue")
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
	{"OutOfOrder", "Limit.Take defines the counting, also of events that overtake each other.", func(b *bench) {
		c := b.charge(recovery.ScopeClient, 2, time.Minute)
		b.ok(b.take(t0, c), "TakeLimits")
		b.ok(b.take(t0, c), "TakeLimits")
		for _, back := range []time.Duration{0, tick, time.Millisecond, time.Second, 10 * time.Second} {
			b.wantLimit(b.take(t0.Add(-back), c), recovery.ScopeClient, time.Minute+back)
		}
	}},
	{"ClockGoesBack", "Limit.Take defines the counting, also when the clock goes back.", func(b *bench) {
		c := b.charge(recovery.ScopeClient, 2, time.Minute)
		b.ok(b.take(t0, c), "TakeLimits")
		b.ok(b.take(t0, c), "TakeLimits")
		back := t0.Add(-10*time.Second - tick)
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
	{"AllOrNone", "Charges are taken together or not at all.", func(b *bench) {
		once, often := b.charge(recovery.ScopeClient, 1, time.Hour), b.charge(recovery.ScopeGlobal, 2, time.Hour)
		b.ok(b.take(t0, often, once), "TakeLimits")
		for range 5 {
			b.wantLimit(b.take(t0, often, once), recovery.ScopeClient, time.Hour)
			b.wantLimit(b.take(t0, once, often), recovery.ScopeClient, time.Hour)
		}
		b.ok(b.take(t0, often), "TakeLimits of a charge that refused calls must not have counted")
		b.wantLimit(b.take(t0, often), recovery.ScopeGlobal, time.Hour)
	}},
	{"Repeat", "Charges.Take defines the counting: a client that had a share before goes after one that had none.", func(b *bench) {
		mailbox := b.charge(recovery.ScopeMailbox, 4, time.Minute)
		mailbox.Repeat = 2
		of := func(network recovery.Charge) []recovery.Charge {
			repeated := mailbox
			repeated.Share = network.Key
			return []recovery.Charge{network, repeated}
		}
		one, two := of(b.charge(recovery.ScopeMailbox, 9, time.Hour)), of(b.charge(recovery.ScopeMailbox, 9, time.Hour))
		b.ok(b.take(t0, one...), "the first of a network")
		b.ok(b.take(t0, one...), "its second, while two are free")
		b.wantLimit(b.take(t0, one...), recovery.ScopeMailbox, time.Minute)
		b.ok(b.take(t0, two...), "the first of another network")
		b.wantLimit(b.take(t0, two...), recovery.ScopeMailbox, 2*time.Minute)
		b.ok(b.take(t0.Add(2*time.Minute), two...), "its second, two minutes later")
	}},
	{"Lenient", "Charges.Take defines the counting: a lenient charge refuses nobody, and its state does not grow beyond its limit.", func(b *bench) {
		lenient, strict := b.charge(recovery.ScopeClient, 2, time.Minute), b.charge(recovery.ScopeGlobal, 4, time.Hour)
		lenient.Lenient = true
		for i := range 4 {
			j := b.job(t0)
			b.ok(b.enqueue(j, lenient, strict), "Enqueue")
			used := time.Duration(min(i, 1)) * time.Minute
			got := b.claimOne(t0)
			b.want(got.Priority.Equal(t0.Add(-used)), "the Priority is %v before the request, not %v", t0.Sub(got.Priority), used)
		}
		b.wantLimit(b.enqueue(b.job(t0), lenient, strict), recovery.ScopeGlobal, time.Hour)
		lenient.Lenient = false
		b.wantLimit(b.take(t0, lenient), recovery.ScopeClient, time.Minute)
	}},
	{"Priority", "It must set job.Priority to charges.Priority, computed from the states after taking.", func(b *bench) {
		narrow, wide := b.charge(recovery.ScopeClient, 9, time.Minute), b.charge(recovery.ScopeClient, 9, 2*time.Minute)
		global := b.charge(recovery.ScopeGlobal, 9, time.Hour)
		wants := map[string]time.Duration{}
		for _, c := range []struct {
			charges []recovery.Charge
			used    time.Duration
		}{
			{nil, 0}, {[]recovery.Charge{narrow, global}, 0}, {[]recovery.Charge{narrow, global}, time.Minute},
			{[]recovery.Charge{narrow, wide, global}, 2 * time.Minute}, {[]recovery.Charge{wide}, 2 * time.Minute},
		} {
			j := b.job(t0)
			wants[j.ID] = c.used
			b.ok(b.enqueue(j, c.charges...), "Enqueue")
		}
		for _, j := range b.claim(t0) {
			b.want(j.Priority.Equal(t0.Add(-wants[j.ID])), "the Priority is %v, not %v before the request", t0.Sub(j.Priority), wants[j.ID])
		}
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
	{"OneState", "TakeLimits takes charges alone, as Enqueue does.", func(b *bench) {
		c := b.charge(recovery.ScopeClient, 2, time.Hour)
		b.ok(b.take(t0, c), "TakeLimits")
		b.ok(b.enqueue(b.job(t0), c), "Enqueue")
		b.wantLimit(b.take(t0, c), recovery.ScopeClient, time.Hour)
		b.wantLimit(b.enqueue(b.job(t0), c), recovery.ScopeClient, time.Hour)
		b.want(len(b.claim(t0)) == 1, "TakeLimits put something in the queue")
	}},
	{"NoCharges", "Without charges nothing is counted and nothing refused.", func(b *bench) {
		b.ok(b.take(t0), "TakeLimits")
		for range 50 {
			b.add(b.job(t0))
		}
		b.want(len(b.claim(t0)) == 50, "jobs without charges were lost")
	}},
	{"Refund", "RefundLimits gives charges back (Charges.Refund).", func(b *bench) {
		c, other := b.charge(recovery.ScopeClient, 3, time.Minute), b.charge(recovery.ScopeGlobal, 2, time.Hour)
		b.ok(b.take(t0, c, other), "TakeLimits")
		b.ok(b.take(t0, c, other), "TakeLimits")
		b.ok(b.enqueue(b.job(t0), c), "Enqueue")
		b.ok(b.refund(c), "RefundLimits of what Enqueue took")
		b.want(len(b.claim(t0)) == 1, "the job that was charged is gone")
		b.ok(b.take(t0.Add(20*time.Second), c), "TakeLimits of what was given back")
		b.wantLimit(b.take(t0.Add(20*time.Second), c), recovery.ScopeClient, 40*time.Second)
		b.wantLimit(b.take(t0, other), recovery.ScopeGlobal, time.Hour) // it was not given back
		b.ok(b.refund(other, c), "RefundLimits of two")
		b.ok(b.take(t0, c, other), "TakeLimits of both")
		b.wantLimit(b.take(t0, c), recovery.ScopeClient, time.Minute)
		b.wantLimit(b.take(t0, other), recovery.ScopeGlobal, time.Hour)
	}},
	{"RefundOfNothing", "RefundLimits gives charges back: what was never taken, or is over, lets nothing more pass.", func(b *bench) {
		unknown, over := b.charge(recovery.ScopeClient, 2, time.Minute), b.charge(recovery.ScopeClient, 2, time.Minute)
		b.ok(b.take(t0, over), "TakeLimits")
		for range 3 {
			b.ok(b.refund(unknown, over), "RefundLimits of what is not there")
		}
		before := b.dump()
		b.ok(b.refund(), "RefundLimits of no charges")
		b.want(b.dump() == before, "without charges the stored data changed")
		at := t0.Add(time.Hour)
		for _, c := range []recovery.Charge{unknown, over} {
			b.ok(b.take(at, c), "TakeLimits")
			b.ok(b.take(at, c), "TakeLimits")
			b.wantLimit(b.take(at, c), recovery.ScopeClient, time.Minute)
		}
	}},
	{"RaceTake", "Counting must be exact under concurrency.", func(b *bench) {
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
	{"RaceRefund", "Like taking, RefundLimits must be exact under concurrency.", func(b *bench) {
		const burst = 5
		c := b.charge(recovery.ScopeToken, burst, time.Hour)
		var held atomic.Int64
		errs := together(racers, func(int) error {
			for range rounds {
				if err := b.take(t0, c); err != nil {
					if err := limitedBy(err, recovery.ScopeToken, time.Hour); err != nil {
						return err
					}
					continue
				}
				n := held.Add(1)
				time.Sleep(time.Millisecond)
				held.Add(-1)
				if n > burst {
					return fmt.Errorf("%d calls hold a limit of %d at once", n, burst)
				}
				if err := b.refund(c); err != nil {
					return err
				}
			}
			return nil
		})
		for _, err := range errs {
			b.ok(err, "TakeLimits and RefundLimits")
		}
		for range burst {
			b.ok(b.take(t0, c), "TakeLimits after all was given back")
		}
		b.wantLimit(b.take(t0, c), recovery.ScopeToken, time.Hour)
	}},
	{"RaceEnqueue", "Counting must be exact under concurrency, and no accepted job may get lost.", func(b *bench) {
		charges := []recovery.Charge{b.charge(recovery.ScopeClient, 150, time.Hour), b.charge(recovery.ScopeGlobal, 180, time.Hour)}
		jobs := make([]recovery.Job, 200)
		for i := range jobs {
			jobs[i] = b.job(t0)
		}
		errs := together(len(jobs), func(i int) error { return b.enqueue(jobs[i], charges...) })
		accepted := 0
		for _, err := range errs {
			if err == nil {
				accepted++
			} else {
				b.wantLimit(err, recovery.ScopeClient, time.Hour)
			}
		}
		b.want(accepted == 150, "%d of 200 concurrent calls passed a limit of 150", accepted)
		claimed := len(b.claim(t0))
		b.want(claimed == accepted, "%d calls were accepted and %d jobs are in the queue", accepted, claimed)
	}},
}

// charge returns a charge under a new key.
func (b *bench) charge(scope recovery.Scope, burst int, every time.Duration) recovery.Charge {
	return recovery.Charge{Scope: scope, Key: b.digest(), Limit: recovery.Limit{Burst: burst, Every: every}}
}

func (b *bench) enqueue(j recovery.Job, charges ...recovery.Charge) error {
	return b.Store.Enqueue(b.ctx, j, charges)
}

func (b *bench) take(at time.Time, charges ...recovery.Charge) error {
	return b.Store.TakeLimits(b.ctx, at, charges)
}

func (b *bench) refund(charges ...recovery.Charge) error { return b.Store.RefundLimits(b.ctx, charges) }

func (b *bench) wantLimit(err error, scope recovery.Scope, wait time.Duration) {
	if wrong := limitedBy(err, scope, wait); wrong != nil {
		b.fail("%v", wrong)
	}
}

// limitedBy returns an error unless err is a *LimitError of the scope, with the wait.
func limitedBy(err error, scope recovery.Scope, wait time.Duration) error {
	e, ok := errors.AsType[*recovery.LimitError](err)
	if !ok {
		return fmt.Errorf("the error is %v, not a *LimitError", err)
	}
	if e.Scope != scope || e.RetryAfter != wait {
		return fmt.Errorf("refused by the %s limit for %v, not by the %s limit for %v",
			e.Scope, e.RetryAfter, scope, wait)
	}
	return nil
}
