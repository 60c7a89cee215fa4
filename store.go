package recovery

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// A Store keeps accounts, tokens and the queue. The comments on its methods are for implementers;
// package storetest checks them.
//
// Every method must be one transaction: it happens whole or not at all, and concurrent calls must
// have the same effect as if they ran one after another. Every method must be safe for concurrent
// use, must return ctx's error soon after ctx ends, and must not read a clock, except in Now: calls
// bring the time, in UTC and whole microseconds. A text of the Store must be kept byte for byte,
// whatever is in it. An error must not contain an identifier, a digest or a hash. docs/store.md
// says where to begin.
type Store interface {
	Accounts
	Resets
	Queue
}

// Accounts finds the application's accounts.
type Accounts interface {
	// FindAccounts returns the accounts that the query may mean, at most query.Max: those that are
	// Eligible first, then those that are Active with a verified address, then the rest; each part
	// ordered by ID. If there are more than Max, an account that gets no mail must not push out one
	// that does.
	//
	// It must return every account of query.Tenant whose stored identifier is byte for byte
	// query.Typed or query.Canonical, and none of another tenant. It may return others of the
	// tenant (a collation that ignores case does): the Service compares again. It must return
	// accounts whatever their status, with the status in their fields. An empty result is not an
	// error. A query by user name must not match an address, nor the other way round.
	FindAccounts(ctx context.Context, query AccountQuery) ([]Account, error)
}

// Resets keeps the tokens, as digests.
type Resets interface {
	// CreateResets charges the mail that a claimed job is about to send, and stores its resets. It
	// must return ErrLeaseLost, and change nothing, unless the job is still leased under
	// batch.LeaseID. A reset is superseded if a newer request of the same Requester already mailed
	// its account (Outcome.MailedAccountIDs). It must leave those out, and return the IDs of their
	// accounts, each once. If there were resets and none is left, it must change nothing. A request
	// is newer if its RequestedAt is later, or the same and its JobID is greater. A request later
	// than batch.At plus MaxClockSkew does not count.
	//
	// Unless the job's Charged is set, it must take batch.Charges and set Charged: a retry is not
	// counted again. If they may not be taken it must return Charges.Take's error and change
	// nothing. It must leave all other resets alone.
	CreateResets(ctx context.Context, batch ResetBatch) (superseded []string, err error)

	// FindReset returns the reset with the digest, and its account as it is now. It must return
	// TokenError{TokenUnknown} if there is none, and the error of Reset.Judge if that has one. It
	// must change nothing, and should cost the same for every digest.
	FindReset(ctx context.Context, digest Digest, at time.Time) (Reset, Account, error)

	// Redeem redeems a reset. If FindReset would refuse the digest at redemption.At, it must return
	// that error and change nothing. Otherwise it must, in one transaction, set the account's
	// password hash, end the reset as used, end every other reset of the account as voided, and add
	// redemption.Add to the queue; it returns the account as it is then. Of any number of
	// concurrent calls with one digest at most one must succeed. It must not change anything else
	// of the account.
	Redeem(ctx context.Context, redemption Redemption) (Account, error)
}

// Queue keeps the jobs, and the limits that are counted with them.
type Queue interface {
	// Enqueue takes the charges and appends the job to the queue. It must set job.Priority to
	// charges.Priority, computed from the states after taking. If the charges may not be taken it
	// must return Charges.Take's error and store nothing. Counting must be exact under concurrency
	// and must not depend on whether an account exists.
	Enqueue(ctx context.Context, job Job, charges Charges) error

	// TakeLimits takes charges alone, as Enqueue does.
	TakeLimits(ctx context.Context, at time.Time, charges Charges) error

	// RefundLimits gives charges back (Charges.Refund). Like taking, it must be exact under
	// concurrency.
	RefundLimits(ctx context.Context, charges Charges) error

	// Claim leases up to claim.Max jobs of claim.Lane that are due and that nobody else holds, and
	// returns them with Attempts counted up by one and LeaseID set. A job that was never claimed is
	// due; one to be tried again is due from its RetryAt on. Until claim.Until no other call must
	// get them; from then on any may. No two concurrent calls must get the same job.
	//
	// It must offer claim.Again of the claim.Max places to jobs claimed before, the longest due
	// first. The rest go to new jobs, the latest Priority first. Either group must get the places
	// that the other leaves. The order within the result is free, and an
	// empty result is not an error. With claim.JobID set it must lease that job alone, of whatever
	// lane, even before it is due, unless someone else holds it.
	Claim(ctx context.Context, claim Claim) ([]Job, error)

	// Finish ends what a claim began. It must return ErrLeaseLost, and change nothing, unless the
	// job is still leased under outcome.LeaseID (a lease that is over but was not taken by another
	// is still held). With RetryAt set it must make the job due then and free the lease. Without,
	// it must end the job and keep none of its identifier, account, tenant, ticket, client and
	// portal. In the same transaction it must delete the resets in outcome.Discard; give back
	// outcome.Refund (Charges.Refund) and clear Charged, if the job's Charged is set; and, for each
	// account in MailedAccountIDs, end as superseded every live reset of outcome.Requester whose
	// request is older (see CreateResets), and mark the resets of this job as mailed.
	Finish(ctx context.Context, outcome Outcome) error

	// Purge deletes what is of no use any more: resets whose ExpiresAt is not after before, limits
	// whose state is not after before, and resets whose ExpiresAt is after ahead, which a wrong
	// clock made. It must make jobs due at once that are due only after ahead. It must not delete a
	// job. It must change at most max rows and return how many; the Service calls again until that
	// is fewer than max.
	Purge(ctx context.Context, before, ahead time.Time, max int) (int, error)

	// Stats returns what waits in each lane that has jobs, leased ones included.
	Stats(ctx context.Context) ([]LaneStats, error)

	// Now returns the time of a clock that all processes with this Store share, or the zero Time if
	// there is none. It is the only method that reads a clock.
	Now(ctx context.Context) (time.Time, error)
}

// An IdentifierKind says what kind of identifier a text is.
type IdentifierKind string

// The kinds of identifiers. The kind is always explicit: one person's user name may be another's
// address.
const (
	ByUsername IdentifierKind = "username"
	ByEmail    IdentifierKind = "email"
	ByID       IdentifierKind = "id" // Account.ID
)

// An AccountQuery asks for the accounts of one identifier.
type AccountQuery struct {
	redacted

	Tenant    string
	By        IdentifierKind
	Typed     string // as typed, trimmed and in NFC; the same as Canonical for ByID
	Canonical string // see CanonicalUsername, Options.CanonicalUsername and CanonicalEmail
	Max       int
}

// An Account is what the library knows of one of the application's accounts. It prints as
// "[redacted]". The zero Account is not Eligible.
type Account struct {
	redacted

	ID       string // the application's own, unique over all tenants and never reused
	Tenant   string // whose account it is, see ResetRequest; at most 64 bytes
	Username string
	Email    string // the address on file: the only place mail is sent to
	Locale   string // BCP 47 tag of the account's language, or ""

	Active        bool // may log in: not disabled, locked or deleted
	HasPassword   bool // logs in with a password of this application, not through another provider
	EmailVerified bool // the address was proven to be the account holder's

	SignIn string // where an account without a password logs in, for its mail: "Google"; may be ""

	Version Version // changes whenever the password or the address does
}

// Eligible reports whether the account may be recovered: active, with a local password and a
// verified address.
func (a Account) Eligible() bool { return a.Active && a.HasPassword && a.EmailVerified }

// A Version binds a token to what its account looked like when the token was made.
type Version [sha256.Size]byte

// NewVersion derives the Version of an account from its password hash and address.
func NewVersion(passwordHash, email string) Version {
	buf := make([]byte, 0, 512)
	buf = binary.AppendUvarint(buf, uint64(len(passwordHash)))
	buf = append(buf, passwordHash...)
	buf = append(buf, email...)
	return sha256.Sum256(buf)
}

// A Reset is a token or a code at rest. A mail with both has two for each account.
type Reset struct {
	Digest      Digest
	AccountID   string
	Version     Version // of the account when the token was made
	JobID       string  // which job's mail carries the token
	Requester   Digest  // the client network that asked, see Outcome
	RequestedAt time.Time
	ExpiresAt   time.Time // the first instant at which the token is dead

	// The Store's, "" when the reset is created.
	Ended TokenReason // TokenUsed, TokenVoided or TokenSuperseded, "" while it is live
}

// maxAhead is how far ahead of now an expiry or a due time may be. A wrong clock made whatever is
// further ahead.
const maxAhead = 24*time.Hour + MaxClockSkew

// Judge returns nil if the reset can be redeemed at the given instant, else a [*TokenError] with
// the reason. The account is the reset's as it is now, the zero Account if it is gone.
func (r Reset) Judge(at time.Time, a Account) error {
	switch {
	case r.Ended != "":
		return &TokenError{r.Ended}
	case !at.Before(r.ExpiresAt), r.ExpiresAt.After(at.Add(maxAhead)):
		return &TokenError{TokenExpired}
	case a.ID != r.AccountID || !a.Eligible():
		return &TokenError{TokenAccountGone}
	case a.Version != r.Version:
		return &TokenError{TokenStale}
	}
	return nil
}

// A ResetBatch is the resets of the mail that a job is about to send, and what the mail is charged.
// A mail without tokens has no resets.
type ResetBatch struct {
	JobID   string
	LeaseID string
	At      time.Time
	Resets  []Reset // of one Requester and one RequestedAt; two of one account for token and code
	Charges Charges
}

// A Redemption redeems a [Reset].
type Redemption struct {
	redacted

	Digest       Digest
	At           time.Time
	PasswordHash string
	Add          []Job // the notice, and the call of Options.OnReset
}

// A JobKind says what the worker has to do.
type JobKind string

// The kinds of jobs.
const (
	JobReset     JobKind = "reset"     // mail a token or link to each account meant
	JobUsernames JobKind = "usernames" // mail the user names of an address
	JobNotice    JobKind = "notice"    // mail that the password was changed
	JobOnReset   JobKind = "on_reset"  // call Options.OnReset
)

// A Lane is a part of the queue whose jobs wait for each other only.
type Lane string

// The lanes. Each has places of its own in the worker.
const (
	LaneMail    Lane = "mail"     // mails that people wait for
	LaneNotice  Lane = "notice"   // notices
	LaneOnReset Lane = "on_reset" // calls of Options.OnReset
)

// Lane returns the lane of the jobs of a kind.
func (k JobKind) Lane() Lane {
	switch k {
	case JobNotice:
		return LaneNotice
	case JobOnReset:
		return LaneOnReset
	}
	return LaneMail
}

// A Job is one piece of work in the queue. It never holds a token, a message or a password.
type Job struct {
	redacted

	ID          string // UUID version 7
	Kind        JobKind
	By          IdentifierKind // of Identifier
	Identifier  string         // trimmed and in NFC, or the address of a notice; at most 254 bytes
	AccountID   string         // of a notice or call; "" otherwise
	Tenant      string         // at most 64 bytes
	Ticket      Digest         // of the ticket, if a code was asked for; the zero Digest otherwise
	Portal      string         // name in Options.Portals, at most 64 bytes
	Locale      string         // at most 64 bytes
	Client      netip.Addr     // may be the zero Addr
	RequestedAt time.Time

	// The Store's.
	Priority time.Time // among jobs never claimed the latest goes first; see Charges.Priority
	Charged  bool      // CreateResets took its charges
	Attempts int       // how often it was claimed, the present claim included
	LeaseID  string
}

// A Claim asks for jobs to work on.
type Claim struct {
	LeaseID string // unique for the call
	Lane    Lane
	At      time.Time
	Until   time.Time
	Max     int
	Again   int    // from 0 to Max
	JobID   string // the only job that is asked for, or ""
}

// An Outcome is what became of a claimed job.
type Outcome struct {
	redacted

	JobID            string
	LeaseID          string
	At               time.Time
	RetryAt          time.Time // zero: the job is finished
	MailedAccountIDs []string  // whose reset mail was accepted
	Requester        Digest    // of the resets that were mailed
	Discard          []Digest  // resets whose mail certainly was not accepted
	Refund           Charges   // of that mail
}

// LaneStats is what waits in one lane.
type LaneStats struct {
	Lane   Lane
	Jobs   int
	Oldest time.Time // the earliest RequestedAt
}
