package main

import (
	"html/template"
	"log/slog"
	"net/http"
	"strings"

	"example.com/recovery"
	"example.com/recovery/httpadapter/portal"
)

// addPages adds what people look at: the recovery pages, a log-in and the start page.
func addPages(mux *http.ServeMux, svc *recovery.Service, login *login, guide string, mailbox bool, logger *slog.Logger) error {
	pages, err := portal.New(svc, &portal.Options{Portal: portalName, LogInURL: "/login", Logger: logger})
	if err != nil {
		return err
	}
	changePassword, err := portal.ChangePassword("/recover/")
	if err != nil {
		return err
	}
	mux.Handle("/recover/", pages)
	mux.Handle("/.well-known/change-password", changePassword)
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, _ *http.Request) { show(w, http.StatusOK, loginPage, loginForm{}) })
	mux.Handle("POST /login/form", http.NewCrossOriginProtection().Handler(http.HandlerFunc(login.serveForm)))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if !strings.Contains(r.Header.Get("Accept"), "text/html") {
			text(guide)(w, r)
			return
		}
		_, commands, _ := strings.Cut(guide, "Reset a password:")
		show(w, http.StatusOK, startPage, startData{Commands: "Reset a password:" + commands, Mailbox: mailbox})
	})
	return nil
}

type startData struct {
	Commands string
	Mailbox  bool // mails are shown instead of sent
}

type loginForm struct {
	Username string
	Wrong    bool
	Done     bool
}

// serveForm is [login.ServeHTTP] for the page's form. A real log-in would start a session here.
func (l *login) serveForm(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	f := loginForm{Username: r.PostFormValue("username")}
	if !l.valid(r, f.Username, r.PostFormValue("password")) {
		f.Wrong = true
		show(w, http.StatusUnauthorized, loginPage, f)
		return
	}
	f.Done = true
	show(w, http.StatusOK, loginPage, f)
}

func show(w http.ResponseWriter, status int, page *template.Template, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = page.Execute(w, data) // the client may be gone
}

const pageHead = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
body { font: 1rem/1.5 system-ui, sans-serif; background: Canvas; color: CanvasText; max-width: 42rem; margin: 2rem auto; padding: 0 1rem }
label { display: block; margin-top: 1rem }
input, button { font: inherit; padding: .5rem .75rem }
input { width: 100%; max-width: 24rem; box-sizing: border-box }
button { margin: 1rem 0 }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
</style>
`

var loginPage = template.Must(template.New("login").Parse(pageHead + `<title>Log in – Recovery Example</title>
<main>
{{if .Done}}<h1>Welcome, {{.Username}}</h1>
<p>You are logged in, as far as an example without sessions can say.</p>
<p><a href="/login">Log out</a></p>
{{else}}<h1>Log in</h1>
{{if .Wrong}}<p role="alert"><b>User name or password is wrong.</b></p>{{end}}
<form method="post" action="/login/form">
<label for="username">Username</label>
<input id="username" name="username" value="{{.Username}}" autocomplete="username" autocapitalize="none" spellcheck="false" required>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<div><button>Log in</button></div>
</form>
<p><a href="/recover/">Forgot your password or username?</a></p>
{{end}}<p><a href="/">Start</a></p>
</main>`))

var startPage = template.Must(template.New("start").Parse(pageHead + `<title>Recovery Example</title>
<main>
<h1>Account recovery, to try out</h1>
<p>There are alice and alicia on alice@example.com, billybob on billybob@example.com, and mallory, who is disabled.
Everybody’s password is <code>Old-passw0rd-1</code> until it is reset.</p>
<ul>
<li><a href="/login">Log in</a></li>
<li><a href="/recover/">Trouble logging in?</a> The recovery pages; <a href="/recover/password">forgot the password</a>,
<a href="/recover/username">forgot the username</a>, <a href="/recover/reset">have a link or token</a></li>
{{if .Mailbox}}<li><a href="/mailbox">Mailbox</a>: the mails, which are shown instead of sent; <a href="/mailbox.json">the same as JSON</a></li>
{{end}}<li><a href="/.well-known/change-password">/.well-known/change-password</a>: where password managers look</li>
<li><a href="/api/recovery/openapi.yaml">The calls for a front end of one’s own</a>, and <a href="/api/recovery/policy">the rules for passwords</a></li>
<li><a href="/healthz">/healthz</a>, <a href="/readyz">/readyz</a></li>
</ul>
<h2>From a terminal</h2>
<pre>{{.Commands}}</pre>
</main>`))
