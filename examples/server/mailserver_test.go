package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	netmail "net/mail"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/matryer/is"
)

// A mailServer is a real SMTP server in this process, on an address that stays its own while it is
// down.
type mailServer struct {
	t        *testing.T
	addr     string
	tls      *tls.Config // then a log-in is needed too
	implicit bool        // TLS from the first byte

	mu     sync.Mutex
	server *smtp.Server
	mails  []received
	before func() // called when a mail was received whole, before the server says so
	hang   chan struct{}
	hung   chan struct{} // gets a value when a mail hangs
}

type received struct{ to, id, text string }

func newMailServer(t *testing.T) *mailServer {
	t.Helper()
	s := &mailServer{t: t, addr: "127.0.0.1:0", hung: make(chan struct{}, 1)}
	s.up()
	t.Cleanup(s.down)
	return s
}

func (s *mailServer) flag() string { return "smtp+insecure://" + s.addr }

func (s *mailServer) up() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.addr)
	is.New(s.t).NoErr(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr = l.Addr().String()
	s.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{server: s}, nil }))
	s.server.Domain = "localhost"
	s.server.TLSConfig = s.tls
	if s.implicit {
		l = tls.NewListener(l, s.tls)
	}
	s.server.ErrorLog = silent{}
	go func(server *smtp.Server) { _ = server.Serve(l) }(s.server)
}

// down closes the server and its connections.
func (s *mailServer) down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.server.Close()
}

// beforeAccept sets what is called when a mail was received, before the server says so.
func (s *mailServer) beforeAccept(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// hangs makes the server stop in the middle of every mail until the returned function is called.
func (s *mailServer) hangs() (resume func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hang := make(chan struct{})
	s.hang = hang
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hang = nil
		close(hang)
	}
}

func (s *mailServer) all() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received{}, s.mails...)
}

// wait waits until there are n mails.
func (s *mailServer) wait(n int) []received {
	s.t.Helper()
	for range 6000 {
		if mails := s.all(); len(mails) >= n {
			return mails
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("%d mails came within a minute, not %d", len(s.all()), n)
	return nil
}

var tokenLine = regexp.MustCompile(`(?m)^\s*([a-z2-7]{52})\s*$`)

// token returns the token in the text of a mail.
func (r received) token() string {
	if m := tokenLine.FindStringSubmatch(r.text); m != nil {
		return m[1]
	}
	return ""
}

type session struct {
	server *mailServer
	known  bool // logged in
	to     string
}

// AuthMechanisms is only asked for under TLS.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != "app" || password != "p@ss" {
			return errors.New("no")
		}
		s.known = true
		return nil
	}), nil
}

func (s *session) Reset()        { s.to = "" }
func (s *session) Logout() error { return nil }

func (s *session) Mail(string, *smtp.MailOptions) error {
	if s.server.tls != nil && !s.known {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	message, err := netmail.ReadMessage(r)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(message.Body)
	if err != nil {
		return err
	}
	s.server.mu.Lock()
	hang, before := s.server.hang, s.server.before
	s.server.mu.Unlock()
	if hang != nil {
		select {
		case s.server.hung <- struct{}{}:
		default:
		}
		<-hang
	}
	s.server.mu.Lock()
	s.server.mails = append(s.server.mails, received{s.to, message.Header.Get("Message-Id"), string(text)})
	s.server.mu.Unlock()
	if before != nil {
		before()
	}
	return nil
}

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

// counts returns how many of the mails went to each address.
func counts(mails []received) map[string]int {
	n := map[string]int{}
	for _, m := range mails {
		n[strings.ToLower(m.to)]++
	}
	return n
}
