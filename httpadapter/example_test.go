package httpadapter_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// All formats beside each other, and one of them below a prefix, too.
func Example() {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	xandr, err := httpadapter.NewXandr(svc, nil)
	if err != nil {
		log.Fatal(err)
	}
	rackspace, err := httpadapter.NewRackspace(svc, nil)
	if err != nil {
		log.Fatal(err)
	}
	json, err := httpadapter.NewJSON(svc, nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/account-recovery", xandr)
	mux.Handle("/api/v1/account-recovery", xandr)
	mux.Handle("/v2.0/users/RAX-AUTH/", rackspace)
	mux.Handle("/api/recovery/", json)

	for _, call := range []struct{ path, body string }{
		{"/account-recovery", `{"account-recovery":{"username":"alice"}}`},
		{"/api/v1/account-recovery", `{"account-recovery":{"email":"alice@example.com"}}`},
		{"/api/recovery/completions", `{"token":"abc","password":"Correct-h0rse-7"}`},
		{"/v2.0/users/RAX-AUTH/forgot-pwd", `{"RAX-AUTH:forgotPasswordCredentials":{"username":"alice"}}`},
	} {
		r := httptest.NewRequest("POST", call.path, strings.NewReader(call.body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 {"response":{"status":"OK","dbg_info":{"version":"1","warnings":[],"time":0,"output_term":"account-recovery"}}}
	// 200 {"response":{"status":"OK","dbg_info":{"version":"1","warnings":[],"time":0,"output_term":"account-recovery"}}}
	// 410 {"type":"https://example.com/recovery/problems/token","title":"The token cannot be used","status":410,"detail":"the token cannot be used: it is wrong, used, expired, replaced by a newer one, or another user's"}
	// 204
}

// Each host is a tenant. A host that is none of them finds nobody, and is answered as any other.
func ExampleOptions_tenant() {
	ctx := context.Background()
	users := memstore.New()
	for id, tenant := range map[string]string{"1": "acme", "2": "globex"} {
		users.Put(recovery.Account{
			ID: id, Tenant: tenant, Username: "alice", Email: "alice@" + tenant + ".example",
			Active: true, HasPassword: true, EmailVerified: true,
		}, "hash")
	}
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, nil)
	if err != nil {
		log.Fatal(err)
	}
	tenants := map[string]string{"acme.example.com": "acme", "globex.example.com": "globex"}
	handler, err := httpadapter.NewXandr(svc, &httpadapter.Options{
		Tenant: func(r *http.Request) string { return tenants[r.Host] },
	})
	if err != nil {
		log.Fatal(err)
	}

	for _, host := range []string{"globex.example.com", "other.example.com"} {
		body := strings.NewReader(`{"account-recovery":{"username":"alice"}}`)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("POST", "http://"+host+"/account-recovery", body))
		fmt.Println(w.Code)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	for _, mail := range mails.Messages() {
		fmt.Println(mail.To)
	}
	// Output:
	// 200
	// 200
	// alice@globex.example
}
