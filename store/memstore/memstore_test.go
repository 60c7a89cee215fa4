package memstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/memstore"
	"example.com/recovery/store/storetest"
)

// A look-up must not touch the index, however its two forms are merged.
func TestLookUpLeavesTheIndex(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	put := func(id, email string) {
		s.Put(recovery.Account{ID: id, Username: "user" + id, Email: email, Active: true, HasPassword: true, EmailVerified: true}, "hash")
	}
	for _, id := range []string{"5", "6", "7"} { // so that the slice of IDs has room
		put(id, "many@example.com")
	}
	put("1", "no address")
	for range 2 {
		both, err := s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByEmail, Typed: "no address", Canonical: "many@example.com", Max: 9})
		is.NoErr(err)
		is.Equal(len(both), 4)
		many, err := s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByEmail, Typed: "many@example.com", Canonical: "many@example.com", Max: 9})
		is.NoErr(err)
		is.Equal(len(many), 3)
		is.Equal(many[0].ID, "5")
	}
}

// A name that this library would refuse is found as it is stored.
func TestNameWithoutCanonicalForm(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	const name = "Zero\u200bWidth"
	s.Put(recovery.Account{ID: "1", Username: name, Email: "a@example.com"}, "hash")
	found, err := s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByUsername, Typed: name, Canonical: name, Max: 9})
	is.NoErr(err)
	is.Equal(len(found), 1)
	found, err = s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByUsername, Max: 9})
	is.NoErr(err)
	is.Equal(len(found), 0) // by no name
}

// Removing one account of an address leaves the others.
func TestRemoveLeavesTheOthersOfAnAddress(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	for _, id := range []string{"1", "2", "3"} {
		s.Put(recovery.Account{ID: id, Username: "user" + id, Email: "many@example.com"}, "hash")
	}
	for left := 2; left > 0; left-- {
		s.Remove([]string{"3", "1"}[2-left])
		found, err := s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByEmail, Typed: "many@example.com", Canonical: "many@example.com", Max: 9})
		is.NoErr(err)
		is.Equal(len(found), left)
		is.Equal(found[left-1].ID, "2")
	}
}

// A refused call stores nothing of the limits that it did not reach.
func TestRefusedLimitsAreNotStored(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	once := func(key byte) recovery.Charge {
		return recovery.Charge{Key: recovery.Digest{key}, Limit: recovery.Limit{Burst: 1, Every: time.Hour}}
	}
	is.NoErr(s.TakeLimits(t.Context(), now, []recovery.Charge{once(1)}))
	before := s.Dump()
	is.True(errors.Is(s.TakeLimits(t.Context(), now, []recovery.Charge{once(1), once(2)}), recovery.ErrLimited))
	is.Equal(s.Dump(), before)
}

// Refunding a charge stores nothing if it was never taken, or if its state was purged.
func TestRefundOfNothingIsNotStored(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	charges := recovery.Charges{{Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 1, Every: time.Hour}}}
	is.NoErr(s.RefundLimits(t.Context(), charges))
	is.Equal(s.Dump(), "")
}

// The application's own canonical form replaces the library's.
func TestOwnCanonicalUsername(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	s.CanonicalUsername = func(name string) string { return strings.ReplaceAll(name, ".", "") }
	s.Put(recovery.Account{ID: "1", Username: "A.lice", Email: "a.lice@example.com"}, "hash")
	find := func(by recovery.IdentifierKind, text string) (ids []string) {
		is.Helper()
		query := recovery.AccountQuery{By: by, Typed: text, Canonical: text, Max: 9}
		found, err := s.FindAccounts(t.Context(), query)
		is.NoErr(err)
		for _, a := range found {
			ids = append(ids, a.ID)
		}
		return ids
	}
	is.Equal(find(recovery.ByUsername, "Alice"), []string{"1"})
	is.Equal(len(find(recovery.ByUsername, "alice")), 0)
	is.Equal(find(recovery.ByEmail, "a.lice@example.com"), []string{"1"})
	s.Remove("1")
	is.Equal(len(find(recovery.ByUsername, "Alice")), 0)
}

// The application's canonical form gets what the Service gives it: U+212A stays as it is, and
// isolates around a name are trimmed.
func TestOwnCanonicalUsernameGetsWhatTheServiceGivesIt(t *testing.T) {
	for _, stored := range []string{"\u212aelvin", "\u2068\u212aelvin\u2069", "\u3000\u212aelvin"} {
		is := is.New(t)
		s := memstore.New()
		s.CanonicalUsername = strings.Clone
		s.Put(recovery.Account{ID: "1", Username: stored}, "hash")
		found, err := s.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByUsername, Typed: "\u212aelvin", Canonical: "\u212aelvin", Max: 9})
		is.NoErr(err)
		is.Equal(len(found), 1)
	}
}

// After Purge has deleted some of an account's tokens, the rest can still be voided.
func TestTokensAreVoidedAfterPurge(t *testing.T) {
	for name, before := range map[string]bool{"two are left": true, "one is left, and another is made": false} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s := memstore.New()
			s.Put(recovery.Account{ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true}, "hash")
			now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
			create := func(digest byte, life time.Duration) {
				is.Helper()
				is.NoErr(s.Enqueue(t.Context(), recovery.Job{ID: "j"}, nil))
				_, err := s.Claim(t.Context(), recovery.Claim{LeaseID: "l", JobID: "j"})
				is.NoErr(err)
				_, err = s.CreateResets(t.Context(), recovery.ResetBatch{JobID: "j", LeaseID: "l", At: now, Resets: []recovery.Reset{{
					Digest: recovery.Digest{digest}, AccountID: "1", Version: recovery.NewVersion("hash", "alice@example.com"),
					RequestedAt: now, ExpiresAt: now.Add(life),
				}}})
				is.NoErr(err)
				is.NoErr(s.Finish(t.Context(), recovery.Outcome{JobID: "j", LeaseID: "l"}))
			}
			create(0, time.Hour)
			create(1, 3*time.Hour)
			if before {
				create(2, 3*time.Hour)
			}
			now = now.Add(2 * time.Hour)
			n, err := s.Purge(t.Context(), now, now.Add(24*time.Hour), 100)
			is.NoErr(err)
			is.Equal(n, 1)
			if !before {
				create(2, 3*time.Hour)
			}
			_, err = s.Redeem(t.Context(), recovery.Redemption{Digest: recovery.Digest{2}, At: now, PasswordHash: "hash"})
			is.NoErr(err)
			_, _, err = s.FindReset(t.Context(), recovery.Digest{1}, now)
			var refused *recovery.TokenError
			is.True(errors.As(err, &refused))
			is.Equal(refused.Reason, recovery.TokenVoided) // not by its Version alone, which the same hash does not change
		})
	}
}

// A job that was claimed by its ID is in the queue once.
func TestClaimedByIDIsClaimedOnceLater(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	// A new job was never claimed, whatever it says.
	is.NoErr(s.Enqueue(t.Context(), recovery.Job{ID: "a", RequestedAt: now, Attempts: 7, LeaseID: "old"}, nil))
	claimed, err := s.Claim(t.Context(), recovery.Claim{LeaseID: "1", At: now, Until: now.Add(time.Minute), Max: 1, JobID: "a"})
	is.NoErr(err)
	is.Equal(len(claimed), 1)
	is.Equal(claimed[0].Attempts, 1)
	claimed, err = s.Claim(t.Context(), recovery.Claim{LeaseID: "2", Lane: recovery.LaneMail, At: now.Add(time.Minute), Until: now.Add(time.Hour), Max: 9})
	is.NoErr(err)
	is.Equal(len(claimed), 1)
	is.Equal(claimed[0].Attempts, 2)
}

func TestPutReplaces(t *testing.T) {
	is := is.New(t)
	s := memstore.New()
	a := recovery.Account{ID: "1", Username: "alice", Email: "alice@example.com"}
	s.Put(a, "old")
	s.Put(a, "new")
	hash, ok := s.PasswordHash("1")
	is.True(ok)
	is.Equal(hash, "new")
	s.Remove("1")
	s.Remove("1")
	_, ok = s.PasswordHash("1")
	is.True(!ok)
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Harness {
		s := memstore.New()
		return storetest.Harness{
			Store:  s,
			Put:    func(a recovery.Account, hash string) error { s.Put(a, hash); return nil },
			Remove: func(id string) error { s.Remove(id); return nil },
			PasswordHash: func(id string) (string, error) {
				hash, _ := s.PasswordHash(id)
				return hash, nil
			},
			Dump: func() (string, error) { return s.Dump(), nil },
		}
	})
}
