package cookbook_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"

	"github.com/go-chi/chi/v5"

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
	clientAddr := httpadapter.TrustedProxies("X-Forwarded-For", netip.MustParsePrefix("10.0.0.0/8"))
	pages, err := portal.New(svc, &portal.Options{ClientAddr: clientAddr})
	if err != nil {
		log.Fatal(err)
	}
	api, err := httpadapter.NewJSON(svc, &httpadapter.Options{ClientAddr: clientAddr})
	if err != nil {
		log.Fatal(err)
	}
	router := chi.NewRouter()
	router.Route("/api/v1", func(r chi.Router) { r.Mount("/recovery", api) })
	router.Mount("/recover/", pages)
	router.Handle("/recover", http.RedirectHandler("/recover/", http.StatusSeeOther))

	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/api/v1/recovery/usernames", strings.NewReader(`{"email":"alice@example.com"}`))
	r.Header.Set("Content-Type", "application/json")
	router.ServeHTTP(w, r)
	fmt.Println(w.Code)
	w = httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest("GET", "/recover/password", nil))
	fmt.Println(w.Code)
	w = httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest("GET", "/recover", nil))
	fmt.Println(w.Code, w.Header().Get("Location"))
	// Output:
	// 202
	// 200
	// 303 /recover/
}
