// Package sidechannel looks for what a caller could learn about accounts from anything but the
// answer.
//
// It compares classes of accounts exactly (answers byte for byte, calls of the Store, rows written,
// allocations, sequences of limits) and in time. The exact part runs over every entry and every
// store. Classes are measured in random order, and their times compared by Welch's t over cropped
// samples. Each run also measures a class against itself and known delays. If the class differs
// from itself, the machine is too noisy for any finding to count. If a known delay is not found,
// nothing counts as clean. What stays open after some repeats with more samples is INVALID. That is
// no success, so the whole run fails. The small run has to pass on busy machines, so it is skipped
// then; -v shows that.
//
// A small run, which takes seconds, is part of the ordinary tests. The whole one takes about half
// an hour and wants a machine that does nothing else:
//
//	RECOVERY_SIDE_CHANNELS=full go test -timeout 90m -v -run 'TestAttack_S5[14]_Time' \
//		./internal/systemtest/sidechannel
//
// It prints a table. A number instead of full is how many samples of each class are taken at first.
// Under the race detector times mean nothing, and only the exact part runs.
package sidechannel

import (
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// threshold is the |t| from which a difference is more than chance. Without a difference, one
	// sample in 150,000 exceeds it, and about one in a thousand does at its largest of all crops.
	threshold = 4.5
	// certain is a |t| that chance and a busy machine do not bring about twice.
	certain = 20
	// growth is by how much |t| must grow when there are 4 times as many samples. That of a real
	// difference doubles.
	growth = 1.4

	crops = 30
)

// A comparison is what two samples differ by.
type comparison struct {
	n       int           // of each
	t       float64       // Welch's t with the largest absolute value of all crops; > 0 if the second is slower
	crop    float64       // the part of the samples that it is over, 1 for all
	raw     float64       // Welch's t over all samples
	median  time.Duration // of the second, less that of the first
	typical time.Duration // the median of the first
}

// compare compares two samples, neither of which may be empty, as Reparaz, Balasch and Verbauwhede
// do in "Dude, is my code constant time?" (DATE 2017). The longest times were interrupted by
// something else, so it cuts the samples at percentiles of their union. Nobody knows beforehand
// which cut shows a difference best, so it tries many, and the largest t counts. As in the paper,
// the percentiles get closer to each other towards the end.
func compare(a, b []time.Duration) comparison {
	c := comparison{n: min(len(a), len(b))}
	all := slices.Concat(a, b)
	slices.Sort(all)
	origin := all[len(all)/2]
	first, second := newSums(a, origin), newSums(b, origin)
	c.typical = first.median()
	c.median = second.median() - c.typical
	c.raw = welch(first.below(math.MaxInt64), second.below(math.MaxInt64))
	c.t, c.crop = c.raw, 1
	for i := range crops {
		part := 1 - math.Pow(0.5, 10*float64(i+1)/crops)
		cut := all[int(part*float64(len(all)-1))]
		if t := welch(first.below(cut), second.below(cut)); math.Abs(t) > math.Abs(c.t) {
			c.t, c.crop = t, part
		}
	}
	return c
}

// found reports whether the samples differ.
func (c comparison) found() bool { return math.Abs(c.t) >= threshold }

func (c comparison) String() string {
	return fmt.Sprintf("n=2×%d, |t|=%.1f cropped to %.0f%% (%.1f raw), median %+.2fµs of %.1fµs",
		c.n, math.Abs(c.t), 100*c.crop, math.Abs(c.raw), micros(c.median), micros(c.typical))
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// moments are the size, mean and variance of a sample.
type moments struct{ n, mean, variance float64 }

// welch returns how many standard errors the mean of b is above that of a (Welch 1947), 0 if there
// is too little to say.
func welch(a, b moments) float64 {
	if a.n < 2 || b.n < 2 {
		return 0
	}
	err := math.Sqrt(a.variance/a.n + b.variance/b.n)
	switch d := b.mean - a.mean; {
	case d == 0:
		return 0
	case err == 0: // two constants
		return math.Copysign(math.MaxFloat32, d)
	default:
		return d / err
	}
}

// sums are a sorted sample and the sums of its beginnings, so that a crop costs no pass over it.
type sums struct {
	sorted       []time.Duration
	sum, squares []float64 // of the first i, measured from an origin near them all so that nothing cancels out
}

func newSums(sample []time.Duration, origin time.Duration) sums {
	s := sums{slices.Sorted(slices.Values(sample)), make([]float64, len(sample)+1), make([]float64, len(sample)+1)}
	for i, d := range s.sorted {
		x := float64(d - origin)
		s.sum[i+1] = s.sum[i] + x
		s.squares[i+1] = s.squares[i] + x*x
	}
	return s
}

// below returns the moments of the values up to cut.
func (s sums) below(cut time.Duration) moments {
	i, _ := slices.BinarySearchFunc(s.sorted, cut, func(d, cut time.Duration) int {
		if d <= cut {
			return -1
		}
		return 1
	})
	if i < 2 {
		return moments{n: float64(i)}
	}
	n := float64(i)
	mean := s.sum[i] / n
	return moments{n, mean, max(0, s.squares[i]-n*mean*mean) / (n - 1)}
}

func (s sums) median() time.Duration { return s.sorted[len(s.sorted)/2] }

// A run is one measurement of several pairs of classes.
type run struct {
	pairs    map[string]comparison // by what they are
	same     comparison            // of a class with itself
	injected []comparison          // of known delays, each of which must be found
}

// noisy reports whether a class differs from itself: then no finding counts.
func (r run) noisy() bool { return r.same.found() }

// blind reports whether an injected delay was not found: then finding nothing means nothing.
func (r run) blind() bool {
	return slices.ContainsFunc(r.injected, func(c comparison) bool { return c.t < threshold })
}

// A verdict is what runs say about a pair.
type verdict int

const (
	unsettled verdict = iota // measure again, with more samples
	clean                    // nothing was found, and a difference would have been
	leak                     // they differ, again and more clearly with more samples
	invalid                  // unsettled, and there will be no more runs
	open                     // found in one run, and known to be there
)

func (v verdict) String() string {
	return [...]string{"unsettled", "clean", "LEAK", "INVALID", "open"}[v]
}

// judge returns what the runs, each with 4 times as many samples as the one before, say about a
// pair.
func judge(pair string, runs []run) verdict {
	var seen []comparison
	blind := false
	for _, r := range runs {
		if c, ok := r.pairs[pair]; ok && !r.noisy() {
			seen = append(seen, c)
			blind = r.blind()
		}
	}
	if len(seen) == 0 {
		return unsettled
	}
	last := seen[len(seen)-1]
	switch {
	case !last.found() && !blind:
		return clean
	case !last.found() || len(seen) == 1:
		return unsettled
	}
	before := seen[len(seen)-2]
	grown := math.Abs(last.t) >= growth*math.Abs(before.t) || min(math.Abs(last.t), math.Abs(before.t)) >= certain
	if before.found() && grown && math.Signbit(before.t) == math.Signbit(last.t) {
		return leak
	}
	return unsettled
}
