package storetest

import (
	"errors"
	"time"

	"example.com/recovery"
)

var resetCases = []testCase{
	{"RoundTrip", "FindReset returns the reset with the digest, and its account as it is now.", func(b *bench) {
		a := b.alice()
		want := b.live(a, t0)
		a.Username, a.Locale = "renamed", "ja"
		b.put(a, "hash-0")
		got, now, err := b.Store.FindReset(b.ctx, want.Digest, t0.Add(time.Hour))
		b.ok(err, "FindReset")
		b.want(got == want, "the reset came back as %+v, not %+v", got, want)
		b.want(now == b.byID("1"), "the account is not the one that FindAccounts returns")
	}},
	{"ChangesNothing", "FindReset must change nothing.", func(b *bench) {
		r := b.live(b.alice(), t0)
		before := b.dump()
		for range 3 {
			b.find(r.Digest, t0)
			b.find(r.Digest, t0.Add(ttl))
			b.find(b.digest(), t0)
		}
		b.want(b.dump() == before, "the stored data changed")
		b.want(b.find(r.Digest, t0) == "", "the token died")
	}},
	{"Unknown", "FindReset must return TokenError{TokenUnknown} if there is none.", func(b *bench) {
		b.live(b.alice(), t0)
		b.wantReason(b.digest(), t0, recovery.TokenUnknown)
		b.wantReason(recovery.Digest{}, t0, recovery.TokenUnknown)
	}},
	{"Expiry", "A reset is TokenExpired from ExpiresAt on, to the microsecond.", func(b *bench) {
		r := b.live(b.alice(), t0)
		b.wantReason(r.Digest, r.ExpiresAt.Add(-tick), "")
		b.wantReason(r.Digest, r.ExpiresAt, recovery.TokenExpired)
		b.wantReason(r.Digest, r.ExpiresAt.Add(tick), recovery.TokenExpired)
		b.wantReason(r.Digest, r.ExpiresAt.Add(-tick), "") // the clock went back
	}},
	{"AccountGone", "A reset is TokenAccountGone when there is no such account, or it is not Eligible.", func(b *bench) {
		a := b.alice()
		r := b.live(a, t0)
		for _, change := range []func(*recovery.Account){
			func(a *recovery.Account) { a.Active = false },
			func(a *recovery.Account) { a.HasPassword = false },
			func(a *recovery.Account) { a.EmailVerified = false },
		} {
			bad := a
			change(&bad)
			b.put(bad, "hash-0")
			b.wantReason(r.Digest, t0, recovery.TokenAccountGone)
		}
		b.put(a, "hash-0")
		b.wantReason(r.Digest, t0, "")
		b.ok(b.Remove("1"), "Remove")
		b.wantReason(r.Digest, t0, recovery.TokenAccountGone)
	}},
	{"Stale", "A reset is TokenStale when the account's Version is not the reset's.", func(b *bench) {
		a := b.alice()
		r := b.live(a, t0)
		b.put(a, "hash-1")
		b.wantReason(r.Digest, t0, recovery.TokenStale)
		b.put(a, "hash-0")
		b.wantReason(r.Digest, t0, "")
		a.Email = "alice@example.org"
		b.put(a, "hash-0")
		b.wantReason(r.Digest, t0, recovery.TokenStale)
	}},
	{"FarAhead", "It must return the error of Reset.Judge: a reset with an implausibly late expiry is expired.", func(b *bench) {
		r := b.live(b.alice(), t0)
		b.wantReason(r.Digest, t0.Add(-48*time.Hour), recovery.TokenExpired)
		_, err := b.redeem(r.Digest, t0.Add(-48*time.Hour), "hash-1")
		b.want(b.reason(err, "Redeem") == recovery.TokenExpired, "Redeem: %v", err)
		b.wantReason(r.Digest, t0, "")
	}},
}

// wantReason wants the token to be refused for the reason, or to be live if it is "".
func (b *bench) wantReason(d recovery.Digest, at time.Time, want recovery.TokenReason) {
	got := b.find(d, at)
	b.want(got == want, "at %v the token is %q, not %q (\"\" is live)", at, got, want)
}

// reason returns the reason of a *TokenError, and fails for any other error.
func (b *bench) reason(err error, what string) recovery.TokenReason {
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*recovery.TokenError](err)
	b.want(ok && e.Reason != "", "%s: the error is %v, not a *TokenError with a reason", what, err)
	b.want(errors.Is(err, recovery.ErrInvalidToken), "%s: the error does not match ErrInvalidToken", what)
	return e.Reason
}
