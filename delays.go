package recovery

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

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
