package portal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

const (
	goodPassword = "superSecurePassw0rd!"
	noToken      = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa" // well-formed, and nobody's
)

// A world is the pages with everything around them at hand.
type world struct {
	*recovery.Service
	t       *testing.T
	is      *is.I
	users   *memstore.Store
	mail    *mailertest.Recorder
	log     *bytes.Buffer
	handler http.Handler
	fail    func() error // what the store fails with
}

// newWorld has alice and alicia on one address, billybob, mallory, who is disabled, and one whose
// name is billybob's address.
func newWorld(t *testing.T, coreOpts recovery.Options, opts Options) *world {
	t.Helper()
	w := &world{t: t, is: is.New(t), users: memstore.New(), mail: &mailertest.Recorder{}, log: &bytes.Buffer{}}
	for id, name := range map[string]string{"1": "alice", "2": "alicia", "3": "billybob", "4": "mallory", "5": "billybob@example.com"} {
		email := name + "@example.com"
		switch name {
		case "alicia":
			email = "alice@example.com"
		case "billybob@example.com":
			email = "other@example.com"
		}
		w.users.Put(recovery.Account{ID: id, Username: name, Email: email, Active: name != "mallory", HasPassword: true, EmailVerified: true}, "hash of old")
	}
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	coreOpts.Logger, opts.Logger = logger, logger
	if coreOpts.Tick == 0 {
		coreOpts.Tick = 10 * time.Millisecond // what a job without a mail takes
	}
	if coreOpts.Hasher.Hash == nil {
		coreOpts.Hasher.Hash = func(password string) (string, error) { return "hash of " + password, nil }
	}
	if coreOpts.Limits == (recovery.Limits{}) {
		coreOpts.Limits.InsecureOff = true
	}
	if coreOpts.Application == "" {
		coreOpts.Application = "Acme"
	}
	coreOpts.Portals = map[string]recovery.Portal{"web": {URL: "https://portal.example/recover/reset"}}
	opts.Portal = "web"
	var err error
	w.Service, err = recovery.New(spy.Before(w.users, w.broken), w.mail, &coreOpts)
	w.is.NoErr(err)
	w.handler, err = New(w.Service, &opts)
	w.is.NoErr(err)
	return w
}

// broken returns what a request's call of the store fails with, or nil.
func (w *world) broken(_ context.Context, method string) error {
	if w.fail == nil || method != "Enqueue" && method != "FindReset" {
		return nil
	}
	return w.fail()
}

// deliver works the queue off and returns the mails that were sent.
func (w *world) deliver() []recovery.Message {
	w.is.Helper()
	before := len(w.mail.Messages())
	_, err := w.Deliver(w.t.Context())
	w.is.NoErr(err)
	return w.mail.Messages()[before:]
}

// token returns the token of a mail to username.
func (w *world) token(username string) string {
	w.is.Helper()
	w.is.NoErr(errOf(w.RequestReset(w.t.Context(), recovery.ResetRequest{Username: username, Portal: "web"})))
	token := ""
	for _, m := range w.deliver() {
		if m.Kind == recovery.MessageResetLink {
			token = m.Resets[0].Token.Reveal()
		}
	}
	w.is.True(token != "") // a link must be mailed
	return token
}

// do sends a request. The header is of names and values in turn.
func (w *world) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	response := httptest.NewRecorder()
	w.handler.ServeHTTP(response, r)
	return response
}

// post sends a form as a browser would, with further headers.
func (w *world) post(path string, form url.Values, header ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	return w.do("POST", path, form.Encode(), append([]string{"Content-Type", formType, "Sec-Fetch-Site", "same-origin"}, header...)...)
}

func byUsername(name string) url.Values {
	return url.Values{"by": {"username"}, "username": {name}, "email": {""}}
}

func byEmail(email string) url.Values {
	return url.Values{"by": {"email"}, "username": {""}, "email": {email}}
}

func newPassword(token, password string) url.Values {
	return url.Values{"token": {token}, "password": {password}, "repeat": {password}}
}

// dump is a whole response as text.
func dump(r *httptest.ResponseRecorder) string {
	var b strings.Builder
	b.WriteString(http.StatusText(r.Code) + "\n")
	_ = r.Header().Write(&b)
	b.WriteString("\n" + r.Body.String())
	return strings.ReplaceAll(b.String(), "\r\n", "\n")
}

var (
	errStore = errors.New("connection refused")
	denyAll  = recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
		return fmt.Errorf("the second factor is missing: %w", recovery.ErrDenied)
	}}
	approveFails = recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
		return errors.New("the service of second factors is down")
	}}
	oneRequest = recovery.Options{
		Now: func() time.Time { return time.Date(2026, 11, 21, 18, 30, 0, 0, time.UTC) },
		Limits: recovery.Limits{
			PerClient: recovery.Limit{Burst: 1, Every: 90*time.Second + time.Millisecond},
		},
	}
)

// errOf is for calls of which a test wants the error alone.
func errOf[T any](_ T, err error) error { return err }
