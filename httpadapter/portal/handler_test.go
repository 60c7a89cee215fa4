package portal

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/stage"
)

func TestMountedAnywhere(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	mux := http.NewServeMux()
	mux.Handle("/", w.handler)
	mux.Handle("/recover/", w.handler)
	mux.Handle("/a/b/", http.StripPrefix("/a/b", w.handler))
	mux.Handle("/c/", http.StripPrefix("/c/", w.handler))
	w.handler = mux
	first := dump(w.do("GET", "/", ""))
	for _, prefix := range []string{"/recover/", "/a/b/", "/c/"} {
		is.Equal(dump(w.do("GET", prefix, "")), first)
		answer := w.post(prefix+"password", byUsername("billybob"))
		is.Equal(answer.Header().Get("Location"), "password-sent") // relative
		is.Equal(w.do("GET", prefix+"password-sent", "").Code, 200)
		is.Equal(w.do("GET", prefix+"portal.css", "").Code, 200)
		is.Equal(len(w.Mails()), 1)
	}
	is.Equal(w.do("GET", "/recover", "").Header().Get("Location"), "/recover/") // the mux's own
}

func TestAssetsAreKeptUnderTheirVersion(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{CSS: "p { margin: 0 }"})
	page := w.do("GET", "/recover/", "").Body.String()
	for name, media := range map[string]string{stylesheetName: "text/css; charset=utf-8", scriptName: "text/javascript; charset=utf-8"} {
		_, rest, _ := strings.Cut(page, `="`+name)
		query, _, _ := strings.Cut(rest, `"`)
		is.True(strings.HasPrefix(query, "?v="))
		kept := w.do("GET", "/recover/"+name+query, "")
		is.Equal(kept.Code, 200)
		is.Equal(kept.Header().Get("Cache-Control"), "public, max-age=31536000, immutable")
		is.Equal(kept.Header().Get("Content-Type"), media)
		other := w.do("GET", "/recover/"+name+"?v=0", "")
		is.Equal(other.Header().Get("Cache-Control"), "no-store") // of another instance
		is.Equal(other.Body.String(), kept.Body.String())
		for _, near := range []string{"?x" + query[1:], "?x=1&" + query[1:], query + "&x", query + "0", ""} {
			is.Equal(w.do("GET", "/recover/"+name+near, "").Header().Get("Cache-Control"), "no-store")
		}
		is.Equal(w.do("POST", "/recover/"+name, "x").Header().Get("Allow"), "GET, HEAD")
	}
	is.True(strings.HasSuffix(w.do("GET", "/portal.css", "").Body.String(), "p { margin: 0 }"))
}

// A page with all that it loads fits into 30 kB and one round trip after the HTML.
func TestPagesAreLight(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	assets := w.do("GET", "/portal.css", "").Body.Len() + w.do("GET", "/portal.js", "").Body.Len()
	for _, path := range allPaths {
		html := w.do("GET", "/"+path, "", ja...).Body
		is.True(html.Len()+assets < 30_000)
		if strings.HasPrefix(path, "portal.") {
			is.True(!strings.Contains(html.String(), "@import") && !strings.Contains(html.String(), "url(")) // loads nothing further
			continue
		}
		is.Equal(strings.Count(html.String(), `<link rel="stylesheet"`), 1)
		is.Equal(strings.Count(html.String(), "<link"), 1)
		is.Equal(strings.Count(html.String(), "<script"), 1)
		is.Equal(strings.Count(html.String(), `" defer></script>`), 1) // does not block
		is.Equal(strings.Count(html.String(), "<img"), 0)
	}
}

// The client reaches the completion, too, whose limit is counted by it.
func TestClientOfTheLastForm(t *testing.T) {
	is := is.New(t)
	var client netip.Addr
	w := newWorld(t, recovery.Options{Approve: func(_ context.Context, _ recovery.Account, r recovery.CompleteRequest) error {
		client = r.Client
		return nil
	}}, Options{})
	is.Equal(w.post("/reset", newPassword(w.Token("alice"), stage.Password)).Code, 303)
	is.Equal(client, netip.MustParseAddr("192.0.2.1")) // which httptest's requests come from
}

// One mail has a link for each account of the address, and each of them works.
func TestSeveralAccountsOfAnAddress(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	is.Equal(w.post("/password", byEmail("alice@example.com")).Code, 303)
	mails := w.Mails()
	is.Equal(len(mails), 1)
	is.Equal(len(mails[0].Resets), 2)
	for i, id := range []string{"1", "2"} {
		link, password := mails[0].Resets[i].Link, stage.Password+id
		is.Equal(w.post("/reset", newPassword(link, password)).Code, 303)
		hash, _ := w.Users.PasswordHash(id)
		is.Equal(hash, "hash of "+password)
	}
}

// Without a portal the mail has the bare token, and the page takes that.
func TestWithoutPortal(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	var err error
	w.handler, err = New(w.Service, nil)
	is.NoErr(err)
	is.Equal(w.post("/password", byUsername("billybob")).Code, 303)
	m := w.Mails()[0]
	is.Equal(m.Kind, recovery.MessageResetToken)
	is.Equal(w.post("/reset", newPassword(m.Resets[0].Token.Reveal(), stage.Password)).Code, 303)
	hash, _ := w.Users.PasswordHash("3")
	is.Equal(hash, "hash of "+stage.Password)
}

// Two passwords that differ change nothing, whatever else is right.
func TestPasswordsThatDiffer(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	form := newPassword(w.Token("billybob"), stage.Password)
	form.Set("repeat", stage.Password+" ")
	answer := w.post("/reset", form)
	is.Equal(answer.Code, 422)
	is.True(strings.Contains(answer.Body.String(), "The two passwords are not the same."))
	is.Equal(reasonsOf(t, answer), nil) // nothing is wrong with the first
	form.Set("repeat", stage.Password)
	is.Equal(w.post("/reset", form).Code, 303) // the token is alive
}

// A password is taken exactly as it was sent.
func TestPasswordIsTakenAsItIs(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	const password = " Ümläut+%41&=;😀 1aB "
	is.Equal(w.post("/reset", newPassword(w.Token("billybob"), password)).Code, 303)
	hash, _ := w.Users.PasswordHash("3")
	is.Equal(hash, "hash of "+password)
}

// The log names the fields that a page has, and nothing of the form that came.
func TestFormOfAnotherPage(t *testing.T) {
	for path, fields := range map[string]string{"/password": "[by email username]", "/username": "[email]", "/reset": "[token password repeat]"} {
		is := is.New(t)
		w := newWorld(t, recovery.Options{}, Options{})
		logger := slog.New(slog.NewTextHandler(w.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		w.handler = must(t)(New(w.Service, &Options{Logger: logger}))
		is.Equal(w.post(path, url.Values{"by": {"secret"}, "email": {""}, "username": {"secret"}}).Code, 400)
		is.True(strings.Contains(w.Log.String(), fields))
		is.True(!strings.Contains(w.Log.String(), "secret"))
	}
}

// A template that fails on what no trial foresaw gives an error, not half a page.
func TestBrokenTemplate(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	text := string(mustRead("username.html")) + `{{if eq .Email "x"}}{{index .PasswordErrors 7}}{{end}}`
	w.handler = must(t)(New(w.Service, &Options{Templates: fstest.MapFS{"username.html": {Data: []byte(text)}}, Logger: w.Options().Logger}))
	answer := w.post("/username", map[string][]string{"email": {"x"}})
	is.Equal(answer.Code, 500)
	is.Equal(answer.Body.String(), "internal error\n")
	is.Equal(answer.Header().Get("Content-Type"), "text/plain; charset=utf-8")
	is.True(answer.Header().Get("Content-Security-Policy") != "")
	is.True(strings.HasSuffix(w.Log.String(), ` level=ERROR msg="portal: a template failed" page=username`+"\n")) // and not what was typed
	is.Equal(w.post("/username", map[string][]string{"email": {"y"}}).Code, 422)                                  // the process lives
}

func must(t *testing.T) func(http.Handler, error) http.Handler {
	return func(h http.Handler, err error) http.Handler {
		t.Helper()
		is.New(t).NoErr(err)
		return h
	}
}

func TestBusy(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{Policy: &recovery.Policy{BreachFailClosed: true, Breached: func(context.Context, string) (bool, error) {
		return false, errors.New("down")
	}}}, Options{})
	token := w.Token("alice")
	answer := w.post("/reset", newPassword(token, stage.Password))
	is.Equal(answer.Code, 503)
	is.Equal(answer.Header().Get("Retry-After"), "1")
	is.True(strings.Contains(answer.Body.String(), `<a class="button" href="reset">Try again</a>`))
	is.True(!strings.Contains(answer.Body.String(), "data-forget")) // the script keeps the token
	is.True(!strings.Contains(w.Log.String(), "portal: the call failed"))
}
