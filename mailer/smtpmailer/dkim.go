package smtpmailer

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// DKIM is a key that signs mails (RFC 6376). Its public half is a TXT record at
// <Selector>._domainkey.<Domain>. It prints as "[redacted]".
type DKIM struct {
	redacted

	// Domain is the signing domain. For DMARC it must be the domain of From or share its
	// organisational domain.
	Domain string
	// Selector names the key among those of the domain.
	Selector string
	// Key is an *rsa.PrivateKey of at least 2,048 bits or an ed25519.PrivateKey; see [LoadKey].
	// Some receivers still ignore Ed25519.
	Key crypto.Signer
}

const minRSA = 2048

// LoadKey reads a private key from a PEM file, in PKCS #8 or, for RSA, in PKCS #1:
//
//	openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out dkim.pem
func LoadKey(file string) (crypto.Signer, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("smtpmailer: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("smtpmailer: %s holds no PEM block", file)
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("smtpmailer: %s must hold a PRIVATE KEY or RSA PRIVATE KEY", file)
	}
	if err != nil {
		return nil, fmt.Errorf("smtpmailer: the key in %s is malformed", file)
	}
	signer, _ := key.(crypto.Signer)
	if err := checkKey(signer); err != nil {
		return nil, fmt.Errorf("smtpmailer: the key in %s %w", file, err)
	}
	return signer, nil
}

func checkKey(key crypto.Signer) error {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if key != nil && key.N != nil && key.N.BitLen() >= minRSA {
			return nil
		}
		return fmt.Errorf("must have at least %d bits", minRSA)
	case ed25519.PrivateKey:
		if len(key) == ed25519.PrivateKeySize {
			return nil
		}
	}
	return errors.New("must be an RSA or Ed25519 private key")
}

// checked reports every fault, and returns a copy that the caller cannot change.
func (d *DKIM) checked(fault func(string, ...any)) *DKIM {
	if !isDomain(d.Domain) || len(d.Domain) > maxTag {
		fault("DKIM.Domain must be a domain name in ASCII of at most %d bytes", maxTag)
	}
	if !isDomain(d.Selector) || len(d.Selector) > maxTag {
		fault("DKIM.Selector must consist of letters, digits, hyphens and dots, at most %d of them", maxTag)
	}
	if err := checkKey(d.Key); err != nil {
		fault("DKIM.Key %w", err)
	}
	c := *d
	return &c
}

// All names must fit on one line together with "h=" and "; ": go-mail folds a longer list in the
// middle, which breaks the signature. A field that is listed once more than it occurs cannot be
// added to a signed mail (RFC 6376 section 8.15).
var (
	signedFields     = []string{"From", "To", "Reply-To", "Subject", "Date", "Message-ID", "Content-Type"}
	oversignedFields = []string{"From", "To", "Subject", "Cc"}
)

// maxTag is the longest domain or selector that go-mail does not fold.
const maxTag = 70

// signer returns a new signer for each mail, because a signer keeps state without a lock.
func (d *DKIM) signer(now time.Time) *gomail.DKIMSigner {
	s := gomail.NewDKIMSigner(d.Domain, d.Selector, d.Key)
	s.NowFunc = func() time.Time { return now }
	s.SignHeaders(signedFields...)
	s.OversignHeaders(oversignedFields...)
	return s
}
