// Package spy shows tests what a [recovery.Service] does: the calls of its Store, and its log.
package spy

import (
	"context"
	"time"

	"example.com/recovery"
)

// A Store passes every call to Around, which decides whether to make it, and returns Around's
// error. Around gets the argument of the call: its only one, or one of the structs below.
type Store struct {
	recovery.Store
	Around Around
}

// Around is called instead of a method of a Store.
type Around func(ctx context.Context, method string, arg any, call func(context.Context) error) error

// On wraps a Store.
func On(store recovery.Store, f Around) Store { return Store{store, f} }

// The arguments of methods that have several.
type (
	Enqueue struct {
		Job     recovery.Job
		Charges recovery.Charges
	}
	FindReset struct {
		Digest recovery.Digest
		At     time.Time
	}
	TakeLimits struct {
		At      time.Time
		Charges recovery.Charges
	}
	Purge struct {
		Before, Ahead time.Time
		Max           int
	}
)

// Added returns the jobs that a call adds.
func Added(arg any) []recovery.Job {
	switch arg := arg.(type) {
	case Enqueue:
		return []recovery.Job{arg.Job}
	case recovery.Redemption:
		return arg.Add
	}
	return nil
}

// Before returns a Store that calls f first. If f returns an error, the call fails with it;
// otherwise it is made.
func Before(store recovery.Store, f func(ctx context.Context, method string) error) Store {
	return On(store, func(ctx context.Context, method string, _ any, call func(context.Context) error) error {
		if err := f(ctx, method); err != nil {
			return err
		}
		return call(ctx)
	})
}

// FindAccounts implements [recovery.Store], and so do the methods below.
func (s Store) FindAccounts(ctx context.Context, q recovery.AccountQuery) (found []recovery.Account, err error) {
	err = s.Around(ctx, "FindAccounts", q, func(ctx context.Context) (err error) {
		found, err = s.Store.FindAccounts(ctx, q)
		return err
	})
	return found, err
}

func (s Store) CreateResets(ctx context.Context, m recovery.ResetBatch) (superseded []string, err error) {
	err = s.Around(ctx, "CreateResets", m, func(ctx context.Context) (err error) {
		superseded, err = s.Store.CreateResets(ctx, m)
		return err
	})
	return superseded, err
}

func (s Store) FindReset(ctx context.Context, d recovery.Digest, at time.Time) (r recovery.Reset, a recovery.Account, err error) {
	err = s.Around(ctx, "FindReset", FindReset{d, at}, func(ctx context.Context) (err error) {
		r, a, err = s.Store.FindReset(ctx, d, at)
		return err
	})
	return r, a, err
}

func (s Store) Redeem(ctx context.Context, r recovery.Redemption) (a recovery.Account, err error) {
	err = s.Around(ctx, "Redeem", r, func(ctx context.Context) (err error) {
		a, err = s.Store.Redeem(ctx, r)
		return err
	})
	return a, err
}

func (s Store) Enqueue(ctx context.Context, j recovery.Job, c recovery.Charges) error {
	return s.Around(ctx, "Enqueue", Enqueue{j, c}, func(ctx context.Context) error { return s.Store.Enqueue(ctx, j, c) })
}

func (s Store) TakeLimits(ctx context.Context, at time.Time, c recovery.Charges) error {
	return s.Around(ctx, "TakeLimits", TakeLimits{at, c}, func(ctx context.Context) error { return s.Store.TakeLimits(ctx, at, c) })
}

func (s Store) RefundLimits(ctx context.Context, c recovery.Charges) error {
	return s.Around(ctx, "RefundLimits", c, func(ctx context.Context) error { return s.Store.RefundLimits(ctx, c) })
}

func (s Store) Claim(ctx context.Context, c recovery.Claim) (claimed []recovery.Job, err error) {
	err = s.Around(ctx, "Claim", c, func(ctx context.Context) (err error) {
		claimed, err = s.Store.Claim(ctx, c)
		return err
	})
	return claimed, err
}

func (s Store) Finish(ctx context.Context, o recovery.Outcome) error {
	return s.Around(ctx, "Finish", o, func(ctx context.Context) error { return s.Store.Finish(ctx, o) })
}

func (s Store) Purge(ctx context.Context, before, ahead time.Time, max int) (n int, err error) {
	err = s.Around(ctx, "Purge", Purge{before, ahead, max}, func(ctx context.Context) (err error) {
		n, err = s.Store.Purge(ctx, before, ahead, max)
		return err
	})
	return n, err
}

func (s Store) Stats(ctx context.Context) (stats []recovery.LaneStats, err error) {
	err = s.Around(ctx, "Stats", nil, func(ctx context.Context) (err error) {
		stats, err = s.Store.Stats(ctx)
		return err
	})
	return stats, err
}

func (s Store) Now(ctx context.Context) (now time.Time, err error) {
	err = s.Around(ctx, "Now", nil, func(ctx context.Context) (err error) {
		now, err = s.Store.Now(ctx)
		return err
	})
	return now, err
}
