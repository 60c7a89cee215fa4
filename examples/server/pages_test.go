package main

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestPortalFlow(t *testing.T) {
	is := is.New(t)
	p := start(t)
	defer p.stop(os.Interrupt)
	post := func(path string, form url.Values) (int, string) {
		return p.do("POST", path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	}
	status, page := post("/recover/password", url.Values{"by": {"username"}, "username": {"billybob"}, "email": {""}})
	is.Equal(status, 200) // after the redirect
	is.True(strings.Contains(page, "<h1>Check your email</h1>"))
	link, token, _ := strings.Cut(p.mails(1)[0].Link, "#token=")
	is.Equal(link, p.base+"/recover/reset")
	status, page = post("/recover/reset", url.Values{"token": {token}, "password": {"New-passw0rd-2"}, "repeat": {"New-passw0rd-2"}})
	is.Equal(status, 200)
	is.True(strings.Contains(page, `<a class="button" href="/login">Log in</a>`))

	status, page = post("/login/form", url.Values{"username": {"billybob"}, "password": {"New-passw0rd-2"}})
	is.Equal(status, 200)
	is.True(strings.Contains(page, "Welcome, billybob"))
	status, page = post("/login/form", url.Values{"username": {"billybob"}, "password": {"Old-passw0rd-1"}})
	is.Equal(status, 401)
	is.True(strings.Contains(page, "User name or password is wrong."))
	status, _ = p.do("POST", "/login/form", "username=billybob&password=x", "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "cross-site")
	is.Equal(status, 403)
}

// alice@example.com has two accounts: one mail has a link for each, and both work.
func TestSeveralAccountsOfAnAddress(t *testing.T) {
	is := is.New(t)
	p := start(t)
	defer p.stop(os.Interrupt)
	post := func(path string, form url.Values) int {
		status, _ := p.do("POST", path, form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
		return status
	}
	is.Equal(post("/recover/password", url.Values{"by": {"email"}, "username": {""}, "email": {"alice@example.com"}}), 200)
	resets := p.mails(1)[0].Resets
	is.Equal(len(resets), 2)
	_, page := p.do("GET", "/mailbox", "")
	for i, name := range []string{"alice", "alicia"} {
		is.Equal(resets[i].Username, name)
		is.True(strings.Contains(page, ">Follow the link of "+name+"</a>"))
		password := fmt.Sprint("New-passw0rd-", i)
		is.Equal(post("/recover/reset", url.Values{"token": {resets[i].Link}, "password": {password}, "repeat": {password}}), 200)
		is.Equal(p.login(name, password), 204)
	}
}

// The start page links everything that there is, for people; what curl gets is text.
func TestStartPage(t *testing.T) {
	is := is.New(t)
	p := start(t)
	defer p.stop(os.Interrupt)
	_, plain := p.do("GET", "/", "", "Accept", "*/*")
	is.True(strings.HasPrefix(plain, "Account recovery, to try out, on "+p.base+"\n"))
	_, page := p.do("GET", "/", "", "Accept", "text/html,*/*;q=0.8")
	is.True(strings.Contains(page, "curl -X POST"))
	links := strings.Split(page, `href="`)[1:]
	is.True(len(links) >= 8)
	for _, rest := range links {
		path, _, _ := strings.Cut(rest, `"`)
		status, _ := p.do("GET", path, "")
		is.Equal(status, 200)
	}
}
