package recovery

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	clockEvery  = time.Minute            // how often a clock is compared with the Store's
	clockExact  = 500 * time.Millisecond // ignore a smaller difference; also the timeout of a comparison
	clockAgain  = time.Second            // how often to try until the first comparison succeeds
	clockLogged = time.Second            // log a difference of at least this
	clockOfTest = time.Hour              // an Options.Now further from the Store's clock is a test's, and not corrected
)

// MaxClockSkew is how far apart the clocks of processes that share a Store may be. A Service
// follows the Store's clock where there is one (Queue.Now).
const MaxClockSkew = 10 * time.Minute

// A clock follows the clock that all processes share, if the Store has one.
type clock struct {
	now      func() time.Time
	injected bool // now is the application's
	shared   func(context.Context) (time.Time, error)
	log      *slog.Logger

	mu     sync.Mutex
	offset time.Duration // the shared clock minus this one
	next   time.Time     // when to compare again, by now
	last   time.Time     // the latest reading of now
	busy   chan struct{} // closed when the comparison under way is over; nil while there is none
	known  bool          // the clocks were compared, or there is only one
	logged bool          // such a difference
}

// read returns the time as Stores keep it.
func (c *clock) read() time.Time {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.last.Add(-clockExact)) { // it was set back
		c.next = time.Time{}
	}
	c.last = now
	return time.UnixMicro(now.Add(c.offset).UnixMicro()).UTC()
}

// sync compares the clocks if that is due, and reports whether a comparison ever succeeded. Every
// call of the Service begins with it, whoever is meant. All calls wait until the first comparison
// is over.
func (c *clock) sync(ctx context.Context) bool {
	c.read()
	before := c.now()
	c.mu.Lock()
	if busy := c.busy; busy != nil && !c.known {
		c.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.known
	}
	if c.busy != nil || before.Before(c.next) && c.next.Sub(before) <= clockEvery {
		defer c.mu.Unlock()
		return c.known
	}
	again := clockEvery
	if !c.known {
		again = clockAgain
	}
	c.busy, c.next = make(chan struct{}), before.Add(again)
	c.mu.Unlock()

	began := time.Now()
	asking, cancel := context.WithTimeout(ctx, clockExact)
	defer cancel()
	shared, err := c.shared(asking)
	took := time.Since(began)

	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.busy)
	c.busy = nil
	if err == nil && took <= 2*clockExact { // a slower Store ignored its context
		c.follow(shared, before.Add(took/2))
		c.known, c.next = true, before.Add(clockEvery)
	}
	return c.known
}

// follow sets the offset from what the two clocks said at one instant.
func (c *clock) follow(shared, own time.Time) {
	if shared.IsZero() {
		return
	}
	offset := shared.Sub(own)
	if c.injected && offset.Abs() > clockOfTest || offset.Abs() <= clockExact {
		offset = 0
	}
	if (offset - c.offset).Abs() <= clockExact {
		return
	}
	c.offset = offset
	if offset.Abs() >= clockLogged && !c.logged {
		c.logged = true
		c.log.Warn("recovery: this process's clock differs from the store's, which is followed", "behind", offset.Round(time.Millisecond).String())
	}
}

// storeNow asks the Store for its time.
func (s *Service) storeNow(ctx context.Context) (now time.Time, err error) {
	err = s.guard("ask the store for its time", func() (err error) {
		now, err = s.store.Now(ctx)
		return err
	})
	return now, err
}
