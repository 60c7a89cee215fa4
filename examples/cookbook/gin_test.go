package cookbook_test

import (
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/gin-gonic/gin"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/httpadapter/portal"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// The API and the pages on a gin engine, behind a proxy of 10.0.0.0/8.
func Example_gin() {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Application: "Acme",
		Portals:     map[string]recovery.Portal{"": {URL: "https://acme.example/recover/reset"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	pages, err := portal.New(svc, nil)
	if err != nil {
		log.Fatal(err)
	}
	api, err := httpadapter.NewJSON(svc, nil)
	if err != nil {
		log.Fatal(err)
	}
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	if err := router.SetTrustedProxies([]string{"10.0.0.0/8"}); err != nil {
		log.Fatal(err)
	}
	// gin finds the client; the handlers take it from RemoteAddr, and count limits by it.
	group := router.Group("/", func(c *gin.Context) { c.Request.RemoteAddr = c.ClientIP() })
	group.Any("/api/v1/recovery/*call", gin.WrapH(api))
	group.Any("/recover/*page", gin.WrapH(pages))

	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/api/v1/recovery/usernames", strings.NewReader(`{"email":"alice@example.com"}`))
	r.Header.Set("Content-Type", "application/json")
	router.ServeHTTP(w, r)
	fmt.Println(w.Code)
	w = httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest("GET", "/recover/password", nil))
	fmt.Println(w.Code)
	// Output:
	// 202
	// 200
}
