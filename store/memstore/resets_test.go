package memstore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/memstore"
)

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
