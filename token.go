package recovery

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"regexp"
	"strings"
	"unicode"
)

const (
	tokenBytes = 32
	tokenChars = 52 // ceil(32 × 8 / 5)
)

// Lower-case base32 (RFC 4648 section 6) has no character at which a double click stops, none that
// URLs escape, and no pair like 0 and O.
var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// A Token is the secret that a reset mail carries: 32 bytes from crypto/rand. It prints, logs and
// marshals as "[redacted]"; [Token.Reveal] is the only way to its text. The zero Token is no token.
type Token struct {
	redacted
	box *tokenBox
}

// A tokenBox keeps the bytes two pointers away from a Token: fmt ignores the methods of a Token in
// an unexported field, and follows one pointer.
type tokenBox struct{ raw *[tokenBytes]byte }

func newToken() Token {
	raw := new([tokenBytes]byte)
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
	return Token{box: &tokenBox{raw}}
}

// ParseToken reads what [Token.Reveal] wrote. ASCII white space around it is dropped, because mail
// programs and terminals add it; everything else must be exact: 52 characters from a–z and 2–7, in
// the one form that encodes 32 bytes. All other text is [ErrInvalidToken].
func ParseToken(text string) (Token, error) {
	text = strings.Trim(text, " \t\r\n")
	if len(text) != tokenChars {
		return Token{}, ErrInvalidToken
	}
	var buf [tokenBytes]byte
	// The standard decoder skips CR and LF and ignores trailing bits, hence the comparison.
	if _, err := tokenEncoding.Decode(buf[:], []byte(text)); err != nil || tokenEncoding.EncodeToString(buf[:]) != text {
		return Token{}, ErrInvalidToken
	}
	return Token{box: &tokenBox{&buf}}, nil
}

// tokenInLink finds the token in a link, and in what filters of mail make of one: Outlook and
// Google encode the link once or twice into another, Proofpoint writes "-23" or "*" for "#".
var tokenInLink = regexp.MustCompile(`(?:#|%23|%2523|-23|\*)token(?:=|%3[Dd]|%253[Dd]|-3D)([a-z2-7]+)`)

// pasted returns the token in what people paste: the token or the whole link. White space of every
// script, U+200B and U+FEFF do not count, wherever they stand, nor does one pair of angle brackets
// around all. Of several links the last one counts.
func pasted(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' {
			return -1
		}
		return r
	}, text)
	if inner, ok := strings.CutPrefix(text, "<"); ok && strings.HasSuffix(inner, ">") {
		text = strings.TrimSuffix(inner, ">")
	}
	if found := tokenInLink.FindAllStringSubmatch(text, -1); found != nil {
		return found[len(found)-1][1]
	}
	return text
}

// Reveal returns the text of the token, for the mail that carries it, or "" for the zero Token.
func (t Token) Reveal() string {
	if t.box == nil {
		return ""
	}
	return tokenEncoding.EncodeToString(t.box.raw[:])
}

// IsZero reports whether t is the zero Token.
func (t Token) IsZero() bool { return t.box == nil }

// Digest returns the SHA-256 of the token's 32 bytes: all that a [Store] ever holds of it.
func (t Token) Digest() Digest {
	if t.box == nil {
		return Digest{}
	}
	return sha256.Sum256(t.box.raw[:])
}

// A Digest is a SHA-256 sum. It is stored in the place of a token, and as the key of a limit.
type Digest [sha256.Size]byte

// String returns the digest in lower-case hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }
