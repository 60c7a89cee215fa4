package recovery

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A try is how a mail went.
type try struct {
	attempt int           // of its job
	took    time.Duration // from the begin of the job to the answer of the mail system
	failed  bool          // to be tried again
	unsure  bool          // the mail may have been accepted
}

const (
	paceMemory = 64
	tailFactor = 4
	// A mail system that accepts nothing for brokenAfter counts as down. Then probes jobs a tick try
	// whether it is back.
	brokenAfter = 15 * time.Second
	probes      = 4
	// For each mail that fails, so many jobs without one may come back: a flood of names that nobody
	// has must not fill the queue because one mailbox is full.
	echoes = 32
)

// pace knows how mails went lately. A job that ends without a mail behaves like one of them: it
// takes its place in the worker for as long, and comes back if that one had to. So nothing that a
// stranger can see of other mails depends on whether this one was meant for somebody.
type pace struct {
	none time.Duration // what a try takes while none is known

	mu     sync.Mutex
	recent [paceMemory]try
	n      int
	since  time.Time // of the first failure after the last mail that did not fail
	echoes int       // how many jobs without a mail may still come back as if one had failed
}

// note remembers a try. Notices tell whether the mail system works, but nobody is told apart by
// them.
func (p *pace) note(l Lane, t try) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l == LaneMail {
		p.recent[p.n%paceMemory] = t
		p.n++
		if t.failed {
			p.echoes = min(p.echoes+echoes, paceMemory)
		}
	}
	switch {
	case !t.failed:
		p.since = time.Time{}
	case p.since.IsZero():
		p.since = time.Now()
	}
}

// draw returns how a mail would go at this attempt of its job. Whether it fails is what the newest
// mail says that can tell: a later attempt that failed, or an earlier one that did not. How long it
// takes is drawn from those that went alike, and no longer than tailFactor times their median: a
// few mailboxes that answer slowly must not fill the places with names that nobody has.
func (p *pace) draw(attempt int) try {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.recent[:min(p.n, paceMemory)]
	like := try{took: p.none}
	for i := range known {
		t := p.recent[(p.n-1-i)%paceMemory]
		if t.failed && t.attempt >= attempt || !t.failed && t.attempt <= attempt {
			like = t
			break
		}
	}
	var alike []time.Duration
	for _, t := range known {
		if t.failed == like.failed {
			alike = append(alike, t.took)
		}
	}
	if len(alike) == 0 {
		return like
	}
	like.took = alike[rand.IntN(len(alike))]
	slices.Sort(alike)
	like.took = min(like.took, max(p.none, tailFactor*alike[len(alike)/2]))
	return like
}

// result is how such a mail would have gone, for a job that ends.
func (p *pace) result(attempt int) try {
	like := p.draw(attempt)
	p.mu.Lock()
	defer p.mu.Unlock()
	if like.failed {
		if like.failed = p.echoes > 0; like.failed {
			p.echoes--
		}
	}
	return like
}

// broken reports whether the mail system seems to be down.
func (p *pace) broken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.since.IsZero() && time.Since(p.since) > brokenAfter
}
