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
	for _, r := range d.Resets {
		of := " of every one of .Resets"
		if d.Token != "" { // the only account
			of = ""
		}
		if k == recovery.MessageResetLink {
			add(".Link"+of, r.Link)
		} else {
			add(".Token"+of, r.Token)
		}
		if of != "" && r.Username != "" { // tells the accounts apart
			add(".Username"+of, r.Username)
		}
	}
	if k == recovery.MessageUsernames {
		for _, name := range d.Usernames {
			add(".Usernames", name)
		}
	}
	return list
}

const sampleToken = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa"

// sampleResets returns a reset for each of the names, every one with a token of its own.
func sampleResets(k recovery.MessageKind, names ...string) (resets []recovery.MessageReset) {
	for i, name := range names {
		text := string(rune('a'+i)) + sampleToken[1:]
		token, err := recovery.ParseToken(text)
		if err != nil {
			panic("mailer: a sample token is malformed") // a mistake in this file
		}
		r := recovery.MessageReset{Username: name, Token: token}
		if k == recovery.MessageResetLink {
			r.Link = "https://app.example/reset#" + text
		}
		resets = append(resets, r)
	}
	return resets
}

// samples returns, for each kind, messages with and without everything that may be missing, and
// messages made by an enemy.
func samples() (list []recovery.Message) {
	asked := time.Date(2026, 11, 21, 2, 30, 0, 0, time.UTC)
	for _, k := range kinds {
		full := recovery.Message{
			ID: "0190b3f0-0000-7000-8000-000000000000", Kind: k, To: "billybob@example.com",
			Application: "Example", Usernames: []string{"billybob"}, ExpiresAt: asked.Add(16 * time.Hour),
			RequestedAt: asked, Client: netip.MustParseAddr("192.0.2.7"),
		}
		if isReset(k) {
			full.Usernames, full.Resets = nil, sampleResets(k, "billybob")
		}

		bare := full
		bare.ID, bare.Application, bare.RequestedAt, bare.Client = "", "", time.Time{}, netip.Addr{}
		if k != recovery.MessageUsernames {
			bare.Usernames = nil
		}
		if isReset(k) {
			bare.Resets = sampleResets(k, "")
		}

		names := []string{"billybob", "b.bob", "bob"}
		many := full
		if isReset(k) {
			many.Resets, many.MoreResets = sampleResets(k, names...), 7
		} else {
			many.Usernames, many.MoreNames = names, 7
		}
		many.ExpiresAt = asked.Add(61 * time.Minute)
		many.Client = netip.MustParseAddr("2001:db8::7")

		hostile := full
		hostile.Application = hostileNames()[0]
		if isReset(k) {
			hostile.Resets = sampleResets(k, hostileNames()...)
		} else {
			hostile.Usernames = hostileNames()
		}
		list = append(list, full, bare, many, hostile)
		if !isReset(k) {
			continue
		}

		nameless := bare // several accounts, of which none has a user name
		nameless.Resets = sampleResets(k, "", "")
		last := many // only one is left of many
		last.Resets = last.Resets[:1]
		hostileOne := hostile
		hostileOne.Resets = hostile.Resets[:1]
		list = append(list, nameless, last, hostileOne)
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
