package cookbook_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/httpadapter/portal"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// The API and the pages on a chi router, behind a proxy of 10.0.0.0/8.
func Example_chi() {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Application: "Acme",
		Portals:     map[string]recovery.Portal{"": {URL: "https://acme.example/recover/reset"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	// chi's middleware finds the client; limits are counted by it. It finds none for a call that
	// did not come through the proxy.
	clientAddr := func(r *http.Request) netip.Addr {
		if client := middleware.GetClientIPAddr(r.Context()); client.IsValid() {
			return client
		}
		peer, _ := netip.ParseAddrPort(r.RemoteAddr)
		return peer.Addr()
	}
	pages, err := portal.New(svc, &portal.Options{ClientAddr: clientAddr})
	if err != nil {
		log.Fatal(err)
	}
	router := chi.NewRouter()
	router.Use(middleware.ClientIPFromXFF("10.0.0.0/8"))
	router.Handle("/account-recovery", httpadapter.NewXandr(svc, &httpadapter.Options{ClientAddr: clientAddr}))
	router.Mount("/recover/", pages)
	router.Handle("/recover", http.RedirectHandler("/recover/", http.StatusSeeOther))

	w := httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest("POST", "/account-recovery", strings.NewReader(`{"account-recovery":{"username":"alice"}}`)))
	fmt.Println(w.Code)
	w = httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest("GET", "/recover/password", nil))
	fmt.Println(w.Code)
	w = httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest("GET", "/recover", nil))
	fmt.Println(w.Code, w.Header().Get("Location"))
	// Output:
	// 200
	// 200
	// 303 /recover/
}
