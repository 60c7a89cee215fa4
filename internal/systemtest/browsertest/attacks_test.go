package browsertest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/portal"
)

// evil serves one page on a site other than the pages': it has another name on the same machine.
func evil(t *testing.T, html string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, html)
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// A form on another site, in every encoding that a form can have: S70.
func TestAttack_S70_CrossSiteForm(t *testing.T) {
	for _, encoding := range []string{"application/x-www-form-urlencoded", "text/plain", "multipart/form-data"} {
		t.Run(encoding, func(t *testing.T) {
			is := is.New(t)
			s := serve(t, recovery.Options{}, portal.Options{})
			_, token := s.link("billybob")
			sent := len(s.mail.Messages())
			page := evil(t, fmt.Sprintf(`<!doctype html><title>x</title><form method="post" enctype="%s" action="%sreset">
				<input name="token" value="%s"><input name="password" value="%s"><input name="repeat" value="%[4]s"><button>Win</button></form>`,
				encoding, s.base, token, newPassword))
			b := open(t, profile{})
			b.visit(page)
			is.Equal(b.click("button"), int64(403))
			is.Equal(b.text("h1"), "This request was not accepted")
			is.Equal(len(s.posts()), 1)
			s.deliver()
			is.Equal(s.password("3"), "old")
			is.Equal(len(s.mail.Messages()), sent)
		})
	}
}

// A script on another site: S70.
func TestAttack_S70_CrossSiteFetch(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	b.visit(evil(t, "<!doctype html><title>x</title>"))
	form := url.Values{"by": {"username"}, "username": {"billybob"}, "email": {""}}.Encode()
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded"} {
		answer := eval[string](b, fmt.Sprintf(`fetch(%q, {method: "POST", mode: "no-cors", credentials: "include", headers: {"Content-Type": %q}, body: %q})
			.then((r) => r.type + r.status, () => "refused")`, s.base+"password", media, form))
		is.True(answer == "opaque0" || answer == "refused") // nothing can be read
		answer = eval[string](b, fmt.Sprintf(`fetch(%q).then((r) => r.text(), () => "refused")`, s.base+"password"))
		is.Equal(answer, "refused")
	}
	is.Equal(len(s.posts()), 2)
	s.deliver()
	is.Equal(len(s.mail.Messages()), 0)
}

// A text/plain body from the pages' own origin is refused too: S70.
func TestAttack_S70_PlainText(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	b.visit(s.base + "username")
	eval[bool](b, `document.querySelector("form").enctype = "text/plain", true`)
	b.fill("#email", "alice@example.com")
	is.Equal(b.click("button[type=submit]"), int64(415))
	s.deliver()
	is.Equal(len(s.mail.Messages()), 0)
}

// A frame, on another site and on our own: the browser throws the page away before it loads what
// the page needs: S71.
func TestAttack_S71_FramedPage(t *testing.T) {
	is := is.New(t)
	s := serve(t, recovery.Options{}, portal.Options{})
	frame := fmt.Sprintf(`<!doctype html><title>x</title><iframe src="%[1]spassword"></iframe><object data="%[1]sreset"></object><embed src="%[1]s">`, s.base)
	own := strings.TrimSuffix(s.base, "recover/") + "frame"
	s.extra = frame
	b := open(t, profile{})
	for _, page := range []string{evil(t, frame), own} {
		before := len(traffic.to(s.base))
		b.visit(page)
		pages := 0
		for _, r := range traffic.to(s.base)[before:] {
			is.True(!strings.Contains(r.url, "portal.css") && !strings.Contains(r.url, "portal.js"))
			if strings.HasPrefix(r.url, s.base) {
				pages++
			}
		}
		is.Equal(pages, 3) // asked for, and not shown
	}
	before := len(traffic.to(s.base))
	b.visit(s.base + "password")
	loaded := ""
	for _, r := range traffic.to(s.base)[before:] {
		loaded += r.url + "\n"
	}
	is.True(strings.Contains(loaded, "portal.css") && strings.Contains(loaded, "portal.js")) // as when the page is shown
}

// A page opened by another site, with a fragment and parameters of its choice: S71.
func TestAttack_S71_NothingIsReflected(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	const mark = `<img src=x onerror=document.title="hacked">`
	for _, path := range []string{"", "password", "username", "reset", "done", "password-sent", "nothing"} {
		b.visit(s.base + path + "?email=" + url.QueryEscape(mark) + "&next=https://evil.example#" + url.PathEscape(mark))
		is.True(!strings.Contains(eval[string](b, "document.documentElement.outerHTML"), "hacked"))
	}
	b.visit(s.base + "reset#token=" + url.PathEscape(mark))
	is.Equal(b.value("#token"), url.PathEscape(mark)) // text in a field
	is.True(!strings.Contains(eval[string](b, "document.title"), "hacked"))
	b.visit(s.base + "password")
	b.fill("#email", `"><script>document.title="hacked"</script>`)
	is.Equal(b.click("button[type=submit]"), int64(422))
	is.Equal(b.value("#email"), `"><script>document.title="hacked"</script>`)
	is.Equal(eval[string](b, "document.title"), "Error: Reset your password – Acme")
	for _, r := range b.requests() {
		is.True(strings.HasPrefix(r.URL, strings.TrimSuffix(s.base, "recover/"))) // nothing goes elsewhere
	}
}

// A page that opened the portal's page cannot reach it.
func TestOpenerIsCutOff(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	link, _ := s.link("billybob")
	b.visit(evil(t, fmt.Sprintf(`<!doctype html><title>x</title><a href="%s">go</a>`, link)))
	closed := eval[bool](b, fmt.Sprintf(`new Promise((done) => {
		const w = open(%q), start = Date.now();
		(function look() {
			if (!w || w.closed) done(true);
			else if (Date.now() - start > 10000) done(false);
			else setTimeout(look, 50);
		})();
	})`, link))
	is.True(closed) // the policy of the page makes it a stranger
}

// The Referer of what the page loads and leads to is the origin at most: S29.
func TestAttack_S29_Referer(t *testing.T) {
	is := is.New(t)
	s := serve(t, recovery.Options{}, portal.Options{LogInURL: "/login", SupportURL: "/login"})
	link, token := s.link("billybob")
	b := open(t, profile{})
	b.visit(link)
	b.click("footer a")
	is.Equal(b.text("h1"), "Log in")
	for _, r := range traffic.to(s.base) {
		if _, referer, ok := strings.Cut(r.header, "Referer: "); ok {
			referer, _, _ = strings.Cut(referer, "\r\n")
			if strings.HasSuffix(referer, "/login") {
				continue // the application's page asks for its own icon
			}
			is.Equal(referer+"recover/", s.base)
		}
		is.True(!strings.Contains(r.url+r.header+r.body, token[:16]))
	}
}
