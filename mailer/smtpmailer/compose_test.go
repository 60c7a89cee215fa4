package smtpmailer

import (
	"bytes"
	"crypto/ed25519"
	"net/mail"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	gomail "github.com/wneessen/go-mail"

	"example.com/recovery/mailer"
)

// reference is what go-mail makes of a mail.
func reference(t testing.TB, m *Mailer, rendered mailer.Mail, id string) string {
	is := is.New(t)
	is.Helper()
	to, ok := envelopeAddress(rendered.To)
	is.True(ok) // a sound address
	now := m.opts.Now().UTC()
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.SetGenHeader("From", encodeAddress(m.opts.from))
	if m.opts.ReplyTo != "" {
		msg.SetGenHeader("Reply-To", encodeAddress(m.opts.replyTo))
	}
	msg.ToMailAddress(&mail.Address{Address: to})
	msg.SetGenHeader(gomail.HeaderSubject, encodeWords(rendered.Subject))
	msg.SetDateWithValue(now)
	msg.SetMessageIDWithValue(id + "@" + m.opts.MessageIDDomain)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "OOF, AutoReply")
	if rendered.Locale != "" {
		msg.SetGenHeader("Content-Language", rendered.Locale)
	}
	encoding := map[bool]gomail.Encoding{false: gomail.EncodingQP, true: gomail.EncodingB64}
	text, html := crlf(rendered.Text), crlf(rendered.HTML)
	msg.SetBodyString(gomail.TypeTextPlain, text, gomail.WithPartEncoding(encoding[wantsBase64(text)]))
	msg.AddAlternativeString(gomail.TypeTextHTML, html, gomail.WithPartEncoding(encoding[wantsBase64(html)]))
	if m.opts.DKIM != nil {
		msg.SetDKIM(m.opts.DKIM.signer(now))
	}
	var b bytes.Buffer
	_, err := msg.WriteTo(&b)
	is.NoErr(err) // go-mail composes it
	return b.String()
}

var (
	boundary  = regexp.MustCompile(`[0-9a-f]{60}`)
	signature = regexp.MustCompile(`(?s) (bh?)=.*?(;|\r\n\w)`) // which depends on the boundary
)

func FuzzComposedAsByGoMail(f *testing.F) {
	for _, s := range []string{
		"", " ", "a", "Your password", "a  b", "パスワードの再設定", "x\ny\r\nz\rw", ".\n..\n.", "\t", "=?utf-8?q?x?=", "tail  ",
		strings.Repeat("a", 75), strings.Repeat("a", 300), strings.Repeat("あ", 300), strings.Repeat("word ", 60), strings.Repeat(" ", 200),
		strings.Repeat("a", 60) + "  " + strings.Repeat("b", 70) + "   c", strings.Repeat("é", 19) + strings.Repeat("\n", 57),
	} {
		f.Add(s, s, s, s, uint8(len(s)))
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	now := func() time.Time { return time.Date(2026, 11, 21, 2, 30, 5, 0, time.FixedZone("", 9*60*60)) }
	var mailers []*Mailer
	for _, change := range []func(*Options){
		func(*Options) {},
		func(o *Options) {
			o.ReplyTo, o.From = "help@example.com", "パスワードの再設定 <accounts@example.com>"
		},
		func(o *Options) { o.DKIM = &DKIM{Domain: "example.com", Selector: "s", Key: key} },
	} {
		mailers = append(mailers, newMailer(f, newFake(f, false), func(o *Options) { o.Now = now; change(o) }))
	}
	f.Fuzz(func(t *testing.T, subject, text, html, locale string, kind uint8) {
		is := is.New(t)
		for _, r := range []*string{&subject, &locale} { // what a Renderer promises of them
			*r = strings.Map(func(c rune) rune {
				if c < ' ' || c > '~' && r == &locale {
					return -1
				}
				return c
			}, *r)
		}
		rendered := mailer.Mail{ID: "x", To: recipient, Locale: locale, Subject: subject, Text: text, HTML: html}
		if kind%2 == 1 {
			rendered.ID, rendered.To = strings.Repeat("i", 64), strings.Repeat("l", 64)+"@"+strings.Repeat("d.", 80)+"example.com"
		}
		for _, m := range mailers {
			l, err := m.compose(rendered)
			is.NoErr(err) // composed
			got := boundary.ReplaceAllString(string(bytes.ReplaceAll(l.data, []byte("\n.."), []byte("\n."))), "BOUNDARY")
			want := boundary.ReplaceAllString(reference(t, m, rendered, rendered.ID), "BOUNDARY")
			is.Equal(signature.ReplaceAllString(got, " $1=$2"), signature.ReplaceAllString(want, " $1=$2")) // byte for byte
		}
	})
}
