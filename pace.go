package recovery

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A sample is how one attempt to mail went.
type sample struct {
	attempt int           // of its job
	took    time.Duration // from the beginning of the job to the answer of the mail system
	failed  bool          // to be tried again
	unsure  bool          // the mail may have been accepted
}

const (
	paceMemory = 64
	tailFactor = 4
	// A mail system that has accepted nothing for brokenAfter counts as down. Then each lane of
	// mails tries only this many jobs a tick (probes), to find out whether it is back.
	brokenAfter = 15 * time.Second
	probes      = 4
	// For each mail that fails, this many jobs without a mail may be tried again. More would let a
	// flood of unknown names fill the queue because one mailbox is full.
	echoes = 32
)

// pace remembers how recent mails went. A job without a mail imitates one of them: it keeps its
// place in the worker for as long, and is tried again if that mail had to be. So a stranger cannot
// tell from other mails whether this job meant somebody.
type pace struct {
	none time.Duration // what an attempt takes while no sample is known

	mu     sync.Mutex
	recent [paceMemory]sample
	n      int
	since  time.Time // the first failure after the last success
	echoes int       // how many jobs without a mail may still be tried again
}

// note remembers a sample. Notices only tell whether the mail system works: no job imitates them.
func (p *pace) note(l Lane, t sample) {
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

// draw predicts a mail's outcome at this attempt. The newest comparable sample decides: a failure
// at this attempt or a later one, or a success at this attempt or an earlier one. The time is drawn
// from the samples with the same result, up to tailFactor times their median: a few slow mailboxes
// must not let jobs for unknown names fill the places.
func (p *pace) draw(attempt int) sample {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.recent[:min(p.n, paceMemory)]
	like := sample{took: p.none}
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

// result is draw at the end of a job. A failure uses up an echo; without echoes the job does not
// fail.
func (p *pace) result(attempt int) sample {
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
