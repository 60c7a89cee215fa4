package browsertest

import (
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/chromedp/chromedp"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/portal"
)

// A pasted link is kept, so the person need not open the mail again.
func TestPastedLinkIsKept(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	link, token := s.link("billybob")
	b.visit(s.base + "reset")
	b.fill("#token", "\u3000<"+filtered(link)+">\u200b")
	is.Equal(b.submit("My-Billybob-26!"), int64(422))
	is.Equal(b.value("#token"), token)
	is.Equal(b.submit(newPassword), int64(200))
	is.Equal(s.password("3"), newPassword)
}

// filtered is a link as a mail filter rewrites it, and a mail program wraps it.
func filtered(link string) string {
	long := "https://eur01.safelinks.protection.outlook.com/?url=" + url.QueryEscape(link) + "&data=05%7C02&reserved=0"
	return long[:len(long)-60] + "\u00a0 " + long[len(long)-60:]
}

// A mail program that encodes the "#" of the link leads to the form all the same.
func TestLinkWithAnEncodedFragment(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	link, token := s.link("billybob")
	b.visit(strings.Replace(link, "#token=", "%23token%3D", 1))
	is.Equal(b.value("#token"), token)
	is.Equal(b.url(), s.base+"reset")
	is.Equal(b.submit(newPassword), int64(200))
}

// If the browser stores nothing, the link still works.
func TestStorageIsOff(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	b.beforePages(`Object.defineProperty(window, "sessionStorage", {get() { throw new DOMException("off", "SecurityError") }})`)
	link, token := s.link("billybob")
	b.visit(link)
	is.Equal(b.value("#token"), token)
	is.Equal(b.url(), s.base+"reset")
	is.Equal(b.submit("My-Billybob-26!"), int64(422))
	is.Equal(b.value("#token"), "")
	b.fill("#token", noToken)
	is.Equal(b.submit(newPassword), int64(422))
	is.Equal(b.text("h1"), "This link or token cannot be used")
	// The link once more, in the same tab: the token is in the address bar until the form has it.
	b.follow(link, "Choose a new password")
	b.comes(`document.querySelector("#token").value`, token)
	is.Equal(b.url(), s.base+"reset")
	is.Equal(b.submit(newPassword), int64(200))
	b.quiet()
}

// An application's own page has what New demands, and may have nothing else.
func TestPageOfTheApplication(t *testing.T) {
	is := is.New(t)
	s := serve(t, recovery.Options{}, portal.Options{Templates: fstest.MapFS{"reset.html": {Data: []byte(`<form method="post" action="reset">
		<p>{{range .PasswordErrors}}{{.}}{{end}}</p><label>Token <input id="token" name="token"></label>
		<label>Password <input id="password" name="password"></label><label>Again <input id="repeat" name="repeat"></label>
		<ul>{{range .Rules}}<li data-rule="{{.Name}}" data-limit="{{.Limit}}">{{.Text}}</li>{{end}}</ul><button type="submit">Go</button></form>`)}}})
	b := open(t, profile{})
	link, token := s.link("billybob")
	b.visit(link)
	is.Equal(b.value("#token"), token)
	is.Equal(b.url(), s.base+"reset")
	b.fill("#password", "x")
	b.do(clickOn("button")) // which the script keeps back
	is.Equal(eval[string](b, "document.activeElement.id"), "password")
	is.Equal(b.submit("My-Billybob-26!"), int64(422))
	is.Equal(b.value("#token"), token)
	is.Equal(b.submit(newPassword), int64(200))
	b.quiet()
}

// The script takes the token out of the address bar only if there is a field for it.
func TestTokenStaysWithoutAField(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	for _, page := range []string{
		`<body data-page="reset"><form><input name="token"></form>`,
		`<body data-page="reset"><form><input name="token" id="token"><input id="password"></form>`,
		`<body data-page="reset"><input name="token" id="token">`,
		`<body><h1>Another layout</h1>`,
	} {
		s.extra = `<!doctype html><title>x</title>` + page + `<script src="/recover/portal.js"></script>`
		own := strings.TrimSuffix(s.base, "recover/") + "frame#token=" + noToken
		b.visit("about:blank")
		b.visit(own)
		is.Equal(b.url(), own)
		is.Equal(eval[string](b, "JSON.stringify(sessionStorage)"), "{}")
	}
	b.quiet()
}

// A new link is opened in the tab that shows the result of the old one. The address differs in the
// fragment only, so the browser loads nothing by itself.
func TestNewLinkOnTheErrorPage(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	b.visit(s.base + "reset#token=" + noToken)
	is.Equal(b.submit(newPassword), int64(422))
	is.Equal(b.text("h1"), "This link or token cannot be used")
	link, token := s.link("billybob")
	b.follow(link, "Choose a new password")
	b.comes(`document.querySelector("#token").value`, token)
	is.Equal(b.url(), s.base+"reset")
	is.Equal(b.submit(newPassword), int64(200))
}

func TestIncompleteLink(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	_, token := s.link("billybob")
	b.visit(s.base + "reset#token=" + token[:40])
	is.Equal(b.url(), s.base+"reset")
	is.Equal(eval[bool](b, `document.querySelector("#token-field").hidden`), false) // can be seen and mended
	is.Equal(b.submit(newPassword), int64(422))
	is.Equal(b.text("h1"), "This link or token cannot be used")
	b.click(`a[href="reset"]`)
	is.Equal(b.value("#token"), "") // not the wrong one again
	b.fill("#token", "  "+token+"\n")
	is.Equal(b.submit(newPassword), int64(200))
}

func TestAnotherTokenInstead(t *testing.T) {
	is := is.New(t)
	s, b := fresh(t)
	_, token := s.link("billybob")
	b.visit(s.base + "reset#token=" + noToken)
	b.do(clickOn("#token-change"))
	is.Equal(eval[string](b, "document.activeElement.id"), "token")
	b.do(chromedp.Reload())
	is.Equal(b.value("#token"), "") // it is forgotten
	b.fill("#token", s.base+"reset#token="+token)
	is.Equal(b.submit("Password-123"), int64(422))
	is.Equal(b.value("#token"), token) // kept, and no longer the link
	is.Equal(b.submit(newPassword), int64(200))
}
