package recovery

import (
	"context"
	"time"
)

const (
	purgeEvery = 10 * time.Minute
	purgeBatch = 500
	purgeRest  = 4 // × the time of a batch: the pause after it
)

// purgeIfDue purges in batches, with a longer rest after each: others wait for the same database.
func (s *Service) purgeIfDue(ctx context.Context) {
	if !s.clock.sync(ctx) {
		return // a wrong clock could delete what is alive
	}
	now := s.now()
	s.purge.Lock()
	due := !now.Before(s.purge.next) || s.purge.next.Sub(now) > purgeEvery // the clock went back
	if due = due && ctx.Err() == nil; due {
		s.purge.next = now.Add(purgeEvery)
	}
	s.purge.Unlock()
	for due && ctx.Err() == nil {
		var n int
		began := time.Now()
		err := s.guard("purge", func() error {
			return s.bounded(ctx, func(ctx context.Context) (err error) {
				// What is over by this clock is not over yet by one that is behind.
				n, err = s.store.Purge(ctx, now.Add(-MaxClockSkew), now.Add(maxAhead+MaxClockSkew), purgeBatch)
				return err
			})
		})
		if err != nil && ctx.Err() == nil {
			s.opts.Logger.Error("recovery: the store could not be purged", "error", err.Error())
		}
		if due = err == nil && n >= purgeBatch; due {
			select {
			case <-ctx.Done():
			case <-time.After(purgeRest * time.Since(began)):
			}
		}
	}
}
