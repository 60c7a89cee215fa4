package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/pquerna/otp/totp"
	"golang.org/x/crypto/bcrypt"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
)

const (
	oldPassword = "Old-passw0rd-1"
	newPassword = "New-passw0rd-2"
	carolSecret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP" // at acme
)

// A site is the application on a port, and its mailbox.
type site struct {
	t      *testing.T
	app    *app
	mails  mailertest.Recorder
	server *httptest.Server
}

func start(t *testing.T) *site {
	t.Helper()
	s := &site{t: t}
	s.app = newApp(t.Context(), openDB(t.Context(), t.Name()), &s.mails)
	t.Cleanup(func() { s.app.db.Close() })
	s.server = httptest.NewTLSServer(s.app.routes()) // cookies are for https only
	t.Cleanup(s.server.Close)
	return s
}

// A browser keeps cookies.
type browser struct {
	*site
	client http.Client
}

func (s *site) browser() *browser {
	s.t.Helper()
	is := is.New(s.t)
	jar, err := cookiejar.New(nil)
	is.NoErr(err)
	return &browser{site: s, client: http.Client{Jar: jar, Transport: s.server.Client().Transport}}
}

// call returns the status and the body of a call at "acme/login".
func (b *browser) call(path string, in input) (int, string) {
	b.t.Helper()
	is := is.New(b.t)
	body, err := json.Marshal(in)
	is.NoErr(err)
	response, err := b.client.Post(b.server.URL+"/"+path, "application/json", strings.NewReader(string(body)))
	is.NoErr(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	is.NoErr(err)
	return response.StatusCode, strings.TrimSpace(string(text))
}

func (b *browser) status(path string, in input) int {
	b.t.Helper()
	status, _ := b.call(path, in)
	return status
}

// asked returns the mail that the browser asks for. An account may be mailed again and again.
func (b *browser) asked(tenant, login string) recovery.Message {
	b.t.Helper()
	is := is.New(b.t)
	_, err := b.app.svc.Deliver(b.t.Context()) // earlier notices
	is.NoErr(err)
	b.mails.Reset()
	_, err = b.app.db.Exec("DELETE FROM recovery_limits")
	is.NoErr(err)
	is.Equal(b.status(tenant+"/ask", input{Login: login}), 204)
	_, err = b.app.svc.Deliver(b.t.Context())
	is.NoErr(err)
	m, _ := b.mails.Last()
	return m
}

// token returns the token that the browser asks for.
func (b *browser) token(tenant, login string) string {
	b.t.Helper()
	is := is.New(b.t)
	m := b.asked(tenant, login)
	is.Equal(len(m.Resets), 1)
	return m.Resets[0].Token.Reveal()
}

// factor returns carol's code of a step from now. The present one and the next are right for half a
// minute at least.
func factor(t *testing.T, steps int) string {
	t.Helper()
	is := is.New(t)
	code, err := totp.GenerateCode(carolSecret, time.Now().Add(time.Duration(steps)*30*time.Second))
	is.NoErr(err)
	return code
}

func TestTheOldPasswordLogsIn(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	is.Equal(b.status("globex/login", input{Login: "carol", Password: newPassword}), 401)
	is.Equal(b.status("globex/login", input{Login: "nobody", Password: oldPassword}), 401)
	is.Equal(b.status("initech/login", input{Login: "carol", Password: oldPassword}), 401)
	is.Equal(b.status("globex/me", input{}), 401)
	is.Equal(b.status("globex/login", input{Login: "carol", Password: oldPassword}), 204)
	is.Equal(b.status("globex/me", input{}), 204)
}

func TestASessionIsValidAtItsTenantOnly(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	is.Equal(b.status("globex/login", input{Login: "carol", Password: oldPassword}), 204)
	globex, err := url.Parse(b.server.URL + "/globex/")
	is.NoErr(err)
	acme, err := url.Parse(b.server.URL + "/acme/")
	is.NoErr(err)
	stolen := b.client.Jar.Cookies(globex)
	is.Equal(len(stolen), 1)
	b.client.Jar.SetCookies(acme, stolen) // what no browser does
	is.Equal(b.status("acme/me", input{}), 401)
}

func TestAResetIsOfOneTenant(t *testing.T) {
	is := is.New(t)
	s := start(t)
	acme, globex, asker := s.browser(), s.browser(), s.browser()
	is.Equal(acme.status("acme/login", input{Login: "carol", Password: oldPassword, Factor: factor(t, 0)}), 204)
	is.Equal(globex.status("globex/login", input{Login: "carol", Password: oldPassword}), 204)

	token := asker.token("globex", "carol")
	is.Equal(asker.status("globex/complete", input{Token: token, Password: newPassword}), 204)
	is.Equal(globex.status("globex/me", input{}), 401) // her session ended with the password
	is.Equal(globex.status("globex/login", input{Login: "carol", Password: oldPassword}), 401)
	is.Equal(globex.status("globex/login", input{Login: "carol", Password: newPassword}), 204)
	is.Equal(acme.status("acme/me", input{}), 204) // the other carol's did not
	is.Equal(acme.status("acme/login", input{Login: "carol", Password: oldPassword, Factor: factor(t, 1)}), 204)
}

func TestARejectedPasswordEndsNoSession(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	is.Equal(b.status("globex/login", input{Login: "carol", Password: oldPassword}), 204)
	is.Equal(b.status("globex/complete", input{Token: b.token("globex", "carol"), Password: "short"}), 422)
	is.Equal(b.status("globex/me", input{}), 204)
}

// The present password and the four before it are refused; the one before those is accepted.
func TestUsedPasswords(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	complete := func(password string) (int, string) {
		return b.call("globex/complete", input{Token: b.token("globex", "carol"), Password: password})
	}
	const used = `{"password":[{"Name":"used_before","Text":"must not be one of your last five"}]}`
	status, body := complete(oldPassword)
	is.Equal(status, 422)
	is.Equal(body, used)
	status, _ = complete(newPassword)
	is.Equal(status, 204)

	for _, password := range []string{"Walnut#1 tree", "Walnut#2 tree", "Walnut#3 tree"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost) // quick, for the test
		is.NoErr(err)
		_, err = b.app.db.Exec(`INSERT INTO password_history (user_id, bcrypt)
			SELECT id, ? FROM users WHERE tenant = 'globex'`, string(hash))
		is.NoErr(err)
	}
	for _, password := range []string{newPassword, oldPassword} {
		status, body := complete(password)
		is.Equal(status, 422)
		is.Equal(body, used)
	}
	status, _ = complete("Walnut#4 tree")
	is.Equal(status, 204)
	status, _ = complete("Walnut#1 tree") // four before
	is.Equal(status, 422)
	status, _ = complete(oldPassword) // five before
	is.Equal(status, 204)
}

// The other carol has used it.
func TestUsedPasswordsAreCountedPerAccount(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	is.Equal(b.status("globex/complete", input{Token: b.token("globex", "carol"), Password: newPassword}), 204)
	token := b.token("acme", "carol")
	is.Equal(b.status("acme/complete", input{Token: token, Password: newPassword, Factor: factor(t, 0)}), 204)
}

// A password that bcrypt would cut is refused, with the rule that it breaks.
func TestALongPassword(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	long := "Aa1#" + strings.Repeat("\u65e5", 30)
	is.Equal(len(long), 94)
	status, body := b.call("globex/complete", input{Token: b.token("globex", "carol"), Password: long})
	is.Equal(status, 422)
	is.Equal(body, `{"password":[{"Name":"too_many_bytes","Text":"must be at most 72 bytes long"}]}`)
}

func TestSecondFactor(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	const challenge = `{"challenge":"totp","text":"Enter the code of your authenticator app."}`
	complete := func(token, password, factor string) (int, string) {
		return b.call("acme/complete", input{Token: token, Password: password, Factor: factor})
	}
	token := b.token("acme", "carol")
	for _, wrong := range []string{"", factor(t, -100), "12345", "1234567"} {
		status, body := complete(token, newPassword, wrong)
		is.Equal(status, 401)
		is.Equal(body, challenge)
	}
	right := factor(t, 0)
	status, _ := complete(token, newPassword, right)
	is.Equal(status, 204)

	token = b.token("acme", "carol")
	status, body := complete(token, "Walnut#1 tree", right) // again
	is.Equal(status, 401)
	is.Equal(body, challenge)
	status, _ = complete(token, "Walnut#1 tree", factor(t, 1))
	is.Equal(status, 204)
}

func TestSecondFactorAtTheLogIn(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	right := factor(t, 0)
	is.Equal(b.status("acme/login", input{Login: "carol", Password: oldPassword}), 401)
	is.Equal(b.status("acme/me", input{}), 401)
	is.Equal(b.status("acme/login", input{Login: "carol", Password: "wrong", Factor: right}), 401) // uses up no code
	is.Equal(b.status("acme/login", input{Login: "carol", Password: oldPassword, Factor: right}), 204)
	is.Equal(b.status("acme/complete", input{Token: b.token("acme", "carol"), Password: newPassword, Factor: right}), 401)
}

func TestWrongFactorsEndTheToken(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	token := b.token("acme", "carol")
	for range recovery.MaxTries {
		is.Equal(b.status("acme/complete", input{Token: token, Password: newPassword, Factor: factor(t, -100)}), 401)
	}
	is.Equal(b.status("acme/complete", input{Token: token, Password: newPassword, Factor: factor(t, 0)}), 400)
}

// Only whoever has the second factor learns of the history, and a factor counts once.
func TestTheHistoryNeedsTheFactor(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	token := b.token("acme", "carol")
	right := factor(t, 0)
	is.Equal(b.status("acme/complete", input{Token: token, Password: "short", Factor: right}), 422) // asks nobody
	is.Equal(b.status("acme/complete", input{Token: token, Password: oldPassword}), 401)
	is.Equal(b.status("acme/complete", input{Token: token, Password: oldPassword, Factor: right}), 422)
	is.Equal(b.status("acme/complete", input{Token: token, Password: newPassword, Factor: right}), 401)
	is.Equal(b.status("acme/complete", input{Token: token, Password: newPassword, Factor: factor(t, 1)}), 204)
}

// After too many wrong codes the ticket is spent. Whoever asks again gets a new one.
func TestWrongCodesSpendTheTicket(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	code := b.asked("globex", "carol").Resets[0].Code
	for range recovery.MaxTries {
		is.Equal(b.status("globex/complete", input{Code: "BCDF-GHJK", Password: newPassword}), 400)
	}
	is.Equal(b.status("globex/complete", input{Code: code, Password: newPassword}), 429)
	code = b.asked("globex", "carol").Resets[0].Code
	is.Equal(b.status("globex/complete", input{Code: code, Password: newPassword}), 204)
}

// Whoever asks again keeps the ticket, so a code that is on its way still works.
func TestAskingAgainKeepsTheCode(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	code := b.asked("globex", "carol").Resets[0].Code
	is.Equal(b.status("globex/ask", input{Login: "carol"}), 204) // within a minute: no mail
	is.Equal(b.status("globex/complete", input{Code: code, Password: newPassword}), 204)
}

func TestAFactorCountsOnce(t *testing.T) {
	is := is.New(t)
	s := start(t)
	var id string
	is.NoErr(s.app.db.QueryRow("SELECT id FROM users WHERE totp_secret <> ''").Scan(&id))
	right := factor(t, 0)
	var passed atomic.Int32
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			if s.app.secondFactor(t.Context(), id, right) == nil {
				passed.Add(1)
			}
		})
	}
	calls.Wait()
	is.Equal(passed.Load(), int32(1))
}

func TestACodeNeedsItsTicket(t *testing.T) {
	is := is.New(t)
	s := start(t)
	asker, other := s.browser(), s.browser()
	code := asker.asked("globex", "carol").Resets[0].Code
	is.Equal(other.status("globex/complete", input{Code: code, Password: newPassword}), 400) // no ticket
	is.Equal(other.status("globex/ask", input{Login: "carol"}), 204)
	is.Equal(other.status("globex/complete", input{Code: code, Password: newPassword}), 400) // another's
	is.Equal(asker.status("globex/complete", input{Code: code, Password: newPassword}), 204)
	is.Equal(asker.status("globex/login", input{Login: "carol", Password: newPassword}), 204)
}

// The browser's ticket does not interfere with a token from the mail.
func TestATokenNeedsNoTicket(t *testing.T) {
	is := is.New(t)
	s := start(t)
	asker, other := s.browser(), s.browser()
	token := asker.token("globex", "carol")
	is.Equal(other.status("globex/complete", input{Token: token, Password: newPassword}), 204)
	token = asker.token("globex", "carol")
	is.Equal(asker.status("globex/complete", input{Token: token, Password: "Walnut#1 tree"}), 204)
}

func TestCookiesAreKeptFromScriptsAndOtherSites(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	for path, in := range map[string]input{
		"globex/login": {Login: "carol", Password: oldPassword},
		"globex/ask":   {Login: "nobody"},
	} {
		body, err := json.Marshal(in)
		is.NoErr(err)
		response, err := b.client.Post(b.server.URL+"/"+path, "application/json", strings.NewReader(string(body)))
		is.NoErr(err)
		response.Body.Close()
		is.Equal(len(response.Cookies()), 1)
		c := response.Cookies()[0]
		is.True(c.HttpOnly)
		is.True(c.Secure)
		is.Equal(c.SameSite, http.SameSiteStrictMode)
		is.Equal(c.Path, "/globex")
	}
}

func TestAnotherSiteMayNotAsk(t *testing.T) {
	is := is.New(t)
	s := start(t)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/globex/ask", strings.NewReader(`{"login":"carol"}`))
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	s.app.routes().ServeHTTP(w, r)
	is.Equal(w.Code, 403)
}

// Dave has no password here. His mail says so, and nothing logs him in or gives him one.
func TestAGoogleAccount(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	m := b.asked("acme", "dave")
	is.Equal(m.Kind, recovery.MessageSignIn)
	is.Equal(m.To, "dave@example.com")
	is.Equal(len(m.SignIns), 1)
	is.Equal(m.SignIns[0].Provider, "Google")
	is.Equal(len(m.Resets), 0)
	is.Equal(b.status("acme/login", input{Login: "dave", Password: oldPassword}), 401)
	is.Equal(b.status("acme/login", input{Login: "dave"}), 401)
}

// An account that may not be recovered gets no mail, and the caller gets the same answer.
func TestAccountsThatAreMailed(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	m := b.asked("globex", "carol")
	is.Equal(m.To, "carol@example.com")
	is.Equal(m.Client.String(), "127.0.0.1") // whose limits count
	for _, change := range []string{"email_confirmed = 0", "email_confirmed = 1, deleted_at = '2026-11-21'"} {
		_, err := b.app.db.Exec("UPDATE users SET " + change + " WHERE tenant = 'globex'")
		is.NoErr(err)
		is.Equal(b.asked("globex", "carol").To, "")
	}
	is.Equal(b.status("globex/login", input{Login: "carol", Password: oldPassword}), 401) // deleted
	is.Equal(b.asked("globex", "dave").To, "")                                            // of acme
	is.Equal(b.asked("initech", "carol").To, "")
}

func TestWhatIsRefused(t *testing.T) {
	is := is.New(t)
	b := start(t).browser()
	is.Equal(b.status("globex/ask", input{}), 400)
	is.Equal(b.status("globex/complete", input{Password: newPassword}), 400)
	is.Equal(b.status("globex/complete", input{Token: "x", Code: "x", Password: newPassword}), 400)
	response, err := b.client.Post(b.server.URL+"/globex/ask", "application/json", strings.NewReader("login=carol"))
	is.NoErr(err)
	response.Body.Close()
	is.Equal(response.StatusCode, 400)
	for range 20 {
		b.status("globex/ask", input{Login: "nobody"})
	}
	is.Equal(b.status("globex/ask", input{Login: "nobody"}), 429)
}
