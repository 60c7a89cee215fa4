package recovery

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"example.com/recovery/internal/invisible"
	"example.com/recovery/internal/normal"
)

// maxIdentifier bounds user names and addresses, in bytes. It is the longest address that fits the
// path of RFC 5321 section 4.5.3.1.3 (256 octets with its angle brackets).
const maxIdentifier = 254

const maxLocalPart = 64 // bytes, RFC 5321 section 4.5.3.1.1

// CanonicalUsername returns the form in which user names are compared: white space of any script
// trimmed at both ends, NFC (Unicode Annex 15), and A–Z folded to a–z. Nothing else is folded,
// because that would merge the names of different people: "ı" is not "i". Three look-alikes, which
// NFC would turn into ASCII, stay as they are: U+212A (like K), U+037E (like ;) and U+1FEF (like
// `).
//
// An invisible character is refused unless the script needs it. Scripts need
//   - U+200C and U+200D behind a virama, that is a mark of combining class 9 (RFC 5892 appendix A),
//     and U+200D between a letter and a virama (The Unicode Standard chapter 12: Bengali, Kannada);
//   - U+200C between two letters of a script that joins its letters, like Arabic, where marks may
//     follow the first (RFC 5892 appendix A.1, but for all letters: people type it after each);
//   - U+200D between two symbols (Unicode Technical Standard 51: emoji);
//   - one variation selector behind a symbol, a Han character or a Mongolian letter.
//
// They are never folded away: a name with such a character and the name without are two names.
//
// The error is a [*FieldError] when s is empty, not UTF-8, longer than 254 bytes as typed or in
// NFC, has more than 30 combining marks in a row, or any other control, format or otherwise
// invisible character.
func CanonicalUsername(s string) (string, error) {
	s, err := cleanIdentifier("username", s)
	if err != nil {
		return "", err
	}
	return fold(s), nil
}

// CanonicalEmail returns the form in which addresses are compared: as [CanonicalUsername], with the
// domain in A-labels (RFC 5890) and without quotes that mean nothing. It does not follow rules of
// single providers, such as ignored dots or +tags.
//
// An address is a local part, one "@" and a domain name (RFC 5322 section 3.4.1 without comments
// and literals; RFC 6531 for characters outside ASCII). The local part has letters, digits, dots
// and !#$%&'*+-/=?^_`{|}~ only, and no dot first. Dots in a row and a dot before the "@" are
// against the grammar, but providers issued such addresses. The same characters may stand in
// quotes, which then mean nothing (RFC 5321 section 4.1.2): "da..me."@example.com is
// da..me.@example.com. Inside quotes a dot may come first too, and only then are the quotes kept.
// The error is a [*FieldError].
func CanonicalEmail(s string) (string, error) {
	s = normal.Trim(s)
	if _, err := cleanIdentifier("email", s); err != nil {
		return "", err
	}
	// From here on s is as typed: NFC would hide a ">" in U+226F.
	local, domain, ok := strings.Cut(s, "@")
	if !ok || strings.Contains(domain, "@") {
		return "", &FieldError{"email", "must be one address with exactly one @"}
	}
	if !isLocalPart(local) {
		return "", &FieldError{"email", "must have letters, digits, dots and !#$%&'*+-/=?^_`{|}~ only before the @, and no dot first"}
	}
	local = unquote(local)
	folded := fold(normal.NFC(local))
	if max(len(local), len(folded)) > maxLocalPart {
		return "", &FieldError{"email", "must have at most 64 bytes before the @"}
	}
	if folded[0] == '.' {
		folded = `"` + folded + `"`
	}
	domain, ok = canonicalDomain(domain)
	if !ok {
		return "", &FieldError{"email", "must have a domain name after the @"}
	}
	s = folded + "@" + domain
	if len(s) > maxIdentifier { // A-labels are longer than what was typed
		return "", &FieldError{"email", "must be at most 254 bytes long"}
	}
	return s, nil
}

// canonical is CanonicalUsername or CanonicalEmail, with the application's own folding of user
// names, if it has one.
func (s *Service) canonical(by IdentifierKind, text string) (string, error) {
	own := s.opts.CanonicalUsername
	switch {
	case by == ByEmail:
		return CanonicalEmail(text)
	case own == nil:
		return CanonicalUsername(text)
	}
	name, err := cleanIdentifier("username", text)
	if err != nil {
		return "", err
	}
	name = own(name)
	if name == "" || len(name) > maxIdentifier || !utf8.ValidString(name) || hasInvisible(name) {
		return "", &FieldError{"username", "must be one that the application accepts"}
	}
	return name, nil
}

// cleanIdentifier returns the identifier trimmed and in NFC, and checks what holds for both kinds.
func cleanIdentifier(field, s string) (string, error) {
	s = normal.Trim(s)
	switch {
	case s == "":
		return "", &FieldError{field, "must not be empty"}
	case len(s) > maxIdentifier:
		return "", &FieldError{field, "must be at most 254 bytes long"}
	case !utf8.ValidString(s):
		return "", &FieldError{field, "must be valid UTF-8"}
	}
	composed := normal.NFC(s)
	switch {
	case len(composed) > maxIdentifier:
		return "", &FieldError{field, "must be at most 254 bytes long"}
	case strings.Contains(composed, graphemeJoiner) && !strings.Contains(s, graphemeJoiner):
		return "", &FieldError{field, "must not have more than 30 combining marks in a row"}
	case hasInvisible(composed):
		return "", &FieldError{field, "must not contain control, format or other invisible characters"}
	}
	return composed, nil
}

// graphemeJoiner is what package norm adds behind 30 combining marks (Unicode Annex 15 section 13).
const graphemeJoiner = "\u034f"

// fold folds the case of a text in NFC and composes again: U+0331 composes with h, but not with H.
func fold(s string) string { return normal.NFC(lowerASCII(s)) }

// hasInvisible reports whether s has an invisible character where no script needs it.
func hasInvisible(s string) bool {
	for i, r := range s {
		if invisible.Is(r) && !isNeeded(r, s[:i], s[i+utf8.RuneLen(r):]) {
			return true
		}
	}
	return false
}

// isNeeded reports whether the script needs r there, by the rules of CanonicalUsername.
func isNeeded(r rune, before, after string) bool {
	const nonJoiner, joiner, emojiStyle, enclosingKeycap = '\u200c', '\u200d', '\ufe0f', '\u20e3'
	last, next := lastRune(before), firstRune(after)
	switch {
	case r == nonJoiner:
		return isVirama(last) || isJoined(lastRune(strings.TrimRightFunc(before, isMark))) && isJoined(next)
	case r == joiner:
		return isVirama(last) || unicode.IsLetter(last) && isVirama(next) ||
			isSymbol(lastRune(strings.TrimRightFunc(before, isEmojiModifier))) && isSymbol(next)
	case !isVariationSelector(r):
		return false
	case unicode.Is(unicode.Mongolian, r):
		return unicode.Is(unicode.Mongolian, last) && unicode.IsLetter(last)
	case unicode.Is(unicode.Han, last):
		return true
	case r == emojiStyle && next == enclosingKeycap:
		return strings.ContainsRune("#*0123456789", last)
	}
	return r <= emojiStyle && (isSymbol(last) || strings.ContainsRune("‼⁉ℹ〰〽", last))
}

// lastRune returns 0 if there is none.
func lastRune(s string) rune {
	r, _ := utf8.DecodeLastRuneInString("\x00" + s)
	return r
}

// firstRune returns 0 if there is none.
func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s + "\x00")
	return r
}

func isVariationSelector(r rune) bool { return unicode.Is(unicode.Variation_Selector, r) }

func isMark(r rune) bool { return unicode.Is(unicode.Mn, r) }

func isVirama(r rune) bool { return norm.NFC.PropertiesString(string(r)).CCC() == 9 }

// isSymbol reports whether r may be an emoji. "↔" is one, so mathematical symbols count.
func isSymbol(r rune) bool { return r >= utf8.RuneSelf && unicode.In(r, unicode.So, unicode.Sm) }

// isEmojiModifier reports whether r changes the style or the skin of the emoji before it.
func isEmojiModifier(r rune) bool {
	return isVariationSelector(r) || 0x1f3fb <= r && r <= 0x1f3ff
}

// isJoined reports whether r is a letter of a script that joins its letters (ArabicShaping.txt).
func isJoined(r rune) bool {
	return unicode.IsLetter(r) && unicode.In(r, unicode.Adlam, unicode.Arabic, unicode.Chorasmian,
		unicode.Hanifi_Rohingya, unicode.Mandaic, unicode.Manichaean, unicode.Mongolian, unicode.Nko,
		unicode.Old_Uyghur, unicode.Phags_Pa, unicode.Psalter_Pahlavi, unicode.Sogdian, unicode.Syriac)
}

// lowerASCII folds A–Z to a–z and leaves every other byte as it is, even in invalid UTF-8.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}

// isLocalPart reports whether CanonicalEmail takes s before the "@". It refuses what a mail system
// could read as more than a name, even encoded words of RFC 2047, which some decode.
func isLocalPart(s string) bool {
	text := unquote(s)
	if _, word, _ := strings.Cut(text, "=?"); strings.Contains(word, "?=") {
		return false
	}
	return text != "" && s[0] != '.' &&
		!strings.ContainsFunc(text, func(r rune) bool { return r != '.' && !isAtomText(r) })
}

// unquote takes quotes off a local part.
func unquote(s string) string {
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
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
	if strings.ContainsFunc(s, isVariationSelector) { // which IDNA would drop
		return "", false
	}
	ascii, err := idnaProfile.ToASCII(s)
	if err != nil || !isLDH(ascii) {
		return "", false
	}
	// A canonical form must be its own canonical form, but the Bidi rule is stricter for A-labels.
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
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}
