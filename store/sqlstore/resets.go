package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"example.com/recovery"
)

// CreateResets implements [recovery.Resets]. It locks the accounts, so that the job of a newer
// request cannot finish between the check for it and the insert.
func (s *Store) CreateResets(ctx context.Context, m recovery.ResetBatch) ([]string, error) {
	if m.LeaseID == noLease {
		return nil, recovery.ErrLeaseLost
	}
	// They may be used after ctx ended and the caller left.
	m.Resets, m.Charges = slices.Clone(m.Resets), slices.Clone(m.Charges)
	var accountIDs []string
	for _, r := range m.Resets {
		if err := errors.Join(fit(r.AccountID, maxAccountID), fit(r.JobID, maxName)); err != nil {
			return nil, err
		}
		accountIDs = append(accountIDs, r.AccountID)
	}
	return writing(ctx, s, func(ctx context.Context, w *writeTx) (superseded []string, _ error) {
		if err := s.lockAccounts(ctx, w, accountIDs); err != nil {
			return nil, err
		}
		_, charged, err := s.lockJob(ctx, w, m.JobID, m.LeaseID)
		if err != nil {
			return nil, err
		}
		var kept rowArgs
		asked := map[string]bool{} // whether an account has newer mail; its token and its code ask once
		for _, r := range m.Resets {
			at := r.RequestedAt.UnixMicro()
			newer, known := asked[r.AccountID]
			if !known {
				err := w.QueryRowContext(ctx, s.sql.findNewer, r.AccountID, r.Requester[:],
					m.At.Add(recovery.MaxClockSkew).UnixMicro(), at, at, r.JobID).Scan(&newer)
				if err != nil {
					return nil, err
				}
				asked[r.AccountID] = newer
				if newer {
					superseded = append(superseded, r.AccountID)
				}
			}
			if !newer {
				kept.add(r.Digest[:], r.AccountID, r.Version[:], r.JobID, r.Requester[:], at, r.ExpiresAt.UnixMicro())
			}
		}
		if len(superseded) > 0 && kept.len() == 0 {
			return superseded, nil
		}
		if !charged {
			if err := w.take(ctx, m.At, m.Charges); err != nil {
				return nil, err
			}
			if _, err := w.ExecContext(ctx, s.sql.setCharged, 1, m.JobID); err != nil {
				return nil, err
			}
		}
		return superseded, w.execAll(ctx, s.sql.insertResets, kept)
	})
}

// FindReset implements [recovery.Resets]. It reads the reset with the digest, or the next one, and
// its account. So an unknown token takes as long as one that was used or whose account is gone.
// After the last digest comes the first. If no reset is stored, there is no account to read, so it
// reads its own table again.
func (s *Store) FindReset(ctx context.Context, digest recovery.Digest, at time.Time) (r recovery.Reset, a recovery.Account, err error) {
	err = s.read(ctx, func(tx txn) error {
		next, err := s.nextReset(ctx, tx, digest)
		if errors.Is(err, sql.ErrNoRows) {
			_, err = s.nextReset(ctx, tx, digest)
			if errors.Is(err, sql.ErrNoRows) {
				err = errUnknownToken
			}
		}
		if err != nil {
			return err
		}
		found, err := s.accounts.AccountByID(ctx, tx.Tx, next.AccountID, false)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case next.Digest != digest: // even if the other reset's account could not be read
			return errUnknownToken
		case err != nil && !errors.Is(err, ErrNotAnID):
			return err
		}
		r, a = next, accountOf(next, found)
		return judged(r, at, a)
	})
	if err != nil {
		return recovery.Reset{}, recovery.Account{}, err
	}
	return r, a, nil
}

var errUnknownToken = verdict{&recovery.TokenError{Reason: recovery.TokenUnknown}}

// judged is Reset.Judge as a verdict.
func judged(r recovery.Reset, at time.Time, a recovery.Account) error {
	if err := r.Judge(at, a); err != nil {
		return verdict{err}
	}
	return nil
}

// accountOf returns the reset's account, or the zero Account if it was not found.
func accountOf(r recovery.Reset, found []recovery.Account) recovery.Account {
	for _, a := range found {
		if a.ID == r.AccountID {
			return a
		}
	}
	return recovery.Account{}
}

// reset reads the reset with the digest.
func (s *Store) reset(ctx context.Context, w *writeTx, digest recovery.Digest) (recovery.Reset, error) {
	r, err := s.nextReset(ctx, w.txn, digest)
	if errors.Is(err, sql.ErrNoRows) || err == nil && r.Digest != digest {
		return recovery.Reset{}, errUnknownToken
	}
	return r, err
}

// nextReset reads the reset with the digest, or the next one.
func (s *Store) nextReset(ctx context.Context, tx txn, digest recovery.Digest) (r recovery.Reset, err error) {
	var stored, version, requester []byte
	var requestedAt, expiresAt int64
	err = tx.QueryRowContext(ctx, s.sql.findReset, digest[:]).
		Scan(&stored, &r.AccountID, &version, &r.JobID, &requester, &requestedAt, &expiresAt, &r.Ended)
	if err != nil {
		return recovery.Reset{}, err
	}
	copy(r.Digest[:], stored)
	copy(r.Version[:], version)
	copy(r.Requester[:], requester)
	r.RequestedAt, r.ExpiresAt = fromMicro(requestedAt), fromMicro(expiresAt)
	return r, nil
}

// Redeem implements [recovery.Resets]. Transactions about one account wait for each other at the
// lock of its row; the guarded update decides who redeems.
func (s *Store) Redeem(ctx context.Context, c recovery.Redemption) (recovery.Account, error) {
	none := recovery.Account{}
	if err := fitJobs(c.Add...); err != nil {
		return none, err
	}
	c.Add = slices.Clone(c.Add) // see Enqueue
	return writing(ctx, s, func(ctx context.Context, w *writeTx) (recovery.Account, error) {
		r, err := s.reset(ctx, w, c.Digest)
		if err != nil {
			return none, err
		}
		locked, err := s.accounts.AccountByID(ctx, w.Tx, r.AccountID, true)
		if errors.Is(err, ErrNotAnID) {
			return none, judged(r, c.At, none)
		}
		if err != nil {
			return none, err
		}
		// Read again: others may have written before the lock was free. MySQL's default isolation
		// level does not show that; then the guard of redeem decides.
		if r, err = s.reset(ctx, w, c.Digest); err != nil {
			return none, err
		}
		if err := judged(r, c.At, accountOf(r, locked)); err != nil {
			return none, err
		}
		used := verdict{&recovery.TokenError{Reason: recovery.TokenUsed}}
		err = one(used)(w.ExecContext(ctx, s.sql.redeem, c.Digest[:], c.At.UnixMicro()))
		if err != nil {
			return none, err
		}
		if _, err := w.ExecContext(ctx, s.sql.voidOthers, r.AccountID); err != nil {
			return none, err
		}
		if err := s.accounts.SetPassword(ctx, w.Tx, r.AccountID, c.PasswordHash); err != nil {
			return none, err
		}
		if r, err = s.reset(ctx, w, c.Digest); err != nil {
			return none, err
		}
		if r.Ended != recovery.TokenUsed {
			return none, errors.New("the transaction ended in SetPassword, which must return every error of its statements")
		}
		w.jobs = append(w.jobs, c.Add...)
		after, err := s.accounts.AccountByID(ctx, w.Tx, r.AccountID, true)
		if err != nil {
			return none, err
		}
		account := accountOf(r, after)
		if account.ID != r.AccountID {
			return none, errors.New("the account is gone after its password was set")
		}
		return account, nil
	})
}
