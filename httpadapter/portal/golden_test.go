package portal

import (
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/stage"
)

var update = flag.Bool("update", false, "write the golden files")

const changePasswordPath = "/.well-known/change-password"

// A vector is one request and its golden response.
type vector struct {
	name   string
	core   recovery.Options
	opts   Options
	before func(w *world)
	method string
	path   string
	header []string   // names and values in turn
	form   url.Values // TOKEN stands for billybob's token
	body   string     // where there is no form
	full   bool       // whether the golden file has the body, too
	mails  string     // kinds of the mails that must follow, each with its recipient
}

var (
	ja        = []string{"Accept-Language", "ja,en;q=0.5"}
	isForm    = []string{"Content-Type", formType, "Sec-Fetch-Site", "same-origin"}
	storeDown = func(w *world) { w.Fail = func() error { return stage.ErrStore } }
	boom      = func(w *world) { w.Fail = func() error { panic("boom at billybob@example.com") } }
	wellKnown = func(w *world) {
		w.handler = must(w.T)(ChangePassword("/recover/"))
	}
	askOnce = func(w *world) { w.post("/recover/password", byUsername("mallory")) }
	dressed = Options{
		LogInURL: "/login", SupportURL: "mailto:help@example.com", LogoURL: "https://static.example/logo.svg",
		Accent: "#6a1b9a", AccentDark: "#e1bee7", CSS: "h1 { letter-spacing: 0 }\n",
	}
)

var vectors = []vector{
	{name: "start", method: "GET", path: "/recover/", full: true},
	{name: "start, in Japanese", method: "GET", path: "/recover/", header: ja, full: true},
	{name: "start, with everything that the options offer", opts: dressed, method: "GET", path: "/recover/", full: true},
	{name: "ask for a password", method: "GET", path: "/recover/password", full: true},
	{name: "ask for a password, HEAD", method: "HEAD", path: "/recover/password"},
	{name: "password sent", method: "GET", path: "/recover/password-sent", full: true},
	{name: "ask for user names", method: "GET", path: "/recover/username", full: true},
	{name: "user names sent", method: "GET", path: "/recover/username-sent", full: true},
	{name: "choose a password", method: "GET", path: "/recover/reset", full: true},
	{name: "choose a password, in Japanese", method: "GET", path: "/recover/reset", header: ja, full: true},
	{name: "choose a password, NIST's rules", core: recovery.Options{Policy: recovery.NIST80063B()}, method: "GET", path: "/recover/reset", full: true},
	{name: "done", opts: dressed, method: "GET", path: "/recover/done", full: true},
	{name: "style sheet, unversioned", method: "GET", path: "/recover/portal.css"},
	{name: "script, unversioned", method: "GET", path: "/recover/portal.js"},

	{name: "by address", method: "POST", path: "/recover/password", form: byEmail("billybob@example.com"), full: true, mails: "reset_link billybob@example.com"},
	{name: "by user name", method: "POST", path: "/recover/password", form: byUsername("billybob"), full: true, mails: "reset_link billybob@example.com"},
	{name: "by a user name that is another's address", method: "POST", path: "/recover/password", form: byUsername("billybob@example.com"), full: true, mails: "reset_link other@example.com"},
	{name: "user names", method: "POST", path: "/recover/username", form: url.Values{"email": {"alice@example.com"}}, full: true, mails: "usernames alice@example.com"},
	{name: "new password", method: "POST", path: "/recover/reset", form: newPassword("TOKEN", stage.Password), full: true, mails: "password_changed billybob@example.com"},
	{name: "new password, the whole link pasted", method: "POST", path: "/recover/reset",
		form: newPassword(" https://portal.example/recover/reset#token=TOKEN \n", stage.Password), mails: "password_changed billybob@example.com"},

	{name: "no address", method: "POST", path: "/recover/password", form: byEmail("  "), full: true},
	{name: "no user name", method: "POST", path: "/recover/password", form: byUsername("")},
	{name: "not an address", method: "POST", path: "/recover/password", header: ja, form: byEmail(`<b onclick="x">&alice`), full: true},
	{name: "invisible character", method: "POST", path: "/recover/password", form: byUsername("billy\u200bbob"), full: true},
	{name: "no address for user names", method: "POST", path: "/recover/username", form: url.Values{"email": {""}}, full: true},
	{name: "two addresses for user names", method: "POST", path: "/recover/username", form: url.Values{"email": {"alice@example.com,other@example.com"}}},
	{name: "everything wrong", method: "POST", path: "/recover/reset", form: url.Values{"token": {" "}, "password": {"short"}, "repeat": {"other"}}, full: true},
	{name: "bad password", method: "POST", path: "/recover/reset", form: newPassword("TOKEN", "secret"), full: true},
	{name: "bad password, in Japanese", method: "POST", path: "/recover/reset", header: ja, form: newPassword("TOKEN", "Password-1"), full: true},
	{name: "password with the user name", method: "POST", path: "/recover/reset", form: newPassword("TOKEN", "My-Billybob-26!"), full: true},
	{name: "password of too many characters", method: "POST", path: "/recover/reset", form: newPassword(stage.NoToken, stage.Password+strings.Repeat("x", 45))},
	{name: "password of too many bytes", core: recovery.Options{Policy: &recovery.Policy{MaxLength: 1024}}, method: "POST", path: "/recover/reset",
		form: newPassword(stage.NoToken, stage.Password+strings.Repeat("ä", 510)), full: true},
	{name: "unknown token", method: "POST", path: "/recover/reset", form: newPassword(stage.NoToken, stage.Password), full: true},
	{name: "malformed token, in Japanese", method: "POST", path: "/recover/reset", header: ja, form: newPassword("x", stage.Password), full: true},
	{name: "denied by the application", core: stage.Denied, method: "POST", path: "/recover/reset", form: newPassword("TOKEN", stage.Password), full: true},
	{name: "the application cannot decide", core: stage.Unsure, method: "POST", path: "/recover/reset", form: newPassword("TOKEN", stage.Password)},
	{name: "over the limit", core: stage.OneRequest, before: askOnce, method: "POST", path: "/recover/password", form: byUsername("billybob"), full: true},
	{name: "store down", before: storeDown, method: "POST", path: "/recover/username", form: url.Values{"email": {"alice@example.com"}}, full: true},
	{name: "store down at the end", before: storeDown, method: "POST", path: "/recover/reset", form: newPassword("TOKEN", stage.Password)},
	{name: "store panics", before: boom, method: "POST", path: "/recover/password", form: byUsername("billybob"), full: true},

	{name: "another path", method: "GET", path: "/recover/passwords", full: true},
	{name: "POST to a page without a form", method: "POST", path: "/recover/done", form: newPassword("TOKEN", stage.Password)},
	{name: "PUT", method: "PUT", path: "/recover/reset", header: isForm, body: "token=TOKEN"},
	{name: "OPTIONS", method: "OPTIONS", path: "/recover/reset"},
	{name: "method override", method: "GET", path: "/recover/reset?_method=POST", header: []string{"X-HTTP-Method-Override", "POST"}},
	{name: "cross-site form", method: "POST", path: "/recover/password", header: []string{"Content-Type", formType, "Sec-Fetch-Site", "cross-site"}, body: byUsername("billybob").Encode(), full: true},
	{name: "form of another origin on plain http", method: "POST", path: "/recover/reset", header: []string{"Content-Type", formType, "Origin", "https://evil.example"}, body: newPassword("TOKEN", stage.Password).Encode()},
	{name: "form without an origin", method: "POST", path: "/recover/reset", header: []string{"Content-Type", formType, "Origin", "null"}, body: newPassword("TOKEN", stage.Password).Encode()},
	{name: "text/plain", method: "POST", path: "/recover/username", header: []string{"Content-Type", "text/plain"}, body: "email=alice@example.com"},
	{name: "multipart", method: "POST", path: "/recover/username", header: []string{"Content-Type", "multipart/form-data; boundary=x"},
		body: "--x\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nalice@example.com\r\n--x--\r\n"},
	{name: "JSON", method: "POST", path: "/recover/username", header: []string{"Content-Type", "application/json"}, body: `{"email":"alice@example.com"}`},
	{name: "two addresses in two fields", method: "POST", path: "/recover/username", form: url.Values{"email": {"alice@example.com", "evil@example.com"}}},
	{name: "neither way chosen", method: "POST", path: "/recover/password", form: url.Values{"by": {""}, "username": {"billybob"}, "email": {""}}},
	{name: "unknown field", method: "POST", path: "/recover/username", form: url.Values{"email": {"alice@example.com"}, "next": {"https://evil.example"}}},
	{name: "where passwords are changed", before: wellKnown, method: "GET", path: changePasswordPath, full: true},
	{name: "where passwords are changed, POST", before: wellKnown, method: "POST", path: changePasswordPath, full: true},
	{name: "body too large", method: "POST", path: "/recover/reset", header: isForm, body: newPassword(stage.NoToken, strings.Repeat("x", 16<<10)).Encode()},
}

var version = regexp.MustCompile(`\?v=[0-9a-f]{16}`)

// TestGolden compares the responses to the vectors with a file that shows requests and responses.
func TestGolden(t *testing.T) {
	var out strings.Builder
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, v.core, v.opts)
			token := ""
			body, header := v.body, v.header
			if v.form != nil {
				body, header = v.form.Encode(), append(isForm[:4:4], header...)
			}
			if strings.Contains(body, "TOKEN") {
				token = w.Token("billybob")
			}
			if v.before != nil {
				v.before(w)
			}
			response := w.do(v.method, v.path, strings.ReplaceAll(body, "TOKEN", token), header...)
			w.Fail = nil
			var mails []string
			for _, m := range w.Mails() {
				mails = append(mails, string(m.Kind)+" "+m.To)
			}
			is.Equal(strings.Join(mails, ", "), v.mails)
			text := dump(response)
			for _, s := range []string{token, stage.NoToken, "superSecure", "evil", "boom", "second factor", stage.ErrStore.Error()} {
				is.True(s == "" || !strings.Contains(text, s)) // no answer may show it
			}
			for _, s := range []string{token, "superSecure", "alice@example.com", "billybob@example.com"} {
				is.True(s == "" || !strings.Contains(w.Log.String(), s)) // nor the log
			}
			if v.path != changePasswordPath { // where net/http adds it
				is.Equal(response.Header().Get("Content-Length"), fmt.Sprint(response.Body.Len()))
			}
			response.Header().Del("Content-Length") // the texts change
			text = version.ReplaceAllString(dump(response), "?v=VERSION")
			if !v.full {
				text, _, _ = strings.Cut(text, "\n\n")
			}
			if len(body) > 300 {
				body = fmt.Sprintf("(%d bytes)", len(body))
			}
			fmt.Fprintf(&out, "=== %s\n%s %s\n%s\n%s\n--- %d %s\n\n", v.name, v.method, v.path, strings.Join(header, " "), body, response.Code, text)
		})
	}
	const path = "testdata/golden.txt"
	if *update {
		is.New(t).NoErr(os.WriteFile(path, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(path)
	is.New(t).NoErr(err)
	if out.String() == string(want) {
		return
	}
	got, wanted := strings.Split(out.String(), "\n=== "), strings.Split(string(want), "\n=== ")
	for i := range min(len(got), len(wanted)) {
		if got[i] != wanted[i] {
			t.Fatalf("%s differs; run with -update if that is meant.\ngot:\n%s\nwant:\n%s", path, got[i], wanted[i])
		}
	}
	t.Fatalf("%s has %d vectors, the test %d; run with -update if that is meant", path, len(wanted), len(got))
}

// Every response that a browser could show has the whole set of headers, whatever its status.
func TestHeadersOfEveryPage(t *testing.T) {
	is := is.New(t)
	statuses := map[int]bool{}
	for _, v := range vectors {
		w := newWorld(t, v.core, v.opts)
		body, header := v.body, v.header
		if v.form != nil {
			body, header = v.form.Encode(), append(isForm[:4:4], header...)
		}
		if v.before != nil {
			v.before(w)
		}
		response := w.do(v.method, v.path, body, header...)
		h := response.Header()
		statuses[response.Code] = true
		is.Equal(h.Get("X-Content-Type-Options"), "nosniff")
		is.Equal(h.Get("Cache-Control"), "no-store")
		is.Equal(h.Get("Cross-Origin-Resource-Policy"), "same-origin")
		is.Equal(h.Values("Set-Cookie"), nil)
		if strings.HasPrefix(v.path, "/recover/portal.") {
			continue
		}
		is.Equal(h.Get("Referrer-Policy"), "strict-origin")
		is.Equal(h.Get("X-Frame-Options"), "DENY")
		is.Equal(h.Get("Cross-Origin-Opener-Policy"), "same-origin")
		directives := []string{"default-src 'none'", "frame-ancestors 'none'"}
		if v.path != changePasswordPath {
			directives = append(directives, "script-src 'self'", "style-src 'self'", "form-action 'self'", "base-uri 'none'")
		}
		for _, directive := range directives {
			is.True(strings.Contains(h.Get("Content-Security-Policy")+";", directive+";"))
		}
		is.True(!strings.Contains(h.Get("Content-Security-Policy"), "unsafe"))
		if response.Code != http.StatusSeeOther && v.path != changePasswordPath {
			is.Equal(h.Get("Vary"), "Accept-Language")
			is.Equal(h.Get("Content-Type"), "text/html; charset=utf-8")
			is.True(strings.Contains(response.Body.String(), `<html lang="`+h.Get("Content-Language")+`" dir="ltr">`))
		}
	}
	is.Equal(len(statuses), 12) // 200, 303, 400, 403, 404, 405, 413, 415, 422, 429, 500, 503
}
