package recovery

import (
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Codes are made of the letters that RFC 8628 section 6.1 advises: none is taken for another, and
// they spell no word. There are 20⁸ (2³⁴) codes: too few to be kept as a digest of their own, and
// enough for the few tries that a ticket has.
const (
	codeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	codeLength  = 8
	codeGroup   = 4
	maxCodeText = 64 // bytes of what is typed
)

// maxCodeTTL is the longest that a code is valid. A ticket has MaxTries tries within it.
const maxCodeTTL = 15 * time.Minute

// newCode returns a code of n letters.
func newCode(n int) string {
	const fair = 256 / len(codeLetters) * len(codeLetters) // bytes beyond would favour the first letters
	code := make([]byte, 0, n)
	for buf := make([]byte, 2*n); len(code) < n; {
		_, _ = rand.Read(buf) // never fails: crypto/rand ends the program instead
		for _, b := range buf {
			if int(b) < fair && len(code) < n {
				code = append(code, codeLetters[int(b)%len(codeLetters)])
			}
		}
	}
	return string(code)
}

// groupCode returns a code as people read it: "WDJB-MJHT".
func groupCode(code string) string {
	var groups []string
	for ; len(code) > codeGroup; code = code[codeGroup:] {
		groups = append(groups, code[:codeGroup])
	}
	return strings.Join(append(groups, code), "-")
}

// parseCode reads a code as people type it: in either case, of any width, with whatever stands
// between its letters.
func parseCode(text string, n int) (code string, ok bool) {
	if len(text) > maxCodeText {
		return "", false
	}
	for _, r := range strings.ToUpper(norm.NFKC.String(text)) {
		switch {
		case strings.ContainsRune(codeLetters, r):
			code += string(r)
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			return "", false
		}
	}
	return code, len(code) == n
}

// codeDigest returns what a Store holds of a code. A reader of the Store can find the code of a
// ticket's digest, but can complete nothing without the ticket.
func codeDigest(ticket Digest, code string) Digest {
	return sha256.Sum256([]byte("recovery code\x00" + string(ticket[:]) + code))
}
