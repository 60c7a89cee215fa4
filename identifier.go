package recovery

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxIdentifier bounds user names and addresses, in bytes. It is the longest address that fits the
// path of RFC 5321 section 4.5.3.1.3 (256 octets with its angle brackets).
const maxIdentifier = 254

// maxLocalPart is RFC 5321 section 4.5.3.1.1.
const maxLocalPart = 64

// CanonicalUsername returns the form in which user names are compared: spaces (U+0020) trimmed at
// both ends and A–Z folded to a–z. Nothing else is folded, because folding more would make two
// accounts of one: "ı" is not "i" and the Kelvin sign is not "k".
//
// The error is a [*FieldError] when s is empty, longer than 254 bytes, not UTF-8, or holds a control,
// format or otherwise invisible character.
func CanonicalUsername(s string) (string, error) {
	s, err := cleanIdentifier("username", s)
	if err != nil {
		return "", err
	}
	return lowerASCII(s), nil
}

// CanonicalEmail returns the form in which addresses are compared: as [CanonicalUsername], with the
// domain in A-labels (RFC 5890). Provider habits such as ignored dots or +tags are not folded.
//
// An address is a dot-atom, one "@" and a domain name (RFC 5322 section 3.4.1 without quotes,
// comments and literals; RFC 6531 for characters outside ASCII). The error is a [*FieldError].
func CanonicalEmail(s string) (string, error) {
	s, err := cleanIdentifier("email", s)
	if err != nil {
		return "", err
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok || strings.Contains(domain, "@") {
		return "", &FieldError{"email", "must be one address with exactly one @"}
	}
	if !isDotAtom(local) {
		return "", &FieldError{"email", "must have letters, digits, single dots and !#$%&'*+-/=?^_`{|}~ only before the @"}
	}
	if len(local) > maxLocalPart {
		return "", &FieldError{"email", "must have at most 64 bytes before the @"}
	}
	domain, ok = canonicalDomain(domain)
	if !ok {
		return "", &FieldError{"email", "must have a domain name after the @"}
	}
	s = lowerASCII(local) + "@" + domain
	if len(s) > maxIdentifier { // A-labels are longer than what was typed
		return "", &FieldError{"email", "must be at most 254 bytes long"}
	}
	return s, nil
}

// cleanIdentifier trims spaces and checks what holds for both kinds of identifier.
func cleanIdentifier(field, s string) (string, error) {
	s = strings.Trim(s, " ")
	switch {
	case s == "":
		return "", &FieldError{field, "must not be empty"}
	case len(s) > maxIdentifier:
		return "", &FieldError{field, "must be at most 254 bytes long"}
	case !utf8.ValidString(s):
		return "", &FieldError{field, "must be valid UTF-8"}
	case strings.ContainsFunc(s, isInvisible):
		return "", &FieldError{field, "must not contain control, format or other invisible characters"}
	}
	return s, nil
}

// isInvisible reports whether r could make two names look alike, or break a line: control and
// format characters, line separators, and what Unicode lets a renderer ignore. Collations and mail
// programs ignore the same characters.
func isInvisible(r rune) bool {
	if r < utf8.RuneSelf {
		return r < 0x20 || r == 0x7f
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp,
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Noncharacter_Code_Point)
}

// lowerASCII leaves every other byte as it is, also those of invalid UTF-8.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

// isDotAtom reports whether s is a dot-atom of RFC 5322 that nobody can take for an encoded word of
// RFC 2047, which some mail systems decode in addresses.
func isDotAtom(s string) bool {
	if _, word, _ := strings.Cut(s, "=?"); strings.Contains(word, "?=") {
		return false
	}
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for _, r := range atom {
			if !isAtomText(r) {
				return false
			}
		}
	}
	return true
}

func isAtomText(r rune) bool {
	if r >= utf8.RuneSelf {
		return !unicode.IsSpace(r)
	}
	return isLetterDigit(byte(r)) || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}

func isLetterDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// Lengths are left to isLDH.
var idnaProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false))

// canonicalDomain returns the lower-case A-label form of a domain name.
func canonicalDomain(s string) (string, bool) {
	if isLDH(s) {
		s = lowerASCII(s)
		if !strings.Contains(s, "xn--") {
			return s, true
		}
	}
	ascii, err := idnaProfile.ToASCII(s)
	if err != nil || !isLDH(ascii) {
		return "", false
	}
	// The Bidi rule is applied more strictly to A-labels; what is canonical must stay as it is.
	if again, err := idnaProfile.ToASCII(ascii); err != nil || again != ascii {
		return "", false
	}
	// IDNA maps full-width letters and the like onto plain ASCII. A label that is not ASCII but
	// becomes so is a look-alike, not an internationalised name.
	from, to := strings.Split(s, "."), strings.Split(ascii, ".")
	if len(from) != len(to) {
		return "", false
	}
	for i := range from {
		if !isASCII(from[i]) && !strings.HasPrefix(to[i], "xn--") {
			return "", false
		}
	}
	return ascii, true
}

// isLDH reports whether s is a domain name of letters, digits and hyphens (RFC 1123 section 2.1)
// and no IPv4 address.
func isLDH(s string) bool {
	if len(s) > 253 {
		return false
	}
	var numeric bool
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		numeric = true
		for i := 0; i < len(label); i++ {
			if !isLetterDigit(label[i]) && label[i] != '-' {
				return false
			}
			numeric = numeric && '0' <= label[i] && label[i] <= '9'
		}
	}
	return !numeric // the last label
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
