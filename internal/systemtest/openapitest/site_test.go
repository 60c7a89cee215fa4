package openapitest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// A site is an application with two people. Alice has a second factor, which is 123456.
type site struct {
	users  *memstore.Store
	svc    *recovery.Service
	mail   mailertest.Recorder
	format http.Handler
}

func newSite(t *testing.T) *site {
	t.Helper()
	is := is.New(t)
	s := &site{users: memstore.New()}
	for id, username := range map[string]string{"1": "alice", "2": "billybob"} {
		s.users.Put(recovery.Account{ID: id, Username: username, Email: username + "@example.com", Active: true, HasPassword: true, EmailVerified: true}, "old")
	}
	var err error
	s.svc, err = recovery.New(s.users, &s.mail, &recovery.Options{
		Tick:   10 * time.Millisecond,
		Limits: recovery.Limits{InsecureOff: true},
		Hasher: recovery.Hasher{Hash: func(password string) (string, error) { return "hash of " + password, nil }},
		Approve: func(_ context.Context, a recovery.Account, r recovery.CompleteRequest) error {
			if a.Username == "alice" && r.Factor != "123456" {
				return &recovery.ChallengeError{Name: "totp", Text: "Enter the code of your authenticator app."}
			}
			return nil
		},
	})
	is.NoErr(err)
	s.format, err = httpadapter.NewJSON(s.svc, nil)
	is.NoErr(err)
	return s
}

// serve serves the format below /api/recovery/, and the mails of all people as /mailbox. Each
// exchange is held against the document.
func (s *site) serve(t *testing.T, d *document) (base string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/api/recovery/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		response := httptest.NewRecorder()
		s.format.ServeHTTP(response, r)
		e := exchange{
			method: r.Method, path: strings.TrimPrefix(r.URL.Path, "/api/recovery"), header: r.Header, body: string(body),
			status: response.Code, answerHeader: response.Header(), answer: response.Body.String(),
		}
		request, answer := d.faults(e)
		if (request != nil) != (e.status == 400) || answer != nil {
			t.Errorf("%s %s: %d: %v, %v", e.method, e.path, e.status, request, answer)
		}
		for name, values := range response.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(response.Code)
		_, _ = io.WriteString(w, e.answer)
	})
	mux.HandleFunc("/mailbox", func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.svc.Deliver(r.Context()); err != nil {
			t.Error(err)
		}
		type mail struct {
			Kind, To, Token, Code string
		}
		var mails []mail
		for _, m := range s.mail.Messages() {
			shown := mail{Kind: string(m.Kind), To: m.To}
			if len(m.Resets) > 0 {
				shown.Token, shown.Code = m.Resets[0].Token.Reveal(), m.Resets[0].Code
			}
			mails = append(mails, shown)
		}
		_ = json.NewEncoder(w).Encode(mails)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}
