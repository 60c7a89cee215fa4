package recovery

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

const maxEvents = 1024 // in the queue of a rank

// A rank is a class of events. Events of one rank never push out those of another.
type rank int

const (
	matters rank = iota
	routine      // a stranger can cause any number
	ranks
)

// events runs hooks in order on a goroutine that exists only while there are some to run.
type events struct {
	log     *slog.Logger
	allLost atomic.Int64

	mu      sync.Mutex
	queues  [ranks][]func()
	running bool
	lost    int // since the queues were last empty
}

// emit queues one call of hook, which may be nil.
func emit[T any](e *events, r rank, hook func(T), event T) {
	if hook == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queues[r]) >= maxEvents {
		e.allLost.Add(1)
		if e.lost++; e.lost == 1 {
			e.log.Warn("recovery: hooks are slower than what happens, events are being dropped")
		}
		return
	}
	e.queues[r] = append(e.queues[r], func() { hook(event) })
	if !e.running {
		e.running = true
		go e.run()
	}
}

func (e *events) run() {
	ended := false
	defer func() {
		if !ended { // a hook ended the goroutine: runtime.Goexit, as t.FailNow does
			go e.run()
		}
	}()
	for {
		f := e.next()
		if f == nil {
			ended = true
			return
		}
		e.call(f)
	}
}

// next takes the next event out of its queue; nil if there is none.
func (e *events) next() func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for r := range e.queues {
		if q := e.queues[r]; len(q) > 0 {
			e.queues[r] = q[1:]
			return q[0]
		}
	}
	if e.lost > 0 {
		e.log.Warn("recovery: events were dropped", "events", e.lost)
	}
	e.running, e.lost, e.queues = false, 0, [ranks][]func(){}
	return nil
}

func (e *events) call(f func()) {
	defer func() {
		if v := recover(); v != nil {
			// The value is foreign and may hold anything; the stack says where.
			e.log.Error("recovery: a hook panicked", "stack", string(debug.Stack()))
		}
	}()
	f()
}
