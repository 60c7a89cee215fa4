package recovery

import (
	"crypto/sha256"
	"strings"
	"time"
)

// A Limit lets Burst events pass at once and then one more per Every. In no period of length Every
// do more than Burst pass, so {3, time.Hour} is never more than three an hour.
//
// Limits are counted by the generic cell rate algorithm (ITU-T I.371), whose whole state is one
// instant per key: the theoretical arrival time.
type Limit struct {
	Burst int
	Every time.Duration
}

// MaxClockSkew is how far apart the clocks of processes that share a Store may be. A Service
// follows the Store's clock where there is one (Queue.Now).
const MaxClockSkew = 10 * time.Minute

// overtaking is the longest time from an event until it is counted: calls of the Store overtake
// each other, and each ends within Options.StoreTimeout.
const overtaking = maxStoreTimeout

// Take counts one event at now against a key whose state is tat. If it may pass, wait is zero and
// next is the key's new state. Otherwise wait, more than zero, is how long until it may, and the
// state does not change. The state of a key that is not stored is the zero time. An event older
// than one that was counted before waits longer, by the difference.
//
// A state too far ahead to come from events at about now was made by a wrong clock. It counts as no
// state, and refuses nobody.
func (l Limit) Take(tat, now time.Time) (next time.Time, wait time.Duration) {
	return l.take(tat, now, l.Burst)
}

// take is Take for an event that may pass only while fewer than burst of l.Burst are used up.
func (l Limit) take(tat, now time.Time, burst int) (next time.Time, wait time.Duration) {
	full := time.Duration(l.Burst) * l.Every
	next = now
	if tat.After(now) && !tat.After(now.Add(full+overtaking)) {
		next = tat
	}
	next = next.Add(l.Every)
	if wait = next.Sub(now) - time.Duration(burst)*l.Every; wait > 0 {
		return tat, wait
	}
	return next, 0
}

// A Charge is one event to count: a limit and the key that it is counted under.
type Charge struct {
	Scope Scope
	Key   Digest
	Limit Limit

	// Repeat, if not zero, replaces Limit.Burst while the state of the key Share is after now.
	// Share is the Key of another Charge, that of the client network. So a network that caused a
	// recent mail goes after those that did not.
	Repeat int
	Share  Digest

	// A Lenient charge refuses nobody: a full state stays as it is.
	Lenient bool
}

// Charges are taken together or not at all.
type Charges []Charge

// Take counts all of the charges in states, or none. If any may not pass, the error is a
// [*LimitError] with the Scope and the wait of the one that waits longest. states has the state of
// each charge's key, the zero time if there is none.
func (c Charges) Take(at time.Time, states map[Digest]time.Time) error {
	var refused *LimitError
	for _, charge := range c {
		if charge.Lenient {
			continue
		}
		burst := charge.Limit.Burst
		if charge.Repeat > 0 && states[charge.Share].After(at) {
			burst = charge.Repeat
		}
		if _, wait := charge.Limit.take(states[charge.Key], at, burst); wait > 0 && (refused == nil || wait > refused.RetryAfter) {
			refused = &LimitError{Scope: charge.Scope, RetryAfter: wait}
		}
	}
	if refused != nil {
		return refused
	}
	for _, charge := range c {
		states[charge.Key], _ = charge.Limit.Take(states[charge.Key], at)
	}
	return nil
}

// Refund gives back in states what Take took: for a mail that did not leave, or a try that did not
// fail.
func (c Charges) Refund(states map[Digest]time.Time) {
	for _, charge := range c {
		if tat := states[charge.Key]; !tat.IsZero() {
			states[charge.Key] = tat.Add(-charge.Limit.Every)
		}
	}
}

// Priority returns the Job.Priority of a job that was requested at the given instant: the instant,
// minus what the client's networks have used up of their limits. The states are those after Take.
// So clients that asked for little go before those that asked for much.
func (c Charges) Priority(at time.Time, states map[Digest]time.Time) time.Time {
	used := time.Duration(0)
	for _, charge := range c {
		if charge.Scope == ScopeClient {
			used = max(used, states[charge.Key].Sub(at)-charge.Limit.Every)
		}
	}
	return at.Add(-used)
}

// A Scope says what a limit is counted by.
type Scope string

// The scopes of [Limits].
const (
	ScopeClient  Scope = "client"
	ScopeGlobal  Scope = "global"
	ScopeAccount Scope = "account" // of one client network
	ScopeMailbox Scope = "mailbox"
	ScopeTicket  Scope = "ticket" // of wrong codes
	ScopeToken   Scope = "token"  // of denials and wrong second factors; no caller gets a LimitError of it
)

// MaxTries is how many denials and wrong second factors the token and the code of one mail may have
// together, and how many wrong codes a ticket may have within 15 minutes. Both are counted over all
// clients and instances.
const MaxTries = 5

// approveCharges is one try of Options.Approve. No token lives long enough for a sixth.
func approveCharges(r Reset) Charges {
	return Charges{{Scope: ScopeToken, Key: limitKey("approve", ScopeToken, r.JobID, r.AccountID), Limit: Limit{MaxTries, maxAhead}}}
}

// codeCharges is one try of a code. Every ticket is counted, even one that was never made: a
// difference would tell whether its request meant somebody. No code lives long enough for a sixth.
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
// With Limits.PerMailbox of {10, 6 minutes} the first mail for a network passes if fewer than 9
// other networks asked within the hour that Limits.PerRequester remembers. Networks that caused a
// mail before use up at most 2 of the 10, and the others one an hour each.
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
