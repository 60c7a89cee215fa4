package recovery

import (
	"context"
	"sync"
	"time"
)

// tokenLocks let one completion of a token run at a time, so that a token buys one hash at a time.
type tokenLocks struct {
	mu    sync.Mutex
	byKey map[Digest]*tokenLock
}

type tokenLock struct {
	held  chan struct{} // holds one value while somebody has the lock
	users int           // how many have it or wait for it
}

// lock waits for the lock and returns what releases it. The error is ErrBusy if that takes longer
// than wait.
func (l *tokenLocks) lock(ctx context.Context, key Digest, wait time.Duration) (unlock func(), err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	l.mu.Lock()
	if l.byKey == nil {
		l.byKey = map[Digest]*tokenLock{}
	}
	own := l.byKey[key]
	if own == nil {
		own = &tokenLock{held: make(chan struct{}, 1)}
		l.byKey[key] = own
	}
	own.users++
	l.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case own.held <- struct{}{}:
		return func() { <-own.held; l.leave(key) }, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = ErrBusy
	}
	l.leave(key)
	return nil, err
}

// leave forgets the lock if nobody has it or waits for it.
func (l *tokenLocks) leave(key Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey[key].users--; l.byKey[key].users == 0 {
		delete(l.byKey, key)
	}
}
