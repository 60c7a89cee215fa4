package httpadapter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

var update = flag.Bool("update", false, "write the golden files")

const goodPassword = "superSecurePassw0rd!"

// A world is a handler with everything around it at hand.
type world struct {
	*recovery.Service
	t       *testing.T
	users   *memstore.Store
	mail    *mailertest.Recorder
	log     *bytes.Buffer
	handler http.Handler
	fail    func() error // what the store fails with
}

type constructor func(*recovery.Service, *Options) http.Handler

// newWorld has alice and alicia on one address, billybob, and mallory, who is disabled.
func newWorld(t *testing.T, build constructor, coreOpts recovery.Options, opts Options) *world {
	t.Helper()
	w := &world{t: t, users: memstore.New(), mail: &mailertest.Recorder{}, log: &bytes.Buffer{}}
	for id, name := range map[string]string{"1": "alice", "2": "alicia", "3": "billybob", "4": "mallory"} {
		email := name + "@example.com"
		if name == "alicia" {
			email = "alice@example.com"
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
	opts.Now = func() time.Time { return time.Date(2026, 11, 21, 18, 30, 0, 500, time.UTC) }
	var err error
	w.Service, err = recovery.New(spy.Before(w.users, w.broken), w.mail, &coreOpts)
	is.New(t).NoErr(err)
	w.handler = build(w.Service, &opts)
	return w
}

// broken returns what a request's call of the store fails with, or nil.
func (w *world) broken(_ context.Context, method string) error {
	if w.fail == nil || method != "Enqueue" && method != "FindReset" {
		return nil
	}
	return w.fail()
}

func (w *world) deliver() []recovery.Message {
	w.t.Helper()
	before := len(w.mail.Messages())
	_, err := w.Deliver(w.t.Context())
	is.New(w.t).NoErr(err)
	return w.mail.Messages()[before:]
}

func (w *world) token(username string) string {
	w.t.Helper()
	is := is.New(w.t)
	is.NoErr(errOf(w.RequestReset(w.t.Context(), recovery.ResetRequest{Username: username})))
	token := ""
	for _, m := range w.deliver() {
		if len(m.Resets) > 0 {
			token = m.Resets[0].Token.Reveal()
		}
	}
	is.True(token != "") // a token must be mailed
	return token
}

// send sends a request over a connection and returns the raw response without its Date.
func (w *world) send(method, path string, header []string, body string) string {
	w.t.Helper()
	is := is.New(w.t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	is.NoErr(err)
	defer conn.Close()
	var request strings.Builder
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: attacker.example\r\n", method, path)
	for _, line := range header {
		request.WriteString(line + "\r\n")
	}
	fmt.Fprintf(&request, "Content-Length: %d\r\n\r\n%s", len(body), body)
	_, err = io.WriteString(conn, request.String())
	is.NoErr(err)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, &http.Request{Method: method})
	is.NoErr(err)
	content, err := io.ReadAll(response.Body)
	is.NoErr(err)
	var raw bytes.Buffer
	fmt.Fprintf(&raw, "HTTP/1.1 %s\n", response.Status)
	response.Header.Del("Date")
	if response.Close {
		response.Header.Set("Connection", "close")
	}
	if n := response.ContentLength; n >= 0 && response.StatusCode != http.StatusNoContent && method != http.MethodHead {
		response.Header.Set("Content-Length", fmt.Sprint(n))
	}
	is.NoErr(response.Header.Write(&raw))
	raw.WriteString("\n")
	raw.Write(content)
	return strings.ReplaceAll(raw.String(), "\r\n", "\n")
}

// A vector is one request and its golden response.
type vector struct {
	name   string
	core   recovery.Options
	opts   Options
	before func(w *world)
	method string
	path   string
	header []string
	body   string // TOKEN stands for billybob's token
	mails  string // kinds of the mails that must follow, each with its recipient
}

// golden compares the responses to the vectors with a file, which shows requests and responses.
func golden(t *testing.T, build constructor, file string, vectors []vector) {
	t.Helper()
	var out strings.Builder
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, build, v.core, v.opts)
			token := ""
			if strings.Contains(v.body+strings.Join(v.header, ""), "TOKEN") {
				token = w.token("billybob")
			}
			if v.before != nil {
				v.before(w)
			}
			withToken := func(s string) string { return strings.ReplaceAll(s, "TOKEN", token) }
			header := make([]string, len(v.header))
			for i, line := range v.header {
				header[i] = withToken(line)
			}
			response := w.send(v.method, v.path, header, withToken(v.body))
			w.fail = nil
			var mails []string
			for _, m := range w.deliver() {
				mails = append(mails, string(m.Kind)+" "+m.To)
			}
			is.Equal(strings.Join(mails, ", "), v.mails)
			for _, s := range []string{token, "superSecure", "alice@example.com", "billybob@example.com"} {
				is.True(s == "" || !strings.Contains(response+w.log.String(), s)) // neither answer nor log may show it
			}
			body := v.body
			if len(body) > 300 {
				body = fmt.Sprintf("(%d bytes)\n", len(body))
			}
			fmt.Fprintf(&out, "=== %s\n%s %s\n%s\n\n%s\n--- response\n%s\n\n", v.name, v.method, v.path, strings.Join(v.header, "\n"), body, response)
		})
	}
	path := "testdata/" + file
	if *update {
		is.New(t).NoErr(os.WriteFile(path, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(path)
	is.New(t).NoErr(err)
	if out.String() == string(want) {
		return
	}
	got, wanted := strings.Split(out.String(), "\n=== "), strings.Split(string(want), "\n=== ")
	for i := range min(len(got), len(wanted)) {
		if got[i] != wanted[i] {
			t.Fatalf("%s differs; run with -update if that is meant.\ngot:\n%s\nwant:\n%s", path, got[i], wanted[i])
		}
	}
	t.Fatalf("%s has %d vectors, the test %d; run with -update if that is meant", path, len(wanted), len(got))
}

var (
	errStore = errors.New("connection refused")
	denyAll  = recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
		return fmt.Errorf("the second factor is missing: %w", recovery.ErrDenied)
	}}
	approveFails = recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
		return errors.New("the service of second factors is down")
	}}
	challengeAll = recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
		return &recovery.ChallengeError{Name: "totp", Text: "Enter the code of your authenticator app."}
	}}
	rejectAll  = recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error { return ownReasons }}
	noTenant   = Options{Tenant: func(*http.Request) string { return strings.Repeat("t", 65) }}
	storeDown  = func(w *world) { w.fail = func() error { return errStore } }
	storePanic = func(w *world) { w.fail = func() error { panic("boom at billybob@example.com") } }
	oneRequest = recovery.Options{
		Now: func() time.Time { return time.Date(2026, 11, 21, 18, 30, 0, 0, time.UTC) },
		Limits: recovery.Limits{
			PerClient: recovery.Limit{Burst: 1, Every: 90*time.Second + time.Millisecond},
		},
	}
)

// askOnce uses up the limit of the test's own address.
func askOnce(w *world) {
	w.send("POST", "/account-recovery", nil, `{"account-recovery":{"username":"mallory"}}`)
	w.send("POST", "/v2.0/users/RAX-AUTH/forgot-pwd", []string{"Content-Type: application/json"},
		`{"RAX-AUTH:forgotPasswordCredentials":{"username":"mallory"}}`)
}
