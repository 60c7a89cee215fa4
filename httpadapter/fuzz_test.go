package httpadapter_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

const somePassword = "superSecurePassw0rd!"

// A try is one value sent through one entry.
type try struct {
	entry   string
	carries bool // whether its format can carry the value
	status  int
	call    call
}

// checkTries checks that each entry makes the call that the Service gets directly, or none.
func checkTries(t *testing.T, value string, want call, good, bad []int, tries []try) {
	t.Helper()
	for _, y := range tries {
		switch {
		case !y.carries:
			if y.call != (call{}) || y.status != 400 {
				t.Errorf("%s cannot carry %q, and answers %d with %+q", y.entry, value, y.status, y.call)
			}
		case y.call != want:
			t.Errorf("%s makes %+q of %q, want %+q", y.entry, y.call, value, want)
		case want != (call{}) && !slices.Contains(good, y.status), want == (call{}) && !slices.Contains(bad, y.status):
			t.Errorf("%s answers %d to %q", y.entry, y.status, value)
		}
	}
}

// One user name is the same call, or is refused, whichever way it comes.
func FuzzUsernameInEveryFormat(f *testing.F) {
	for _, s := range []string{"billybob", " Billy Bob ", "b<i>&\"'lly", "ビリー", "a\tb", "", " ", "\x00", "\xff", "\u00ad", "\uffff", "😀", "a%41+b;c=d#token=e", strings.Repeat("x", 255), "\u2028", "\r\n", "\u3000", "\u3000billybob\u00a0"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	e := newEntries(f)
	f.Fuzz(func(t *testing.T, name string, refs bool) {
		if len(name) > 2000 {
			return
		}
		want, err := e.direct(func() error { return spy.Err(e.svc.RequestReset(t.Context(), recovery.ResetRequest{Username: name})) })
		if (err == nil) != (want != call{}) || err != nil && !errors.Is(err, recovery.ErrInvalidRequest) {
			t.Fatalf("%q: %v, %+q", name, err, want)
		}
		xandr := try{entry: "Xandr", carries: inJSON(name)}
		xandr.status, xandr.call = e.sendXandr("POST", `{"account-recovery":{"username":`+jsonText(name, refs)+`}}`)
		json := try{entry: "Rackspace JSON", carries: inJSON(name)}
		json.status, json.call = e.sendRackspace("forgot-pwd", "application/json", "", `{"RAX-AUTH:forgotPasswordCredentials":{"username":`+jsonText(name, refs)+`}}`)
		xml := try{entry: "Rackspace XML", carries: inXML(name)}
		xml.status, xml.call = e.sendRackspace("forgot-pwd", "application/xml", "", `<forgotPasswordCredentials`+raxAuth+`username=`+xmlText(name, refs)+`/>`)
		form := try{entry: "the form", carries: inJSON(name)}
		form.status, form.call = e.sendForm("password", "by=username&email=&username="+formText(name, refs))
		if form.call.portal == "web" { // which the pages name of themselves
			form.call.portal = ""
		}
		own := try{entry: "JSON", carries: inJSON(name)}
		own.status, own.call = e.sendJSON("resets", `{"username":`+jsonText(name, refs)+`}`)
		checkTries(t, name, want, []int{200, 202, 204, 303}, []int{400, 422}, []try{xandr, json, xml, own, form})
	})
}

// One address is the same call, or is refused, whichever way it comes.
func FuzzEmailInEveryFormat(f *testing.F) {
	for _, s := range []string{"billybob@example.com", " A@B.example ", "a@bücher.example", "a@x,b@y", "", "\x00@b.c", "a@\xff", "a@b.c\r\n", "\u3000", "\u3000a@b.example\u00a0"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	e := newEntries(f)
	f.Fuzz(func(t *testing.T, email string, refs bool) {
		if len(email) > 2000 {
			return
		}
		names, _ := e.direct(func() error {
			return spy.Err(e.svc.RetrieveUsername(t.Context(), recovery.UsernameRequest{Email: email}))
		})
		xandr := try{entry: "Xandr", carries: inJSON(email)}
		xandr.status, xandr.call = e.sendXandr("POST", `{"account-recovery":{"email":`+jsonText(email, refs)+`}}`)
		form := try{entry: "the form for user names", carries: inJSON(email)}
		form.status, form.call = e.sendForm("username", "email="+formText(email, refs))
		json := try{entry: "JSON", carries: inJSON(email)}
		json.status, json.call = e.sendJSON("usernames", `{"email":`+jsonText(email, refs)+`}`)
		checkTries(t, email, names, []int{200, 202, 303}, []int{400, 422}, []try{xandr, json, form})

		reset, _ := e.direct(func() error {
			return spy.Err(e.svc.RequestReset(t.Context(), recovery.ResetRequest{Email: email, Portal: "web"}))
		})
		form = try{entry: "the form for a reset", carries: inJSON(email)}
		form.status, form.call = e.sendForm("password", "username=x&by=email&email="+formText(email, refs))
		json = try{entry: "JSON for a reset", carries: inJSON(email)}
		json.status, json.call = e.sendJSON("resets", `{"portal":"web","email":`+jsonText(email, refs)+`}`)
		checkTries(t, email, reset, []int{202, 303}, []int{400, 422}, []try{json, form})
	})
}

// One password and one token are the same call, or are refused, whichever way they come. Every call
// that may succeed is denied by the application, so that the token stays alive.
func FuzzCompletionInEveryFormat(f *testing.F) {
	for _, password := range []string{somePassword, "", " spaces stay ", "long enough\t", "\x00 long enough", "\xff long enough", "<&>\"' long enough", "パスワードを再設定する", "long\ufffeenough", strings.Repeat("x", 1025), "😀😀😀😀😀😀😀😀", "%41+&=;#token=x", "long enough\u0085"} {
		f.Add(password, liveToken, false)
		f.Add(password, liveToken, true)
	}
	for _, token := range []string{"", " " + liveToken + "\r\n", strings.ToUpper(liveToken), liveToken[:51], liveToken[:51] + "b", "\x00" + liveToken, liveToken + "\xff", "null", "\u00a0" + liveToken, liveToken + "\v", "<>&\"" + liveToken} {
		f.Add(somePassword, token, false)
		f.Add(somePassword, token, true)
	}
	e := newEntries(f)
	f.Fuzz(func(t *testing.T, password, token string, refs bool) {
		if len(password) > 1500 || len(token) > 500 {
			return
		}
		want, err := e.direct(func() error {
			_, err := e.svc.CompleteReset(t.Context(), recovery.CompleteRequest{Token: token, Password: password})
			return err
		})
		var refused []int
		switch {
		case errors.Is(err, recovery.ErrDenied) == (want == call{}):
			t.Fatalf("%q %q: %v, %+q", password, token, err, want)
		case errors.Is(err, recovery.ErrInvalidPassword):
			refused = []int{400, 401, 422} // where the token comes first, it may be at fault, too
		case errors.Is(err, recovery.ErrInvalidToken):
			refused = []int{401, 410, 422}
		}
		value := fmt.Sprintf("%q with %q", password, token)
		xandr := try{entry: "Xandr", carries: inJSON(password) && inJSON(token)}
		xandr.status, xandr.call = e.sendXandr("PUT", `{"account-recovery":{"password":`+jsonText(password, refs)+`,"token":`+jsonText(token, refs)+`}}`)
		json := try{entry: "Rackspace JSON", carries: inJSON(password)}
		json.status, json.call = e.sendRackspace("pwd-reset", "application/json", token, `{"RAX-AUTH:passwordReset":{"password":`+jsonText(password, refs)+`}}`)
		xml := try{entry: "Rackspace XML", carries: inXML(password)}
		xml.status, xml.call = e.sendRackspace("pwd-reset", "application/xml", token, `<passwordReset`+raxAuth+`password=`+xmlText(password, refs)+`/>`)
		form := try{entry: "the form", carries: inJSON(password) && inJSON(token)}
		form.status, form.call = e.sendForm("reset", "password="+formText(password, refs)+"&repeat="+formText(password, !refs)+"&token="+formText(token, refs))
		if token == "" {
			return // which JSON calls malformed
		}
		own := try{entry: "JSON", carries: inJSON(password) && inJSON(token)}
		own.status, own.call = e.sendJSON("completions", `{"token":`+jsonText(token, refs)+`,"password":`+jsonText(password, refs)+`}`)
		checkTries(t, value, want, []int{403}, refused, []try{json, xml, own, form})
		checkTries(t, value, want, []int{403}, []int{400}, []try{xandr})
	})
}
