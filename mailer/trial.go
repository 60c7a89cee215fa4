package mailer

import (
	"errors"
	"fmt"
	htmltemplate "html/template"
	"net/netip"
	"slices"
	"strings"
	"time"

	"example.com/recovery"
)

// try executes every template of l on the samples, and reports the first fault of each file.
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
		for _, p := range []part{textPart, htmlPart} {
			for _, must := range r.data(l, m, p).essential(m.Kind) {
				if !strings.Contains(texts[p], must.value) {
					report(l.file(m.Kind, p), fmt.Errorf("does not show %s", must.field))
				}
			}
		}
	}
	return errors.Join(faults...)
}

type shown struct{ field, value string }

// essential lists what a part must show. It omits values that HTML escapes or a line break may
// split.
func (d Data) essential(k recovery.MessageKind) (list []shown) {
	add := func(field, value string) {
		if value != "" && !strings.ContainsAny(value, ` <>&'"+`) {
			list = append(list, shown{field, value})
		}
	}
	addName := func(field string, name any) {
		switch name := name.(type) {
		case htmltemplate.HTML: // which html/template does not escape
			list = append(list, shown{field, string(name)})
		case string:
			add(field, name)
		}
	}
	for _, r := range d.Resets {
		of := " of each of .Resets"
		if d.Token != "" { // the only account
			of = ""
		}
		if k == recovery.MessageResetLink {
			add(".Link"+of, r.Link)
		} else {
			add(".Token"+of, r.Token)
		}
		add(".Code"+of, r.Code)
		if of != "" { // tells the accounts apart
			addName(".Username"+of, r.Username)
		}
	}
	if k == recovery.MessageUsernames {
		for _, name := range d.Usernames {
			addName(".Usernames", name)
		}
	}
	for _, s := range d.SignIns {
		addName(".Username of each of .SignIns", s.Username)
		add(".Provider of each of .SignIns", s.Provider)
	}
	return list
}

const sampleToken = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrsa"

// sampleResets returns a reset for each of the names, each with a token of its own.
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

// sampleSignIns returns an account that logs in elsewhere for each of the names.
func sampleSignIns(provider string, names ...string) (signIns []recovery.SignIn) {
	for _, name := range names {
		signIns = append(signIns, recovery.SignIn{Username: name, Provider: provider})
	}
	return signIns
}

// samples returns messages of each kind: with and without optional fields, and made by an attacker.
func samples() (list []recovery.Message) {
	asked := time.Date(2026, 11, 21, 2, 30, 0, 0, time.UTC)
	for _, k := range kinds {
		// about makes m a message about accounts of these names.
		about := func(m recovery.Message, names ...string) recovery.Message {
			switch {
			case isReset(k):
				m.Resets = sampleResets(k, names...)
			case k == recovery.MessageSignIn:
				m.SignIns = sampleSignIns("Google", names...)
			default:
				m.Usernames = names
			}
			return m
		}
		full := about(recovery.Message{
			ID: "0190b3f0-0000-7000-8000-000000000000", Kind: k, To: "billybob@example.com", Tenant: "acme",
			Application: "Example", ExpiresAt: asked.Add(16 * time.Hour), SentAt: asked,
			RequestedAt: asked, Client: netip.MustParseAddr("192.0.2.7"),
		}, "billybob")

		bare := full
		bare.ID, bare.Tenant, bare.Application, bare.RequestedAt, bare.Client = "", "", "", time.Time{}, netip.Addr{}
		if k != recovery.MessageUsernames {
			bare = about(bare, "")
		}

		names := []string{"billybob", "b.bob", "bob"}
		many := about(full, names...)
		many.MoreNames, many.MoreResets = 7, 7
		many.ExpiresAt = asked.Add(61 * time.Minute)
		many.Client = netip.MustParseAddr("2001:db8::7")
		if k == recovery.MessageSignIn {
			many.MoreSignIns = 7
		}

		hostile := about(full, hostileNames()...)
		hostile.Tenant, hostile.Application = hostileNames()[2], hostileNames()[0]
		if k == recovery.MessageSignIn {
			hostile.SignIns[0].Provider = hostileNames()[3]
		}
		list = append(list, full, bare, many, hostile)

		if isReset(k) || k == recovery.MessageSignIn {
			nameless := about(bare, "", "") // several accounts without user names
			last := many                    // lists only one of many
			last.Resets, last.SignIns = last.Resets[:min(1, len(last.Resets))], last.SignIns[:min(1, len(last.SignIns))]
			list = append(list, nameless, last, about(hostile, hostileNames()[0]))
		}
		if k == recovery.MessageSignIn {
			unknown := bare // one account, then several, whose provider is not known
			unknown.SignIns = sampleSignIns("", "")
			unknowns := many
			unknowns.SignIns = sampleSignIns("", names...)
			list = append(list, unknown, unknowns)
		}
		if isReset(k) {
			list = append(list, withCodes(full), withCodes(bare), withCodes(many))
		}
		if isReset(k) || k == recovery.MessageUsernames {
			one, more := full, many // plus accounts that have no password here
			one.SignIns = sampleSignIns("Google", "carol")
			more.SignIns, more.MoreSignIns = sampleSignIns("Google", "carol", "b.carol", ""), 7
			list = append(list, one, more)
			if isReset(k) {
				list = append(list, withCodes(one), withCodes(more))
			}
		}
	}
	return list
}

// withCodes returns m with a code for each reset.
func withCodes(m recovery.Message) recovery.Message {
	m.Resets = slices.Clone(m.Resets)
	for i := range m.Resets {
		m.Resets[i].Code = "WDJB-MJH" + string(rune('A'+i))
	}
	m.CodesExpireAt = m.SentAt.Add(15 * time.Minute)
	return m
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
