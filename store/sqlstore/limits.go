package sqlstore

import (
	"context"
	"slices"
	"time"

	"example.com/recovery"
)

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
