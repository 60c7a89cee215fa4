package recovery

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// A Limit lets Burst events pass at once and then one more per Every. In no period of length Every
// do more than Burst pass, so {3, time.Hour} is never more than three an hour.
//
// Limits are counted by the generic cell rate algorithm (ITU-T I.371), whose whole state is one
// instant per key: the theoretical arrival time. Events are not counted in the order of their times:
// processes have clocks of their own, and transactions overtake each other. So a state may be up to
// MaxClockSkew further ahead than an event at this time could have made it. One that is still further
// ahead is no state, so that a clock that was wrong locks nobody out for long.
type Limit struct {
	Burst int
	Every time.Duration
}

// MaxClockSkew is how far apart the clocks of processes that share a Store may be for limits to hold.
// They should agree to the second: if they are apart by more than Options.SendTimeout, one may take up
// what the other is mailing, and the mail comes twice.
const MaxClockSkew = 10 * time.Minute

// Take counts one event at now against a key whose state is tat. If it may pass, wait is zero and
// next is the key's new state. Otherwise wait, more than zero, is how long until it may, and the
// state does not change. The state of a key that is not stored is the zero time.
func (l Limit) Take(tat, now time.Time) (next time.Time, wait time.Duration) {
	full := time.Duration(l.Burst) * l.Every
	next = now
	if tat.After(now) && !tat.After(now.Add(full+MaxClockSkew)) {
		next = tat
	}
	next = next.Add(l.Every)
	if wait = next.Sub(now) - full; wait > 0 {
		return tat, wait
	}
	return next, 0
}

// A Charge is one event to count: a limit and the key that it is counted under.
type Charge struct {
	Scope Scope
	Key   Digest
	Limit Limit
}

// A Scope says what a limit is counted by.
type Scope string

// The scopes of [Limits].
const (
	ScopeIdentifier Scope = "identifier"
	ScopeClient     Scope = "client"
	ScopeGlobal     Scope = "global"
)

// clientPrefix returns what counts as one client: an IPv4 address, or the /64 that an IPv6 customer
// gets at the least.
func clientPrefix(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits)
	return p
}

// limitKey names the state of one limit. The call is part of it: asking for a reset does not use up
// asking for a user name.
func limitKey(call string, scope Scope, subject string) Digest {
	buf := make([]byte, 0, 512)
	buf = append(buf, call...)
	buf = append(buf, 0)
	buf = append(buf, scope...)
	buf = append(buf, 0)
	buf = append(buf, subject...)
	return sha256.Sum256(buf)
}

// variant names the state of one of several limits of the same subject: each counts on its own. Their
// names differ at the end only, so that a database keeps them beside each other.
func (d Digest) variant(i int, l Limit) Digest {
	binary.BigEndian.PutUint64(d[len(d)-8:], uint64(i)<<56^uint64(l.Every))
	return d
}
