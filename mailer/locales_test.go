package mailer_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/net/html"
	"golang.org/x/text/width"

	"example.com/recovery"
	"example.com/recovery/mailer"
)

// What every mail of a language must say, in its words.
var sayings = map[string]struct {
	until, valid, asked, changed, client string
	notYou, ignore, secret, choose, help string
}{
	"en": {
		until: "valid until 21 November 2026, 18:30 UTC (16 hours)", valid: "works once",
		asked: "Requested on 21 November 2026, 02:30 UTC", changed: "was changed on 21 November 2026, 02:30 UTC",
		client: "IP address 192.0.2.x", notYou: "Not you?", ignore: "You can ignore this email",
		secret: "We will never ask you for it", choose: "Choose a new password", help: "Help: help@example.com",
	},
	"ja": {
		until: "有効期限：2026年11月21日 18:30（UTC）", valid: "16時間有効で、一度だけ使えます",
		asked: "リクエスト日時：2026年11月21日 02:30（UTC）", changed: "変更日時：2026年11月21日 02:30（UTC）",
		client: "IP アドレス：192.0.2.x", notYou: "お心当たりがない場合", ignore: "このメールを破棄してください",
		secret: "こちらからお尋ねすることはありません", choose: "新しいパスワードを設定する", help: "お問い合わせ：help@example.com",
	},
}

func TestEveryLocaleSaysEverything(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, &mailer.Options{SupportURL: "mailto:help@example.com"})
	is.Equal(r.Locales(), []string{"en", "ja"}) // what the documentation says
	for _, locale := range r.Locales() {
		say, ok := sayings[locale]
		is.True(ok) // this test knows the language
		for _, kind := range kinds {
			t.Run(locale+"/"+string(kind), func(t *testing.T) {
				is := is.New(t)
				m := message(t, kind)
				m.Locale = locale
				mail := render(t, r, m)
				is.Equal(mail.Locale, locale)                      // its own words
				is.True(strings.Contains(mail.Subject, "Example")) // who writes
				want := []string{"Example", "billybob", say.client, say.notYou, say.help}
				switch kind {
				case recovery.MessagePasswordChanged:
					want = append(want, say.changed)
				case recovery.MessageUsernames:
					want = append(want, say.asked, say.ignore, "anna[.]me", "bob@example.com")
				case recovery.MessageResetToken:
					want = append(want, say.asked, say.ignore, say.until, say.valid, say.secret, tokenText)
				case recovery.MessageResetLink:
					want = append(want, say.asked, say.ignore, say.until, say.valid, say.secret, linkText)
				}
				shown, links := read(mail.HTML)
				text := strings.ReplaceAll(mail.Text, "\n", " ")
				for _, s := range want {
					if !strings.Contains(text, s) {
						t.Errorf("the text part does not say %q:\n%s", s, mail.Text)
					}
					if !strings.Contains(shown, s) {
						t.Errorf("the HTML part does not say %q:\n%s", s, shown)
					}
				}

				// One thing to do, and help.
				links = slices.DeleteFunc(links, func(s string) bool { return s == say.help[len(say.help)-16:] })
				if kind == recovery.MessageResetLink {
					is.Equal(links, []string{say.choose}) // the button
				} else {
					is.Equal(len(links), 0) // nothing to follow
				}
			})
		}
	}
}

// What a mail for several accounts says in other words.
var severalSayings = map[string]struct{ token, link, valid, secret, more string }{
	"en": {
		token: "enter the token of the account together with its username", link: "Each account has its own link",
		valid:  "is valid until 21 November 2026, 18:30 UTC (16 hours) and works once",
		secret: "We will never ask you for them", more: "and 3 more accounts. To reset the password of an account that is not listed",
	},
	"ja": {
		token: "トークンはアカウントごとに異なります。", link: "リンクはアカウントごとに異なります。",
		valid: "それぞれ16時間有効で、一度だけ使えます", secret: "ほかの人に教えないでください。",
		more: "ほか 3 件のアカウントがあります。 一覧にないものは",
	},
}

func TestEveryLocaleSaysEverythingToSeveralAccounts(t *testing.T) {
	r := newRenderer(t, &mailer.Options{SupportURL: "mailto:help@example.com"})
	for locale, say := range sayings {
		for _, kind := range []recovery.MessageKind{recovery.MessageResetToken, recovery.MessageResetLink} {
			t.Run(locale+"/"+string(kind), func(t *testing.T) {
				is := is.New(t)
				several := severalSayings[locale]
				m := message(t, kind)
				m.Locale, m.MoreResets = locale, 3
				setNames(t, &m, "billybob", "anna.me")
				mail := render(t, r, m)
				want := []string{
					"Example", say.client, say.notYou, say.help, say.asked, say.ignore,
					"billybob", "anna[.]me", several.valid, several.secret, several.more,
				}
				if kind == recovery.MessageResetToken {
					want = append(want, several.token, tokenOf(0), tokenOf(1))
				} else {
					want = append(want, several.link, linkStart+tokenOf(0), linkStart+tokenOf(1))
				}
				shown, links := read(mail.HTML)
				for _, s := range want {
					is.True(strings.Contains(strings.ReplaceAll(mail.Text, "\n", " "), s)) // in the text part
					is.True(strings.Contains(strings.ReplaceAll(shown, "\n", " "), s))     // in the HTML part
				}
				links = slices.DeleteFunc(links, func(s string) bool { return s != say.choose })
				is.Equal(len(links) == 2, kind == recovery.MessageResetLink) // a button for each account
			})
		}
	}
}

func TestNoLineOfProseIsTooWide(t *testing.T) {
	r := newRenderer(t, &mailer.Options{SupportURL: "mailto:help@example.com"})
	for locale := range sayings {
		for _, kind := range kinds {
			t.Run(locale+"/"+string(kind), func(t *testing.T) {
				is := is.New(t)
				m := message(t, kind)
				m.Locale = locale
				text := render(t, r, m).Text
				if isReset(m) {
					m.MoreResets = 10_000
					setNames(t, &m, "billybob", strings.Repeat("long ", 12), "", "anna.me")
					text += render(t, r, m).Text
				}
				for _, line := range strings.Split(text, "\n") {
					columns := 0
					for _, c := range line {
						columns++
						if k := width.LookupRune(c).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
							columns++
						}
					}
					is.True(columns <= 76 || strings.HasPrefix(line, " ")) // fits, or is a token or a link
				}
			})
		}
	}
}

// read returns what a reader of the document sees, and the text of every link.
func read(document string) (shown string, links []string) {
	var b strings.Builder
	var hidden, link bool
	tokens := html.NewTokenizer(strings.NewReader(document))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return b.String(), links
		case html.StartTagToken, html.EndTagToken:
			token := tokens.Token()
			open := token.Type == html.StartTagToken
			switch token.Data {
			case "head":
				hidden = open
			case "a":
				link = open
			}
		case html.TextToken:
			text := tokens.Token().Data
			if hidden {
				continue
			}
			b.WriteString(text)
			if link {
				links = append(links, text)
			}
		}
	}
}
