package recovery_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// claims returns a Store that keeps what was claimed.
func (w *world) claims() (spy.Store, func() []recovery.Claim) {
	var mu sync.Mutex
	var claims []recovery.Claim
	store := spy.On(w.users, func(ctx context.Context, _ string, arg any, call func(context.Context) error) error {
		if c, ok := arg.(recovery.Claim); ok {
			mu.Lock()
			claims = append(claims, c)
			mu.Unlock()
		}
		return call(ctx)
	})
	return store, func() []recovery.Claim {
		mu.Lock()
		defer mu.Unlock()
		taken := claims
		claims = nil
		return taken
	}
}

// sizes returns how much was claimed at a time in one lane.
func sizes(claims []recovery.Claim, lane recovery.Lane) (sizes []int) {
	for _, c := range claims {
		if c.Lane == lane {
			sizes = append(sizes, c.Max)
		}
	}
	return sizes
}

// Each lane claims as much as it has free places.
func TestRunClaimsForFreePlaces(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		for range 3 {
			w.ask("billybob")
		}
		store, claims := w.claims()
		svc := w.service(store, recovery.Options{Now: time.Now, Workers: 5, Tick: time.Second})
		w.mail.Fail(func(recovery.Message) error { time.Sleep(2500 * time.Millisecond); return nil })
		ctx, cancel := context.WithTimeout(w.ctx, 4500*time.Millisecond)
		defer cancel()
		is.NoErr(svc.Run(ctx))
		all := claims()
		is.Equal(sizes(all, recovery.LaneMail), []int{5, 2, 2, 5})
		is.Equal(sizes(all, recovery.LaneNotice), []int{1, 1, 1, 1}) // a quarter of 5, at least one
		is.Equal(sizes(all, recovery.LaneOnReset), []int{1, 1, 1, 1})
		for _, c := range all {
			is.Equal(c.Until.Sub(c.At), 2*time.Minute) // four times SendTimeout
			is.Equal(c.JobID, "")
		}
	})
}

// A quarter of what is claimed is left to jobs that were claimed before; chance rounds it.
func TestQuarterIsForJobsThatWereClaimedBefore(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		for places, most := range map[int]int{2: 1, 4: 1, 5: 2, 32: 8} {
			store, claims := w.claims()
			svc := w.service(store, recovery.Options{Now: time.Now, Workers: places, Tick: 10 * time.Millisecond})
			ctx, cancel := context.WithTimeout(w.ctx, 4005*time.Millisecond)
			is.NoErr(svc.Run(ctx))
			cancel()
			n, sum := 0, 0
			for _, c := range claims() {
				if c.Lane == recovery.LaneMail {
					is.True(c.Again >= places/4 && c.Again <= most)
					n++
					sum += c.Again
				}
			}
			is.Equal(n, 400)
			is.True(sum >= 400*places/4-60 && sum <= 400*places/4+60) // the mean is a quarter
		}
	})
}

// Claimed jobs begin at once, so nothing is claimed while no place is free.
func TestRunClaimsNothingWithoutAFreePlace(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		for range 5 {
			w.ask("billybob")
		}
		store, claims := w.claims()
		svc := w.service(store, recovery.Options{Now: time.Now, Workers: 2, Tick: time.Second})
		w.mail.Fail(func(recovery.Message) error { time.Sleep(10 * time.Second); return nil })
		ctx, cancel := context.WithTimeout(w.ctx, 9500*time.Millisecond)
		defer cancel()
		is.NoErr(svc.Run(ctx))
		is.Equal(sizes(claims(), recovery.LaneMail), []int{2})
		is.Equal(len(w.mail.Messages()), 2)
		is.Equal(len(w.claim(100)), 3) // the rest is left to others
	})
}
