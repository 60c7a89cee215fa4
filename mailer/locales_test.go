package mailer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"golang.org/x/net/html"
	"golang.org/x/text/width"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
)

// The texts that every mail must have, in each language.
var sayings = map[string]struct {
	until, valid, asked, changed, client string
	notYou, ignore, secret, choose, help string
	password, logIn, elsewhere           string
}{
	"en": {
		until: "valid until 21 November 2026, 18:30 UTC (16 hours)", valid: "works once",
		asked: "Requested on 21 November 2026, 02:30 UTC", changed: "was changed on 21 November 2026, 02:30 UTC",
		client: "IP address 192.0.2.x", notYou: "Not you?", ignore: "You can ignore this email",
		secret: "We will never ask you for it", choose: "Choose a new password", help: "Help: help@example.com",
		password: "This account has no password here", logIn: "Log in with Google", elsewhere: "reset it there",
	},
	"ja": {
		until: "有効期限：2026年11月21日 18:30（UTC）", valid: "16時間有効で、一度だけ使えます",
		asked: "リクエスト日時：2026年11月21日 02:30（UTC）", changed: "変更日時：2026年11月21日 02:30（UTC）",
		client: "IP アドレス：192.0.2.x", notYou: "お心当たりがない場合", ignore: "このメールを破棄してください",
		secret: "こちらからお尋ねすることはありません", choose: "新しいパスワードを設定する", help: "お問い合わせ：help@example.com",
		password: "このアカウントにはパスワードが設定されていません。", logIn: "Google でログイン", elsewhere: "そのサービスで再設定してください。",
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
				m := spy.Message(kind)
				m.Locale = locale
				mail := render(t, r, m)
				is.Equal(mail.Locale, locale)                      // its own words
				is.True(strings.Contains(mail.Subject, "Example")) // who writes
				checkSays(t, mail, "Example", "billybob", say.client, say.notYou, say.help)
				switch kind {
				case recovery.MessagePasswordChanged:
					checkSays(t, mail, say.changed)
				case recovery.MessageUsernames:
					checkSays(t, mail, say.asked, say.ignore, "bob@example.com")
				case recovery.MessageSignIn:
					checkSays(t, mail, say.asked, say.ignore, say.password, say.logIn, say.elsewhere)
				case recovery.MessageResetToken:
					checkSays(t, mail, say.asked, say.ignore, say.until, say.valid, say.secret, spy.TokenText)
				case recovery.MessageResetLink:
					checkSays(t, mail, say.asked, say.ignore, say.until, say.valid, say.secret, spy.LinkStart+spy.TokenText)
				}
				_, links := read(mail.HTML)

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

// The texts that differ in a mail for several accounts.
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
				m := spy.Message(kind)
				m.Locale, m.MoreResets = locale, 3
				spy.SetNames(&m, "billybob", "bob")
				mail := render(t, r, m)
				checkSays(t, mail, "Example", say.client, say.notYou, say.help, say.asked, say.ignore,
					"billybob", "bob", several.valid, several.secret, several.more)
				if kind == recovery.MessageResetToken {
					checkSays(t, mail, several.token, spy.TokenOf(0), spy.TokenOf(1))
				} else {
					checkSays(t, mail, several.link, spy.LinkStart+spy.TokenOf(0), spy.LinkStart+spy.TokenOf(1))
				}
				_, links := read(mail.HTML)
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
				m := spy.Message(kind)
				m.Locale = locale
				text := render(t, r, m).Text
				if kind != recovery.MessagePasswordChanged {
					m.MoreResets, m.MoreSignIns = 10_000, 10_000
					spy.SetSignIns(&m, "billybob", strings.Repeat("long ", 12), "", "anna.me")
					spy.SetNames(&m, "billybob", strings.Repeat("long ", 12), "", "anna.me")
					setCodes(&m)
					m.CodesExpireAt = m.SentAt.Add(179 * time.Minute)
					text += render(t, r, m).Text
					m.Resets = m.Resets[:min(1, len(m.Resets))]
					m.MoreResets = 0
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

// The texts that a mail with codes adds.
var codeSayings = map[string]struct{ one, several, where, until, secret, secrets string }{
	"en": {
		one:     "The page or app where you asked for this email also takes a code.",
		several: "The page or app where you asked for this email also takes the code of the account.",
		where:   "works only there", until: "valid until 21 November 2026, 02:45 UTC (15 minutes).",
		secret: "and the code to yourself. We will never ask you for them.", secrets: "and codes to yourself.",
	},
	"ja": {
		one:     "リクエストした画面またはアプリでは、コードも使えます。",
		several: "リクエストした画面またはアプリでは、アカウントのコードも使えます。",
		where:   "15分間有効で、リクエストした画面またはアプリでのみ使えます。", until: "コードの有効期限：2026年11月21日 02:45（UTC）",
		secret: "とコードはほかの人に教えないでください。", secrets: "とコードはほかの人に教えないでください。",
	},
}

func TestEveryLocaleSaysWhatACodeIsFor(t *testing.T) {
	r := newRenderer(t, nil)
	for locale, say := range codeSayings {
		for _, kind := range kinds[:2] {
			t.Run(locale+"/"+string(kind), func(t *testing.T) {
				is := is.New(t)
				m := spy.Message(kind)
				m.Locale = locale
				without := render(t, r, m)
				for _, s := range []string{say.one, say.several, say.where, say.secret, "Code", "コード"} {
					is.True(!strings.Contains(without.Text, s)) // nothing about codes where there are none
					is.True(!strings.Contains(without.HTML, s)) // nor here
				}
				setCodes(&m)
				checkSays(t, render(t, r, m), say.one, say.where, say.until, say.secret, codeOf(0))
				spy.SetNames(&m, "billybob", "bob")
				setCodes(&m)
				mail := render(t, r, m)
				checkSays(t, mail, say.several, say.where, say.until, say.secrets)
				shown, _ := read(mail.HTML)
				for _, part := range []string{mail.Text, shown} { // each name, and its code after it
					at := 0
					for _, what := range []string{"billybob", spy.TokenOf(0), codeOf(0), "bob", spy.TokenOf(1), codeOf(1)} {
						found := strings.Index(part[at:], what)
						is.True(found >= 0)
						at += found + len(what)
					}
				}
			})
		}
	}
}

// The texts about accounts that log in elsewhere, beside others or alone.
var signInSayings = map[string]struct{ other, others, several, google, unknown, more string }{
	"en": {
		other:   "You have another account at this email address. It has no password here. You log in to it like this:",
		others:  "You have other accounts at this email address. They have no password here. You log in to them like this:",
		several: "These accounts have no password here", google: "Log in with Google",
		unknown: "Log in through another service (single sign-on)", more: "and 2 more accounts without a password.",
	},
	"ja": {
		other:   "このメールアドレスには、パスワードが設定されていないアカウントもあります。",
		others:  "このメールアドレスには、パスワードが設定されていないアカウントもあります。",
		several: "これらのアカウントにはパスワードが設定されていません。", google: "Google でログイン",
		unknown: "ほかのサービス（シングルサインオン）でログイン", more: "ほか 2 件",
	},
}

func TestEveryLocaleSaysHowOtherAccountsLogIn(t *testing.T) {
	r := newRenderer(t, nil)
	for locale, say := range signInSayings {
		for _, kind := range []recovery.MessageKind{recovery.MessageResetToken, recovery.MessageResetLink, recovery.MessageUsernames} {
			for _, names := range [][]string{{"billybob"}, {"billybob", "bob"}} {
				t.Run(fmt.Sprint(locale, kind, len(names)), func(t *testing.T) {
					is := is.New(t)
					m := spy.Message(kind)
					m.Locale = locale
					spy.SetNames(&m, names...)
					subject := render(t, r, m).Subject
					spy.SetSignIns(&m, "carol")
					checkSays(t, render(t, r, m), say.other, "carol", say.google)
					spy.SetSignIns(&m, "carol", "dave")
					m.MoreSignIns = 2
					mail := render(t, r, m)
					checkSays(t, mail, say.others, "carol", say.google, "dave", say.unknown, say.more)
					is.Equal(mail.Subject, subject) // which tells nothing of them
				})
			}
		}
	}
}

func TestEveryLocaleSaysHowSeveralAccountsLogIn(t *testing.T) {
	r := newRenderer(t, nil)
	for locale, say := range signInSayings {
		t.Run(locale, func(t *testing.T) {
			is := is.New(t)
			m := spy.Message(recovery.MessageSignIn)
			m.Locale = locale
			subject := render(t, r, m).Subject
			spy.SetNames(&m, "carol", "dave")
			m.MoreSignIns = 2
			mail := render(t, r, m)
			checkSays(t, mail, say.several, "carol", say.google, "dave", say.unknown, say.more, sayings[locale].elsewhere)
			is.Equal(mail.Subject, subject) // which tells nothing of them
		})
	}
}

// checkSays checks that both parts have the texts, where lines are wrapped or not.
func checkSays(t *testing.T, mail mailer.Mail, texts ...string) {
	t.Helper()
	shown, _ := read(mail.HTML)
	for part, words := range map[string]string{"text": mail.Text, "HTML": shown} {
		for _, s := range texts {
			if !strings.Contains(strings.ReplaceAll(words, "\n", " "), s) {
				t.Errorf("the %s part does not say %q:\n%s", part, s, words)
			}
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
