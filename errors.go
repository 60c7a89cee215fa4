package recovery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The errors that callers branch on. All are matched with [errors.Is]; the typed ones carry data
// and are reached with [errors.As].
var (
	// ErrInvalidToken refuses a completion whose token or code is unknown, expired, used,
	// superseded, voided, tried too often, another user's, or belongs to an account that may not be
	// recovered any more. It is one error on purpose: to tell these apart would tell a stranger
	// what exists and what was done. [Hooks.TokenRefused] gets the reason.
	ErrInvalidToken = errors.New("recovery: the token is not valid")

	// ErrInvalidRequest is matched by every [*FieldError]: the call is malformed and nothing was
	// stored or mailed.
	ErrInvalidRequest = errors.New("recovery: the request is not valid")

	// ErrInvalidPassword is matched by every [*PasswordError]: the new password breaks the policy.
	// The token stays valid.
	ErrInvalidPassword = errors.New("recovery: the password does not meet the requirements")

	// ErrLimited is matched by every [*LimitError]: too many calls, come back later.
	ErrLimited = errors.New("recovery: too many requests")

	// ErrDenied denies a completion: [Options.Approve] returns or wraps it, and the caller gets it
	// together with Approve's own error. A token survives MaxTries - 1 denials.
	ErrDenied = errors.New("recovery: the application denied the reset")

	// ErrChallenged is matched by every [*ChallengeError]: the application wants a second factor.
	// The token stays valid, within MaxTries.
	ErrChallenged = errors.New("recovery: a second factor is needed")

	// ErrBusy refuses a completion because too many passwords were being hashed, another completion
	// with the token took too long, or the breach service did not answer and
	// [Policy.BreachFailClosed] is set. The token stays valid.
	ErrBusy = errors.New("recovery: too busy, try again")

	// ErrPermanent is wrapped by a [Mailer]'s error when trying again is pointless.
	ErrPermanent = errors.New("recovery: the mail was refused for good")

	// ErrUncertain is wrapped by a [Mailer]'s error when the mail system may have accepted the
	// mail, say because its answer came too late. Such a mail is tried again, but not often.
	ErrUncertain = errors.New("recovery: the mail may have been accepted")

	// ErrPasswordMismatch is returned by [VerifyPassword] for a wrong password.
	ErrPasswordMismatch = errors.New("recovery: the password does not match")

	// ErrUnsupportedHash is wrapped by [VerifyPassword]'s error for a stored hash that it cannot
	// read or whose cost is beyond its limits.
	ErrUnsupportedHash = errors.New("recovery: the stored hash is not supported")
)

// ErrLeaseLost is returned by [Resets.CreateResets] and [Queue.Finish] when the lease is not held
// any more.
var ErrLeaseLost = errors.New("recovery: the lease is not held")

// A FieldError says which field of a request breaks which rule. It matches [ErrInvalidRequest] and
// never contains the field's value.
type FieldError struct {
	Field string // "username", "email", "tenant", "portal", "locale", "token"
	Rule  string // what is allowed, as the rest of a sentence: "must be at most 254 bytes long"
}

func (e *FieldError) Error() string        { return "recovery: " + e.Field + " " + e.Rule }
func (e *FieldError) Is(target error) bool { return target == ErrInvalidRequest }

// A PasswordError lists every reason why a password was rejected. It matches [ErrInvalidPassword]
// and never contains the password.
type PasswordError struct {
	Reasons []PasswordReason
}

// A PasswordReason is one rule of the [Policy] that a password breaks.
type PasswordReason struct {
	Name string // stable, for programs: "too_short", or the application's own
	Text string // for people, in English: "must have at least 10 characters"
}

func (e *PasswordError) Error() string {
	texts := make([]string, len(e.Reasons))
	for i, r := range e.Reasons {
		texts[i] = r.Text
	}
	return "recovery: the password " + strings.Join(texts, ", ")
}

func (e *PasswordError) Is(target error) bool { return target == ErrInvalidPassword }

// hasReasons reports whether the error says what is wrong. One that does not is a failure.
func (e *PasswordError) hasReasons() bool {
	if e == nil || len(e.Reasons) == 0 {
		return false
	}
	return !slices.ContainsFunc(e.Reasons, func(r PasswordReason) bool { return r.Name == "" || r.Text == "" })
}

// A ChallengeError is what [Options.Approve] returns to ask for a second factor. The caller gets
// it, shows Text and a field, and calls again with what was typed as CompleteRequest.Factor. It
// matches [ErrChallenged]. If Approve returns another error matching ErrChallenged, the
// caller gets a generic ChallengeError.
type ChallengeError struct {
	Name string // for programs: "totp"
	Text string // for people: "Enter the code of your authenticator app."
}

func (e *ChallengeError) Error() string        { return "recovery: a second factor is needed: " + e.Name }
func (e *ChallengeError) Is(target error) bool { return target == ErrChallenged }

// A LimitError refuses a call that is over the limit of its client or of everybody, or a code whose
// ticket had too many wrong ones. It matches [ErrLimited]. Limits are charged before any look-up,
// and for unknown tickets too, so it tells nothing about an account.
type LimitError struct {
	Scope      Scope         // which limit
	RetryAfter time.Duration // when the same call can succeed, counted from now
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("recovery: too many requests (%s limit), try again in %v", e.Scope, e.RetryAfter)
}

func (e *LimitError) Is(target error) bool { return target == ErrLimited }

// A TokenError is what a [Store] returns for a token that cannot be redeemed. It matches
// [ErrInvalidToken]. The Service hands its reason to the hooks and gives the caller the bare
// ErrInvalidToken.
type TokenError struct {
	Reason TokenReason
}

// A TokenReason says why a token was refused.
type TokenReason string

// The reasons for which a token is refused.
const (
	TokenMalformed    TokenReason = "malformed"     // not the encoding of a token, a ticket or a code
	TokenUnknown      TokenReason = "unknown"       // no such token or code, or purged after it expired
	TokenExpired      TokenReason = "expired"       // older than Options.TokenTTL, or CodeTTL
	TokenUsed         TokenReason = "used"          // redeemed before
	TokenSuperseded   TokenReason = "superseded"    // the mail of a newer request of the same client network was accepted
	TokenTriedOut     TokenReason = "tried_out"     // MaxTries denials or wrong second factors
	TokenVoided       TokenReason = "voided"        // the account was recovered with another token
	TokenStale        TokenReason = "stale"         // password or address changed since
	TokenAccountGone  TokenReason = "account_gone"  // the account was deleted, disabled or lost its eligibility
	TokenOtherAccount TokenReason = "other_account" // the user name given is not the token's
)

func (e *TokenError) Error() string        { return "recovery: the token is not valid: " + string(e.Reason) }
func (e *TokenError) Is(target error) bool { return target == ErrInvalidToken }
