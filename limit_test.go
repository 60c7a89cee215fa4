package recovery_test

import (
	"errors"
	"maps"
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
	_, wait = l.Take(state, start.Add(time.Hour-time.Nanosecond))
	is.Equal(wait, time.Nanosecond)
	_, wait = l.Take(state, start.Add(time.Hour))
	is.Equal(wait, time.Duration(0))
}

// A state further ahead than any event could have made it counts as none.
func TestLimitAfterTheClockWasAhead(t *testing.T) {
	is := is.New(t)
	l := recovery.Limit{Burst: 2, Every: time.Minute}
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	most := now.Add(2*time.Minute + 10*time.Second) // full, by events that were overtaken
	_, wait := l.Take(most, now)
	is.Equal(wait, time.Minute+10*time.Second)
	next, wait := l.Take(most.Add(time.Microsecond), now)
	is.Equal(wait, time.Duration(0))
	is.Equal(next, now.Add(time.Minute))
}

// Events that overtake each other are counted like others.
func TestLimitCountsEventsOutOfOrder(t *testing.T) {
	is := is.New(t)
	for range 200 {
		l := recovery.Limit{Burst: 1 + rand.IntN(5), Every: time.Duration(1+rand.IntN(50)) * time.Minute}
		start := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
		var state time.Time
		passed := 0
		for range 100 {
			next, wait := l.Take(state, start.Add(time.Duration(rand.Int64N(int64(min(10*time.Second, l.Every))))))
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

// keys returns the keys of limits that have nothing to do with each other.
func keys(n int) []recovery.Digest {
	keys := make([]recovery.Digest, n)
	for i := range keys {
		keys[i][0] = byte(i + 1)
	}
	return keys
}

var limitDay = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// Charges that may not all be taken change nothing, and the error is of the one that waits longest.
func TestChargesAreTakenAllOrNone(t *testing.T) {
	is := is.New(t)
	k := keys(3)
	charges := recovery.Charges{
		{Scope: recovery.ScopeClient, Key: k[0], Limit: recovery.Limit{Burst: 1, Every: time.Minute}},
		{Scope: recovery.ScopeAccount, Key: k[1], Limit: recovery.Limit{Burst: 1, Every: time.Hour}},
		{Scope: recovery.ScopeGlobal, Key: k[2], Limit: recovery.Limit{Burst: 1, Every: 2 * time.Second}},
	}
	states := map[recovery.Digest]time.Time{}
	is.NoErr(charges.Take(limitDay, states)) // a key without a state
	taken := maps.Clone(states)
	is.Equal(taken, map[recovery.Digest]time.Time{k[0]: limitDay.Add(time.Minute), k[1]: limitDay.Add(time.Hour), k[2]: limitDay.Add(2 * time.Second)})
	for at, want := range map[time.Duration]recovery.LimitError{
		time.Second:     {Scope: recovery.ScopeAccount, RetryAfter: time.Hour - time.Second},
		2 * time.Minute: {Scope: recovery.ScopeAccount, RetryAfter: time.Hour - 2*time.Minute},
	} {
		var e *recovery.LimitError
		is.True(errors.As(charges.Take(limitDay.Add(at), states), &e))
		is.Equal(*e, want)
		is.Equal(states, taken)
	}
	is.NoErr(charges.Take(limitDay.Add(time.Hour), states))
	is.NoErr(recovery.Charges(nil).Take(limitDay, nil)) // no charges may always be taken
}

// A network that had a mail goes after those that had none.
func TestChargesOfWhoHadAShare(t *testing.T) {
	is := is.New(t)
	k := keys(4)
	states := map[recovery.Digest]time.Time{}
	ask := func(who recovery.Digest, at time.Duration) bool {
		return recovery.Charges{
			{Key: who, Limit: recovery.Limit{Burst: 10, Every: time.Hour}},
			{Key: k[3], Limit: recovery.Limit{Burst: 4, Every: 10 * time.Minute}, Repeat: 2, Share: who},
		}.Take(limitDay.Add(at), states) == nil
	}
	is.True(ask(k[0], 0))
	is.True(ask(k[0], 0))
	is.True(!ask(k[0], 0)) // two are used up
	is.True(ask(k[1], 0))  // who had none may use four
	is.True(!ask(k[1], 0))
	is.True(ask(k[2], 0))
	is.True(!ask(k[0], 29*time.Minute))
	is.True(ask(k[0], 30*time.Minute)) // when but one is used up
	is.True(!ask(k[1], 30*time.Minute))

	clear(states)
	states[k[3]] = limitDay.Add(20 * time.Minute)
	states[k[0]] = limitDay
	is.True(ask(k[0], 0)) // a share that is over is none

	clear(states)
	states[k[0]] = limitDay.Add(time.Hour)
	once := recovery.Charges{{Key: k[3], Limit: recovery.Limit{Burst: 4, Every: 10 * time.Minute}, Repeat: 1, Share: k[0]}}
	is.NoErr(once.Take(limitDay, states))
	is.True(once.Take(limitDay, states) != nil)
	once[0].Repeat = 0
	is.NoErr(once.Take(limitDay, states)) // replaces nothing
}

// The priority is the instant of the request, less what the client has used up of its limits.
func TestPriority(t *testing.T) {
	is := is.New(t)
	k := keys(3)
	charges := recovery.Charges{
		{Scope: recovery.ScopeClient, Key: k[0], Limit: recovery.Limit{Burst: 3, Every: time.Minute}},
		{Scope: recovery.ScopeClient, Key: k[1], Limit: recovery.Limit{Burst: 12, Every: 15 * time.Second}},
		{Scope: recovery.ScopeGlobal, Key: k[2], Limit: recovery.Limit{Burst: 100, Every: time.Minute}},
	}
	states := map[recovery.Digest]time.Time{}
	for n := range 3 {
		is.NoErr(charges.Take(limitDay, states))
		is.Equal(charges.Priority(limitDay, states), limitDay.Add(-time.Duration(n)*time.Minute)) // all share what is global
	}
	charges[0].Key = recovery.Digest{9} // another client of the wider network
	is.NoErr(charges.Take(limitDay, states))
	is.Equal(charges.Priority(limitDay, states), limitDay.Add(-45*time.Second))
	is.Equal(recovery.Charges(nil).Priority(limitDay, nil), limitDay)
}
