package recovery_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A mail system that accepts nothing is asked by four jobs a tick, and by all places again after
// the first mail that it accepts or refuses for good.
func TestBrokenMailSystemIsProbed(t *testing.T) {
	for name, answer := range map[string]error{"accepts": nil, "refuses": recovery.ErrPermanent} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				for range 100 {
					w.ask("billybob")
				}
				store, claims := w.claims()
				svc := w.service(store, recovery.Options{Now: time.Now, Workers: 8, Tick: time.Minute})
				var tries atomic.Int32
				w.mail.Fail(func(recovery.Message) error {
					if tries.Add(1) <= 8+4+4 {
						return errDown
					}
					return answer
				})
				ctx, cancel := context.WithTimeout(w.ctx, 6*time.Minute+time.Second)
				defer cancel()
				is.NoErr(svc.Run(ctx))
				all := claims()
				is.Equal(sizes(all, recovery.LaneMail), []int{8, 4, 4, 4, 8, 8})
				is.Equal(sizes(all, recovery.LaneOnReset), []int{2, 2, 2, 2, 2, 2})
			})
		})
	}
}

// It counts as broken when it has accepted nothing for more than 15 seconds since it failed first.
func TestMailSystemIsBrokenAfterFifteenSeconds(t *testing.T) {
	for name, c := range map[string]struct {
		accepts int // one mail of so many
		want    []int
	}{
		"all fail":  {0, append(slices.Repeat([]int{8}, 16), 4, 4, 4, 4)},
		"most fail": {100, slices.Repeat([]int{8}, 20)},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				for range 200 {
					w.ask("billybob")
				}
				store, claims := w.claims()
				svc := w.service(store, recovery.Options{Now: time.Now, Workers: 8, Tick: time.Second})
				var tries atomic.Int32
				w.mail.Fail(func(recovery.Message) error {
					if n := int(tries.Add(1)); c.accepts > 0 && n%c.accepts == 0 {
						return nil
					}
					return errDown
				})
				ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second+500*time.Millisecond)
				defer cancel()
				is.NoErr(svc.Run(ctx))
				is.Equal(sizes(claims(), recovery.LaneMail), c.want)
			})
		})
	}
}

// OnReset is not held up by a broken mail system, notices are: they need it.
func TestBrokenMailSystemAndTheOtherLanes(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		for range 100 {
			w.ask("billybob")
		}
		w.sends(0, errDown)
		store, claims := w.claims()
		svc := w.service(store, recovery.Options{Now: time.Now, Workers: 32, Tick: time.Second})
		aTick := func() []recovery.Claim {
			ctx, cancel := context.WithTimeout(w.ctx, 1500*time.Millisecond)
			defer cancel()
			is.NoErr(svc.Run(ctx))
			return claims()
		}
		is.Equal(sizes(aTick(), recovery.LaneMail), []int{32})
		time.Sleep(15 * time.Second)
		all := aTick()
		is.Equal(sizes(all, recovery.LaneMail), []int{4})
		is.Equal(sizes(all, recovery.LaneNotice), []int{4})
		is.Equal(sizes(all, recovery.LaneOnReset), []int{8})
	})
}

// Notices tell as well that the mail system is broken, and that it is back.
func TestNoticesTellOfABrokenMailSystem(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.completeAll(w.many(8))
		w.sends(0, errDown)
		store, claims := w.claims()
		svc := w.service(store, recovery.Options{Now: time.Now, Workers: 32, Tick: time.Second})
		aTick := func() []int {
			ctx, cancel := context.WithTimeout(w.ctx, 1500*time.Millisecond)
			defer cancel()
			is.NoErr(svc.Run(ctx))
			return sizes(claims(), recovery.LaneMail)
		}
		is.Equal(aTick(), []int{32})
		time.Sleep(2 * time.Hour) // no notice is too old to tell
		w.mail.Reset()
		w.sends(100*time.Millisecond, nil) // no answer before all lanes have claimed
		is.Equal(aTick(), []int{4})
		is.Equal(len(w.mail.Messages()), 4)
		is.Equal(aTick(), []int{32}) // the four notices that left have told of it
		is.Equal(w.waiting(), 0)
	})
}

// After an outage, requests that are only to be dropped do not keep the worker from finding out
// that the mail system is back.
func TestProbesAreNotUsedUpByWhatIsTooOld(t *testing.T) {
	inBubble(t, recovery.Options{Tick: time.Second, MaxRequestAge: time.Minute}, func(t *testing.T, is *is.I, w *world) {
		w.mail.Fail(func(recovery.Message) error { return errDown })
		stop := w.run()
		defer stop()
		for i := range 600 {
			w.put(fmt.Sprint(1000+i), fmt.Sprint("old", i), fmt.Sprintf("old%d@example.com", i))
			w.ask(fmt.Sprint("old", i))
		}
		time.Sleep(50 * time.Second)
		w.ask("alice") // tried within seconds, then again when the mail system is back
		time.Sleep(15 * time.Second)
		w.mail.Fail(nil)
		back := time.Now()
		for len(w.mail.Messages()) == 0 && time.Since(back) < time.Minute {
			time.Sleep(time.Second)
		}
		is.True(time.Since(back) <= 30*time.Second) // 600 probes take two minutes and more
	})
}
