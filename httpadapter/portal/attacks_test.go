package portal

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// allPaths are those that answer.
var allPaths = []string{"", "password", "password-sent", "username", "username-sent", "reset", "done", stylesheetName, scriptName}

// The answer to a request is the same byte for byte, whoever is named and whatever becomes of it.
func TestSameAnswer(t *testing.T) {
	for _, header := range [][]string{nil, ja} {
		is := is.New(t)
		w := newWorld(t, recovery.Options{Limits: recovery.Limits{
			PerClient: recovery.Limit{Burst: 1000, Every: time.Second},
			// The two are counted in either order, and the last of a burst must not be overtaken.
			UsernamesPerMailbox: recovery.Limit{Burst: 3, Every: time.Hour},
		}}, Options{})
		answers := map[string]string{}
		for _, c := range []struct {
			path string
			form url.Values
		}{
			{"password", byUsername("billybob")}, {"password", byUsername("nobody")}, {"password", byUsername("mallory")},
			{"password", byEmail("alice@example.com")}, {"password", byEmail("nobody@example.com")}, {"password", byEmail("mallory@example.com")},
			{"username", url.Values{"email": {"alice@example.com"}}}, {"username", url.Values{"email": {"nobody@example.com"}}}, {"username", url.Values{"email": {"mallory@example.com"}}},
		} {
			for range 2 { // the second is over the limit of its account
				answer := w.post("/recover/"+c.path, c.form, header...)
				text := dump(answer) + dump(w.do("GET", "/recover/"+answer.Header().Get("Location"), "", header...))
				if answers[c.path] == "" {
					answers[c.path] = text
				}
				is.Equal(text, answers[c.path])
			}
		}
		is.Equal(len(w.deliver()), 4) // to billybob, and a reset and twice the names to alice and alicia
	}
}

// An address without a port is still an address, and what is none is one client.
func TestAttack_S79_AddressesWithoutAPort(t *testing.T) {
	for _, remote := range []string{"192.0.2.7", "2001:db8::1", "192.0.2.7, 10.0.0.1", "unknown", "@", ""} {
		t.Run(remote, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, recovery.Options{
				Now:    func() time.Time { return time.Date(2026, 11, 21, 18, 30, 0, 0, time.UTC) },
				Limits: recovery.Limits{PerClient: recovery.Limit{Burst: 20, Every: 30 * time.Second}}, // the default
			}, Options{})
			ask := func(i int, remote string) int {
				r := httptest.NewRequest("POST", "/password", strings.NewReader(byUsername(fmt.Sprint("user", i)).Encode()))
				r.Header.Set("Content-Type", formType)
				r.Header.Set("Sec-Fetch-Site", "same-origin")
				r.RemoteAddr = remote
				response := httptest.NewRecorder()
				w.handler.ServeHTTP(response, r)
				return response.Code
			}
			passed := 0
			for i := range 100 {
				if code := ask(i, remote); code != http.StatusTooManyRequests {
					is.Equal(code, http.StatusSeeOther)
					passed++
				}
			}
			is.Equal(passed, 20)                                  // as many as with a port
			is.Equal(ask(0, "198.51.100.9"), http.StatusSeeOther) // and nobody else is concerned
		})
	}
}

// Every token that cannot be used has the same answer: S55.
func TestOneAnswerForBadTokens(t *testing.T) {
	is := is.New(t)
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	w := newWorld(t, recovery.Options{Now: func() time.Time { return now }}, Options{})
	send := func(token string) string { return dump(w.post("/reset", newPassword(token, goodPassword))) }
	first := send(noToken)
	is.True(strings.HasPrefix(first, "Unprocessable Entity\n"))
	is.Equal(send("malformed"), first)
	used := w.token("alice")
	is.True(strings.HasPrefix(send(used), "See Other\n"))
	is.Equal(send(used), first)
	superseded := w.token("billybob")
	dead := w.token("billybob")
	is.Equal(send(superseded), first)
	expired := w.token("alicia")
	now = now.Add(16 * time.Hour)
	is.Equal(send(expired), first)
	now = now.Add(-16 * time.Hour)
	w.users.Remove("3")
	is.Equal(send(dead), first)
}

func TestAttack_S29_NoTokenInAnswers(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	token := w.token("billybob")
	for _, form := range []url.Values{
		newPassword(token, "short"),
		{"token": {token}, "password": {goodPassword}, "repeat": {"other"}},
		{"token": {"<" + token + "\u3000>\u200b"}, "password": {goodPassword}, "repeat": {"other"}},
		newPassword("https://portal.example/recover/reset#token="+token, "Password-123"),
		newPassword(token+token, goodPassword),
		{"token": {token}, "password": {goodPassword}},
		newPassword(token, goodPassword),
		newPassword(token, goodPassword), // used now
	} {
		answer := dump(w.post("/recover/reset", form))
		is.True(!strings.Contains(answer, token[:8]))
		is.True(!strings.Contains(answer, goodPassword))
	}
	// Where a link was built wrongly, so that the token came in the query.
	answer := dump(w.do("GET", "/recover/reset?token="+token, ""))
	is.True(!strings.Contains(answer, token[:8]))
	is.Equal(w.log.String(), "")
}

func TestAttack_S30_ReadingChangesNothing(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	token := w.token("billybob")
	for range 100 {
		for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
			for _, path := range allPaths {
				w.do(method, "/recover/"+path+"?"+newPassword(token, goodPassword).Encode(), "")
			}
			w.do(method, "/recover/reset", newPassword(token, goodPassword).Encode(), isForm...)
			w.do(method, "/recover/password", byUsername("alice").Encode(), isForm...)
		}
	}
	is.Equal(len(w.deliver()), 0) // no mail
	is.Equal(w.post("/recover/reset", newPassword(token, goodPassword)).Code, 303)
}

func TestAttack_S60_HostDoesNotReachAnything(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	send := func(method, target string, body string, header ...string) (*httptest.ResponseRecorder, string) {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Host = "evil.example"
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		response := httptest.NewRecorder()
		w.handler.ServeHTTP(response, r)
		return response, dump(response)
	}
	forwarded := []string{"Content-Type", formType, "X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example", "X-Forwarded-Prefix", "/evil", "X-Original-URL", "/evil"}
	for _, path := range allPaths {
		_, text := send("GET", "http://evil.example/recover/"+path, "", forwarded...)
		is.True(!strings.Contains(text, "evil"))
	}
	response, text := send("POST", "http://evil.example/recover/password", byUsername("billybob").Encode(), forwarded...)
	is.Equal(response.Code, 303)
	is.True(!strings.Contains(text, "evil"))
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].Resets[0].Link, "https://portal.example/recover/reset#token="+mails[0].Resets[0].Token.Reveal())
}

// What a browser of this century says of another site's form, and what an old one says.
func TestAttack_S70_OtherSites(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	for _, path := range []string{"/recover/password", "/recover/username", "/recover/reset"} {
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
			{"Origin", "http://example.com:8080"}, {"Sec-Fetch-Site", "cross-site", "Origin", "http://example.com"},
		} {
			answer := w.do("POST", path, byUsername("billybob").Encode(), append([]string{"Content-Type", formType}, header...)...)
			is.Equal(answer.Code, 403)
			is.True(strings.Contains(answer.Body.String(), `<a class="button" href="`+path[len("/recover/"):]+`">`)) // the way on
		}
	}
	for _, media := range []string{"text/plain", "multipart/form-data; boundary=x", "application/json", ""} {
		header := []string{"Sec-Fetch-Site", "same-origin", "Content-Type", media}
		is.Equal(w.do("POST", "/recover/password", byUsername("billybob").Encode(), header...).Code, 415)
	}
	is.Equal(len(w.deliver()), 0) // no mail
	is.Equal(w.do("POST", "/recover/password", byUsername("billybob").Encode(), "Content-Type", formType, "Origin", "http://example.com").Code, 303)
	is.Equal(len(w.deliver()), 1) // the pages' own form, where a browser tells its origin only
}

func TestOriginsOfOnesOwn(t *testing.T) {
	is := is.New(t)
	trusting := http.NewCrossOriginProtection()
	is.NoErr(trusting.AddTrustedOrigin("https://public.example"))
	w := newWorld(t, recovery.Options{}, Options{CrossOrigin: trusting})
	is.Equal(w.do("POST", "/password", byUsername("billybob").Encode(), "Content-Type", formType, "Origin", "https://public.example").Code, 303)
	is.Equal(w.do("POST", "/password", byUsername("billybob").Encode(), "Content-Type", formType, "Origin", "https://evil.example").Code, 403)
}

func TestAttack_S71_NothingIsReflected(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	const mark = `x"><script>alert(1)</script>`
	for _, path := range allPaths {
		plain := dump(w.do("GET", "/recover/"+path, ""))
		for _, query := range []string{"?next=" + url.QueryEscape(mark), "?email=" + url.QueryEscape(mark), "?" + url.QueryEscape(mark), "?lang=ja", "?error=1"} {
			is.Equal(dump(w.do("GET", "/recover/"+path+query, "", "Referer", "https://evil.example/"+mark, "User-Agent", mark, "Cookie", mark)), plain)
		}
	}
	// What was typed comes back in its own field, as text.
	for path, form := range map[string]url.Values{
		"password": {"by": {"email"}, "email": {mark}, "username": {mark}},
		"username": {"email": {mark}},
	} {
		body := w.post("/recover/"+path, form).Body.String()
		is.True(!strings.Contains(body, "<script>"))
		is.True(!strings.Contains(body, mark))
		is.Equal(strings.Count(body, "alert(1)"), strings.Count(body, `value="x&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"`))
		is.Equal(strings.Count(body, "alert(1)"), len(form)-len(form)/3) // email, and username on the page that has both
	}
	// A path that looks like another origin leads nowhere else.
	for _, path := range []string{"//evil.example/password", "/https://evil.example/password", `/\evil.example/password`} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(byUsername("nobody").Encode()))
		r.URL.Path = path
		r.Header.Set("Content-Type", formType)
		response := httptest.NewRecorder()
		w.handler.ServeHTTP(response, r)
		is.Equal(response.Header().Get("Location"), "password-sent")
		is.True(!strings.Contains(dump(response), "evil"))
	}
}

// What stands in the pages is ours alone: no code and no style inline, no address elsewhere.
func TestPagesHaveNothingInline(t *testing.T) {
	is := is.New(t)
	for _, v := range vectors {
		w := newWorld(t, v.core, Options{})
		body, header := v.body, v.header
		if v.form != nil {
			body, header = v.form.Encode(), append(isForm[:4:4], header...)
		}
		if v.before != nil {
			v.before(w)
		}
		if strings.Contains(v.path, "portal.") {
			continue
		}
		html := w.do(v.method, v.path, body, header...).Body.String()
		is.Equal(strings.Count(html, "<script"), strings.Count(html, `<script src="portal.js?v=`))
		for _, s := range []string{"<style", " style=", " onclick", " onload", "javascript:", "http:", "https:", `="//`, "<base", "<iframe"} {
			if i := strings.Index(strings.ReplaceAll(html, `&lt;b onclick=`, ""), s); i >= 0 {
				t.Errorf("%s: the page has %q", v.name, s)
			}
		}
	}
	is.True(len(vectors) > 40)
}

// The form of a duplicated, operator-laden or list-shaped identifier is refused: S01, S02.
func TestAttack_S01_RepeatedIdentifiers(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	for _, body := range []string{
		"by=email&email=alice%40example.com&email=evil%40example.com&username=",
		"by=email&email[]=alice%40example.com&email[]=evil%40example.com&username=",
		"by=email&by=username&email=alice%40example.com&username=billybob",
		"by=email&email=alice%40example.com&Email=evil%40example.com&username=",
		"by=email&email=alice%40example.com",
		"by=both&email=alice%40example.com&username=billybob",
	} {
		is.Equal(w.do("POST", "/password", body, isForm...).Code, 400)
	}
	for _, email := range []string{"alice@example.com,evil@example.com", "alice@example.com;evil@example.com", "alice@example.com evil@example.com", "alice@example.com\nevil@example.com"} {
		is.Equal(w.post("/password", byEmail(email)).Code, 422)
	}
	is.Equal(len(w.deliver()), 0)
}

// The field that was not chosen is not looked at: S03, S12.
func TestAttack_S12_TheChosenFieldCounts(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	to := func(form url.Values) (addresses []string) {
		is.Equal(w.post("/password", form).Code, 303)
		for _, m := range w.deliver() {
			addresses = append(addresses, m.To)
		}
		return addresses
	}
	is.Equal(to(url.Values{"by": {"email"}, "email": {"billybob@example.com"}, "username": {"alice"}}), []string{"billybob@example.com"})
	is.Equal(to(url.Values{"by": {"username"}, "email": {"alice@example.com"}, "username": {"billybob@example.com"}}), []string{"other@example.com"})
	is.True(slices.Equal(to(byUsername(" BillyBob ")), []string{"billybob@example.com"}))
}
