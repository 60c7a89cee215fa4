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

// Attacks on the door: limits at their ends, and what is written into the log.

// S91: limits that New accepts work; New refuses the others.
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

// S89: redacting a log line must not blow it up.
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
