package mailer

import (
	htmltemplate "html/template"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
	"golang.org/x/text/unicode/bidi"

	"example.com/recovery"
	"example.com/recovery/internal/invisible"
)

// In runes.
const (
	maxShown   = 64  // of the name of the application, a tenant or a service
	maxName    = 254 // of a user name that the core refuses; it accepts at most 254 bytes
	maxSubject = 200
)

// isHidden reports whether r can end a line, reorder it, or be invisible in it.
func isHidden(r rune) bool {
	return invisible.Is(r) || !unicode.IsGraphic(r)
}

// oneLine returns s without hidden characters and at most limit runes long. It drops spaces at the
// ends, and makes one space of a run of white space.
func oneLine(s string, limit int) string {
	return bound(strings.Join(strings.Fields(s), " "), limit)
}

// bound replaces the hidden characters of s and cuts what is beyond limit runes.
func bound(s string, limit int) string {
	if len(s) <= limit && isPlain(s) {
		return s
	}
	shown := make([]rune, 0, limit)
	for _, r := range s { // invalid UTF-8 yields U+FFFD
		if len(shown) == limit {
			shown[limit-1] = '…'
			break
		}
		switch {
		case isHidden(r):
			r = unicode.ReplacementChar
		case unicode.IsSpace(r):
			r = ' '
		}
		shown = append(shown, r)
	}
	return string(shown)
}

// isPlain reports whether s consists of visible ASCII characters and spaces.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// showOwn shows a name that the operator chose. The dots stay: "Booking.com" is a name.
func showOwn(name string) string {
	return strings.ReplaceAll(oneLine(name, maxShown), "://", "[:]//")
}

// plainAddress matches addresses that cannot carry prose, markup or a URL.
var plainAddress = regexp.MustCompile(`^[A-Za-z0-9_%+'-]+(\.[A-Za-z0-9_%+'-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)

// trueName returns a user name unchanged if the core accepts it, else one visible line of it.
func trueName(name string) string {
	name = strings.TrimSpace(name)
	if _, err := recovery.CanonicalUsername(name); err == nil {
		return name
	}
	return bound(name, maxName)
}

// nameText returns a user name as a text part can show it, and whether brackets were added.
func nameText(name string) (shown string, bracketed bool) {
	name = trueName(name)
	if strings.ContainsAny(name, dots+":：") &&
		(!plainAddress.MatchString(name) || strings.Contains(strings.ToLower(name), "www.")) {
		words := strings.Split(name, " ")
		for i, word := range words {
			if looksLinked(word) {
				words[i] = bracket(word)
				bracketed = true
			}
		}
		name = strings.Join(words, " ")
	}
	if strings.ContainsFunc(name, isRightToLeft) {
		name = "\u2068" + name + "\u2069" // FIRST STRONG ISOLATE, POP DIRECTIONAL ISOLATE
	}
	return name, bracketed
}

// isRightToLeft reports whether r could reorder the text around it.
func isRightToLeft(r rune) bool {
	if r < utf8.RuneSelf {
		return false
	}
	p, _ := bidi.LookupRune(r)
	return p.Class() == bidi.R || p.Class() == bidi.AL || p.Class() == bidi.AN
}

// unlink splits a text before every character that could make it a link. A <wbr> is not part of the
// text, not even of a copy.
var unlink = strings.NewReplacer(
	".", "<wbr>.", "。", "<wbr>。", "．", "<wbr>．", "｡", "<wbr>｡", ":", "<wbr>:", "：", "<wbr>：", "@", "<wbr>@",
)

// nameHTML returns a user name as markup whose text is exactly the name.
func nameHTML(name string) htmltemplate.HTML {
	name = trueName(name)
	start := "<bdi>"
	if strings.Contains(name, "  ") {
		start = `<bdi style="white-space:pre-wrap;">`
	}
	return htmltemplate.HTML(start + unlink.Replace(htmltemplate.HTMLEscapeString(name)) + "</bdi>")
}

// dots are the characters that IDNA takes for the dot of a host name (UTS 46 section 2.3).
const dots = ".。．｡"

func bracket(word string) string {
	var b strings.Builder
	for _, r := range word {
		if r == ':' || r == '：' || strings.ContainsRune(dots, r) {
			b.WriteString("[" + string(r) + "]")
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// looksLinked reports whether a mail program may take a word without spaces, or a part of it, for a
// link. Mail programs link URLs, names that begin with "www." and names under a top-level domain
// that exists, so the words of "john.smith" are left alone.
func looksLinked(word string) bool {
	if strings.ContainsAny(word, ":：") {
		return true
	}
	for host := range strings.FieldsFuncSeq(word, func(r rune) bool { return !inHost(r) }) {
		host = strings.TrimRight(host, dots)
		if !strings.ContainsAny(host, dots) {
			continue
		}
		labels := strings.FieldsFunc(host, func(r rune) bool { return strings.ContainsRune(dots, r) })
		last := labels[len(labels)-1]
		if slices.ContainsFunc(labels[:len(labels)-1], endsInWWW) || isIPv4(labels) ||
			isTopLevel(last) || isTopLevel(asciiStart(last)) {
			return true
		}
	}
	return false
}

func inHost(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.N) || r == '-' || strings.ContainsRune(dots, r)
}

func isTopLevel(label string) bool {
	ascii, err := idna.ToASCII(strings.ToLower(label))
	if err != nil || ascii == "" {
		return false
	}
	_, listed := publicsuffix.PublicSuffix("x." + ascii)
	return listed
}

// asciiStart returns what a pattern of ASCII letters takes for the label: "com" of "com中文".
func asciiStart(label string) string {
	if i := strings.IndexFunc(label, func(r rune) bool { return r > unicode.MaxASCII }); i >= 0 {
		return label[:i]
	}
	return label
}

func endsInWWW(label string) bool {
	return strings.HasSuffix(strings.ToLower(strings.TrimRight(label, "0123456789")), "www")
}

func isIPv4(labels []string) bool {
	for _, label := range labels {
		if strings.Trim(label, "0123456789") != "" {
			return false
		}
	}
	return len(labels) == 4
}
