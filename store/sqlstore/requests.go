package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"example.com/recovery"
)

// Claim implements [recovery.Queue].
func (s *Store) Claim(ctx context.Context, l recovery.Claim) (claimed []recovery.Job, err error) {
	err = s.write(ctx, func(tx txn) error {
		at, until := l.At.UnixMicro(), l.Until.UnixMicro()
		claim, lock, which := s.sql.claim, s.sql.lockDue, []any{at, l.Max}
		if l.JobID != "" {
			claim, lock, which = s.sql.claimOne, s.sql.lockOne, []any{l.JobID, at}
		}
		if claim != "" {
			claimed, err = s.requests(tx.QueryContext(ctx, claim, append([]any{l.LeaseID, until}, which...)...))
			return err
		}
		claimed, err = s.requests(tx.QueryContext(ctx, lock, which...))
		if err != nil || len(claimed) == 0 {
			return err
		}
		var ids rows
		for i := range claimed {
			ids.add(claimed[i].ID)
			claimed[i].Attempts++
			claimed[i].LeaseID = l.LeaseID
		}
		_, err = tx.ExecContext(ctx, ids.expand(s.sql.lease), append([]any{l.LeaseID, until}, ids.values...)...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return claimed, nil
}

// Finish implements [recovery.Queue].
func (s *Store) Finish(ctx context.Context, o recovery.Outcome) error {
	if err := fitRequests(o.Add); err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	return s.share(ctx, func(ctx context.Context, tx txn) error {
		if o.LeaseID == "" {
			return recovery.ErrLeaseLost
		}
		var requestedAt int64
		if o.Mailed != "" { // before the request, as everywhere: account first
			if _, err := s.accounts.LockAccount(ctx, tx.Tx, o.Mailed); err != nil {
				return err
			}
			err := tx.QueryRowContext(ctx, s.sql.findLeased, o.JobID, o.LeaseID).Scan(&requestedAt)
			if errors.Is(err, sql.ErrNoRows) {
				return recovery.ErrLeaseLost
			}
			if err != nil {
				return err
			}
		}
		var err error
		if o.RetryAt.IsZero() {
			err = one(recovery.ErrLeaseLost)(tx.ExecContext(ctx, s.sql.finish, o.JobID, o.LeaseID))
		} else {
			at := o.RetryAt.UnixMicro()
			err = one(recovery.ErrLeaseLost)(tx.ExecContext(ctx, s.sql.retry, at, at, o.JobID, o.LeaseID))
		}
		if err != nil {
			return err
		}
		if o.Mailed != "" {
			if _, err := tx.ExecContext(ctx, s.sql.markMailed, o.Mailed, o.JobID); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, s.sql.supersede, o.Mailed, requestedAt, requestedAt, o.JobID); err != nil {
				return err
			}
		}
		return s.insert(ctx, tx, o.Add...)
	})
}

// Purge implements [recovery.Queue]. On SQLite the limits of an identifier go together, with the last of them.
func (s *Store) Purge(ctx context.Context, before time.Time, max int) (n int, err error) {
	err = s.write(ctx, func(tx txn) error {
		resets, err := affected(tx.ExecContext(ctx, s.sql.purgeResets, before.UnixMicro(), max))
		if err != nil {
			return err
		}
		limits, err := affected(tx.ExecContext(ctx, s.sql.purgeLimits, before.UnixMicro(), max-int(resets)))
		n = int(resets + limits)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (s *Store) insert(ctx context.Context, tx txn, requests ...recovery.Job) error {
	if len(requests) == 0 {
		return nil
	}
	return s.execAll(ctx, tx, s.sql.insertRequests, requestRows(requests))
}

func requestRows(requests []recovery.Job) (rows rows) {
	for _, r := range requests {
		client := ""
		if r.Client.IsValid() {
			client = r.Client.String()
		}
		throttled := int64(0)
		if r.Throttled {
			throttled = 1
		}
		due := r.DueAt.UnixMicro()
		rows.add(r.ID, string(r.Kind), string(r.By), r.Identifier, r.AccountID, r.Portal, r.Locale, client,
			r.RequestedAt.UnixMicro(), due, due, throttled)
	}
	return rows
}

func fitRequests(requests []recovery.Job) error {
	for _, r := range requests {
		if err := fitRequest(r); err != nil {
			return err
		}
	}
	return nil
}

func fitRequest(r recovery.Job) error {
	return fit(bounded{r.ID, maxName}, bounded{r.Identifier, maxIdentifier}, bounded{r.AccountID, maxAccountID},
		bounded{r.Portal, maxName}, bounded{r.Locale, maxName})
}
