package recovery_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
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
