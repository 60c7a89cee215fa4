package sidechannel

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/race"
	"example.com/recovery/internal/spy"
)

// mode is "full" to measure everything, or a number of samples, to try the suite.
var mode = os.Getenv("RECOVERY_SIDE_CHANNELS")

// A timed is a store to measure on, and the delays that must be found there.
type timed struct {
	backend
	scale scale
	here  size // in this process
	http  size // over HTTP
}

// A size is how much is measured, and which delay must be found. A smaller delay is injected too,
// and only logged.
type size struct {
	n       int // none is not at all
	limit   time.Duration
	repeats int
	least   time.Duration // the shorter delay; it must be found if all is set
	more    time.Duration
	all     bool
}

// timedStores returns where to measure.
func timedStores() []timed {
	all := backends()
	memory, sqlite, postgres := all[0], all[1], all[2]
	const us = time.Microsecond
	if mode == "" {
		some, few := scale{accounts: 20_000, pool: 2000}, scale{accounts: 2000, pool: 200}
		return []timed{
			{memory, some, size{2000, time.Second, 2, 5 * us, 20 * us, true}, size{1000, 2 * time.Second, 1, 20 * us, 50 * us, false}},
			{sqlite, few, size{300, 2 * time.Second, 1, 50 * us, 100 * us, false}, size{}},
		}
	}
	// There are as many subjects as first samples, because a subject that is asked for repeatedly
	// has a time of its own.
	many := scale{accounts: 250_000, pool: 22_000}
	n := 20_000
	if mode != "full" {
		var err error
		if n, err = strconv.Atoi(mode); err != nil || n < 2 {
			panic("RECOVERY_SIDE_CHANNELS must be full, or a number")
		}
	}
	const limit = 10 * time.Minute
	return []timed{
		{memory, many, size{n, limit, 2, 2 * us, 5 * us, true}, size{n / 2, limit, 2, 5 * us, 20 * us, true}},
		{sqlite, many, size{n, limit, 1, 2 * us, 5 * us, true}, size{n / 2, limit, 1, 5 * us, 20 * us, true}},
		{postgres, many, size{n, limit, 1, 2 * us, 5 * us, true}, size{n / 2, limit, 1, 5 * us, 20 * us, true}},
	}
}

// onlyInTime skips a test of times where times mean nothing.
func onlyInTime(t *testing.T) {
	t.Helper()
	if race.Enabled {
		t.Skip("the race detector makes times meaningless")
	}
}

// onTimed runs f for each of the stores.
func onTimed(t *testing.T, f func(t *testing.T, s timed)) {
	onlyInTime(t)
	for _, s := range timedStores() {
		t.Run(s.name, func(t *testing.T) { f(t, s) })
	}
}

var timedPairs = []pair{
	{name: "known, unknown", a: timedUnknown, b: timedKnown},
	{name: "disabled, unknown", a: timedUnknown, b: timedDisabled},
	{name: "3 accounts, unknown", a: timedUnknown, b: timedSeveral},
	{name: "live token, unknown", a: timedUnknown, b: timedLive},
}

// of sets how much is measured, and the controls that say whether the result counts.
func (e experiment) of(s size) experiment {
	e.n, e.limit, e.repeats = s.n, s.limit, s.repeats
	e.same = pair{a: timedUnknown, b: timedUnknownToo}
	e.delays = []injected{{timedUnknown, timedDelayed, s.least, s.all}, {timedUnknown, timedDelayedMore, s.more, true}}
	return e
}

// requestInputs returns the inputs of each class, made from its subjects.
func requestInputs[T any](s scale, input func(subject) T) [][]T {
	all := make([][]T, timedClasses)
	for c := range timedClasses {
		for _, one := range s.subjects(c) {
			all[c] = append(all[c], input(one))
		}
	}
	return all
}

// another returns inputs that belong to no class, for what is timed after a call.
func another[T any](s scale, input func(subject) T) []T {
	all := make([]T, s.pool)
	for i := range all {
		all[i] = input(numbered(900_000 + i))
	}
	return all
}

func resetByAddress(s subject) recovery.ResetRequest {
	return recovery.ResetRequest{Email: s.email, Tenant: tenant, Client: client}
}

func resetWithCode(s subject) recovery.ResetRequest {
	return recovery.ResetRequest{Email: s.email, Tenant: tenant, Code: true, Client: client}
}

func (g *stage) reset(t testing.TB) func(recovery.ResetRequest) {
	ctx := context.Background()
	return func(r recovery.ResetRequest) {
		if err := spy.Err(g.svc.RequestReset(ctx, r)); err != nil {
			t.Error(err)
		}
	}
}

func TestAttack_S51_TimeOfRequests(t *testing.T) {
	onTimed(t, func(t *testing.T, s timed) {
		g := newStage(t, s.backend, s.scale, nil)
		g.tokens(livePools, 16*time.Hour, nil)
		t.Log(heading)
		experiment{
			name: s.name + ", direct with a code", classes: timedClasses, pairs: timedPairs,
			measure: here(g.rest, requestInputs(s.scale, resetWithCode), g.reset(t), nil),
		}.of(s.here).require(t)
	})
}

// A goroutine that the call started may still run.
func TestAttack_S54_TimeOfTheNextRequest(t *testing.T) {
	onTimed(t, func(t *testing.T, s timed) {
		g := newStage(t, s.backend, s.scale, nil)
		g.tokens(livePools, 16*time.Hour, nil)
		t.Log(heading)
		experiment{
			name: s.name + ", next", classes: timedClasses, pairs: timedPairs,
			measure: here(g.rest, requestInputs(s.scale, resetByAddress), g.reset(t), another(s.scale, resetByAddress)),
		}.of(s.here).require(t)
	})
}

// timedEntries are the actions that are measured over HTTP: one of each format.
func timedEntries(all []action, names ...string) (some []action) {
	for _, name := range names {
		for _, a := range all {
			if a.name == name {
				some = append(some, a)
			}
		}
	}
	return some
}

var okStatus = map[string]string{xandr: "200 OK", rackspace: "204 No Content", portalPages: "303 See Other"}

func (g *stage) entry(name string) http.Handler {
	h, err := handler(name, g.svc, nil)
	g.is.NoErr(err)
	return h
}

func TestAttack_S51_TimeOfRequestsOverHTTP(t *testing.T) {
	onTimed(t, func(t *testing.T, s timed) {
		entries := timedEntries(requests, "Xandr, user names", "portal, by address", "Rackspace, JSON")
		if s.name != "memstore" {
			entries = entries[:1]
		}
		if s.http.n == 0 {
			entries = nil
		}
		for _, a := range entries {
			t.Run(a.name, func(t *testing.T) {
				g := newStage(t, s.backend, s.scale, nil)
				t.Log(heading)
				g.tokens(livePools, 16*time.Hour, nil)
				pairs := timedPairs
				if a.handler == rackspace { // it goes by user name, and one has one account
					pairs = slices.DeleteFunc(slices.Clone(pairs), func(p pair) bool { return p.b == timedSeveral })
				}
				experiment{
					name: fmt.Sprintf("%s, %s", s.name, a.handler), classes: timedClasses, pairs: pairs,
					measure: overHTTP(t, g.rest, g.entry(a.handler), okStatus[a.handler], requestInputs(s.scale, a.write), nil),
				}.of(s.http).require(t)
			})
		}
	})
}

func TestAttack_S54_TimeOfTheNextRequestOverHTTP(t *testing.T) {
	onTimed(t, func(t *testing.T, s timed) {
		if s.http.n == 0 {
			t.Skip("only the whole run measures it")
		}
		g := newStage(t, s.backend, s.scale, nil)
		a := timedEntries(requests, "Xandr, user names")[0]
		t.Log(heading)
		experiment{
			name: s.name + ", xandr, next", classes: timedClasses, pairs: timedPairs[:1],
			measure: overHTTP(t, g.rest, g.entry(a.handler), okStatus[a.handler], requestInputs(s.scale, a.write), another(s.scale, a.write)),
		}.of(s.http).require(t)
	})
}

// The classes of tokens that are timed come after those that are unknown.
const (
	timedExpired = timedDelayedMore + 1 + iota
	timedUsed
	timedGone
	timedTokens
)

// elsewhere is why whoever holds a token that was real once can tell it from others. As many rows
// are read, but its own ones, which may be in a nearer or farther cache than an unknown token's.
const elsewhere = "its rows lie elsewhere, and who holds it knows that it was real"

var tokenPairs = []pair{
	{name: "expired, unknown", a: timedUnknown, b: timedExpired, open: elsewhere},
	{name: "used, unknown", a: timedUnknown, b: timedUsed, open: elsewhere},
	{name: "account gone, unknown", a: timedUnknown, b: timedGone, open: elsewhere},
}

// deadTokens returns the tokens of each class.
func (g *stage) deadTokens() [][]string {
	g.is.Helper()
	all := make([][]string, timedTokens)
	for c := range timedExpired {
		all[c] = g.unknownTokens()
	}
	all[timedUsed] = g.tokens(usedPools, 16*time.Hour, func(digest recovery.Digest) error {
		_, err := g.store.Redeem(context.Background(), recovery.Redemption{
			Digest: digest, At: time.Now().Truncate(time.Microsecond).UTC(), PasswordHash: "another",
		})
		return err
	})
	all[timedGone] = g.tokens(gonePools, 16*time.Hour, nil)
	all[timedExpired] = g.tokens(expiredPools, 0, nil) // purged in ten minutes
	return all
}

func inputsOf[T any](tokens [][]string, input func(subject) T) [][]T {
	all := make([][]T, len(tokens))
	for c := range tokens {
		for _, token := range tokens[c] {
			all[c] = append(all[c], input(subject{token: token}))
		}
	}
	return all
}

func TestAttack_S51_TimeOfCompletions(t *testing.T) {
	onTimed(t, func(t *testing.T, s timed) {
		g := newStage(t, s.backend, s.scale, nil)
		tokens := g.deadTokens()
		ctx := context.Background()
		inputs := inputsOf(tokens, func(one subject) recovery.CompleteRequest {
			return recovery.CompleteRequest{Token: one.token, Password: goodPassword, Client: client}
		})
		call := func(r recovery.CompleteRequest) {
			if _, err := g.svc.CompleteReset(ctx, r); err != recovery.ErrInvalidToken {
				t.Error(err)
			}
		}
		t.Log(heading)
		experiment{
			name: s.name + ", direct", classes: timedTokens, pairs: tokenPairs, measure: here(g.rest, inputs, call, nil),
		}.of(s.here).require(t)
		if s.http.n == 0 {
			return
		}
		a := timedEntries(completions, "Rackspace, JSON")[0] // its 401 is about the token alone
		experiment{
			name: s.name + ", rackspace", classes: timedTokens, pairs: tokenPairs,
			measure: overHTTP(t, g.rest, g.entry(a.handler), "401 Unauthorized", inputsOf(tokens, a.write), nil),
		}.of(s.http).require(t)
	})
}
