package smtpmailer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"strings"

	"example.com/recovery"
)

// The steps of sending a mail, as errors name them.
const (
	stepWait     = "waiting for a connection"
	stepDial     = "connecting"
	stepTLS      = "TLS"
	stepGreeting = "greeting"
	stepHello    = "EHLO"
	stepSTARTTLS = "STARTTLS" // until the second EHLO is answered
	stepAuth     = "AUTH"
	stepReset    = "RSET"
	stepMail     = "MAIL FROM"
	stepRcpt     = "RCPT TO"
	stepData     = "DATA"
	stepBody     = "body"
	stepEnd      = "end of DATA"
)

// A ReplyError is a reply with which the server refused a step. It matches [recovery.ErrPermanent]
// when the reply is about this one mail; the package documentation says which ones are.
type ReplyError struct {
	Step     string // "greeting", "EHLO", "STARTTLS", "AUTH", "MAIL FROM", "RCPT TO", "DATA", "end of DATA"
	Code     int    // of three digits: 550
	Enhanced string // the code of RFC 3463, "5.1.1", or "" if the server sent none
}

func (e *ReplyError) Error() string {
	return fmt.Sprintf("smtpmailer: %s: the server replied %s", e.Step,
		strings.TrimSpace(fmt.Sprintf("%d %s", e.Code, e.Enhanced)))
}

// Is tells errors.Is whether the reply is about this one mail.
func (e *ReplyError) Is(target error) bool {
	return target == recovery.ErrPermanent && e.permanent()
}

// refuses reports whether the reply says that the mail was not accepted.
func (e *ReplyError) refuses() bool { return 400 <= e.Code && e.Code <= 599 }

// permanent decides in favour of the mail: it is false if the sender's configuration or the server
// may be at fault.
func (e *ReplyError) permanent() bool {
	if e.Step != stepRcpt && e.Step != stepEnd || e.Code < 500 || e.Code > 599 {
		return false
	}
	switch {
	case e.Code <= 504, e.Code == 521, 530 <= e.Code && e.Code <= 538:
		return false // the command, the host, the authentication
	}
	switch e.Enhanced {
	case "5.1.7", "5.1.8":
		return false // the sender's address
	case "5.3.4":
		return true // too big
	}
	for _, class := range []string{"5.3.", "5.5.", "5.7."} {
		if strings.HasPrefix(e.Enhanced, class) {
			return false // the mail system, the protocol, the policy
		}
	}
	return true
}

var (
	errClosed   = errors.New("smtpmailer: the Mailer is closed")
	errTooLong  = errors.New("the server's replies are too long")
	errProtocol = errors.New("the reply is not SMTP")
	errEarly    = errors.New("the server replied before it had the mail")
	errNoTLS    = errors.New("the server does not offer STARTTLS")
	errInjected = errors.New("unencrypted data followed the reply")
	errNoAuth   = errors.New("the server offers no AUTH mechanism that may be used")
	errExchange = errors.New("the exchange failed")
	errBadToken = errors.New("the access token must consist of visible ASCII characters")
	errNoUTF8   = fmt.Errorf("smtpmailer: the server accepts only ASCII addresses: %w", recovery.ErrPermanent)
)

// enhanced matches at the start of the first line of a reply (RFC 2034 section 4).
var enhanced = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}\b`)

// stepError returns what an error may reveal. Replies quote the recipient, and certificates hold
// whatever the server likes, so only numbers and fixed texts pass.
func stepError(ctx context.Context, step string, err error) error {
	if err == nil || err == errNoUTF8 {
		return err
	}
	if token, ok := errors.AsType[*tokenError](err); ok { // first, whatever it wraps
		return fmt.Errorf("smtpmailer: %s: %w", step, token)
	}
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("smtpmailer: %s: %w", step, ended)
	}
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		e := &ReplyError{Step: step, Code: reply.Code, Enhanced: enhanced.FindString(reply.Msg)}
		if e.Enhanced != "" && int(e.Enhanced[0]-'0') != e.Code/100 {
			e.Enhanced = ""
		}
		return e
	}
	return fmt.Errorf("smtpmailer: %s: %w", step, plain(err))
}

// plain returns err if its text is ours or the standard library's, else a fixed text about it.
func plain(err error) error {
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		return errProtocol
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return errors.New("the server does not speak TLS")
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return errors.New("the certificate is for another name")
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return errors.New("the certificate is signed by an unknown authority")
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return errors.New("the certificate has expired or is not valid yet")
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return errors.New("the certificate is not valid")
	}
	for _, known := range []error{errTooLong, errEarly, errNoTLS, errInjected, errNoAuth, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, known) {
			return known
		}
	}
	if network, ok := errors.AsType[net.Error](err); ok { // with the server's address, which is no secret
		return network
	}
	return errExchange
}

// An uncertainError says that nobody knows whether the mail was accepted.
type uncertainError struct{ err error }

func (e *uncertainError) Error() string        { return e.err.Error() + ": the mail may have been accepted" }
func (e *uncertainError) Unwrap() error        { return e.err }
func (e *uncertainError) Is(target error) bool { return target == recovery.ErrUncertain }

// A tokenError is what Options.AccessToken returned.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "Options.AccessToken: " + e.err.Error() }

// Unwrap hides errors that would end a mail, because the mail is not at fault.
func (e *tokenError) Unwrap() error {
	if errors.Is(e.err, recovery.ErrPermanent) {
		return nil
	}
	return e.err
}
