package memstore

import (
	"container/heap"
	"context"
	"time"

	"example.com/recovery"
)

// expiries orders what Purge may delete: resets by their expiry, and limits by limit.look, a lower
// bound of their state.
type expiries struct{ heap expiryHeap }

type expiry struct {
	at      time.Time
	key     recovery.Digest
	isReset bool
}

func (e *expiries) add(at time.Time, key recovery.Digest, isReset bool) {
	heap.Push(&e.heap, expiry{at, key, isReset})
}

// next removes and returns the first entry that is not after before.
func (e *expiries) next(before time.Time) (expiry, bool) {
	if len(e.heap) == 0 || e.heap[0].at.After(before) {
		return expiry{}, false
	}
	return heap.Pop(&e.heap).(expiry), true
}

type expiryHeap []expiry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiryHeap) Push(x any)        { *h = append(*h, x.(expiry)) }
func (h *expiryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// Purge implements [recovery.Queue].
func (s *Store) Purge(ctx context.Context, before, ahead time.Time, max int) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	n := 0
	for n < max {
		e, ok := s.expiry.next(before)
		if !ok {
			break
		}
		state, known := s.limits[e.key]
		switch {
		case e.isReset && s.resets[e.key] == nil: // it was discarded
			continue
		case e.isReset:
			s.forget(e.key)
		case !known || !state.look.Equal(e.at): // another entry took its place
			continue
		case state.tat.After(before): // it was charged again since then
			state.look = state.tat
			s.limits[e.key] = state
			s.expiry.add(state.look, e.key, false)
			continue
		default:
			delete(s.limits, e.key)
		}
		n++
	}
	if n < max {
		n += s.mend(before, ahead, max-n)
	}
	return n, nil
}

// mend repairs what a clock far ahead stored: it deletes resets, and makes jobs due.
func (s *Store) mend(now, ahead time.Time, max int) (n int) {
	for digest, r := range s.resets {
		if n < max && r.ExpiresAt.After(ahead) {
			s.forget(digest)
			n++
		}
	}
	for _, j := range s.jobs {
		if n < max && !j.fresh && j.at.After(ahead) {
			s.queue.remove(j)
			s.queue.add(j, now)
			n++
		}
	}
	return n
}
