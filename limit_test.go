package recovery_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
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

// charging returns a Service with default options, and what its Store was last charged.
func charging(t *testing.T) (*recovery.Service, *recovery.Charges) {
	t.Helper()
	var charges recovery.Charges
	svc, err := recovery.New(spy.On(memstore.New(), func(ctx context.Context, _ string, arg any, call func(context.Context) error) error {
		switch arg := arg.(type) {
		case spy.Enqueue:
			charges = arg.Charges
		case spy.TakeLimits:
			charges = arg.Charges
		}
		return call(ctx)
	}), &mailertest.Recorder{}, &recovery.Options{Logger: slog.New(slog.DiscardHandler)})
	is.New(t).NoErr(err)
	return svc, &charges
}

// While instances are replaced by a newer version, the old and the new ones count one limit under
// one key.
func TestLimitKeysStayAsTheyAre(t *testing.T) {
	is := is.New(t)
	svc, charges := charging(t)
	is.NoErr(errOf(svc.RequestReset(t.Context(), recovery.ResetRequest{Username: " Alice ", Client: client})))
	is.Equal(len(*charges), 3)
	is.Equal((*charges)[0].Key, recovery.Digest(sha256.Sum256([]byte("request\x00client\x00192.0.2.10"))))
	is.Equal((*charges)[1].Key, recovery.Digest(sha256.Sum256([]byte("priority\x00client\x00192.0.2.10"))))
	is.Equal((*charges)[2].Key, recovery.Digest(sha256.Sum256([]byte("request\x00global"))))
	_, err := svc.CompleteReset(t.Context(), recovery.CompleteRequest{Token: tokenText, Password: goodPassword, Client: client})
	is.Equal(err, recovery.ErrInvalidToken)
	is.Equal(len(*charges), 1)
	is.Equal((*charges)[0].Key, recovery.Digest(sha256.Sum256([]byte("complete\x00client\x00192.0.2.10"))))
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

// Whoever asked for little goes before whoever asked for much, whichever asked first.
func TestWhoAskedForLittleGoesFirst(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Workers: 1, Limits: recovery.Limits{PerAccount: recovery.Limit{Burst: 100, Every: time.Second}}})
	much := func() {
		for range 10 {
			w.ask("alice")
		}
		w.advance(time.Second)
	}
	little := func() {
		w.from("192.0.2.99", "billybob")
		w.advance(time.Second)
	}
	much()
	little()
	is.Equal(w.deliver()[0].To, "billybob@example.com")
	w.advance(2 * time.Hour)
	little()
	much()
	mails := w.deliver()
	is.Equal(mails[0].To, "alice@example.com") // her first, which came later
	is.Equal(mails[1].To, "billybob@example.com")
}

// Whoever keeps just below its limit goes behind whoever asks seldom, for as long as it asked, and
// from whatever address of its widest network. It is not refused.
func TestWhoKeepsBelowItsLimitGoesLast(t *testing.T) {
	for busy, fresh := range map[string]string{"192.0.2.1": "192.0.2.2", "2001:db8:0:%x::1": "2001:db8:1::1"} {
		t.Run(busy, func(t *testing.T) {
			is := is.New(t)
			often := recovery.Limit{Burst: 1000, Every: time.Millisecond}
			w := newWorld(t, &recovery.Options{Workers: 1, Limits: recovery.Limits{PerAccount: often, PerRequester: often, PerMailbox: often}})
			n := 0
			steady := func() {
				addr := busy
				if strings.Contains(addr, "%") {
					addr = fmt.Sprintf(addr, n)
				}
				n++
				w.from(addr, "alice")
			}
			first := func() string {
				mails := w.deliver()
				is.Equal(len(mails), 2)
				return mails[0].To
			}
			w.from(fresh, "billybob")
			w.advance(time.Second)
			steady()
			is.Equal(first(), "alice@example.com") // the latest
			for range 120 {
				w.advance(30 * time.Second)
				steady()
				w.deliver()
			}
			w.advance(30 * time.Minute)
			w.from(fresh, "billybob")
			w.advance(time.Second)
			steady()
			is.Equal(first(), "billybob@example.com")
			w.advance(10 * time.Hour) // a request counts for five minutes
			w.from(fresh, "billybob")
			w.advance(time.Second)
			steady()
			is.Equal(first(), "alice@example.com")
		})
	}
}

// Every limit that New accepts works, for as many as its Burst says.
func TestExtremeLimits(t *testing.T) {
	for _, l := range []recovery.Limit{
		{Burst: 1, Every: time.Microsecond}, {Burst: 1, Every: 24 * time.Hour}, {Burst: 365, Every: 24 * time.Hour},
		{Burst: 1_000_000, Every: time.Microsecond}, {Burst: 1_000_000, Every: 31 * time.Second},
	} {
		t.Run(fmt.Sprint(l), func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, &recovery.Options{Limits: recovery.Limits{PerClient: l, Global: recovery.Limit{Burst: 1_000_000, Every: time.Microsecond}}})
			for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
				for range min(l.Burst, 1000) {
					is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: netip.MustParseAddr(addr)})))
				}
				if l.Burst <= 1000 {
					err := errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: netip.MustParseAddr(addr)}))
					is.True(errors.Is(err, recovery.ErrLimited))
				}
			}
		})
	}
}

// The limit that only orders requests refuses nobody, however many ask.
func TestTurnLimitRefusesNobody(t *testing.T) {
	w := newWorld(t, &recovery.Options{Limits: mailLimitsOnly})
	for range 1000 {
		w.ask("nobody")
	}
}

func TestClientAndGlobalLimits(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{
		PerClient: recovery.Limit{Burst: 2, Every: time.Minute},
		Global:    recovery.Limit{Burst: 7, Every: time.Hour},
	}})
	ask := func(addr string) error {
		return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: netip.MustParseAddr(addr)}))
	}
	refused := func(err error, scope recovery.Scope, after time.Duration) {
		is.Helper()
		var e *recovery.LimitError
		is.True(errors.As(err, &e))
		is.Equal(*e, recovery.LimitError{Scope: scope, RetryAfter: after})
	}
	is.NoErr(ask("192.0.2.1"))
	is.NoErr(ask("::ffff:192.0.2.1")) // the same client
	w.store.calls()
	refused(ask("192.0.2.1"), recovery.ScopeClient, time.Minute)
	calls := w.store.calls()
	is.True(strings.HasPrefix(calls, "Enqueue ") && !strings.Contains(calls, "\n")) // and nothing is looked up
	refused(ask("::ffff:192.0.2.1"), recovery.ScopeClient, time.Minute)
	refused(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "nobody@example.com", Client: netip.MustParseAddr("192.0.2.1")})), recovery.ScopeClient, time.Minute)
	is.NoErr(ask("192.0.2.2"))
	is.NoErr(ask("2001:db8:0:1::1"))
	is.NoErr(ask("2001:db8:0:1:ffff::2%eth0")) // the same /64
	refused(ask("2001:db8:0:1:8000::3"), recovery.ScopeClient, time.Minute)
	is.NoErr(ask("2001:db8:0:2::1"))
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice"})))
	refused(ask("192.0.2.3"), recovery.ScopeGlobal, time.Hour)
	w.hooks.wait(t, "LimitReached reset client")
	w.hooks.wait(t, "LimitReached usernames client")
	w.hooks.wait(t, "LimitReached reset global")
}
