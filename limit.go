package recovery

import "time"

// A Limit lets Burst events pass at once and then one more per Every. In no period of length Every
// do more than Burst pass, so {3, time.Hour} is never more than three an hour.
//
// Limits are counted by the generic cell rate algorithm (ITU-T I.371), whose whole state is one
// instant per key: the theoretical arrival time.
type Limit struct {
	Burst int
	Every time.Duration
}

// overtaking is the longest time from an event until it is counted: calls of the Store overtake
// each other, and each ends within Options.StoreTimeout.
const overtaking = maxStoreTimeout

// Take counts one event at now against a key whose state is tat. If it may pass, wait is zero and
// next is the key's new state. Otherwise wait, more than zero, is how long until it may, and the
// state does not change. The state of a key that is not stored is the zero time. An event older
// than one that was counted before waits longer, by the difference.
//
// A state further ahead than Burst × Every and overtaking came from a wrong clock. It counts as no
// state, and refuses nobody.
func (l Limit) Take(tat, now time.Time) (next time.Time, wait time.Duration) {
	return l.take(tat, now, l.Burst)
}

// take is Take with a lower burst than l.Burst; it still counts against l.
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
