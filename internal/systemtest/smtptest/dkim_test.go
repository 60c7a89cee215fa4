package smtptest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/matryer/is"

	"example.com/recovery/mailer/smtpmailer"
)

func keys(t *testing.T) map[string]crypto.Signer {
	is := is.New(t)
	is.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	is.NoErr(err) // a key
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	is.NoErr(err) // a key
	return map[string]crypto.Signer{"rsa": rsaKey, "ed25519": edwards}
}

// verify checks a mail's one signature with the public key that DNS would have.
func verify(t *testing.T, algorithm string, key crypto.Signer, data string) error {
	return verifyAs(t, "example.com", "mails2026", algorithm, key, data)
}

func verifyAs(t *testing.T, domain, selector, algorithm string, key crypto.Signer, data string) error {
	is := is.New(t)
	is.Helper()
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		is.NoErr(err) // encodes
		public = der
	}
	results, err := dkim.VerifyWithOptions(strings.NewReader(data), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		is.Equal(name, selector+"._domainkey."+domain) // where the key is
		return []string{"v=DKIM1; k=" + algorithm + "; p=" + base64.StdEncoding.EncodeToString(public)}, nil
	}})
	is.NoErr(err)                       // the verifier understands the mail
	is.Equal(len(results), 1)           // one signature
	is.Equal(results[0].Domain, domain) // of the domain
	return results[0].Err
}

func TestSignaturesHold(t *testing.T) {
	for algorithm, key := range keys(t) {
		t.Run(algorithm, func(t *testing.T) {
			s := newServer(t, nil)
			m, _ := newMailer(t, s, func(o *smtpmailer.Options) {
				o.DKIM = &smtpmailer.DKIM{Domain: "example.com", Selector: "mails2026", Key: key}
			})
			for _, locale := range locales {
				for _, kind := range kinds {
					t.Run(locale+"."+string(kind), func(t *testing.T) {
						is := is.New(t)
						is.NoErr(m.Send(t.Context(), message(kind, locale))) // sent
						mails := s.mails()
						data := mails[len(mails)-1].data
						is.NoErr(verify(t, algorithm, key, data)) // as it arrived
						for line := range strings.SplitSeq(data, "\r\n") {
							is.True(len(line) <= 78) // the signature is folded
						}
						for what, changed := range map[string]string{
							"body":           strings.Replace(data, "--\r\n", "--\r\nmore\r\n", 1),
							"subject":        strings.Replace(data, "Subject: ", "Subject: Re: ", 1),
							"reply":          strings.Replace(data, "<help@", "<evil@", 1),
							"to":             strings.Replace(data, "<Billybob@", "<evil@", 1),
							"second subject": "Subject: Urgent\r\n" + data,
							"second to":      "To: evil@example.com\r\n" + data,
							"second from":    "From: evil@example.com\r\n" + data,
							"second copy":    "Cc: evil@example.com\r\n" + data,
						} {
							if changed == data || verify(t, algorithm, key, changed) == nil {
								t.Errorf("the signature holds for another %s", what)
							}
						}
					})
				}
			}
		})
	}
}

func TestSignatureWithTheLongestNamesHolds(t *testing.T) {
	is := is.New(t)
	domain, selector := strings.Repeat("a", 58)+".example.com", strings.Repeat("b", 34)+"."+strings.Repeat("c", 35)
	key := keys(t)["ed25519"]
	s := newServer(t, nil)
	m, _ := newMailer(t, s, func(o *smtpmailer.Options) {
		o.DKIM = &smtpmailer.DKIM{Domain: domain, Selector: selector, Key: key}
	})
	is.NoErr(m.Send(t.Context(), message(kinds[0], "en")))                     // sent
	is.NoErr(verifyAs(t, domain, selector, "ed25519", key, s.mails()[0].data)) // as it arrived
}

func TestSigningIsSafeForConcurrentUse(t *testing.T) {
	is := is.New(t)
	key := keys(t)["ed25519"]
	s := newServer(t, nil)
	m, _ := newMailer(t, s, func(o *smtpmailer.Options) {
		o.DKIM = &smtpmailer.DKIM{Domain: "example.com", Selector: "mails2026", Key: key}
	})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := m.Send(t.Context(), message(kinds[0], "en")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, e := range s.mails() {
		is.NoErr(verify(t, "ed25519", key, e.data)) // each
	}
	is.Equal(len(s.mails()), 16) // all of them
}
