package mailer

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"
)

func TestNamesThatStayAsTheyAre(t *testing.T) {
	for _, name := range []string{
		"billybob", "john.smith", "john.de.smith", "Ünal Öz", "O'Brien", "O’Brien", "山田太郎", "иван.петров", "v1.2",
		"a@example.com", "first.last+tag@mail.example.co.uk", "DOMAIN\\user", "a/b", "#1", "[x]", "1.5", "Mr. Smith",
		strings.Repeat("a", 64), strings.Repeat("a", 64) + "@" + strings.Repeat("example.", 22) + "com",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			shown, bracketed := showName(name)
			is.Equal(shown, name) // nothing in it is a danger
			is.True(!bracketed)   // and nothing is to be explained
		})
	}
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
			shown, bracketed := showName(name)
			is.Equal(shown, want) // not a link any more
			is.True(bracketed)    // and to be explained
		})
	}
}

func TestANameCannotEndItsQuotation(t *testing.T) {
	is := is.New(t)
	shown, bracketed := showName("a\" “b” „c‟ «d» 「e」『f』＂g＂｢h｣〝i〞〟")
	is.Equal(shown, "a' 'b' 'c' 'd' 'e''f''g''h''i''") // apostrophes
	is.True(!bracketed)                                // which need no words
}

func TestNamesAreCut(t *testing.T) {
	is := is.New(t)
	shown, _ := showName(strings.Repeat("山", 65))
	is.Equal(shown, strings.Repeat("山", 63)+"…") // 64 runes, the last an ellipsis
	shown, _ = showName(strings.Repeat("a.com ", 2000))
	is.True(utf8.RuneCountInString(shown) <= 3*maxShown) // brackets included
	long := strings.Repeat("a", 250) + "@b.com"
	shown, _ = showName(long)
	is.True(len(shown) < len(long)) // no address is as long as that
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
