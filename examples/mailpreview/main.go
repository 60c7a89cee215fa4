// Command mailpreview writes every mail that package mailer renders, in every language, to a
// folder, and a page that shows them. It sends nothing, and the tokens in the mails open nothing.
//
//	go run ./examples/mailpreview
//	go run ./examples/mailpreview -out preview -templates mytemplates
package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"example.com/recovery"
	"example.com/recovery/mailer"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mailpreview:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("mailpreview", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "", "folder to write to (default a new temporary one)")
	templates := flags.String("templates", "", "folder of templates that replace built-in ones or add languages")
	application := flags.String("application", "Example", "name of the application")
	support := flags.String("support", "https://example.com/help", "https or mailto URL where the reader finds help")
	switch err := flags.Parse(args); {
	case err != nil:
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	opts := &mailer.Options{Application: *application, SupportURL: *support}
	if *templates != "" {
		if info, err := os.Stat(*templates); err != nil || !info.IsDir() {
			return fmt.Errorf("-templates must be a folder that exists, is %q", *templates)
		}
		opts.Templates = os.DirFS(*templates)
	}
	renderer, err := mailer.New(opts)
	if err != nil {
		return err // says what is wrong with which file
	}
	if *out == "" {
		if *out, err = os.MkdirTemp("", "mailpreview-"); err != nil {
			return err
		}
	}
	index, err := write(*out, renderer)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "open", &url.URL{Scheme: "file", Path: filepath.ToSlash(index)})
	return nil
}

// A preview is one mail as the page shows it.
type preview struct {
	Locale, Kind, Subject, Text string // the Kind ends in the variant: ".several"
	HTMLFile, TextFile          string // next to the page
}

//go:embed index.html
var indexText string

var indexPage = template.Must(template.New("index.html").Parse(indexText))

// write returns the absolute path of the page.
func write(dir string, renderer *mailer.Renderer) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	samples, err := samples()
	if err != nil {
		return "", err
	}
	var previews []preview
	for _, locale := range renderer.Locales() {
		for _, s := range samples {
			m := s.message
			m.Locale = locale
			mail, err := renderer.Render(m)
			if err != nil {
				return "", err
			}
			kind := string(m.Kind) + s.variant
			name := locale + "." + kind
			p := preview{
				Locale: locale, Kind: kind, Subject: mail.Subject, Text: mail.Text,
				HTMLFile: name + ".html", TextFile: name + ".txt",
			}
			if err := os.WriteFile(filepath.Join(dir, p.HTMLFile), []byte(mail.HTML), 0o644); err != nil {
				return "", err
			}
			text := "To: " + mail.To + "\nSubject: " + mail.Subject + "\n\n" + mail.Text
			if err := os.WriteFile(filepath.Join(dir, p.TextFile), []byte(text), 0o644); err != nil {
				return "", err
			}
			previews = append(previews, p)
		}
	}
	index := filepath.Join(dir, "index.html")
	f, err := os.Create(index)
	if err != nil {
		return "", err
	}
	return index, errors.Join(indexPage.Execute(f, previews), f.Close())
}

// A sample is a message, and the name of its variant among those of its kind.
type sample struct {
	variant string
	message recovery.Message
}

// samples returns messages of each kind: about one account and about several, with codes, and with
// accounts that log in elsewhere.
func samples() ([]sample, error) {
	asked := time.Date(2026, 11, 21, 2, 30, 0, 0, time.UTC)
	m := recovery.Message{
		ID: "preview", To: "billybob@example.com",
		SentAt: asked, RequestedAt: asked, Client: netip.MustParseAddr("192.0.2.7"),
	}
	names := []string{"billybob", "anna.me", "bob@example.com"}
	signIns := []recovery.SignIn{{Username: "carol", Provider: "Google"}, {Username: "دانا"}, {Provider: "Microsoft"}}
	var list []sample
	for _, kind := range []recovery.MessageKind{recovery.MessageResetToken, recovery.MessageResetLink} {
		for _, withCode := range []bool{false, true} {
			several := m
			several.Kind, several.ExpiresAt, several.MoreResets = kind, asked.Add(16*time.Hour), 3
			for i, name := range names {
				text := string(rune('a'+i)) + "bcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa"
				token, err := recovery.ParseToken(text)
				if err != nil {
					return nil, err
				}
				r := recovery.MessageReset{Username: name, Token: token}
				if withCode {
					r.Code = "WDJB-MJH" + string(rune('T'+i))
				}
				if kind == recovery.MessageResetLink {
					r.Link = "https://app.example.com/reset#token=" + text
				}
				several.Resets = append(several.Resets, r)
			}
			variant := ""
			if withCode {
				variant = ".code"
				several.CodesExpireAt = asked.Add(15 * time.Minute)
				several.SignIns, several.MoreSignIns = signIns, 2
			}
			one := several
			one.Resets, one.MoreResets = several.Resets[:1], 0
			one.SignIns, one.MoreSignIns = several.SignIns[:min(1, len(several.SignIns))], 0
			list = append(list, sample{variant, one}, sample{".several" + variant, several})
		}
	}
	changed := m
	changed.Kind, changed.Usernames = recovery.MessagePasswordChanged, names[:1]
	told := m
	told.Kind, told.Usernames, told.MoreNames = recovery.MessageUsernames, names, 3
	beside := told
	beside.SignIns = signIns
	elsewhere := m
	elsewhere.Kind, elsewhere.SignIns = recovery.MessageSignIn, signIns[:1]
	several := elsewhere
	several.SignIns, several.MoreSignIns = signIns, 2
	return append(list, sample{"", changed}, sample{"", told}, sample{".sign_ins", beside},
		sample{"", elsewhere}, sample{".several", several}), nil
}
