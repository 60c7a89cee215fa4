// Package outage keeps a fault that lasts from filling the log.
package outage

import (
	"sync"
	"time"
)

const every = time.Minute

// A Log logs one kind of fault: the first failure, then at most one line a minute, with the number
// of failures since the last line, and a line when it works again. The zero Log is ready to use,
// and safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	open   bool      // the last line was a failure
	logged time.Time // when that line was
	count  int       // failures since then
}

// Failed logs the failure through log, a method of slog.Logger, or only counts it within a minute
// of the last line.
func (l *Log) Failed(log func(message string, args ...any), message string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.logged.IsZero() && time.Since(l.logged) < every {
		l.count++
		return
	}
	if l.count > 0 {
		args = append(args, "since the last line", l.count)
	}
	log(message, args...)
	l.open, l.logged, l.count = true, time.Now(), 0
}

// Works logs the end of the fault through log, if a failure was logged.
func (l *Log) Works(log func(message string, args ...any), message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open {
		l.open = false
		log(message)
	}
}
