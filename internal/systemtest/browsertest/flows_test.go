package browsertest

import (
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// From the log-in to a new password and back, as a person does it.
func TestForgotPassword(t *testing.T) {
	is := is.New(t)
	e := startExample(t)
	b := open(t, profile{})
	is.Equal(b.visit(e.base+"/"), int64(200))
	b.click(`a[href="/login"]`)
	b.click(`a[href="/recover/"]`)
	is.Equal(b.text("h1"), "Trouble logging in?")
	b.click(`a[href="password"]`)
	b.fill("#email", "billybob@example.com")
	is.Equal(b.click("button[type=submit]"), int64(200))
	is.Equal(b.text("h1"), "Check your email")
	is.True(strings.HasSuffix(b.url(), "/recover/password-sent"))

	link := e.mails(1)[0].Link
	page, token, _ := strings.Cut(link, "#token=")
	is.Equal(page, e.base+"/recover/reset")
	is.Equal(b.visit(link), int64(200))
	is.Equal(b.url(), page) // no token in the address bar
	is.Equal(b.text("#token-taken"), "The token from your email is filled in. Enter another one")
	is.Equal(b.value("#token"), token)
	b.fill("#password", newPassword)
	b.fill("#repeat", newPassword)
	is.Equal(b.click("button[type=submit]"), int64(200))
	is.Equal(b.text("h1"), "Your password was changed")
	is.Equal(e.mails(2)[1].Kind, "password_changed")

	b.click("a.button")
	b.fill("#username", "billybob")
	b.fill("#password", "Old-passw0rd-1")
	is.Equal(b.click("button"), int64(401))
	b.fill("#password", newPassword)
	is.Equal(b.click("button"), int64(200))
	is.Equal(b.text("h1"), "Welcome, billybob")

	// The token went to the server once, in the body of the form.
	carried := 0
	for _, r := range traffic.to(e.base) {
		is.True(!strings.Contains(r.url+r.header, token[:16])) // no URL and no header, Referer and Cookie among them, has it
		carried += strings.Count(r.body, token)
	}
	is.Equal(carried, 1)
	for _, r := range b.requests() {
		is.True(strings.HasPrefix(r.URL, e.base+"/")) // nothing goes elsewhere
	}
	b.quiet()
}

func TestForgotPasswordWithoutScript(t *testing.T) {
	for name, paste := range map[string]func(link string) string{
		"the token": func(link string) string { _, token, _ := strings.Cut(link, "#token="); return token },
		"the link":  filtered,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			e := startExample(t)
			b := open(t, profile{noScript: true})
			b.visit(e.base + "/recover/password")
			b.do(clickOn("input[value=username]")) // the field appears without a script, too
			b.fill("#username", "alicia")
			is.Equal(b.click("button[type=submit]"), int64(200))
			link := e.mails(1)[0].Link
			b.visit(link)
			is.Equal(b.url(), link) // no script removed it
			is.Equal(b.value("#token"), "")
			is.Equal(eval[bool](b, `document.querySelector("#show-field").hidden`), true) // no button that would not work
			b.fill("#token", paste(link))
			b.fill("#password", "short")
			b.fill("#repeat", "other")
			is.Equal(b.click("button[type=submit]"), int64(422))
			is.True(strings.Contains(b.text("#password-error"), "at least 10 characters"))
			is.Equal(b.text("#repeat-error"), "The two passwords are not the same.")
			is.True(strings.Contains(b.text("#token-hint"), "please paste it again"))
			is.Equal(b.value("#password"), "")
			b.fill("#token", paste(link))
			b.fill("#password", newPassword)
			b.fill("#repeat", newPassword)
			is.Equal(b.click("button[type=submit]"), int64(200))
			is.Equal(b.text("h1"), "Your password was changed")
			is.Equal(b.url(), e.base+"/recover/done")
			b.click("a.button")
			b.fill("#username", "alicia")
			b.fill("#password", newPassword)
			is.Equal(b.click("button"), int64(200))
		})
	}
}

func TestForgotUsername(t *testing.T) {
	is := is.New(t)
	e := startExample(t)
	b := open(t, profile{language: "ja"})
	b.visit(e.base + "/recover/")
	is.Equal(b.text("h1"), "ログインでお困りですか？")
	b.click(`a[href="username"]`)
	b.fill("#email", "alice")
	is.Equal(b.click("button[type=submit]"), int64(422))
	is.Equal(b.value("#email"), "alice") // what was typed stays
	is.True(strings.Contains(b.text("#email-error"), "name@example.com"))
	is.Equal(eval[string](b, "document.activeElement.id"), "email")
	b.fill("#email", "alice@example.com")
	is.Equal(b.click("button[type=submit]"), int64(200))
	is.Equal(b.text("h1"), "メールをご確認ください")
	m := e.mails(1)[0]
	is.Equal(m.To, "alice@example.com")
	is.True(strings.Contains(m.Text, "ユーザー名は次のとおりです")) // in the language of the page
	names := strings.Fields(m.Text)
	is.True(slices.Contains(names, "alice") && slices.Contains(names, "alicia"))
	b.quiet()
}
