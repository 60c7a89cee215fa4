package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/recovery"
)

// codeTTL is how long a code lives, which is less than its token does.
const codeTTL = 15 * time.Minute

var codeCases = []testCase{
	{"OwnExpiry", "FindReset returns the reset with the digest, and must return the error of Reset.Judge: a code and a token of one mail expire each at its own ExpiresAt.", func(b *bench) {
		token, code := b.both(b.alice(), t0)
		b.store(token, code)
		secondToken, secondCode := b.both(b.numbered(1), t0)
		b.store(secondCode, secondToken)
		for _, want := range []recovery.Reset{token, code, secondToken, secondCode} {
			got, _, err := b.Store.FindReset(b.ctx, want.Digest, want.ExpiresAt.Add(-tick))
			b.ok(err, "FindReset in the last microsecond")
			b.want(got == want, "the reset came back as %+v, not %+v", got, want)
			b.wantReason(want.Digest, want.ExpiresAt, recovery.TokenExpired)
			b.wantReason(want.Digest, want.ExpiresAt.Add(tick), recovery.TokenExpired)
		}
	}},
	{"Expired", "If FindReset would refuse the digest at redemption.At, it must return that error and change nothing: an expired code leaves the token of its mail alive.", func(b *bench) {
		token, code := b.both(b.alice(), t0)
		b.store(token, code)
		before := b.dump()
		_, err := b.redeem(code.Digest, code.ExpiresAt, "hash-1")
		b.want(b.reason(err, "Redeem") == recovery.TokenExpired, "an expired code: %v", err)
		b.want(b.dump() == before && b.hash("1") == "hash-0", "the stored data changed")
		_, err = b.redeem(token.Digest, code.ExpiresAt, "hash-1")
		b.ok(err, "Redeem of the token after the code expired")
		b.wantReason(code.Digest, t0, recovery.TokenVoided) // also for a clock that is behind
	}},
	{"EndsTheOther", "It must end the reset as used and end every other reset of the account as voided: a code ends its token, and a token its code.", func(b *bench) {
		for i := range 4 {
			a := b.numbered(i)
			token, code := b.both(a, t0)
			redeemed, other := token, code
			if i%2 == 1 {
				redeemed, other = code, token
			}
			if i < 2 {
				b.store(redeemed, other)
			} else {
				b.store(other, redeemed)
			}
			_, err := b.redeem(redeemed.Digest, t0, "hash-1")
			b.ok(err, "Redeem")
			b.want(b.hash(a.ID) == "hash-1", "the stored hash is %q", b.hash(a.ID))
			b.put(a, "hash-0") // the account has its old Version again
			b.wantReason(redeemed.Digest, t0, recovery.TokenUsed)
			b.wantReason(other.Digest, t0, recovery.TokenVoided)
			_, err = b.redeem(other.Digest, t0, "hash-2")
			b.want(errors.Is(err, recovery.ErrInvalidToken), "the mail's other reset after one was redeemed: %v", err)
		}
	}},
	{"Race", "Concurrent calls must have the result of some order of them: of a token and its code, the first that is redeemed voids the other.", func(b *bench) {
		for round := range rounds {
			a := b.numbered(round)
			token, code := b.both(a, t0)
			b.store(token, code)
			b.race(a, func(i int) recovery.Digest {
				if i%2 == 0 {
					return token.Digest
				}
				return code.Digest
			})
		}
	}},
	{"SupersededOnce", "It must leave out superseded resets, and return the IDs of their accounts, each once. If there were resets and none is left, it must change nothing.", func(b *bench) {
		a, other, third := b.alice(), b.numbered(1), b.numbered(2)
		b.mailed(b.live(a, t0.Add(time.Minute)))
		b.mailed(b.live(other, t0.Add(time.Minute)))
		token, code := b.both(a, t0)
		otherToken, otherCode := b.both(other, t0)
		thirdToken, thirdCode := b.both(third, t0)
		for _, r := range []*recovery.Reset{&otherToken, &otherCode, &thirdToken, &thirdCode} {
			r.JobID = token.JobID
		}
		want := []string{a.ID, other.ID}
		slices.Sort(want)
		before := b.dump()
		superseded, err := b.mint([]recovery.Reset{token, otherToken, code, otherCode})
		b.ok(err, "CreateResets")
		slices.Sort(superseded)
		b.want(slices.Equal(superseded, want), "CreateResets left out %q, not %q", superseded, want)
		b.want(b.dump() == before, "the stored data changed")

		superseded, err = b.mint([]recovery.Reset{token, code, thirdToken, thirdCode, otherToken, otherCode})
		b.ok(err, "CreateResets")
		slices.Sort(superseded)
		b.want(slices.Equal(superseded, want), "of three accounts CreateResets left out %q, not %q", superseded, want)
		for _, r := range []recovery.Reset{token, code, otherToken, otherCode} {
			b.wantReason(r.Digest, t0, recovery.TokenUnknown)
		}
		b.wantReason(thirdToken.Digest, t0, "")
		b.wantReason(thirdCode.Digest, t0, "")
	}},
	{"Superseded", "For each account in MailedAccountIDs it must end as superseded every live reset of outcome.Requester whose request is older: codes, too.", func(b *bench) {
		a := b.alice()
		oldToken, oldCode := b.both(a, t0)
		b.store(oldToken, oldCode)
		token, code := b.both(a, t0.Add(time.Minute))
		b.store(token, code)
		b.mailed(token)
		for _, r := range []recovery.Reset{oldToken, oldCode} {
			b.wantReason(r.Digest, t0.Add(time.Minute), recovery.TokenSuperseded)
		}
		for _, r := range []recovery.Reset{token, code} {
			b.wantReason(r.Digest, t0.Add(time.Minute), "")
		}
	}},
	{"Discards", "It must delete the resets in outcome.Discard: the token, the code, or both.", func(b *bench) {
		a := b.alice()
		for _, discard := range [][]int{{0}, {1}, {0, 1}} {
			token, code := b.both(a, t0)
			resets := []recovery.Reset{token, code}
			b.store(resets...)
			wants := make([]recovery.TokenReason, len(resets))
			j := b.leased(token.JobID, t0)
			o := recovery.Outcome{JobID: j.ID, LeaseID: j.LeaseID, At: t0}
			for _, i := range discard {
				o.Discard = append(o.Discard, resets[i].Digest)
				wants[i] = recovery.TokenUnknown
			}
			b.ok(b.Store.Finish(b.ctx, o), "Finish")
			for i, r := range resets {
				b.wantReason(r.Digest, t0, wants[i])
			}
		}
	}},
	{"Purge", "Purge deletes resets whose ExpiresAt is not after the given instant: a mail's code goes before its token.", func(b *bench) {
		a := b.alice()
		token, code := b.both(a, t0)
		b.store(token, code)
		b.mailed(token)
		b.want(b.purge(code.ExpiresAt.Add(-tick), 100) == 0, "it deleted a code that is live")
		b.want(b.purge(code.ExpiresAt, 100) == 1, "it did not delete the code alone")
		b.wantReason(code.Digest, t0, recovery.TokenUnknown)
		late := b.reset(a, t0.Add(-time.Minute))
		superseded, err := b.create(late)
		b.ok(err, "CreateResets")
		b.want(len(superseded) == 1, "when it deleted the code, it forgot that the mail was accepted")
		_, err = b.redeem(token.Digest, token.ExpiresAt.Add(-tick), "hash-1")
		b.ok(err, "Redeem of the token when the code is deleted")
	}},
	{"Many", "CreateResets stores the resets of a job: a token and a code for each of many accounts.", func(b *bench) {
		var resets []recovery.Reset
		for i := range 10 {
			token, code := b.both(b.numbered(i), t0)
			if i > 0 {
				token.JobID, code.JobID = resets[0].JobID, resets[0].JobID
			}
			resets = append(resets, token, code)
		}
		b.store(resets...)
		for _, want := range resets {
			got, a, err := b.Store.FindReset(b.ctx, want.Digest, t0)
			b.ok(err, "FindReset")
			b.want(got == want && a.ID == want.AccountID, "the reset came back as %+v, not %+v", got, want)
		}
		for i := 0; i < len(resets); i += 2 { // the others' stay alive
			_, err := b.redeem(resets[i+1].Digest, t0, fmt.Sprint("new-", i))
			b.ok(err, "Redeem of a code")
			b.wantReason(resets[i].Digest, t0, recovery.TokenVoided)
		}
	}},
}

// both returns a token and a code of one mail to the account, not yet stored.
func (b *bench) both(a recovery.Account, at time.Time) (token, code recovery.Reset) {
	token = b.reset(a, at)
	code = token
	code.Digest, code.ExpiresAt = b.digest(), at.Add(codeTTL)
	return token, code
}
