package portal

import (
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/stage"
)

// allPaths are those that answer.
var allPaths = []string{"", "password", "password-sent", "username", "username-sent", "reset", "done", stylesheetName, scriptName}

func TestAttack_S29_NoTokenInAnswers(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	token := w.Token("billybob")
	for _, form := range []url.Values{
		newPassword(token, "short"),
		{"token": {token}, "password": {stage.Password}, "repeat": {"other"}},
		{"token": {"<" + token + "\u3000>\u200b"}, "password": {stage.Password}, "repeat": {"other"}},
		newPassword("https://portal.example/recover/reset#token="+token, "Password-123"),
		newPassword(token+token, stage.Password),
		{"token": {token}, "password": {stage.Password}},
		newPassword(token, stage.Password),
		newPassword(token, stage.Password), // used now
	} {
		answer := dump(w.post("/recover/reset", form))
		is.True(!strings.Contains(answer, token[:8]))
		is.True(!strings.Contains(answer, stage.Password))
	}
	// Where a link was built wrongly, so that the token came in the query.
	answer := dump(w.do("GET", "/recover/reset?token="+token, ""))
	is.True(!strings.Contains(answer, token[:8]))
	is.Equal(w.Log.String(), "")
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
	mails := w.Mails()
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
	is.Equal(len(w.Mails()), 0)                                   // no mail
	is.Equal(strings.Count(w.Log.String(), "Options.Origins"), 1) // a minute
	is.Equal(w.do("POST", "/recover/password", byUsername("billybob").Encode(), "Content-Type", formType, "Origin", "http://example.com").Code, 303)
	is.Equal(len(w.Mails()), 1) // the pages' own form, where a browser tells its origin only
}

func TestOriginsOfOnesOwn(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{Origins: []string{"https://public.example"}})
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

// The field that was not chosen is not looked at: S03, S12.
func TestAttack_S12_TheChosenFieldCounts(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	to := func(form url.Values) (addresses []string) {
		is.Equal(w.post("/password", form).Code, 303)
		for _, m := range w.Mails() {
			addresses = append(addresses, m.To)
		}
		return addresses
	}
	is.Equal(to(url.Values{"by": {"email"}, "email": {"billybob@example.com"}, "username": {"alice"}}), []string{"billybob@example.com"})
	is.Equal(to(url.Values{"by": {"username"}, "email": {"alice@example.com"}, "username": {"billybob@example.com"}}), []string{"other@example.com"})
	is.True(slices.Equal(to(byUsername(" BillyBob ")), []string{"billybob@example.com"}))
}
