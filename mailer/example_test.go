package mailer_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"testing/fstest"
	"time"

	"example.com/recovery"
	"example.com/recovery/mailer"
)

// A mail in the language of its reader: that of the account, or else of the request.
func ExampleRenderer_Render() {
	renderer, err := mailer.New(&mailer.Options{Application: "Example"})
	if err != nil {
		log.Fatal(err)
	}
	for _, locale := range []string{"en-GB", "ja"} {
		mail, err := renderer.Render(recovery.Message{
			Kind:        recovery.MessagePasswordChanged,
			To:          "billybob@example.com",
			Locale:      locale,
			Usernames:   []string{"billybob"},
			RequestedAt: time.Date(2026, 11, 21, 2, 30, 0, 0, time.UTC),
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(mail.Subject)
	}
	// Output:
	// Your Example password was changed
	// 【Example】パスワードが変更されました
}

// One file of the templates replaced. The others stay as they are.
func ExampleNew_templates() {
	// In a program: an embed.FS or os.DirFS.
	templates := fstest.MapFS{
		"en/usernames.subject.txt": {Data: []byte("Who you are{{with .Application}} at {{.}}{{end}}")},
	}
	renderer, err := mailer.New(&mailer.Options{Templates: templates})
	if err != nil {
		log.Fatal(err)
	}
	mail, err := renderer.Render(recovery.Message{
		Kind: recovery.MessageUsernames, To: "billybob@example.com", Application: "Example",
		Usernames: []string{"billybob"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(mail.Subject)
	// Output: Who you are at Example
}

// Mails in the terminal, while one develops.
func ExampleNewConsole() {
	renderer, err := mailer.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	var m recovery.Mailer = mailer.NewConsole(os.Stdout, renderer)
	err = m.Send(context.Background(), recovery.Message{
		Kind: recovery.MessageUsernames, To: "billybob@example.com", Usernames: []string{"billybob"},
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// To: billybob@example.com
	// Subject: Your username
	//
	// We received a request for the username of your account. Here it is:
	//
	//     billybob
	//
	// Log in with your username and password. If you have forgotten the password
	// too, ask for a password reset with that username.
	//
	// Not you? You can ignore this email: nothing was changed, and it was sent to
	// you only.
}
