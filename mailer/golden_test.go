package mailer_test

import (
	"flag"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

var kinds = []recovery.MessageKind{
	recovery.MessageResetToken, recovery.MessageResetLink,
	recovery.MessagePasswordChanged, recovery.MessageUsernames, recovery.MessageSignIn,
}

// setCodes gives each reset a code.
func setCodes(m *recovery.Message) {
	for i := range m.Resets {
		m.Resets[i].Code = codeOf(i)
	}
	m.CodesExpireAt = m.SentAt.Add(15 * time.Minute)
}

func codeOf(i int) string { return "WDJB-MJH" + string(rune('T'+i)) }

func TestMailsAreTheGoldenFiles(t *testing.T) {
	renderer := newRenderer(t, &mailer.Options{SupportURL: "https://example.com/help"})
	several := func(m *recovery.Message) {
		spy.SetNames(m, "billybob", "anna.me", "", "bob@example.com")
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
			spy.SetSignIns(m, "carol")
		}},
		{".several.code", kinds[:2], func(m *recovery.Message) {
			several(m)
			setCodes(m)
			spy.SetSignIns(m, "carol", "", "dave.me")
			m.MoreSignIns = 2
		}},
		{".sign_ins", []recovery.MessageKind{recovery.MessageUsernames}, func(m *recovery.Message) {
			spy.SetSignIns(m, "carol", "", "dave.me")
			m.MoreSignIns = 2
		}},
		{".several", []recovery.MessageKind{recovery.MessageSignIn}, func(m *recovery.Message) {
			spy.SetNames(m, "billybob", "", "anna.me")
			m.MoreSignIns = 2
		}},
	}
	for _, locale := range renderer.Locales() {
		for _, v := range variants {
			for _, kind := range v.of {
				name := locale + "." + string(kind) + v.suffix
				t.Run(name, func(t *testing.T) {
					is := is.New(t)
					m := spy.Message(kind)
					m.Locale = locale
					v.change(&m)
					mail := render(t, renderer, m)
					is.Equal(mail.ID, "m1")       // the ID of the message
					is.Equal(mail.To, m.To)       // the recipient of the message
					is.Equal(mail.Locale, locale) // the locale of the message
					spy.Golden(t, *update, name+".txt", "Subject: "+mail.Subject+"\n\n"+mail.Text)
					spy.Golden(t, *update, name+".html", mail.HTML)
				})
			}
		}
	}
}
