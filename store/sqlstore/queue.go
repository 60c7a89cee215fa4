package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"example.com/recovery"
)

// Enqueue implements [recovery.Queue].
func (s *Store) Enqueue(ctx context.Context, j recovery.Job, charges recovery.Charges) error {
	if err := fitJobs(j); err != nil {
		return err
	}
	charges = slices.Clone(charges) // they may be used after ctx ended and the caller left
	return s.share(s.commits, &call{ctx: ctx, charges: charges, run: func(ctx context.Context, w *writeTx) error {
		if err := w.take(ctx, j.RequestedAt, charges); err != nil {
			return err
		}
		j.Priority = charges.Priority(j.RequestedAt, w.limits)
		w.jobs = append(w.jobs, j) // flush stores it
		return nil
	}})
}

// TakeLimits implements [recovery.Queue].
func (s *Store) TakeLimits(ctx context.Context, at time.Time, charges recovery.Charges) error {
	charges = slices.Clone(charges)
	return s.share(s.limitCommits, &call{ctx: ctx, charges: charges, run: func(ctx context.Context, w *writeTx) error {
		return w.take(ctx, at, charges)
	}})
}

// RefundLimits implements [recovery.Queue].
func (s *Store) RefundLimits(ctx context.Context, charges recovery.Charges) error {
	charges = slices.Clone(charges)
	return s.write(ctx, func(ctx context.Context, w *writeTx) error { return w.refund(ctx, charges) })
}

// Claim implements [recovery.Queue].
func (s *Store) Claim(ctx context.Context, c recovery.Claim) ([]recovery.Job, error) {
	return writing(ctx, s, func(ctx context.Context, w *writeTx) (claimed []recovery.Job, _ error) {
		lane, at := string(c.Lane), c.At.UnixMicro()
		if c.JobID != "" {
			return s.claim(ctx, w, c, s.sql.claimOne, c.JobID, at)
		}
		claim := func(max int, text string, which ...any) error {
			if max <= 0 {
				return nil
			}
			jobs, err := s.claim(ctx, w, c, text, append(which, max)...)
			claimed = append(claimed, jobs...)
			return err
		}
		if err := claim(c.Again, s.sql.claimAgain, lane, at); err != nil {
			return nil, err
		}
		mayBeMore := len(claimed) == c.Again
		if err := claim(c.Max-len(claimed), s.sql.claimFresh, lane); err != nil {
			return nil, err
		}
		if mayBeMore {
			if err := claim(c.Max-len(claimed), s.sql.claimAgain, lane, at); err != nil {
				return nil, err
			}
		}
		return claimed, nil
	})
}

// claim leases the jobs that a statement finds. MySQL's statements only lock them.
func (s *Store) claim(ctx context.Context, w *writeTx, c recovery.Claim, text string, which ...any) ([]recovery.Job, error) {
	until := c.Until.UnixMicro()
	if s.sql.lease == "" {
		return readJobs(w.QueryContext(ctx, text, append([]any{c.LeaseID, until}, which...)...))
	}
	found, err := readJobs(w.QueryContext(ctx, text, which...))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	var ids rowArgs
	for i := range found {
		ids.add(found[i].ID)
		found[i].Attempts++
		found[i].LeaseID = c.LeaseID
	}
	_, err = w.ExecContext(ctx, ids.expand(s.sql.lease), append([]any{c.LeaseID, until}, ids.values...)...)
	return found, err
}

var readJobs = collect(func(row *sql.Rows) (j recovery.Job, err error) {
	var client string
	var ticket []byte // NULL without a ticket
	var requestedAt, priority int64
	err = row.Scan(&j.ID, &j.Kind, &j.By, &j.Identifier, &j.AccountID, &j.Tenant, &ticket, &j.Portal, &j.Locale, &client,
		&requestedAt, &priority, &j.Charged, &j.Attempts, &j.LeaseID)
	copy(j.Ticket[:], ticket)
	j.Client, _ = netip.ParseAddr(client) // "" is the zero Addr
	j.RequestedAt, j.Priority = fromMicro(requestedAt), fromMicro(priority)
	return j, err
})

// noLease is the LeaseID of jobs that nobody holds.
const noLease = ""

// lockJob locks a job and returns when it was requested and whether it was charged. The error is
// ErrLeaseLost unless the job is held under the lease.
func (s *Store) lockJob(ctx context.Context, w *writeTx, id, leaseID string) (requestedAt int64, charged bool, err error) {
	err = w.QueryRowContext(ctx, s.sql.lockJob, id, leaseID).Scan(&requestedAt, &charged)
	if errors.Is(err, sql.ErrNoRows) {
		err = verdict{recovery.ErrLeaseLost}
	}
	return requestedAt, charged, err
}

// lockAccounts locks accounts in the order that all transactions use: by ID, and before anything
// else.
func (s *Store) lockAccounts(ctx context.Context, w *writeTx, ids []string) error {
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		if _, err := s.accounts.AccountByID(ctx, w.Tx, id, true); err != nil {
			return err
		}
	}
	return nil
}

// Finish implements [recovery.Queue].
func (s *Store) Finish(ctx context.Context, o recovery.Outcome) error {
	if o.LeaseID == noLease {
		return recovery.ErrLeaseLost
	}
	o.MailedAccountIDs, o.Discard, o.Refund = slices.Clone(o.MailedAccountIDs), slices.Clone(o.Discard), slices.Clone(o.Refund)
	return s.write(ctx, func(ctx context.Context, w *writeTx) (err error) {
		var requestedAt int64
		var charged bool
		if len(o.MailedAccountIDs)+len(o.Refund) > 0 {
			if err := s.lockAccounts(ctx, w, o.MailedAccountIDs); err != nil {
				return err
			}
			if requestedAt, charged, err = s.lockJob(ctx, w, o.JobID, o.LeaseID); err != nil {
				return err
			}
		}
		if charged && len(o.Refund) > 0 {
			if err := w.refund(ctx, o.Refund); err != nil {
				return err
			}
			if _, err := w.ExecContext(ctx, s.sql.setCharged, 0, o.JobID); err != nil {
				return err
			}
		}
		if o.RetryAt.IsZero() {
			err = one(verdict{recovery.ErrLeaseLost})(w.ExecContext(ctx, s.sql.finish, o.JobID, o.LeaseID))
		} else {
			err = one(verdict{recovery.ErrLeaseLost})(w.ExecContext(ctx, s.sql.retry, o.RetryAt.UnixMicro(), o.JobID, o.LeaseID))
		}
		if err != nil {
			return err
		}
		var discarded rowArgs
		for _, digest := range o.Discard {
			discarded.add(digest[:])
		}
		if err := w.execAll(ctx, s.sql.discard, discarded); err != nil {
			return err
		}
		for _, id := range o.MailedAccountIDs {
			if _, err := w.ExecContext(ctx, s.sql.markMailed, id, o.JobID); err != nil {
				return err
			}
			if _, err := w.ExecContext(ctx, s.sql.supersede, id, o.Requester[:], requestedAt, requestedAt, o.JobID); err != nil {
				return err
			}
		}
		return nil
	})
}

// Purge implements [recovery.Queue]. It locks in an order of its own: limits, resets,
// jobs.
func (s *Store) Purge(ctx context.Context, before, ahead time.Time, max int) (int, error) {
	b, a := before.UnixMicro(), ahead.UnixMicro()
	return writing(ctx, s, func(ctx context.Context, w *writeTx) (n int, _ error) {
		for _, step := range []struct {
			text string
			args []any
		}{
			{s.sql.purgeLimits, []any{slot(before), b}},
			{s.sql.purgeResets, []any{b}},
			{s.sql.purgeAhead, []any{a}},
			{s.sql.purgeJobs, []any{b, a}},
		} {
			changed, err := affected(w.ExecContext(ctx, step.text, append(step.args, max-n)...))
			if err != nil {
				return 0, err
			}
			n += int(changed)
		}
		return n, nil
	})
}

// Stats implements [recovery.Queue].
func (s *Store) Stats(ctx context.Context) (stats []recovery.LaneStats, err error) {
	err = s.read(ctx, func(tx txn) error {
		stats, err = readStats(tx.QueryContext(ctx, s.sql.stats))
		return err
	})
	if err != nil {
		return nil, err
	}
	return stats, nil
}

var readStats = collect(func(row *sql.Rows) (of recovery.LaneStats, err error) {
	var oldest int64
	err = row.Scan(&of.Lane, &of.Jobs, &oldest)
	of.Oldest = fromMicro(oldest)
	return of, err
})

// Now implements [recovery.Queue]. SQLite's clock is that of the machine.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	micro := time.Now().UnixMicro()
	if s.sql.now == "" {
		if err := ctx.Err(); err != nil {
			return time.Time{}, fmt.Errorf("sqlstore: %w", err)
		}
		return fromMicro(micro), nil
	}
	err := s.read(ctx, func(tx txn) error { return tx.QueryRowContext(ctx, s.sql.now).Scan(&micro) })
	if err != nil {
		return time.Time{}, err
	}
	return fromMicro(micro), nil
}

func jobRows(jobs []recovery.Job) rowArgs {
	args := rowArgs{columns: 14}
	for _, j := range jobs {
		client, ticket := "", any(nil)
		if j.Client.IsValid() {
			client = j.Client.String()
		}
		if j.Ticket != (recovery.Digest{}) {
			ticket = j.Ticket[:]
		}
		priority := j.Priority.UnixMicro()
		args.add(j.ID, string(j.Kind.Lane()), string(j.Kind), string(j.By), j.Identifier, j.AccountID, j.Tenant, ticket,
			j.Portal, j.Locale, client, j.RequestedAt.UnixMicro(), priority, priority)
	}
	return args
}

// The longest texts that are stored, in bytes. MySQL cuts longer ones unless its sql_mode is
// strict, and a cut account ID may be that of another account. Other databases take any length.
const (
	maxName       = 64
	maxIdentifier = 254
	maxAccountID  = 255
)

// fitJobs refuses jobs with texts that are too long.
func fitJobs(jobs ...recovery.Job) error {
	for _, j := range jobs {
		err := errors.Join(fit(j.ID, maxName), fit(j.Identifier, maxIdentifier), fit(j.AccountID, maxAccountID),
			fit(j.Tenant, maxName), fit(j.Portal, maxName), fit(j.Locale, maxName))
		if err != nil {
			return err
		}
	}
	return nil
}

func fit(text string, max int) error {
	if len(text) > max {
		return fmt.Errorf("sqlstore: a text of %d bytes is longer than %d", len(text), max)
	}
	return nil
}
