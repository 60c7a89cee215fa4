package smtpmailer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/textproto"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// maxReplies bounds what a server may send while a connection is made, and again for every mail.
// Real servers send some 10 kB, most of it certificates.
const maxReplies = 256 << 10

// A session is a connection to the server that is ready for a mail.
type session struct {
	client *smtp.Client
	conn   *boundedConn
	kept   bool        // it has carried a mail before
	dirty  bool        // RSET is due
	idle   *time.Timer // ends it while it is kept
}

// A boundedConn fails when the server sends more than it may.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooLong
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// connect makes a new session. Its error is what Send returns.
func (m *Mailer) connect(ctx context.Context) (*session, error) {
	raw, err := m.dial(ctx, "tcp", m.opts.address)
	if err != nil {
		return nil, stepError(ctx, stepDial, err)
	}
	s := &session{conn: &boundedConn{raw, maxReplies}}
	stop := context.AfterFunc(ctx, s.abort)
	step, err := m.open(ctx, s)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if s.conn.left <= 0 {
		err = errTooLong // instead of what the truncated reply says
	}
	if err != nil {
		s.abort()
		return nil, stepError(ctx, step, err)
	}
	return s, nil
}

// open does everything from the first byte to the end of AUTH. It sends credentials under TLS only,
// because New refuses them without.
func (m *Mailer) open(ctx context.Context, s *session) (step string, err error) {
	var conn net.Conn = s.conn
	if m.opts.ImplicitTLS {
		secure := tls.Client(conn, m.opts.TLSConfig)
		if err := secure.HandshakeContext(ctx); err != nil {
			return stepTLS, err
		}
		conn = secure
	}
	if s.client, err = smtp.NewClient(conn, m.opts.Host); err != nil {
		return stepGreeting, err
	}
	if err := s.client.Hello(m.opts.Hello); err != nil {
		return stepHello, err
	}
	if !m.opts.ImplicitTLS && !m.opts.InsecurePlaintext {
		if ok, _ := s.client.Extension("STARTTLS"); !ok {
			return stepSTARTTLS, errNoTLS
		}
		clear := s.client.Text
		if err := s.client.StartTLS(m.opts.TLSConfig); err != nil {
			return stepSTARTTLS, err
		}
		if clear.R.Buffered() > 0 {
			return stepSTARTTLS, errInjected
		}
	}
	if m.opts.Username != "" {
		return stepAuth, m.auth(ctx, s.client)
	}
	return stepHello, nil
}

// deliver sends one mail. It returns the step that it reached, stepEnd on success. A kept
// connection may have died unnoticed, so the first reply must arrive by the instant probe.
func (s *session) deliver(l letter, from string, probe time.Time) (step string, err error) {
	if s.kept {
		_ = s.conn.SetDeadline(probe)
	}
	if s.dirty {
		if err := s.client.Reset(); err != nil {
			return stepReset, err
		}
		s.dirty = false
	}
	if !l.ascii {
		if ok, _ := s.client.Extension("SMTPUTF8"); !ok {
			return stepRcpt, errNoUTF8
		}
	}
	s.client.SkipSMTPUTF8(l.ascii)
	s.dirty = true
	if err := s.client.Mail("<" + from + ">"); err != nil {
		return stepMail, err
	}
	if s.kept {
		_ = s.conn.SetDeadline(time.Time{})
	}
	if err := s.client.Rcpt("<" + l.to + ">"); err != nil {
		return stepRcpt, err
	}
	w, err := s.client.Data()
	if err != nil {
		return stepData, err
	}
	if s.unread() { // it would be taken for the reply to the mail
		return stepBody, errEarly
	}
	if _, err := w.Write(l.data); err != nil {
		return stepBody, err // the final dot was not sent
	}
	if err := w.Close(); err != nil {
		return stepEnd, err
	}
	s.dirty = false
	return stepEnd, nil
}

// unread reports whether the server has sent more than it was asked for.
func (s *session) unread() bool { return s.client.Text.R.Buffered() > 0 }

// abort may be called at any time by any goroutine.
func (s *session) abort() { _ = s.conn.Conn.Close() }

// quit sends QUIT and waits for the reply until deadline at most.
func (s *session) quit(deadline time.Time) {
	_ = s.conn.SetDeadline(deadline)
	s.conn.left = maxReplies
	_ = s.client.Quit()
	s.abort()
}

// accepted reports whether an error of the last step is an acceptance after all: RFC 5321 section
// 4.3.2 lets clients go by the first digit.
func accepted(step string, err error) bool {
	reply, ok := errors.AsType[*textproto.Error](err)
	return ok && step == stepEnd && reply.Code >= 200 && reply.Code <= 299
}
