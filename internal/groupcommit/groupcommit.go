// Package groupcommit lets concurrent calls share a commit. Waiting for the disk is most of the
// cost of a small write, and the wait is as long for many writes as for one. docs/decisions.md says
// how much was gained.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrLeft says that the caller left while its batch was running, or that the batch did not end in
// time. The call may or may not have taken effect. The error of Do wraps it.
var ErrLeft = errors.New("groupcommit: the batch did not end in time, or its caller left")

// ErrApart is for run to return, wrapped, if some call spoiled the batch and it cannot tell which.
// Nothing was kept. The Group then runs each call alone.
var ErrApart = errors.New("groupcommit: one of the calls spoils the batch")

// A Group runs calls in batches, one batch after the other. While a batch is running, the calls
// that arrive wait, and form the next one.
type Group[T any] struct {
	run   func(ctx context.Context, calls []T) error
	max   int
	limit time.Duration

	mu      sync.Mutex
	running bool
	urgent  []*pending[T]
	waiting []*pending[T]
	enough  chan struct{} // non-nil while next lingers; closed once wanted calls are queued
	wanted  int
}

// linger is how long a batch waits for the callers of the one before it, who may be about to call
// again. Without it, the commits of 16 callers in a loop have 1 and 15 calls in turn, and a call
// costs twice the processor time.
const linger = 250 * time.Microsecond

// grace is how long a batch whose context has ended may go on. Some drivers wait for a server that
// went silent, whatever their context says. Callers must not wait with them.
const grace = time.Second

// New returns a Group whose batches have at most max calls. run must make all of the calls, in
// order, or none. Every call gets run's error, unless that wraps a [CallError] or [ErrApart]. run
// must put the answer of a single call into the call.
//
// The context of run ends when those of all its callers have ended, and after limit. It has the
// values of the first caller's. If run does not return within a second of that, its callers get
// [ErrLeft], and the next batch begins beside it.
func New[T any](max int, limit time.Duration, run func(ctx context.Context, calls []T) error) *Group[T] {
	return &Group[T]{run: run, max: max, limit: limit}
}

// A pending call is one whose caller waits.
type pending[T any] struct {
	ctx   context.Context
	call  T
	alone bool // in its batch; guarded by Group.mu

	done chan struct{} // closed when the rest is set
	outcome
}

// An outcome is the error of a call or a batch, or what it panicked with.
type outcome struct {
	err   error
	panic *panicked
}

// A panicked is the value of a panic.
type panicked struct{ value any }

// Do runs the call in the next batch and returns its error. Urgent calls go before the others.
//
// If ctx ends before the batch begins, Do returns ctx's error, and the call is not made. If ctx
// ends while a batch of several calls is running, Do returns [ErrLeft]; a batch of one ends with
// its ctx. If the call panics, or the batch does, Do panics with the same value.
func (g *Group[T]) Do(ctx context.Context, call T, urgent bool) error {
	queue := &g.waiting
	if urgent {
		queue = &g.urgent
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	p := &pending[T]{ctx: ctx, call: call, done: make(chan struct{})}
	g.mu.Lock()
	*queue = append(*queue, p)
	if g.enough != nil && g.queued() >= g.wanted {
		close(g.enough)
		g.enough = nil
	}
	if !g.running {
		g.running = true
		go g.serve()
	}
	g.mu.Unlock()

	select {
	case <-p.done:
	case <-ctx.Done():
		switch withdrawn, alone := g.withdraw(p, queue); {
		case withdrawn:
			return ctx.Err()
		case alone:
			<-p.done // the batch has ctx and ends too
		default:
			select {
			case <-p.done:
			default:
				return fmt.Errorf("%w: %w", ErrLeft, ctx.Err())
			}
		}
	}
	if p.panic != nil {
		panic(p.panic.value)
	}
	return p.err
}

// queued returns how many calls wait.
func (g *Group[T]) queued() int { return len(g.urgent) + len(g.waiting) }

// withdraw takes back a call, if its batch has not begun.
func (g *Group[T]) withdraw(p *pending[T], queue *[]*pending[T]) (withdrawn, alone bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(*queue, p)
	if i < 0 {
		return false, p.alone
	}
	*queue = slices.Delete(*queue, i, i+1)
	return true, false
}

// serve runs batches until no call waits.
func (g *Group[T]) serve() {
	for batch := g.next(0); len(batch) > 0; batch = g.next(len(batch)) {
		g.settle(batch)
	}
}

// next returns the calls of the next batch. After a batch of several it waits up to linger for as
// many calls to queue again.
func (g *Group[T]) next(before int) (batch []*pending[T]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if before > 1 && g.queued() < before {
		enough := make(chan struct{})
		g.enough, g.wanted = enough, before
		g.mu.Unlock()
		timer := time.NewTimer(linger)
		select {
		case <-enough:
		case <-timer.C:
		}
		timer.Stop()
		g.mu.Lock()
		g.enough = nil
	}
	for _, queue := range []*[]*pending[T]{&g.urgent, &g.waiting} {
		n := min(len(*queue), g.max-len(batch))
		batch = append(batch, (*queue)[:n]...)
		*queue = slices.Delete(*queue, 0, n)
	}
	if len(batch) == 1 {
		batch[0].alone = true
	}
	g.running = len(batch) > 0
	return batch
}

// settle runs calls together. A call that fails does not spoil the others.
func (g *Group[T]) settle(batch []*pending[T]) {
	for todo := [][]*pending[T]{batch}; len(todo) > 0; {
		batch, todo = todo[0], todo[1:]
		o := g.try(batch)
		one, known := errors.AsType[*CallError](o.err)
		switch {
		case known && len(batch) > 1:
			i := one.Index // the culprit comes last, because it may hang
			todo = slices.Concat([][]*pending[T]{slices.Concat(batch[:i], batch[i+1:])}, todo, [][]*pending[T]{{batch[i]}})
			continue
		case errors.Is(o.err, ErrApart) && len(batch) > 1:
			todo = append(slices.Collect(slices.Chunk(batch, 1)), todo...)
			continue
		case known:
			o.panic = one.panic
		}
		for _, p := range batch {
			p.outcome = o
			close(p.done)
		}
	}
}

// try runs calls together, on a goroutine that it abandons if it does not end.
func (g *Group[T]) try(batch []*pending[T]) outcome {
	ctx, stop := g.whileAny(batch)
	defer stop()
	calls := make([]T, len(batch))
	for i, p := range batch {
		calls[i] = p.call
	}
	done := make(chan outcome, 1)
	go func() {
		o := outcome{panic: &panicked{"groupcommit: a call ended its goroutine"}} // by runtime.Goexit
		defer func() {
			if v := recover(); v != nil {
				o.panic = &panicked{v}
			}
			done <- o
		}()
		o = outcome{err: g.run(ctx, calls)}
	}()
	select {
	case o := <-done:
		return o
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case o := <-done:
		return o
	case <-timer.C:
		return outcome{err: fmt.Errorf("%w: %w", ErrLeft, ctx.Err())}
	}
}

// whileAny returns a context that ends when the contexts of all callers have, or the time is over.
func (g *Group[T]) whileAny(batch []*pending[T]) (ctx context.Context, stop func()) {
	if len(batch) == 1 {
		g.mu.Lock()
		batch[0].alone = true
		g.mu.Unlock()
		return context.WithTimeout(batch[0].ctx, g.limit)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(batch[0].ctx), g.limit)
	var left atomic.Int64
	left.Store(int64(len(batch)))
	stops := make([]func() bool, len(batch))
	for i, p := range batch {
		stops[i] = context.AfterFunc(p.ctx, func() {
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

// A CallError says that one call of a batch failed and nothing of the batch was kept. The Group
// then runs the others without it, and it alone.
type CallError struct {
	Index int // of the call in the batch
	Err   error

	panic *panicked
}

func (e *CallError) Error() string { return e.Err.Error() }
func (e *CallError) Unwrap() error { return e.Err }

// Call makes the call of a batch with the index. What f returns or panics with becomes a
// [CallError].
func Call(index int, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &CallError{index, errors.New("groupcommit: a call panicked"), &panicked{v}}
		}
	}()
	if err := f(); err != nil {
		return &CallError{Index: index, Err: err}
	}
	return nil
}
