package exchange

import (
	"net/http"
	"net/netip"
	"strings"
)

// RemoteAddr returns the address in r.RemoteAddr, with or without a port: net/http writes
// "192.0.2.7:1234", and middleware that reads a proxy's header may leave "192.0.2.7" or
// "2001:db8::1" there. It returns the zero Addr for what is no address, such as the "@" of a Unix
// socket.
func RemoteAddr(r *http.Request) netip.Addr { return ParseAddr(r.RemoteAddr) }

// ParseAddr reads an address with or without a port. Brackets around it are optional if there is no
// port. The result is the zero Addr for anything else.
func ParseAddr(s string) netip.Addr {
	s = strings.TrimSpace(s)
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr()
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		s = strings.TrimSuffix(inner, "]")
	}
	a, _ := netip.ParseAddr(s) // the zero Addr if it is none
	return a
}
