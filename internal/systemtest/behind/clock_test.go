package behind

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/recovery"
)

// Clocks that are wrong. The right time is the bubble's, and the store's.

// A wrongClock is an Options.Now that is ahead by its value.
type wrongClock struct{ ahead atomic.Int64 }

func ahead(d time.Duration) *wrongClock {
	c := &wrongClock{}
	c.set(d)
	return c
}
func (c *wrongClock) set(d time.Duration) { c.ahead.Store(int64(d)) }
func (c *wrongClock) now() time.Time      { return time.Now().Add(time.Duration(c.ahead.Load())) }

var skews = []time.Duration{25 * time.Second, time.Minute, 9 * time.Minute, 11 * time.Minute,
	-25 * time.Second, -time.Minute, -9 * time.Minute, -11 * time.Minute}

// eachSkew runs f with a Service whose clock is right, the rig's, and one whose clock is wrong.
func eachSkew(t *testing.T, opts recovery.Options, f func(r *rig, wrong *recovery.Service, skew time.Duration)) {
	long(t)
	for _, skew := range skews {
		t.Run(fmt.Sprint(skew), func(t *testing.T) {
			inRig(t, opts, func(r *rig) {
				opts := opts
				opts.Now = ahead(skew).now
				f(r, r.service(opts), skew)
			})
		})
	}
}

const toldOfClock = "clock differs from the store's"

// pass makes calls, a tenth of them through the wrong instance, and returns how many pass.
func (r *rig) pass(wrong *recovery.Service, calls int, pause time.Duration, client func(i int) netip.Addr) (passed int) {
	for i := range calls {
		svc := r.Service
		if i%10 == 0 {
			svc = wrong
		}
		if askName(svc, fmt.Sprintf("nobody%d", i), client(i)) == nil {
			passed++
		}
		time.Sleep(pause)
	}
	r.t.Logf("%d of %d passed", passed, calls)
	return passed
}

// S87: a tenth of the traffic, one request a second of a client each, goes through the wrong
// instance.
func TestAttack_S87_WrongClockRefusesNobody(t *testing.T) {
	eachSkew(t, recovery.Options{}, func(r *rig, wrong *recovery.Service, _ time.Duration) {
		r.is.Equal(r.pass(wrong, 3600, time.Second, network), 3600)
		r.is.Equal(strings.Count(r.log.String(), toldOfClock), 1) // told once
	})
}

// S87: the same on a store that has no clock: no skew within MaxClockSkew refuses anybody.
func TestAttack_S87_StoreWithoutClock(t *testing.T) {
	eachSkew(t, recovery.Options{}, func(r *rig, wrong *recovery.Service, skew time.Duration) {
		if skew.Abs() > recovery.MaxClockSkew {
			return // the application's fault, as MaxClockSkew says
		}
		r.store.set(func() { r.store.now = func() time.Time { return time.Time{} } })
		r.is.Equal(r.pass(wrong, 3600, time.Second, network), 3600)
	})
}

// S87: one client asks both instances as often as it can.
func TestAttack_S87_WrongClockLoosensNoLimit(t *testing.T) {
	eachSkew(t, recovery.Options{}, func(r *rig, wrong *recovery.Service, _ time.Duration) {
		passed := r.pass(wrong, 6000, 100*time.Millisecond, func(int) netip.Addr { return network(1) })
		const limit = 20 + 10*2 // in ten minutes
		r.is.True(passed <= 2*limit)
		r.is.True(passed >= 20) // nor does it lock the client out
	})
}

// S87: codes are guessed at both instances in turn for as long as the code lives.
func TestAttack_S87_WrongClockGivesNoTries(t *testing.T) {
	eachSkew(t, recovery.Options{}, func(r *rig, wrong *recovery.Service, _ time.Duration) {
		r.put("alice")
		ticket, err := askCode(r.Service, "alice", owner)
		r.is.NoErr(err)
		r.deliver(r.Service)
		lookedUp := 0
		r.store.fail(func(_ context.Context, method string) error {
			if method == "FindReset" {
				lookedUp++
			}
			return nil
		})
		for i := range 90 {
			_, err := []*recovery.Service{r.Service, wrong}[i%2].CompleteReset(r.ctx, recovery.CompleteRequest{
				Ticket: ticket, Code: "BBBB-BBBB", Password: goodPassword, Client: network(i),
			})
			r.is.True(errors.Is(err, recovery.ErrInvalidToken) || errors.Is(err, recovery.ErrLimited))
			time.Sleep(10*time.Second - time.Millisecond)
		}
		r.is.Equal(lookedUp, recovery.MaxTries)
	})
}

// S87: people ask the wrong instance, and two minutes later the right one. Both have workers.
func TestAttack_S87_WrongClockSupersedesNothing(t *testing.T) {
	eachSkew(t, recovery.Options{Limits: noLimits}, askBoth)
}

// S87: the same for the limits of mails.
func TestAttack_S87_WrongClockKeepsNoMailBack(t *testing.T) {
	eachSkew(t, recovery.Options{}, askBoth)
}

func askBoth(r *rig, wrong *recovery.Service, _ time.Duration) {
	defer r.start(r.Service)()
	defer r.start(wrong)()
	const people = 10
	late, dead := [2]int{}, 0
	for i := range people {
		name := fmt.Sprintf("user%d", i)
		r.put(name)
		for k, svc := range []*recovery.Service{wrong, r.Service} {
			m, took := r.served(svc, name, owner, aMinute)
			switch {
			case took > aMinute:
				late[k]++
			case !r.alive(m.token):
				dead++
			}
			time.Sleep(2 * time.Minute)
		}
	}
	r.t.Logf("of %d people, no mail within a minute: %d who asked the wrong instance, %d who asked the right one two minutes later; %d tokens were dead",
		people, late[0], late[1], dead)
	r.is.Equal(late, [2]int{})
	r.is.Equal(dead, 0)
}

// S87: the clock of the only instance goes back: it was ahead, or it is now behind.
func TestAttack_S87_ClockStepsBack(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after time.Duration
	}{{"to the right time", 5 * time.Minute, 0}, {"from the right time", 0, -5 * time.Minute}} {
		t.Run(c.name, func(t *testing.T) {
			inRig(t, recovery.Options{}, func(r *rig) {
				clock := ahead(c.before)
				svc := r.service(recovery.Options{Now: clock.now})
				refused, longest := 0, 0
				for i := range 1200 {
					if i == 600 {
						clock.set(c.after)
					}
					if askName(svc, fmt.Sprintf("nobody%d", i), network(i)) != nil {
						refused++
						longest = i - 600
					}
					time.Sleep(time.Second)
				}
				t.Logf("%d of 600 refused after the step, the last %d s after it", refused, longest)
				r.is.Equal(refused, 0)
			})
		})
	}
}

// S87: a clock that is two days ahead and is then corrected. An Options.Now that far from the
// store's clock is taken for intended, so a store without a clock behaves the same.
func TestAttack_S87_ClockTwoDaysWrong(t *testing.T) {
	const twoDays = 48 * time.Hour
	type world struct {
		*rig
		svc   *recovery.Service
		clock *wrongClock
	}
	in := func(t *testing.T, before time.Duration, f func(w world)) {
		inRig(t, recovery.Options{}, func(r *rig) {
			clock := ahead(before)
			svc := r.service(recovery.Options{Now: clock.now, Tick: tickOfDays})
			r.put("alice")
			f(world{r, svc, clock})
		})
	}
	t.Run("superseded", func(t *testing.T) {
		in(t, twoDays, func(w world) {
			stop := w.start(w.svc)
			w.is.NoErr(askName(w.svc, "alice", owner))
			time.Sleep(time.Minute)
			w.is.Equal(len(w.post.mails("alice@example.com")), 1)
			w.clock.set(0)
			defer stop()
			late := 0
			for range 24 {
				time.Sleep(time.Hour)
				if _, took := w.served(w.svc, "alice", owner, aMinute); took > aMinute {
					late++
				}
			}
			t.Logf("%d of 24 requests of the day after the correction were not mailed within a minute", late)
			w.is.Equal(late, 0)
		})
	})
	t.Run("refused", func(t *testing.T) {
		in(t, twoDays, func(w world) {
			for i := range 200 {
				_ = askName(w.svc, fmt.Sprintf("nobody%d", i), owner)
			}
			w.clock.set(0)
			w.is.NoErr(askName(w.svc, "alice", owner))
		})
	})
	t.Run("waiting", func(t *testing.T) {
		in(t, twoDays, func(w world) {
			w.put("bob")
			token := w.token(w.svc, "bob")
			w.is.NoErr(redeem(w.svc, token, owner))    // a notice waits,
			w.is.NoErr(askName(w.svc, "alice", owner)) // and a request
			w.clock.set(0)
			request, notice := w.waitFor(w.svc)
			t.Logf("the request was mailed %v after the correction, the notice %v", request, notice)
			w.is.True(request <= aMinute)
			w.is.True(notice <= aMinute)
		})
	})
	t.Run("waiting to be tried again", func(t *testing.T) {
		const purging = 10 * time.Minute // how often the worker looks for what a wrong clock made
		in(t, twoDays, func(w world) {
			w.put("bob")
			token := w.token(w.svc, "bob")
			w.post.serves(func(context.Context, recovery.Message) error { return errDown })
			w.is.NoErr(redeem(w.svc, token, owner))
			w.is.NoErr(askName(w.svc, "alice", owner))
			w.deliver(w.svc)
			w.post.serves(nil)
			w.clock.set(0)
			request, notice := w.waitFor(w.svc)
			t.Logf("the request was mailed %v after the correction, the notice %v", request, notice)
			w.is.True(request <= purging+aMinute)
			w.is.True(notice <= purging+aMinute)
		})
	})
	t.Run("a token that lives too long", func(t *testing.T) {
		for name, before := range map[string]time.Duration{"made ahead": twoDays, "set back later": 0} {
			t.Run(name, func(t *testing.T) {
				in(t, before, func(w world) {
					token := w.token(w.svc, "alice")
					w.clock.set(before - twoDays)
					defer w.start(w.svc)() // it purges
					works, last := 0, time.Duration(0)
					for age := time.Duration(0); age < 80*time.Hour; age += time.Hour {
						parsed, err := recovery.ParseToken(token)
						w.is.NoErr(err)
						if _, _, err := w.users.FindReset(w.ctx, parsed.Digest(), w.clock.now()); err == nil {
							works, last = works+1, age
						}
						time.Sleep(time.Hour)
					}
					t.Logf("the token of 16 h worked at %d of 80 hours, the last time at an age of %v", works, last)
					w.is.Equal(works, 0) // so far ahead a wrong clock must have made it
				})
			})
		}
	})
}

// waitFor starts the worker of s and returns how long the request of alice and the notice of bob
// took.
func (r *rig) waitFor(s *recovery.Service) (request, notice time.Duration) {
	since := time.Now()
	defer r.start(s)()
	_, request = r.mailed("alice@example.com", owner, since, time.Hour)
	for notice = time.Hour; time.Since(since) <= time.Hour; time.Sleep(time.Second) {
		for _, m := range r.post.mails("bob@example.com") {
			if m.kind == recovery.MessagePasswordChanged {
				return request, m.at.Sub(since)
			}
		}
	}
	return request, notice
}
