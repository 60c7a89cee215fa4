package recovery_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// clientCharges returns what a request of the client is charged for its networks. The last is for
// its priority.
func clientCharges(t *testing.T, addr string) (of recovery.Charges) {
	t.Helper()
	svc, charges := charging(t)
	is.New(t).NoErr(errOf(svc.RequestReset(t.Context(), recovery.ResetRequest{Username: "alice", Client: netip.MustParseAddr(addr)})))
	for _, c := range *charges {
		if c.Scope == recovery.ScopeClient {
			of = append(of, c)
		}
	}
	return of
}

// A client is an IPv4 address, or a /64 of IPv6: its neighbours are others. An IPv4 address inside
// an IPv6 one counts as itself.
func TestNeighboursAreOtherClients(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.0", "192.0.2.1", false},
		{"192.0.2.0", "::ffff:192.0.2.0", true},
		{"2001:db8::", "2001:db8:0:1::", false},
		{"2001:db8::", "2001:db8::8000:0:0:0", true},
		{"fe80::1%eth0", "fe80::1%eth1", true},
		{"192.0.2.1", "64:ff9b::192.0.2.1", true},                            // NAT64
		{"64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", false},                  //
		{"64:ff9b:0:0:0:1:192.0.2.1", "64:ff9b:0:0:0:1:192.0.2.2", true},     // not in the /96
		{"192.0.2.1", "2002:c000:201::", true},                               // 6to4
		{"2002:c000:201:5::1", "2002:c000:201:6::2", true},                   //
		{"2002:c000:201::", "2002:c000:202::", false},                        //
		{"192.0.2.1", "2001:0:cb00:7101:8000:f227:3fff:fdfe", true},          // Teredo
		{"2001:0:1:2:3:4:3fff:fdfe", "2001:0:1:2:3:4:3fff:fdfd", false},      //
		{"2001:1:1:2:3:4:3fff:fdfe", "2001:1:1:2:3:4:3fff:fdfd", true},       // not in the /32
		{"192.0.2.1", "::192.0.2.1", false},                                  // no form that carries one
		{"2001:0:1:2:3:4:3fff:fdfe%eth0", "64:ff9b::192.0.2.1%eth1", true},   // zones are of no matter
		{"::ffff:192.0.2.1", "2001:0:cb00:7101:8000:f227:3fff:fdfe%x", true}, //
		{"2002:ffff:ffff::1", "255.255.255.255", true},                       //
	} {
		t.Run(c.a+" "+c.b, func(t *testing.T) {
			is := is.New(t)
			is.Equal(clientCharges(t, c.a)[0].Key == clientCharges(t, c.b)[0].Key, c.same)
		})
	}
}

// An IPv6 client is in three networks, each with a limit of its own. Its priority is that of the
// widest.
func TestNetworksAreNested(t *testing.T) {
	is := is.New(t)
	is.Equal(len(clientCharges(t, "192.0.2.1")), 2)
	is.Equal(len(clientCharges(t, "64:ff9b::192.0.2.1")), 2)
	a := clientCharges(t, "2001:db8::1")
	is.Equal(len(a), 4)
	for i, want := range []recovery.Limit{
		{Burst: 20, Every: 30 * time.Second}, {Burst: 80, Every: 7500 * time.Millisecond}, {Burst: 320, Every: 1875 * time.Millisecond},
		{Burst: 100, Every: 5 * time.Minute},
	} {
		is.Equal(a[i].Limit, want)
	}
	for addr, same := range map[string][]bool{
		"2001:db8::2":         {true, true, true},
		"2001:db8:0:ff::1":    {false, true, true},
		"2001:db8:0:100::1":   {false, false, true},
		"2001:db8:0:ffff::1":  {false, false, true},
		"2001:db8:1::1":       {false, false, false},
		"2001:db8:0:0:ffff::": {true, true, true},
	} {
		b := clientCharges(t, addr)
		for i := range b {
			is.Equal(a[i].Key == b[i].Key, same[min(i, 2)])
		}
	}
}

// Whoever has many /64s is not many clients.
func TestManyNetworksOfOneCustomer(t *testing.T) {
	for form, most := range map[string]int{"2001:db8:0:%x::1": 4, "2001:db8:0:%x00::1": 16, "2001:db8:%x::1": 100} {
		t.Run(form, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, &recovery.Options{Limits: recovery.Limits{PerClient: recovery.Limit{Burst: 1, Every: time.Hour}}})
			passed := 0
			for i := range 100 {
				err := errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: netip.MustParseAddr(fmt.Sprintf(form, i))}))
				if err == nil {
					passed++
				} else {
					is.True(errors.Is(err, recovery.ErrLimited))
				}
			}
			is.Equal(passed, most)
		})
	}
}

// All calls without an address are one client, and the log says so once.
func TestCallsWithoutAnAddressAreOneClient(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{PerClient: recovery.Limit{Burst: 2, Every: time.Hour}}})
	ask := func() error { return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice"})) }
	w.ask("alice")
	is.Equal(w.log.String(), "")
	is.NoErr(ask())
	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com"})))
	is.True(errors.Is(ask(), recovery.ErrLimited))
	w.ask("alice") // who has an address is another
	is.Equal(errOf(w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: tokenText, Password: goodPassword})), recovery.ErrInvalidToken)
	is.Equal(strings.Count(w.log.String(), "without the address of its client"), 1)
	is.True(strings.Contains(w.log.String(), "Options.ClientAddr"))

	w = newWorld(t, nil) // without limits an address is of no use, and its absence not worth a line
	is.NoErr(ask())
	is.Equal(w.log.String(), "")
}

func TestClientIsStoredNormalised(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: netip.MustParseAddr("::ffff:192.0.2.1")})))
	is.Equal(w.deliver()[0].Client, netip.MustParseAddr("192.0.2.1"))
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: netip.MustParseAddr("fe80::1%eth0")})))
	is.Equal(w.deliver()[0].Client, netip.MustParseAddr("fe80::1"))
}
