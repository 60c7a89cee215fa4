package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/recovery"
)

const (
	racers = 64
	rounds = 5
)

var redeemCases = []testCase{
	{"Redeems", "Redeem must set the account's password hash, end the reset as used and return the account as it is then.", func(b *bench) {
		a := b.alice()
		r := b.live(a, t0)
		got, err := b.redeem(r.Digest, t0.Add(time.Hour), "hash-1")
		b.ok(err, "Redeem")
		b.want(b.hash("1") == "hash-1", "the stored hash is %q", b.hash("1"))
		b.want(got == b.byID("1"), "the account returned is not the one that is stored")
		b.want(got.Version != a.Version, "the Version did not change")
		b.wantReason(r.Digest, t0.Add(time.Hour), recovery.TokenUsed)
	}},
	{"OnlyThePassword", "It must not change anything else of the account.", func(b *bench) {
		a := account("1", "alice", "Alice@Example.com")
		a.Locale, a.SignIn = "ja", "Google"
		b.put(a, "hash-0")
		b.put(account("2", "bob", "bob@example.com"), "hash-bob")
		r := b.live(b.byID("1"), t0)
		got, err := b.redeem(r.Digest, t0, "hash-1")
		b.ok(err, "Redeem")
		a.Version = got.Version
		b.want(b.byID("1") == a, "another field of the account changed")
		b.want(b.hash("2") == "hash-bob", "another account's password changed")
	}},
	{"LongHash", "A text of the Store must be kept byte for byte.", func(b *bench) {
		r := b.live(b.alice(), t0)
		hash := "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$" + fmt.Sprintf("%0190d", 1)
		_, err := b.redeem(r.Digest, t0, hash)
		b.ok(err, "Redeem")
		b.want(b.hash("1") == hash, "a hash of %d bytes came back as %q", len(hash), b.hash("1"))
	}},
	{"Once", "Of any number of calls with one digest at most one must succeed.", func(b *bench) {
		a := b.alice()
		r := b.live(a, t0)
		_, err := b.redeem(r.Digest, t0, "hash-1")
		b.ok(err, "Redeem")
		_, err = b.redeem(r.Digest, t0, "hash-2")
		b.want(errors.Is(err, recovery.ErrInvalidToken), "the second call returned %v", err)
		b.want(b.hash("1") == "hash-1", "the second call set the hash")
		b.put(a, "hash-0") // the account has its old Version again
		_, err = b.redeem(r.Digest, t0, "hash-2")
		b.want(errors.Is(err, recovery.ErrInvalidToken), "a used token after the old password came back: %v", err)
	}},
	{"VoidsTheRest", "It must end every other reset of the account as voided.", func(b *bench) {
		a := b.alice()
		b.put(account("2", "bob", "bob@example.com"), "h")
		old, mid, young := b.live(a, t0), b.live(a, t0.Add(time.Minute)), b.live(a, t0.Add(2*time.Minute))
		bobs := b.live(b.byID("2"), t0)
		at := t0.Add(time.Hour)
		_, err := b.redeem(mid.Digest, at, "hash-1")
		b.ok(err, "Redeem")
		b.wantReason(old.Digest, at, recovery.TokenVoided)
		b.wantReason(young.Digest, at, recovery.TokenVoided)
		b.wantReason(bobs.Digest, at, "")
		_, err = b.redeem(young.Digest, at, "hash-2")
		b.want(errors.Is(err, recovery.ErrInvalidToken), "a voided token: %v", err)
		// The token stays void when the account has its old Version again: a check of the Version
		// is not enough.
		b.put(a, "hash-0")
		b.wantReason(young.Digest, at, recovery.TokenVoided)
		_, err = b.redeem(young.Digest, at, "hash-2")
		b.want(errors.Is(err, recovery.ErrInvalidToken), "a voided token after the old password came back: %v", err)
	}},
	{"AddsToTheQueue", "It must, in one transaction with the password, add redemption.Add to the queue.", func(b *bench) {
		a := b.alice()
		r := b.live(a, t0)
		notice := b.job(t0)
		notice.Kind, notice.By, notice.Identifier, notice.AccountID = recovery.JobNotice, recovery.ByEmail, a.Email, a.ID
		notice.Tenant = "acme"
		call := b.job(t0)
		call.Kind, call.By, call.Identifier, call.AccountID = recovery.JobOnReset, recovery.ByID, a.ID, a.ID
		_, err := b.Store.Redeem(b.ctx, recovery.Redemption{
			Digest: r.Digest, At: t0, PasswordHash: "hash-1", Add: []recovery.Job{notice, call},
		})
		b.ok(err, "Redeem")
		claimed := b.claim(t0)
		b.want(len(claimed) == 2, "%d jobs in the queue, not 2", len(claimed))
		for _, q := range claimed {
			want := notice
			if q.ID == call.ID {
				want = call
			}
			want.LeaseID, want.Attempts = q.LeaseID, 1
			b.want(q == want, "the queued job of kind %s came back with other fields", q.Kind)
		}
	}},
	{"Refuses", "If FindReset would refuse the digest at redemption.At, it must return that error and change nothing.", func(b *bench) {
		a := b.alice()
		r := b.live(a, t0)
		inactive, moved := a, a
		inactive.Active = false
		moved.Email = "alice@example.org"
		for _, c := range []struct {
			name    string
			digest  recovery.Digest
			at      time.Time
			prepare func()
		}{
			{"unknown", b.digest(), t0, func() {}},
			{"at ExpiresAt", r.Digest, r.ExpiresAt, func() {}},
			{"after ExpiresAt", r.Digest, r.ExpiresAt.Add(tick), func() {}},
			{"inactive", r.Digest, t0, func() { b.put(inactive, "hash-0") }},
			{"password changed", r.Digest, t0, func() { b.put(a, "hash-x") }},
			{"address changed", r.Digest, t0, func() { b.put(moved, "hash-0") }},
			{"deleted", r.Digest, t0, func() { b.ok(b.Remove("1"), "Remove") }},
		} {
			b.put(a, "hash-0")
			c.prepare()
			before := b.dump()
			_, err := b.Store.Redeem(b.ctx, recovery.Redemption{
				Digest: c.digest, At: c.at, PasswordHash: "hash-1", Add: []recovery.Job{b.job(t0)},
			})
			b.want(errors.Is(err, recovery.ErrInvalidToken), "%s: the error is %v", c.name, err)
			b.want(b.dump() == before, "%s: the stored data changed", c.name)
			if c.name != "deleted" {
				b.want(b.hash("1") != "hash-1", "%s: the password was set", c.name)
			}
		}
		b.put(a, "hash-0")
		_, err := b.redeem(r.Digest, r.ExpiresAt.Add(-tick), "hash-1")
		b.ok(err, "Redeem in the last microsecond")
	}},
	{"RaceOneToken", "Of any number of concurrent calls with one digest at most one must succeed.", func(b *bench) {
		for round := range rounds {
			a := b.numbered(round)
			r := b.live(a, t0)
			b.race(a, func(int) recovery.Digest { return r.Digest })
		}
	}},
	{"RaceOneAccount", "Concurrent calls must have the result of some order of them: the first voids the others.", func(b *bench) {
		for round := range rounds {
			a := b.numbered(round)
			var digests [racers / 4]recovery.Digest
			for i := range digests {
				digests[i] = b.live(a, t0).Digest
			}
			b.race(a, func(i int) recovery.Digest { return digests[i%len(digests)] })
		}
	}},
	{"RaceManyAccounts", "Calls for different accounts do not hinder one another.", func(b *bench) {
		var resets []recovery.Reset
		for i := range racers {
			resets = append(resets, b.live(b.numbered(i), t0))
		}
		errs := together(racers, func(i int) error {
			_, err := b.redeem(resets[i].Digest, t0, fmt.Sprint("new-", i))
			return err
		})
		for i, err := range errs {
			b.ok(err, "Redeem")
			b.want(b.hash(resets[i].AccountID) == fmt.Sprint("new-", i), "account %d has another's hash", i)
		}
	}},
	{"RacePasswordChange", "Concurrent calls must have the result of some order of them: a token is worth nothing once the password changed elsewhere.", func(b *bench) {
		for round := range rounds * 4 {
			a := b.numbered(round)
			r := b.live(a, t0)
			errs := together(2, func(i int) error {
				if i == 0 {
					return b.Put(a, "changed elsewhere")
				}
				_, err := b.redeem(r.Digest, t0, "by token")
				return err
			})
			b.ok(errs[0], "Put")
			// Put overwrites whatever is there, so it wins in either order.
			b.want(errs[1] == nil || errors.Is(errs[1], recovery.ErrInvalidToken), "Redeem: %v", errs[1])
			b.want(b.hash(a.ID) == "changed elsewhere", "the token overwrote a newer password")
		}
	}},
}

// numbered stores one of many accounts.
func (b *bench) numbered(i int) recovery.Account {
	id := fmt.Sprint(1000 + i)
	b.put(account(id, "user"+id, "user"+id+"@example.com"), "hash-0")
	return b.byID(id)
}

// race has racers redeem at once and wants one winner, whose hash and notice are stored.
func (b *bench) race(a recovery.Account, digest func(int) recovery.Digest) {
	var jobs []recovery.Job
	for range racers {
		q := b.job(t0)
		q.Kind, q.AccountID = recovery.JobNotice, a.ID
		jobs = append(jobs, q)
	}
	errs := together(racers, func(i int) error {
		_, err := b.Store.Redeem(b.ctx, recovery.Redemption{
			Digest: digest(i), At: t0, PasswordHash: fmt.Sprint("hash of ", i), Add: []recovery.Job{jobs[i]},
		})
		return err
	})
	winner, winners := -1, 0
	for i, err := range errs {
		if err == nil {
			winner = i
			winners++
		} else {
			b.want(errors.Is(err, recovery.ErrInvalidToken), "a loser got %v", err)
		}
	}
	b.want(winners == 1, "%d of %d concurrent calls succeeded, not 1", winners, racers)
	b.want(b.hash(a.ID) == fmt.Sprint("hash of ", winner), "the stored hash is not the winner's")
	notice := b.claimOne(t0)
	b.want(notice.ID == jobs[winner].ID, "the queue holds a loser's job")
	b.finish(notice, t0)
}

// together calls f(0) … f(n-1) at once and returns their errors.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}
