package recovery

import (
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
)

// Hooks tell the application what the caller is not told: for metrics, audit logs and alarms. Every
// field may be nil. No hook gets a token or a password; an event prints as "[redacted]", its fields
// are for those who ask for them.
//
// Hooks run one after the other, outside of every call: a hook that blocks or panics changes no
// answer and delays no mail. While one blocks, up to 1,024 events wait and further ones are dropped
// with a warning in the log.
type Hooks struct {
	JobStarted    func(JobEvent) // the worker begins with a request; not told after a crash or a long hang
	JobThrottled  func(JobEvent) // over the limit of its identifier, so nothing is mailed
	JobDropped    func(JobEvent) // nothing to mail; see Reason
	JobRetried    func(JobEvent) // failed for now; see Err
	JobFailed     func(JobEvent) // failed for good; see Err
	MailSent      func(JobEvent) // the mail system accepted the mail
	OnResetCalled func(JobEvent) // Options.OnReset returned nil

	LimitReached    func(LimitEvent) // a caller got a *LimitError
	TokenRefused    func(ResetEvent) // see Token for the reason
	ResetDenied     func(ResetEvent) // by Options.Approve; see Err
	PasswordChanged func(ResetEvent)
}

// A JobEvent is something that happened to a request in the queue.
type JobEvent struct {
	redacted

	ID      string
	Kind    JobKind
	Attempt int
	Client  netip.Addr
	Account Account // the zero Account while it is not settled
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
	Client netip.Addr
	Err    *LimitError
}

// A DropReason says why a request was answered with silence.
type DropReason string

// The reasons for which a request is dropped.
const (
	DropNoAccount    DropReason = "no_account"  // nobody is meant
	DropInactive     DropReason = "inactive"    // Account.Active is false
	DropNoPassword   DropReason = "no_password" // Account.HasPassword is false
	DropUnverified   DropReason = "unverified"  // Account.EmailVerified is false
	DropBadAddress   DropReason = "bad_address" // the stored address is none
	DropPortal       DropReason = "portal"      // Portal.Allow said no, or the portal is gone
	DropSuperseded   DropReason = "superseded"  // a newer request's mail was accepted
	DropTooOld       DropReason = "too_old"     // waited longer than Options.MaxRequestAge
	DropTooManyFound DropReason = "too_many"    // what may be meant beyond the first 1,000 accounts
	DropNoUsername   DropReason = "no_username" // the address has accounts, but none has a user name
	DropMalformed    DropReason = "malformed"   // the queue held what this version cannot read
)

const maxEvents = 1024

// events runs hooks in order on a goroutine that exists only while there are some to run.
type events struct {
	log *slog.Logger

	mu      sync.Mutex
	queue   []func()
	running bool
	lost    int
}

// emit queues one call of hook, which may be nil.
func emit[T any](e *events, hook func(T), event T) {
	if hook == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) >= maxEvents {
		if e.lost++; e.lost == 1 {
			e.log.Warn("recovery: a hook blocks, events are being dropped")
		}
		return
	}
	e.queue = append(e.queue, func() { hook(event) })
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
		e.mu.Lock()
		if len(e.queue) == 0 {
			e.running, e.lost, e.queue = false, 0, nil
			e.mu.Unlock()
			ended = true
			return
		}
		f := e.queue[0]
		e.queue = e.queue[1:]
		e.mu.Unlock()
		e.call(f)
	}
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
