package sidechannel

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer"
)

// Services that leak, as found in the field. The suite must find each.

// meant returns the accounts that a request means.
func meant(ctx context.Context, store recovery.Store, r recovery.Job) []recovery.Account {
	found, _ := store.FindAccounts(ctx, recovery.AccountQuery{Tenant: r.Tenant, By: r.By, Typed: r.Identifier, Canonical: r.Identifier, Max: 100})
	return found
}

// An earlyReturn looks first and stores a request only if there is somebody to mail.
type earlyReturn struct{ recovery.Store }

func (s earlyReturn) Enqueue(ctx context.Context, r recovery.Job, c recovery.Charges) error {
	if len(meant(ctx, s.Store, r)) == 0 {
		return nil
	}
	return s.Store.Enqueue(ctx, r, c)
}

// A fireAndForget answers at once and does the work on a goroutine.
type fireAndForget struct {
	recovery.Store
	mailer   recovery.Mailer
	renderer *mailer.Renderer
	running  sync.WaitGroup
}

func (s *fireAndForget) Enqueue(ctx context.Context, r recovery.Job, c recovery.Charges) error {
	if err := s.Store.TakeLimits(ctx, r.RequestedAt, c); err != nil {
		return err
	}
	s.running.Go(func() { s.mail(context.WithoutCancel(ctx), r) })
	return nil
}

func (s *fireAndForget) mail(ctx context.Context, r recovery.Job) {
	for _, a := range meant(ctx, s.Store, r) {
		token, err := recovery.ParseToken(randomToken())
		if err != nil || !a.Eligible() {
			continue
		}
		_ = plant(ctx, s.Store, r.RequestedAt, recovery.Reset{
			Digest: token.Digest(), AccountID: a.ID, Version: a.Version, RequestedAt: r.RequestedAt,
			ExpiresAt: r.RequestedAt.Add(time.Hour),
		})
		m := recovery.Message{
			ID: r.ID, Kind: recovery.MessageResetToken, To: a.Email,
			Resets:    []recovery.MessageReset{{Username: a.Username, Token: token}},
			ExpiresAt: r.RequestedAt.Add(time.Hour), SentAt: r.RequestedAt, RequestedAt: r.RequestedAt,
		}
		if _, err := s.renderer.Render(m); err != nil {
			panic(err)
		}
		_ = s.mailer.Send(ctx, m)
	}
}

// A limitKnown counts only what leads to a mail.
type limitKnown struct{ recovery.Store }

func (s limitKnown) Enqueue(ctx context.Context, r recovery.Job, c recovery.Charges) error {
	if len(meant(ctx, s.Store, r)) == 0 {
		c = slices.DeleteFunc(c, func(c recovery.Charge) bool { return c.Scope == recovery.ScopeClient })
	}
	return s.Store.Enqueue(ctx, r, c)
}

var (
	returnsEarly leaky = func(s recovery.Store, _ recovery.Mailer) (recovery.Store, func()) { return earlyReturn{s}, func() {} }
	limitsKnown  leaky = func(s recovery.Store, _ recovery.Mailer) (recovery.Store, func()) { return limitKnown{s}, func() {} }
	forgets      leaky = func(s recovery.Store, m recovery.Mailer) (recovery.Store, func()) {
		r, err := mailer.New(nil)
		if err != nil {
			panic(err)
		}
		f := &fireAndForget{Store: s, mailer: m, renderer: r}
		return f, f.running.Wait
	}
)

// knownFound reports whether a difference between known and unknown is among those found for each
// action.
func knownFound(found []string, actions []action) bool {
	for _, a := range actions {
		if !slices.ContainsFunc(found, func(text string) bool { return strings.HasPrefix(text, a.name+", known") }) {
			return false
		}
	}
	return true
}

func TestLeakyServicesDifferExactly(t *testing.T) {
	is := is.New(t)
	memory := backends()[0]
	is.True(knownFound(compareRequests(newWorld(t, memory, generous, returnsEarly), requests), requests))
	is.True(knownFound(compareRequests(newWorld(t, memory, generous, forgets), requests), requests))
	is.True(knownFound(compareSequences(newWorld(t, memory, limited, limitsKnown), requests), requests))
	is.Equal(len(compareRequests(newWorld(t, memory, generous, nil), requests)), 0)
}

// leakScale is the same for both runs, because a small run must find these leaks too.
var leakScale = scale{accounts: 20_000, pool: 2000}

var leakSize = size{n: 1000, limit: 3 * time.Second, repeats: 2, least: 5 * time.Microsecond, more: 20 * time.Microsecond}

func TestEarlyReturnIsSeenInTime(t *testing.T) {
	onlyInTime(t)
	g := newStage(t, backends()[0], leakScale, returnsEarly)
	experiment{
		name: "memstore, direct", classes: timedClasses, pairs: timedPairs[:1], leaky: true,
		measure: here(g.rest, requestInputs(leakScale, resetByAddress), g.reset(t), nil),
	}.of(leakSize).expectLeak(t)
}

// The mail that is being written takes a processor away from the next request. That shows between
// processes; within one, requests are over before the goroutine begins.
func TestFireAndForgetIsSeenInTheNextTime(t *testing.T) {
	onlyInTime(t)
	g := newStage(t, backends()[0], leakScale, forgets)
	a := timedEntries(requests, "Xandr, user names")[0]
	experiment{
		name: "memstore, xandr, next", classes: timedClasses, pairs: timedPairs[:1], leaky: true,
		measure: overHTTP(t, g.rest, g.entry(a.handler), okStatus[a.handler], requestInputs(leakScale, a.write), another(leakScale, a.write)),
	}.of(leakSize).expectLeak(t)
}
