package smtpmailer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
)

func TestLoadKey(t *testing.T) {
	must := func(key any, err error) any {
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	strong := must(rsa.GenerateKey(rand.Reader, 2048)).(*rsa.PrivateKey)
	weak := must(rsa.GenerateKey(rand.Reader, 1024)).(*rsa.PrivateKey)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	must(nil, err)
	curve := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	pkcs8 := func(key any) []byte {
		der := must(x509.MarshalPKCS8PrivateKey(key)).([]byte)
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(strong)})
	for name, c := range map[string]struct {
		data []byte
		want string // the end of the error
	}{
		"RSA in PKCS 8":     {pkcs8(strong), ""},
		"RSA in PKCS 1":     {pkcs1, ""},
		"Ed25519":           {pkcs8(edwards), ""},
		"short RSA":         {pkcs8(weak), "must have at least 2048 bits"},
		"another algorithm": {pkcs8(curve), "must be an RSA or Ed25519 private key"},
		"no PEM":            {[]byte("x"), "holds no PEM block"},
		"a certificate":     {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}), "must hold a PRIVATE KEY or RSA PRIVATE KEY"},
		"a broken key":      {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"}), "is malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			file := filepath.Join(t.TempDir(), "dkim.pem")
			is.NoErr(os.WriteFile(file, c.data, 0o600)) // the file
			key, err := LoadKey(file)
			if c.want == "" {
				is.NoErr(err)           // a sound key
				is.True(key != nil)     // is returned
				is.NoErr(checkKey(key)) // and can be used
				return
			}
			is.Equal(key, nil)                                           // nothing to go on with
			is.Equal(err.Error()[len(err.Error())-len(c.want):], c.want) // what is wrong
		})
	}
	_, err = LoadKey(filepath.Join(t.TempDir(), "missing"))
	is.New(t).True(errors.Is(err, fs.ErrNotExist)) // a missing file says so
}
