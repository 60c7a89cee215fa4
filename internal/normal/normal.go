// Package normal has the forms in which the core and memstore keep identifiers.
package normal

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Trim trims Unicode white space (a Japanese keyboard types U+3000), and the isolates that mails
// put around names written from right to left.
func Trim(s string) string {
	const isolate, end = "\u2068", "\u2069"
	s = strings.TrimSpace(s)
	if inner, ok := strings.CutPrefix(s, isolate); ok && strings.HasSuffix(inner, end) {
		s = strings.TrimSpace(strings.TrimSuffix(inner, end))
	}
	return s
}

// NFC puts a text into NFC, except for the three look-alikes that recovery.CanonicalUsername names.
func NFC(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexAny(s, "\u212a\u037e\u1fef")
		if i < 0 {
			return b.String() + norm.NFC.String(s)
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		b.WriteString(norm.NFC.String(s[:i]) + s[i:i+size])
		s = s[i+size:]
	}
}
