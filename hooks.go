package recovery

import (
	"net/netip"
)

// Hooks tell the application what the caller is not told: for metrics, audit logs and alarms. Every
// field may be nil. No hook gets a token or a password; an event prints as "[redacted]", but its
// fields can be read.
//
// Hooks run one after the other, outside of every call: a hook that blocks or panics changes no
// answer and delays no mail. Events that matter, and events that a stranger can cause in any
// number, wait in two queues of 1,024 each; those that matter go first. Events beyond that are
// dropped, counted in [Stats] and logged. Events that wait when the process ends are lost: what
// must be durable belongs in Options.OnReset or in the Store. In a test, synctest.Wait of package
// testing/synctest waits for hooks. docs/running.md says which to alarm on.
type Hooks struct {
	// Events that matter.
	JobFailed       func(JobEvent)   // failed for good; see Err
	OnResetCalled   func(JobEvent)   // Options.OnReset returned nil
	ResetDenied     func(ResetEvent) // by Options.Approve, or a second factor was wrong; see Err
	PasswordChanged func(ResetEvent)

	// Events that a stranger can cause in any number.
	MailSent     func(JobEvent)   // the mail system accepted the mail
	JobStarted   func(JobEvent)   // the first attempt begins; a crash may skip the event
	JobThrottled func(JobEvent)   // over a limit of the account or mailbox: no mail; see Err
	JobDropped   func(JobEvent)   // nothing to mail; see Reason
	JobRetried   func(JobEvent)   // failed for now; see Err
	LimitReached func(LimitEvent) // a caller got a *LimitError
	TokenRefused func(ResetEvent) // see Reason
}

// A JobEvent is something that happened to a job: a request, a notice or a call of OnReset.
type JobEvent struct {
	redacted

	ID      string // of a request, its Receipt.ID
	Kind    JobKind
	Attempt int
	Tenant  string
	Client  netip.Addr
	Account Account // the zero Account until it is known
	Reason  DropReason
	Err     error
}

// A ResetEvent is something that happened to a call of CompleteReset or CheckReset. It has no ID of
// a request: most refused tokens lead to none.
type ResetEvent struct {
	redacted

	Client  netip.Addr
	Account Account // the zero Account if no live token led to one
	Reason  TokenReason
	Err     error
}

// A LimitEvent is a refused call.
type LimitEvent struct {
	redacted

	Call   string // "reset", "usernames" or "complete"
	Tenant string // of the request; "" of a completion, which has none
	Client netip.Addr
	Err    *LimitError
}

// A DropReason says why a request was answered with silence.
type DropReason string

// The reasons for which a request is dropped.
const (
	DropNoAccount    DropReason = "no_account"  // no account has the identifier
	DropInactive     DropReason = "inactive"    // Account.Active is false
	DropNoPassword   DropReason = "no_password" // no Account.HasPassword, and Options.NoSignInMail
	DropUnverified   DropReason = "unverified"  // Account.EmailVerified is false
	DropBadAddress   DropReason = "bad_address" // the stored address is malformed
	DropPortal       DropReason = "portal"      // Portal.Allow said no, or it is gone or another tenant's
	DropNamesake     DropReason = "namesake"    // several accounts match, and nothing decides between them
	DropSuperseded   DropReason = "superseded"  // a newer request of the same network was mailed
	DropTooOld       DropReason = "too_old"     // waited longer than Options.MaxRequestAge
	DropTooManyFound DropReason = "too_many"    // there may be accounts beyond the first 1,000
	DropNoUsername   DropReason = "no_username" // the address has accounts, but none has a user name
	DropMalformed    DropReason = "malformed"   // this version cannot read the job
)
