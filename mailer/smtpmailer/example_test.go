package smtpmailer_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"log"

	"example.com/recovery"
	"example.com/recovery/mailer"
	"example.com/recovery/mailer/smtpmailer"
	"example.com/recovery/store/memstore"
)

// Mails over SMTP, by a relay that is named in the environment.
func Example() {
	options, err := smtpmailer.ParseURL("smtp://relay-user:p%40ssword@smtp.example.com") // from the environment
	if err != nil {
		log.Fatal(err)
	}
	options.From = "Example <accounts@example.com>"

	renderer, err := mailer.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	mails, err := smtpmailer.New(renderer, &options)
	if err != nil {
		log.Fatal(err)
	}
	defer mails.Close()

	_, err = recovery.New(memstore.New(), mails, nil)
	fmt.Println(err, options, mails)
	// Output:
	// <nil> [redacted] [redacted]
}

// New says all that is wrong at once.
func ExampleNew_faults() {
	renderer, err := mailer.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	_, err = smtpmailer.New(renderer, &smtpmailer.Options{
		Host: "smtp.example.com", InsecurePlaintext: true, Username: "relay-user", Password: "secret", From: "Example",
	})
	fmt.Println(err)
	// Output:
	// smtpmailer: Options.InsecurePlaintext excludes Username, Password, AccessToken and Auth: credentials are sent under TLS only
	// smtpmailer: Options.From must be "Name <address>" or an address
}

// Mails signed with DKIM, for a server that does not sign by itself. The key is made once:
//
//	openssl genpkey -algorithm ED25519 -out dkim.pem
func ExampleDKIM() {
	_, key, err := ed25519.GenerateKey(nil) // in a program: smtpmailer.LoadKey("dkim.pem")
	if err != nil {
		log.Fatal(err)
	}
	renderer, err := mailer.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	mails, err := smtpmailer.New(renderer, &smtpmailer.Options{
		Host: "localhost", InsecurePlaintext: true,
		From: "Example <accounts@example.com>",
		DKIM: &smtpmailer.DKIM{Domain: "example.com", Selector: "mail2026", Key: key},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer mails.Close()

	record := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	fmt.Println("mail2026._domainkey.example.com. TXT", record[:22]+"…")
	// Output: mail2026._domainkey.example.com. TXT v=DKIM1; k=ed25519; p=…
}
