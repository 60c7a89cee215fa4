package recovery

import (
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
)

// Hooks tell the application what the caller is not told: for metrics, audit logs and alarms. Every
// field may be nil. No hook gets a token or a password; an event prints as "[redacted]", but its
// fields can be read.
//
// Hooks run one after the other, outside of every call: a hook that blocks or panics changes no
// answer and delays no mail. Events that matter, and events that a stranger can cause in any
// number, wait in two queues of 1,024 each; those that matter go first. Events beyond that are
// dropped, counted in [Stats] and logged. docs/running.md says which to alarm on.
type Hooks struct {
	// Events that matter.
	JobFailed       func(JobEvent)   // failed for good; see Err
	OnResetCalled   func(JobEvent)   // Options.OnReset returned nil
	ResetDenied     func(ResetEvent) // by Options.Approve, or a second factor was wrong; see Err
	PasswordChanged func(ResetEvent)

	// Events that a stranger can cause in any number.
	MailSent     func(JobEvent)   // the mail system accepted the mail
	JobStarted   func(JobEvent)   // the worker begins with a request; not told after a crash or a long hang
	JobThrottled func(JobEvent)   // over a limit of the account or mailbox, so nothing is mailed; see Err
	JobDropped   func(JobEvent)   // nothing to mail; see Reason
	JobRetried   func(JobEvent)   // failed for now; see Err
	LimitReached func(LimitEvent) // a caller got a *LimitError
	TokenRefused func(ResetEvent) // see Reason
}

// A JobEvent is something that happened to a request in the queue.
type JobEvent struct {
	redacted

	ID      string // Receipt.ID
	Kind    JobKind
	Attempt int
	Tenant  string
	Client  netip.Addr
	Account Account // the zero Account until it is known
	Reason  DropReason
	Err     error
}

// A ResetEvent is something that happened to a call of CompleteReset.
type ResetEvent struct {
	redacted

	Client  netip.Addr
	Account Account // the zero Account if the token led to none
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
	DropNoAccount    DropReason = "no_account"  // nobody is meant
	DropInactive     DropReason = "inactive"    // Account.Active is false
	DropNoPassword   DropReason = "no_password" // Account.HasPassword is false, and Options.NoSignInMail is set
	DropUnverified   DropReason = "unverified"  // Account.EmailVerified is false
	DropBadAddress   DropReason = "bad_address" // the stored address is malformed
	DropPortal       DropReason = "portal"      // Portal.Allow said no, or the portal is gone or of another tenant
	DropNamesake     DropReason = "namesake"    // another account's identifier is exactly what was typed, or several differ in case only
	DropSuperseded   DropReason = "superseded"  // the mail of a newer request of the same client network was accepted
	DropTooOld       DropReason = "too_old"     // waited longer than Options.MaxRequestAge
	DropTooManyFound DropReason = "too_many"    // there may be accounts beyond the first 1,000
	DropNoUsername   DropReason = "no_username" // the address has accounts, but none has a user name
	DropMalformed    DropReason = "malformed"   // this version cannot read the job
)

const maxEvents = 1024 // in the queue of a rank

// A rank is a class of events. Events of one rank never push out those of another.
type rank int

const (
	matters rank = iota
	routine      // a stranger can cause any number
	ranks
)

// events runs hooks in order on a goroutine that exists only while there are some to run.
type events struct {
	log *slog.Logger

	mu      sync.Mutex
	queues  [ranks][]func()
	running bool
	lost    int // since the queues were last empty
	allLost int
}

// emit queues one call of hook, which may be nil.
func emit[T any](e *events, r rank, hook func(T), event T) {
	if hook == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queues[r]) >= maxEvents {
		e.allLost++
		if e.lost++; e.lost == 1 {
			e.log.Warn("recovery: hooks are slower than what happens, events are being dropped")
		}
		return
	}
	e.queues[r] = append(e.queues[r], func() { hook(event) })
	if !e.running {
		e.running = true
		go e.run()
	}
}

func (e *events) run() {
	ended := false
	defer func() {
		if !ended { // a hook ended the goroutine: runtime.Goexit, as t.FailNow does
			go e.run()
		}
	}()
	for {
		f := e.next()
		if f == nil {
			ended = true
			return
		}
		e.call(f)
	}
}

// next takes the next event out of its queue; nil if there is none.
func (e *events) next() func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for r := range e.queues {
		if q := e.queues[r]; len(q) > 0 {
			e.queues[r] = q[1:]
			return q[0]
		}
	}
	if e.lost > 0 {
		e.log.Warn("recovery: events were dropped", "events", e.lost)
	}
	e.running, e.lost, e.queues = false, 0, [ranks][]func(){}
	return nil
}

// dropped returns how many events were dropped.
func (e *events) dropped() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.allLost
}

func (e *events) call(f func()) {
	defer func() {
		if v := recover(); v != nil {
			// The value is foreign and may hold anything; the stack says where.
			e.log.Error("recovery: a hook panicked", "stack", string(debug.Stack()))
		}
	}()
	f()
}
