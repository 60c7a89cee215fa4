package smtptest

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
	"example.com/recovery/mailer/smtpmailer"
)

// postfixScript starts and stops Postfix, and says how it is configured.
const postfixScript = "../../../mailer/smtpmailer/testdata/postfix.sh"

// A postfix is a running Postfix that takes mail for everybody, but only over TLS and after AUTH,
// and puts all of it into one mailbox.
type postfix struct {
	dir            string
	starttls, tls  int // ports of 127.0.0.1
	user, password string
	roots          *x509.CertPool
}

// newPostfix starts a Postfix and stops it at the end of the test.
func newPostfix(t *testing.T) *postfix {
	is := is.New(t)
	is.Helper()
	absent := func(why string) {
		t.Helper()
		if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
			t.Fatalf("%s, and RECOVERY_REQUIRE_ALL is 1", why)
		}
		t.Skipf("%s, so nothing was tested with Postfix", why)
	}
	for _, program := range []string{"bash", "postfix", "saslpasswd2"} {
		if _, err := exec.LookPath(program); err != nil {
			absent(program + " was not found (" + postfixScript + " installs it)")
		}
	}
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		absent("Postfix can be started by root on Linux only")
	}

	p := &postfix{user: "recovery@mta.test", password: rand.Text()}
	var err error
	p.dir, err = os.MkdirTemp("", "recovery-postfix-") // t.TempDir is closed to Postfix's own user
	is.NoErr(err)                                      // a folder
	t.Cleanup(func() { os.RemoveAll(p.dir) })
	is.NoErr(os.Chmod(p.dir, 0o755)) // that everybody can enter
	p.starttls, p.tls = freePorts(t)
	certificate, roots := newCertificate(t)
	p.roots = roots
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	is.NoErr(err) // a key
	for name, text := range map[string][]byte{
		"chain.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}),
		"key.pem":   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"password":  []byte(p.password),
	} {
		is.NoErr(os.WriteFile(filepath.Join(p.dir, name), text, 0o600)) // what the script expects
	}

	start := exec.Command("bash", postfixScript, "start", p.dir, strconv.Itoa(p.starttls), strconv.Itoa(p.tls), strconv.Itoa(os.Getpid()))
	out, err := start.CombinedOutput()
	t.Cleanup(func() {
		if out, err := exec.Command("bash", postfixScript, "stop", p.dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			t.Logf("the log of Postfix:\n%s", log)
		}
	})
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return p
}

// options are those that Postfix accepts mails with.
func (p *postfix) options() *smtpmailer.Options {
	return &smtpmailer.Options{
		Host: "127.0.0.1", Port: p.starttls, TLSConfig: &tls.Config{RootCAs: p.roots},
		Username: p.user, Password: p.password, From: "例 <accounts@example.com>",
	}
}

// arrived returns the mail for the recipient, once it is in the mailbox.
func (p *postfix) arrived(t *testing.T, to string) *mail.Message {
	is := is.New(t)
	is.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		switch mails := p.mailbox(t)[to]; len(mails) {
		case 0:
		case 1:
			return mails[0]
		default:
			t.Fatal("the mail arrived more than once")
		}
	}
	t.Fatal("the mail did not arrive in time")
	return nil
}

// mailbox returns what has arrived so far, by the recipient.
func (p *postfix) mailbox(t *testing.T) map[string][]*mail.Message {
	is := is.New(t)
	is.Helper()
	names, err := filepath.Glob(filepath.Join(p.dir, "mail", "inbox", "new", "*")) // mails are moved here when they are whole
	is.NoErr(err)                                                                  // the mailbox
	mails := map[string][]*mail.Message{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		is.NoErr(err) // a mail
		m, err := mail.ReadMessage(bytes.NewReader(text))
		is.NoErr(err) // RFC 5322
		to, err := m.Header.AddressList("To")
		is.NoErr(err)        // addresses
		is.Equal(len(to), 1) // one recipient
		mails[to[0].Address] = append(mails[to[0].Address], m)
	}
	return mails
}

// letters returns a message for every kind and language, each to a recipient of its own.
func letters(t *testing.T, name string, locales []string) (all []recovery.Message) {
	for _, locale := range locales {
		for _, kind := range kinds {
			m := message(kind, locale)
			m.ID = name + "." + locale + "." + string(kind)
			m.To, m.Application = m.ID+"@example.com", "Exämple 例"
			m.SignIns = nil
			spy.SetNames(&m, "billybob", ".", "From here", "山田太郎", "\r\n.\r\n", strings.Repeat("é", 127))
			for i := range m.Resets { // wider than a line of SMTP may be
				if kind == recovery.MessageResetLink {
					m.Resets[i].Link = "https://app.example.com/reset?pad=" + strings.Repeat("=", 1000) + "#" + spy.TokenText
				}
			}
			all = append(all, m)
		}
	}
	return all
}

func TestPostfix(t *testing.T) {
	p := newPostfix(t)
	t.Run("delivers every mail as it was rendered", func(t *testing.T) { p.testEveryMail(t, "built-in", nil) })
	t.Run("delivers lines that mean something on the way", func(t *testing.T) {
		const lines = "{{range .Resets}}\n    {{.Username}}\n    {{.Token}}{{.Link}} {{.Code}}\n{{end}}{{range .Usernames}}\n    {{.}}\n{{end}}{{range .SignIns}}\n    {{.Username}}\n    {{.Provider}}\n{{end}}\n.\n..\nFrom here\n>From there\n=3D=\n--\n . \nQUIT\n"
		long := strings.Repeat("x", 3000) + strings.Repeat(" é", 1000)
		templates := fstest.MapFS{}
		for _, kind := range kinds {
			templates["en/"+string(kind)+".txt"] = &fstest.MapFile{Data: []byte(lines + long)}
			templates["ja/"+string(kind)+".html"] = &fstest.MapFile{Data: []byte("<pre>" + lines + long + "\n.\n</pre>")}
		}
		p.testEveryMail(t, "own", templates)
	})
	t.Run("takes a mail over implicit TLS", func(t *testing.T) {
		opts := p.options()
		opts.Port, opts.ImplicitTLS = p.tls, true
		p.testOne(t, opts, "implicit@example.com", "ESMTPSA")
	})
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"} {
		t.Run("takes a mail after AUTH "+mechanism, func(t *testing.T) {
			opts := p.options()
			opts.Auth = mechanism
			p.testOne(t, opts, strings.ToLower(mechanism)+"@example.com", "ESMTPSA")
		})
	}
	t.Run("takes an address outside ASCII", func(t *testing.T) {
		p.testOne(t, p.options(), "山田@xn--r8jz45g.jp", "UTF8SMTPSA") // RFC 6531
	})
	for _, address := range []string{"da..me.@docomo.ne.jp", `"da..you."@docomo.ne.jp`} {
		t.Run("takes the address "+address, func(t *testing.T) {
			p.testOne(t, p.options(), address, "ESMTPSA") // against the grammar, so in quotes
		})
	}
	t.Run("refuses", p.testRefusals)
}

// A mail system keeps exactly what the Renderer gave, character by character.
func (p *postfix) testEveryMail(t *testing.T, name string, templates fs.FS) {
	is := is.New(t)
	renderer, m := p.newMailer(t, templates, p.options())
	sent := letters(t, name, renderer.Locales())
	is.Equal(len(sent), len(kinds)*len(renderer.Locales())) // each kind in each language
	for _, msg := range sent {
		is.NoErr(m.Send(t.Context(), msg)) // accepted
	}
	for _, msg := range sent {
		t.Run(msg.ID, func(t *testing.T) {
			is := is.New(t)
			want, err := renderer.Render(msg)
			is.NoErr(err) // as before
			got := p.arrived(t, msg.To)
			h := got.Header
			is.True(strings.Contains(h.Get("Received"), " with ESMTPSA ")) // under TLS, after AUTH
			is.Equal(h.Get("Return-Path"), "<accounts@example.com>")       // the sender of the envelope
			is.Equal(h.Get("X-Original-To"), msg.To)                       // the recipient of the envelope
			is.Equal(h.Get("Message-ID"), "<"+msg.ID+"@example.com>")      // the same on every try
			from, err := h.AddressList("From")
			is.NoErr(err)                                                                 // addresses
			is.Equal(from, []*mail.Address{{Name: "例", Address: "accounts@example.com"}}) // the author
			subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
			is.NoErr(err)                   // encoded as it should be
			is.Equal(subject, want.Subject) // the same
			checkParts(t, got, want)
		})
	}
}

// checkParts checks that a mail has the two parts of want, the preferred one last.
func checkParts(t *testing.T, got *mail.Message, want mailer.Mail) {
	is := is.New(t)
	is.Helper()
	kind, params, err := mime.ParseMediaType(got.Header.Get("Content-Type"))
	is.NoErr(err)                           // a media type
	is.Equal(kind, "multipart/alternative") // two parts that say the same
	parts := multipart.NewReader(got.Body, params["boundary"])
	for _, part := range []struct{ kind, body string }{{"text/plain", want.Text}, {"text/html", want.HTML}} {
		p, err := parts.NextRawPart()
		is.NoErr(err) // there is a part
		kind, params, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		is.NoErr(err)                                         // a media type
		is.Equal(kind, part.kind)                             // the plain one first
		is.Equal(strings.ToLower(params["charset"]), "utf-8") // which is what decides
		var decoded io.Reader
		switch encoding := p.Header.Get("Content-Transfer-Encoding"); strings.ToLower(encoding) {
		case "quoted-printable":
			decoded = quotedprintable.NewReader(p)
		case "base64":
			decoded = base64.NewDecoder(base64.StdEncoding, p)
		default:
			t.Fatalf("Content-Transfer-Encoding is %q", encoding)
		}
		body, err := io.ReadAll(decoded)
		is.NoErr(err) // encoded as it says
		// A mailbox has the line endings of its system; a base64 part has those of the wire.
		if got := strings.ReplaceAll(string(body), "\r\n", "\n"); got != part.body {
			t.Errorf("the part %s arrived as\n%q\nand was rendered as\n%q", part.kind, got, part.body)
		}
	}
	_, err = parts.NextRawPart()
	is.Equal(err, io.EOF) // and no other part
}

// newMailer returns a Mailer for p and the Renderer that it uses.
func (p *postfix) newMailer(t *testing.T, templates fs.FS, opts *smtpmailer.Options) (*mailer.Renderer, *smtpmailer.Mailer) {
	is := is.New(t)
	is.Helper()
	renderer, err := mailer.New(&mailer.Options{SupportURL: "https://example.com/help", Templates: templates})
	is.NoErr(err) // sound templates
	m, err := smtpmailer.New(renderer, opts)
	is.NoErr(err) // sound options
	t.Cleanup(func() { is.NoErr(m.Close()) })
	return renderer, m
}

// testOne sends a mail, which must arrive over the protocol (RFC 3848, RFC 6531).
func (p *postfix) testOne(t *testing.T, opts *smtpmailer.Options, to, protocol string) {
	is := is.New(t)
	_, m := p.newMailer(t, nil, opts)
	msg := letters(t, "one", []string{"ja"})[0]
	msg.To = to
	is.NoErr(m.Send(t.Context(), msg))                                           // accepted
	got := p.arrived(t, strings.ReplaceAll(to, `"`, ""))                         // which are no part of the address
	is.True(strings.Contains(got.Header.Get("Received"), " with "+protocol+" ")) // as it should
}

// A refusal because of the sender is tried again later: the mail is not at fault.
func (p *postfix) testRefusals(t *testing.T) {
	is := is.New(t)
	const nobody = "refused@example.com"
	for name, test := range map[string]struct {
		to        string
		spoil     func(*smtpmailer.Options)
		want      string
		permanent bool
	}{
		"a wrong password": {nobody, func(o *smtpmailer.Options) { o.Password = "wrong" }, "AUTH: the server replied 535 5.7.8", false},
		"no AUTH": {nobody, func(o *smtpmailer.Options) { o.Username, o.Password = "", "" },
			"RCPT TO: the server replied 554 5.7.1", false},
		"no TLS": {nobody, func(o *smtpmailer.Options) { o.Username, o.Password, o.InsecurePlaintext = "", "", true },
			"MAIL FROM: the server replied 530 5.7.0", false},
		"an unknown authority": {nobody, func(o *smtpmailer.Options) { o.TLSConfig = nil }, "unknown authority", false},
		"another name":         {nobody, func(o *smtpmailer.Options) { o.Host = "localhost" }, "the certificate", false},
		"no mailbox":           {"gone@example.com", nil, "RCPT TO: the server replied 550 5.1.1", true},
		"no mailbox now":       {"later@example.com", nil, "RCPT TO: the server replied 450 4.2.1", false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			opts := p.options()
			if test.spoil != nil {
				test.spoil(opts)
			}
			_, m := p.newMailer(t, nil, opts)
			msg := letters(t, "one", []string{"en"})[0]
			msg.To = test.to
			err := m.Send(t.Context(), msg)
			is.True(err != nil) // refused
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %q, want %q in it", err, test.want)
			}
			is.Equal(errors.Is(err, recovery.ErrPermanent), test.permanent) // whether it is tried again
			for _, secret := range []string{test.to, p.password, spy.TokenText} {
				is.True(!strings.Contains(err.Error(), secret)) // told to nobody
			}
		})
	}
	is.Equal(len(p.mailbox(t)[nobody]), 0) // and nothing arrived
}

// freePorts returns two ports on which nobody listens.
func freePorts(t *testing.T) (a, b int) {
	is := is.New(t)
	is.Helper()
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		is.NoErr(err) // there is one
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports[0], ports[1]
}
