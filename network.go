package recovery

import "net/netip"

// A network counts as one client, with so many times a client's limit.
type network struct {
	name  string
	times int
}

type networks []network

// clientNetworks returns the nested networks of a client. An IPv6 customer gets at least a /64,
// often a /56 or a /48 (RFC 6177), so many /64s may be one customer. The zero Addr, an unknown
// client, counts as one client.
func clientNetworks(a netip.Addr) networks {
	a = embeddedIPv4(a)
	if !a.Is6() {
		return networks{{a.String(), 1}}
	}
	nested := networks{{"", 1}, {"", 4}, {"", 16}}
	for i, bits := range []int{64, 56, 48} {
		p, _ := a.Prefix(bits)
		nested[i].name = p.String()
	}
	return nested
}

// requesterNetwork returns the widest of them, which counts as one client when mails are counted.
func requesterNetwork(a netip.Addr) string {
	n := clientNetworks(a)
	return n[len(n)-1].name
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixTo4 = netip.MustParsePrefix("2002::/16")    // RFC 3056
	teredo = netip.MustParsePrefix("2001::/32")    // RFC 4380
)

// embeddedIPv4 returns the IPv4 address inside an IPv6 address that has one: many customers of many
// networks share the prefixes of NAT64, 6to4 and Teredo.
func embeddedIPv4(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	b := a.As16()
	switch {
	case !a.Is6():
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixTo4.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	case teredo.Contains(a): // obfuscated by inversion, RFC 4380 section 4
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
	}
	return a
}
