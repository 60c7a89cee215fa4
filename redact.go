package recovery

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"example.com/recovery/internal/normal"
	"example.com/recovery/internal/redact"
)

// redacted makes a type that embeds it print, log and marshal as "[redacted]". As an alias it gives
// the embedded field a name that does not clutter the type's documentation.
type redacted = redact.Value

// An outsideError carries the error of a Store, a Mailer or the application. Its text is the
// original without the secrets. errors.Is and errors.As find the original, but no answer of this
// library in it: a Store that returns ErrInvalidPassword has not rejected the password.
type outsideError struct {
	text string
	err  error
}

func (e *outsideError) Error() string { return e.text }

// Format prints the text for every verb: %#v would go on to the original.
func (e *outsideError) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.text) }

// Is implements what errors.Is looks for.
func (e *outsideError) Is(target error) bool {
	switch target {
	case ErrInvalidToken, ErrInvalidRequest, ErrInvalidPassword, ErrLimited, ErrDenied, ErrChallenged, ErrBusy:
		return false
	}
	return errors.Is(e.err, target)
}

// As implements what errors.As looks for.
func (e *outsideError) As(target any) bool {
	switch target.(type) {
	case **FieldError, **PasswordError, **LimitError, **TokenError, **ChallengeError:
		return false
	}
	return errors.As(e.err, target)
}

// wrapOutside wraps an error of foreign code that was doing op, and takes the secrets out of its
// text.
func wrapOutside(op string, err error, secrets ...string) error {
	text := fmt.Sprint(err) // not err.Error, which panics for a nil pointer
	return &outsideError{text: "recovery: " + op + ": " + scrub(text, secrets...), err: err}
}

// shortSecret is the length below which a secret is taken out only where it stands alone: a user
// name "e" is no secret inside words.
const shortSecret = 4

// scrub takes secrets out of a text, in any case, as mail systems change it. It passes over the
// text once, so that it never changes its own output.
func scrub(text string, secrets ...string) string {
	var forms []string
	for _, s := range secrets {
		quoted := strconv.Quote(s)
		for _, form := range []string{s, quoted[1 : len(quoted)-1], url.QueryEscape(s), url.PathEscape(s)} {
			if form = lowerASCII(form); form != "" && !slices.Contains(forms, form) {
				forms = append(forms, form)
			}
		}
	}
	// A user name may be part of an address: the longest first.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	lower := lowerASCII(text)
	var b strings.Builder
	copied := 0
	for i := 0; i < len(text); {
		found := slices.IndexFunc(forms, func(form string) bool { return holdsAt(lower, i, form) })
		if found < 0 {
			i++
			continue
		}
		b.WriteString(text[copied:i] + redact.Text)
		i += len(forms[found])
		copied = i
	}
	return b.String() + text[copied:]
}

// holdsAt reports whether the secret stands in the text at i.
func holdsAt(text string, i int, secret string) bool {
	if !strings.HasPrefix(text[i:], secret) {
		return false
	}
	if len(secret) >= shortSecret {
		return true
	}
	end := i + len(secret)
	return (i == 0 || !isLetterDigit(text[i-1])) && (end == len(text) || !isLetterDigit(text[end]))
}

// addresses returns the forms in which mail systems may repeat an address in errors.
func addresses(email string) []string {
	forms := []string{email}
	canonical, err := CanonicalEmail(email)
	if err != nil {
		return forms
	}
	_, domain, _ := strings.Cut(canonical, "@")
	for _, form := range []string{normal.Trim(email), canonical} {
		local, _, _ := strings.Cut(form, "@")
		local = unquote(local)
		forms = append(forms, local+"@"+domain, `"`+local+`"@`+domain)
	}
	return forms
}
