package main

import (
	"io"
	"log"
	"net"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

// mailDelays are how long the mail server of -mail takes; -1 starts none.
var mailDelays = map[string]time.Duration{"shown": -1, "down": -1, "fast": 1, "slow": 50 * time.Millisecond}

// A mailServer accepts every mail and forgets it.
type mailServer struct {
	delay    time.Duration
	accepted atomic.Int64
}

func (m *mailServer) NewSession(*smtp.Conn) (smtp.Session, error) { return &mailSession{m}, nil }

// start listens on a free port, and returns the address.
func (m *mailServer) start() (addr string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := smtp.NewServer(m)
	server.Domain = "mail.example"
	server.ErrorLog = log.New(io.Discard, "", 0) // of connections that end with the target
	go func() { _ = server.Serve(listener) }()
	return listener.Addr().String(), func() { _ = server.Close() }, nil
}

// flags returns the server's flags for -mail, and starts m if it is the mail server that they name.
func (m *mailServer) flags(mail string) (flags []string, stop func(), err error) {
	stop = func() {}
	if mail == "shown" {
		return nil, stop, nil
	}
	addr := "127.0.0.1:9" // discard: nobody listens
	if m.delay > 0 {
		if addr, stop, err = m.start(); err != nil {
			return nil, nil, err
		}
	}
	return []string{"-smtp", "smtp+insecure://" + addr}, stop, nil
}

type mailSession struct{ *mailServer }

func (s *mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *mailSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (s *mailSession) Reset()                               {}
func (s *mailSession) Logout() error                        { return nil }

func (s *mailSession) Data(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	time.Sleep(s.delay)
	s.accepted.Add(1)
	return nil
}
