package recovery

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// A Store keeps accounts, tokens and the queue. Its methods are addressed to whoever implements it;
// package storetest checks every sentence that says "must".
//
// Every method must be one transaction: it happens whole or not at all, and concurrent calls must
// have the result of some order of them. Every method must be safe for concurrent use, must return
// ctx's error soon after ctx ends, and must not read a clock: time comes with the call, in UTC and
// whole microseconds. A text of the Store must be kept byte for byte, whatever is in it. An error
// must not contain an identifier, a digest or a hash.
type Store interface {
	Accounts
	Resets
	Queue
}

// Accounts finds the application's accounts.
type Accounts interface {
	// FindAccounts returns the accounts that the query may mean, at most query.Max: those that are
	// Eligible first, so that no number of others keeps them out, and each part ordered by ID.
	//
	// It must return every account whose stored identifier is byte for byte query.Typed or
	// query.Canonical. It may return others (a collation that ignores case does): the Service
	// compares again. It must return accounts whatever their status, with the status in their
	// fields. An empty result is not an error. A query by user name must not match an address, nor
	// the other way round.
	FindAccounts(ctx context.Context, query AccountQuery) ([]Account, error)
}

// Resets keeps the tokens, as digests.
type Resets interface {
	// CreateReset stores a live reset. It must return ErrSuperseded, and store nothing, when a mail
	// of a newer request for the same account was accepted (Outcome.Mailed). Newer means a later
	// RequestedAt, or the same and a greater JobID. It must leave the other resets alone.
	CreateReset(ctx context.Context, reset Reset) error

	// FindReset returns the reset with the digest, and its account as it is now. It must return a
	// *TokenError with the reason for every digest that cannot be redeemed at the given instant:
	// TokenUnknown, TokenUsed, TokenVoided, TokenSuperseded, TokenExpired (from ExpiresAt on),
	// TokenAccountGone (no such account, or it is not Eligible), TokenStale (the account's Version
	// is not the reset's). It must change nothing, and should cost the same for every digest.
	FindReset(ctx context.Context, digest Digest, at time.Time) (Reset, Account, error)

	// Redeem redeems a reset. If FindReset would refuse the digest at completion.At, it must
	// return an error that matches ErrInvalidToken and change nothing. Otherwise it must, in one
	// transaction, set the account's password hash, end the reset as used, end every other reset of
	// the account as voided, and add completion.Add to the queue; it returns the account as it is
	// then. Of any number of concurrent calls with one digest at most one must succeed. It must not
	// change anything else of the account.
	Redeem(ctx context.Context, completion Redemption) (Account, error)
}

// Queue is the queue, and the limits that are counted with it.
type Queue interface {
	// Enqueue counts the charges and appends to the queue. If a hard charge may not pass, it must
	// return a *LimitError with the Scope of that charge and the wait until it may (of several, the
	// longest), count nothing and store nothing. Otherwise it must count all hard charges and store
	// the request; if all soft charges may pass too it must count them, else count none of them and
	// store the request with Throttled set. Both results must cost the same. Counting must be exact
	// under concurrency (Limit.Take defines it) and must not depend on whether an account exists.
	Enqueue(ctx context.Context, request Job, charges Charges) error

	// TakeLimits counts hard charges alone, as Enqueue does.
	TakeLimits(ctx context.Context, at time.Time, charges []Charge) error

	// Claim leases up to claim.Max requests whose DueAt has come (DueAt <= claim.At) and that
	// no one else holds, the longest due first, and returns them with Attempts counted up by one and
	// LeaseID set. Until claim.Until no other call must get them; from then on any may. No two
	// concurrent calls must get the same request. The order within the result is free, and an empty
	// result is not an error. With claim.JobID set it must lease that request alone, even before
	// its DueAt, unless someone else holds it.
	Claim(ctx context.Context, claim Claim) ([]Job, error)

	// Finish ends what a claim began. It must return ErrLeaseLost, and change nothing, unless
	// the request is still leased under outcome.LeaseID (a lease that is over but was not taken by
	// another is still held). With RetryAt set it must make the request due then and free the lease.
	// Without, it must end the request and keep none of its identifier, account, client and portal.
	// In the same transaction it must add outcome.Add to the queue, and, if Mailed is set, end as
	// superseded every live reset of that account whose request is older (see CreateReset) and
	// remember that this one was mailed.
	Finish(ctx context.Context, outcome Outcome) error

	// Purge deletes what is of no use from the given instant on: resets whose ExpiresAt and limits
	// whose state is not after it. It must not delete a request that is waiting. It must delete at
	// most max rows and return how many; the Service calls again until that is fewer than max.
	Purge(ctx context.Context, before time.Time, max int) (int, error)
}

// An IdentifierKind says what an identifier identifies by.
type IdentifierKind string

// The kinds of identifiers. Which one is meant is always explicit: one person's user name may be
// another's address.
const (
	ByUsername IdentifierKind = "username"
	ByEmail    IdentifierKind = "email"
	ByID       IdentifierKind = "id" // Account.ID
)

// An AccountQuery asks for the accounts of one identifier.
type AccountQuery struct {
	redacted

	By        IdentifierKind
	Typed     string // as typed, spaces trimmed; the same as Canonical for ByID
	Canonical string // see CanonicalUsername and CanonicalEmail
	Max       int
}

// An Account is what the library knows of one of the application's accounts. It prints as
// "[redacted]". The zero value may not be recovered.
type Account struct {
	redacted

	ID       string // the application's own, unique and never reused
	Username string
	Email    string // the address on file: the only place mail is sent to
	Locale   string // BCP 47 tag of the account's language, or ""

	Active        bool // may log in: not disabled, locked or deleted
	HasPassword   bool // logs in with a password of this application, not through another provider
	EmailVerified bool // the address was proven to be the account holder's

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

// A Reset is a token at rest.
type Reset struct {
	Digest      Digest
	AccountID   string
	Version     Version // of the account when the token was made
	JobID       string  // which request's mail carries the token
	RequestedAt time.Time
	ExpiresAt   time.Time // the first instant at which the token is dead
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

// The kinds of requests.
const (
	JobReset     JobKind = "reset"     // mail a token or link to each account meant
	JobUsernames JobKind = "usernames" // mail the user names of an address
	JobNotice    JobKind = "notice"    // mail that the password was changed
	JobOnReset   JobKind = "on_reset"  // call Options.OnReset
)

// A Request is one piece of work in the queue. It never holds a token, a message or a password.
type Job struct {
	redacted

	ID          string // UUID version 7
	Kind        JobKind
	By          IdentifierKind // of Identifier
	Identifier  string         // as typed, or the address that a notice goes to; at most 254 bytes
	AccountID   string         // set once the account is settled
	Portal      string         // name in Options.Portals, at most 64 bytes
	Locale      string         // at most 35 bytes
	Client      netip.Addr     // may be the zero Addr
	RequestedAt time.Time
	DueAt       time.Time
	Throttled   bool // over a soft limit: answered like the others, then dropped
	Attempts    int  // how often it was claimed, the present claim included
	LeaseID     string
}

// Charges are the limits that one request counts against.
type Charges struct {
	Hard []Charge // over one of these, the caller is told
	Soft []Charge // over one of these, only the worker is told
}

// A Claim asks for requests to work on.
type Claim struct {
	LeaseID string // unique for the call
	At      time.Time
	Until   time.Time
	Max     int
	JobID   string // the only request that is asked for, or ""
}

// An Outcome is what became of a claimed request.
type Outcome struct {
	redacted

	JobID   string
	LeaseID string
	At      time.Time
	RetryAt time.Time // zero: the request is finished
	Mailed  string    // ID of the account whose reset mail was accepted, or ""
	Add     []Job
}
