package httpadapter

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/stage"
)

// A door is one way to ask for a token and to use it. Each returns the raw response.
type door struct {
	name     string
	build    constructor
	ask      func(w *world, username string) string
	complete func(w *world, token, password string) string
	rejected int // the status of a rejected password
}

var doors = []door{
	{"Xandr", NewXandr, func(w *world, username string) string {
		return w.send("POST", "/account-recovery", nil, `{"account-recovery":{"username":`+inJSON(username)+`}}`)
	}, func(w *world, token, password string) string {
		return w.send("PUT", "/account-recovery", nil, `{"account-recovery":{"token":"`+token+`","password":`+inJSON(password)+`}}`)
	}, 400},
	{"Rackspace JSON", NewRackspace, func(w *world, username string) string {
		return w.send("POST", forgotPath, []string{isJSON}, `{"RAX-AUTH:forgotPasswordCredentials":{"username":`+inJSON(username)+`}}`)
	}, func(w *world, token, password string) string {
		return w.send("POST", resetPath, []string{isJSON, "X-Auth-Token: " + token}, `{"RAX-AUTH:passwordReset":{"password":`+inJSON(password)+`}}`)
	}, 400},
	{"Rackspace XML", NewRackspace, func(w *world, username string) string {
		return w.send("POST", forgotPath, []string{isXML, wantXML}, `<forgotPasswordCredentials`+inSpace+`username="`+inXML(username)+`"/>`)
	}, func(w *world, token, password string) string {
		return w.send("POST", resetPath, []string{isXML, wantXML, "X-Auth-Token: " + token}, `<passwordReset`+inSpace+`password="`+inXML(password)+`"/>`)
	}, 400},
	{"JSON", NewJSON, func(w *world, username string) string {
		return w.send("POST", "/resets", []string{isJSON}, `{"username":`+inJSON(username)+`}`)
	}, func(w *world, token, password string) string {
		return w.send("POST", "/completions", []string{isJSON}, `{"token":"`+token+`","password":`+inJSON(password)+`}`)
	}, 422},
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

func TestTenantOfUsernames(t *testing.T) {
	for _, c := range []struct {
		build constructor
		path  string
		body  string
	}{{NewXandr, "/account-recovery", `{"account-recovery":{"email":"billybob@example.com"}}`}, {NewJSON, "/usernames", `{"email":"billybob@example.com"}`}} {
		is := is.New(t)
		w := newWorld(t, c.build, recovery.Options{}, Options{Tenant: func(r *http.Request) string { return r.Header.Get("X-Tenant") }})
		w.send("POST", c.path, []string{isJSON}, c.body)
		is.Equal(w.Recipients(), []string{":billybob@example.com"})
		w.send("POST", c.path, []string{isJSON, "X-Tenant: acme"}, c.body)
		is.Equal(w.Recipients(), nil)
	}
}

// The two old formats have no field for a second factor: the answer says that one is needed, and no
// more.
func TestChallenge(t *testing.T) {
	for _, d := range doors {
		t.Run(d.name, func(t *testing.T) {
			is := is.New(t)
			challenge := fmt.Errorf("ask for it: %w", &recovery.ChallengeError{Name: "totp-of-7", Text: "Enter the code sent to 0123."})
			w := newWorld(t, d.build, recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
				return challenge
			}}, Options{})
			token := w.Token("billybob")
			for range recovery.MaxTries + 1 {
				response := d.complete(w, token, stage.Password)
				is.True(isStatus(response, 403))
				is.True(strings.Contains(response, "a second factor is needed"))
				is.Equal(strings.Contains(response, `"challenge":{"name":"totp-of-7","text":"Enter the code sent to 0123."}`), d.name == "JSON")
				is.Equal(strings.Contains(response, "totp-of-7") || strings.Contains(response, "0123"), d.name == "JSON")
				for _, s := range []string{"totp-of-7", "0123", "ask for it"} {
					is.True(!strings.Contains(w.Log.String(), s))
				}
				is.True(!strings.Contains(response, "ask for it"))
			}
			challenge = nil
			is.True(isStatus(d.complete(w, token, stage.Password), 200, 204)) // the token is alive
		})
	}
}

// rejecting returns the options of an application with reasons of its own, by where they come from.
// It rejects while the switch is on.
func rejecting(on *bool) map[string]recovery.Options {
	rejection := func() error {
		if *on {
			return fmt.Errorf("internal detail: %w", stage.OwnReasons)
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
				return stage.OwnReasons.Reasons, nil
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
		"JSON": `"detail":"the password must not be one of the last 5, must have no <b> & no \"quotes\"","reasons":[` +
			`{"name":"seen_before","text":"must not be one of the last 5"},{"name":"own rule","text":"must have no <b> & no \"quotes\""}]`,
		"Rackspace XML": `<message>the password must not be one of the last 5, must have no &lt;b&gt; &amp; no &#34;quotes&#34;</message>`,
	}
	for name, core := range rejecting(&on) {
		for _, d := range doors {
			t.Run(d.name+"/"+name, func(t *testing.T) {
				is := is.New(t)
				w := newWorld(t, d.build, core, Options{})
				token := w.Token("billybob")
				on = true
				response := d.complete(w, token, stage.Password)
				is.True(isStatus(response, d.rejected))
				is.True(strings.Contains(response, texts[d.name]))
				is.True(!strings.Contains(response, "internal detail"))
				is.Equal(w.Log.String(), "")
				on = false
				is.True(isStatus(d.complete(w, token, stage.Password), 200, 204)) // the token is alive
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
		response := d.complete(w, w.Token("billybob"), stage.Password)
		is.True(isStatus(response, d.rejected))
		for _, s := range []string{"\x00", "\r", "\xff"} {
			is.True(!strings.Contains(response, s))
		}
		is.True(!strings.Contains(response, "\nSet-Cookie"))
		is.True(strings.Count(response, "</message>") <= 1 || !strings.Contains(d.name, "XML"))
	}
}

func TestBusyIsUnavailable(t *testing.T) {
	is := is.New(t)
	hashing, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t, NewXandr, recovery.Options{HashConcurrency: 1, HashWait: time.Millisecond, Hasher: recovery.Hasher{Hash: func(string) (string, error) {
		close(hashing)
		<-release
		return "new", nil
	}}}, Options{})
	first, second := w.Token("alice"), w.Token("billybob")
	body := `{"account-recovery":{"password":"superSecurePassw0rd!","token":"%s"}}`
	go func() {
		_, _ = w.CompleteReset(t.Context(), recovery.CompleteRequest{Token: first, Password: stage.Password})
	}()
	<-hashing
	response := w.send("PUT", "/account-recovery", nil, fmt.Sprintf(body, second))
	close(release)
	is.True(strings.HasPrefix(response, "HTTP/1.1 503 "))
	is.True(strings.Contains(response, "\nRetry-After: 1\n"))
	is.Equal(w.Log.String(), "")
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
	for _, d := range doors[1:3] {
		is := is.New(t)
		w := newWorld(t, d.build, recovery.Options{}, Options{})
		is.True(strings.Contains(d.ask(w, "\u3000BILLYbob\u00a0"), "\nX-User-Name: BILLYbob\n"))
	}
}
