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

// around is Store.Around for a method that returns something.
func around[R any](ctx context.Context, s Store, method string, arg any, call func(context.Context) (R, error)) (result R, err error) {
	err = s.Around(ctx, method, arg, func(ctx context.Context) (err error) {
		result, err = call(ctx)
		return err
	})
	return result, err
}

// FindAccounts implements [recovery.Store], and so do the methods below.
func (s Store) FindAccounts(ctx context.Context, q recovery.AccountQuery) ([]recovery.Account, error) {
	return around(ctx, s, "FindAccounts", q, func(ctx context.Context) ([]recovery.Account, error) { return s.Store.FindAccounts(ctx, q) })
}

func (s Store) CreateResets(ctx context.Context, m recovery.ResetBatch) (superseded []string, err error) {
	return around(ctx, s, "CreateResets", m, func(ctx context.Context) ([]string, error) { return s.Store.CreateResets(ctx, m) })
}

func (s Store) FindReset(ctx context.Context, d recovery.Digest, at time.Time) (r recovery.Reset, a recovery.Account, err error) {
	err = s.Around(ctx, "FindReset", FindReset{d, at}, func(ctx context.Context) (err error) {
		r, a, err = s.Store.FindReset(ctx, d, at)
		return err
	})
	return r, a, err
}

func (s Store) Redeem(ctx context.Context, r recovery.Redemption) (recovery.Account, error) {
	return around(ctx, s, "Redeem", r, func(ctx context.Context) (recovery.Account, error) { return s.Store.Redeem(ctx, r) })
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

func (s Store) Claim(ctx context.Context, c recovery.Claim) ([]recovery.Job, error) {
	return around(ctx, s, "Claim", c, func(ctx context.Context) ([]recovery.Job, error) { return s.Store.Claim(ctx, c) })
}

func (s Store) Finish(ctx context.Context, o recovery.Outcome) error {
	return s.Around(ctx, "Finish", o, func(ctx context.Context) error { return s.Store.Finish(ctx, o) })
}

func (s Store) Purge(ctx context.Context, before, ahead time.Time, max int) (int, error) {
	return around(ctx, s, "Purge", Purge{before, ahead, max}, func(ctx context.Context) (int, error) { return s.Store.Purge(ctx, before, ahead, max) })
}

func (s Store) Stats(ctx context.Context) ([]recovery.LaneStats, error) {
	return around(ctx, s, "Stats", nil, s.Store.Stats)
}

func (s Store) Now(ctx context.Context) (time.Time, error) {
	return around(ctx, s, "Now", nil, s.Store.Now)
}
