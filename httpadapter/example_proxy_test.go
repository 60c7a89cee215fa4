package httpadapter_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// behind returns a ClientAddr for a server behind the given proxies. Each of them adds the address
// that called it at the end of X-Forwarded-For. What stands before that is the client's to write,
// and is not looked at.
func behind(proxies ...netip.Prefix) func(*http.Request) netip.Addr {
	return func(r *http.Request) netip.Addr {
		peer, _ := netip.ParseAddrPort(r.RemoteAddr)
		client := peer.Addr().Unmap()
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for _, hop := range slices.Backward(hops) {
			isProxy := slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(client) })
			before, err := netip.ParseAddr(strings.TrimSpace(hop))
			if !isProxy || err != nil {
				break
			}
			client = before.Unmap()
		}
		return client
	}
}

// Behind a load balancer, a reverse proxy or a CDN, limits must be counted by the address of the
// client. Without ClientAddr all clients of a proxy count as one.
func ExampleOptions_clientAddr() {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	clientAddr := behind(netip.MustParsePrefix("10.0.0.0/8"))
	mux := http.NewServeMux()
	mux.Handle("/account-recovery", httpadapter.NewXandr(svc, &httpadapter.Options{ClientAddr: clientAddr}))

	r := httptest.NewRequest("POST", "/account-recovery", nil)
	r.RemoteAddr = "10.0.0.7:40000" // the proxy
	r.Header.Set("X-Forwarded-For", "198.51.100.1, 192.0.2.10")
	fmt.Println(clientAddr(r)) // the client made up the first one

	r.RemoteAddr = "192.0.2.66:40000" // not through the proxy
	fmt.Println(clientAddr(r))
	// Output:
	// 192.0.2.10
	// 192.0.2.66
}
