package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/recovery"
)

// CreateReset implements [recovery.Resets]. The account is locked, so that the mail of a newer
// request cannot be finished between the look and the insert.
func (s *Store) CreateReset(ctx context.Context, r recovery.Reset) error {
	if err := fit(bounded{r.AccountID, maxAccountID}, bounded{r.JobID, maxName}); err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	return s.share(ctx, func(ctx context.Context, tx txn) error {
		if _, err := s.accounts.LockAccount(ctx, tx.Tx, r.AccountID); err != nil {
			return err
		}
		at := r.RequestedAt.UnixMicro()
		return one(recovery.ErrSuperseded)(tx.ExecContext(ctx, s.sql.createReset,
			r.Digest[:], r.AccountID, r.Version[:], r.JobID, at, r.ExpiresAt.UnixMicro(),
			r.AccountID, at, at, r.JobID))
	})
}

// FindReset implements [recovery.Resets]. It reads the reset with the digest or the next one, and that
// one's account, whatever becomes of the token: an unknown one takes as long as one that was used, and as
// one whose account is gone. If there is no next one, it asks for the account "0".
func (s *Store) FindReset(ctx context.Context, digest recovery.Digest, at time.Time) (r recovery.Reset, a recovery.Account, err error) {
	err = s.read(ctx, func(tx txn) error {
		next, ended, err := scanReset(tx.QueryRowContext(ctx, s.sql.findReset, digest[:]))
		if errors.Is(err, sql.ErrNoRows) {
			next.AccountID, err = "0", nil
		}
		if err != nil {
			return err
		}
		found, err := s.accounts.FindAccounts(ctx, tx.Tx, recovery.AccountQuery{
			By: recovery.ByID, Typed: next.AccountID, Canonical: next.AccountID, Max: 10, // a comparison may be loose
		})
		unknown := &recovery.TokenError{Reason: recovery.TokenUnknown}
		switch {
		case next.Digest != digest && strings.HasPrefix(code(err), "22"): // a data exception: "0" is no ID there
			return unknown
		case err != nil && !errors.Is(err, errNotAnID):
			return err
		case next.Digest != digest:
			return unknown
		}
		r = next
		a, err = live(r, ended, at, found)
		return err
	})
	if err != nil {
		return recovery.Reset{}, recovery.Account{}, err
	}
	return r, a, nil
}

// reset reads the reset with the digest and how it ended, "" if it did not.
func (s *Store) reset(ctx context.Context, tx txn, digest recovery.Digest) (r recovery.Reset, ended recovery.TokenReason, err error) {
	r, ended, err = scanReset(tx.QueryRowContext(ctx, s.sql.findReset, digest[:]))
	if errors.Is(err, sql.ErrNoRows) || err == nil && r.Digest != digest {
		return recovery.Reset{}, "", &recovery.TokenError{Reason: recovery.TokenUnknown}
	}
	return r, ended, err
}

func scanReset(row *sql.Row) (r recovery.Reset, ended recovery.TokenReason, err error) {
	var digest, version []byte
	var requestedAt, expiresAt int64
	if err = row.Scan(&digest, &r.AccountID, &version, &r.JobID, &requestedAt, &expiresAt, &ended); err != nil {
		return r, "", err
	}
	copy(r.Digest[:], digest)
	copy(r.Version[:], version)
	r.RequestedAt, r.ExpiresAt = fromMicro(requestedAt), fromMicro(expiresAt)
	return r, ended, nil
}

// live returns the account of a reset, of those that have its ID, if it can be redeemed, or the reason
// why it cannot.
func live(r recovery.Reset, ended recovery.TokenReason, at time.Time, found []recovery.Account) (recovery.Account, error) {
	refuse := func(reason recovery.TokenReason) (recovery.Account, error) {
		return recovery.Account{}, &recovery.TokenError{Reason: reason}
	}
	switch {
	case ended != "":
		return refuse(ended)
	case !at.Before(r.ExpiresAt):
		return refuse(recovery.TokenExpired)
	}
	i := slices.IndexFunc(found, func(a recovery.Account) bool { return a.ID == r.AccountID })
	switch {
	case i < 0 || !found[i].Eligible():
		return refuse(recovery.TokenAccountGone)
	case found[i].Version != r.Version:
		return refuse(recovery.TokenStale)
	}
	return found[i], nil
}

// Redeem implements [recovery.Resets]. Transactions about one account wait for each other at
// the lock of its row; the guarded update decides who redeems.
func (s *Store) Redeem(ctx context.Context, c recovery.Redemption) (account recovery.Account, err error) {
	if err := fitRequests(c.Add); err != nil {
		return recovery.Account{}, fmt.Errorf("sqlstore: %w", err)
	}
	err = s.write(ctx, func(tx txn) error {
		r, _, err := s.reset(ctx, tx, c.Digest)
		if err != nil {
			return err
		}
		locked, err := s.accounts.LockAccount(ctx, tx.Tx, r.AccountID)
		if errors.Is(err, errNotAnID) {
			return &recovery.TokenError{Reason: recovery.TokenAccountGone}
		}
		if err != nil {
			return err
		}
		// Read again: the lock may have been waited for. MySQL's default level shows what was before; then
		// the guard of redeem decides.
		r, ended, err := s.reset(ctx, tx, c.Digest)
		if err != nil {
			return err
		}
		if _, err := live(r, ended, c.At, locked); err != nil {
			return err
		}
		used := &recovery.TokenError{Reason: recovery.TokenUsed}
		err = one(used)(tx.ExecContext(ctx, s.sql.redeem, c.Digest[:], c.At.UnixMicro()))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, s.sql.voidOthers, r.AccountID); err != nil {
			return err
		}
		if err := s.accounts.SetPassword(ctx, tx.Tx, r.AccountID, c.PasswordHash); err != nil {
			return err
		}
		if err := s.insert(ctx, tx, c.Add...); err != nil {
			return err
		}
		after, err := s.accounts.LockAccount(ctx, tx.Tx, r.AccountID)
		if err != nil {
			return err
		}
		if len(after) != 1 {
			return errors.New("the account is gone after its password was set")
		}
		account = after[0]
		return nil
	})
	if err != nil {
		return recovery.Account{}, err
	}
	return account, nil
}
