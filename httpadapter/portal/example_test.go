package portal_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"example.com/recovery"
	"example.com/recovery/httpadapter/portal"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

func Example() {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Application: "Acme",
		Portals:     map[string]recovery.Portal{"web": {URL: "https://acme.example/recover/reset"}},
	})
	if err != nil {
		panic(err)
	}
	pages, err := portal.New(svc, &portal.Options{Portal: "web", LogInURL: "/login", SupportURL: "mailto:help@acme.example"})
	if err != nil {
		panic(err)
	}
	changePassword, err := portal.ChangePassword("/recover/")
	if err != nil {
		panic(err)
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
