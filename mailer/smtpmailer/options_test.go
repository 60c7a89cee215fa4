package smtpmailer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery/mailer"
)

func TestAttack_S85_NewSaysEveryFaultAtOnce(t *testing.T) {
	is := is.New(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	is.NoErr(err) // a key
	m, err := New(nil, &Options{
		Host: "mail example", Port: 70000, ImplicitTLS: true, InsecurePlaintext: true,
		TLSConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11},
		Password:  password + "\n", Auth: "NTLM", From: "Example <accounts>", ReplyTo: "a@b, c@d",
		EnvelopeFrom: "Example <bounces@example.com>", MessageIDDomain: "a b", Hello: "x\r\nRSET",
		DKIM: &DKIM{Domain: "", Selector: "a;b", Key: weak}, Connections: 513, IdleTimeout: time.Hour, Timeout: time.Millisecond,
		AccessToken: func(context.Context) (string, error) { return "", nil },
	})
	is.Equal(m, nil) // no Mailer
	for _, part := range []string{
		"the Renderer", "Options.Host", "Options.Port", "ImplicitTLS and InsecurePlaintext", "InsecureSkipVerify", "TLS 1.2",
		"InsecurePlaintext excludes", "Username must", "Password and AccessToken", "Options.Auth", "Password must be UTF-8",
		"Options.From", "Options.ReplyTo", "EnvelopeFrom", "MessageIDDomain", "Options.Hello", "DKIM.Domain", "DKIM.Selector",
		"DKIM.Key must have at least 2048 bits", "Connections must be from 1 to 512, is 513", "IdleTimeout", "Options.Timeout",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %q in:\n%v", part, err)
		}
	}
	is.True(!strings.Contains(err.Error(), password)) // no secret

	_, err = New(nil, nil)
	is.True(strings.Contains(err.Error(), "Options.Host") && strings.Contains(err.Error(), "Options.From")) // there is no default for these
}

func TestOneFaultIsEnough(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token := func(context.Context) (string, error) { return "", nil }
	for name, change := range map[string]func(*Options){
		"no host":                  func(o *Options) { o.Host = "" },
		"host with a line end":     func(o *Options) { o.Host = "a\r\nb" },
		"port":                     func(o *Options) { o.Port = -1 },
		"credentials in the clear": func(o *Options) { o.InsecurePlaintext = true },
		"token in the clear":       func(o *Options) { o.InsecurePlaintext, o.Password, o.AccessToken = true, "", token },
		"user name alone":          func(o *Options) { o.Password = "" },
		"password alone":           func(o *Options) { o.Username = "" },
		"XOAUTH2 without token":    func(o *Options) { o.Auth = "XOAUTH2" },
		"XOAUTH2 with password":    func(o *Options) { o.AccessToken = token },
		"PLAIN with token":         func(o *Options) { o.Password, o.AccessToken, o.Auth = "", token, "PLAIN" },
		"NUL in the user name":     func(o *Options) { o.Username = "a\x00b" },
		"no author":                func(o *Options) { o.From = "" },
		"two authors":              func(o *Options) { o.From = "a@example.com, b@example.com" },
		"author with a line end":   func(o *Options) { o.From = "\"a\r\nBcc: b@example.com\" <a@example.com>" },
		"encoded line end":         func(o *Options) { o.From = "=?utf-8?q?a=0D=0ABcc:_b?= <a@example.com>" },
		"author outside ASCII":     func(o *Options) { o.From = "ä@example.com" },
		"quoted author":            func(o *Options) { o.From = `"a b"@example.com` },
		"author that needs quotes": func(o *Options) { o.From = `"a..b"@example.com` },
		"return path with dots":    func(o *Options) { o.EnvelopeFrom = "a..b@example.com" },
		"long name":                func(o *Options) { o.From = strings.Repeat("a", 129) + " <a@example.com>" },
		"named return path":        func(o *Options) { o.EnvelopeFrom = "A <a@example.com>" },
		"greeting with a space":    func(o *Options) { o.Hello = "a b" },
		"unverified TLS":           func(o *Options) { o.TLSConfig = &tls.Config{InsecureSkipVerify: true} },
		"TLS 1.1":                  func(o *Options) { o.TLSConfig = &tls.Config{MaxVersion: tls.VersionTLS11} },
		"DKIM without key":         func(o *Options) { o.DKIM = &DKIM{Domain: "example.com", Selector: "s"} },
		"DKIM with a long domain": func(o *Options) {
			o.DKIM = &DKIM{Domain: strings.Repeat("a", 59) + ".example.com", Selector: "s", Key: key}
		},
		"DKIM with a long selector": func(o *Options) { o.DKIM = &DKIM{Domain: "example.com", Selector: strings.Repeat("a.b", 24), Key: key} },
		"DKIM with a bad selector":  func(o *Options) { o.DKIM = &DKIM{Domain: "example.com", Selector: "s; l=0", Key: key} },
		"DKIM with an empty key":    func(o *Options) { o.DKIM = &DKIM{Domain: "example.com", Selector: "s", Key: &rsa.PrivateKey{}} },
		"negative connections":      func(o *Options) { o.Connections = -1 },
		"idle time below a second":  func(o *Options) { o.IdleTimeout = time.Millisecond },
		"timeout above ten minutes": func(o *Options) { o.Timeout = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			o := sound()
			_, err := o.settings()
			is.NoErr(err) // sound without the change
			change(o)
			_, err = o.settings()
			is.True(err != nil)                                             // refused
			is.True(strings.HasPrefix(err.Error(), "smtpmailer: Options.")) // the field is named
			is.True(!strings.Contains(err.Error(), "\n"))                   // and there is no other fault
			checkQuiet(t, err, password)
		})
	}
}

func sound() *Options {
	return &Options{Host: fakeHost, Username: "relay-user", Password: password, From: "Example <accounts@example.com>"}
}

func TestDefaults(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Options)
		address string
	}{
		"STARTTLS":     {func(*Options) {}, "mail.example.com:587"},
		"implicit TLS": {func(o *Options) { o.ImplicitTLS = true }, "mail.example.com:465"},
		"plaintext":    {plaintext, "mail.example.com:25"},
		"IPv6":         {func(o *Options) { o.Host, o.Port = "::1", 2525 }, "[::1]:2525"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			o := sound()
			c.change(o)
			s, err := o.settings()
			is.NoErr(err)                                              // sound options
			is.Equal(s.address, c.address)                             // where the server is
			is.Equal(s.EnvelopeFrom, "accounts@example.com")           // the author's address
			is.Equal(s.MessageIDDomain, "example.com")                 // the author's domain
			is.Equal(s.Hello, "example.com")                           // no name of this machine
			is.Equal(s.Connections, 45)                                // for as many mails as the worker sends
			is.Equal(s.IdleTimeout, 30*time.Second)                    // as documented
			is.Equal(s.Timeout, 30*time.Second)                        // as documented
			is.Equal(s.TLSConfig.MinVersion, uint16(tls.VersionTLS12)) // at least
			is.Equal(s.TLSConfig.ServerName, o.Host)                   // what the certificate must have
		})
	}
}

func TestTLSConfigIsRaisedAndNotChanged(t *testing.T) {
	is := is.New(t)
	o := sound()
	o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS10, ServerName: "other.example.com"}
	s, err := o.settings()
	is.NoErr(err)                                              // sound options
	is.Equal(s.TLSConfig.MinVersion, uint16(tls.VersionTLS12)) // raised
	is.Equal(s.TLSConfig.ServerName, "other.example.com")      // kept
	is.Equal(o.TLSConfig.MinVersion, uint16(tls.VersionTLS10)) // the caller's own is as it was
	o.TLSConfig = &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return nil }}
	_, err = o.settings()
	is.NoErr(err) // who pins a key verifies it himself
}

func TestInternationalDomainOfTheAuthor(t *testing.T) {
	is := is.New(t)
	o := sound()
	o.From = "例 <Accounts@例え.jp>"
	s, err := o.settings()
	is.NoErr(err)                                       // sound options
	is.Equal(s.EnvelopeFrom, "Accounts@xn--r8jz45g.jp") // A-labels; the local part as given
	is.Equal(s.Hello, "xn--r8jz45g.jp")                 // A-labels
}

func TestSecretsCannotBePrinted(t *testing.T) {
	is := is.New(t)
	r, err := mailer.New(nil)
	is.NoErr(err) // the built-in templates
	_, key, err := ed25519.GenerateKey(rand.Reader)
	is.NoErr(err) // a key
	o := sound()
	o.DKIM = &DKIM{Domain: "example.com", Selector: "s", Key: key}
	m, err := New(r, o)
	is.NoErr(err) // sound options
	for _, v := range []any{*o, o, m, *o.DKIM, o.DKIM, m.opts, letter{data: []byte(password)}, struct{ O any }{o}} {
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		encoded, err := json.Marshal(v)
		is.NoErr(err) // marshals
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
			printed := fmt.Sprintf(verb, v) + log.String() + string(encoded)
			is.True(strings.Contains(printed, "[redacted]"))             // in its place
			is.True(!strings.Contains(printed, password))                // no password
			is.True(!strings.Contains(printed, fmt.Sprint(key[:8])[1:])) // no key
		}
	}
}
