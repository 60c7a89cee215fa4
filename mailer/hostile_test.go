package mailer_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/matryer/is"
	"golang.org/x/net/html"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
)

const supportURL = "https://example.com/help"

var hostile = map[string]string{
	"markup":          `<img src=x onerror=alert(1)><script>alert(1)</script>`,
	"attribute":       `" onmouseover="alert(1)" x="`,
	"anchor":          `<a href="https://evil.example/">Click here to log in</a>`,
	"comment":         `--><!-- <!--[if mso]>`,
	"style":           `</style></title></p><style>*{display:none}`,
	"entity":          `&lt;b&gt; &#8238; &amp;`,
	"URL":             "https://evil.com/login",
	"upper-case URL":  "HTTPS://EVIL.COM/LOGIN",
	"www":             "www.evil.zz",
	"host":            "evil.com",
	"prose":           "Your account is locked, go to evil.com/unlock now",
	"10 kB":           strings.Repeat("A", 10<<10),
	"bidi override":   "\u202egnp.exe\u202c",
	"bidi isolate":    "\u2066a\u2067b\u2068c\u2069",
	"header":          "x\r\nBcc: all@example.com\r\n\r\nbody",
	"lone CR":         "x\rBcc: all@example.com",
	"U+2028":          "a\u2028b\u2029c\u0085d",
	"NUL":             "a\x00b\x1b[31mc\x7f",
	"invisible":       "a\u200b\u200d\u00ad\u2060\ufeff\u3164b\ufe0f",
	"invalid UTF-8":   "a\xff\xc0\x80\xed\xa0\x80b",
	"template":        "{{.}} {{.Token}} {{template \"content\" .}} {{define \"x\"}}",
	"quotation":       "x\" is not yours. Your token is \"abc",
	"「quotation」":     "x」です。「abc",
	"end of data":     "x\r\n.\r\nMAIL FROM:<a@example.com>",
	"combining marks": "a" + strings.Repeat("\u0301", 5000),
	"right to left":   "שלום.com",
	"joiner":          "می\u200cخواهم",
	"open isolate":    "\u2068שלום",
}

func TestAttack_S62_HostileNamesAreNeutralised(t *testing.T) {
	r := newRenderer(t, &mailer.Options{SupportURL: supportURL})
	for name, value := range hostile {
		t.Run(name, func(t *testing.T) {
			for _, locale := range []string{"en", "ja"} {
				for _, kind := range kinds {
					m := spy.Message(kind)
					m.Locale = locale
					spy.SetNames(&m, value)
					checkMail(t, m, render(t, r, m))
					m.Application = value
					checkMail(t, m, render(t, r, m))
					if kind != recovery.MessagePasswordChanged { // which has none
						m.SignIns = []recovery.SignIn{{Username: value, Provider: value}, {Username: value}}
						setCodes(&m)
						checkMail(t, m, render(t, r, m))
					}
				}
			}
		})
	}
}

// A text that goes into a header becomes one line, or is refused.
func TestAttack_S61_HeaderPartsAreOneLine(t *testing.T) {
	r := newRenderer(t, nil)
	for _, end := range []string{"\r\n", "\n", "\r", "\x00", "\u0085", "\u2028", "\u2029", "\v", "\f", "\x1b"} {
		injected := "x" + end + "Bcc: all@example.com"
		for _, kind := range kinds {
			t.Run(fmt.Sprintf("%q/%s", end, kind), func(t *testing.T) {
				is := is.New(t)
				m := spy.Message(kind)
				m.Application, m.Locale = injected, "ja"+end+"X"
				spy.SetNames(&m, injected)
				if kind == recovery.MessageSignIn {
					m.SignIns[0].Provider = injected
				}
				mail := render(t, r, m)
				is.True(!strings.Contains(mail.Subject, end)) // a line that goes on
				is.Equal(mail.Locale, "en")                   // which is no tag
				checkMail(t, m, mail)
				for _, line := range strings.Split(mail.Text, "\n") {
					is.True(!strings.HasPrefix(line, "Bcc")) // no line of its own in the body either
				}
				to, id := m, m
				to.To, id.ID = m.To+end+"x", m.ID+end+"x"
				for _, spoilt := range []recovery.Message{to, id} {
					_, err := r.Render(spoilt)
					is.True(errors.Is(err, recovery.ErrPermanent)) // refused
				}
			})
		}
	}
}

func TestLinksArriveAsTheyAre(t *testing.T) {
	r := newRenderer(t, nil)
	for _, link := range []string{
		"http://localhost:8080/reset#" + spy.TokenText,
		"https://app.example.com/reset?portal=a&lang=ja&x=%2B#" + spy.TokenText,
		"https://[2001:db8::1]/reset;v=1#token=" + spy.TokenText,
	} {
		t.Run(link, func(t *testing.T) {
			is := is.New(t)
			m := spy.Message(recovery.MessageResetLink)
			m.Resets[0].Link = link
			mail := render(t, r, m)
			is.True(strings.Contains(mail.Text, "\n    "+link+"\n")) // on a line of its own
			var hrefs, texts []string
			tokens := html.NewTokenizer(strings.NewReader(mail.HTML))
			for tokens.Next() != html.ErrorToken {
				token := tokens.Token()
				texts = append(texts, token.Data)
				for _, a := range token.Attr {
					if a.Key == "href" {
						hrefs = append(hrefs, a.Val)
					}
				}
			}
			is.Equal(hrefs, []string{link})       // what the button opens
			is.True(slices.Contains(texts, link)) // what is shown
		})
	}
}

func FuzzRender(f *testing.F) {
	r := newRenderer(f, &mailer.Options{SupportURL: supportURL})
	for _, value := range hostile {
		f.Add(value, value, "ja", uint8(0))
	}
	f.Add("billybob", "", "en", uint8(1))
	f.Fuzz(func(t *testing.T, username, application, locale string, kind uint8) {
		m := spy.Message(kinds[int(kind)%len(kinds)])
		m.Application, m.Locale = application, locale
		spy.SetNames(&m, username)
		if m.Kind == recovery.MessageUsernames {
			spy.SetNames(&m, "billybob", username)
		}
		checkMail(t, m, render(t, r, m))
		if m.Kind == recovery.MessagePasswordChanged {
			return
		}
		if m.Kind != recovery.MessageUsernames {
			spy.SetNames(&m, "billybob", username, "")
		}
		setCodes(&m)
		m.SignIns = append(m.SignIns, recovery.SignIn{Username: username, Provider: application})
		checkMail(t, m, render(t, r, m))
	})
}

// checkMail checks what holds for every mail, whatever its names are.
func checkMail(t *testing.T, m recovery.Message, mail mailer.Mail) {
	is := is.New(t)
	is.Helper()
	shown, _ := read(mail.HTML)
	names := namesOf(m)
	for _, part := range []string{mail.Subject, isolated.ReplaceAllString(mail.Text, "$1$2"), shown} {
		is.True(utf8.ValidString(part)) // UTF-8
		for _, name := range names {    // what somebody could type is itself
			part = strings.ReplaceAll(part, name, "")
		}
		for _, r := range strings.ReplaceAll(part, "\n", "") {
			is.True(unicode.IsGraphic(r))                                       // no control, format, bidi character or separator
			is.True(!unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)) // no other invisible one
		}
	}
	for _, name := range names {
		is.True(strings.Contains(shown, name)) // whole and exact
		line := "\n    " + name + "\n"
		if !strings.ContainsAny(name, ".。．｡:：") { // nothing in it could be a link
			is.True(strings.Contains(isolated.ReplaceAllString(mail.Text, "$1$2"), line)) // also in the text part
		}
	}

	is.True(mail.Subject != "")                                       // there is a subject
	is.True(!strings.Contains(mail.Subject, "\n"))                    // of one line
	is.True(utf8.RuneCountInString(mail.Subject) <= 100)              // and bounded
	is.True(!strings.Contains(mail.Subject, spy.TokenText[1:]))       // without the token
	one := max(1, len(m.Resets)+len(m.SignIns))                       // account, or several
	is.True(len(mail.Text) < one*4<<10 && len(mail.HTML) < one*8<<10) // the parts are bounded
	is.Equal(mail.To, m.To)                                           // the recipient is the message's

	text, markup := strings.ReplaceAll(mail.Text, supportURL, ""), strings.ReplaceAll(mail.HTML, supportURL, "")
	for _, r := range m.Resets {
		if r.Link != "" {
			text, markup = strings.ReplaceAll(text, r.Link, ""), strings.ReplaceAll(markup, r.Link, "")
		}
	}
	is.True(!strings.Contains(text, "://"))                   // no link but ours
	is.True(!regexp.MustCompile(`\w://`).MatchString(markup)) // in either part
	own := m.Application
	for _, s := range m.SignIns {
		own += " " + s.Provider
	}
	if !containsWWW(own) {
		is.True(!containsWWW(text))   // no link but ours
		is.True(!containsWWW(markup)) // in either part
	}
	for _, r := range m.Resets {
		if m.Kind == recovery.MessageResetToken {
			token := r.Token.Reveal()
			is.Equal(strings.Count(mail.Text, "\n    "+token+"\n"), 1) // the token on a line of its own
			is.Equal(strings.Count(mail.HTML, ">"+token+"<"), 1)       // and in an element of its own
		} else {
			is.Equal(strings.Count(mail.Text, "\n    "+r.Link+"\n"), 1)   // the link on a line of its own
			is.Equal(strings.Count(mail.HTML, `<a href="`+r.Link+`"`), 1) // as a button
			is.Equal(strings.Count(mail.HTML, ">"+r.Link+"<"), 1)         // and as text
		}
		if r.Code != "" {
			is.Equal(strings.Count(mail.Text, r.Code+"\n"), 1)    // the code at the end of a line
			is.Equal(strings.Count(mail.HTML, ">"+r.Code+"<"), 1) // and in an element of its own
		}
	}
	checkHTML(is, mail.HTML)
}

// isolated matches a line that is a right-to-left name.
var isolated = regexp.MustCompile(`(?m)^(    )\x{2068}([^\x{2068}\x{2069}\n]+)\x{2069}$`)

func containsWWW(s string) bool { return strings.Contains(strings.ToLower(s), "www.") }

// namesOf returns the user names that a mail shows and that somebody could type.
func namesOf(m recovery.Message) (names []string) {
	add := func(name string) {
		if _, err := recovery.CanonicalUsername(name); err == nil {
			names = append(names, strings.TrimSpace(name))
		}
	}
	for _, r := range m.Resets {
		add(r.Username)
	}
	for _, s := range m.SignIns {
		add(s.Username)
	}
	for i, name := range m.Usernames {
		if i == 0 || m.Kind == recovery.MessageUsernames {
			add(name)
		}
	}
	// The longest first, because one may be a part of another.
	slices.SortStableFunc(names, func(a, b string) int { return len(b) - len(a) })
	return names
}

// checkHTML checks that a document has our elements only.
func checkHTML(is *is.I, document string) {
	is.Helper()
	elements := strings.Fields("html head meta title style body div h1 p b a bdi wbr br ul li table tbody tr td")
	attributes := strings.Fields("lang dir charset name content style href role border cellpadding cellspacing bgcolor")
	tokens := html.NewTokenizer(strings.NewReader(document))
	var style bool
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return
		case html.CommentToken:
			is.Fail() // a comment can hide a part of the mail
		case html.TextToken:
			if text := string(tokens.Raw()); style {
				is.Equal(text, ":root { color-scheme: light dark; supported-color-schemes: light dark; } :lang(ja) { word-break: auto-phrase; }") // our style
			}
		case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
			token := tokens.Token()
			style = token.Type == html.StartTagToken && token.Data == "style"
			is.True(slices.Contains(elements, token.Data)) // an element of our templates
			for _, a := range token.Attr {
				is.True(slices.Contains(attributes, a.Key)) // an attribute of our templates
				if a.Key == "href" {
					ours := strings.HasPrefix(a.Val, spy.LinkStart) && strings.HasSuffix(a.Val, spy.TokenText[1:]) && len(a.Val) == len(spy.LinkStart+spy.TokenText)
					is.True(ours || a.Val == supportURL) // our links
				}
				if a.Key == "style" {
					is.True(!strings.Contains(a.Val, "url(")) // nothing is loaded
				}
			}
		}
	}
}
