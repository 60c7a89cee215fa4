package recovery

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
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
	logEvery  = time.Minute
)

// delays counts the requests that the worker began or dropped too late, and logs them now and then.
type delays struct {
	allTooOld atomic.Int64 // dropped since the process began

	mu      sync.Mutex
	tooOld  int // dropped since the last line of the log
	late    int // begun late since then
	longest time.Duration
	logged  time.Time
}

// began notes how long a request had waited when it was first looked at.
func (d *delays) began(waited time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if waited > lateAfter {
		d.late++
		d.longest = max(d.longest, waited)
	}
}

func (d *delays) dropped() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.allTooOld.Add(1)
	d.tooOld++
}

// log writes a line if there is something new and no line was written lately.
func (d *delays) log(logger *slog.Logger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tooOld+d.late == 0 || time.Since(d.logged) < logEvery {
		return
	}
	logger.Warn("recovery: the worker is behind", "late", d.late, "longest", d.longest.Round(time.Second).String(), "dropped as too old", d.tooOld)
	d.tooOld, d.late, d.longest, d.logged = 0, 0, 0, time.Now()
}
