package recovery

import (
	"context"
	"sync"
	"time"
)

// turns runs the completions of one token one after the other, so that a token buys one hash at a
// time.
type turns struct {
	mu   sync.Mutex
	held map[Digest]*turn
}

type turn struct {
	free   chan struct{} // holds one value while nobody has the turn
	wanted int           // how many wait for it or have it
}

// take waits for the turn. The error is ErrBusy if that takes longer than wait.
func (t *turns) take(ctx context.Context, d Digest, wait time.Duration) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.mu.Lock()
	if t.held == nil {
		t.held = map[Digest]*turn{}
	}
	own := t.held[d]
	if own == nil {
		own = &turn{free: make(chan struct{}, 1)}
		own.free <- struct{}{}
		t.held[d] = own
	}
	own.wanted++
	t.mu.Unlock()
	var err error
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-own.free:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = ErrBusy
	}
	t.leave(d)
	return err
}

// pass gives the turn to the next caller.
func (t *turns) pass(d Digest) {
	t.mu.Lock()
	own := t.held[d]
	t.mu.Unlock()
	own.free <- struct{}{}
	t.leave(d)
}

func (t *turns) leave(d Digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[d].wanted--; t.held[d].wanted == 0 {
		delete(t.held, d)
	}
}
