package httpadapter_test

import (
	"slices"
	"testing"
)

// Whatever bytes arrive, the answer is one of those that the format names; the Service is called
// exactly when it says so, and once; and what the Service was given, written down by the rules of
// the format, is the same call again.
func checkBody(t *testing.T, body string, send func(body string) (int, call), write func(call) string, served, refused []int) {
	t.Helper()
	status, reached := send(body)
	switch {
	case !slices.Contains(served, status) && !slices.Contains(refused, status):
		t.Fatalf("%q is answered %d", body, status)
	case slices.Contains(served, status) != (reached != call{}):
		t.Fatalf("%q is answered %d with %+q", body, status, reached)
	case reached == call{}:
		return
	}
	again := write(reached)
	if s, c := send(again); s != status || c != reached {
		t.Fatalf("%q is %d with %+q, but %q is %d with %+q", body, status, reached, again, s, c)
	}
}

func FuzzXandrBody(f *testing.F) {
	for _, s := range []string{
		`{"account-recovery":{"username":"billybob"}}`, `{    "account-recovery": {        "email" : "a@b.example"    }}`, `{"account-recovery":{"username":"\u0062","username":"c"}}`,
		`{"account-recovery":{"password":"superSecurePassw0rd!","token":"` + liveToken + `"}}`, `{"account-recovery":{"username":" ALICE","password":"long enough","token":" ` + liveToken + `\n"}}`,
		`{"account-recovery":{"username":"","email":""}}`, `{"account-recovery":{}}`, `[]`, "", "\xff", "username=a", `{"account-recovery":{"password":"x","token":null}}`,
	} {
		f.Add(false, s)
		f.Add(true, s)
	}
	e := newEntries(f)
	f.Fuzz(func(t *testing.T, put bool, body string) {
		method, served := "POST", []int{200}
		if put {
			method, served = "PUT", []int{403} // by the application
		}
		checkBody(t, body, func(body string) (int, call) { return e.sendXandr(method, body) }, func(c call) string {
			switch {
			case c.kind == "complete" && c.username != "":
				return `{"account-recovery":{"token":` + jsonText(c.token, true) + `,"username":` + jsonText(c.username, false) + `,"password":` + jsonText(c.password, true) + `}}`
			case c.kind == "complete":
				return `{"account-recovery":{"token":` + jsonText(c.token, true) + `,"password":` + jsonText(c.password, false) + `}}`
			case c.by == "email":
				return `{"account-recovery":{"email":` + jsonText(c.identifier, true) + `}}`
			}
			return `{"account-recovery":{"username":` + jsonText(c.identifier, true) + `}}`
		}, served, []int{400, 413})
	})
}

func FuzzJSONBody(f *testing.F) {
	paths := []string{"resets", "usernames", "completions"}
	for i, s := range []string{
		`{"username":"billybob","portal":"web","code":true}`, `{"email":"a@b.example"}`, `{"token":"` + liveToken + `","password":"long enough"}`,
		`{"username":" ALICE","password":"long enough","factor":"7","token":" ` + liveToken + `\n"}`, `{"email":"a@b.example","code":false,"ticket":"x"}`,
		`{"ticket":"` + liveToken + `","code":"WDJB-MJHT","password":"long enough"}`, `{"code":"true"}`, `{"code":tru}`, "{}", "", "[]", `{"email":"a@b.example"} x`,
	} {
		f.Add(uint8(i%3), s)
		f.Add(uint8(2), s)
	}
	e := newEntries(f)
	f.Fuzz(func(t *testing.T, path uint8, body string) {
		name, served := paths[int(path)%3], []int{202}
		if name == "completions" {
			served = []int{403} // by the application
		}
		checkBody(t, body, func(body string) (int, call) { return e.sendJSON(name, body) }, func(c call) string {
			switch {
			case c.kind == "complete" && c.username != "":
				return `{"token":` + jsonText(c.token, true) + `,"username":` + jsonText(c.username, false) + `,"password":` + jsonText(c.password, true) + `}`
			case c.kind == "complete":
				return `{"token":` + jsonText(c.token, true) + `,"password":` + jsonText(c.password, false) + `}`
			case c.kind == "usernames":
				return `{"email":` + jsonText(c.identifier, true) + `}`
			}
			return `{"portal":` + jsonText(c.portal, true) + `,` + jsonText(c.by, true) + `:` + jsonText(c.identifier, false) + `}`
		}, served, []int{400, 410, 413, 422})
	})
}

func rackspaceCall(reset bool) (name string, served []int) {
	if reset {
		return "pwd-reset", []int{403} // by the application
	}
	return "forgot-pwd", []int{204}
}

func FuzzRackspaceJSONBody(f *testing.F) {
	for _, s := range []string{
		`{"RAX-AUTH:forgotPasswordCredentials":{"username":"billybob","portal":"web"}}`, `{"RAX-AUTH:forgotPasswordCredentials":{"username":"billybob"}}`,
		`{"RAX-AUTH:passwordReset":{"password":"superSecurePassw0rd!"}}`, `{"RAX-AUTH:passwordReset":{"password":""}}`, `{"RAX-AUTH:forgotPasswordCredentials":{"username":"a","portal":""}}`,
		`{"RAX-AUTH:passwordReset":{"password":"\ud83d\ude00\ud83d\ude00 long enough"}}`, `{"RAX-AUTH:passwordReset":{"password":"x"}} x`, "", "null",
	} {
		f.Add(false, s)
		f.Add(true, s)
	}
	e := newEntries(f)
	f.Fuzz(func(t *testing.T, reset bool, body string) {
		name, served := rackspaceCall(reset)
		checkBody(t, body, func(body string) (int, call) { return e.sendRackspace(name, "application/json", liveToken, body) }, func(c call) string {
			switch {
			case c.kind == "complete":
				return `{"RAX-AUTH:passwordReset":{"password":` + jsonText(c.password, true) + `}}`
			case c.portal != "":
				return `{"RAX-AUTH:forgotPasswordCredentials":{"portal":` + jsonText(c.portal, true) + `,"username":` + jsonText(c.identifier, true) + `}}`
			}
			return `{"RAX-AUTH:forgotPasswordCredentials":{"username":` + jsonText(c.identifier, true) + `}}`
		}, served, []int{400, 413})
	})
}

func FuzzRackspaceXMLBody(f *testing.F) {
	for _, s := range []string{
		`<forgotPasswordCredentials` + raxAuth + `username="billybob" portal="web"/>`, `<?xml version="1.0"?><forgotPasswordCredentials` + raxAuth + `username='b&#x62;'></forgotPasswordCredentials>`,
		`<r:passwordReset xmlns:r="http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0" password="superSecurePassw0rd!"/>`, `<passwordReset` + raxAuth + `password="a&lt;b&#9; long enough"/>`,
		`<passwordReset` + raxAuth + `password="&#0; long enough"/>`, `<!DOCTYPE a><passwordReset` + raxAuth + `password="long enough"/>`, "", "<", `<passwordReset password="long enough"/>`,
	} {
		f.Add(false, s)
		f.Add(true, s)
	}
	e := newEntries(f)
	f.Fuzz(func(t *testing.T, reset bool, body string) {
		name, served := rackspaceCall(reset)
		checkBody(t, body, func(body string) (int, call) { return e.sendRackspace(name, "application/xml", liveToken, body) }, func(c call) string {
			switch {
			case c.kind == "complete":
				return `<passwordReset` + raxAuth + `password=` + xmlText(c.password, true) + `/>`
			case c.portal != "":
				return `<forgotPasswordCredentials` + raxAuth + `portal=` + xmlText(c.portal, true) + ` username=` + xmlText(c.identifier, true) + `/>`
			}
			return `<forgotPasswordCredentials` + raxAuth + `username=` + xmlText(c.identifier, true) + `/>`
		}, served, []int{400, 413})
	})
}

func FuzzPortalBody(f *testing.F) {
	pages := []string{"password", "username", "reset"}
	for i, s := range []string{
		"by=username&username=billybob&email=", "email=a@b.example", "token=" + liveToken + "&password=long+enough&repeat=long+enough", "by=email&username=&email=a%40b.example",
		"token=https://portal.example/recover/reset%23token=" + liveToken + "&password=long%20enough&repeat=long+enough", "token=&password=&repeat=x", "by=x&username=&email=", "", "by", "%=%",
	} {
		f.Add(uint8(i%3), s)
		f.Add(uint8(2), s)
	}
	e := newEntries(f)
	f.Fuzz(func(t *testing.T, page uint8, body string) {
		name, served := pages[int(page)%3], []int{303}
		if name == "reset" {
			served = []int{403} // by the application
		}
		checkBody(t, body, func(body string) (int, call) { return e.sendForm(name, body) }, func(c call) string {
			switch {
			case c.kind == "complete":
				return "password=" + formText(c.password, true) + "&token=" + formText(c.token, true) + "&repeat=" + formText(c.password, false)
			case c.kind == "usernames":
				return "email=" + formText(c.identifier, true)
			case c.by == "email":
				return "email=" + formText(c.identifier, true) + "&username=&by=email"
			}
			return "username=" + formText(c.identifier, true) + "&email=&by=username"
		}, served, []int{400, 413, 422})
	})
}
