package recovery_test

import (
	"context"
	"time"

	"example.com/recovery"
)

// A seam is a Store that gives every call to around, which makes it or not. The argument is what
// the Store is given: its only argument, or one of the structs below.
type seam struct {
	recovery.Store
	around func(ctx context.Context, method string, arg any, call func(context.Context) error) error
}

type enqueued struct {
	job     recovery.Job
	charges recovery.Charges
}

type purged struct {
	before, ahead time.Time
	max           int
}

// jobsIn returns the jobs that a call adds.
func jobsIn(arg any) []recovery.Job {
	switch arg := arg.(type) {
	case enqueued:
		return []recovery.Job{arg.job}
	case recovery.Redemption:
		return arg.Add
	}
	return nil
}

func (s seam) FindAccounts(ctx context.Context, q recovery.AccountQuery) (found []recovery.Account, err error) {
	err = s.around(ctx, "FindAccounts", q, func(ctx context.Context) (err error) {
		found, err = s.Store.FindAccounts(ctx, q)
		return err
	})
	return found, err
}

func (s seam) CreateResets(ctx context.Context, m recovery.Mint) (superseded []string, err error) {
	err = s.around(ctx, "CreateResets", m, func(ctx context.Context) (err error) {
		superseded, err = s.Store.CreateResets(ctx, m)
		return err
	})
	return superseded, err
}

func (s seam) FindReset(ctx context.Context, d recovery.Digest, at time.Time) (r recovery.Reset, a recovery.Account, err error) {
	err = s.around(ctx, "FindReset", d, func(ctx context.Context) (err error) {
		r, a, err = s.Store.FindReset(ctx, d, at)
		return err
	})
	return r, a, err
}

func (s seam) Redeem(ctx context.Context, r recovery.Redemption) (a recovery.Account, err error) {
	err = s.around(ctx, "Redeem", r, func(ctx context.Context) (err error) {
		a, err = s.Store.Redeem(ctx, r)
		return err
	})
	return a, err
}

func (s seam) Enqueue(ctx context.Context, j recovery.Job, c recovery.Charges) error {
	return s.around(ctx, "Enqueue", enqueued{j, c}, func(ctx context.Context) error { return s.Store.Enqueue(ctx, j, c) })
}

func (s seam) TakeLimits(ctx context.Context, at time.Time, c recovery.Charges) error {
	return s.around(ctx, "TakeLimits", c, func(ctx context.Context) error { return s.Store.TakeLimits(ctx, at, c) })
}

func (s seam) RefundLimits(ctx context.Context, c recovery.Charges) error {
	return s.around(ctx, "RefundLimits", c, func(ctx context.Context) error { return s.Store.RefundLimits(ctx, c) })
}

func (s seam) Claim(ctx context.Context, c recovery.Claim) (claimed []recovery.Job, err error) {
	err = s.around(ctx, "Claim", c, func(ctx context.Context) (err error) {
		claimed, err = s.Store.Claim(ctx, c)
		return err
	})
	return claimed, err
}

func (s seam) Finish(ctx context.Context, o recovery.Outcome) error {
	return s.around(ctx, "Finish", o, func(ctx context.Context) error { return s.Store.Finish(ctx, o) })
}

func (s seam) Purge(ctx context.Context, before, ahead time.Time, max int) (n int, err error) {
	err = s.around(ctx, "Purge", purged{before, ahead, max}, func(ctx context.Context) (err error) {
		n, err = s.Store.Purge(ctx, before, ahead, max)
		return err
	})
	return n, err
}

func (s seam) Stats(ctx context.Context) (stats []recovery.LaneStats, err error) {
	err = s.around(ctx, "Stats", nil, func(ctx context.Context) (err error) {
		stats, err = s.Store.Stats(ctx)
		return err
	})
	return stats, err
}

func (s seam) Now(ctx context.Context) (now time.Time, err error) {
	err = s.around(ctx, "Now", nil, func(ctx context.Context) (err error) {
		now, err = s.Store.Now(ctx)
		return err
	})
	return now, err
}
