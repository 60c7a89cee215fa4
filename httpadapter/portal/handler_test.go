package portal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
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
		is.Equal(len(w.deliver()), 1)
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

func TestClientAddr(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	ask := func(remote string) netip.Addr {
		r := httptest.NewRequest("POST", "/username", strings.NewReader("email=alice%40example.com"))
		r.RemoteAddr = remote
		r.Header.Set("Content-Type", formType)
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		response := httptest.NewRecorder()
		w.handler.ServeHTTP(response, r)
		is.Equal(response.Code, 303)
		return w.deliver()[0].Client
	}
	is.Equal(ask("192.0.2.1:1234"), netip.MustParseAddr("192.0.2.1"))
	is.Equal(ask("192.0.2.1"), netip.MustParseAddr("192.0.2.1")) // what a router's middleware leaves
	is.Equal(ask("@"), netip.Addr{})                             // a Unix socket
	var err error
	w.handler, err = New(w.Service, &Options{ClientAddr: func(r *http.Request) netip.Addr {
		return netip.MustParseAddr(r.Header.Get("X-Forwarded-For"))
	}})
	is.NoErr(err)
	is.Equal(ask("192.0.2.1:1234"), netip.MustParseAddr("203.0.113.9"))
}

// The client reaches the completion, too, whose limit is counted by it.
func TestClientOfTheLastForm(t *testing.T) {
	is := is.New(t)
	var client netip.Addr
	w := newWorld(t, recovery.Options{Approve: func(_ context.Context, _ recovery.Account, r recovery.CompleteRequest) error {
		client = r.Client
		return nil
	}}, Options{})
	is.Equal(w.post("/reset", newPassword(w.token("alice"), goodPassword)).Code, 303)
	is.Equal(client, netip.MustParseAddr("192.0.2.1")) // which httptest's requests come from
}

// One mail has a link for each account of the address, and each of them works.
func TestSeveralAccountsOfAnAddress(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	is.Equal(w.post("/password", byEmail("alice@example.com")).Code, 303)
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(len(mails[0].Resets), 2)
	for i, id := range []string{"1", "2"} {
		link, password := mails[0].Resets[i].Link, goodPassword+id
		is.Equal(w.post("/reset", newPassword(link, password)).Code, 303)
		hash, _ := w.users.PasswordHash(id)
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
	m := w.deliver()[0]
	is.Equal(m.Kind, recovery.MessageResetToken)
	is.Equal(w.post("/reset", newPassword(m.Resets[0].Token.Reveal(), goodPassword)).Code, 303)
	hash, _ := w.users.PasswordHash("3")
	is.Equal(hash, "hash of "+goodPassword)
}

// Two passwords that differ change nothing, whatever else is right.
func TestPasswordsThatDiffer(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	form := newPassword(w.token("billybob"), goodPassword)
	form.Set("repeat", goodPassword+" ")
	answer := w.post("/reset", form)
	is.Equal(answer.Code, 422)
	is.True(strings.Contains(answer.Body.String(), "The two passwords are not the same."))
	is.Equal(reasonsOf(t, answer), nil) // nothing is wrong with the first
	form.Set("repeat", goodPassword)
	is.Equal(w.post("/reset", form).Code, 303) // the token is alive
}

// A password is taken exactly as it was sent.
func TestPasswordIsTakenAsItIs(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	const password = " Ümläut+%41&=;😀 1aB "
	is.Equal(w.post("/reset", newPassword(w.token("billybob"), password)).Code, 303)
	hash, _ := w.users.PasswordHash("3")
	is.Equal(hash, "hash of "+password)
}

// A body that drips is cut at the deadline, whether somebody waits for it or not: S75.
func TestSlowBody(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{BodyTimeout: 50 * time.Millisecond})
	server := httptest.NewServer(w.handler)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	is.NoErr(err)
	defer conn.Close()
	is.NoErr(conn.SetDeadline(time.Now().Add(20 * time.Second)))
	fmt.Fprintf(conn, "POST /reset HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\ntoken=", formType)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	is.NoErr(err)
	is.Equal(response.StatusCode, 400)
	is.True(response.Close)
}

// The rest of a body that announces too much is not read.
func TestBodyThatAnnouncesTooMuch(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	answer := w.do("POST", "/reset", strings.Repeat("x", maxBody+1), isForm...)
	is.Equal(answer.Code, 413)
	is.Equal(answer.Header().Get("Connection"), "close")
}

// A body that is whole as far as it came was meant to go on.
func TestBodyThatFails(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	r := httptest.NewRequest("POST", "/password", io.MultiReader(
		strings.NewReader(byUsername("billybob").Encode()), iotest.ErrReader(errors.New("gone"))))
	r.Header.Set("Content-Type", formType)
	response := httptest.NewRecorder()
	w.handler.ServeHTTP(response, r)
	is.Equal(response.Code, 400)
	is.Equal(len(w.deliver()), 0)
}

// 16,384 bytes are read, and found to be no form.
func TestLongestBody(t *testing.T) {
	w := newWorld(t, recovery.Options{}, Options{})
	for size, status := range map[int]int{16384: 400, 16385: 413} {
		for _, announced := range []int64{int64(size), -1} {
			r := httptest.NewRequest("POST", "/reset", strings.NewReader(strings.Repeat("x", size)))
			r.ContentLength = announced
			r.Header.Set("Content-Type", formType)
			response := httptest.NewRecorder()
			w.handler.ServeHTTP(response, r)
			is.New(t).Equal(response.Code, status)
		}
	}
}

// The log names the fields that a page has, and nothing of the form that came.
func TestFormOfAnotherPage(t *testing.T) {
	for path, fields := range map[string]string{"/password": "[by email username]", "/username": "[email]", "/reset": "[token password repeat]"} {
		is := is.New(t)
		w := newWorld(t, recovery.Options{}, Options{})
		logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		w.handler = must(t)(New(w.Service, &Options{Logger: logger}))
		is.Equal(w.post(path, url.Values{"by": {"secret"}, "email": {""}, "username": {"secret"}}).Code, 400)
		is.True(strings.Contains(w.log.String(), fields))
		is.True(!strings.Contains(w.log.String(), "secret"))
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
	is.True(strings.HasSuffix(w.log.String(), ` level=ERROR msg="portal: a template failed" page=username`+"\n")) // and not what was typed
	is.Equal(w.post("/username", map[string][]string{"email": {"y"}}).Code, 422)                                  // the process lives
}

func must(t *testing.T) func(http.Handler, error) http.Handler {
	return func(h http.Handler, err error) http.Handler {
		t.Helper()
		is.New(t).NoErr(err)
		return h
	}
}

// The log has where it happened, and not the value, which may hold anything.
func TestPanicsAreLogged(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	boom(w)
	is.Equal(w.post("/password", byUsername("billybob")).Code, 500)
	is.True(strings.Contains(w.log.String(), `msg="portal: panic" stack="goroutine`))
	is.True(strings.Contains(w.log.String(), "requestReset"))
	is.True(!strings.Contains(w.log.String(), "boom at"))
}

// Somebody who may come back at once may not come back in no time.
func TestRetryAfterIsASecondAtLeast(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	for wait, want := range map[time.Duration]string{0: "1", time.Nanosecond: "1", time.Second: "1", time.Second + 1: "2"} {
		w.fail = func() error { return &recovery.LimitError{Scope: recovery.ScopeClient, RetryAfter: wait} }
		answer := w.post("/password", byUsername("alice"))
		is.Equal(answer.Code, 429)
		is.Equal(answer.Header().Get("Retry-After"), want)
	}
}

func TestAbortIsPassedOn(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	w.fail = func() error { panic(http.ErrAbortHandler) }
	defer func() { is.Equal(recover(), http.ErrAbortHandler) }()
	w.post("/password", byUsername("alice"))
}

// A client that leaves is not an error to log.
func TestClientLeaves(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	w.fail = func() error { cancel(); return errors.Join(ctx.Err(), errStore) }
	r := httptest.NewRequestWithContext(ctx, "POST", "/username", strings.NewReader("email=alice%40example.com"))
	r.Header.Set("Content-Type", formType)
	response := httptest.NewRecorder()
	w.handler.ServeHTTP(response, r)
	is.Equal(response.Code, 503)
	is.Equal(w.log.String(), "")
}

func TestStoreThatIsDownIsNotALineARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		w := newWorld(t, recovery.Options{}, Options{})
		form := map[string][]string{"email": {"alice@example.com"}}
		storeDown(w)
		for range 90 { // seconds
			is.Equal(w.post("/username", form).Code, 503)
			time.Sleep(time.Second)
		}
		is.Equal(strings.Count(w.log.String(), "portal: the call failed"), 2)
		is.Equal(strings.Count(w.log.String(), errStore.Error()), 2)
		w.fail = nil
		for range 2 {
			is.Equal(w.post("/username", form).Code, 303)
		}
		is.Equal(strings.Count(w.log.String(), "portal: calls succeed again"), 1)
	})
}

func TestBusy(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{Policy: &recovery.Policy{BreachFailClosed: true, Breached: func(context.Context, string) (bool, error) {
		return false, errors.New("down")
	}}}, Options{})
	token := w.token("alice")
	answer := w.post("/reset", newPassword(token, goodPassword))
	is.Equal(answer.Code, 503)
	is.Equal(answer.Header().Get("Retry-After"), "1")
	is.True(strings.Contains(answer.Body.String(), `<a class="button" href="reset">Try again</a>`))
	is.True(!strings.Contains(answer.Body.String(), "data-forget")) // the script keeps the token
	is.True(!strings.Contains(w.log.String(), "portal: the call failed"))
}
