package sidechannel

import (
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"

	"example.com/recovery"
	"example.com/recovery/internal/race"
)

// An allocation is what one call takes from the heap.
type allocation struct{ objects, bytes uint64 }

// allocations returns the median allocation of some calls, because maps and queues grow now and
// then.
func allocations(calls []func()) allocation {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var objects, bytes []uint64
	for _, call := range calls {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		call()
		runtime.ReadMemStats(&after)
		objects = append(objects, after.Mallocs-before.Mallocs)
		bytes = append(bytes, after.TotalAlloc-before.TotalAlloc)
	}
	slices.Sort(objects)
	slices.Sort(bytes)
	return allocation{objects[len(objects)/2], bytes[len(bytes)/2]}
}

// prepared returns the call of an action, ready to be made.
func (w *world) prepared(a action, s subject) func() {
	w.is.Helper()
	if a.handler == "" {
		return func() { _ = a.direct(w.svc, s, w.who) }
	}
	h := w.handler(a.handler)
	m := a.write(s)
	r := httptest.NewRequest(m.Method, m.Path, strings.NewReader(m.Body))
	for _, line := range m.Header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	response := httptest.NewRecorder()
	return func() { h.ServeHTTP(response, r) }
}

const allocationCalls = 15

// bare returns a world without a trace, whose own allocations would be counted.
func bare(t *testing.T) *world {
	w := newWorld(t, backends()[0], generous, nil)
	svc := w.svc.Options()
	var err error
	w.svc, err = recovery.New(w.store, w.mails, &svc)
	w.is.NoErr(err)
	return w
}

func TestAttack_S51_RequestsAllocateAlike(t *testing.T) {
	if race.Enabled {
		t.Skip("under the race detector, pools forget at random")
	}
	w := bare(t)
	for _, a := range requests {
		measure := func(c class) allocation {
			subjects := make([]subject, allocationCalls)
			for i := range subjects {
				subjects[i] = w.ready(c)
			}
			w.deliver()
			calls := make([]func(), len(subjects))
			for i, s := range subjects {
				calls[i] = w.prepared(a, s)
			}
			return allocations(calls)
		}
		for range 3 {
			measure(classes[0]) // so that nothing grows
		}
		want := measure(unknown)
		for _, c := range classes {
			if got := measure(c); got != want {
				t.Errorf("%s, %s: %v, unknown: %v", a.name, c.name, got, want)
			}
		}
	}
}

func TestAttack_S51_CompletionsAllocateAlike(t *testing.T) {
	if race.Enabled {
		t.Skip("under the race detector, pools forget at random")
	}
	w := bare(t)
	none, kinds := w.tokens()
	for _, a := range completions {
		measure := func(s subject) allocation {
			calls := make([]func(), allocationCalls)
			for i := range calls {
				calls[i] = w.prepared(a, s)
			}
			return allocations(calls)
		}
		measure(none) // makes the limit
		want := measure(none)
		// A live token with another name is not compared. It costs a check of the account's name,
		// and whoever holds the token needs no oracle.
		for i, kind := range dead[:len(dead)-1] {
			if got := measure(kinds[i]); got != want {
				t.Errorf("%s, %s: %v, unknown: %v", a.name, kind.name, got, want)
			}
		}
	}
}
