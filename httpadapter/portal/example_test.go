package portal_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"example.com/recovery"
	"example.com/recovery/httpadapter/portal"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// The pages below a path of the application's mux, and the URL by which password managers find
// them.
func Example() {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Application: "Acme",
		Portals:     map[string]recovery.Portal{"web": {URL: "https://acme.example/recover/reset"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	pages, err := portal.New(svc, &portal.Options{Portal: "web", LogInURL: "/login", SupportURL: "mailto:help@acme.example"})
	if err != nil {
		log.Fatal(err)
	}
	changePassword, err := portal.ChangePassword("/recover/")
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/recover/", pages)
	mux.Handle("/.well-known/change-password", changePassword)

	response := httptest.NewRecorder()
	mux.ServeHTTP(response, httptest.NewRequest("GET", "/recover/", nil))
	_, title, _ := strings.Cut(response.Body.String(), "<title>")
	title, _, _ = strings.Cut(title, "</title>")
	fmt.Println(response.Code, title)
	// Output: 200 Trouble logging in? – Acme
}

// Your own colours, logo and style, and a tenant for each host. The URL of the portal leads to one
// host; the token in the link belongs to one account, of whatever tenant.
func ExampleOptions() {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Portals: map[string]recovery.Portal{"web": {URL: "https://acme.example/recover/reset"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	tenants := map[string]string{"acme.example": "acme", "globex.example": "globex"}
	pages, err := portal.New(svc, &portal.Options{
		Portal: "web", Application: "Acme", LogInURL: "/login", LogoURL: "/static/logo.svg",
		Accent: "#8a1c4a", AccentDark: "#f5a3c7",
		CSS:    "main { border-radius: 0 }",
		Tenant: func(r *http.Request) string { return tenants[r.Host] },
	})
	if err != nil {
		log.Fatal(err) // also for colours that are hard to read
	}
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, httptest.NewRequest("GET", "https://acme.example/recover/portal.css", nil))
	fmt.Println(w.Code, strings.Contains(w.Body.String(), "--accent: #8a1c4a"))
	// Output: 200 true
}
