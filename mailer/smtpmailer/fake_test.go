package smtpmailer

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
)

const fakeHost = "mail.example.com"

// A fake is an SMTP server over TCP that behaves well, except at steps that have an act.
type fake struct {
	listener net.Listener
	tls      *tls.Config
	implicit bool

	mu    sync.Mutex
	acts  map[string]act
	seen  []string // verbs, with "tls " before those that came under TLS
	mails []received
	conns map[net.Conn]bool
	dials int
	most  int   // connections at once
	wrote int64 // by flooding acts
}

type received struct {
	from, to string
	raw      []byte // between DATA's reply and the final dot, as on the wire
}

// An act replaces what the server does at a step: "banner", "EHLO" and so on, "tls EHLO" under TLS,
// "handshake", "end" for the reply to the body. It reports whether the session goes on.
type act func(p *peer) bool

// A peer is the server's end of a connection.
type peer struct {
	*fake
	raw    net.Conn
	conn   net.Conn
	r      *bufio.Reader
	secure bool
	rest   string // of the command, behind its verb
	mail   received
}

func newFake(t testing.TB, implicit bool) *fake {
	is := is.New(t)
	is.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err) // a port to listen on
	f := &fake{
		listener: l, tls: &tls.Config{Certificates: []tls.Certificate{good.cert}}, implicit: implicit,
		acts: map[string]act{}, conns: map[net.Conn]bool{},
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.dials++
			f.conns[conn] = true
			f.most = max(f.most, len(f.conns))
			f.mu.Unlock()
			wg.Go(func() {
				f.serve(conn)
				_ = conn.Close()
				f.mu.Lock()
				delete(f.conns, conn)
				f.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.mu.Lock()
		for conn := range f.conns {
			_ = conn.Close()
		}
		f.mu.Unlock()
		wg.Wait()
	})
	return f
}

// dial replaces the network, so that the server can have any name.
func (f *fake) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, f.listener.Addr().String())
}

// set changes what the server does, from the next step on.
func (f *fake) set(acts map[string]act) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acts = acts
}

// got returns the mails that the server has accepted.
func (f *fake) got() []received {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.mails)
}

func (f *fake) verbs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

func (f *fake) counts() (dials, open, most int, wrote int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials, len(f.conns), f.most, f.wrote
}

// dialed returns how many connections were made.
func (f *fake) dialed() int { dials, _, _, _ := f.counts(); return dials }

// idle reports whether no connection is open.
func (f *fake) idle() bool { _, open, _, _ := f.counts(); return open == 0 }

func (f *fake) serve(conn net.Conn) {
	p := &peer{fake: f, raw: conn, conn: conn, r: bufio.NewReader(conn)}
	if f.implicit && !p.do("handshake", p.handshake) {
		return
	}
	if !p.do("banner", say("220 mail.example.com ESMTP")) {
		return
	}
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		p.rest = rest
		step := strings.ToUpper(verb)
		if p.secure {
			step = "tls " + step
		}
		f.mu.Lock()
		f.seen = append(f.seen, step)
		f.mu.Unlock()
		if !p.do(step, func(p *peer) bool { return p.answer(strings.ToUpper(verb)) }) {
			return
		}
	}
}

// do runs the act of a step, or the given one if there is none.
func (p *peer) do(step string, otherwise act) bool {
	p.mu.Lock()
	a, ok := p.acts[step]
	if !ok {
		a, ok = p.acts[strings.TrimPrefix(step, "tls ")]
	}
	p.mu.Unlock()
	if ok {
		return a(p)
	}
	return otherwise(p)
}

func (p *peer) answer(verb string) bool {
	switch verb {
	case "EHLO", "HELO":
		if !p.secure {
			return say("250-mail.example.com\r\n250-ENHANCEDSTATUSCODES\r\n250 STARTTLS")(p)
		}
		return say("250-mail.example.com\r\n250-ENHANCEDSTATUSCODES\r\n250 AUTH PLAIN LOGIN")(p)
	case "STARTTLS":
		return say("220 2.0.0 go ahead")(p) && p.do("handshake", p.handshake)
	case "AUTH":
		return say("235 2.7.0 welcome")(p)
	case "MAIL":
		p.mail.from = strings.TrimPrefix(p.rest, "FROM:")
	case "RCPT":
		p.mail.to = strings.TrimPrefix(p.rest, "TO:")
	case "DATA":
		return say("354 go ahead")(p) && p.body()
	case "QUIT":
		say("221 2.0.0 bye")(p)
		return false
	}
	return say("250 2.0.0 ok")(p)
}

func (p *peer) handshake(*peer) bool {
	secure := tls.Server(p.conn, p.tls)
	if secure.Handshake() != nil {
		return false
	}
	p.conn, p.r, p.secure = secure, bufio.NewReader(secure), true
	return true
}

// body reads up to a strict CRLF.CRLF.
func (p *peer) body() bool {
	p.mail.raw = nil
	for {
		line, err := p.r.ReadBytes('\n')
		if err != nil {
			return false
		}
		if string(line) == ".\r\n" && (len(p.mail.raw) == 0 || bytes.HasSuffix(p.mail.raw, []byte("\r\n"))) {
			return p.do("end", accept)
		}
		p.mail.raw = append(p.mail.raw, line...)
	}
}

func accept(p *peer) bool {
	p.took()
	return say("250 2.0.0 accepted")(p)
}

func (p *peer) took() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mails = append(p.mails, p.mail)
}

func say(reply string) act {
	return func(p *peer) bool {
		_, err := io.WriteString(p.conn, reply+"\r\n")
		return err == nil
	}
}

// sayAndClose is a reply after which the connection ends.
func sayAndClose(reply string) act {
	return func(p *peer) bool { say(reply)(p); return false }
}

func hang(p *peer) bool {
	_, _ = io.Copy(io.Discard, p.raw)
	return false
}

func shut(*peer) bool { return false }

func reset(p *peer) bool {
	_ = p.raw.(*net.TCPConn).SetLinger(0)
	return false
}

// drip sends a line that never ends, byte by byte.
func drip(p *peer) bool {
	for range 1000 {
		if _, err := io.WriteString(p.conn, "2"); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// flood sends a piece again and again, a gigabyte of it.
func flood(piece string) act {
	chunk := []byte(strings.Repeat(piece, 1+(64<<10)/len(piece)))
	return func(p *peer) bool {
		for sent := 0; sent < 1<<30; {
			n, err := p.conn.Write(chunk)
			sent += n
			p.mu.Lock()
			p.wrote += int64(n)
			p.mu.Unlock()
			if err != nil {
				break
			}
		}
		return false
	}
}

// after runs one act and then another.
func after(first, second act) act {
	return func(p *peer) bool { return first(p) && second(p) }
}

// A certificate is one that the fake server may show.
type certificate struct {
	cert tls.Certificate
	x509 *x509.Certificate
	key  *ecdsa.PrivateKey
}

var (
	authority  = newCertificate(nil, "", time.Hour)
	good       = newCertificate(authority, fakeHost, time.Hour)
	wrongName  = newCertificate(authority, "quoted.example.org", time.Hour)
	expired    = newCertificate(authority, fakeHost, -time.Hour)
	selfSigned = newCertificate(nil, fakeHost, time.Hour)
)

// newCertificate returns a certificate that expires after the given time. Without an issuer it is
// self-signed.
func newCertificate(issuer *certificate, name string, ends time.Duration) *certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(ends),
		IsCA: name == "", BasicConstraintsValid: true, DNSNames: []string{name},
	}
	if name == "" {
		template.DNSNames = nil
		template.KeyUsage = x509.KeyUsageCertSign
	}
	parent, parentKey := template, key
	if issuer != nil {
		parent, parentKey = issuer.x509, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		panic(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &certificate{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, parsed, key}
}

func trusted() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(authority.x509)
	return &tls.Config{RootCAs: pool}
}
