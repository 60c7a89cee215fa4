package catalogue

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/formats"
)

// pages lists the portal's pages.
var pages = []string{"", "password", "password-sent", "username", "username-sent", "reset", "done", "portal.css", "portal.js", "elsewhere"}

// No entry takes a request that another site makes a browser send.
func TestAttack_S70_OtherSites(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		portal := s.over(formats.Portal)
		token := s.token("victim")
		s.trace.calls()
		bodies := map[string]string{
			"reset": "by=username&username=billybob&email=", "names": "email=billybob%40example.com",
			"complete": "token=" + token + "&password=" + strings.ReplaceAll(newPassword, "#", "%23") + "&repeat=" + strings.ReplaceAll(newPassword, "#", "%23"),
		}
		for _, lines := range [][]string{
			{"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"}, {"Sec-Fetch-Site: evil"}, {"Sec-Fetch-Site: cross-site", "Origin: http://example.com"},
			{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-User: ?1"}, {"Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: iframe"},
			{"Sec-Fetch-Site", "Origin: https://evil.example"}, {"Sec-Fetch-Site", "Origin: null"}, {"Sec-Fetch-Site", "Origin: http://example.com:8080"},
			{"Sec-Fetch-Site", "Origin: http://example.com.evil.example"}, {"Sec-Fetch-Site", "Origin: http://evil.example/example.com"}, {"Sec-Fetch-Site", "Origin: http://sub.example.com"},
			{"Sec-Fetch-Site", "Origin: http://example.com@evil.example"}, {"Sec-Fetch-Site", "Origin: file://"}, {"Sec-Fetch-Site", "Origin: evil"},
			{"Sec-Fetch-Site: cross-site", "X-Requested-With: XMLHttpRequest"}, {"Sec-Fetch-Site: cross-site", "Cookie: session=1"}, {"Sec-Fetch-Site: cross-site", "Referer: http://example.com/"},
		} {
			for call, body := range bodies {
				s.is.Equal(portal.send(call, body, lines...).outcome, crossSite)
			}
			for _, name := range entryNames[1 : len(entryNames)-1] {
				_, _, body := s.forms(name)
				s.is.Equal(s.over(name).send("reset", body, lines...).outcome, crossSite)
			}
		}
		for _, media := range []string{"text/plain", "multipart/form-data; boundary=x", formats.JSON, "text/plain; charset=utf-8", formats.XML} {
			for call, body := range bodies {
				s.is.Equal(portal.send(call, body, "Content-Type: "+media).outcome, mediaType)
			}
		}
		s.is.Equal(len(s.trace.calls()), 0) // all before any call of the store
		for _, name := range entryNames[1:] {
			path, _, _ := s.forms(name)
			for _, method := range []string{"OPTIONS", "GET", "POST"} {
				got := s.do(method, path, "", "Origin: https://evil.example", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: content-type", "Cookie: a=b", "Sec-Fetch-Site: cross-site")
				s.is.True(!strings.Contains(got.text, "Access-Control-") && !strings.Contains(got.text, "Set-Cookie")) // nothing for another origin
			}
		}
		s.is.Equal(len(s.deliver()), 0)
		s.is.Equal(portal.send("complete", bodies["complete"]).outcome, accepted) // the pages' own form
		s.sound("8")
	})
}

func TestAttack_S71_FramedCachedReflected(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		const mark = `x"><script>alert(1)</script>`
		for _, page := range pages {
			plain := s.do("GET", "/recover/"+page, "")
			if !strings.HasPrefix(page, "portal.") {
				for _, line := range []string{"frame-ancestors 'none'", "default-src 'none'", "base-uri 'none'", "X-Frame-Options: DENY\n", "Cross-Origin-Opener-Policy: same-origin\n"} {
					s.is.True(strings.Contains(plain.text, line))
				}
			}
			s.is.True(strings.Contains(plain.text, "Cache-Control: no-store\n"))
			for _, query := range []string{"?next=https://evil.example", "?token=" + noToken, "?email=x&username=y", "?%22%3E%3Cscript%3E", "?lang=ja&error=1", "?redirect_uri=//evil.example", "?v=evil", "?password=" + "Tomorrow%23s", ";evil=1?x"} {
				got := s.do("GET", "/recover/"+page+query, "", "Referer: "+mark, "User-Agent: "+mark, "Cookie: a="+mark, "X-Forwarded-Prefix: "+mark, "X-Forwarded-Host: evil.example")
				if !strings.HasPrefix(query, ";") {
					s.is.Equal(got, plain)
				}
				s.is.True(!strings.Contains(got.text, "evil") && !strings.Contains(got.text, "alert(1)"))
			}
		}
		// A refusal does not repeat the request, whatever was wrong with it, except for the pages'
		// own fields, as text.
		for _, name := range entryNames[1:] {
			e := s.entry(name)
			path, _, _ := s.forms(name)
			for _, body := range []string{
				mark, `{"` + mark + `":1}`, `{"account-recovery":{"` + mark + `":"x"}}`, `{"RAX-AUTH:forgotPasswordCredentials":{"portal":"alert(1)","username":"x"}}`,
				"<alert(1)>", `<forgotPasswordCredentials xmlns="alert(1)"/>`, "alert(1)=1", "by=alert(1)&username=&email=", "by=email&email=alert(1)&username=",
			} {
				got := e.send("reset", body)
				s.is.True(got.outcome != accepted)
				s.is.True(strings.Contains(got.text, "Cache-Control: no-store\n"))
				s.is.True(!strings.Contains(got.text, "<script>alert"))
				s.is.Equal(strings.Count(got.text, "alert(1)"), strings.Count(got.text, `value="alert(1)"`))
			}
			for _, target := range []string{path + "?x=alert(1)", path + "/alert(1)", path + ";alert(1)"} {
				for _, method := range []string{"GET", "DELETE", "POST"} {
					s.is.True(!strings.Contains(s.do(method, target, "").text, "alert(1)"))
				}
			}
		}
		s.is.Equal(len(s.deliver()), 0)
		s.sound()
	})
}

func TestAttack_S72_AmbiguousJSON(t *testing.T) { tryRow(t, "S72", "bodies") }

func TestAttack_S73_HostileXML(t *testing.T) { tryRow(t, "S73", "bodies") }

func TestAttack_S74_WrongMediaTypes(t *testing.T) { tryRow(t, "S74", "bodies") }

// A method named anywhere but in the request line is ignored, and so is the body of a GET or HEAD.
func TestAttack_S76_MethodOverrides(t *testing.T) {
	onEntries(t, httpApart, nil, func(s *site, e *entry) {
		token := s.token("victim")
		s.trace.calls()
		path, media, body := s.forms(e.name)
		complete := formats.New(e.name, "complete", map[string][]string{
			formats.Xandr:  {"token", token, "password", newPassword},
			formats.Own:    {"token", token, "password", newPassword},
			formats.Portal: {"token", token, "password", newPassword, "repeat", newPassword},
		}[e.name]...)
		if strings.HasPrefix(e.name, "Rackspace") {
			complete.Body = formats.Body(e.name, "complete", "password", newPassword)
		}
		writes := []string{"POST", "PUT"}
		for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method", "X-Rewrite-Method", "X-Forwarded-Method", "_method"} {
			for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "PATCH", "CONNECT", "PROPFIND", "get", "Post", "POSTX"} {
				for _, write := range writes {
					lines := []string{header + ": " + write, "Content-Type: " + media, "Sec-Fetch-Site: same-origin", "X-Auth-Token: " + token}
					for _, r := range [][2]string{{path, body}, {complete.Path, complete.Body}} {
						s.do(method, r[0], r[1], lines...)
						s.do(method, r[0]+"?_method="+write+"&"+url.QueryEscape(r[1]), "", lines...)
					}
				}
			}
		}
		s.is.Equal(len(s.trace.calls()), 0) // nothing was asked of the store
		s.is.Equal(len(s.deliver()), 0)
		// POST is POST, whatever else is said: of Xandr it asks, and PUT completes.
		got := s.do("POST", path, body, "Content-Type: "+media, "Sec-Fetch-Site: same-origin", "X-HTTP-Method-Override: GET", "X-HTTP-Method-Override: DELETE")
		s.is.Equal(got.outcome, accepted)
		s.is.Equal(len(s.deliver()), 1)
		if e.name == "Xandr" {
			s.is.Equal(s.do("POST", path, complete.Body, "Content-Type: "+media, "X-HTTP-Method-Override: PUT").outcome, malformed)
		}
		s.sound()
	})
}

// A client is the connection's address, or the prefix that one customer has.
func TestAttack_S77_ClientAddresses(t *testing.T) {
	const burst = 3
	limits := func(_ *site, o *recovery.Options) {
		o.Limits = recovery.Limits{
			PerClient: recovery.Limit{Burst: burst, Every: time.Hour}, CompletePerClient: recovery.Limit{Burst: burst, Every: time.Hour},
		}
	}
	forged := []string{"X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP", "Forwarded", "Fastly-Client-IP", "X-Originating-IP", "X-Remote-Addr", "X-Azure-ClientIP", "Via"}
	onEntries(t, apart, limits, func(s *site, e *entry) {
		for _, c := range []struct {
			what string
			addr func(i int) string
		}{
			{"one IPv4 address", func(int) string { return "198.51.100.1" }},
			{"an IPv4 address, mapped now and then", func(i int) string { return []string{"198.51.100.2", "::ffff:198.51.100.2"}[i%2] }},
			{"a rotated /64", func(i int) string { return fmt.Sprintf("2001:db8:1:1:%x::%x", i*257, i) }},
			{"a rotated /64 with zones", func(i int) string { return fmt.Sprintf("fe80::%x%%eth%d", i+1, i) }},
		} {
			ask := func(i int) answer {
				s.client = netip.MustParseAddr(c.addr(i))
				if e.send == nil {
					return e.byName("nobodyxx")
				}
				path, media, body := s.forms(e.name)
				lines := []string{"Content-Type: " + media, "Sec-Fetch-Site: same-origin"}
				for _, name := range forged {
					value := fmt.Sprintf("203.0.113.%d", i)
					if name == "Forwarded" {
						value = "for=" + value
					}
					lines = append(lines, name+": "+value, name+": 127.0.0.1")
				}
				return s.do("POST", path, body, lines...)
			}
			for i := range burst + 20 {
				if got, want := ask(i).outcome, map[bool]string{true: accepted, false: limited}[i < burst]; got != want {
					s.t.Errorf("%s, request %d: %s", c.what, i+1, got)
				}
			}
			for i := range burst + 20 {
				s.client = netip.MustParseAddr(c.addr(i))
				token := noToken[:30] + string(rune('a'+i)) + noToken[31:]
				if got, want := e.complete(token, newPassword).outcome, map[bool]string{true: badToken, false: limited}[i < burst]; got != want {
					s.t.Errorf("%s, completion %d: %s", c.what, i+1, got)
				}
			}
		}
		// Neighbouring networks are other clients.
		for _, addr := range []string{"198.51.100.3", "2001:db8:1:2::1", "2001:db8:1::1"} {
			s.client = netip.MustParseAddr(addr)
			s.is.Equal(e.byName("nobodyxx").outcome, accepted)
		}
		s.sound()
	})
}
