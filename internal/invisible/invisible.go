// Package invisible knows the characters that nobody sees.
package invisible

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Is reports whether r could make two names look alike, or break a line: control and format
// characters, line separators, and what Unicode lets a renderer ignore. Collations and mail
// programs ignore the same characters.
func Is(r rune) bool {
	if r < utf8.RuneSelf {
		return r < 0x20 || r == 0x7f
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp,
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Noncharacter_Code_Point)
}

// In reports whether s has such a character or is not UTF-8. What is left is one line of text.
func In(s string) bool { return !utf8.ValidString(s) || strings.ContainsFunc(s, Is) }
