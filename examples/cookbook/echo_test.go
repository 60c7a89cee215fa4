package cookbook_test

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"

	"github.com/labstack/echo/v5"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/httpadapter/portal"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// The API and the pages on Echo, behind a proxy at 10.0.0.7.
func Example_echo() {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Application: "Acme",
		Portals:     map[string]recovery.Portal{"": {URL: "https://acme.example/recover/reset"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	// Echo finds the client; limits are counted by it.
	proxy := &net.IPNet{IP: net.IPv4(10, 0, 0, 7).To4(), Mask: net.CIDRMask(32, 32)}
	clientIP := echo.ExtractIPFromXFFHeader(echo.TrustIPRange(proxy), echo.TrustLoopback(false),
		echo.TrustLinkLocal(false), echo.TrustPrivateNet(false))
	clientAddr := func(r *http.Request) netip.Addr {
		addr, _ := netip.ParseAddr(clientIP(r))
		return addr
	}
	pages, err := portal.New(svc, &portal.Options{ClientAddr: clientAddr})
	if err != nil {
		log.Fatal(err)
	}
	api, err := httpadapter.NewJSON(svc, &httpadapter.Options{ClientAddr: clientAddr})
	if err != nil {
		log.Fatal(err)
	}
	e := echo.New()
	e.Group("/api/v1").Any("/recovery/*", echo.WrapHandler(api))
	e.Any("/recover/*", echo.WrapHandler(pages))

	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/api/v1/recovery/usernames", strings.NewReader(`{"email":"alice@example.com"}`))
	r.Header.Set("Content-Type", "application/json")
	e.ServeHTTP(w, r)
	fmt.Println(w.Code)
	w = httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest("GET", "/recover/password", nil))
	fmt.Println(w.Code)
	// Output:
	// 202
	// 200
}
