// Package smtptest tests smtpmailer with SMTP servers that others wrote.
package smtptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
	"example.com/recovery/mailer/smtpmailer"
)

const (
	username = "relay-user"
	password = "S3cret-pass"
	token    = "ya29.token"
)

// A server is a go-smtp server that keeps what it accepts.
type server struct {
	host       string
	port       int
	roots      *x509.CertPool
	mechanisms []string
	delay      time.Duration // before a mail is accepted, as a disk needs it
	discard    bool

	mu       sync.Mutex
	accepted []envelope
	sessions []session
}

type envelope struct {
	from, to string
	data     string
}

// A session is what the server knows about a connection at its end.
type session struct {
	hello string
	tls   bool
	user  string
	by    string // mechanism
}

func newServer(t testing.TB, change func(*smtp.Server, *server)) *server {
	is := is.New(t)
	is.Helper()
	cert, pool := newCertificate(t)
	s := &server{roots: pool, mechanisms: []string{"PLAIN"}}
	implementation := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &backend{server: s, conn: c}, nil
	}))
	implementation.Domain = "mail.example.com"
	implementation.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	implementation.ErrorLog = discard{}
	if change != nil {
		change(implementation, s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err) // a port to listen on
	host, port, err := net.SplitHostPort(l.Addr().String())
	is.NoErr(err) // an address
	s.host = host
	s.port, err = strconv.Atoi(port)
	is.NoErr(err) // a port
	if implementation.Network == "implicit" {
		l = tls.NewListener(l, implementation.TLSConfig)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = implementation.Serve(l) })
	t.Cleanup(func() { _ = implementation.Close(); wg.Wait() })
	return s
}

type discard struct{}

func (discard) Printf(string, ...any) {}
func (discard) Println(...any)        {}

func (s *server) mails() []envelope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.accepted)
}

type backend struct {
	*server
	conn *smtp.Conn
	mail envelope
	as   session
}

func (b *backend) Reset()        { b.mail = envelope{} }
func (b *backend) Logout() error { return nil }

func (b *backend) AuthMechanisms() []string {
	if _, secure := b.conn.TLSConnectionState(); !secure {
		return nil
	}
	return b.mechanisms
}

func (b *backend) Auth(mechanism string) (sasl.Server, error) {
	check := func(user, secret, want string) error {
		if user != username || secret != want {
			return errors.New("wrong credentials")
		}
		b.as.user, b.as.by = user, mechanism
		return nil
	}
	switch mechanism {
	case "PLAIN":
		return sasl.NewPlainServer(func(_, user, secret string) error { return check(user, secret, password) }), nil
	case "LOGIN":
		return &dialogue{challenges: []string{"Username:", "Password:"}, check: func(answers []string) error {
			return check(answers[0], answers[1], password)
		}}, nil
	case "XOAUTH2":
		return &dialogue{challenges: []string{""}, check: func(answers []string) error {
			fields := strings.Split(answers[0], "\x01")
			return check(strings.TrimPrefix(fields[0], "user="), strings.TrimPrefix(fields[1], "auth=Bearer "), token)
		}}, nil
	}
	return nil, smtp.ErrAuthUnsupported
}

// A dialogue asks its challenges one by one and then checks the answers.
type dialogue struct {
	challenges []string
	answers    []string
	check      func(answers []string) error
}

func (d *dialogue) Next(response []byte) (challenge []byte, done bool, err error) {
	if response != nil {
		d.answers = append(d.answers, string(response))
	}
	if len(d.answers) == len(d.challenges) {
		return nil, true, d.check(d.answers)
	}
	return []byte(d.challenges[len(d.answers)]), false, nil
}

func (b *backend) Mail(from string, _ *smtp.MailOptions) error {
	if len(b.mechanisms) > 0 && b.as.user == "" {
		return smtp.ErrAuthRequired
	}
	b.mail.from = from
	return nil
}

func (b *backend) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: to + " is unknown"}
	}
	b.mail.to += to
	return nil
}

func (b *backend) Data(r io.Reader) error {
	if b.discard {
		_, err := io.Copy(io.Discard, r)
		time.Sleep(b.delay)
		return err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	b.mail.data = string(data)
	b.as.hello = b.conn.Hostname()
	_, b.as.tls = b.conn.TLSConnectionState()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accepted = append(b.accepted, b.mail)
	b.sessions = append(b.sessions, b.as)
	return nil
}

func newCertificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	is := is.New(t)
	is.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	is.NoErr(err) // a key
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	is.NoErr(err) // a certificate
	parsed, err := x509.ParseCertificate(der)
	is.NoErr(err) // a certificate
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

var sentAt = time.Date(2026, 11, 21, 11, 30, 5, 0, time.FixedZone("", 9*60*60))

// newMailer returns a Mailer for s and the Renderer that it uses.
func newMailer(t testing.TB, s *server, change func(*smtpmailer.Options)) (*smtpmailer.Mailer, *mailer.Renderer) {
	is := is.New(t)
	is.Helper()
	o := &smtpmailer.Options{
		Host: s.host, Port: s.port, TLSConfig: &tls.Config{RootCAs: s.roots}, Username: username, Password: password,
		From: "Example アカウント <accounts@example.com>", ReplyTo: "Help <help@example.com>", EnvelopeFrom: "bounces@example.com",
		MessageIDDomain: "id.example.com", Now: func() time.Time { return sentAt },
	}
	if change != nil {
		change(o)
	}
	r, err := mailer.New(&mailer.Options{SupportURL: "https://example.com/help"})
	is.NoErr(err) // the built-in templates
	m, err := smtpmailer.New(r, o)
	is.NoErr(err) // sound options
	t.Cleanup(func() { is.NoErr(m.Close()) })
	return m, r
}

var (
	kinds = []recovery.MessageKind{
		recovery.MessageResetToken, recovery.MessageResetLink, recovery.MessagePasswordChanged, recovery.MessageUsernames,
		recovery.MessageSignIn,
	}
	locales = []string{"en", "ja"}
)

func message(kind recovery.MessageKind, locale string) recovery.Message {
	m := spy.Message(kind)
	m.ID, m.To, m.Locale = "0198a7c2-6f6e-7d43-8a51-3c1f5c5b0b11", "Billybob@例え.jp", locale
	return m
}
