package recovery

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	leaseFactor = 4 // × Options.SendTimeout: how long a claim lasts

	// With one place, the delay of a mail would reveal that another job was being retried.
	minPlaces = 2

	// New jobs go first, but one of againPart places is kept for jobs that were claimed before, so
	// that these do not starve.
	againPart = 4

	// drain stops after addedFactor × places consecutive jobs that were enqueued after it began.
	addedFactor = 4
)

// A lane works on the jobs of one Lane, in places of its own.
type lane struct {
	*Service
	name   Lane
	places chan struct{} // holds a value for each place that is taken
	jobs   sync.WaitGroup
}

func (s *Service) lanes(mails int) []*lane {
	few := max(1, s.opts.Workers/4)
	return []*lane{
		{Service: s, name: LaneMail, places: make(chan struct{}, mails)},
		{Service: s, name: LaneNotice, places: make(chan struct{}, few)},
		{Service: s, name: LaneOnReset, places: make(chan struct{}, few)},
	}
}

// Run is the worker. At every Options.Tick it takes what is due from the queue, mails it, and calls
// OnReset; now and then it purges. When ctx ends it finishes what it has claimed and returns nil.
// That takes at most 3 × Options.SendTimeout, if Mailer, Store and the application's functions
// return when their contexts end. Any number of processes may run it on one Store.
func (s *Service) Run(ctx context.Context) error {
	s.worker.Store(true)
	var wg sync.WaitGroup
	for _, l := range s.lanes(max(minPlaces, s.opts.Workers)) {
		wg.Go(func() { l.run(ctx) })
	}
	wg.Go(func() { s.everyTick(ctx, func() { s.purgeIfDue(ctx); s.delays.log(s.opts.Logger) }) })
	wg.Wait()
	return nil
}

// everyTick calls f at every tick until ctx ends.
func (s *Service) everyTick(ctx context.Context, f func()) {
	tick := time.NewTicker(s.opts.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f()
		}
	}
}

// run claims as many jobs as there are free places, on the tick and at no other time. They begin at
// once, so the start of a job does not depend on the end of another.
func (l *lane) run(ctx context.Context) {
	l.everyTick(ctx, func() {
		l.clock.sync(ctx)
		free := cap(l.places) - len(l.places)
		if l.name != LaneOnReset && l.pace.broken() {
			l.probe(ctx, free)
		} else if free > 0 && ctx.Err() == nil {
			_, _ = l.begin(ctx, l.now(), free)
		}
	})
	l.jobs.Wait()
}

// probe begins a few jobs that may tell whether the mail system is back. Jobs that are too old for
// a mail do not count.
func (l *lane) probe(ctx context.Context, free int) {
	for left := min(free, probes); left > 0 && free > 0 && ctx.Err() == nil; {
		at := l.now()
		claimed, _ := l.begin(ctx, at, left)
		if len(claimed) == 0 {
			return
		}
		free -= len(claimed)
		for _, j := range claimed {
			if !l.tooOld(j, at) {
				left--
			}
		}
		left = min(left, free)
	}
}

// begin claims up to max jobs and has each handled in a place of its own.
func (l *lane) begin(ctx context.Context, at time.Time, max int) ([]Job, error) {
	// Due as of at, when a drain began; the lease counts from now.
	claim := l.newClaim(l.now())
	claim.At = at
	claim.Lane, claim.Max, claim.Again = l.name, max, (max+rand.IntN(againPart))/againPart
	claimed, err := l.claim(ctx, claim)
	for _, j := range claimed {
		l.places <- struct{}{}
		l.jobs.Go(func() {
			defer func() { <-l.places }()
			// What was claimed is finished even if ctx ends meanwhile.
			l.handle(context.WithoutCancel(ctx), j, ctx.Done())
		})
	}
	return claimed, err
}

// Deliver works through everything that is due when it is called and returns how many jobs it dealt
// with, failed ones that will be tried again included. It is for tests, cron jobs and serverless
// functions; Run calls the same code. A process that calls it once and ends knows nothing of
// earlier mails, so a request without a mail takes only one Tick: SECURITY.md says what that shows.
// The error is that of the Store when jobs could not be claimed, or ctx's when it ended; the hooks
// get what happens to a single job. When ctx ends it finishes what it has claimed.
func (s *Service) Deliver(ctx context.Context) (int, error) {
	s.worker.Store(true)
	s.clock.sync(ctx)
	at := s.now()
	lanes := s.lanes(s.opts.Workers)
	counts, errs := make([]int, len(lanes)), make([]error, len(lanes))
	var wg sync.WaitGroup
	for i, l := range lanes {
		wg.Go(func() { counts[i], errs[i] = l.drain(ctx, at) })
	}
	wg.Wait()
	done, err := 0, cmp.Or(errs...)
	for i, l := range lanes {
		// Drain the lanes again, one by one: a claim skips rows that another claim has locked for a
		// moment.
		if err == nil {
			var n int
			n, err = l.drain(ctx, at)
			done += n
		}
		done += counts[i]
	}
	s.purgeIfDue(ctx)
	s.delays.log(s.opts.Logger)
	return done, cmp.Or(err, ctx.Err())
}

// drain handles jobs until none is due, a claim fails or ctx ends. Jobs added since it began go
// first and are handled too. It also ends if jobs are added as fast as it handles them.
func (l *lane) drain(ctx context.Context, at time.Time) (done int, err error) {
	defer l.jobs.Wait()
	for added := 0; ctx.Err() == nil && added < addedFactor*cap(l.places); {
		l.places <- struct{}{} // waits for a free place
		<-l.places
		claimed, err := l.begin(ctx, at, cap(l.places)-len(l.places))
		if len(claimed) == 0 || err != nil {
			return done, err
		}
		done += len(claimed)
		for _, j := range claimed {
			if added++; !j.RequestedAt.After(at) {
				added = 0
			}
		}
	}
	return done, nil
}

// DeliverJob works on one job, for an application whose own job engine drives the queue instead of
// Run: its Store, or one around it, tells the engine the ID of every [Job] that Enqueue and Redeem
// add. It returns when the job is to be tried again; the zero Time means that nothing is left to do
// here, because the job is finished or another worker has it. The engine decides when, even before
// the job is due. The error is that of the Store when the job could not be claimed. Once claimed,
// it is finished even if ctx ends.
//
// The engine should call Deliver now and then, say every minute: for jobs that got lost on the way
// to it, and to purge. It should poll. It must not start a job the moment that it is added: then
// the time of the next call would tell whether there was a mail to send.
func (s *Service) DeliverJob(ctx context.Context, id string) (retryAt time.Time, err error) {
	s.worker.Store(true)
	s.clock.sync(ctx)
	claim := s.newClaim(s.now())
	claim.Max, claim.JobID = 1, id
	claimed, err := s.claim(ctx, claim)
	if err != nil || len(claimed) == 0 {
		return time.Time{}, err
	}
	retryAt, ok := s.handle(context.WithoutCancel(ctx), claimed[0], ctx.Done())
	if !ok {
		return claim.Until, nil // then the job is free again
	}
	return retryAt, nil
}

func (s *Service) newClaim(now time.Time) Claim {
	return Claim{LeaseID: newID(), At: now, Until: now.Add(leaseFactor * s.opts.SendTimeout)}
}

func (s *Service) claim(ctx context.Context, c Claim) (claimed []Job, err error) {
	err = s.guard("claim jobs", func() (err error) {
		claimed, err = boundedCall(ctx, s, s.store.Claim, c)
		return err
	})
	switch {
	case err == nil:
		s.claims.Works(s.opts.Logger.Info, "recovery: the store answers again")
	case ctx.Err() == nil:
		s.claims.Failed(s.opts.Logger.Error, "recovery: the worker cannot claim jobs", "error", err.Error())
	}
	return claimed, err
}
