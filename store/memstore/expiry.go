package memstore

import (
	"container/heap"
	"time"

	"example.com/recovery"
)

// expiries orders what Purge may delete: resets by their expiry, and limits by an instant that is
// never later than their state.
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
