package recovery

import (
	"context"
	"log/slog"
	"sync"
	"time"
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
	err := s.foreground(ctx, func(ctx context.Context) (err error) {
		found, err = s.store.Stats(ctx)
		return err
	})
	if ctx.Err() != nil {
		return Stats{}, ctx.Err()
	}
	if err != nil {
		return Stats{}, outside("read the queue", err)
	}
	stats := Stats{TooOld: s.slips.total(), LostEvents: s.events.dropped()}
	for _, lane := range []Lane{LaneMail, LaneNotice, LaneOnReset} {
		of := LaneStats{Lane: lane}
		for _, f := range found {
			if f.Lane == lane {
				of = f
			}
		}
		stats.Lanes = append(stats.Lanes, of)
	}
	return stats, nil
}

const (
	lateAfter = time.Minute // longer than people should wait for a mail
	tellEvery = time.Minute
)

// slips counts what the worker did too late, and logs it now and then.
type slips struct {
	mu     sync.Mutex
	all    int // too old
	tooOld int // since the last line
	late   int
	most   time.Duration
	told   time.Time
}

// began notes how long a job had waited when it was first looked at.
func (s *slips) began(waited time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if waited > lateAfter {
		s.late++
		s.most = max(s.most, waited)
	}
}

func (s *slips) dropped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all++
	s.tooOld++
}

func (s *slips) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

// tell writes a line if there is something new, and no line was written lately.
func (s *slips) tell(log *slog.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tooOld+s.late == 0 || !s.told.IsZero() && time.Since(s.told) < tellEvery {
		return
	}
	log.Warn("recovery: the worker is behind", "late", s.late, "longest", s.most.Round(time.Second).String(), "dropped as too old", s.tooOld)
	s.tooOld, s.late, s.most, s.told = 0, 0, 0, time.Now()
}
