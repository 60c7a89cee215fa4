package smtpmailer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// maxReplies bounds what a server may send while a connection is made, and again for every mail. A
// chain of certificates takes most of what is ever used of it, some 10 kB.
const maxReplies = 256 << 10

// A session is a connection to the server that is ready for a mail.
type session struct {
	client *smtp.Client
	conn   *boundedConn
	kept   bool        // it has carried a mail before
	dirty  bool        // RSET is due
	lost   bool        // it cannot carry another mail
	idle   *time.Timer // ends it; nil while it is used
}

// A boundedConn ends with an error when the server sends more than it may.
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

// connect makes a new session. The error is ready for the caller of Send.
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
		err = errTooLong // and not what was read of it
	}
	if err != nil {
		s.abort()
		return nil, stepError(ctx, step, err)
	}
	return s, nil
}

// open goes from the first byte to the end of AUTH. TLS is always up before it sends a credential,
// because New refuses credentials for anything else.
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

// deliver sends one mail. The step is where it ended, which is the last one if all went well. A kept
// connection may be dead without a sign of it, so the first answer must come by the time probe.
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
	if !l.ascii && !s.offers("SMTPUTF8") {
		return stepRcpt, errNoUTF8
	}
	s.dirty = true
	if step, err := s.announce(l, from); err != nil {
		return step, err
	}
	text := s.client.Text
	_, _ = text.W.Write(l.data) // a failure is Flush's too
	if err := text.W.Flush(); err != nil {
		return stepBody, err // the final dot was not sent
	}
	_ = text.PrintfLine(".") // a server that goes away may have said why
	if _, _, err := text.ReadResponse(250); err != nil {
		return stepEnd, err
	}
	s.dirty = false
	return stepEnd, nil
}

// announce goes from MAIL to the reply to DATA. A server that offers PIPELINING (RFC 2920) gets all three
// commands at once, which saves two round trips of every mail.
func (s *session) announce(l letter, from string) (step string, err error) {
	mail := "MAIL FROM:<" + from + ">"
	if s.offers("8BITMIME") {
		mail += " BODY=8BITMIME"
	}
	if !l.ascii {
		mail += " SMTPUTF8"
	}
	commands := []struct {
		step, text string
		code       int // of the reply, or how it begins
	}{{stepMail, mail, 250}, {stepRcpt, "RCPT TO:<" + l.to + ">", 25}, {stepData, "DATA", 354}}
	text, pipelining := s.client.Text, s.offers("PIPELINING")
	if strings.ContainsAny(from+l.to, "\r\n") { // which New and compose refuse
		return stepMail, errExchange
	}
	if pipelining {
		for _, c := range commands {
			_, _ = text.W.WriteString(c.text + "\r\n")
		}
		if err := text.W.Flush(); err != nil {
			return stepMail, err
		}
	}
	for i, c := range commands {
		if !pipelining {
			if err := text.PrintfLine("%s", c.text); err != nil {
				return c.step, err
			}
		}
		if _, _, err := text.ReadResponse(c.code); err != nil {
			if pipelining {
				s.skip(err, len(commands)-1-i)
			}
			return c.step, err
		}
		if s.kept && c.step == stepMail {
			_ = s.conn.SetDeadline(time.Time{})
		}
	}
	return stepData, nil
}

// skip reads the replies to the commands behind one that was refused for good, so that the session can
// go on. A server that wants a mail without a recipient (RFC 2920 section 3.1) does not get one.
func (s *session) skip(err error, replies int) {
	refusal, ok := errors.AsType[*textproto.Error](err)
	if s.lost = !ok || refusal.Code < 500; s.lost {
		return
	}
	_ = s.conn.SetDeadline(time.Now().Add(skipTimeout))
	for range replies {
		code, _, err := s.client.Text.ReadResponse(0)
		if s.lost = err != nil || code == 354; s.lost {
			return
		}
	}
	_ = s.conn.SetDeadline(time.Time{})
}

// offers reports whether the server has an extension.
func (s *session) offers(extension string) bool {
	ok, _ := s.client.Extension(extension)
	return ok
}

// unread reports whether the server has sent more than it was asked for.
func (s *session) unread() bool { return s.client.Text.R.Buffered() > 0 }

// abort may be called at any time by any goroutine.
func (s *session) abort() { _ = s.conn.Conn.Close() }

// quit says goodbye, but does not wait for long.
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
