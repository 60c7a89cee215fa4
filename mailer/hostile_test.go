package mailer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/matryer/is"
	"golang.org/x/net/html"

	"example.com/recovery"
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
}

func TestAttack_S62_HostileNamesAreNeutralised(t *testing.T) {
	r := newRenderer(t, &mailer.Options{SupportURL: supportURL})
	for name, value := range hostile {
		t.Run(name, func(t *testing.T) {
			for _, locale := range []string{"en", "ja"} {
				for _, kind := range kinds {
					m := message(t, kind)
					m.Locale, m.Usernames = locale, []string{value}
					checkMail(t, m, render(t, r, m))
					m.Application = value
					checkMail(t, m, render(t, r, m))
				}
			}
		})
	}
}

// What goes into a header is one line, or refused.
func TestAttack_S61_HeaderPartsAreOneLine(t *testing.T) {
	r := newRenderer(t, nil)
	for _, end := range []string{"\r\n", "\n", "\r", "\x00", "\u0085", "\u2028", "\u2029", "\v", "\f", "\x1b"} {
		injected := "x" + end + "Bcc: all@example.com"
		for _, kind := range kinds {
			t.Run(fmt.Sprintf("%q/%s", end, kind), func(t *testing.T) {
				is := is.New(t)
				m := message(t, kind)
				m.Application, m.Locale, m.Usernames = injected, "ja"+end+"X", []string{injected}
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
		"http://localhost:8080/reset#" + tokenText,
		"https://app.example.com/reset?portal=a&lang=ja&x=%2B#" + tokenText,
		"https://[2001:db8::1]/reset;v=1#token=" + tokenText,
	} {
		t.Run(link, func(t *testing.T) {
			is := is.New(t)
			m := message(t, recovery.MessageResetLink)
			m.Link = link
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
		m := message(t, kinds[int(kind)%len(kinds)])
		m.Usernames, m.Application, m.Locale = []string{"billybob", username}, application, locale
		if m.Kind != recovery.MessageUsernames {
			m.Usernames = m.Usernames[1:] // which is all that these show
		}
		checkMail(t, m, render(t, r, m))
	})
}

// checkMail checks what holds for every mail, whatever its names are.
func checkMail(t *testing.T, m recovery.Message, mail mailer.Mail) {
	is := is.New(t)
	is.Helper()
	for _, part := range []string{mail.Subject, mail.Text, mail.HTML} {
		is.True(utf8.ValidString(part)) // UTF-8
		for _, r := range strings.ReplaceAll(part, "\n", "") {
			is.True(unicode.IsGraphic(r))                                       // no control, format, bidi character or separator
			is.True(!unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)) // no other invisible one
		}
	}

	is.True(mail.Subject != "")                               // there is a subject
	is.True(!strings.Contains(mail.Subject, "\n"))            // of one line
	is.True(utf8.RuneCountInString(mail.Subject) <= 100)      // and bounded
	is.True(!strings.Contains(mail.Subject, tokenText))       // without the token
	is.True(len(mail.Text) < 4<<10 && len(mail.HTML) < 8<<10) // the parts are bounded
	is.Equal(mail.To, m.To)                                   // the recipient is the message's

	text := strings.NewReplacer(linkText, "", supportURL, "").Replace(mail.Text)
	is.True(!strings.Contains(text, "://")) // no link but ours
	if !strings.Contains(strings.ToLower(m.Application), "www.") {
		is.True(!strings.Contains(strings.ToLower(text), "www.")) // no link but ours
	}
	if m.Kind == recovery.MessageResetToken {
		is.True(strings.Contains(mail.Text, "\n    "+tokenText+"\n")) // the token on a line of its own
		is.True(strings.Contains(mail.HTML, ">"+tokenText+"<"))       // and in an element of its own
	}
	if m.Kind == recovery.MessageResetLink {
		is.True(strings.Contains(mail.Text, "\n    "+linkText+"\n"))   // the link on a line of its own
		is.True(strings.Contains(mail.HTML, `<a href="`+linkText+`"`)) // as a button
		is.True(strings.Contains(mail.HTML, ">"+linkText+"<"))         // and as text
	}
	checkHTML(is, mail.HTML)
}

// checkHTML checks that a document has our elements only.
func checkHTML(is *is.I, document string) {
	is.Helper()
	elements := strings.Fields("html head meta title style body div h1 p b a bdi br ul li table tbody tr td")
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
					is.True(a.Val == linkText || a.Val == supportURL) // our links
				}
				if a.Key == "style" {
					is.True(!strings.Contains(a.Val, "url(")) // nothing is loaded
				}
			}
		}
	}
}
