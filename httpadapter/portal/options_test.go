package portal

import (
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/stage"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

func newService(t *testing.T) *recovery.Service {
	t.Helper()
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, nil)
	is.New(t).NoErr(err)
	return svc
}

func TestNilOptions(t *testing.T) {
	is := is.New(t)
	h, err := New(newService(t), nil)
	is.NoErr(err)
	response := httptest.NewRecorder()
	h.ServeHTTP(response, httptest.NewRequest("GET", "/", nil))
	is.Equal(response.Code, 200)
	is.True(strings.Contains(response.Body.String(), "<title>Trouble logging in?</title>")) // no name
	is.True(!strings.Contains(response.Body.String(), "<header>"))

	_, err = New(nil, nil)
	is.Equal(err.Error(), "portal: the Service must not be nil")
}

// A portal that these pages cannot serve is told at start.
func TestPortalsThatDoNotFit(t *testing.T) {
	is := is.New(t)
	log := &spy.Log{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{Logger: logger, Portals: map[string]recovery.Portal{
		"acme": {URL: "https://acme.example/recover/", Tenants: []string{"acme"}}, "all": {URL: "https://acme.example/recover/reset", Tenants: []string{"", "acme"}},
	}})
	is.NoErr(err)
	_, err = New(svc, &Options{Portal: "acme", Logger: logger})
	is.Equal(err.Error(), `portal: Options.Tenant must be set, as the portal "acme" is for the tenants ["acme"]`)
	_, err = New(svc, &Options{Portal: "all", Logger: logger})
	is.NoErr(err)
	is.Equal(log.String(), "")
	_, err = New(svc, &Options{Portal: "acme", Logger: logger, Tenant: func(*http.Request) string { return "acme" }})
	is.NoErr(err)
	is.True(strings.Contains(log.String(), "does not end in /reset"))
}

// What package recovery takes for a name, the pages do too.
func TestNamesOfApplications(t *testing.T) {
	for name, ok := range map[string]bool{"Acme Bank": true, "Acme\u00a0Bank": true, "アクメ": true, "a\u202eb": false, "a\nb": false, "a\u200bb": false, "\xff": false} {
		is := is.New(t)
		_, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{Application: name})
		is.Equal(err == nil, ok)
		_, err = New(newService(t), &Options{Application: name})
		is.Equal(err == nil, ok)
	}
}

func TestEveryFaultOfTheOptionsAtOnce(t *testing.T) {
	is := is.New(t)
	_, err := New(newService(t), &Options{
		Portal: "web", Application: "a\u202eb", LogInURL: "javascript:alert(1)", SupportURL: "mailto:", LogoURL: "//evil.example/x.png",
		Accent: "blue", AccentDark: "#333333", CSS: "\xff", BodyTimeout: -1,
		Templates: fstest.MapFS{
			"start.html":        {Data: []byte("{{.Missing}}")},
			"reset.html":        {Data: []byte("no fields")},
			"done.html":         {Data: []byte("{{")},
			"layout.html":       {Data: []byte(`{{define "x"}}`)},
			"portal.js":         {Data: []byte("alert(1)")},
			"other.html":        {Data: []byte("")},
			"error.html":        {Data: []byte("\xff")},
			"pages/x.html":      {Data: []byte("")},
			"locales/x.txt":     {Data: []byte("")},
			"locales/english":   {Data: []byte("")},
			"locales/xx_y.json": {Data: []byte("{}")},
			"locales/ja.json":   {Data: []byte(`{"unheard":"of","back":"","log_in":"{n}"}`)},
			"locales/de.json":   {Data: []byte("[]")},
			".git/config":       {Data: []byte("")},
			"locales/.keep":     {Data: []byte("")},
		},
	})
	is.True(err != nil)
	text := err.Error()
	for _, want := range []string{
		`portal: Options.Portal must be a name in Options.Portals of package recovery, is "web"`,
		"portal: Options.Application must be one line of visible text",
		`portal: Options.LogInURL must be an https URL, or a path that begins with one "/", of visible ASCII characters`,
		`portal: Options.LogoURL must be an https URL`,
		"portal: Options.SupportURL must have an address after mailto:, and visible ASCII characters only",
		`portal: Options.Accent must be a colour such as "#0b57d0"`,
		"portal: Options.AccentDark must have a contrast of at least 4.5 to #1a1f26, has 1.31",
		"portal: Options.CSS must be UTF-8 and have at most 65536 bytes, has 1",
		"portal: Options.BodyTimeout must not be negative, is -1ns",
		"portal: portal.js: unknown file; allowed here are layout.html, start.html",
		"portal: other.html: unknown file; allowed here are layout.html, start.html",
		"portal: error.html: must be UTF-8",
		"portal: pages: unknown directory; allowed is locales",
		"portal: locales/x.txt: unknown file; allowed here are files such as ja.json",
		"portal: locales/english: unknown file",
		`portal: locales/xx_y.json: the file must be named by a BCP 47 tag, such as "ja.json" or "pt-BR.json"`,
		`portal: locales/ja.json: unknown text "unheard"`,
		`portal: locales/ja.json: "log_in" must not have {n}`,
		`portal: locales/ja.json: the text "back" is missing`,
		"portal: locales/de.json: must be one JSON object of strings, each name once: json: cannot unmarshal array",
		`portal: locales/de.json: the text "start.title" is missing`,
		"portal: template: done.html",
		"portal: template: layout.html",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the error does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	for _, hidden := range []string{".git", ".keep"} {
		is.True(!strings.Contains(text, hidden)) // ignored
	}
}

func TestFaultsOfPages(t *testing.T) {
	is := is.New(t)
	_, err := New(newService(t), &Options{Templates: fstest.MapFS{
		"start.html": {Data: []byte("{{.Missing}}")},
		"sent.html":  {Data: []byte(`{{.T "no.such"}}`)},
		"reset.html": {Data: []byte(`<input name="token"><input name="password">`)},
	}})
	is.True(err != nil)
	for _, want := range []string{
		"portal: start.html in en: ", "portal: start.html in ja: ", `there is no text "no.such"`, `portal: reset.html in en: must have a form with method="post" action="reset"`,
	} {
		is.True(strings.Contains(err.Error(), want))
	}
	is.Equal(strings.Count(err.Error(), `in en: must have a form`), 1) // each fault once

	_, err = New(newService(t), &Options{Templates: fstest.MapFS{
		"done.html": {Data: []byte(`{{if eq .Lang "ja"}}{{.T "no.such"}}{{end}}`)},
	}})
	is.True(err != nil) // one fault is enough

	_, err = New(newService(t), &Options{Templates: brokenFS{}})
	is.Equal(err.Error(), "portal: .: open .: file does not exist")
	_, err = New(newService(t), &Options{Templates: unreadableFS{fstest.MapFS{"start.html": {Data: []byte("x")}}}})
	is.Equal(err.Error(), "portal: start.html: open start.html: permission denied")
}

func TestURLs(t *testing.T) {
	is := is.New(t)
	for _, ok := range []string{"", "/", "/login?x=1#y", "https://example.com", "https://example.com:8443/help", "https://example.com:9999/~help", "https://[2001:db8::1]/", "https://xn--r8jz45g.example:65535?x"} {
		is.NoErr(checkURL(ok))
	}
	for _, bad := range []string{
		"login", "http://example.com/", "//evil.example/", `/\evil.example/`, `\/evil.example`, "javascript:alert(1)", "data:text/html,x", "https://",
		"https:///x", "https://user:pass@example.com/", "https://a b/", "/a b", "/\u3042", "https://:443/", "https://a;script-src/", "https://*.example/", "https://%zz/", "/\n",
		"https://'unsafe-inline'/", "https://a,b/", "https://%E2%80%A8.ex/", "https://%C3%A9.example/", "https://a.example:99999/", "https://a.example:/",
	} {
		is.Equal(checkURL(bad), errURL) // refused
	}
	_, err := New(newService(t), &Options{SupportURL: "tel:1"})
	is.True(strings.Contains(err.Error(), "or begin with mailto:"))
	_, err = New(newService(t), &Options{SupportURL: "mailto:help%2Brecovery@example.com?subject=Help%20me"})
	is.NoErr(err)
	for _, bad := range []string{"mailto:a@", "mailto:@example.com", "mailto:x,@y", "mailto:a@example.com,b@example.com", "mailto:\u3042@example.com", "mailto:a@example.com?subject=Help me", "mailto:?a@example.com"} {
		_, err := New(newService(t), &Options{SupportURL: bad})
		is.True(err != nil) // refused
	}
}

// What is one byte too long, or no text though it looks like it.
func TestTextsOfTheOptions(t *testing.T) {
	is := is.New(t)
	_, err := New(newService(t), &Options{CSS: strings.Repeat("x", 64<<10), Application: "あ b"})
	is.NoErr(err)
	_, err = New(newService(t), &Options{CSS: strings.Repeat("x", 64<<10+1), Application: "a\xffb"})
	is.Equal(err.Error(), "portal: Options.Application must be one line of visible text\n"+
		"portal: Options.CSS must be UTF-8 and have at most 65536 bytes, has 65537")
}

// The logo's origin comes beside the pages' own, whose images Options.CSS may name.
func TestImagesOfThePagesOwnOrigin(t *testing.T) {
	is := is.New(t)
	is.True(strings.Contains(contentSecurityPolicy(""), "; img-src 'self'; "))
	is.True(strings.Contains(contentSecurityPolicy("https://%zz/"), "; img-src 'self'; "))
	is.True(strings.Contains(contentSecurityPolicy("/logo.svg"), "; img-src 'self'; "))
	is.True(strings.Contains(contentSecurityPolicy("https://static.example:8443/logo.svg"), "; img-src 'self' https://static.example:8443; "))
}

func TestColours(t *testing.T) {
	is := is.New(t)
	is.True(math.Abs(contrast("#000000", "#ffffff")-21) < 1e-9)
	is.True(math.Abs(contrast("#0a0a0a", "#ffffff")-19.798) < 1e-3)
	is.True(contrast("#777777", "#ffffff") < 4.5 && contrast("#767676", "#ffffff") > 4.5) // WCAG's own border
	is.NoErr(checkAccent("#0B57D0", lightSurfaces))
	for _, bad := range []string{"0b57d0", "#0b57d", "#0b57d00", "#0b57dg", "#-b57d0", "red", "#fff", "#767676"} {
		is.True(checkAccent(bad, lightSurfaces) != nil) // refused
	}
	css := string(mustRead(stylesheetName))
	for _, color := range append(slices.Concat(lightSurfaces, darkSurfaces), defaultAccentDark) {
		is.True(strings.Contains(css, color)) // what is checked against is what the style sheet has
	}
	light, dark, _ := strings.Cut(css, "prefers-color-scheme: dark")
	is.True(strings.Contains(light, "--card: "+lightSurfaces[0]) && strings.Contains(light, "--page: "+lightSurfaces[1]))
	is.True(strings.Contains(dark, "--card: "+darkSurfaces[0]) && strings.Contains(dark, "--page: "+darkSurfaces[1]))
}

// A light accent of one's own leaves the dark pages theirs.
func TestAccentOfOnePreference(t *testing.T) {
	is := is.New(t)
	css := func(o Options) string { return string(newAssets(&o)[stylesheetName].body) }
	base := css(Options{})
	is.Equal(css(Options{Accent: "#6a1b9a"})[len(base):],
		":root { --accent: #6a1b9a }\n@media (prefers-color-scheme: dark) { :root { --accent: #a8c7fa } }\n")
	is.True(strings.Contains(css(Options{Accent: "#6a1b9a", AccentDark: "#e1bee7"}), "dark) { :root { --accent: #e1bee7 } }"))
	is.Equal(css(Options{AccentDark: "#e1bee7"})[len(base):], "@media (prefers-color-scheme: dark) { :root { --accent: #e1bee7 } }\n")
	is.Equal(css(Options{CSS: "p {}"})[len(base):], "p {}")
}

func TestOwnTemplatesAndLanguages(t *testing.T) {
	is := is.New(t)
	french := strings.ReplaceAll(string(mustRead("locales/en.json")), "Trouble logging in?", "Besoin d’aide ?")
	h, err := New(newService(t), &Options{Templates: fstest.MapFS{
		"locales/fr.json": {Data: []byte("\ufeff" + strings.ReplaceAll(french, "\n", "\r\n"))},
		"locales/ar.json": {Data: []byte(french)},
		"locales/en.json": {Data: []byte(`{"start.title":"Locked out?"}`)},
		"start.html":      {Data: []byte(`<p>Mine</p>`)},
	}})
	is.NoErr(err)
	get := func(accept string) string {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Language", accept)
		response := httptest.NewRecorder()
		h.ServeHTTP(response, r)
		return response.Body.String()
	}
	is.True(strings.Contains(get("fr-CA"), `<html lang="fr" dir="ltr">`))
	is.True(strings.Contains(get("fr-CA"), "<h1>Besoin d’aide ?</h1>\n<p>Mine</p>"))
	is.True(strings.Contains(get("ar"), `<html lang="ar" dir="rtl">`))
	is.True(strings.Contains(get("de"), "<h1>Locked out?</h1>"))
}

func TestLanguageOfThePage(t *testing.T) {
	w := newWorld(t, recovery.Options{}, Options{})
	for accept, want := range map[string]string{
		"": "en", "ja": "ja", "ja-JP": "ja", "en;q=0.5, ja;q=0.9": "ja", "fr, ja;q=0.1": "ja", "fr": "en", "*": "en", "en-GB,ja": "en",
		"not a language!": "en", "ja;q=0": "en",
		"ja,c": "ja", "ja,abcdefghij;q=0.1": "ja", "c,ja;q=abc,ja;q=0.1": "ja", "ja-JP-mac,en": "en", // the ill-formed ones are passed over
		"ja" + strings.Repeat(",en;q=0.1", 100): "ja", strings.Repeat("de,", 84) + "ja,x": "ja", strings.Repeat("de,", 85) + "ja": "en", // after 256 bytes
		strings.Repeat("de,", 84) + "  ja,x": "ja", strings.Repeat("de,", 84) + "   ja,x": "en",
		strings.Repeat("x", 1000): "en",
	} {
		is := is.New(t)
		is.Equal(w.do("GET", "/", "", "Accept-Language", accept).Header().Get("Content-Language"), want)
		for path, form := range map[string]map[string][]string{"/password": byUsername("alice"), "/username": {"email": {"alice@example.com"}}} {
			is.Equal(w.post(path, form, "Accept-Language", accept).Code, 303)
			is.Equal(w.Mails()[0].Locale, want) // of the mail
		}
		token := w.Token("alicia")
		is.Equal(w.post("/reset", newPassword(token, stage.Password), "Accept-Language", accept).Code, 303)
		is.Equal(w.Mails()[0].Locale, want) // of the notice
	}
}

// Header lines of one name are one list.
func TestLanguageInTwoLines(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	is.Equal(w.do("GET", "/", "", "Accept-Language", "en;q=0.5", "Accept-Language", "ja").Header().Get("Content-Language"), "ja")
	is.Equal(w.do("GET", "/", "", "Accept-Language", "de", "Accept-Language", "ja;q=0.5").Header().Get("Content-Language"), "ja")
}

func TestDurations(t *testing.T) {
	is := is.New(t)
	l := newHandler(t).locales[0]
	for d, want := range map[time.Duration][2]string{
		0: {"1 minute", "1 minute"}, time.Second: {"1 minute", "1 minute"}, time.Minute: {"1 minute", "1 minute"},
		61 * time.Second: {"1 minute", "2 minutes"}, time.Hour: {"1 hour", "1 hour"}, 90 * time.Minute: {"90 minutes", "90 minutes"},
		119*time.Minute + 1: {"119 minutes", "120 minutes"}, 16 * time.Hour: {"16 hours", "16 hours"}, 150 * time.Minute: {"2 hours", "3 hours"},
	} {
		is.Equal([2]string{l.duration(d, false), l.duration(d, true)}, want)
	}
}

func newHandler(t *testing.T) *handler {
	t.Helper()
	h, err := New(newService(t), nil)
	is.New(t).NoErr(err)
	return h.(*handler)
}

// Every rule that there can be has a text in every language, and so has every reason.
func TestTextsOfAllRules(t *testing.T) {
	is := is.New(t)
	h := newHandler(t)
	english := map[string]string{}
	for _, l := range h.locales {
		for _, name := range []string{"too_short", "too_long", "too_many_bytes", "no_upper", "no_lower", "no_digit", "no_special", "not_text", "common", "own_word", "breached"} {
			text := h.ruleText(l, recovery.PasswordReason{Name: name, Text: "fallback"})
			is.True(text != "fallback" && text != english[name] && !strings.Contains(text, "{"))
			if l == h.locales[0] {
				english[name] = text
			}
		}
		is.Equal(h.ruleText(l, recovery.PasswordReason{Name: "new_rule", Text: "fallback"}), "fallback")
	}
}

func TestChangePassword(t *testing.T) {
	is := is.New(t)
	for _, target := range []string{"", "http://example.com/", "//evil.example", "recover"} {
		_, err := ChangePassword(target)
		is.True(err != nil) // refused
	}
	h, err := ChangePassword("/recover/")
	is.NoErr(err)
	for method, want := range map[string]int{"GET": 303, "HEAD": 303, "POST": 405} {
		response := httptest.NewRecorder()
		h.ServeHTTP(response, httptest.NewRequest(method, "/.well-known/change-password?next=//evil.example", nil))
		is.Equal(response.Code, want)
		is.Equal(response.Header().Get("Location") == "/recover/", want == http.StatusSeeOther)
		is.Equal(response.Header().Get("Allow") == "GET, HEAD", want == http.StatusMethodNotAllowed)
	}
}
