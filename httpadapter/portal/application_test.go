package portal

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/stage"
)

// ofHeader takes the tenant from where a test can say it.
func ofHeader(r *http.Request) string { return r.Header.Get("X-Tenant") }

// Options.Tenant says whose account is meant, and the answer does not tell whether there is one.
func TestTenant(t *testing.T) {
	for path, form := range map[string]url.Values{
		"/password": byUsername("billybob"), "/password?by=email": byEmail("billybob@example.com"), "/username": {"email": {"billybob@example.com"}},
	} {
		is := is.New(t)
		w := newWorld(t, recovery.Options{}, Options{Tenant: ofHeader})
		w.Users.Put(recovery.Account{ID: "6", Tenant: "acme", Username: "billybob", Email: "BillyBob@example.com",
			Active: true, HasPassword: true, EmailVerified: true}, "hash of old")
		first := dump(w.post(path, form))
		is.True(strings.HasPrefix(first, "See Other\n"))
		is.Equal(w.Recipients(), []string{":billybob@example.com"})
		is.Equal(dump(w.post(path, form, "X-Tenant", "acme")), first)
		is.Equal(w.Recipients(), []string{"acme:BillyBob@example.com"})
		is.Equal(dump(w.post(path, form, "X-Tenant", "other")), first)
		is.Equal(w.Recipients(), nil)
	}
}

// The pages have one portal. That it is not for the tenant is nothing that the caller could mend.
func TestPortalOfAnotherTenant(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	core := w.Options()
	core.Portals = map[string]recovery.Portal{"web": {URL: "https://portal.example/recover/reset", Tenants: []string{"acme"}}}
	svc, err := recovery.New(w.Users, &w.Mail, &core)
	is.NoErr(err)
	w.handler = must(t)(New(svc, &Options{Portal: "web", Tenant: ofHeader, Logger: core.Logger}))
	first := dump(w.post("/password", byUsername("billybob")))
	is.True(strings.HasPrefix(first, "Internal Server Error\n"))
	is.Equal(dump(w.post("/password", byUsername("nobody"))), first)
	is.Equal(strings.Count(w.Log.String(), "recovery: portal must be one that the application configured"), 2)
	is.Equal(w.post("/password", byUsername("billybob"), "X-Tenant", "acme").Code, 303)
}

// The pages have no field for a second factor: whoever needs one is told what whoever is denied is.
func TestChallenge(t *testing.T) {
	is := is.New(t)
	answer := fmt.Errorf("ask for it: %w", &recovery.ChallengeError{Name: "totp-of-7", Text: "Enter the code sent to 0123."})
	w := newWorld(t, recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error { return answer }}, Options{})
	token := w.Token("billybob")
	for range recovery.MaxTries + 1 {
		response := w.post("/reset", newPassword(token, stage.Password))
		is.Equal(response.Code, 403)
		is.True(strings.Contains(response.Body.String(), "The password of this account cannot be reset here."))
		is.True(!strings.Contains(response.Body.String(), "data-forget")) // the script keeps the token
		for _, s := range []string{"totp-of-7", "0123", "ask for it"} {
			is.True(!strings.Contains(dump(response)+w.Log.String(), s))
		}
	}
	is.Equal(strings.Count(w.Log.String(), "put a page of your own in the place of reset"), 1)
	answer = nil
	is.Equal(w.post("/reset", newPassword(token, stage.Password)).Code, 303) // the token is alive
}

// reasonsOf returns the reasons on a page for which a password was rejected.
func reasonsOf(t *testing.T, answer *httptest.ResponseRecorder) (texts []string) {
	t.Helper()
	is := is.New(t)
	is.Equal(answer.Code, 422)
	for n := range parse(t, answer.Body.String()).Descendants() {
		if attribute(n, "id") != "password-error" {
			continue
		}
		for item := range n.Descendants() {
			if item.Data == "li" {
				texts = append(texts, textOf(item))
			}
		}
	}
	return texts
}

// What the application has against a password is shown as it said it, in every language.
func TestReasonsOfTheApplication(t *testing.T) {
	var own error
	texts := []string{"must not be one of the last 5", `must have no <script>alert(1)</script> & no "quotes"`, "must have at least 20 characters"}
	rejection := &recovery.PasswordError{Reasons: []recovery.PasswordReason{
		{Name: "seen_before", Text: texts[0]}, {Name: `"><script>`, Text: texts[1]}, {Name: "too_short", Text: texts[2]},
	}}
	for name, core := range map[string]recovery.Options{
		"Approve": {Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error { return own }},
		"Hasher":  {Hasher: recovery.Hasher{Hash: func(string) (string, error) { return "new", own }}},
		"Check": {Policy: &recovery.Policy{Check: func(context.Context, recovery.Account, string) ([]recovery.PasswordReason, error) {
			if own != nil {
				return rejection.Reasons, nil
			}
			return nil, nil
		}}},
		"Check's error": {Policy: &recovery.Policy{Check: func(context.Context, recovery.Account, string) ([]recovery.PasswordReason, error) { return nil, own }}},
	} {
		for _, header := range [][]string{nil, ja} {
			t.Run(fmt.Sprint(name, header), func(t *testing.T) {
				is := is.New(t)
				w := newWorld(t, core, Options{})
				token := w.Token("billybob")
				own = fmt.Errorf("internal detail: %w", rejection)
				answer := w.post("/reset", newPassword(token, stage.Password), header...)
				is.Equal(reasonsOf(t, answer), texts)
				body := answer.Body.String()
				is.True(strings.Contains(body, "&lt;script&gt;alert(1)&lt;/script&gt; &amp; no &#34;quotes&#34;</li>"))
				is.True(!strings.Contains(body, "internal detail"))
				is.True(!strings.Contains(body, `class="unmet"`)) // it breaks none of the rules that are listed
				is.Equal(w.Log.String(), "")
				own = nil
				is.Equal(w.post("/reset", newPassword(token, stage.Password)).Code, 303) // the token is alive
			})
		}
	}
}

// bcrypt takes 72 bytes, which are fewer characters in most languages. Elsewhere nobody has to read
// of bytes.
func TestPasswordsForBcrypt(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{Hasher: recovery.Bcrypt(10)}, Options{})
	const rule = "at most 72 bytes (é counts as 2, 字 as 3, 😀 as 4)"
	for page, want := range map[string]bool{
		w.do("GET", "/reset", "").Body.String():                                                                       true,
		newWorld(t, recovery.Options{}, Options{}).do("GET", "/reset", "").Body.String():                              false,
		newWorld(t, recovery.Options{Policy: recovery.NIST80063B()}, Options{}).do("GET", "/reset", "").Body.String(): false,
	} {
		is.Equal(strings.Contains(page, `<li data-rule="too_many_bytes" data-limit="72">`+rule+`<span`), want)
		is.Equal(strings.Contains(page, "bytes"), want)
	}
	token := w.Token("billybob")
	answer := w.post("/reset", newPassword(token, "Aa1-"+strings.Repeat("ぱ", 30))) // 94 bytes, 34 characters
	is.Equal(reasonsOf(t, answer), []string{rule})
	is.True(strings.Contains(answer.Body.String(), `<li data-rule="too_many_bytes" data-limit="72" class="unmet">`))
	is.Equal(w.post("/reset", newPassword(token, "Aa1-ab"+strings.Repeat("ぱ", 22))).Code, 303) // 72 bytes
}

// Where the bytes are no rule of their own, whoever has too many of them has too many characters.
func TestPasswordOfTooManyBytesAndNoRule(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	answer := w.post("/reset", newPassword(stage.NoToken, strings.Repeat("Aa1-", 257)))
	is.Equal(reasonsOf(t, answer), []string{"at most 64 characters"})
	is.True(strings.Contains(answer.Body.String(), `<li data-rule="too_long" data-limit="64" class="unmet">`))
}

// Password managers must not make what the policy rejects.
func TestPasswordRules(t *testing.T) {
	for want, core := range map[string]recovery.Options{
		"minlength: 10; maxlength: 64; ": {},
		"minlength: 12; maxlength: 72; ": {Policy: &recovery.Policy{MinLength: 12, MaxLength: 128}, Hasher: recovery.Bcrypt(10)},
		"minlength: 10; maxlength: 50; ": {Policy: &recovery.Policy{MaxBytes: 50}},
		"minlength: 8; maxlength: 20; ":  {Policy: &recovery.Policy{MinLength: 8, MaxLength: 20, MaxBytes: 50}},
	} {
		is := is.New(t)
		page := newWorld(t, core, Options{}).do("GET", "/reset", "").Body.String()
		_, rules, _ := strings.Cut(page, `passwordrules="`)
		is.True(strings.HasPrefix(rules, want+"required: upper; required: lower; required: digit; required: ["))
	}
}

// White space of every script around a name is none of it.
func TestBlankIdentifiers(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, recovery.Options{}, Options{})
	for _, blank := range []string{"", "  ", "\u3000", "\u00a0\u2003\t"} {
		for path, form := range map[string]url.Values{"/password": byUsername(blank), "/password?by=email": byEmail(blank), "/username": {"email": {blank}}} {
			answer := w.post(path, form)
			is.Equal(answer.Code, 422)
			is.True(strings.Contains(answer.Body.String(), "Enter your ")) // username or email address
		}
	}
	is.Equal(w.post("/password", byUsername("\u3000billybob\u00a0")).Code, 303)
	is.Equal(w.post("/username", url.Values{"email": {"\u3000billybob@example.com\u00a0"}}).Code, 303)
	is.Equal(w.Recipients(), []string{":billybob@example.com", ":billybob@example.com"})
}
