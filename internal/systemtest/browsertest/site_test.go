package browsertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/portal"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

const (
	newPassword = "New-passw0rd-2"
	noToken     = spy.TokenText // well-formed, and nobody's
)

// A site is the pages in this process, with access to everything around them.
type site struct {
	*recovery.Service
	t     *testing.T
	base  string // of the pages, with the last slash
	users *memstore.Store
	mail  *mailertest.Recorder
	fault atomic.Pointer[func() error] // of the store
	slow  atomic.Int64                 // nanoseconds that the store takes
	extra string                       // a page beside the pages
}

// serve has alice, alicia on alice's address, and billybob.
func serve(t *testing.T, core recovery.Options, opts portal.Options) *site {
	t.Helper()
	is := is.New(t)
	s := &site{t: t, users: memstore.New(), mail: &mailertest.Recorder{}}
	for id, name := range map[string]string{"1": "alice", "2": "alicia", "3": "billybob"} {
		email := strings.Replace(name, "alicia", "alice", 1) + "@example.com"
		s.users.Put(recovery.Account{ID: id, Username: name, Email: email, Active: true, HasPassword: true, EmailVerified: true}, "old")
	}
	server := httptest.NewUnstartedServer(nil)
	s.base = "http://" + server.Listener.Addr().String() + "/recover/"
	core.Application = "Acme"
	core.Hasher.Hash = func(password string) (string, error) { return password, nil }
	core.Portals = map[string]recovery.Portal{"web": {URL: s.base + "reset"}}
	core.Logger = slog.New(slog.DiscardHandler)
	if core.Limits == (recovery.Limits{}) {
		core.Limits.InsecureOff = true
	}
	opts.Portal, opts.Logger = "web", core.Logger
	if opts.LogInURL == "" {
		opts.LogInURL, opts.SupportURL = "/login", "/support"
	}
	var err error
	s.Service, err = recovery.New(spy.Before(s.users, s.trouble), s.mail, &core)
	is.NoErr(err)
	pages, err := portal.New(s.Service, &opts)
	is.NoErr(err)
	mux := http.NewServeMux()
	mux.Handle("/recover/", pages)
	mux.HandleFunc("/login", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<!doctype html><title>Log in</title><h1>Log in</h1>")
	})
	mux.HandleFunc("/frame", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, s.extra)
	})
	server.Config.Handler = mux
	server.Start()
	t.Cleanup(server.Close)
	return s
}

// fresh returns pages with the default options and a tab to look at them.
func fresh(t *testing.T) (*site, *tab) {
	t.Helper()
	return serve(t, recovery.Options{}, portal.Options{}), open(t, profile{})
}

// link has a link mailed and returns it, and the token in it.
func (s *site) link(username string) (link, token string) {
	s.t.Helper()
	is := is.New(s.t)
	s.deliver() // an older request beside it could be mailed last, with a token that is superseded
	is.NoErr(spy.Err(s.RequestReset(s.t.Context(), recovery.ResetRequest{Username: username, Portal: "web"})))
	s.deliver()
	for _, m := range s.mail.Messages() {
		if m.Kind == recovery.MessageResetLink {
			link, token = m.Resets[0].Link, m.Resets[0].Token.Reveal()
		}
	}
	is.True(token != "") // a link must be mailed
	return link, token
}

func (s *site) deliver() {
	s.t.Helper()
	_, err := s.Deliver(s.t.Context())
	is.New(s.t).NoErr(err)
}

func (s *site) password(id string) string {
	hash, _ := s.users.PasswordHash(id)
	return hash
}

// posts returns the forms that the browser sent to the site.
func (s *site) posts() (bodies []string) {
	for _, r := range traffic.to(s.base) {
		if r.method == http.MethodPost {
			bodies = append(bodies, r.body)
		}
	}
	return bodies
}

// trouble delays calls of the store, or makes them fail.
func (s *site) trouble(_ context.Context, method string) error {
	if method != "Enqueue" && method != "FindReset" {
		return nil
	}
	time.Sleep(time.Duration(s.slow.Load()))
	if fault := s.fault.Load(); fault != nil {
		return (*fault)()
	}
	return nil
}

var (
	storeDown   = func() error { return errors.New("connection refused") }
	storePanics = func() error { panic("boom") }
	overLimit   = func() error { return &recovery.LimitError{Scope: recovery.ScopeClient, RetryAfter: 5 * time.Minute} }
)

// An example is the program examples/server.
type example struct {
	t    *testing.T
	base string
}

var buildExample = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "recovery-example")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "server")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = "../../../examples/server"
	if out, err := build.CombinedOutput(); err != nil {
		return path, fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

var exampleBuilt atomic.Bool

func removeExample() {
	if exampleBuilt.Load() {
		path, _ := buildExample()
		_ = os.RemoveAll(filepath.Dir(path))
	}
}

func startExample(t *testing.T) *example {
	t.Helper()
	is := is.New(t)
	exampleBuilt.Store(true)
	path, err := buildExample()
	is.NoErr(err)
	cmd := exec.Command(path, "-addr", "127.0.0.1:0", "-db", "memory")
	out, err := cmd.StdoutPipe()
	is.NoErr(err)
	is.NoErr(cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	e := &example{t: t}
	lines := bufio.NewScanner(out)
	for e.base == "" && lines.Scan() {
		_, e.base, _ = strings.Cut(lines.Text(), "to try out, on ")
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	is.True(e.base != "") // the program must say where it listens
	return e
}

type mail struct{ To, Kind, Subject, Text, Link string }

// mails waits until there are n mails.
func (e *example) mails(n int) (mails []mail) {
	e.t.Helper()
	eventually(e.t, fmt.Sprintf("%d mails", n), func() bool {
		response, err := http.Get(e.base + "/mailbox.json")
		is.New(e.t).NoErr(err)
		defer response.Body.Close()
		is.New(e.t).NoErr(json.NewDecoder(response.Body).Decode(&mails))
		return len(mails) >= n
	})
	return mails
}
