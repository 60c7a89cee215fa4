package mailertest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// forgot is the application's own handler, which is under test here.
func forgot(svc *recovery.Service) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		peer, _ := netip.ParseAddrPort(r.RemoteAddr)
		if _, err := svc.RequestReset(r.Context(), recovery.ResetRequest{
			Email: r.FormValue("email"), Client: peer.Addr(),
		}); err != nil {
			http.Error(w, "Something is wrong with the form.", http.StatusUnprocessableEntity)
			return
		}
		fmt.Fprint(w, "If there is such an account, a mail is on its way.")
	}
}

// A test of your own handler: accounts in memory, and a Recorder instead of the mail system.
func Example() {
	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, "hash")
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, nil)
	if err != nil {
		log.Fatal(err)
	}

	for _, email := range []string{"alice@example.com", "nobody@example.com"} {
		r := httptest.NewRequest("POST", "/forgot", strings.NewReader(url.Values{"email": {email}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		forgot(svc).ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	if _, err := svc.Deliver(context.Background()); err != nil { // the mails are sent by the worker
		log.Fatal(err)
	}
	for _, m := range mails.Messages() {
		fmt.Println(m.Kind, m.To, m.Resets[0].Token.Reveal() != "")
	}
	// Output:
	// 200 If there is such an account, a mail is on its way.
	// 200 If there is such an account, a mail is on its way.
	// reset_token alice@example.com true
}

// A mail system that is down. The worker tries again, with a new token.
func ExampleRecorder_Fail() {
	var mails mailertest.Recorder
	mails.Fail(func(recovery.Message) error { return errors.New("connection refused") })
	err := mails.Send(context.Background(), recovery.Message{Kind: recovery.MessageUsernames, To: "alice@example.com"})
	fmt.Println(err, len(mails.Messages()))
	// Output: connection refused 0
}
