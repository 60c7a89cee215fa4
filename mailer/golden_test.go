package mailer_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

var kinds = []recovery.MessageKind{
	recovery.MessageResetToken, recovery.MessageResetLink,
	recovery.MessagePasswordChanged, recovery.MessageUsernames,
}

const (
	tokenText = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa"
	linkText  = linkStart + tokenText
	linkStart = "https://app.example.com/reset#"
)

// message returns a message of the kind in which every field is set.
func message(t testing.TB, kind recovery.MessageKind) recovery.Message {
	is := is.New(t)
	is.Helper()
	asked := time.Date(2026, 11, 21, 2, 30, 0, 0, time.UTC)
	m := recovery.Message{
		ID: "m1", Kind: kind, To: "billybob@example.com", Application: "Example",
		RequestedAt: asked, Client: netip.MustParseAddr("192.0.2.7"),
	}
	switch kind {
	case recovery.MessageResetToken, recovery.MessageResetLink:
		m.ExpiresAt = asked.Add(16 * time.Hour)
		setNames(t, &m, "billybob")
	case recovery.MessagePasswordChanged:
		m.Usernames = []string{"billybob"}
	case recovery.MessageUsernames:
		m.Usernames, m.MoreNames = []string{"billybob", "anna.me", "bob@example.com"}, 3
	}
	return m
}

// setNames makes it a message about accounts of these names, each with a token of its own.
func setNames(t testing.TB, m *recovery.Message, names ...string) {
	is := is.New(t)
	is.Helper()
	if m.Kind != recovery.MessageResetToken && m.Kind != recovery.MessageResetLink {
		m.Usernames = names
		return
	}
	m.Resets = nil
	for i, name := range names {
		token, err := recovery.ParseToken(tokenOf(i))
		is.NoErr(err) // a token of the tests
		r := recovery.MessageReset{Username: name, Token: token}
		if m.Kind == recovery.MessageResetLink {
			r.Link = linkStart + tokenOf(i)
		}
		m.Resets = append(m.Resets, r)
	}
}

// tokenOf returns the text of the token of an account; that of the first is tokenText.
func tokenOf(i int) string { return string(rune('a'+i)) + tokenText[1:] }

func isReset(m recovery.Message) bool { return len(m.Resets) > 0 }

func TestMailsForSeveralAccountsAreTheGoldenFiles(t *testing.T) {
	renderer := newRenderer(t, &mailer.Options{SupportURL: "https://example.com/help"})
	for _, locale := range []string{"en", "ja"} {
		for _, kind := range []recovery.MessageKind{recovery.MessageResetToken, recovery.MessageResetLink} {
			t.Run(locale+"/"+string(kind), func(t *testing.T) {
				m := message(t, kind)
				setNames(t, &m, "billybob", "anna.me", "", "bob@example.com")
				m.Locale, m.MoreResets = locale, 3
				mail := render(t, renderer, m)
				golden(t, locale+"."+string(kind)+".several.txt", "Subject: "+mail.Subject+"\n\n"+mail.Text)
				golden(t, locale+"."+string(kind)+".several.html", mail.HTML)
			})
		}
	}
}

func TestMailsAreTheGoldenFiles(t *testing.T) {
	is := is.New(t)
	renderer, err := mailer.New(&mailer.Options{SupportURL: "https://example.com/help"})
	is.NoErr(err) // the built-in templates are sound
	for _, locale := range []string{"en", "ja"} {
		for _, kind := range kinds {
			t.Run(locale+"/"+string(kind), func(t *testing.T) {
				is := is.New(t)
				m := message(t, kind)
				m.Locale = locale
				mail, err := renderer.Render(m)
				is.NoErr(err)                 // a complete message renders
				is.Equal(mail.ID, "m1")       // the ID of the message
				is.Equal(mail.To, m.To)       // the recipient of the message
				is.Equal(mail.Locale, locale) // the locale of the message
				golden(t, locale+"."+string(kind)+".txt", "Subject: "+mail.Subject+"\n\n"+mail.Text)
				golden(t, locale+"."+string(kind)+".html", mail.HTML)
			})
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	is := is.New(t)
	file := filepath.Join("testdata", name)
	if *update {
		is.NoErr(os.WriteFile(file, []byte(got), 0o644)) // the golden file is written
		return
	}
	want, err := os.ReadFile(file)
	is.NoErr(err) // the golden file is there; -update writes it
	if got != string(want) {
		t.Errorf("%s has changed (-update accepts it); got:\n%s", file, got)
	}
}
