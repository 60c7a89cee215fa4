package behind

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/recovery"
)

// Stores and mail systems that fail or hang, and work of one kind that delays work of another.

const soon = 5 * time.Second // a bound that no work of another kind may break

func inLog(r *rig, text string) bool { return strings.Contains(r.log.String(), text) }

// S88: one request for an address that has as many accounts as the worker looks at.
func TestAttack_S88_AddressWithManyAccounts(t *testing.T) {
	inRig(t, recovery.Options{}, func(r *rig) {
		for i := range 1000 {
			r.put(fmt.Sprintf("many%d", i), "many@example.com")
		}
		r.put("alice")
		r.post.takes(20 * time.Millisecond)
		defer r.start(r.Service)()
		r.is.NoErr(askEmail(r.Service, "many@example.com", network(1)))
		time.Sleep(time.Second)
		_, took := r.served(r.Service, "alice", owner, aMinute)
		t.Logf("alice's mail took %v", took)
		r.is.True(took < soon)
		r.is.Equal(len(r.post.mails("many@example.com")), 1)
	})
}

// S88: OnReset hangs, twenty times.
func TestAttack_S88_OnResetHangs(t *testing.T) {
	for _, hanging := range []time.Duration{time.Second, time.Hour} {
		t.Run(fmt.Sprint(hanging), func(t *testing.T) {
			hang := func(ctx context.Context, _ recovery.Account) error {
				select {
				case <-ctx.Done():
				case <-time.After(hanging):
				}
				return ctx.Err()
			}
			inRig(t, recovery.Options{OnReset: hang}, func(r *rig) {
				r.put("alice")
				tokens := make([]string, 20)
				for i := range tokens {
					name := fmt.Sprintf("user%d", i)
					r.put(name)
					tokens[i] = r.token(r.Service, name)
					time.Sleep(time.Minute)
				}
				for i, token := range tokens {
					r.is.NoErr(redeem(r.Service, token, network(i)))
				}
				since := time.Now()
				defer r.start(r.Service)()
				time.Sleep(time.Second)
				_, took := r.served(r.Service, "alice", owner, 20*time.Minute)
				notices := 0
				time.Sleep(time.Until(since.Add(soon)))
				for i := range tokens {
					if mails := r.post.mails(fmt.Sprintf("user%d@example.com", i)); mails[len(mails)-1].kind == recovery.MessagePasswordChanged {
						notices++
					}
				}
				t.Logf("alice's mail took %v; %d of 20 notices came", took, notices)
				r.is.True(took < soon)
				r.is.Equal(notices, len(tokens))
			})
		})
	}
}

// S88: twenty mails hang.
func TestAttack_S88_MailHangs(t *testing.T) {
	var called atomic.Int64
	onReset := func(context.Context, recovery.Account) error {
		called.CompareAndSwap(0, time.Now().UnixNano())
		return nil
	}
	inRig(t, recovery.Options{OnReset: onReset}, func(r *rig) {
		r.put("alice")
		token := r.token(r.Service, "alice")
		r.post.serves(func(ctx context.Context, _ recovery.Message) error { <-ctx.Done(); return ctx.Err() })
		r.crowd(20)
		defer r.start(r.Service)()
		time.Sleep(time.Second)
		since := time.Now()
		r.is.NoErr(redeem(r.Service, token, owner))
		for called.Load() == 0 && time.Since(since) < time.Hour {
			time.Sleep(100 * time.Millisecond)
		}
		took := time.Unix(0, called.Load()).Sub(since)
		t.Logf("OnReset was called after %v", took)
		r.is.True(called.Load() != 0)
		r.is.True(took < soon)
	})
}

// S88: people wait too long, and requests get too old: the log, the hooks and Stats say so.
func TestAttack_S88_BeingBehindIsTold(t *testing.T) {
	const asked = 2000
	dropped := 0
	hooks := recovery.Hooks{JobDropped: func(e recovery.JobEvent) {
		if e.Reason == recovery.DropTooOld {
			dropped++
		}
	}}
	inRig(t, recovery.Options{Workers: 1, Hooks: hooks, Limits: noLimits}, func(r *rig) {
		r.post.takes(5 * time.Second)
		r.crowd(asked)
		defer r.start(r.Service)()
		time.Sleep(5 * time.Minute)
		stats, err := r.Stats(r.ctx)
		r.is.NoErr(err)
		r.is.True(inLog(r, "the worker is behind"))
		r.is.Equal(stats.Lanes[0].Lane, recovery.LaneMail)
		r.is.True(stats.Lanes[0].Jobs > asked/2)
		r.is.True(time.Since(stats.Lanes[0].Oldest) >= 5*time.Minute)
		time.Sleep(3 * time.Hour)
		stats, err = r.Stats(r.ctx)
		r.is.NoErr(err)
		mailed, repeated := r.crowdMails(asked)
		t.Logf("%d were mailed, %d were too old; the hook was told of %d", mailed, stats.TooOld, dropped)
		r.is.Equal(stats.TooOld+mailed, asked)
		r.is.Equal(repeated, 0)
		r.is.Equal(dropped, stats.TooOld)
		lines := strings.Count(r.log.String(), "the worker is behind")
		r.is.True(lines < 200) // not a line for each
	})
}

// S44: for a while outcomes cannot be stored, while mails are on their way.
func TestAttack_S44_BlipWhileMailsAreInFlight(t *testing.T) {
	const inFlight = 20
	for _, places := range []int{2, 16} {
		for _, lasting := range []time.Duration{800 * time.Millisecond, 15 * time.Second} {
			t.Run(fmt.Sprintf("workers %d, %v", places, lasting), func(t *testing.T) {
				inRig(t, recovery.Options{Workers: places}, func(r *rig) {
					r.post.takes(100 * time.Millisecond)
					r.crowd(inFlight)
					began := time.Now()
					r.store.fail(func(_ context.Context, method string) error {
						if d := time.Since(began) - 300*time.Millisecond; method == "Finish" && d > 0 && d < lasting {
							return errStore
						}
						return nil
					})
					defer r.start(r.Service)()
					time.Sleep(30 * time.Minute)
					mailed, repeated := r.crowdMails(inFlight)
					t.Logf("of %d mails %d were repeated and %d never came", inFlight, repeated, inFlight-mailed)
					r.is.Equal(mailed, inFlight)
					r.is.Equal(repeated, 0)
				})
			})
		}
	}
}

// S52: a call of the Store hangs. Its caller gets an error in time, whoever was named.
func TestAttack_S52_StoreHangs(t *testing.T) {
	const timeout = 5 * time.Second // Options.StoreTimeout
	ask := func(name string) func(*rig) error {
		return func(r *rig) error { return askName(r.Service, name, owner) }
	}
	const noDoor = "TakeLimits of Approve's tries" // where the limits of clients are off
	for _, c := range []struct {
		method string
		call   func(r *rig) error
		fails  bool
	}{
		{"Enqueue", ask("alice"), true},
		{"Enqueue", ask("nobody"), true},
		{"Now", ask("alice"), false}, // the clock stays as it was
		{"TakeLimits", func(r *rig) error { return redeem(r.Service, "unknown", owner) }, true},
		{"FindReset", func(r *rig) error { return redeem(r.Service, r.token(r.Service, "bob"), owner) }, true},
		{noDoor, func(r *rig) error { return redeem(r.Service, r.token(r.Service, "bob"), owner) }, true},
		{"RefundLimits", func(r *rig) error { return redeem(r.Service, r.token(r.Service, "bob"), owner) }, false}, // a try is lost
		{"Redeem", func(r *rig) error { return redeem(r.Service, r.token(r.Service, "bob"), owner) }, true},
		{"Stats", func(r *rig) error { _, err := r.Stats(r.ctx); return err }, true},
	} {
		t.Run(c.method, func(t *testing.T) {
			approve := func(context.Context, recovery.Account, recovery.CompleteRequest) error { return nil }
			opts, method := recovery.Options{Approve: approve, Tick: 10 * time.Millisecond}, c.method
			if c.method == noDoor {
				opts.Limits, method = noLimits, "TakeLimits"
			}
			inRig(t, opts, func(r *rig) {
				r.put("alice")
				r.put("bob")
				r.store.hang(method)
				began := time.Now()
				err := c.call(r)
				took := time.Since(began)
				t.Logf("%v after %v", err, took)
				r.is.Equal(err != nil, c.fails)
				r.is.True(took <= timeout+time.Second)
				if c.method != "Enqueue" && c.method != "Now" { // others are not held up
					began = time.Now()
					r.is.NoErr(ask("alice")(r))
					r.is.True(time.Since(began) < time.Second)
				}
			})
		})
	}
}

// S52: calls that the worker waits for hang for ten minutes. Then everything is mailed.
func TestAttack_S52_StoreHangsBehind(t *testing.T) {
	for _, method := range []string{"Claim", "FindAccounts", "CreateResets", "Finish", "Now"} {
		t.Run(method, func(t *testing.T) {
			inRig(t, recovery.Options{}, func(r *rig) {
				r.store.hang(method)
				stop := r.start(r.Service)
				r.crowd(20)
				time.Sleep(10 * time.Minute)
				began := time.Now()
				stop()
				r.is.True(time.Since(began) <= 90*time.Second) // 3 × Options.SendTimeout
				r.store.fail(nil)
				defer r.start(r.Service)()
				time.Sleep(10 * time.Minute)
				mailed, _ := r.crowdMails(20)
				r.is.Equal(mailed, 20)
			})
		})
	}
}

// S20: a failed attempt leaves nothing behind, unless the mail may have been accepted.
func TestAttack_S20_FailedAttemptsLeaveNoTokens(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		most int // tokens a mailbox
	}{"failed": {errDown, 0}, "refused": {fmt.Errorf("550: %w", recovery.ErrPermanent), 0}, "uncertain": {recovery.ErrUncertain, 4}} {
		t.Run(name, func(t *testing.T) {
			inRig(t, recovery.Options{}, func(r *rig) {
				r.post.serves(func(context.Context, recovery.Message) error { return c.err })
				defer r.start(r.Service)()
				r.crowd(100)
				time.Sleep(time.Hour)
				n := r.resets()
				t.Logf("%d tokens are stored after an hour", n)
				r.is.True(n <= 100*c.most)
			})
		})
	}
}
