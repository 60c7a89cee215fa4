package httpadapter

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/stage"
)

const (
	byName    = `{"username":"billybob"}`
	byAddress = `{"email":"billybob@example.com"}`
	byToken   = `{"token":"TOKEN","password":"superSecurePassw0rd!"}`
	byCode    = `{"ticket":"` + stage.NoToken + `","code":"WDJB-MJHT","password":"superSecurePassw0rd!"}`
)

var fromApp = Options{Origins: []string{"https://app.example.com"}}

func jsonPost(name, path, body string) vector {
	return vector{name: name, method: "POST", path: path, header: []string{isJSON}, body: body}
}

func (v vector) mailing(mails string) vector { v.mails = mails; return v }

func (v vector) with(core recovery.Options) vector { v.core = core; return v }

func (v vector) from(opts Options, header ...string) vector {
	v.opts, v.header = opts, append(header, v.header...)
	return v
}

func (v vector) after(before func(*world)) vector { v.before = before; return v }

// guess uses up the tries of byCode's ticket.
func guess(w *world) {
	for range recovery.MaxTries {
		w.post("completions", byCode)
	}
}

// jsonFaults are what can go wrong with each kind of POST, apart from its fields.
func jsonFaults(path, body string) []vector {
	post := func(name, body string) vector { return jsonPost(name+", "+path, path, body) }
	return []vector{
		post("not JSON", "username=billybob"),
		post("body too large", strings.Repeat(" ", 16<<10+1)),
		{name: "no type, " + path, method: "POST", path: path, body: body},
		{name: "form, " + path, method: "POST", path: path, header: []string{"Content-Type: text/plain"}, body: body},
		post("over the limit", body).with(stage.OneRequest).after(askOnce),
		post("store down", body).after(storeDown),
		post("store panics", body).after(storePanic),
		post("from another site", body).from(Options{}, "Origin: https://evil.example", "Sec-Fetch-Site: cross-site"),
	}
}

var jsonVectors = slices.Concat(jsonFaults("/resets", byName), jsonFaults("/usernames", byAddress), jsonFaults("/completions", byToken), []vector{
	jsonPost("reset by user name", "/resets", byName).mailing("reset_token billybob@example.com"),
	jsonPost("reset, unknown user name", "/resets", `{"username":"nobody"}`),
	jsonPost("reset, disabled account", "/resets", `{"username":"mallory"}`),
	jsonPost("reset by address, two accounts", "/resets", `{"email":"alice@example.com"}`).mailing("reset_token alice@example.com"),
	jsonPost("reset, to a portal", "/resets", `{"username":"billybob","portal":"cloud_control"}`).with(withPortal).mailing("reset_link billybob@example.com"),
	jsonPost("reset, portal in another case", "/resets", `{"username":"billybob","portal":"Cloud_Control"}`).with(withPortal).mailing("reset_link billybob@example.com"),
	jsonPost("reset, unknown portal", "/resets", `{"username":"billybob","portal":"other"}`).with(withPortal),
	jsonPost("reset, with a code", "/resets", `{"username":"billybob","code":true}`).mailing("reset_token billybob@example.com"),
	jsonPost("reset, the ticket of an earlier one", "/resets", `{"username":"billybob","code":true,"ticket":"`+stage.NoToken+`"}`).mailing("reset_token billybob@example.com"),
	jsonPost("reset by both", "/resets", `{"username":"alice","email":"alice@example.com"}`),
	jsonPost("reset by neither", "/resets", `{}`),
	jsonPost("reset, empty user name", "/resets", `{"username":""}`),
	jsonPost("reset, empty address", "/resets", `{"email":""}`),
	jsonPost("reset, no address", "/resets", `{"email":"billybob"}`),
	jsonPost("reset, code is no boolean", "/resets", `{"username":"billybob","code":"true"}`),
	jsonPost("reset, unknown key", "/resets", `{"user":"billybob"}`),
	jsonPost("user names", "/usernames", `{"email":"alice@example.com"}`).mailing("usernames alice@example.com"),
	jsonPost("user names, unknown address", "/usernames", `{"email":"nobody@example.com"}`),
	jsonPost("user names, no address", "/usernames", `{}`),
	jsonPost("user names, unknown key", "/usernames", `{"username":"billybob"}`),
	jsonPost("completion", "/completions", byToken).mailing("password_changed billybob@example.com"),
	jsonPost("completion, with the user name", "/completions", `{"username":"billybob","token":"TOKEN","password":"superSecurePassw0rd!"}`).mailing("password_changed billybob@example.com"),
	jsonPost("completion, another user's name", "/completions", `{"username":"alice","token":"TOKEN","password":"superSecurePassw0rd!"}`),
	jsonPost("completion, unknown token", "/completions", `{"token":"`+stage.NoToken+`","password":"superSecurePassw0rd!"}`),
	jsonPost("completion, empty token", "/completions", `{"token":"","password":"superSecurePassw0rd!"}`),
	jsonPost("completion, unknown ticket", "/completions", byCode),
	jsonPost("completion, too many wrong codes", "/completions", byCode).after(guess),
	jsonPost("completion, token and code", "/completions", `{"token":"TOKEN","ticket":"x","code":"WDJB-MJHT","password":"superSecurePassw0rd!"}`),
	jsonPost("completion, code without ticket", "/completions", `{"code":"WDJB-MJHT","password":"superSecurePassw0rd!"}`),
	jsonPost("completion, empty factor", "/completions", `{"token":"TOKEN","password":"superSecurePassw0rd!","factor":""}`).mailing("password_changed billybob@example.com"),
	jsonPost("completion, empty password", "/completions", `{"token":"TOKEN","password":""}`),
	jsonPost("completion, ticket without code", "/completions", `{"ticket":"`+stage.NoToken+`","password":"superSecurePassw0rd!"}`),
	jsonPost("completion, token and code without ticket", "/completions", `{"token":"TOKEN","code":"WDJB-MJHT","password":"superSecurePassw0rd!"}`),
	jsonPost("completion, token and ticket", "/completions", `{"token":"TOKEN","ticket":"x","password":"superSecurePassw0rd!"}`),
	jsonPost("completion, no token", "/completions", `{"password":"superSecurePassw0rd!"}`),
	jsonPost("completion, no password", "/completions", `{"token":"TOKEN"}`),
	jsonPost("completion, empty user name", "/completions", `{"username":"","token":"TOKEN","password":"superSecurePassw0rd!"}`),
	jsonPost("rejected password", "/completions", `{"token":"TOKEN","password":"secret"}`),
	jsonPost("rejected by the application", "/completions", byToken).with(stage.Rejected),
	jsonPost("challenged by the application", "/completions", byToken).with(stage.Challenged),
	jsonPost("denied by the application", "/completions", byToken).with(stage.Denied),
	jsonPost("the application cannot decide", "/completions", byToken).with(stage.Unsure),
	{name: "policy", method: "GET", path: "/policy"},
	{name: "policy, HEAD", method: "HEAD", path: "/policy"},
	{name: "policy, POST", method: "POST", path: "/policy", header: []string{isJSON}, body: "{}"},
	{name: "GET of a request", method: "GET", path: "/resets"},
	{name: "PUT", method: "PUT", path: "/completions", header: []string{isJSON}, body: byToken},
	jsonPost("another path", "/reset", byName),
	jsonPost("no path", "/", byName),
	jsonPost("empty body", "/resets", ""),
	jsonPost("list", "/resets", "["+byName+"]"),
	jsonPost("body that ends early", "/resets", `{"username":"bil`),
	jsonPost("tenant at fault", "/resets", byName).from(noTenant),
	jsonPost("from its own origin", "/resets", byName).from(Options{}, "Origin: http://attacker.example", "Sec-Fetch-Site: same-origin").mailing("reset_token billybob@example.com"),
	jsonPost("from another site, in an old browser", "/resets", byName).from(Options{}, "Origin: https://evil.example"),
	jsonPost("from a configured origin", "/resets", byName).from(fromApp, "Origin: https://app.example.com", "Sec-Fetch-Site: cross-site").mailing("reset_token billybob@example.com"),
	jsonPost("from a configured origin, at fault", "/resets", "{}").from(fromApp, "Origin: https://app.example.com", "Sec-Fetch-Site: cross-site"),
	jsonPost("panic, from a configured origin", "/resets", byName).from(fromApp, "Origin: https://app.example.com", "Sec-Fetch-Site: cross-site").after(storePanic),
	jsonPost("from another than the configured origin", "/resets", byName).from(fromApp, "Origin: https://app.example.com.evil.example", "Sec-Fetch-Site: cross-site"),
	jsonPost("from no page, with a configured origin", "/resets", byName).from(fromApp).mailing("reset_token billybob@example.com"),
	{name: "preflight", opts: fromApp, method: "OPTIONS", path: "/completions",
		header: []string{"Origin: https://app.example.com", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type"}},
	{name: "preflight from another origin", opts: fromApp, method: "OPTIONS", path: "/completions", header: []string{"Origin: https://evil.example", "Access-Control-Request-Method: POST"}},
	{name: "preflight without configured origins", method: "OPTIONS", path: "/completions", header: []string{"Origin: https://evil.example", "Access-Control-Request-Method: POST"}},
})

func TestJSONGolden(t *testing.T) { golden(t, NewJSON, "json.txt", jsonVectors) }

// post sends a body and returns the status and the answer.
func (w *world) post(path, body string) (status int, answer map[string]any) {
	w.T.Helper()
	r := httptest.NewRequest("POST", "/api/recovery/"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	response := httptest.NewRecorder()
	w.handler.ServeHTTP(response, r)
	if response.Body.Len() > 0 {
		is.New(w.T).NoErr(json.Unmarshal(response.Body.Bytes(), &answer))
	}
	return response.Code, answer
}

// A front end asks, shows a field for the code, and sends it with the ticket.
func TestJSONCodes(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewJSON, recovery.Options{}, Options{})
	_, first := w.post("resets", `{"username":"billybob","code":true}`)
	code := w.Mails()[0].Resets[0].Code
	_, again := w.post("resets", `{"username":"billybob","code":true,"ticket":`+inJSON(first["ticket"].(string))+`}`)
	is.Equal(again["ticket"], first["ticket"]) // so the first code still works
	is.True(again["id"] != first["id"])
	complete := func(code string) int {
		status, _ := w.post("completions", `{"ticket":`+inJSON(first["ticket"].(string))+`,"code":`+inJSON(code)+`,"password":"superSecurePassw0rd!"}`)
		return status
	}
	is.Equal(complete("BCDF-GHJK"), 410)
	is.Equal(complete(strings.ToLower(strings.ReplaceAll(code, "-", " "))), 204)
	is.Equal(complete(code), 410) // used

	_, worn := w.post("resets", `{"username":"alice","code":true}`)
	w.Mails()
	for range recovery.MaxTries {
		status, _ := w.post("completions", `{"ticket":`+inJSON(worn["ticket"].(string))+`,"code":"BCDF-GHJK","password":"superSecurePassw0rd!"}`)
		is.Equal(status, 410)
	}
	status, answer := w.post("completions", `{"ticket":`+inJSON(worn["ticket"].(string))+`,"code":"BCDF-GHJK","password":"superSecurePassw0rd!"}`)
	is.Equal(status, 429)
	is.Equal(answer["type"], problemType+"ticket")
}

// The second factor goes to Options.Approve, with the same token.
func TestJSONFactor(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewJSON, recovery.Options{Approve: func(_ context.Context, _ recovery.Account, r recovery.CompleteRequest) error {
		if r.Factor == "123456" {
			return nil
		}
		return &recovery.ChallengeError{Name: "totp", Text: "Enter the code of your authenticator app."}
	}}, Options{})
	token := w.Token("billybob")
	for factor, want := range map[string]int{``: 403, `,"factor":"654321"`: 403} {
		status, answer := w.post("completions", `{"token":"`+token+`","password":"superSecurePassw0rd!"`+factor+`}`)
		is.Equal(status, want)
		is.Equal(answer["challenge"], map[string]any{"name": "totp", "text": "Enter the code of your authenticator app."})
	}
	status, _ := w.post("completions", `{"token":"`+token+`","password":"superSecurePassw0rd!","factor":"123456"}`)
	is.Equal(status, 204)
}

// The document is served beside what it describes, to pages of configured origins, too.
func TestJSONDescription(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewJSON, recovery.Options{}, fromApp)
	r := httptest.NewRequest(http.MethodGet, "/api/recovery/openapi.yaml", nil)
	r.Header.Set("Origin", "https://app.example.com")
	response := httptest.NewRecorder()
	w.handler.ServeHTTP(response, r)
	is.Equal(response.Body.String(), string(openAPI))
	is.Equal(response.Header().Get("Content-Type"), "application/yaml")
	is.Equal(response.Header().Get("Access-Control-Allow-Origin"), "https://app.example.com")
}
