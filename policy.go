package recovery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/recovery/internal/commonpasswords"
)

// maxPasswordBytes bounds a password: longer ones are rejected, never cut.
const maxPasswordBytes = 1024

// minOwnWord is the shortest name or word, in code points, that a password must not contain.
// Shorter ones are in half of all passwords by chance.
const minOwnWord = 4

// A Policy is the rule for new passwords. The zero Policy, and nil, is the rule that the Xandr API
// documents (10 to 64 characters with an upper-case letter, a lower-case letter, a digit and a
// special character), and it also refuses common passwords and the account's own words.
// [NIST80063B] is the alternative.
//
// A password is taken exactly as received: it must be UTF-8 without control characters, and is
// neither normalised nor trimmed, so that the application's log-in sees the same bytes.
type Policy struct {
	MinLength int     // in code points; default 10, at least 8
	MaxLength int     // in code points; default 64, at most 1,024
	MaxBytes  int     // default 1,024, which is the most, or what Options.Hasher takes if that is less
	Require   Classes // default AllClasses

	// AllowCommon admits the roughly 18,000 passwords that everybody tries first, and those that
	// differ from them only in case, in what stands before and after the letters, and in usual
	// substitutions such as @ for a.
	AllowCommon bool

	// AllowOwnWords admits passwords that contain the user name, the address, what stands before
	// its @, Options.Application or one of Words. Words of fewer than 4 characters never count.
	AllowOwnWords bool
	Words         []string

	// Check is the application's own rule, such as a history of passwords, and returns the reasons
	// against the password. It is called only for live tokens and passwords that meet all other
	// rules, and after Options.Approve: nobody without the second factor may learn about earlier
	// passwords. A [*PasswordError] rejects the password too. Any other error is a failure, and the
	// caller gets it.
	Check func(ctx context.Context, account Account, password string) ([]PasswordReason, error)

	// Breached asks a service that knows leaked passwords. It is called for live tokens only, so
	// that nobody can drive the service through this library.
	Breached func(ctx context.Context, password string) (bool, error)
	// BreachTimeout bounds a call of Breached; default 2 seconds. ctx ends then.
	BreachTimeout time.Duration
	// BreachFailClosed refuses the completion with ErrBusy when Breached fails. By default the
	// password passes and the failure is logged.
	BreachFailClosed bool
}

// NIST80063B returns the policy that NIST SP 800-63B-4 section 3.1.1.2 asks for where the password
// is the only factor: at least 15 characters, no rule of composition, a blocklist.
func NIST80063B() *Policy { return &Policy{MinLength: 15, MaxLength: 256, Require: NoClasses} }

// Classes is a set of character classes. A password must have a character of each.
type Classes uint8

// The character classes. Special is punctuation and symbols: ASCII's, and Unicode's categories P
// and S.
const (
	Upper   Classes = 1 << iota // A–Z
	Lower                       // a–z
	Digit                       // 0–9
	Special                     // such as # $ ? % &
	NoClasses

	AllClasses = Upper | Lower | Digit | Special
)

var classReasons = []struct {
	class  Classes
	reason PasswordReason
}{
	{Upper, PasswordReason{"no_upper", "must contain a capital letter (A–Z)"}},
	{Lower, PasswordReason{"no_lower", "must contain a lowercase letter (a–z)"}},
	{Digit, PasswordReason{"no_digit", "must contain a digit (0–9)"}},
	{Special, PasswordReason{"no_special", "must contain a special character (such as # $ ? % &)"}},
}

var (
	reasonNotText  = PasswordReason{"not_text", "must be valid UTF-8 without control characters"}
	reasonCommon   = PasswordReason{"common", "must not be a common password"}
	reasonOwnWord  = PasswordReason{"own_word", "must not contain the user name, the address or the name of the application"}
	reasonBreached = PasswordReason{"breached", "must not be one that is known to have leaked"}
)

// Validate returns nil or a [*PasswordError] with every reason at once. The words are the account's
// own: its user name and address. Validate calls neither Check nor Breached. A nil Policy is the
// default one.
func (p *Policy) Validate(password string, words ...string) error {
	q := p.withDefaults()
	reasons := q.checkText(password)
	if len(password) <= q.MaxBytes {
		reasons = append(reasons, q.checkWords(password, words)...)
	}
	return passwordError(reasons)
}

// A PasswordRule is one rule of a [Policy], for a page that shows them before a password is chosen.
type PasswordRule struct {
	PasswordReason     // what is told of a password that breaks the rule
	Limit          int // of too_short and too_long in code points, of too_many_bytes in bytes; else 0
}

// Rules returns the rules in the order in which a rejection names them. It leaves out not_text,
// which nobody breaks on purpose, too_many_bytes if no password within MaxLength can break it, and
// the rules of Check. A page can check too_short, too_long, too_many_bytes and the classes itself;
// the others need the Service. A nil Policy is the default one.
func (p *Policy) Rules() []PasswordRule {
	q := p.withDefaults()
	rules := []PasswordRule{{q.tooShort(), q.MinLength}, {q.tooLong(), q.MaxLength}}
	if q.MaxBytes < q.MaxLength*utf8.UTFMax {
		rules = append(rules, PasswordRule{q.tooManyBytes(), q.MaxBytes})
	}
	add := func(holds bool, reason PasswordReason) {
		if holds {
			rules = append(rules, PasswordRule{PasswordReason: reason})
		}
	}
	for _, c := range classReasons {
		add(q.Require&c.class != 0, c.reason)
	}
	add(!q.AllowCommon, reasonCommon)
	add(!q.AllowOwnWords, reasonOwnWord)
	add(q.Breached != nil, reasonBreached)
	return rules
}

func (p *Policy) tooShort() PasswordReason {
	return PasswordReason{"too_short", fmt.Sprintf("must have at least %d characters", p.MinLength)}
}

func (p *Policy) tooLong() PasswordReason {
	return PasswordReason{"too_long", fmt.Sprintf("must have at most %d characters", p.MaxLength)}
}

func (p *Policy) tooManyBytes() PasswordReason {
	return PasswordReason{"too_many_bytes", fmt.Sprintf("must be at most %d bytes long", p.MaxBytes)}
}

func passwordError(reasons []PasswordReason) error {
	if len(reasons) == 0 {
		return nil
	}
	return &PasswordError{Reasons: reasons}
}

func (p *Policy) withDefaults() Policy {
	var q Policy
	if p != nil {
		q = *p
	}
	setDefault(&q.MinLength, 10)
	setDefault(&q.MaxLength, max(64, q.MinLength))
	setDefault(&q.MaxBytes, maxPasswordBytes)
	setDefault(&q.Require, AllClasses)
	setDefault(&q.BreachTimeout, 2*time.Second)
	return q
}

// addFaults adds what is wrong with the policy itself, with its defaults filled in.
func (p *Policy) addFaults(f *faults) {
	f.unless(p.MinLength >= 8, "Policy.MinLength must be at least 8, is %d", p.MinLength)
	f.unless(p.MaxLength >= p.MinLength && p.MaxLength <= maxPasswordBytes, "Policy.MaxLength must be from MinLength to %d, is %d", maxPasswordBytes, p.MaxLength)
	f.unless(p.MaxBytes >= p.MinLength && p.MaxBytes <= maxPasswordBytes, "Policy.MaxBytes must be from MinLength to %d, is %d", maxPasswordBytes, p.MaxBytes)
	f.unless(p.Require == NoClasses || p.Require&^AllClasses == 0, "Policy.Require must be NoClasses alone or a set of Upper, Lower, Digit and Special")
	f.unless(p.BreachTimeout >= 0, "Policy.BreachTimeout must not be negative")
}

// checkText applies the rules that need no account.
func (p *Policy) checkText(password string) (reasons []PasswordReason) {
	if len(password) > p.MaxBytes {
		return []PasswordReason{p.tooManyBytes()}
	}
	if !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl) {
		reasons = append(reasons, reasonNotText)
	}
	switch n := utf8.RuneCountInString(password); {
	case n < p.MinLength:
		reasons = append(reasons, p.tooShort())
	case n > p.MaxLength:
		reasons = append(reasons, p.tooLong())
	}
	var has Classes
	for _, r := range password {
		has |= classOf(r)
	}
	for _, c := range classReasons {
		if p.Require&c.class&^has != 0 {
			reasons = append(reasons, c.reason)
		}
	}
	if !p.AllowCommon && isCommon(password) {
		reasons = append(reasons, reasonCommon)
	}
	return reasons
}

// checkWords applies the rule that needs the account.
func (p *Policy) checkWords(password string, words []string) []PasswordReason {
	if p.AllowOwnWords {
		return nil
	}
	password = strings.ToLower(password)
	contains := func(word string) bool {
		word = strings.ToLower(strings.TrimSpace(word))
		return utf8.RuneCountInString(word) >= minOwnWord && strings.Contains(password, word)
	}
	for _, word := range slices.Concat(words, p.Words) {
		local, _, _ := strings.Cut(word, "@")
		if contains(word) || contains(local) {
			return []PasswordReason{reasonOwnWord}
		}
	}
	return nil
}

func classOf(r rune) Classes {
	switch {
	case 'A' <= r && r <= 'Z':
		return Upper
	case 'a' <= r && r <= 'z':
		return Lower
	case '0' <= r && r <= '9':
		return Digit
	case unicode.IsPunct(r) || unicode.IsSymbol(r):
		return Special
	}
	return 0
}

// Two readings of the usual substitutions: 1 and ! stand for i or for l.
var substitutions = []*strings.Replacer{
	strings.NewReplacer("@", "a", "4", "a", "3", "e", "0", "o", "$", "s", "5", "s", "7", "t", "1", "i", "!", "i"),
	strings.NewReplacer("@", "a", "4", "a", "3", "e", "0", "o", "$", "s", "5", "s", "7", "t", "1", "l", "!", "l"),
}

// isCommon looks the password up as it is, without what stands before and after its letters, and
// with the usual substitutions undone. These may begin or end the word: "P@ssw0rd-2026!" is
// "password" and "$unshine1" is "sunshine".
func isCommon(password string) bool {
	lower := lowerASCII(password)
	start := strings.IndexFunc(lower, unicode.IsLetter)
	if start < 0 {
		start = len(lower)
	}
	end := start + len(strings.TrimRightFunc(lower[start:], func(r rune) bool { return !unicode.IsLetter(r) }))
	words := []string{lower}
	for _, from := range []int{start, max(start-1, 0)} {
		for _, to := range []int{end, min(end+1, len(lower))} {
			words = append(words, lower[from:to])
		}
	}
	for _, word := range words {
		if commonpasswords.Contains(word) {
			return true
		}
		for _, s := range substitutions {
			if commonpasswords.Contains(s.Replace(word)) {
				return true
			}
		}
	}
	return false
}
