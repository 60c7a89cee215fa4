package recovery

import (
	"crypto/sha256"
	"strings"
	"time"
)

// A Scope says what a limit is counted by.
type Scope string

// The scopes of [Limits].
const (
	ScopeClient  Scope = "client"
	ScopeGlobal  Scope = "global"
	ScopeAccount Scope = "account" // of one client network
	ScopeMailbox Scope = "mailbox"
	ScopeTicket  Scope = "ticket" // of wrong codes
	ScopeToken   Scope = "token"  // of denials and wrong factors; no caller gets a LimitError of it
)

// MaxTries is how many denials and wrong second factors the token and the code that one account has
// in one mail may have together, and how many wrong codes a ticket may have within 15 minutes. Both
// are counted over all clients and instances.
const MaxTries = 5

// approveCharges is one try of Options.Approve. Every is longer than any token lives, so a sixth
// try never comes.
func approveCharges(r Reset) Charges {
	return Charges{{Scope: ScopeToken, Key: limitKey("approve", ScopeToken, r.JobID, r.AccountID), Limit: Limit{MaxTries, maxAhead}}}
}

// codeCharges is one try of a code. Every ticket is counted, even one that was never made: a
// difference would tell whether its request meant somebody. No code lives longer than Every, so a
// sixth try never comes.
func codeCharges(ticket Digest) Charges {
	return Charges{{Scope: ScopeTicket, Key: limitKey("code", ScopeTicket, string(ticket[:])), Limit: Limit{MaxTries, maxCodeTTL}}}
}

// limitKey names the state of one limit. The call is part of the name, so that requests do not use
// up completions.
func limitKey(call string, scope Scope, subject ...string) Digest {
	return sha256.Sum256([]byte(strings.Join(append([]string{call, string(scope)}, subject...), "\x00")))
}

// callCharges are the limits of a caller: those of the client's networks, and the global one.
func callCharges(call string, n networks, perClient, global Limit) Charges {
	charges := make(Charges, 0, 5)
	for _, network := range n {
		limit := Limit{perClient.Burst * network.times, max(perClient.Every/time.Duration(network.times), time.Microsecond).Truncate(time.Microsecond)}
		charges = append(charges, Charge{Scope: ScopeClient, Key: limitKey(call, ScopeClient, network.name), Limit: limit})
	}
	if global != (Limit{}) {
		charges = append(charges,
			Charge{Scope: ScopeClient, Key: limitKey("priority", ScopeClient, n[len(n)-1].name), Limit: priorityLimit, Lenient: true},
			Charge{Scope: ScopeGlobal, Key: limitKey(call, ScopeGlobal), Limit: global})
	}
	return charges
}

// priorityLimit refuses nobody. It remembers the requests of the widest network for longer than the
// other limits do, so that a client that stays just below those goes after clients that seldom ask.
var priorityLimit = Limit{100, 5 * time.Minute}

// resetRepeats is Charge.Repeat of a mailbox: a network that caused a recent mail causes another
// only while fewer than resetRepeats are used up.
//
// With Limits.PerMailbox of {10, 6 minutes} a network's first mail passes while fewer than 9 others
// were mailed for within the hour that Limits.PerRequester remembers. Repeats use up at most 2 of
// the 10; a first mail uses up one.
const resetRepeats = 2

// resetMailCharges are the limits of one mail with tokens to a mailbox, for a client network. They
// are counted for each tenant, so that no tenant silences another. Those of callCharges are for all
// tenants together: otherwise each tenant would let a client ask once more.
func (l *Limits) resetMailCharges(tenant, mailbox, requester string, resets []Reset) Charges {
	share := limitKey("reset", ScopeMailbox, tenant, mailbox, requester)
	charges := Charges{
		{Scope: ScopeMailbox, Key: share, Limit: l.PerRequester},
		{Scope: ScopeMailbox, Key: limitKey("reset", ScopeMailbox, tenant, mailbox), Limit: l.PerMailbox,
			Repeat: min(resetRepeats, l.PerMailbox.Burst), Share: share},
	}
	last := ""
	for _, r := range resets { // the token and the code of an account are one mail
		if r.AccountID != last {
			key := limitKey("reset", ScopeAccount, tenant, r.AccountID, requester)
			charges = append(charges, Charge{Scope: ScopeAccount, Key: key, Limit: l.PerAccount})
		}
		last = r.AccountID
	}
	return charges
}

// otherMailCharges are the limits of one mail without tokens to a mailbox, counted apart for each
// kind. The mail says the same whoever asks, so a mailbox over the limit already has it.
func (l *Limits) otherMailCharges(tenant, mailbox string, kind MessageKind) Charges {
	return Charges{{Scope: ScopeMailbox, Key: limitKey(string(kind), ScopeMailbox, tenant, mailbox), Limit: l.UsernamesPerMailbox}}
}
