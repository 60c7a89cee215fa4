package recovery

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"
)

const (
	claimBatch  = 16          // at most
	quickBatch  = time.Second // in which what was claimed must be done for more to be claimed at once
	leaseFactor = 4           // × Options.SendTimeout: how long a claim lasts
	workFactor  = 2           // × Options.SendTimeout: how long one request may take
	endFactor   = 1           // × Options.SendTimeout: how long it may take to write the outcome down
	purgeEvery  = 10 * time.Minute
	purgeBatch  = 500
	finishTries = 3
	finishPause = 100 * time.Millisecond // and longer each time
)

// storeTimeout bounds one call of the Store, so that all tries to finish, and the pauses between them,
// fit into endFactor.
func (s *Service) storeTimeout() time.Duration {
	const pauses = finishPause * finishTries * (finishTries - 1) / 2
	return (s.opts.SendTimeout - pauses) / finishTries
}

// Run is the worker. At every Options.Tick it takes what is due from the queue, mails it, and calls
// OnReset; now and then it purges. When ctx ends it finishes what it has claimed and returns nil. That
// takes at most 4 × Options.SendTimeout, if Mailer, Store and the application's functions return when
// their contexts end. Any number of processes may run it on one Store.
func (s *Service) Run(ctx context.Context) error {
	s.worker.Store(true)
	tick := time.Tick(s.opts.Tick)
	b := &batch{service: s}
	var wg sync.WaitGroup
	for range s.opts.Workers {
		wg.Go(func() {
			// The workers share one ticker, so that an idle worker asks the Store once a tick and a
			// hanging mail holds up one of them.
			for {
				select {
				case <-ctx.Done():
					b.drain(ctx)
					return
				case <-tick:
					b.drain(ctx)
					s.purgeIfDue(ctx)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// Deliver works through everything that is due when it is called and returns how many requests it
// dealt with, failed ones that will be tried again included. It is for tests, cron jobs and serverless functions; Run
// calls the same code. The error is that of the Store when requests could not be claimed, or ctx's
// when it ended; what happens to a single request is told to the hooks. When ctx ends it finishes
// what it has claimed.
func (s *Service) Deliver(ctx context.Context) (int, error) {
	s.worker.Store(true)
	b := &batch{service: s, asOf: s.now()}
	var wg sync.WaitGroup
	for range s.opts.Workers {
		wg.Go(func() { b.drain(ctx) })
	}
	wg.Wait()
	s.purgeIfDue(ctx)
	if b.err == nil {
		b.err = ctx.Err()
	}
	return b.done, b.err
}

// DeliverJob works on one request, for an application whose own job engine drives the queue
// instead of Run: its Store, or one around it, tells the engine the ID of every [Job] that
// Enqueue, CompleteReset and Finish add. It returns when the request is to be tried again;
// the zero Time means that nothing is left to do here, because the request is finished or another
// worker has it. When it is called is the engine's business: DueAt does not matter. The error is that
// of the Store when the request could not be claimed. Once claimed, it is finished even if ctx ends.
//
// The engine should call Deliver now and then, say every minute: for requests whose job got lost, and
// to purge. It must not start a job the moment that it is added, or the time that the next call takes
// tells whether there was a mail to send; it should poll.
func (s *Service) DeliverJob(ctx context.Context, id string) (retryAt time.Time, err error) {
	s.worker.Store(true)
	claim := s.newClaim(s.now())
	claim.Max, claim.JobID = 1, id
	claimed, err := s.claim(ctx, claim)
	if err != nil || len(claimed) == 0 {
		return time.Time{}, err
	}
	retryAt, ok := s.handle(context.WithoutCancel(ctx), claimed[0])
	if !ok {
		return claim.Until, nil // then the request is free again
	}
	return retryAt, nil
}

// A batch is what was claimed and not yet begun.
type batch struct {
	service *Service
	asOf    time.Time // what is due later is left for later; zero is now

	mu       sync.Mutex
	requests []Job
	claimed  time.Time // when
	until    time.Time // when the lease of requests ends
	size     int       // how many to claim
	short    bool      // fewer were there
	done     int
	err      error
}

// drain handles requests until there are none, or until ctx has ended and the batch is empty.
func (b *batch) drain(ctx context.Context) {
	for {
		r, ok := b.next(ctx)
		if !ok {
			return
		}
		// What was claimed is finished even if ctx ends meanwhile.
		b.service.handle(context.WithoutCancel(ctx), r)
	}
}

func (b *batch) next(ctx context.Context) (Job, bool) {
	s := b.service
	b.mu.Lock()
	defer b.mu.Unlock()
	now := s.now()
	if now.Add((workFactor + endFactor) * s.opts.SendTimeout).After(b.until) {
		b.requests = nil // too late to begin: others may claim them soon
	}
	if len(b.requests) == 0 {
		if ctx.Err() != nil {
			return Job{}, false
		}
		b.resize(now)
		claim := s.newClaim(now)
		claim.Max = b.size
		if !b.asOf.IsZero() {
			claim.At = b.asOf
		}
		claimed, err := s.claim(ctx, claim)
		if err != nil {
			b.err = err
			return Job{}, false
		}
		b.requests, b.claimed, b.until = claimed, now, claim.Until
		b.short = len(claimed) < b.size
	}
	if len(b.requests) == 0 {
		return Job{}, false
	}
	r := b.requests[0]
	b.requests = b.requests[1:]
	b.done++
	return r, true
}

// resize begins with a request for each worker, because what is claimed and cannot be begun soon is
// lost to the other processes. A queue that is worked through quickly is claimed in larger batches.
func (b *batch) resize(now time.Time) {
	workers := b.service.opts.Workers
	switch quick := now.Sub(b.claimed) < quickBatch; {
	case b.size == 0 || b.short || !quick:
		b.size = min(workers, claimBatch)
	default:
		b.size = min(2*b.size, claimBatch)
	}
}

func (s *Service) newClaim(now time.Time) Claim {
	return Claim{LeaseID: newID(), At: now, Until: now.Add(leaseFactor * s.opts.SendTimeout), Max: claimBatch}
}

func (s *Service) claim(ctx context.Context, c Claim) (claimed []Job, err error) {
	err = s.guard("claim requests", func() (err error) {
		ctx, cancel := context.WithTimeout(ctx, s.storeTimeout())
		defer cancel()
		claimed, err = s.store.Claim(ctx, c)
		return err
	})
	s.noteStore(ctx, err)
	return claimed, err
}

// noteStore logs when the Store fails and when it is back, not at every tick between.
func (s *Service) noteStore(ctx context.Context, err error) {
	switch {
	case err == nil:
		if s.storeDown.CompareAndSwap(true, false) {
			s.opts.Logger.Info("recovery: the store answers again")
		}
	case ctx.Err() == nil && s.storeDown.CompareAndSwap(false, true):
		s.opts.Logger.Error("recovery: the worker cannot claim requests", "error", err.Error())
	}
}

// handle does what a request asks for and writes down the outcome. It returns when the request is to
// be tried again, and whether that could be written down.
func (s *Service) handle(ctx context.Context, r Job) (retryAt time.Time, ok bool) {
	j := &job{Service: s, request: r, event: JobEvent{ID: r.ID, Kind: r.Kind, Attempt: r.Attempts, Client: r.Client}}
	j.outcome = Outcome{JobID: r.ID, LeaseID: r.LeaseID}
	err := s.guard("handle a request", func() error {
		ctx, cancel := context.WithTimeout(ctx, workFactor*s.opts.SendTimeout)
		defer cancel()
		return j.do(ctx)
	})
	now := s.now()
	event, hooks := j.event, &s.opts.Hooks
	switch {
	case err == nil:
	case j.refused || j.endsBefore(now):
		event.Err = j.scrubbed(err)
		emit(&s.events, hooks.JobFailed, event)
		s.opts.Logger.Error("recovery: a request failed for good", j.logAttrs(err)...)
	default:
		event.Err = j.scrubbed(err)
		emit(&s.events, hooks.JobRetried, event)
		s.opts.Logger.Warn("recovery: a request failed and will be tried again", j.logAttrs(err)...)
		j.outcome.RetryAt = now.Add(j.backoff())
	}
	j.outcome.At = now
	return j.outcome.RetryAt, s.finish(ctx, j)
}

// finish writes the outcome down and reports whether it could. It tries more than once, because a
// mail whose outcome is lost is sent again.
func (s *Service) finish(ctx context.Context, j *job) bool {
	for try := 1; ; try++ {
		err := s.guard("finish a request", func() error {
			ctx, cancel := context.WithTimeout(ctx, s.storeTimeout())
			defer cancel()
			return s.store.Finish(ctx, j.outcome)
		})
		// A lost lease means that another worker has it, or that an earlier try did take effect.
		if err == nil || errors.Is(err, ErrLeaseLost) {
			return true
		}
		if try == finishTries {
			s.opts.Logger.Error("recovery: the outcome of a request could not be stored, it will be repeated", j.logAttrs(err)...)
			return false
		}
		time.Sleep(time.Duration(try) * finishPause)
	}
}

// guard calls f, which runs foreign code, and turns a panic into an error.
func (s *Service) guard(op string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errors.New("recovery: panic while trying to " + op)
			defer func() { _ = recover() }() // the Logger is the application's too
			// The value is foreign and may hold anything; the stack says where.
			s.opts.Logger.Error("recovery: panic", "while", op, "stack", string(debug.Stack()))
		}
	}()
	return f()
}

func (s *Service) purgeIfDue(ctx context.Context) {
	now := s.now()
	s.purge.Lock()
	due := !now.Before(s.purge.next) || s.purge.next.Sub(now) > purgeEvery // the clock went back
	if due {
		s.purge.next = now.Add(purgeEvery)
	}
	s.purge.Unlock()
	for due && ctx.Err() == nil {
		var n int
		err := s.guard("purge", func() (err error) {
			ctx, cancel := context.WithTimeout(ctx, s.storeTimeout())
			defer cancel()
			// What is over by this clock is not over yet by one that is behind.
			n, err = s.store.Purge(ctx, now.Add(-MaxClockSkew), purgeBatch)
			return err
		})
		if err != nil && ctx.Err() == nil {
			s.opts.Logger.Error("recovery: the store could not be purged", "error", err.Error())
		}
		due = err == nil && n >= purgeBatch
	}
}
