package mailer

import (
	htmltemplate "html/template"
	"strings"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/net/html"
)

// A name that somebody could type is shown unchanged.
var trueNames = []string{
	"billybob", "john.smith", "john.de.smith", "Ünal Öz", "O'Brien", "O’Brien", "山田太郎", "иван.петров", "v1.2",
	"a@example.com", "first.last+tag@mail.example.co.uk", "DOMAIN\\user", "a/b", "#1", "[x]", "1.5", "Mr. Smith",
	"a  b", "a\u00a0b", "山田\u3000太郎", "<b>&amp;</b>", "-->", "{{.}}",
	`5" disk`, "“b” „c‟ «d» 「e」『f』＂g＂｢h｣〝i〞〟",
	"e\u0301", "Zo\u0308e", "क्\u200dष", "葛\U000e0100", "❤\ufe0f", "👩\u200d💻",
	strings.Repeat("a", 254), strings.Repeat("山", 84), strings.Repeat("a", 64) + "@" + strings.Repeat("example.", 22) + "com",
}

func TestNamesStayAsTheyAre(t *testing.T) {
	for _, name := range trueNames {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			shown, bracketed := nameText(name)
			is.Equal(shown, name)                        // in the text part
			is.True(!bracketed)                          // and nothing is to be explained
			is.Equal(textOf(is, nameHTML(name)), name)   // in the HTML part
			is.Equal(nameHTML(" "+name), nameHTML(name)) // white space at the ends is no part of a name
		})
	}
}

func TestRightToLeftNamesAreIsolated(t *testing.T) {
	for _, name := range []string{"دانا", "می\u200cخواهم", "שלום", "abc שלום", "user١٢٣", "ދިވެހި", "𐤀𐤁"} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			shown, _ := nameText(name)
			is.Equal(shown, "\u2068"+name+"\u2069")                 // they reorder nothing around them
			is.Equal(string(nameHTML(name)), "<bdi>"+name+"</bdi>") // in markup, by an element
		})
	}
}

// textOf returns the text of markup that may have bdi and wbr only.
func textOf(is *is.I, markup htmltemplate.HTML) string {
	is.Helper()
	var b strings.Builder
	tokens := html.NewTokenizer(strings.NewReader(string(markup)))
	for tokens.Next() != html.ErrorToken {
		token := tokens.Token()
		if token.Type == html.TextToken {
			b.WriteString(token.Data)
		} else {
			is.True(token.Data == "bdi" || token.Data == "wbr") // our elements only
		}
	}
	return b.String()
}

func TestNamesThatLookLikeLinks(t *testing.T) {
	for name, want := range map[string]string{
		"https://evil.com/x":       "https[:]//evil[.]com/x",
		"hxxp://localhost":         "hxxp[:]//localhost",
		"mailto:a@evil.com":        "mailto[:]a@evil[.]com",
		"tel:112":                  "tel[:]112",
		"evil.com":                 "evil[.]com",
		"EVIL.COM.":                "EVIL[.]COM[.]",
		"anna.me":                  "anna[.]me",
		"evil.co.uk/path?x=1.2":    "evil[.]co[.]uk/path?x=1[.]2",
		"see evil.com, john.smith": "see evil[.]com, john.smith",
		"(evil.com)":               "(evil[.]com)",
		"evil.com_x":               "evil[.]com_x",
		"evil.com中文":               "evil[.]com中文",
		"💩.la":                     "💩[.]la",
		"пример.рф":                "пример[.]рф",
		"evil。com":                 "evil[。]com",
		"www.intranet":             "www[.]intranet",
		"Www2.intranet":            "Www2[.]intranet",
		"中文www.intranet.zz":        "中文www[.]intranet[.]zz",
		"192.0.2.1":                "192[.]0[.]2[.]1",
		"a@evil.com b":             "a@evil[.]com b",
		"www.evil.com@example.com": "www[.]evil[.]com@example[.]com",
		"a@b@evil.com":             "a@b@evil[.]com",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			shown, bracketed := nameText(name)
			is.Equal(shown, want)                      // not a link any more
			is.True(bracketed)                         // and to be explained
			is.Equal(textOf(is, nameHTML(name)), name) // markup changes nothing

			tokens := html.NewTokenizer(strings.NewReader(string(nameHTML(name))))
			for tokens.Next() != html.ErrorToken {
				text := tokens.Token().Data
				is.True(!looksLinked(strings.TrimLeft(text, ".。．｡:："))) // but no text in it is a link
			}
		})
	}
}

func TestNamesThatNobodyCanTypeAreNeutralised(t *testing.T) {
	for name, want := range map[string]string{
		"a\r\nb":                    "a\ufffd\ufffdb",
		"a\u202eb\u2069":            "a\ufffdb\ufffd",
		"a\u200bb":                  "a\ufffdb",
		"a\u200db":                  "a\ufffdb", // no script has a joiner there
		"a\xffb":                    "a\ufffdb",
		"a\x00 \u2028\tb":           "a\ufffd \ufffd\ufffdb",
		strings.Repeat("a", 255):    strings.Repeat("a", 253) + "…",
		strings.Repeat("山", 255):    strings.Repeat("山", 253) + "…",
		strings.Repeat("<", 10_000): strings.Repeat("<", 253) + "…",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			shown, _ := nameText(name)
			is.Equal(shown, want)                      // one line, bounded
			is.Equal(textOf(is, nameHTML(name)), want) // in markup too
		})
	}
}

func TestOneLine(t *testing.T) {
	for s, want := range map[string]string{
		"  a \t b\n": "a b",
		"a\u3000b":   "a b",
		"a\u00a0b":   "a b",
		"a\x00b":     "a\ufffdb",
		"a\u202eb":   "a\ufffdb",
		"a\xffb":     "a\ufffdb",
		"":           "",
	} {
		t.Run(s, func(t *testing.T) {
			is := is.New(t)
			is.Equal(oneLine(s, 64), want) // one line
		})
	}
}

func TestLayOut(t *testing.T) {
	word := strings.Repeat("x", 100)
	for _, test := range []struct{ name, text, want string }{
		{"nothing", "", "\n"},
		{"empty lines", "\n\n\na \n \n\n\nb\n\n", "a\n\nb\n"},
		{"long prose", strings.Repeat("word ", 20), strings.Repeat("word ", 14) + "word\n" + strings.Repeat("word ", 4) + "word\n"},
		{"a word wider than a line", "a " + word + " b", "a\n" + word + "\nb\n"},
		{"an indented line", "    " + word + " b", "    " + word + " b\n"},
		{"wide characters", strings.Repeat("山", 38) + " 山", strings.Repeat("山", 38) + "\n山\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(layOut(test.text), test.want) // laid out
		})
	}
}
