package recovery

import (
	"slices"
	"strings"

	"example.com/recovery/internal/redact"
)

// redacted makes a type that embeds it print, log and marshal as "[redacted]". As an alias it gives
// the embedded field a name that does not clutter the type's documentation.
type redacted = redact.Value

// An outsideError wraps the error of a Store, a Mailer or a hook. Its text is the wrapped one with
// what must not be logged taken out; errors.Is and errors.As see the original.
type outsideError struct {
	text string
	err  error
}

func (e *outsideError) Error() string { return e.text }
func (e *outsideError) Unwrap() error { return e.err }

// outside wraps err, which foreign code made while it did op, and takes the secrets out of its text.
func outside(op string, err error, secrets ...string) error {
	return &outsideError{text: "recovery: " + op + ": " + scrub(err.Error(), secrets...), err: err}
}

func scrub(text string, secrets ...string) string {
	// A user name may be part of an address: the longest first.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, redact.Text)
		}
	}
	return text
}
