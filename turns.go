package recovery

import (
	"context"
	"sync"
	"time"
)

// turns has the completions of one token go one after the other, so that a token buys one hash at a
// time.
type turns struct {
	mu   sync.Mutex
	held map[Digest]*turn
}

type turn struct {
	free   chan struct{} // holds one value while nobody has the turn
	wanted int           // by how many, the one who has it included
}

// take waits for the turn. Who waits too long gets ErrBusy.
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

// pass gives the turn to who waits for it.
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
