package mailer

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"example.com/recovery"
)

// try executes every template of l on messages of many shapes, and reports the first fault of each
// file.
func (r *Renderer) try(l locale) error {
	tried := map[string]bool{}
	var faults []error
	report := func(file string, err error) {
		if !tried[file] {
			tried[file] = true
			faults = append(faults, &templateError{file, err})
		}
	}
	for _, m := range samples() {
		mail, failed := r.render(l, m)
		for _, f := range failed {
			report(l.file(m.Kind, f.part), f.err)
		}
		texts := map[part]string{subjectPart: mail.Subject, textPart: mail.Text, htmlPart: mail.HTML}
		for _, p := range []part{subjectPart, textPart, htmlPart} {
			if strings.TrimSpace(texts[p]) == "" {
				report(l.file(m.Kind, p), errors.New("renders nothing"))
			}
		}
		for _, must := range r.data(l, m).essential(m.Kind) {
			for _, p := range []part{textPart, htmlPart} {
				if !strings.Contains(texts[p], must.value) {
					report(l.file(m.Kind, p), fmt.Errorf("does not show %s", must.field))
				}
			}
		}
	}
	return errors.Join(faults...)
}

type shown struct{ field, value string }

// essential lists what a mail is useless without. Values that HTML escapes or a line break may divide
// are left out.
func (d Data) essential(k recovery.MessageKind) (list []shown) {
	add := func(field, value string) {
		if !strings.ContainsAny(value, ` <>&'"+`) {
			list = append(list, shown{field, value})
		}
	}
	switch k {
	case recovery.MessageResetToken:
		add(".Token", d.Token)
	case recovery.MessageResetLink:
		add(".Link", d.Link)
	case recovery.MessageUsernames:
		for _, name := range d.Usernames {
			add(".Usernames", name)
		}
	}
	return list
}

const (
	sampleToken = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa"
	sampleLink  = "https://app.example/reset#" + sampleToken
)

// samples returns, for each kind, messages with and without everything that may be missing, and
// messages made by an enemy.
func samples() (list []recovery.Message) {
	asked := time.Date(2026, 11, 21, 2, 30, 0, 0, time.UTC)
	token, err := recovery.ParseToken(sampleToken)
	if err != nil {
		panic("mailer: the sample token is malformed") // a mistake in this file
	}
	for _, k := range kinds {
		full := recovery.Message{
			ID: "0190b3f0-0000-7000-8000-000000000000", Kind: k, To: "billybob@example.com",
			Application: "Example", Usernames: []string{"billybob"}, ExpiresAt: asked.Add(16 * time.Hour),
			RequestedAt: asked, Client: netip.MustParseAddr("192.0.2.7"), Token: token,
		}
		if k == recovery.MessageResetLink {
			full.Link = sampleLink
		}

		bare := full
		bare.ID, bare.Application, bare.RequestedAt, bare.Client = "", "", time.Time{}, netip.Addr{}
		if k != recovery.MessageUsernames {
			bare.Usernames = nil
		}

		many := full
		many.Usernames, many.MoreNames = []string{"billybob", "b.bob", "bob"}, 7
		many.ExpiresAt = asked.Add(61 * time.Minute)
		many.Client = netip.MustParseAddr("2001:db8::7")

		hostile := full
		hostile.Usernames = hostileNames()
		hostile.Application = hostile.Usernames[0]
		list = append(list, full, bare, many, hostile)
	}
	return list
}

func hostileNames() []string {
	return []string{
		`<a href="https://evil.example/">log in</a><script>alert(1)</script>`,
		"{{.}} {{.Token}} {{template \"content\" .}}",
		"a\r\nBcc: all@example.com\r\n\r\n\x00b\u2028c\u2029\u202ed\u2066e\xff",
		"https://evil.example/ www.evil.example evil.com",
		strings.Repeat("x", 10_000),
	}
}
