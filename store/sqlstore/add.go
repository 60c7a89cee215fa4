package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/recovery"
)

// maxTogether is how many additions share a transaction: enough for the commit to cost little of
// each.
const maxTogether = 64

// maxMoment is how long callers may take to come again: less than a commit.
const maxMoment = 250 * time.Microsecond

// maxAddition bounds a transaction that others may wait for. It is far beyond what one takes.
const maxAddition = 30 * time.Second

// An addition is a call that shares a transaction with others: Enqueue, TakeLimits, which adds no
// job, or on SQLite another write.
type addition struct {
	ctx     context.Context
	at      time.Time
	charges recovery.Charges
	job     *recovery.Job
	write   func(context.Context, txn) error // instead of all these

	err      error         // its own: its limit
	panicked any           // what write panicked with
	done     chan struct{} // closed when err is set; nil while nobody waits
}

// result is what the caller gets, on its own goroutine.
func (a *addition) result() error {
	if a.panicked != nil {
		panic(a.panicked)
	}
	return a.err
}

// Enqueue implements [recovery.Queue]. Calls that come while another is being committed share the
// next transaction. Each returns when its own job is durable, with its own error.
func (s *Store) Enqueue(ctx context.Context, j recovery.Job, charges recovery.Charges) error {
	if err := fitJobs(j); err != nil {
		return err
	}
	// A caller whose context ends does not wait until they were used.
	return s.adding.do(&addition{ctx: ctx, at: j.RequestedAt, charges: slices.Clone(charges), job: &j})
}

// TakeLimits implements [recovery.Queue], as Enqueue does.
func (s *Store) TakeLimits(ctx context.Context, at time.Time, charges recovery.Charges) error {
	return s.taking.do(&addition{ctx: ctx, at: at, charges: slices.Clone(charges)})
}

// RefundLimits implements [recovery.Queue].
func (s *Store) RefundLimits(ctx context.Context, charges recovery.Charges) error {
	charges = slices.Clone(charges) // see Enqueue
	return s.share(ctx, func(ctx context.Context, tx txn) error { return s.refund(ctx, tx, charges) })
}

// share runs f in a transaction that writes. If f returns an answer of the store it must have
// written nothing before. On SQLite, which has one writer, that is the next one that adds jobs, on
// the goroutine of another caller.
func (s *Store) share(ctx context.Context, f func(context.Context, txn) error) error {
	if s.dialect != SQLite {
		return s.write(ctx, func(tx txn) error { return f(ctx, tx) })
	}
	return s.adding.do(&addition{ctx: ctx, write: f})
}

// errAllRefused rolls back a transaction that has nothing to keep.
var errAllRefused = errors.New("all calls are over a limit")

// add makes the additions together, in their order. What concerns one of them is its err; what is
// returned concerns all.
func (s *Store) add(ctx context.Context, calls []*addition) error {
	for _, c := range calls {
		c.err, c.panicked = nil, nil // they may have been tried together before
	}
	// One that hangs holds up those that come after it.
	ctx, cancel := context.WithTimeout(ctx, maxAddition)
	defer cancel()
	if s.sql.addAtOnce != "" {
		if made, err := s.addAtOnce(ctx, calls); made || err != nil {
			return err
		}
	}
	err := s.write(ctx, func(tx txn) error { return s.addInTurn(ctx, tx, calls) })
	if errors.Is(err, errAllRefused) {
		return nil
	}
	return err
}

// addInTurn makes the other writes, then judges each addition after the one before it.
func (s *Store) addInTurn(ctx context.Context, tx txn, calls []*addition) error {
	var all []recovery.Charges
	refused := 0
	for _, c := range calls {
		all = append(all, c.charges)
		if c.write == nil {
			continue
		}
		c.err = nil
		err := c.runWrite(ctx, tx)
		switch {
		case isOurs(err): // an answer: nothing was written
			c.err = err
			refused++
		case err != nil && len(calls) > 1:
			return &loneError{c, err}
		case err != nil:
			return err
		}
	}
	states, err := s.lockLimits(ctx, tx, all...) // the writes may have counted too
	if err != nil {
		return err
	}
	var accepted []recovery.Job
	for _, c := range calls {
		if c.write != nil {
			continue
		}
		if c.err = c.charges.Take(c.at, states); c.err != nil {
			refused++
			continue
		}
		if c.job != nil {
			j := *c.job
			j.Turn = c.charges.Turn(c.at, states)
			accepted = append(accepted, j)
		}
	}
	if refused == len(calls) {
		return errAllRefused
	}
	if err := s.setLimits(ctx, tx, states); err != nil {
		return err
	}
	return s.insert(ctx, tx, accepted...)
}

var errPanicked = errors.New("the Accounts panicked")

// runWrite runs code of the application too. That has the context of its own caller, who also gets
// its panic.
func (a *addition) runWrite(ctx context.Context, tx txn) (err error) {
	own, cancel := context.WithCancel(a.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	defer func() {
		if v := recover(); v != nil {
			a.panicked, err = v, errPanicked
		}
	}()
	return a.write(own, tx)
}

// A loneError is the error of one call. The others are made again without it.
type loneError struct {
	call *addition
	err  error
}

func (e *loneError) Error() string { return e.err.Error() }
func (e *loneError) Unwrap() error { return e.err }

// together runs calls that arrive during a commit together in the next one. A call that arrives
// while nothing runs is run at once, by its caller.
type together struct {
	make func(context.Context, []*addition) error

	mu      sync.Mutex
	busy    bool
	waiting []*addition
	enough  chan struct{} // closed when so many callers wait as are wanted; nil while nobody waits for that
	wanted  int
}

func (t *together) do(a *addition) error {
	if err := a.ctx.Err(); err != nil {
		return fmt.Errorf("sqlstore: %w", err)
	}
	t.mu.Lock()
	if t.busy {
		a.done = make(chan struct{})
		t.enqueue(a)
		if t.enough != nil && callers(t.waiting) >= t.wanted {
			close(t.enough)
			t.enough = nil
		}
		t.mu.Unlock()
		return t.wait(a)
	}
	t.busy = true
	t.mu.Unlock()
	defer t.handOver()
	if err := t.make(a.ctx, []*addition{a}); err != nil {
		a.err = err
	}
	return a.result()
}

// enqueue puts other writes before additions: there are few of them, and a flood of requests must
// not hold up the mails.
func (t *together) enqueue(a *addition) {
	i := len(t.waiting)
	if a.write != nil {
		if first := slices.IndexFunc(t.waiting, func(w *addition) bool { return w.write == nil }); first >= 0 {
			i = first
		}
	}
	t.waiting = slices.Insert(t.waiting, i, a)
}

// handOver starts a goroutine for the calls that came meanwhile. It lives until nobody waits.
func (t *together) handOver() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = len(t.waiting) > 0
	if t.busy {
		go t.makeWaiting()
	}
}

func (t *together) makeWaiting() {
	n := 0
	for {
		calls := t.next(n)
		if len(calls) == 0 {
			return
		}
		n = callers(calls)
		t.makeAll(calls)
	}
}

// callers returns how many of the calls may come again as soon as they have returned.
func callers(calls []*addition) (n int) {
	for _, a := range calls {
		if a.write == nil {
			n++
		}
	}
	return n
}

// next returns the calls that wait. If several calls were just made, their callers may be about to
// come again: next waits a moment for as many, or the first would be made alone while the others
// wait.
func (t *together) next(before int) []*addition {
	t.mu.Lock()
	defer t.mu.Unlock()
	if before > 1 && callers(t.waiting) < before {
		enough := make(chan struct{})
		t.enough, t.wanted = enough, before
		t.mu.Unlock()
		moment := time.NewTimer(maxMoment)
		select {
		case <-enough:
		case <-moment.C:
		}
		moment.Stop()
		t.mu.Lock()
		t.enough = nil
	}
	n := min(len(t.waiting), maxTogether)
	calls := slices.Clone(t.waiting[:n])
	t.waiting = slices.Delete(t.waiting, 0, n)
	t.busy = n > 0
	return calls
}

// makeAll makes calls together; one that fails does not spoil the others.
func (t *together) makeAll(calls []*addition) {
	ctx, stop := whileAny(calls)
	err := t.guarded(ctx, calls)
	stop()
	var lone *loneError
	switch {
	case len(calls) == 1:
	case errors.As(err, &lone):
		t.makeAll(slices.DeleteFunc(slices.Clone(calls), func(a *addition) bool { return a == lone.call }))
		t.makeAll([]*addition{lone.call}) // last, for it may hang
		return
	case refusedData(err): // it does not say whose
		for _, a := range calls {
			t.makeAll([]*addition{a})
		}
		return
	}
	for _, a := range calls {
		if err != nil {
			a.err = err
		}
		close(a.done)
	}
}

// whileAny returns a context that ends when all of the calls' contexts have.
func whileAny(calls []*addition) (ctx context.Context, stop func()) {
	if len(calls) == 1 {
		return calls[0].ctx, func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(calls[0].ctx))
	var left atomic.Int32
	left.Store(int32(len(calls)))
	stops := make([]func() bool, len(calls))
	for i, a := range calls {
		stops[i] = context.AfterFunc(a.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// guarded turns a panic of a driver into an error: on this goroutine no caller could recover from
// it. The panic may have come from the commit.
func (t *together) guarded(ctx context.Context, calls []*addition) (err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("%w: the driver panicked", ErrUnknownOutcome)
		}
	}()
	return t.make(ctx, calls)
}

// wait waits until the call was made, or its context ends.
func (t *together) wait(a *addition) error {
	select {
	case <-a.done:
		return a.result()
	case <-a.ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.waiting, a)
	if i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
	t.mu.Unlock()
	if i >= 0 { // nothing was done
		return fmt.Errorf("sqlstore: %w", a.ctx.Err())
	}
	select {
	case <-a.done:
		return a.result()
	default:
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, a.ctx.Err())
	}
}
