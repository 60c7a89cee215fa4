package httpadapter_test

import (
	"fmt"
	"net/http/httptest"
	"net/netip"

	"example.com/recovery/httpadapter"
)

// Behind a load balancer, a reverse proxy or a CDN, limits must be counted by the address of the
// client. Without ClientAddr all clients of a proxy count as one.
func ExampleTrustedProxies() {
	opts := httpadapter.Options{
		ClientAddr: httpadapter.TrustedProxies("X-Forwarded-For", netip.MustParsePrefix("10.0.0.0/8")),
	}

	r := httptest.NewRequest("POST", "/account-recovery", nil)
	r.RemoteAddr = "10.0.0.7:40000" // the proxy
	r.Header.Set("X-Forwarded-For", "198.51.100.1, 192.0.2.10")
	fmt.Println(opts.ClientAddr(r)) // the client made up the first one

	r.RemoteAddr = "192.0.2.66:40000" // not through the proxy
	fmt.Println(opts.ClientAddr(r))
	// Output:
	// 192.0.2.10
	// 192.0.2.66
}
