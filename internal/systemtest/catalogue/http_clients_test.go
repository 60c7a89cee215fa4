package catalogue

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"example.com/recovery"
)

const clientBurst = 3 // requests and completions of one client

func fewPerClient(s *site, o *recovery.Options) {
	generous(s, o)
	o.Limits.PerClient = recovery.Limit{Burst: clientBurst, Every: time.Hour}
	o.Limits.CompletePerClient = o.Limits.PerClient
}

// passing makes n calls, each as the client that as sets, and returns how many were not over the
// limit.
func (s *site) passing(n int, as func(i int), call func() answer) (passed int) {
	s.is.Helper()
	for i := range n {
		as(i)
		switch got := call(); got.outcome {
		case accepted, badToken:
			passed++
		case limited:
		default:
			s.t.Errorf("call %d: %s", i+1, got.outcome)
		}
	}
	return passed
}

// calls are a request and a completion of an entry. Both come to nothing.
func (e *entry) calls() map[string]func() answer {
	return map[string]func() answer{
		"request":    func() answer { return e.byName("nobodyxx") },
		"completion": func() answer { return e.complete(noToken, newPassword) },
	}
}

// httpApart is apart for a row about HTTP requests.
func httpApart(k kind, e *entry) bool {
	return e.send != nil && (k.name == "memstore" || e.name == "Xandr")
}

// Middleware may leave an address without a port in RemoteAddr, or no address at all. That makes
// nobody unlimited.
func TestAttack_S79_RemoteAddrOfMiddleware(t *testing.T) {
	onEntries(t, httpApart, fewPerClient, func(s *site, e *entry) {
		as := func(remotes ...string) func(int) {
			return func(i int) { s.remote = &remotes[i%len(remotes)] }
		}
		for name, call := range e.calls() {
			for _, c := range []struct {
				what    string
				remotes []string
			}{
				{"IPv4 without a port", []string{"203.0.113.7"}},
				{"with and without", []string{"203.0.113.8", "203.0.113.8:99", " 203.0.113.8 ", "[::ffff:203.0.113.8]:99", "::ffff:203.0.113.8"}},
				{"IPv6", []string{"2001:db8:7::7", "[2001:db8:7::7]", "[2001:db8:7::8]:99", "2001:db8:7::9%eth0"}},
				{"what cannot be read", []string{"unknown", "@", "", "/run/app.sock", "203.0.113.9, 203.0.113.10", "203.0.113", "localhost:99", "_hidden", "999.1.1.1:99", "[::1]]", "::1::2", "\x00"}},
			} {
				if got := s.passing(20*len(c.remotes), as(c.remotes...), call); got != clientBurst {
					s.t.Errorf("%s, %s: %d passed", name, c.what, got)
				}
			}
			s.is.Equal(s.passing(20, func(i int) { as(fmt.Sprintf("203.0.113.%d", 100+i))(0) }, call), 20) // distinguishable clients do pass
		}
		s.is.Equal(strings.Count(s.log.String(), "without the address"), 1) // told once
		s.remote = nil
		s.sound()
	})
}

// The same for an application's own function that finds no address in its header.
func TestAttack_S79_HeaderThatCannotBeRead(t *testing.T) {
	with := func(s *site, o *recovery.Options) {
		fewPerClient(s, o)
		s.addr = func(r *http.Request) netip.Addr {
			a, _ := netip.ParseAddr(r.Header.Get("Client-Address"))
			return a
		}
	}
	onEntries(t, httpApart, with, func(s *site, e *entry) {
		path, media, body := s.forms(e.name)
		values := []string{"", "unknown", "203.0.113.1:99", "203.0.113.1, 203.0.113.2", "\"203.0.113.1\"", "0x7f.1", "fe80::1%", strings.Repeat("1", 1000)}
		passed := s.passing(20*len(values), func(i int) { s.client = elsewhere(i) }, func() answer {
			value := values[s.attacks.Load()%int64(len(values))]
			return s.do("POST", path, body, "Content-Type: "+media, "Sec-Fetch-Site: same-origin", "Client-Address: "+value)
		})
		s.is.Equal(passed, clientBurst)
		s.is.Equal(strings.Count(s.log.String(), "without the address"), 1)
		got := s.do("POST", path, body, "Content-Type: "+media, "Sec-Fetch-Site: same-origin", "Client-Address: 203.0.113.1")
		s.is.Equal(got.outcome, accepted)
		s.deliver()
		s.sound()
	})
}

// elsewhere returns clients in unrelated networks.
func elsewhere(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
}

// An attacker with many nested networks does not count as many clients; many people behind one
// translator do.
func TestAttack_S90_NestedAndTranslatedNetworks(t *testing.T) {
	onEntries(t, apart, fewPerClient, func(s *site, e *entry) {
		for name, call := range e.calls() {
			for _, c := range []struct {
				what string
				n    int
				addr func(i int) string
				want int
			}{
				{"a /64", 20, func(i int) string { return fmt.Sprintf("2001:db8:640:1::%x:%x", i, i) }, clientBurst},
				{"a /56", 40, func(i int) string { return fmt.Sprintf("2001:db8:560:%x::1", 0x100+i) }, 4 * clientBurst},
				{"a /48", 80, func(i int) string { return fmt.Sprintf("2001:db8:480:%x::1", i<<8) }, 16 * clientBurst},
				{"the /64s of a /48 in turn", 80, func(i int) string { return fmt.Sprintf("2001:db8:481:%x::1", i*0x101) }, 16 * clientBurst},
				{"two /48s", 20, func(i int) string { return fmt.Sprintf("2001:db8:%x::1", 0x482+i%2) }, 2 * clientBurst},
				{"6to4 of one host", 20, func(i int) string { return fmt.Sprintf("2002:c000:201:%x::1", i) }, clientBurst},
				{"one host in every way", 20, func(i int) string {
					return []string{"192.0.2.9", "::ffff:192.0.2.9", "64:ff9b::192.0.2.9", "2002:c000:209:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdf6"}[i%5]
				}, clientBurst},
				{"people behind NAT64", 40, func(i int) string { return fmt.Sprintf("64:ff9b::100.64.0.%d", i) }, 40},
				{"people with 6to4", 40, func(i int) string { return fmt.Sprintf("2002:6440:1%02x::1", i) }, 40},
				{"people behind one Teredo server", 40, func(i int) string { return fmt.Sprintf("2001:0:4136:e378:8000:63bf:9bbf:fd%02x", i) }, 40},
			} {
				as := func(i int) { s.client = netip.MustParseAddr(c.addr(i)) }
				if got := s.passing(c.n, as, call); got != c.want {
					s.t.Errorf("%s, %s: %d of %d passed, not %d", name, c.what, got, c.n, c.want)
				}
			}
		}
		s.sound()
	})
}

// One network does not use up the global limit.
func TestAttack_S90_OneNetworkAndTheOthers(t *testing.T) {
	with := func(s *site, o *recovery.Options) {
		fewPerClient(s, o)
		o.Limits.Global = recovery.Limit{Burst: 16*clientBurst + 20, Every: time.Hour}
	}
	onEntries(t, apart, with, func(s *site, e *entry) {
		request := e.calls()["request"]
		greedy := func(i int) { s.client = netip.MustParseAddr(fmt.Sprintf("2001:db8:48:%x::1", i<<8)) }
		s.is.Equal(s.passing(100, greedy, request), 16*clientBurst)
		s.is.Equal(s.passing(20, func(i int) { s.client = elsewhere(i) }, request), 20)     // everybody else
		s.is.Equal(s.passing(20, func(i int) { s.client = elsewhere(20 + i) }, request), 0) // the limit of all holds
		s.sound()
	})
}
