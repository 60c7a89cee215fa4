package behind

import (
	"context"
	"errors"
	"fmt"

	"net/netip"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// Attacks on the door: who is counted as whom, and what is written into the log.

// pass asks so often, ten times a second, and returns how many requests are let through.
func (r *rig) pass(n int, from func(i int) netip.Addr) (passed int) {
	for i := range n {
		if askName(r.Service, fmt.Sprintf("nobody%d", i), from(i)) == nil {
			passed++
		}
		time.Sleep(100 * time.Millisecond)
	}
	return passed
}

// rotating returns addresses with i in the 16 bits from the given bit on.
func rotating(base string, bit int) func(i int) netip.Addr {
	b := netip.MustParseAddr(base).As16()
	return func(i int) netip.Addr {
		a := b
		a[bit/8], a[bit/8+1] = byte(i>>8), byte(i)
		return netip.AddrFrom16(a)
	}
}

// A client alone may ask 20 times at once, and once every 30 seconds.
func perClient(d time.Duration) int { return 20 + int(d/(30*time.Second)) + 1 }

const asks = 2000 // in 200 seconds

// S90: whoever has many /64s is not many clients.
func TestAttack_S90_NestedNetworks(t *testing.T) {
	alone := perClient(asks * 100 * time.Millisecond)
	for _, c := range []struct {
		name string
		from func(i int) netip.Addr
		most int
	}{
		{"a 48", rotating("2001:db8:48::1", 48), 16 * alone},
		{"a 56", func(i int) netip.Addr { return rotating("2001:db8:48:100::1", 48)(0x100 + i%256) }, 4 * alone},
		{"a 64", rotating("2001:db8:48::1", 112), alone},
		{"6to4 of one host", rotating("2002:c000:201::1", 48), alone},
		{"6to4, NAT64 and IPv4 of one host", func(i int) netip.Addr {
			return []netip.Addr{rotating("2002:c000:201::1", 48)(i), netip.MustParseAddr("64:ff9b::192.0.2.1"),
				netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.1")}[i%4]
		}, alone},
	} {
		t.Run(c.name, func(t *testing.T) {
			inRig(t, recovery.Options{}, func(r *rig) {
				passed := r.pass(asks, c.from)
				t.Logf("%d of %d passed, %d may", passed, asks, c.most)
				r.is.True(passed <= c.most)
			})
		})
	}
}

// S90: people who share a translator's prefix are many clients.
func TestAttack_S90_EmbeddedIPv4(t *testing.T) {
	for name, from := range map[string]func(i int) netip.Addr{
		"NAT64":  func(i int) netip.Addr { return rotating("64:ff9b::198.18.0.0", 112)(i) },
		"Teredo": func(i int) netip.Addr { return rotating("2001:0:4136:e378:8000:63bf:39ed:ffff", 112)(i) },
		"6to4":   rotating("2002:c612::1", 32),
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, recovery.Options{}, func(r *rig) {
				passed := r.pass(asks, from)
				t.Logf("%d of %d people passed", passed, asks)
				r.is.Equal(passed, asks)
			})
		})
	}
}

// S90: one network does not use up what is for all. It asks a hundred times a second.
func TestAttack_S90_OneNetworkAndTheOthers(t *testing.T) {
	inRig(t, recovery.Options{}, func(r *rig) {
		from := rotating("2001:db8:48::1", 48)
		refused := 0
		for i := range 6000 {
			_ = askName(r.Service, fmt.Sprintf("nobody%d", i), from(i))
			if i%100 == 99 && askName(r.Service, fmt.Sprintf("other%d", i), network(i)) != nil {
				refused++
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Logf("%d of 60 others were refused", refused)
		r.is.Equal(refused, 0)
	})
}

// S91: limits that New accepts work; others it refuses.
func TestAttack_S91_ExtremeLimits(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, extreme := range []recovery.Limit{
		{Burst: 1_000_000, Every: 24 * time.Hour},
		{Burst: 1_000_000, Every: year / 1_000_000},
		{Burst: 365, Every: 24 * time.Hour},
		{Burst: 1, Every: 24 * time.Hour},
		{Burst: 1_000_000, Every: time.Microsecond},
		{Burst: 1, Every: time.Microsecond},
	} {
		for name, limits := range map[string]recovery.Limits{
			"PerClient":         {PerClient: extreme},
			"Global":            {Global: extreme},
			"CompletePerClient": {CompletePerClient: extreme},
			"PerAccount":        {PerAccount: extreme},
			"PerRequester":      {PerRequester: extreme},
			"PerMailbox":        {PerMailbox: extreme},
		} {
			for _, from := range []netip.Addr{owner, netip.MustParseAddr("2001:db8::1")} { // a /48 has sixteen times as much
				t.Run(fmt.Sprintf("%s %d, %v from %v", name, extreme.Burst, extreme.Every, from), func(t *testing.T) {
					inRig(t, recovery.Options{}, func(r *rig) {
						svc, err := recovery.New(r.store, r.post, &recovery.Options{Limits: limits})
						refused := time.Duration(extreme.Burst)*extreme.Every > year || extreme.Burst == 1_000_000 && extreme.Every == 24*time.Hour
						r.is.Equal(err != nil, refused)
						if err != nil {
							return
						}
						r.put("alice")
						r.is.NoErr(askName(svc, "alice", from))
						r.deliver(svc)
						r.is.Equal(len(r.post.mails("alice@example.com")), 1)
						r.is.NoErr(redeem(svc, r.post.mails("alice@example.com")[0].token, from))
					})
				})
			}
		}
	}
}

// S89: what is scrubbed from a log line must not blow it up.
func TestAttack_S89_LogIsBounded(t *testing.T) {
	const driver = `pq: sorry, too many clients already; the server closed the connection unexpectedly (SQLSTATE 53300)`
	written := func(t *testing.T, name, failing string) (n int) {
		inRig(t, recovery.Options{}, func(r *rig) {
			r.store.fail(func(_ context.Context, method string) error {
				if method == failing {
					return errors.New(driver)
				}
				return nil
			})
			r.put(name)
			err := askName(r.Service, name, owner)
			if failing == "Enqueue" {
				n = len(err.Error())
				return
			}
			r.is.NoErr(err)
			r.deliver(r.Service)
			n = len(r.log.String())
		})
		return n
	}
	for _, where := range []string{"Enqueue", "FindAccounts", "CreateResets"} { // the caller's error, and the worker's log
		t.Run(where, func(t *testing.T) {
			is := is.New(t)
			usual := written(t, "somebody-else", where)
			for _, name := range []string{"e", "r", "re", "[redacted]", "d]", "too", "clients"} {
				n := written(t, name, where)
				t.Logf("user name %q: %d bytes, usually %d", name, n, usual)
				is.True(n <= usual+2*len(driver))
			}
			is.True(usual > 0 && usual < 1000)
		})
	}
}
