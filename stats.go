package recovery

import (
	"context"
	"slices"
)

// Stats are for alarms: docs/running.md says on what. They are not for a readiness probe: the queue
// grows in all processes at once when the mail system is down.
type Stats struct {
	// Lanes is what waits, in the whole Store: LaneMail, LaneNotice and LaneOnReset, in this order.
	// An empty lane has no Oldest.
	Lanes []LaneStats

	// What this process has seen since it began.
	TooOld     int // requests that were dropped because they waited longer than Options.MaxRequestAge
	LostEvents int // events that no hook was told of, because the hooks are too slow
}

// Stats reads what waits in the queue. The Store walks through all of it: call it every few
// seconds, not for every request, and show it to nobody but operators. The error is ctx's, or the
// Store's.
func (s *Service) Stats(ctx context.Context) (Stats, error) {
	var found []LaneStats
	err := s.bounded(ctx, func(ctx context.Context) (err error) {
		found, err = s.store.Stats(ctx)
		return err
	})
	if ctx.Err() != nil {
		return Stats{}, ctx.Err()
	}
	if err != nil {
		return Stats{}, wrapOutside("read the queue", err)
	}
	stats := Stats{TooOld: int(s.delays.allTooOld.Load()), LostEvents: int(s.events.allLost.Load())}
	for _, lane := range []Lane{LaneMail, LaneNotice, LaneOnReset} {
		of := LaneStats{Lane: lane}
		if i := slices.IndexFunc(found, func(f LaneStats) bool { return f.Lane == lane }); i >= 0 {
			of = found[i]
		}
		stats.Lanes = append(stats.Lanes, of)
	}
	return stats, nil
}
