package httpadapter

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestTrustedProxies(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:f::/48")}
	const nobody = "invalid IP"
	for _, c := range []struct {
		header, peer string
		values       []string
		want         string
	}{
		{"X-Forwarded-For", "10.0.0.1:80", []string{"192.0.2.7"}, "192.0.2.7"},
		{"x-forwarded-for", "10.0.0.1", []string{"192.0.2.7:4711"}, "192.0.2.7"},
		{"X-Forwarded-For", "[::ffff:10.0.0.1]:80", []string{"192.0.2.7"}, "192.0.2.7"},
		{"X-Forwarded-For", "[2001:db8:f::1]:80", []string{"2001:db8::7"}, "2001:db8::7"},
		{"X-Forwarded-For", "@", []string{"192.0.2.7"}, "192.0.2.7"},                              // a Unix socket
		{"X-Forwarded-For", "203.0.113.1:80", []string{"192.0.2.7"}, "203.0.113.1"},               // comes from no proxy
		{"X-Forwarded-For", "10.0.0.1:80", []string{"203.0.113.9, 192.0.2.7"}, "192.0.2.7"},       // the client's invention
		{"X-Forwarded-For", "10.0.0.1:80", []string{"203.0.113.9", "192.0.2.7"}, "192.0.2.7"},     // and on a line of its own
		{"X-Forwarded-For", "10.0.0.1:80", []string{"192.0.2.7,10.1.2.3, 10.2.3.4"}, "192.0.2.7"}, // through three
		{"X-Forwarded-For", "10.0.0.1:80", []string{"192.0.2.7,::ffff:10.1.2.3"}, "192.0.2.7"},    // one as IPv6
		{"X-Forwarded-For", "10.0.0.1:80", []string{"192.0.2.7, unknown"}, nobody},                // and not whoever stands before
		{"X-Forwarded-For", "10.0.0.1:80", []string{"192.0.2.7,"}, nobody},                        // the proxy wrote nothing
		{"X-Forwarded-For", "10.0.0.1:80", []string{"10.1.2.3"}, nobody},                          // only proxies
		{"X-Forwarded-For", "10.0.0.1:80", nil, nobody},                                           // no header
		{"X-Real-IP", "10.0.0.1:80", []string{"192.0.2.7"}, "192.0.2.7"},                          //
		{"X-Real-IP", "10.0.0.1:80", []string{"[2001:db8::7]"}, "2001:db8::7"},                    //
		{"Forwarded", "10.0.0.1:80", []string{"for=192.0.2.7"}, "192.0.2.7"},                      //
		{"forwarded", "10.0.0.1:80", []string{`For="[2001:db8::7]:4711"`}, "2001:db8::7"},         //
		{"Forwarded", "10.0.0.1:80", []string{`for=192.0.2.7:4711`}, "192.0.2.7"},                 // no quotes, as many write it
		{"Forwarded", "10.0.0.1:80", []string{`proto=http; by=10.0.0.1;for="192.0.2.7"`}, "192.0.2.7"},
		{"Forwarded", "10.0.0.1:80", []string{`for=203.0.113.9, for=192.0.2.7 ,for=10.1.2.3`}, "192.0.2.7"},
		{"Forwarded", "10.0.0.1:80", []string{`for=203.0.113.9`, `for=192.0.2.7`}, "192.0.2.7"},
		{"Forwarded", "10.0.0.1:80", []string{`for=192.0.2.7;host="a,for=203.0.113.9;b\",for=203.0.113.9"`}, "192.0.2.7"},
		{"Forwarded", "10.0.0.1:80", []string{`for=192.0.2.7, for=unknown`}, nobody},
		{"Forwarded", "10.0.0.1:80", []string{`for=192.0.2.7, for=_hidden`}, nobody},
		{"Forwarded", "10.0.0.1:80", []string{`for=192.0.2.7, proto=http`}, nobody},
		// Open quotes that would swallow what the proxy adds.
		{"Forwarded", "10.0.0.1:80", []string{`for="`, `for=192.0.2.7`}, nobody},
		{"Forwarded", "10.0.0.1:80", []string{`for=203.0.113.9, x="`, `for=192.0.2.7`}, nobody},
		{"Forwarded", "10.0.0.1:80", []string{`for=203.0.113.9;x="`, `for="192.0.2.7";host="a"`}, nobody},
		{"Forwarded", "10.0.0.1:80", []string{`x="`, `for="192.0.2.7";host=",for=203.0.113.9;x="`}, nobody},
		{"Forwarded", "10.0.0.1:80", []string{`for=203.0.113.9, for=192.0.2.7;`}, nobody},
		{"Forwarded", "10.0.0.1:80", []string{`for`}, nobody},
		{"Forwarded", "10.0.0.1:80", nil, nobody},
	} {
		t.Run(c.header+" "+c.peer+" "+strings.Join(c.values, "|"), func(t *testing.T) {
			is := is.New(t)
			r := &http.Request{RemoteAddr: c.peer, Header: http.Header{
				"X-Forwarded-For": {"198.51.100.1"}, "Forwarded": {"for=198.51.100.1"}, "X-Real-Ip": {"198.51.100.1"}, // only one of them counts
			}}
			r.Header[http.CanonicalHeaderKey(c.header)] = c.values
			is.Equal(TrustedProxies(c.header, proxies...)(r).String(), c.want)
		})
	}
}

func TestTrustedProxiesNeedAHeader(t *testing.T) {
	defer func() { is.New(t).Equal(recover(), "httpadapter: TrustedProxies needs the name of a header") }()
	TrustedProxies("")
}
