package behind

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// Attacks on the completion of a reset.

// S37: one token is completed 600 times at once. This runs in real time, because the library may
// wait on a mutex.
func TestAttack_S37_ParallelCompletions(t *testing.T) {
	const calls, hashing, slots = 600, 20 * time.Millisecond, 2
	var hashes, late, atOnce, most atomic.Int32
	var used atomic.Bool
	r := newRig(t, recovery.Options{Limits: noLimits, HashConcurrency: slots, Hasher: recovery.Hasher{Hash: func(password string) (string, error) {
		if password == goodPassword { // the attacker's
			hashes.Add(1)
			most.Store(max(most.Load(), atOnce.Add(1)))
			defer atOnce.Add(-1)
			if used.Load() {
				late.Add(1)
			}
		}
		time.Sleep(hashing)
		return "hash of " + password, nil
	}}})
	r.put("alice")
	r.put("bob")
	alices, bobs := r.token(r.Service, "alice"), r.token(r.Service, "bob")
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			if redeem(r.Service, alices, network(i)) == nil {
				used.Store(true)
				won.Add(1)
			}
		})
	}
	time.Sleep(hashing / 2)
	began := time.Now()
	_, err := r.CompleteReset(r.ctx, recovery.CompleteRequest{Token: bobs, Password: otherPassword, Client: owner})
	bobTook := time.Since(began)
	wg.Wait()
	t.Logf("%d hashes, %d of them begun after the token was used, up to %d at once; bob's completion took %v: %v",
		hashes.Load(), late.Load(), most.Load(), bobTook.Round(time.Millisecond), err)
	r.is.NoErr(err)
	r.is.Equal(won.Load(), int32(1))
	r.is.Equal(most.Load(), int32(1)) // one hash at a time a token
	r.is.Equal(late.Load(), int32(0)) // and none after it was used
	r.is.True(bobTook < 25*hashing)   // others wait for their turn only; the machine is shared
}

// S86: a flood of invalid tokens while somebody takes an account over, and slow hooks.
func TestAttack_S86_TakeoverInAFlood(t *testing.T) {
	const before, after = 3000, 1000
	for _, flood := range []struct{ name, token string }{
		{"malformed", "no token"},
		{"unknown", spy.TokenText},
	} {
		t.Run(flood.name, func(t *testing.T) {
			inRig(t, recovery.Options{}, func(r *rig) {
				var refused, denied, changed, failed atomic.Int32
				deny := true
				svc := r.service(recovery.Options{
					Hooks: slowHooks(2*time.Millisecond, &refused, &denied, &changed, &failed),
					Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
						if deny {
							return fmt.Errorf("no: %w", recovery.ErrDenied)
						}
						return nil
					},
				})
				r.put("alice")
				r.put("gone")
				token := r.token(r.Service, "alice")
				r.is.NoErr(askName(r.Service, "gone", owner))
				r.post.serves(func(context.Context, recovery.Message) error { return fmt.Errorf("550: %w", recovery.ErrPermanent) })
				for i := range before {
					_ = redeem(svc, flood.token, network(i))
				}
				r.is.True(errors.Is(redeem(svc, token, owner), recovery.ErrDenied))
				deny = false
				r.is.NoErr(redeem(svc, token, owner))
				_, err := svc.Deliver(r.ctx) // fails for good
				r.is.NoErr(err)
				for i := range after {
					_ = redeem(svc, flood.token, network(before+i))
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				t.Logf("of %d refused tokens %d were told, of 1 denial %d, of 1 changed password %d, of 2 failed mails %d",
					before+after, refused.Load(), denied.Load(), changed.Load(), failed.Load())
				r.is.Equal(changed.Load(), int32(1))
				r.is.Equal(denied.Load(), int32(1))
				r.is.Equal(failed.Load(), int32(2)) // gone's, and the notice of alice
				stats, err := svc.Stats(r.ctx)
				r.is.NoErr(err)
				r.is.Equal(stats.LostEvents, before+after-int(refused.Load())) // losses are counted,
				r.is.True(stats.LostEvents == 0 || inLog(r, "events were dropped"))
			})
		})
	}
}

// slowHooks count events, and take so long for each.
func slowHooks(d time.Duration, refused, denied, changed, failed *atomic.Int32) recovery.Hooks {
	count := func(n *atomic.Int32) func(recovery.ResetEvent) {
		return func(recovery.ResetEvent) { time.Sleep(d); n.Add(1) }
	}
	return recovery.Hooks{
		TokenRefused: count(refused), ResetDenied: count(denied), PasswordChanged: count(changed),
		JobFailed: func(recovery.JobEvent) { time.Sleep(d); failed.Add(1) },
	}
}
