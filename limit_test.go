package recovery_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

func TestLimitTake(t *testing.T) {
	is := is.New(t)
	l := recovery.Limit{Burst: 3, Every: time.Hour}
	start := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	var state time.Time
	for range 3 {
		next, wait := l.Take(state, start)
		is.Equal(wait, time.Duration(0)) // within the burst
		state = next
	}
	next, wait := l.Take(state, start.Add(time.Minute))
	is.Equal(wait, 59*time.Minute)
	is.Equal(next, state) // a refused event changes nothing
	_, wait = l.Take(state, start.Add(time.Hour-time.Microsecond))
	is.Equal(wait, time.Microsecond)
	_, wait = l.Take(state, start.Add(time.Hour))
	is.Equal(wait, time.Duration(0))
}

// A state that is further ahead than any event could have made it is no state.
func TestLimitAfterTheClockWasAhead(t *testing.T) {
	is := is.New(t)
	l := recovery.Limit{Burst: 2, Every: time.Minute}
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	most := now.Add(2*time.Minute + recovery.MaxClockSkew)
	_, wait := l.Take(most, now)
	is.Equal(wait, time.Minute+recovery.MaxClockSkew)
	next, wait := l.Take(most.Add(time.Microsecond), now)
	is.Equal(wait, time.Duration(0))
	is.Equal(next, now.Add(time.Minute))
}

// Events that overtake each other, or come from clocks that differ, are counted like others.
func TestLimitCountsEventsOutOfOrder(t *testing.T) {
	is := is.New(t)
	for range 200 {
		l := recovery.Limit{Burst: 1 + rand.IntN(5), Every: time.Duration(1+rand.IntN(50)) * time.Minute}
		start := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
		var state time.Time
		passed := 0
		for range 100 {
			next, wait := l.Take(state, start.Add(time.Duration(rand.Int64N(int64(min(recovery.MaxClockSkew, l.Every))))))
			if wait == 0 {
				passed++
			}
			state = next
		}
		is.True(passed <= l.Burst)
	}
}

// The promise of Limit: in no period of length Every do more than Burst pass.
func TestLimitHoldsInEveryPeriod(t *testing.T) {
	is := is.New(t)
	for range 200 {
		l := recovery.Limit{Burst: 1 + rand.IntN(5), Every: time.Duration(1+rand.IntN(50)) * time.Minute}
		now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
		var state time.Time
		var passed []time.Time
		for range 500 {
			now = now.Add(time.Duration(rand.IntN(10)) * time.Minute)
			next, wait := l.Take(state, now)
			if wait == 0 {
				passed = append(passed, now)
			}
			state = next
		}
		is.True(len(passed) > 0)
		for i := l.Burst; i < len(passed); i++ {
			is.True(passed[i].Sub(passed[i-l.Burst]) >= l.Every) // Burst+1 events within one period
		}
	}
}
