package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
)

// certificate returns a certificate for 127.0.0.1, and a file that names it as an authority.
func certificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	is := is.New(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	is.NoErr(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	is.NoErr(err)
	file := filepath.Join(t.TempDir(), "authority.pem")
	is.NoErr(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}

func TestMailServerWithTLS(t *testing.T) {
	config, authority := certificate(t)
	t.Setenv("SSL_CERT_FILE", authority)
	for scheme, implicit := range map[string]bool{"smtp": false, "smtps": true} {
		t.Run(scheme, func(t *testing.T) {
			is := is.New(t)
			s := &mailServer{t: t, addr: "127.0.0.1:0", tls: config, implicit: implicit}
			s.up()
			t.Cleanup(s.down)
			p := start(t, "-smtp", scheme+"://app:p%40ss@"+s.addr)
			p.ask("billybob")
			is.Equal(s.wait(1)[0].to, "billybob@example.com")
			p.stop(syscall.SIGTERM)
			is.Equal(p.stderr.String(), "") // no warning, no failure
		})
	}
}

// A server without TLS gets neither a log-in nor a mail.
func TestMailServerWithoutTLS(t *testing.T) {
	is := is.New(t)
	s := newMailServer(t)
	p := start(t, "-smtp", "smtp://app:p%40ss@"+s.addr, "-send-timeout", "1s")
	p.ask("billybob")
	time.Sleep(2 * time.Second)
	is.NoErr(p.cmd.Process.Kill())
	_ = p.cmd.Wait()
	is.Equal(len(s.all()), 0)
}
