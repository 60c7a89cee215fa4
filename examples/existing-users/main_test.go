package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
)

// A user with a bcrypt hash and a session loses the password, resets it, and the session is over.
func TestExistingUser(t *testing.T) {
	is := is.New(t)
	db, err := openApp(t.Context(), filepath.Join(t.TempDir(), "app.db"))
	is.NoErr(err)
	defer db.Close()
	mails := &mailertest.Recorder{}
	svc, err := newRecovery(t.Context(), db, mails)
	is.NoErr(err)
	server := httptest.NewServer(routes(db, svc))
	defer server.Close()
	do := func(client *http.Client, method, path, body string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		is.NoErr(err)
		response, err := client.Do(r)
		is.NoErr(err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		is.NoErr(err)
		return response.StatusCode, string(text)
	}
	jar, err := cookiejar.New(nil)
	is.NoErr(err)
	browser := &http.Client{Jar: jar}
	login := func(client *http.Client, password string) int {
		status, _ := do(client, "POST", "/login", fmt.Sprintf(`{"email":"carol@example.com","password":%q}`, password))
		return status
	}

	is.Equal(login(browser, "Old-passw0rd-1"), 204) // the bcrypt hash of before
	status, name := do(browser, "GET", "/me", "")
	is.Equal(status, 200)
	is.Equal(name, "carol\n")

	status, _ = do(http.DefaultClient, "POST", "/account-recovery", `{"account-recovery":{"username":"carol"}}`)
	is.Equal(status, 200)
	_, err = svc.Deliver(t.Context())
	is.NoErr(err)
	m, ok := mails.Last()
	is.True(ok)
	is.Equal(m.To, "carol@example.com")

	// A rejected password ends no session.
	status, _ = do(http.DefaultClient, "PUT", "/account-recovery", fmt.Sprintf(`{"account-recovery":{"password":"short","token":%q}}`, m.Resets[0].Token.Reveal()))
	is.Equal(status, 400)
	status, _ = do(browser, "GET", "/me", "")
	is.Equal(status, 200)

	status, _ = do(http.DefaultClient, "PUT", "/account-recovery", fmt.Sprintf(`{"account-recovery":{"password":"New-passw0rd-2","token":%q}}`, m.Resets[0].Token.Reveal()))
	is.Equal(status, 200)
	status, _ = do(browser, "GET", "/me", "")
	is.Equal(status, 401) // the session ended with the old password
	is.Equal(login(http.DefaultClient, "Old-passw0rd-1"), 401)
	is.Equal(login(browser, "New-passw0rd-2"), 204)
	status, _ = do(browser, "GET", "/me", "")
	is.Equal(status, 200)
}

// Whoever the table says may not be recovered is not.
func TestConditions(t *testing.T) {
	is := is.New(t)
	db, err := openApp(t.Context(), filepath.Join(t.TempDir(), "app.db"))
	is.NoErr(err)
	defer db.Close()
	mails := &mailertest.Recorder{}
	svc, err := newRecovery(t.Context(), db, mails)
	is.NoErr(err)
	for _, c := range []struct {
		update string
		mails  int
	}{
		{"UPDATE users SET language = 'ja'", 1},
		{"UPDATE users SET email_confirmed = 0", 0},
		{"UPDATE users SET email_confirmed = 1, deleted_at = '2026-11-21'", 0},
		{"UPDATE users SET deleted_at = NULL, bcrypt = ''", 0},
	} {
		_, err := db.Exec(c.update)
		is.NoErr(err)
		_, err = db.Exec("DELETE FROM recovery_limits") // so that each of them may ask
		is.NoErr(err)
		mails.Reset()
		is.NoErr(svc.RequestReset(t.Context(), recovery.ResetRequest{Email: "Carol@example.com"}))
		_, err = svc.Deliver(t.Context())
		is.NoErr(err)
		is.Equal(len(mails.Messages()), c.mails)
		if c.mails > 0 {
			is.Equal(mails.Messages()[0].Locale, "ja")
		}
	}
}
