package mailer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
)

func newRenderer(t testing.TB, opts *mailer.Options) *mailer.Renderer {
	is := is.New(t)
	is.Helper()
	r, err := mailer.New(opts)
	is.NoErr(err) // the options are sound
	return r
}

func render(t testing.TB, r *mailer.Renderer, m recovery.Message) mailer.Mail {
	is := is.New(t)
	is.Helper()
	mail, err := r.Render(m)
	is.NoErr(err) // the message renders
	return mail
}

func TestRenderRefusesIncompleteMessages(t *testing.T) {
	r := newRenderer(t, nil)
	tests := []struct {
		name  string
		kind  recovery.MessageKind
		spoil func(*recovery.Message)
		want  string
	}{
		{"no kind", recovery.MessageResetToken, func(m *recovery.Message) { m.Kind = "" }, "Message.Kind must be"},
		{"unknown kind", recovery.MessageResetToken, func(m *recovery.Message) { m.Kind = "x" }, "Message.Kind must be"},
		{"no recipient", recovery.MessageUsernames, func(m *recovery.Message) { m.To = "" }, "Message.To must not be empty"},
		{"two lines of recipients", recovery.MessageUsernames, func(m *recovery.Message) { m.To += "\r\nBcc: a@example.com" }, "Message.To must be one line"},
		{"a line feed in the recipient", recovery.MessageUsernames, func(m *recovery.Message) { m.To += "\n" }, "Message.To must be one line"},
		{"U+2028 in the recipient", recovery.MessageUsernames, func(m *recovery.Message) { m.To += "\u2028" }, "Message.To must be one line"},
		{"a recipient that is not UTF-8", recovery.MessageUsernames, func(m *recovery.Message) { m.To += "\xff" }, "Message.To must be one line"},
		{"two lines of ID", recovery.MessageUsernames, func(m *recovery.Message) { m.ID += "\r\nX: y" }, "Message.ID must be one line"},
		{"no token", recovery.MessageResetToken, func(m *recovery.Message) { m.Resets[0].Token = recovery.Token{} }, "Message.Resets[0].Token must be set"},
		{"no token beside a link", recovery.MessageResetLink, func(m *recovery.Message) { m.Resets[0].Token = recovery.Token{} }, "Message.Resets[0].Token must be set"},
		{"one account without a token", recovery.MessageResetToken, func(m *recovery.Message) {
			spy.SetNames(m, "billybob", "bob")
			m.Resets[1].Token = recovery.Token{}
		}, "Message.Resets[1].Token must be set"},
		{"no account", recovery.MessageResetToken, func(m *recovery.Message) { m.Resets = nil }, "Message.Resets must have 1 to 10 elements in a reset_token message, has 0"},
		{"no account for a link", recovery.MessageResetLink, func(m *recovery.Message) { m.Resets = nil }, "Message.Resets must have 1 to 10 elements in a reset_link message, has 0"},
		{"too many accounts", recovery.MessageResetToken, func(m *recovery.Message) { spy.SetNames(m, make([]string, 11)...) }, "Message.Resets must have 1 to 10 elements in a reset_token message, has 11"},
		{"a token that never ends", recovery.MessageResetToken, func(m *recovery.Message) { m.ExpiresAt = time.Time{} }, "Message.ExpiresAt must be set"},
		{"a time of sending that is not known", recovery.MessageResetToken, func(m *recovery.Message) { m.SentAt = time.Time{} }, "Message.SentAt must be set in a message with ExpiresAt"},
		{"a code for one of two", recovery.MessageResetToken, func(m *recovery.Message) {
			spy.SetNames(m, "billybob", "bob")
			setCodes(m)
			m.Resets[1].Code = ""
		}, "Message.Resets[1].Code must be set for all of Resets or for none"},
		{"no code for the first of two", recovery.MessageResetLink, func(m *recovery.Message) {
			spy.SetNames(m, "billybob", "bob")
			setCodes(m)
			m.Resets[0].Code = ""
		}, "Message.Resets[1].Code must be set for all of Resets or for none"},
		{"a code of two lines", recovery.MessageResetToken, func(m *recovery.Message) { setCodes(m); m.Resets[0].Code += "\nx" }, "Message.Resets[0].Code must be at most 32 letters"},
		{"a code with a dot", recovery.MessageResetToken, func(m *recovery.Message) { setCodes(m); m.Resets[0].Code = "evil.com" }, "Message.Resets[0].Code must be at most 32 letters"},
		{"a long code", recovery.MessageResetToken, func(m *recovery.Message) { setCodes(m); m.Resets[0].Code = strings.Repeat("A", 33) }, "Message.Resets[0].Code must be at most 32 letters"},
		{"codes without an expiry", recovery.MessageResetToken, func(m *recovery.Message) { setCodes(m); m.CodesExpireAt = time.Time{} }, "Message.CodesExpireAt must be set in a message with codes"},
		{"no sign-ins", recovery.MessageSignIn, func(m *recovery.Message) { m.SignIns = nil }, "Message.SignIns must not be empty in a sign_in message"},
		{"too many sign-ins", recovery.MessageSignIn, func(m *recovery.Message) { spy.SetSignIns(m, make([]string, 11)...) }, "Message.SignIns must have at most 10 elements, has 11"},
		{"too many sign-ins beside names", recovery.MessageUsernames, func(m *recovery.Message) { spy.SetSignIns(m, make([]string, 11)...) }, "Message.SignIns must have at most 10 elements, has 11"},
		{"no link", recovery.MessageResetLink, func(m *recovery.Message) { m.Resets[0].Link = "" }, "Message.Resets[0].Link must be set"},
		{"a relative link", recovery.MessageResetLink, func(m *recovery.Message) { m.Resets[0].Link = "/reset#" + spy.TokenText }, "Message.Resets[0].Link must be an absolute"},
		{"a link that runs", recovery.MessageResetLink, func(m *recovery.Message) { m.Resets[0].Link = "javascript:alert(1)" }, "Message.Resets[0].Link must be an absolute"},
		{"a link of two lines", recovery.MessageResetLink, func(m *recovery.Message) { m.Resets[0].Link += "\nx" }, "Message.Resets[0].Link must be an absolute"},
		{"a link with a space", recovery.MessageResetLink, func(m *recovery.Message) { m.Resets[0].Link += " x" }, "Message.Resets[0].Link must be an absolute"},
		{"a link without an expiry", recovery.MessageResetLink, func(m *recovery.Message) { m.ExpiresAt = time.Time{} }, "Message.ExpiresAt must be set"},
		{"no user names", recovery.MessageUsernames, func(m *recovery.Message) { m.Usernames = nil }, "Message.Usernames must hold"},
		{"empty user names", recovery.MessageUsernames, func(m *recovery.Message) { m.Usernames = []string{"", " "} }, "Message.Usernames must hold"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			m := spy.Message(test.kind)
			test.spoil(&m)
			mail, err := r.Render(m)
			is.True(errors.Is(err, recovery.ErrPermanent))         // pointless to try again
			is.True(strings.Contains(err.Error(), test.want))      // names the field and the rule
			is.True(!strings.Contains(err.Error(), spy.TokenText)) // no token, no link
			is.True(!strings.Contains(err.Error(), "billybob"))    // no address, no name
			is.True(!strings.Contains(err.Error(), "javascript"))  // no part of a link
			is.Equal(mail.Text+mail.HTML+mail.Subject, "")         // no mail
		})
	}
}

func TestTheNearestLocaleIsChosen(t *testing.T) {
	r := newRenderer(t, nil)
	for locale, want := range map[string]string{
		"": "en", "en": "en", "en-GB": "en", "ja": "ja", "ja-JP": "ja", "JA_jp": "ja", "ja-u-ca-japanese": "ja",
		"fr": "en", "zh-Hant": "en", "und": "en", "not a tag": "en", "ja\r\nBcc: x": "en", "\xff": "en",
		"fr,ja": "ja", "en,ja": "en", "fr,,not a tag,ja-JP,en": "ja", ",": "en", "ja" + strings.Repeat(",fr", 99): "ja",
		"ja-x" + strings.Repeat("-abcdefg", 10): "en",
	} {
		t.Run(locale, func(t *testing.T) {
			is := is.New(t)
			m := spy.Message(recovery.MessageResetToken)
			m.Locale = locale
			mail := render(t, r, m)
			is.Equal(mail.Locale, want)                                              // the nearest one
			is.True(strings.Contains(mail.HTML, `<html lang="`+want+`" dir="ltr">`)) // and says so
		})
	}
}

func TestTextsReadWellWithoutNames(t *testing.T) {
	r := newRenderer(t, nil)
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			is := is.New(t)
			m := spy.Message(kind)
			m.Application, m.Client, m.RequestedAt = "", netip.Addr{}, time.Time{}
			if kind != recovery.MessageUsernames {
				spy.SetNames(&m, "")
			}
			for _, locale := range []string{"en", "ja"} {
				m.Locale = locale
				mail := render(t, r, m)
				for _, part := range []string{mail.Subject, mail.Text, mail.HTML} {
					is.True(!strings.Contains(part, "  for "))      // no hole where a name was
					is.True(!strings.Contains(part, " ."))          // no hole where a date was
					is.True(!strings.Contains(part, "0001"))        // no zero time
					is.True(!strings.Contains(part, "invalid"))     // no zero address
					is.True(!strings.Contains(part, "【】"))          // no empty brackets
					is.True(!strings.Contains(part, "IP"))          // nothing about an address
					is.True(!strings.Contains(part, "<bdi></bdi>")) // no empty element
					is.True(!strings.Contains(part, "no username")) // nothing about a name that is not there
					is.True(!strings.Contains(part, "ユーザー名なし"))     // nor in Japanese
					if kind != recovery.MessageUsernames && kind != recovery.MessageSignIn {
						is.True(!strings.Contains(part, "your username")) // nothing about a username
						is.True(!strings.Contains(part, "ユーザー名"))         // nor in Japanese
					}
				}
			}
		})
	}
}

func TestApplicationOfTheMessageWins(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, &mailer.Options{Application: "Fallback"})
	m := spy.Message(recovery.MessageResetToken)
	is.Equal(render(t, r, m).Subject, "Your Example password reset token") // the message's
	m.Application = " "
	is.Equal(render(t, r, m).Subject, "Your Fallback password reset token") // the option's
}

func TestValidityIsToldInWords(t *testing.T) {
	r := newRenderer(t, nil)
	tests := []struct {
		d      time.Duration
		en, ja string
	}{
		{16 * time.Hour, "18:30 UTC (16 hours) and", "18:30\uff08UTC\uff09\n16時間有効で、"},
		{16*time.Hour + 250*time.Millisecond, "18:30 UTC (16 hours) and", "18:30\uff08UTC\uff09\n16時間有効で、"},
		{16*time.Hour - 250*time.Millisecond, "18:29 UTC (16 hours) and", "18:29\uff08UTC\uff09\n16時間有効で、"},
		{16*time.Hour + 40*time.Minute, "19:10 UTC (16 hours) and", "19:10\uff08UTC\uff09\n16時間有効で、"},
		{24 * time.Hour, "22 November 2026, 02:30 UTC (24 hours) and", "2026年11月22日 02:30\uff08UTC\uff09\n24時間有効で、"},
		{90 * time.Minute, "04:00 UTC (1 hour 30 minutes) and", "04:00\uff08UTC\uff09\n1時間30分有効で、"},
		{121 * time.Minute, "04:31 UTC (2 hours 1 minute) and", "04:31\uff08UTC\uff09\n2時間1分有効で、"},
		{time.Hour, "03:30 UTC (1 hour) and", "03:30\uff08UTC\uff09\n1時間有効で、"},
		{15 * time.Minute, "02:45 UTC (15 minutes) and", "02:45\uff08UTC\uff09\n15分間有効で、"},
		{time.Minute, "02:31 UTC (1 minute) and", "02:31\uff08UTC\uff09\n1分間有効で、"},
		{20 * time.Second, "02:30 UTC and", "02:30\uff08UTC\uff09\n一度"},
		{0, "02:30 UTC and", "02:30\uff08UTC\uff09\n一度"},
		{-time.Hour, "01:30 UTC and", "01:30\uff08UTC\uff09\n一度"},
	}
	for _, test := range tests {
		t.Run(test.d.String(), func(t *testing.T) {
			is := is.New(t)
			m := spy.Message(recovery.MessageResetToken)
			m.ExpiresAt = m.SentAt.Add(test.d)
			m.RequestedAt = m.SentAt.Add(-50 * time.Minute) // mail was down
			// This test ignores where lines are wrapped.
			is.True(strings.Contains(strings.ReplaceAll(render(t, r, m).Text, "\n", " "), test.en)) // in English
			m.Locale = "ja"
			is.True(strings.Contains(render(t, r, m).Text, test.ja)) // in Japanese
		})
	}
}

func TestValidityOfCodesIsWhatIsLeft(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, nil)
	m := spy.Message(recovery.MessageResetToken)
	setCodes(&m)
	m.SentAt = m.CodesExpireAt.Add(-4 * time.Minute)
	is.True(strings.Contains(render(t, r, m).Text, "02:45 UTC (4\nminutes).")) // when the mail leaves
	m.SentAt = m.CodesExpireAt.Add(time.Minute)
	is.True(strings.Contains(render(t, r, m).Text, "02:45 UTC.")) // nothing is left
	m.Locale = "ja"
	is.True(strings.Contains(render(t, r, m).Text, "02:45（UTC）\nリクエストした画面またはアプリでのみ使えます。")) // nothing is left
}

func TestDatesAreInTheLocation(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, &mailer.Options{Location: time.FixedZone("JST", 9*60*60)})
	m := spy.Message(recovery.MessageResetToken)
	is.True(strings.Contains(render(t, r, m).Text, "22 November 2026, 03:30 JST")) // the end
	is.True(strings.Contains(render(t, r, m).Text, "21 November 2026, 11:30 JST")) // the request
	setCodes(&m)
	is.True(strings.Contains(render(t, r, m).Text, "21 November 2026, 11:45 JST")) // the end of the code
}

func TestClientAddressIsCoarse(t *testing.T) {
	coarse, full := newRenderer(t, nil), newRenderer(t, &mailer.Options{FullClientAddress: true})
	for _, test := range []struct{ addr, coarse, full string }{
		{"192.0.2.7", "192.0.2.x", "192.0.2.7"},
		{"::ffff:192.0.2.7", "192.0.2.x", "192.0.2.7"},
		{"2001:db8:1:2::7", "2001:db8:1::/48", "2001:db8:1:2::7"},
		{"fe80::7%eth0", "fe80::/48", "fe80::7"},
	} {
		t.Run(test.addr, func(t *testing.T) {
			is := is.New(t)
			m := spy.Message(recovery.MessagePasswordChanged)
			m.Client = netip.MustParseAddr(test.addr)
			mail := render(t, coarse, m)
			is.True(strings.Contains(mail.Text, "the IP address "+test.coarse+".")) // the network
			is.True(strings.Contains(mail.HTML, "the IP address "+test.coarse+".")) // the network
			mail = render(t, full, m)
			is.True(strings.Contains(mail.Text, "the IP address "+test.full+".")) // the address
			is.True(!strings.Contains(mail.Text+mail.HTML, "eth0"))               // no zone
		})
	}
}

func TestSupportURL(t *testing.T) {
	t.Run("is shown", func(t *testing.T) {
		is := is.New(t)
		r := newRenderer(t, &mailer.Options{SupportURL: "mailto:help@example.com"})
		mail := render(t, r, spy.Message(recovery.MessagePasswordChanged))
		is.True(strings.Contains(mail.Text, "\nHelp: help@example.com\n"))                                                    // the address alone
		is.True(strings.Contains(mail.HTML, `<a href="mailto:help@example.com" style="color:inherit;">help@example.com</a>`)) // as a link
		is.True(strings.Contains(mail.Text, "please tell us"))                                                                // the text refers to it
	})
	for _, bad := range []string{
		"http://example.com", "https://", "example.com", "mailto:", "mailto:help", "javascript:alert(1)",
		"https://example.com/\r\nx", "https://example.com/<b>", "https://example.com/\u202e", "https://example.com/%zz",
	} {
		t.Run(bad, func(t *testing.T) {
			is := is.New(t)
			_, err := mailer.New(&mailer.Options{SupportURL: bad})
			is.True(err != nil)                                               // refused
			is.True(strings.Contains(err.Error(), "Options.SupportURL must")) // by name
		})
	}
}

func TestOnlyTheFirst50NamesAreListed(t *testing.T) {
	is := is.New(t)
	m := spy.Message(recovery.MessageUsernames)
	m.Usernames, m.MoreNames = nil, 5
	for i := range 500 {
		m.Usernames = append(m.Usernames, fmt.Sprintf("name-%d", i))
	}
	mail := render(t, newRenderer(t, nil), m)
	is.Equal(strings.Count(mail.HTML, "<li "), 50)            // bounded
	is.True(strings.Contains(mail.Text, "\nand 455 more.\n")) // and counted
	m.Usernames, m.MoreNames = m.Usernames[:1], -1
	is.True(!strings.Contains(render(t, newRenderer(t, nil), m).Text, "more")) // nothing is left out
}

func TestSeveralAccounts(t *testing.T) {
	r := newRenderer(t, nil)
	for _, kind := range []recovery.MessageKind{recovery.MessageResetToken, recovery.MessageResetLink} {
		for _, locale := range r.Locales() {
			t.Run(string(kind)+"/"+locale, func(t *testing.T) {
				is := is.New(t)
				m := spy.Message(kind)
				m.Locale = locale
				subject := render(t, r, m).Subject
				names := []string{"a1", "b2", "c3", "d4", "e5", "f6", "g7", "h8", "i9", "j10"}
				spy.SetNames(&m, names...)
				mail := render(t, r, m)
				is.Equal(mail.Subject, subject) // which tells nothing of them
				shown, _ := read(mail.HTML)
				for _, part := range []string{mail.Text, shown} {
					at := 0
					for i, name := range names {
						for _, what := range []string{name, spy.TokenOf(i)} {
							found := strings.Index(part[at:], what)
							is.True(found >= 0) // each name, and its token after it
							at += found + len(what)
						}
					}
				}

				more := map[string]string{"en": " more accounts.", "ja": " 件のアカウントがあります。"}[locale]
				is.True(!strings.Contains(mail.Text+mail.HTML, more)) // nothing is left out
				m.MoreResets = 7
				mail = render(t, r, m)
				is.True(strings.Contains(mail.Text, " 7"+more)) // and counted
				is.True(strings.Contains(mail.HTML, " 7"+more)) // and counted
			})
		}
	}
}

func TestOneAccountOfSeveralIsNotTheOnlyOne(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, nil)
	m := spy.Message(recovery.MessageResetToken)
	m.MoreResets = 1 // the others were mailed by a newer request
	mail := render(t, r, m)
	is.True(strings.Contains(mail.Text, "\n    billybob\n    "+spy.TokenText+"\n")) // a list of one
	is.True(strings.Contains(mail.Text, "and 1 more account. "))                    // and more
	m.MoreResets = -1
	is.True(!strings.Contains(render(t, r, m).Text, "more")) // nothing is left out
}

func TestAccountsWithoutAUsername(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, nil)
	m := spy.Message(recovery.MessageResetToken)
	spy.SetNames(&m, "", " ", "billybob")
	mail := render(t, r, m)
	is.Equal(strings.Count(mail.Text, "\n    (no username)\n    "), 2) // says so
	is.Equal(strings.Count(mail.HTML, ">(no username)<"), 2)           // says so
	is.True(!strings.Contains(mail.HTML, "<bdi></bdi>"))               // no empty element
}

func TestTheNoticeOfAChangeListsNoSignIns(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, nil)
	m := spy.Message(recovery.MessagePasswordChanged)
	want := render(t, r, m)
	spy.SetSignIns(&m, make([]string, 11)...)
	m.SignIns = m.SignIns[:10]
	is.Equal(render(t, r, m), want) // which have nothing to do with it
}

func TestTheNameOfAServiceIsItsOwn(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, nil)
	m := spy.Message(recovery.MessageSignIn)
	m.SignIns[0].Provider = " ID.me\r\n<b>https://evil.com</b>" + strings.Repeat("x", 100)
	mail := render(t, r, m)
	is.True(strings.Contains(mail.Text, "\n    Log in with ID.me <b>https[:]//evil.com</b>xx")) // one line, no URL
	is.True(strings.Contains(mail.HTML, "Log in with ID.me &lt;b&gt;https[:]//"))               // no markup
	is.True(!strings.Contains(mail.Text, strings.Repeat("x", 50)))                              // bounded
}

func TestAMailCannotBePrinted(t *testing.T) {
	m := spy.Message(recovery.MessageResetLink)
	mail := render(t, newRenderer(t, nil), m)
	for name, print := range map[string]func(*strings.Builder){
		"%v": func(b *strings.Builder) {
			fmt.Fprintf(b, "%v %+v %#v %s %q %x %d", mail, mail, mail, mail, mail, mail, mail)
		},
		"pointer": func(b *strings.Builder) { fmt.Fprintf(b, "%v %+v %#v", &mail, &mail, &mail) },
		"nested":  func(b *strings.Builder) { fmt.Fprintf(b, "%+v", struct{ Mails []mailer.Mail }{[]mailer.Mail{mail}}) },
		"json": func(b *strings.Builder) {
			text, err := json.Marshal(map[string]any{"mail": mail, "pointer": &mail})
			fmt.Fprint(b, string(text), err)
		},
		"slog text": func(b *strings.Builder) { slog.New(slog.NewTextHandler(b, nil)).Info("x", "mail", mail) },
		"slog json": func(b *strings.Builder) { slog.New(slog.NewJSONHandler(b, nil)).Info("x", "mail", &mail) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var b strings.Builder
			print(&b)
			is.True(strings.Contains(b.String(), "[redacted]"))   // says that something is there
			is.True(!strings.Contains(b.String(), spy.TokenText)) // but not what
			is.True(!strings.Contains(b.String(), "billybob"))    // nor for whom
		})
	}
}

func TestRendererIsSafeForConcurrentUse(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, nil)
	var messages []recovery.Message
	var want []mailer.Mail
	for _, kind := range kinds {
		for _, locale := range []string{"en", "ja"} {
			m := spy.Message(kind)
			m.Locale = locale
			messages, want = append(messages, m), append(want, render(t, r, m))
		}
	}
	var wg sync.WaitGroup
	different := make([]bool, 16)
	for g := range different {
		wg.Go(func() {
			for i := range 20 * len(messages) {
				got, err := r.Render(messages[i%len(messages)])
				if err != nil || got != want[i%len(messages)] {
					different[g] = true
				}
			}
		})
	}
	wg.Wait()
	for _, d := range different {
		is.True(!d) // the same mail as alone
	}
}
