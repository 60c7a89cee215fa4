package catalogue

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/formats"
	"example.com/recovery/mailer"
	"example.com/recovery/store/sqlstore"
)

var renderer = sync.OnceValues(func() (*mailer.Renderer, error) { return mailer.New(nil) })

// render renders a mail.
func (s *site) render(m recovery.Message) mailer.Mail {
	s.is.Helper()
	r, err := renderer()
	s.is.NoErr(err)
	mail, err := r.Render(m)
	s.is.NoErr(err)
	return mail
}

// rendered is all that the reader of a mail gets, with random parts masked.
func (s *site) rendered(m recovery.Message) string {
	s.is.Helper()
	mail := s.render(m)
	text := fmt.Sprintf("%q\n%s\n%s\n%s\n%s", mail.To, mail.Subject, mail.Text, mail.HTML, m.Locale)
	for _, r := range m.Resets {
		text = strings.ReplaceAll(text+"\n"+r.Link, r.Token.Reveal(), "TOKEN")
		if r.Code != "" {
			text = strings.ReplaceAll(text, r.Code, "CODE")
		}
	}
	return text
}

// The host that a request names reaches neither the mail nor the answer. The lines are sent over a
// connection; net/http itself refuses some.
func TestAttack_S60_HostHeader(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		baseline := map[string]string{}
		for _, v := range s.vectors("hosts", "S60") {
			if s.db != nil && len(v.Header) == 2 {
				continue // the other entries show how the wire and the store interact
			}
			for _, name := range entryNames[1:] {
				path, media, body := s.forms(name)
				target := strings.ReplaceAll(v.Value, "{path}", path)
				request := fmt.Sprintf("POST %s HTTP/1.1\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n\r\n%s",
					target, media, len(body), strings.Join(v.Header, "\r\n"), body)
				got := s.raw(request)
				mails := s.deliver()
				if v.Want == malformed || got.outcome == crossSite {
					s.is.True(got.outcome == malformed || got.outcome == crossSite || got.outcome == "404")
					s.is.Equal(len(mails), 0)
					continue
				}
				if got.outcome != accepted || len(mails) != 1 {
					s.t.Errorf("%s, %s: %s, and %d mails", v.What, name, got.outcome, len(mails))
					continue
				}
				text := s.rendered(mails[0])
				if baseline[name] == "" {
					baseline[name] = text
				}
				if text != baseline[name] {
					s.t.Errorf("%s, %s: mailed\n%s\nand without\n%s", v.What, name, text, baseline[name])
				}
				s.is.True(!strings.Contains(got.text, "evil")) // nor does it reach the answer
			}
		}
		s.is.Equal(len(baseline), len(entryNames)-1)
		s.sound()
	})
}

// forms is a request for a reset of victim, in the format of an entry: a link, where the format has
// any.
func (s *site) forms(name string) (path, media, body string) {
	pairs := map[string][]string{
		formats.Xandr:  {"username", "victim"},
		formats.Portal: {"by", "username", "username", "victim", "email", ""},
	}[name]
	if pairs == nil {
		pairs = []string{"username", "victim", "portal", "web"}
	}
	r := formats.New(name, "reset", pairs...)
	return r.Path, strings.TrimPrefix(r.Header[0], "Content-Type: "), r.Body
}

var languageTags = regexp.MustCompile(`^[A-Za-z0-9,-]{0,64}$`)

// A caller's languages become tags or nothing, and so does the stored locale of an account.
func TestAttack_S61_LineBreaksInHeaders(t *testing.T) {
	onEntries(t, apart, nil, func(s *site, e *entry) {
		for _, v := range s.vectors("texts", "S61") {
			var got answer
			switch e.name {
			case "direct":
				got = s.called(spy.Err(s.RequestReset(s.ctx, recovery.ResetRequest{Username: "victim", Locale: v.Value})))
				s.is.Equal(got.outcome, map[bool]string{true: accepted, false: malformed}[languageTags.MatchString(v.Value)])
			default:
				_, _, body := s.forms(e.name)
				got = e.send("reset", body, "Accept-Language: "+v.Value)
				s.is.Equal(got.outcome, accepted)
			}
		}
		for _, m := range s.deliver() {
			s.is.True(languageTags.MatchString(m.Locale))
			s.oneLine(m)
		}
		// An account's own locale and name may be anything that the application let in.
		s.hostile(e, vectors(s.t, "texts", "S61"), func(v vector, m recovery.Message) { s.oneLine(m) })
		s.sound()
	})
}

// hostile asks for accounts with the texts as names, by address and by name, and hands over their
// mails.
func (s *site) hostile(e *entry, texts []vector, check func(vector, recovery.Message)) {
	s.is.Helper()
	var accounts []recovery.Account
	of := map[string]vector{} // by address
	for i, v := range texts {
		if s.db != nil && (!utf8.ValidString(v.Value) || len(v.Value) > 250) || s.dialect == sqlstore.PostgreSQL && strings.Contains(v.Value, "\x00") {
			continue // no such text fits the application's columns
		}
		a := eligible(fmt.Sprint(100+i), v.Value, fmt.Sprintf("hostile%d@example.com", i))
		a.Locale = strings.ToValidUTF8(v.Value[:min(len(v.Value), 30)], "")
		accounts = append(accounts, a)
		of[a.Email] = v
	}
	s.putAll(accounts)
	for _, a := range e.asks() {
		wanted := 0
		for _, account := range accounts {
			name := account.Email
			if a.kind == "username" {
				name = account.Username
				if _, err := recovery.CanonicalUsername(name); err != nil {
					continue // nobody can type it
				}
			}
			wanted++
			s.is.Equal(a.ask(name).outcome, accepted)
		}
		mails := s.deliver()
		s.is.Equal(len(mails), wanted) // each shows a name
		for _, m := range mails {
			v, ok := of[m.To]
			s.is.True(ok)
			check(v, m)
			v.tried()
		}
	}
}

// oneLine wants the parts of a mail that become headers to be one line of visible text.
func (s *site) oneLine(m recovery.Message) {
	s.is.Helper()
	mail := s.render(m)
	for _, part := range []string{mail.Subject, mail.To, mail.Locale} {
		if strings.ContainsFunc(part, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(part) {
			s.t.Errorf("%q in a header", part)
		}
	}
}

// A hostile user name in a mail is text: one line, bounded, and nothing to click or to run.
func TestAttack_S62_MarkupInUsernames(t *testing.T) {
	onEntries(t, apart, nil, func(s *site, e *entry) {
		s.hostile(e, vectors(s.t, "texts", "S62"), func(v vector, m recovery.Message) {
			mail := s.render(m)
			for _, part := range []struct{ name, text, bad string }{
				{"HTML", mail.HTML, "<script"}, {"HTML", mail.HTML, "<img"}, {"HTML", mail.HTML, "<svg"}, {"HTML", mail.HTML, "<iframe"},
				{"HTML", mail.HTML, "<form"}, {"HTML", mail.HTML, "<base"}, {"HTML", mail.HTML, "<v:rect"}, {"HTML", mail.HTML, `" onmouseover`},
				{"HTML", mail.HTML, "<style>*"}, {"HTML", mail.HTML, `href="https://evil`}, {"HTML", mail.HTML, "<!--[if mso]>x"},
			} {
				if strings.Contains(part.text, part.bad) {
					s.t.Errorf("%s: %q is in the %s", v.What, part.bad, part.name)
				}
			}
			for _, bad := range []string{
				"https://evil", "HTTPS://EVIL", "www.evil", "evil.com", "EVIL.COM", "javascript:", "data:text", "mailto:attacker", "192.0.2.66",
				"\u202e", "\u2066", "\u200b", "\x00", "\u2028", "\r", strings.Repeat("A", 255),
			} {
				if strings.Contains(mail.Text, bad) || strings.Contains(mail.HTML, bad) || strings.Contains(mail.Subject, bad) {
					s.t.Errorf("%s: %q is in the mail", v.What, bad)
				}
			}
			for line := range strings.Lines(mail.Text) { // no name continues as a sentence of the mail
				if strings.Contains(line, "is not yours") {
					s.is.Equal(strings.TrimSpace(line), v.Value)
				}
			}
			s.oneLine(m)
		})
		s.sound()
	})
}

// usernameMails returns how many of the mails tell user names.
func usernameMails(mails []recovery.Message) (n int) {
	for _, m := range mails {
		if m.Kind == recovery.MessageUsernames {
			n++
		}
	}
	return n
}

// Many clients ask for one mailbox, by every name that has it and by the address. Twelve mails go
// there at once, ten with tokens and two with user names, and then twelve an hour, whoever asks.
// Nobody without an account gets any.
func TestAttack_S66_FloodOfOneMailbox(t *testing.T) {
	const mailbox = "billybob@example.com"
	onEntries(t, apart, func(_ *site, o *recovery.Options) {
		o.Limits = recovery.Limits{Global: recovery.Limit{Burst: 1_000_000, Every: time.Microsecond}} // the others are the defaults
		o.Workers = 16
	}, func(s *site, e *entry) {
		for i := range 5 {
			s.put(eligible(fmt.Sprint(100+i), fmt.Sprintf("billybob%d", i), mailbox))
		}
		clients, each := 1000, 2
		if e.name == "direct" {
			each = 10
		}
		if s.db != nil { // there 10,000 take a minute
			clients, each = 100, 3
		}
		names := []string{"billybob", "billybob1", " BillyBob ", "nobodyxx", "billybob4", "BILLYBOB"}
		s.client = netip.MustParseAddr("198.18.0.1")
		for range clients {
			s.client = s.client.Next()
			for i := range each {
				asks := e.asks()
				a := asks[i%len(asks)]
				if a.kind == "username" {
					s.is.Equal(a.ask(names[i%len(names)]).outcome, accepted)
				} else {
					s.is.Equal(a.ask([]string{mailbox, "nobodyxx@example.com", "BillyBob@Example.com"}[i%3]).outcome, accepted)
				}
			}
		}
		mails := s.deliver()
		tokens := len(mails) - usernameMails(mails)
		s.is.Equal(tokens, 10)
		s.is.True(usernameMails(mails) <= 1)
		for i := range 60 { // an hour, a fresh client a minute
			s.advance(time.Minute)
			s.client = s.client.Next()
			s.is.Equal(e.byName(names[i%2]).outcome, accepted)
			if e.names != nil {
				s.is.Equal(e.names(mailbox).outcome, accepted)
			}
			mails = append(mails, s.deliver()...)
		}
		s.is.Equal(len(mails)-usernameMails(mails), tokens+10) // one per six minutes
		s.is.True(usernameMails(mails) <= 2)                   // one an hour
		for _, m := range mails {
			s.is.Equal(m.To, mailbox)
		}
		s.sound()
	})
}

// The mail that says where to log in comes once an hour, and does not use up the limit of tokens.
func TestAttack_S66_FloodOfSignInMails(t *testing.T) {
	with := func(_ *site, o *recovery.Options) {
		o.Limits = recovery.Limits{Global: recovery.Limit{Burst: 1_000_000, Every: time.Microsecond}} // the others are the defaults
	}
	everywhere(t, with, func(s *site) {
		e := s.direct()
		s.client = netip.MustParseAddr("198.18.0.1")
		for range 40 {
			s.client = s.client.Next()
			s.is.Equal(e.byName("federate").outcome, accepted)
			s.is.Equal(e.names("federate@example.com").outcome, accepted)
		}
		mails := s.deliver()
		s.is.Equal(len(mails), 1)
		for range 60 { // an hour, a fresh client a minute
			s.advance(time.Minute)
			s.client = s.client.Next()
			s.is.Equal(e.byName("federate").outcome, accepted)
			mails = append(mails, s.deliver()...)
		}
		s.is.Equal(len(mails), 2)
		for _, m := range mails {
			s.is.Equal(m.Kind, recovery.MessageSignIn)
		}
		s.sound()
	})
}
