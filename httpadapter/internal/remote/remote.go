// Package remote reads the address of the client that sent a request.
package remote

import (
	"net/http"
	"net/netip"
	"strings"
)

// Addr returns the address in r.RemoteAddr, with or without a port: net/http writes
// "192.0.2.7:1234", and middleware that reads a proxy's header may leave "192.0.2.7" or
// "2001:db8::1" there. It returns the zero Addr for what is no address, such as the "@" of a Unix
// socket.
func Addr(r *http.Request) netip.Addr {
	s := strings.TrimSpace(r.RemoteAddr)
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr()
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		s = strings.TrimSuffix(inner, "]")
	}
	a, _ := netip.ParseAddr(s) // the zero Addr if it is none
	return a
}
