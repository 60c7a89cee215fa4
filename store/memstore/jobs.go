package memstore

import (
	"cmp"
	"container/heap"
	"time"

	"example.com/recovery"
)

// A job is a waiting or leased job and its place in the queue.
type job struct {
	recovery.Job
	fresh bool      // it was never claimed
	at    time.Time // its Priority while it is fresh, then when it may be claimed again
	seq   uint64    // breaks ties, first come first served
	index int
}

type lane struct {
	fresh, again jobHeap
}

type queue struct {
	lanes map[recovery.Lane]*lane
	seq   uint64
}

func (q *queue) of(name recovery.Lane) *lane {
	if q.lanes[name] == nil {
		q.lanes[name] = &lane{}
	}
	return q.lanes[name]
}

func (q *queue) heapOf(j *job) *jobHeap {
	l := q.of(j.Kind.Lane())
	if j.fresh {
		return &l.fresh
	}
	return &l.again
}

func (q *queue) add(j *job, at time.Time) {
	q.seq++
	j.seq, j.at = q.seq, at
	heap.Push(q.heapOf(j), j)
}

func (q *queue) remove(j *job) { heap.Remove(q.heapOf(j), j.index) }

// take removes and returns up to most jobs of a lane. The first kept places go to jobs that were
// claimed before, if any are due.
func (q *queue) take(name recovery.Lane, at time.Time, most, kept int) (taken []*job) {
	l := q.of(name)
	again := func(until int) {
		for len(taken) < until && len(l.again) > 0 && !l.again[0].at.After(at) {
			taken = append(taken, heap.Pop(&l.again).(*job))
		}
	}
	again(kept)
	for len(taken) < most && len(l.fresh) > 0 {
		taken = append(taken, heap.Pop(&l.fresh).(*job))
	}
	again(most)
	return taken
}

type jobHeap []*job

func (h jobHeap) Len() int { return len(h) }
func (h jobHeap) Less(i, j int) bool {
	first := h[i].at.Compare(h[j].at)
	if h[i].fresh {
		first = -first // the latest Priority goes first
	}
	return cmp.Or(first, cmp.Compare(h[i].seq, h[j].seq)) < 0
}
func (h jobHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *jobHeap) Push(x any) {
	j := x.(*job)
	j.index = len(*h)
	*h = append(*h, j)
}
func (h *jobHeap) Pop() any {
	old := *h
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return j
}
