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
	recovery.MessagePasswordChanged, recovery.MessageUsernames, recovery.MessageSignIn,
}

const (
	tokenText = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa"
	linkText  = linkStart + tokenText
	linkStart = "https://app.example.com/reset#"
)

// message returns a message of the kind in which every field is set, but codes, and sign-ins where
// they are not what the message is for.
func message(t testing.TB, kind recovery.MessageKind) recovery.Message {
	is := is.New(t)
	is.Helper()
	asked := time.Date(2026, 11, 21, 2, 30, 0, 0, time.UTC)
	m := recovery.Message{
		ID: "m1", Kind: kind, To: "billybob@example.com", Tenant: "acme", Application: "Example",
		SentAt: asked, RequestedAt: asked, Client: netip.MustParseAddr("192.0.2.7"),
	}
	setNames(t, &m, "billybob")
	switch kind {
	case recovery.MessageResetToken, recovery.MessageResetLink:
		m.ExpiresAt = asked.Add(16 * time.Hour)
	case recovery.MessageUsernames:
		m.Usernames, m.MoreNames = []string{"billybob", "anna.me", "bob@example.com"}, 3
	}
	return m
}

// setNames makes it a message about accounts of these names, each with a token of its own.
func setNames(t testing.TB, m *recovery.Message, names ...string) {
	is := is.New(t)
	is.Helper()
	switch m.Kind {
	case recovery.MessagePasswordChanged, recovery.MessageUsernames:
		m.Usernames = names
		return
	case recovery.MessageSignIn:
		setSignIns(m, names...)
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

// setSignIns adds accounts of these names that log in elsewhere, every second one at a place that
// is not known.
func setSignIns(m *recovery.Message, names ...string) {
	m.SignIns = nil
	for i, name := range names {
		m.SignIns = append(m.SignIns, recovery.SignIn{Username: name, Provider: []string{"Google", ""}[i%2]})
	}
}

// setCodes gives each reset a code.
func setCodes(m *recovery.Message) {
	for i := range m.Resets {
		m.Resets[i].Code = codeOf(i)
	}
	m.CodesExpireAt = m.SentAt.Add(15 * time.Minute)
}

// tokenOf returns the text of the token of an account; that of the first is tokenText.
func tokenOf(i int) string { return string(rune('a'+i)) + tokenText[1:] }

func codeOf(i int) string { return "WDJB-MJH" + string(rune('T'+i)) }

func TestMailsAreTheGoldenFiles(t *testing.T) {
	renderer := newRenderer(t, &mailer.Options{SupportURL: "https://example.com/help"})
	several := func(m *recovery.Message) {
		setNames(t, m, "billybob", "anna.me", "", "bob@example.com")
		m.MoreResets = 3
	}
	variants := []struct {
		suffix string
		of     []recovery.MessageKind
		change func(m *recovery.Message)
	}{
		{"", kinds, func(*recovery.Message) {}},
		{".several", kinds[:2], several},
		{".code", kinds[:2], func(m *recovery.Message) {
			setCodes(m)
			setSignIns(m, "carol")
		}},
		{".several.code", kinds[:2], func(m *recovery.Message) {
			several(m)
			setCodes(m)
			setSignIns(m, "carol", "", "dave.me")
			m.MoreSignIns = 2
		}},
		{".sign_ins", []recovery.MessageKind{recovery.MessageUsernames}, func(m *recovery.Message) {
			setSignIns(m, "carol", "", "dave.me")
			m.MoreSignIns = 2
		}},
		{".several", []recovery.MessageKind{recovery.MessageSignIn}, func(m *recovery.Message) {
			setNames(t, m, "billybob", "", "anna.me")
			m.MoreSignIns = 2
		}},
	}
	for _, locale := range renderer.Locales() {
		for _, v := range variants {
			for _, kind := range v.of {
				name := locale + "." + string(kind) + v.suffix
				t.Run(name, func(t *testing.T) {
					is := is.New(t)
					m := message(t, kind)
					m.Locale = locale
					v.change(&m)
					mail := render(t, renderer, m)
					is.Equal(mail.ID, "m1")       // the ID of the message
					is.Equal(mail.To, m.To)       // the recipient of the message
					is.Equal(mail.Locale, locale) // the locale of the message
					golden(t, name+".txt", "Subject: "+mail.Subject+"\n\n"+mail.Text)
					golden(t, name+".html", mail.HTML)
				})
			}
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
