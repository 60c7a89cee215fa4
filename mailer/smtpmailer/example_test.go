package smtpmailer_test

import (
	"fmt"

	"example.com/recovery"
	"example.com/recovery/mailer"
	"example.com/recovery/mailer/smtpmailer"
	"example.com/recovery/store/memstore"
)

func Example() {
	options, err := smtpmailer.ParseURL("smtp://relay-user:p%40ssword@smtp.example.com") // from the environment
	if err != nil {
		fmt.Println(err)
		return
	}
	options.From = "Example <accounts@example.com>"

	renderer, err := mailer.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	mails, err := smtpmailer.New(renderer, &options)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer mails.Close()

	_, err = recovery.New(memstore.New(), mails, nil)
	fmt.Println(err, options, mails)
	// Output:
	// <nil> [redacted] [redacted]
}

func ExampleNew_faults() {
	renderer, err := mailer.New(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = smtpmailer.New(renderer, &smtpmailer.Options{
		Host: "smtp.example.com", InsecurePlaintext: true, Username: "relay-user", Password: "secret", From: "Example",
	})
	fmt.Println(err)
	// Output:
	// smtpmailer: Options.InsecurePlaintext excludes Username, Password, AccessToken and Auth: credentials are sent under TLS only
	// smtpmailer: Options.From must be "Name <address>" or an address
}
