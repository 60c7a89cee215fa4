package memstore

import (
	"cmp"
	"container/heap"
	"fmt"
	"strings"
	"time"

	"example.com/recovery"
)

// A request is a waiting or leased request and its place in the queue.
type request struct {
	recovery.Job
	free  time.Time // when it may be claimed: its DueAt, or the end of its lease
	seq   uint64    // breaks ties, first come first served
	index int
}

// due is the queue, ordered by when a request may be claimed.
type due struct {
	heap requestHeap
	seq  uint64
}

func (d *due) add(r *request, free time.Time) {
	d.seq++
	r.seq, r.free = d.seq, free
	heap.Push(&d.heap, r)
}

func (d *due) remove(r *request) { heap.Remove(&d.heap, r.index) }

// take removes and returns up to most requests that are free at the given instant.
func (d *due) take(at time.Time, most int) (taken []*request) {
	for len(taken) < most && len(d.heap) > 0 && !d.heap[0].free.After(at) {
		taken = append(taken, heap.Pop(&d.heap).(*request))
	}
	return taken
}

type requestHeap []*request

func (h requestHeap) Len() int { return len(h) }
func (h requestHeap) Less(i, j int) bool {
	return cmp.Or(h[i].free.Compare(h[j].free), cmp.Compare(h[i].seq, h[j].seq)) < 0
}
func (h requestHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *requestHeap) Push(x any) {
	r := x.(*request)
	r.index = len(*h)
	*h = append(*h, r)
}
func (h *requestHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return r
}

// expiries is what Purge looks at: resets by when they expire, and limits by an instant that is not
// after their state.
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

type dump struct{ strings.Builder }

func (d *dump) line(values ...any) { fmt.Fprintln(&d.Builder, values...) }
