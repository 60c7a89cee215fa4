package recovery

import (
	"context"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

// hashSlots bound how many passwords are hashed at once.
type hashSlots struct {
	slots chan struct{}
	wait  time.Duration
	hash  func(string) (string, error) // nil is HashPassword

	mu   sync.Mutex // held while blocks are being freed
	dead int        // hashes whose blocks were not freed yet
}

// do hashes when a slot is free. The error is ErrBusy if that takes longer than h.wait.
func (h *hashSlots) do(ctx context.Context, password string) (string, error) {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(h.wait):
		return "", ErrBusy
	}
	defer func() { <-h.slots }()
	if h.hash != nil {
		return h.hash(password)
	}
	h.free()
	defer h.done()
	return HashPassword(password)
}

// maxDead is how many blocks of earlier hashes may wait to be freed when a hash begins. argon2
// allocates 19 MiB a hash, and the collector lets the heap double before it acts: without this
// bound, a burst would hold twice the memory of its slots.
const maxDead = 1

// freeAfter is how long after a hash its block is freed, if no other hash began meanwhile: by then
// the caller should have its answer.
const freeAfter = 5 * time.Millisecond

// free frees the blocks of earlier hashes if there are too many, which takes well under a
// millisecond.
func (h *hashSlots) free() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead > maxDead {
		h.collect()
	}
}

func (h *hashSlots) done() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead++
	time.AfterFunc(freeAfter, h.free)
}

// collectBelow is the application's own live heap, in bytes, above which a collection costs more
// than the memory of a few hashes is worth.
const collectBelow = 256 << 20

func (h *hashSlots) collect() {
	h.dead = 0
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	inUse := uint64(cap(h.slots)) * argonMemory << 10
	if live[0].Value.Kind() == metrics.KindUint64 && live[0].Value.Uint64() < collectBelow+inUse {
		runtime.GC()
	}
}
