package httpadapter

import (
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"example.com/recovery/httpadapter/internal/exchange"
)

// TrustedProxies returns an Options.ClientAddr for a server behind proxies with these addresses. It
// reads the header that they set: "X-Forwarded-For", "Forwarded" (RFC 7239), "X-Real-IP" or another
// one with addresses. Name only one that each of your proxies sets or extends: what a proxy does
// not touch is the client's own invention.
//
//	proxies := netip.MustParsePrefix("10.0.0.0/8")
//	httpadapter.Options{ClientAddr: httpadapter.TrustedProxies("X-Forwarded-For", proxies)}
//
// The header is read from its end, where the nearest proxy wrote. Addresses of proxies are passed
// over, and the first other one is the client's. A request that comes from no proxy has the address
// that it comes from, and its header is not read. A peer without an address, as on a Unix socket,
// counts as a proxy.
//
// The result is the zero Addr if the header is missing, if an entry is no address before the client
// is found, or if all are proxies. Such requests count as one client, and the Service logs that
// once. TrustedProxies panics if the header has no name.
func TrustedProxies(header string, proxies ...netip.Prefix) func(*http.Request) netip.Addr {
	if header == "" {
		panic("httpadapter: TrustedProxies needs the name of a header")
	}
	header = http.CanonicalHeaderKey(header)
	entries := addressList
	if header == "Forwarded" {
		entries = forwardedList
	}
	isProxy := func(a netip.Addr) bool {
		a = a.Unmap().WithZone("")
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return func(r *http.Request) netip.Addr {
		if peer := exchange.RemoteAddr(r); peer.IsValid() && !isProxy(peer) {
			return peer
		}
		for _, entry := range slices.Backward(entries(strings.Join(r.Header[header], ","))) {
			if a := exchange.ParseAddr(entry); !isProxy(a) {
				return a
			}
		}
		return netip.Addr{}
	}
}

func addressList(value string) []string { return strings.Split(value, ",") }

// forwardedPair is a name and a value of RFC 7239 section 4, and what follows. Values with colons
// should have quotes, and often have none.
var forwardedPair = regexp.MustCompile(`^[ \t]*([^"=,; \t]+)=("(?:[^"\\]|\\.)*"|[^",; \t]+)[ \t]*([,;]|$)`)

// forwardedList returns the "for" of each element, or "". It is nil if any part is malformed: a
// client could hide the element of a proxy behind an open quote.
func forwardedList(value string) (list []string) {
	node, end := "", ","
	for value != "" {
		m := forwardedPair.FindStringSubmatch(value)
		if m == nil {
			return nil
		}
		value, end = value[len(m[0]):], m[3]
		if strings.EqualFold(m[1], "for") {
			node = strings.Trim(m[2], `"`)
		}
		if end != ";" {
			list = append(list, node)
			node = ""
		}
	}
	if end == ";" {
		return nil
	}
	return list
}
