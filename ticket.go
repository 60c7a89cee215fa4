package recovery

import (
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// A Receipt is what a caller gets for a request, whoever was named. It prints as "[redacted]".
type Receipt struct {
	redacted

	// ID is that of the request: events of the hooks and Message.ID carry it. It is no secret.
	ID string

	// Ticket is the other half of every code that the mail carries. Keep it where only the person
	// who asked can reach it: in a cookie, a form or the memory of an app. A person who asks again
	// within a minute is not mailed again: give the Ticket as ResetRequest.Ticket, so that the code
	// on its way still works. After a [*LimitError] of ScopeTicket leave it out.
	Ticket Ticket
}

// A Ticket is the secret of whoever asked: 32 bytes from crypto/rand. A code completes a reset only
// together with the ticket of its own request. It prints, logs and marshals as "[redacted]";
// [Ticket.Reveal] is the only way to its text.
type Ticket struct {
	redacted
	secret Token // the same form, another purpose
}

// ticketOf returns the ticket with the given text, or a new one if the text is none.
func ticketOf(text string) Ticket {
	secret, err := ParseToken(text)
	if err != nil {
		secret = newToken()
	}
	return Ticket{secret: secret}
}

// Reveal returns the text of the ticket for [CompleteRequest], or "" for the zero Ticket.
func (t Ticket) Reveal() string { return t.secret.Reveal() }

// IsZero reports whether t is the zero Ticket.
func (t Ticket) IsZero() bool { return t.secret.IsZero() }

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
