package portal_test

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/httpadapter/portal"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// resetScript takes the token out of the link, as no server sees that part of a URL.
const resetScript = `
const token = /^#token=(.+)$/.exec(location.hash)?.[1];
if (token) {
	document.querySelector("[name=token]").value = token;
	history.replaceState(null, "", location.pathname);
}`

var resetPage = template.Must(template.New("").Parse(`<!doctype html>
<title>Choose a new password</title>
<form method="post">
<p>{{.Problem}}</p>
<p><label>Token or link <input name="token" value="{{.Token}}" autocomplete="off"></label></p>
<p><label>New password <input name="password" type="password" autocomplete="new-password"></label></p>
{{with .Challenge}}<p><label>{{.}} <input name="factor" autocomplete="one-time-code"></label></p>{{end}}
<p><button>Save</button></p>
</form>
<script src="/static/reset.js"></script>
`))

// A page of your own in the place of "reset", with a field for the second factor that
// Options.Approve asks for. The other pages stay the portal's.
func Example_secondFactor() {
	ctx := context.Background()
	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, "hash")
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, &recovery.Options{
		Portals: map[string]recovery.Portal{"": {URL: "https://acme.example/recover/reset"}},
		Approve: func(_ context.Context, _ recovery.Account, r recovery.CompleteRequest) error {
			if r.Factor == "123456" { // ask your own second factor here
				return nil
			}
			return &recovery.ChallengeError{Name: "totp", Text: "Code of your authenticator app"}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	pages, err := portal.New(svc, nil)
	if err != nil {
		log.Fatal(err)
	}
	clientAddr := httpadapter.TrustedProxies("X-Forwarded-For") // with the addresses of your proxies
	reset := func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
		var page struct{ Problem, Token, Challenge string }
		if r.Method == http.MethodPost {
			_, err := svc.CompleteReset(r.Context(), recovery.CompleteRequest{
				Token: r.PostFormValue("token"), Password: r.PostFormValue("password"), Factor: r.PostFormValue("factor"), Client: clientAddr(r),
			})
			challenge, challenged := errors.AsType[*recovery.ChallengeError](err)
			switch {
			case err == nil:
				http.Redirect(w, r, "done", http.StatusSeeOther)
				return
			case challenged:
				page.Token, page.Challenge = r.PostFormValue("token"), challenge.Text
			default: // the Example "errors" of CompleteReset tells them apart
				page.Problem = "The password was not changed. Ask for a new link."
			}
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "strict-origin")
		if err := resetPage.Execute(w, page); err != nil {
			log.Print(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /static/reset.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, resetScript)
	})
	mux.Handle("/recover/", pages)
	mux.Handle("/recover/reset", http.NewCrossOriginProtection().Handler(http.HandlerFunc(reset)))

	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice"}); err != nil {
		log.Fatal(err)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	mail, _ := mails.Last()
	form := url.Values{"token": {mail.Resets[0].Link}, "password": {"Correct-h0rse-7"}}
	for _, factor := range []string{"", "123456"} {
		form.Set("factor", factor)
		r := httptest.NewRequest("POST", "/recover/reset", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Printf("%d %q %t\n", w.Code, w.Header().Get("Location"), strings.Contains(w.Body.String(), "Code of your authenticator app"))
	}
	// Output:
	// 200 "" true
	// 303 "/recover/done" false
}
