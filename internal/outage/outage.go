// Package outage keeps a fault that lasts from filling the log.
package outage

import (
	"sync"
	"time"
)

const every = time.Minute

// A Line logs one kind of fault: the first failure, then at most one line a minute, with the number
// of failures since the last line, and a line when it works again. The zero Line is ready to use,
// and safe for concurrent use.
type Line struct {
	mu     sync.Mutex
	open   bool      // the last line was of a failure
	told   time.Time // when that line was logged
	untold int
}

// Failed passes a failure to log, a method of slog.Logger, or counts it.
func (l *Line) Failed(log func(message string, args ...any), message string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.told.IsZero() && time.Since(l.told) < every {
		l.untold++
		return
	}
	if l.untold > 0 {
		args = append(args, "since the last line", l.untold)
	}
	log(message, args...)
	l.open, l.told, l.untold = true, time.Now(), 0
}

// Works passes the end of the fault to log, if a failure was logged.
func (l *Line) Works(log func(message string, args ...any), message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		l.open = false
		log(message)
	}
}
