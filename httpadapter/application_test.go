package httpadapter

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A door is one way to ask for a token and to use it. Each returns the raw response.
type door struct {
	name     string
	build    constructor
	ask      func(w *world, username string, header ...string) string
	complete func(w *world, token, password string) string
}

var doors = []door{
	{"Xandr", NewXandr, func(w *world, username string, header ...string) string {
		return w.send("POST", "/account-recovery", header, `{"account-recovery":{"username":`+inJSON(username)+`}}`)
	}, func(w *world, token, password string) string {
		return w.send("PUT", "/account-recovery", nil, `{"account-recovery":{"token":"`+token+`","password":`+inJSON(password)+`}}`)
	}},
	{"Rackspace JSON", NewRackspace, func(w *world, username string, header ...string) string {
		return w.send("POST", forgotPath, append(header, isJSON), `{"RAX-AUTH:forgotPasswordCredentials":{"username":`+inJSON(username)+`}}`)
	}, func(w *world, token, password string) string {
		return w.send("POST", resetPath, []string{isJSON, "X-Auth-Token: " + token}, `{"RAX-AUTH:passwordReset":{"password":`+inJSON(password)+`}}`)
	}},
	{"Rackspace XML", NewRackspace, func(w *world, username string, header ...string) string {
		return w.send("POST", forgotPath, append(header, isXML, wantXML), `<forgotPasswordCredentials`+inSpace+`username="`+inXML(username)+`"/>`)
	}, func(w *world, token, password string) string {
		return w.send("POST", resetPath, []string{isXML, wantXML, "X-Auth-Token: " + token}, `<passwordReset`+inSpace+`password="`+inXML(password)+`"/>`)
	}},
}

const inSpace = ` xmlns="` + raxAuthSpace + `" `

func inJSON(s string) string { return string(mustMarshal(s)) }

func inXML(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

// isStatus reports the status of a raw response.
func isStatus(response string, statuses ...int) bool {
	for _, status := range statuses {
		if strings.HasPrefix(response, fmt.Sprintf("HTTP/1.1 %d ", status)) {
			return true
		}
	}
	return false
}

// ofHeader takes the tenant from where a test can say it.
func ofHeader(r *http.Request) string { return r.Header.Get("X-Tenant") }

func (w *world) recipients() (to []string) {
	for _, m := range w.deliver() {
		to = append(to, m.Tenant+":"+m.To)
	}
	return to
}

// Options.Tenant says whose account is meant, and the answer does not tell whether there is one.
func TestTenant(t *testing.T) {
	for _, d := range doors {
		t.Run(d.name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, d.build, recovery.Options{}, Options{Tenant: ofHeader})
			w.users.Put(recovery.Account{ID: "5", Tenant: "acme", Username: "billybob", Email: "bb@acme.example",
				Active: true, HasPassword: true, EmailVerified: true}, "hash of old")
			first := d.ask(w, "billybob")
			is.True(isStatus(first, 200, 204))
			is.Equal(w.recipients(), []string{":billybob@example.com"})
			is.Equal(d.ask(w, "billybob", "X-Tenant: acme"), first)
			is.Equal(w.recipients(), []string{"acme:bb@acme.example"})
			is.Equal(d.ask(w, "billybob", "X-Tenant: other"), first)
			is.Equal(w.recipients(), nil)
		})
	}
}

func TestTenantOfUsernames(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{Tenant: ofHeader})
	ask := func(tenant string) string {
		return w.send("POST", "/account-recovery", []string{"X-Tenant: " + tenant}, `{"account-recovery":{"email":"billybob@example.com"}}`)
	}
	first := ask("")
	is.Equal(w.recipients(), []string{":billybob@example.com"})
	is.Equal(ask("acme"), first)
	is.Equal(w.recipients(), nil)
}

// A tenant that cannot be is the application's fault, and the caller's answer the same for every
// name.
func TestTenantAtFault(t *testing.T) {
	const secret = "boom at billybob@example.com"
	for name, c := range map[string]struct {
		tenant func(*http.Request) string
		log    string
	}{
		"too long":  {func(*http.Request) string { return strings.Repeat("t", 65) }, `error="recovery: tenant must be at most 64 bytes of visible text"`},
		"invisible": {func(*http.Request) string { return secret + "\x00" }, `error="recovery: tenant must be at most 64 bytes of visible text"`},
		"panic":     {func(*http.Request) string { panic(secret) }, `msg="httpadapter: panic"`},
	} {
		for _, d := range doors {
			t.Run(d.name+"/"+name, func(t *testing.T) {
				is := is.New(t)
				w := newWorld(t, d.build, recovery.Options{}, Options{Tenant: c.tenant})
				first := d.ask(w, "billybob")
				is.True(isStatus(first, 500))
				is.True(!strings.Contains(first, "tenant") && !strings.Contains(first, "boom"))
				is.Equal(d.ask(w, "nobody"), first)
				is.Equal(strings.Count(w.log.String(), c.log), 2)
				is.True(!strings.Contains(w.log.String(), "boom") && !strings.Contains(w.log.String(), "ttt"))
				is.Equal(w.recipients(), nil)
			})
		}
	}
}

func TestLongestTenant(t *testing.T) {
	for _, d := range doors {
		is := is.New(t)
		w := newWorld(t, d.build, recovery.Options{}, Options{Tenant: func(*http.Request) string { return strings.Repeat("t", 64) }})
		is.True(isStatus(d.ask(w, "billybob"), 200, 204))
		is.Equal(w.log.String(), "")
	}
}

// Who names no portal cannot mend that the default one is for other tenants.
func TestDefaultPortalOfAnotherTenant(t *testing.T) {
	for _, d := range doors {
		t.Run(d.name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, d.build, recovery.Options{Portals: map[string]recovery.Portal{
				"": {URL: "https://portal.example/reset", Tenants: []string{"acme"}},
			}}, Options{Tenant: ofHeader})
			first := d.ask(w, "billybob", "X-Tenant: other")
			is.True(isStatus(first, 500))
			is.True(!strings.Contains(first, "portal"))
			is.Equal(d.ask(w, "nobody", "X-Tenant: other"), first)
			is.Equal(strings.Count(w.log.String(), "recovery: portal must be one that the application configured"), 2)
			is.True(isStatus(d.ask(w, "nobody", "X-Tenant: acme"), 200, 204))
		})
	}
}

// These formats have no field for a second factor: the answer says that one is needed, and no more.
func TestChallenge(t *testing.T) {
	for _, d := range doors {
		t.Run(d.name, func(t *testing.T) {
			is := is.New(t)
			challenge := fmt.Errorf("ask for it: %w", &recovery.ChallengeError{Name: "totp-of-7", Text: "Enter the code sent to 0123."})
			w := newWorld(t, d.build, recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
				return challenge
			}}, Options{})
			token := w.token("billybob")
			for range recovery.MaxTries + 1 {
				response := d.complete(w, token, goodPassword)
				is.True(isStatus(response, 403))
				is.True(strings.Contains(response, "a second factor is needed"))
				for _, s := range []string{"totp-of-7", "0123", "ask for it"} {
					is.True(!strings.Contains(response+w.log.String(), s))
				}
			}
			challenge = nil
			is.True(isStatus(d.complete(w, token, goodPassword), 200, 204)) // the token is alive
		})
	}
}

var ownReasons = &recovery.PasswordError{Reasons: []recovery.PasswordReason{
	{Name: "seen_before", Text: "must not be one of the last 5"}, {Name: "own rule", Text: `must have no <b> & no "quotes"`},
}}

// rejecting returns the options of an application with reasons of its own, by where they come from.
// It rejects while the switch is on.
func rejecting(on *bool) map[string]recovery.Options {
	rejection := func() error {
		if *on {
			return fmt.Errorf("internal detail: %w", ownReasons)
		}
		return nil
	}
	return map[string]recovery.Options{
		"Approve": {Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error { return rejection() }},
		"Hasher":  {Hasher: recovery.Hasher{Hash: func(string) (string, error) { return "new", rejection() }}},
		"Check's error": {Policy: &recovery.Policy{Check: func(context.Context, recovery.Account, string) ([]recovery.PasswordReason, error) {
			return nil, rejection()
		}}},
		"Check": {Policy: &recovery.Policy{Check: func(context.Context, recovery.Account, string) ([]recovery.PasswordReason, error) {
			if *on {
				return ownReasons.Reasons, nil
			}
			return nil, nil
		}}},
	}
}

// What the application has against a password is told, as the policy's own reasons are.
func TestReasonsOfTheApplication(t *testing.T) {
	var on bool
	texts := map[string]string{
		"Xandr":          `"error":"the password must not be one of the last 5, must have no <b> & no \"quotes\"","error_description":"seen_before,own rule",`,
		"Rackspace JSON": `"message":"the password must not be one of the last 5, must have no <b> & no \"quotes\""`,
		"Rackspace XML":  `<message>the password must not be one of the last 5, must have no &lt;b&gt; &amp; no &#34;quotes&#34;</message>`,
	}
	for name, core := range rejecting(&on) {
		for _, d := range doors {
			t.Run(d.name+"/"+name, func(t *testing.T) {
				is := is.New(t)
				w := newWorld(t, d.build, core, Options{})
				token := w.token("billybob")
				on = true
				response := d.complete(w, token, goodPassword)
				is.True(isStatus(response, 400))
				is.True(strings.Contains(response, texts[d.name]))
				is.True(!strings.Contains(response, "internal detail"))
				is.Equal(w.log.String(), "")
				on = false
				is.True(isStatus(d.complete(w, token, goodPassword), 200, 204)) // the token is alive
			})
		}
	}
}

// A reason may hold whatever the application put into it, and stays text.
func TestReasonsAreText(t *testing.T) {
	for _, d := range doors {
		is := is.New(t)
		w := newWorld(t, d.build, recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
			return &recovery.PasswordError{Reasons: []recovery.PasswordReason{{Name: "a\x00b\xff", Text: "c\x00\r\nSet-Cookie: x=y\xff</message>"}}}
		}}, Options{})
		response := d.complete(w, w.token("billybob"), goodPassword)
		is.True(isStatus(response, 400))
		for _, s := range []string{"\x00", "\r", "\xff"} {
			is.True(!strings.Contains(response, s))
		}
		is.True(!strings.Contains(response, "\nSet-Cookie"))
		is.True(strings.Count(response, "</message>") <= 1 || !strings.Contains(d.name, "XML"))
	}
}

func TestXandrBlankIdentifiers(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	send := func(method, fields string) string {
		return w.send(method, "/account-recovery", nil, `{"account-recovery":{`+fields+`}}`)
	}
	is.Equal(send("POST", `"email":"`+"\u3000"+`"`), send("POST", `"email":""`))
	is.Equal(send("PUT", `"username":"`+"\u3000"+`","password":"x","token":"y"`), send("PUT", `"username":"","password":"x","token":"y"`))
}

// The header has the name without what was typed around it.
func TestRackspaceTrimsTheNameInTheHeader(t *testing.T) {
	for _, d := range doors[1:] {
		is := is.New(t)
		w := newWorld(t, d.build, recovery.Options{}, Options{})
		is.True(strings.Contains(d.ask(w, "\u3000BILLYbob\u00a0"), "\nX-User-Name: BILLYbob\n"))
	}
}
