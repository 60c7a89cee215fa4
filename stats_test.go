package recovery_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

func TestStats(t *testing.T) {
	onReset := func(context.Context, recovery.Account) error { return errDown }
	inBubble(t, recovery.Options{OnReset: onReset}, func(_ *testing.T, is *is.I, w *world) {
		stats, err := w.Stats(w.ctx)
		is.NoErr(err)
		is.Equal(stats, recovery.Stats{Lanes: []recovery.LaneStats{
			{Lane: recovery.LaneMail}, {Lane: recovery.LaneNotice}, {Lane: recovery.LaneOnReset},
		}})
		token := w.token("alice")
		first := time.Now()
		is.NoErr(w.complete(token, goodPassword))
		time.Sleep(time.Second)
		second := time.Now()
		w.ask("alice")
		time.Sleep(time.Second)
		w.ask("billybob")
		is.Equal(len(w.claim(1)), 1) // what is leased waits too
		stats, err = w.Stats(w.ctx)
		is.NoErr(err)
		for i, want := range []recovery.LaneStats{
			{Lane: recovery.LaneMail, Jobs: 2, Oldest: second}, {Lane: recovery.LaneNotice, Jobs: 1, Oldest: first}, {Lane: recovery.LaneOnReset, Jobs: 1, Oldest: first},
		} {
			is.Equal(stats.Lanes[i].Lane, want.Lane)
			is.Equal(stats.Lanes[i].Jobs, want.Jobs)
			is.True(stats.Lanes[i].Oldest.Equal(want.Oldest))
		}
	})
}

func TestStatsOfAStoreThatFails(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.store.failAt("Stats", errStore)
	err := errOf(w.Stats(w.ctx))
	is.True(errors.Is(err, errStore))
	is.Equal(err.Error(), "recovery: read the queue: store failed")
}

// When ctx has ended, its error is returned as it is, whatever the Store said.
func TestStatsForWhoHasGone(t *testing.T) {
	for _, answer := range []error{nil, errStore, context.Canceled} {
		is := is.New(t)
		w := newWorld(t, nil)
		ctx, cancel := context.WithCancel(w.ctx)
		store := spy.On(w.users, func(_ context.Context, method string, _ any, call func(context.Context) error) error {
			if method != "Stats" {
				return call(w.ctx)
			}
			cancel()
			is.NoErr(call(w.ctx))
			return answer
		})
		stats, err := w.service(store, recovery.Options{}).Stats(ctx)
		is.Equal(err, context.Canceled)
		is.Equal(stats, recovery.Stats{})
	}
}

// What was dropped as too old is counted.
func TestStatsCountWhatWasTooOld(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.ask("alice")
	w.ask("nobody")
	w.advance(2 * time.Hour)
	w.ask("alice")
	w.deliver()
	stats, err := w.Stats(w.ctx)
	is.NoErr(err)
	is.Equal(stats.TooOld, 2)
	is.Equal(stats.LostEvents, 0)
}
