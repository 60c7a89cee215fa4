package sidechannel

import (
	"fmt"
	"testing"
	"time"
)

// An experiment compares classes in time.
type experiment struct {
	name    string // what the table calls it: the store and the entry
	measure measure
	classes uint8
	pairs   []pair
	same    pair // of one class with itself
	delays  []injected
	n       int           // of each class, in the first run
	limit   time.Duration // of the first run
	repeats int           // at most; each takes 4 times as many samples, in 4 times as long or in longest
	leaky   bool          // the pairs are distinguishable: this tests the measurement
}

// A pair is two classes that must be indistinguishable.
type pair struct {
	name string
	a, b uint8
	open string // if they are known to be distinguishable, why; then the pair is only measured and logged
}

// An injected delay makes a class slower than an otherwise equal one.
type injected struct {
	a, b  uint8
	delay time.Duration
	must  bool // it must be found, or the run decides nothing
}

func (e experiment) run(round int, pairs []pair) (r run, told []comparison, err error) {
	more := 1 << (2 * round)
	wanted := map[uint8]bool{e.same.a: true, e.same.b: true}
	delays := make([]time.Duration, e.classes)
	for _, d := range e.delays {
		wanted[d.a], wanted[d.b] = true, true
		delays[d.b] = d.delay
	}
	for _, p := range pairs {
		wanted[p.a], wanted[p.b] = true, true
	}
	var classes []uint8
	for c := range e.classes {
		if wanted[c] {
			classes = append(classes, c)
		}
	}
	order, warm := shuffled(uint64(round), classes, more*e.n)
	took, err := e.measure(order, warm, delays, min(time.Duration(more)*e.limit, longest))
	if err != nil {
		return run{}, nil, err
	}
	for c := range took {
		if wanted[uint8(c)] && len(took[c]) == 0 {
			return run{}, nil, fmt.Errorf("no time was left for class %d", c)
		}
	}
	r = run{pairs: map[string]comparison{}, same: compare(took[e.same.a], took[e.same.b])}
	for _, p := range pairs {
		r.pairs[p.name] = compare(took[p.a], took[p.b])
	}
	for _, d := range e.delays {
		told = append(told, compare(took[d.a], took[d.b]))
		if d.must {
			r.injected = append(r.injected, told[len(told)-1])
		}
	}
	return r, told, nil
}

// decide measures until each pair has a verdict or there were enough runs, and logs what it finds.
func (e experiment) decide(t testing.TB) map[string]verdict {
	t.Helper()
	verdicts := map[string]verdict{}
	var runs []run
	pending := e.pairs
	for round := 0; len(pending) > 0 && round <= e.repeats; round++ {
		start := time.Now()
		r, told, err := e.run(round, pending)
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		runs = append(runs, r)
		var left []pair
		for _, p := range pending {
			v := judge(p.name, runs)
			found := !r.noisy() && r.pairs[p.name].found()
			switch {
			case v == clean && e.leaky && round < e.repeats:
				v = unsettled
			case v == clean && mode != "" && r.pairs[p.name].n < e.n:
				v = unsettled // the time was over before all samples were taken
			case found && p.open != "" && r.pairs[p.name].small():
				v = open
			}
			if verdicts[p.name] = v; v == unsettled {
				left = append(left, p)
			}
		}
		e.log(t, r, told, verdicts, time.Since(start))
		pending = left
	}
	for _, p := range pending {
		verdicts[p.name] = invalid
	}
	return verdicts
}

func (e experiment) log(t testing.TB, r run, told []comparison, verdicts map[string]verdict, took time.Duration) {
	t.Helper()
	line := func(what string, c comparison, says string) {
		t.Logf("%-26s %-30s %8d %7.1f %4.0f%% %7.1f %9.2f %10.1f  %s", e.name, what, c.n, c.t, 100*c.crop, c.raw,
			micros(c.median), micros(c.typical), says)
	}
	for _, p := range e.pairs {
		if c, ok := r.pairs[p.name]; ok {
			line(p.name, c, verdicts[p.name].String())
		}
	}
	line("a class with itself", r.same, map[bool]string{true: "found, so the run is invalid"}[r.noisy()])
	for i, d := range e.delays {
		says := "found"
		switch found := told[i].t >= threshold; {
		case !found && d.must:
			says = "not found, so nothing is clean"
		case !found:
			says = "not found"
		}
		line(fmt.Sprintf("%v injected", d.delay), told[i], says)
	}
	t.Logf("%-26s took %v", e.name, took.Round(100*time.Millisecond))
}

// small reports whether a difference is no larger than the known one that remains: two rows that
// lie elsewhere, in a call of some statements.
func (c comparison) small() bool { return c.median.Abs() < max(2*time.Microsecond, c.typical/4) }

// longest is the longest that one run may take.
const longest = 15 * time.Minute

const heading = "store, entry               pair                                  n       t crop       raw  median µs   of µs    says"

// require fails the test for a leak. If the run decides nothing, it fails the whole run, and skips
// the small one, which has to pass on busy machines.
func (e experiment) require(t *testing.T) {
	t.Helper()
	verdicts := e.decide(t)
	noise := ""
	for _, p := range e.pairs {
		switch verdicts[p.name] {
		case leak:
			t.Errorf("%s: %s are distinguishable", e.name, p.name)
		case open:
			t.Logf("%s: %s are distinguishable, which is known: %s", e.name, p.name, p.open)
		case invalid:
			noise += fmt.Sprintf("\n\t%s: %s", e.name, p.name)
		}
	}
	switch {
	case noise == "" || t.Failed():
	case mode != "":
		t.Errorf("INVALID: the machine was too busy to say anything about%s", noise)
	default:
		t.Skipf("INVALID: the machine was too busy to say anything about%s", noise)
	}
}

// expectLeak fails the test unless each pair is found to differ, by the same criteria as elsewhere.
func (e experiment) expectLeak(t *testing.T) {
	t.Helper()
	for name, v := range e.decide(t) {
		if v != leak {
			t.Errorf("%s: %s is a leak, and was called %s", e.name, name, v)
		}
	}
}
