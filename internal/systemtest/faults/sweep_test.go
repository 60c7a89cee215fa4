package faults

import (
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/matryer/is"

	"example.com/recovery"
)

// The sweep: every scenario is run once to see which foreign functions the core calls, and then
// once for every call and every way in which that call can go wrong, each time in a fresh world.
// Afterwards everything works again, the queue is emptied, and the library's promises must hold.
func TestFaults(t *testing.T) {
	var mu sync.Mutex
	total := count{hit: make(map[string][]mode)}
	t.Run("scenarios", func(t *testing.T) {
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				count := sweep(t, s)
				mu.Lock()
				defer mu.Unlock()
				total.add(count)
			})
		}
	})
	for _, site := range sites() {
		for _, mode := range modesOf(site) {
			if !slices.Contains(total.hit[site], mode) {
				t.Errorf("no scenario has %s go wrong by %q", site, mode)
			}
		}
		delete(total.hit, site)
	}
	is.New(t).Equal(len(total.hit), 0) // nothing else is called
	t.Logf("%d combinations of scenario, call and fault at all %d sites, in %d runs", total.combinations, len(sites()), total.runs)
}

// sweep runs one scenario once for each of its calls, each fault and each subject.
func sweep(t *testing.T, s scenario) (count count) {
	is := is.New(t)
	count.hit = make(map[string][]mode)
	plain := run(t, s, 0)
	is.Equal(plain.violations, nil) // without a fault
	for _, at := range plain.faults.order {
		if s.ids != (at.site == "uuid.Rand") {
			continue
		}
		for _, mode := range modesOf(at.site) {
			plan := plan{{at, mode}}
			first := run(t, s, 0, plan...)
			if !first.faults.happened() {
				t.Errorf("%v: the call was not made", plan)
			}
			first.report(t)
			count.runs++
			for i := 1; i < len(s.subjects) && first.answering(at); i++ {
				count.runs++
				w := run(t, s, i, plan...)
				w.report(t)
				// A lying clock may give an expired token its time back.
				if got, want := w.answers(), first.answers(); got != want && !(w.subject == "expired" && plan.lyingClock()) {
					t.Errorf("%v: the answer for %s\n\t%s\nis not that for %s\n\t%s", plan, w.subject, got, first.subject, want)
				}
			}
			count.combinations++
			count.hit[at.site] = append(count.hit[at.site], mode)
		}
	}
	return count
}

// answering reports whether a caller waited for an answer when the call was made, or the call was
// about one.
func (w *world) answering(at spot) bool {
	return strings.HasPrefix(at.site, "Hooks.") ||
		slices.ContainsFunc(w.asks, func(a ask) bool { return slices.Contains(a.trace, at) }) ||
		slices.ContainsFunc(w.completions, func(c completion) bool { return slices.Contains(c.trace, at) })
}

func (w *world) report(t *testing.T) {
	for _, v := range w.violations {
		t.Errorf("%v, %s: %s", w.plan, w.subject, v)
	}
}

// A count says what the sweep covered.
type count struct {
	combinations, runs int
	hit                map[string][]mode // by site
}

func (c *count) add(more count) {
	c.combinations += more.combinations
	c.runs += more.runs
	for site, modes := range more.hit {
		c.hit[site] = append(c.hit[site], modes...)
	}
}

// sites names every foreign function that the core can call, found by reflection.
func sites() (sites []string) {
	methods := func(t reflect.Type) {
		for i := range t.NumMethod() {
			sites = append(sites, t.Name()+"."+t.Method(i).Name)
		}
	}
	methods(reflect.TypeFor[recovery.Store]())
	methods(reflect.TypeFor[recovery.Mailer]())
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Map, reflect.Slice:
			walk(t.Elem())
		case reflect.Struct:
			if t.PkgPath() != reflect.TypeFor[recovery.Options]().PkgPath() {
				return
			}
			for i := range t.NumField() {
				f := t.Field(i)
				switch {
				case f.Name == "CanonicalUsername": // a pure function of a text
				case f.Type.Kind() == reflect.Func:
					sites = append(sites, t.Name()+"."+f.Name)
				case f.Type.Kind() == reflect.Interface:
					methods(f.Type)
				default:
					walk(f.Type)
				}
			}
		}
	}
	walk(reflect.TypeFor[recovery.Options]())
	return sites
}

// run plays a scenario for one of its subjects under a plan, in a bubble that ends only when every
// goroutine of the library has.
func run(t *testing.T, s scenario, subject int, p ...fault) (w *world) {
	t.Helper()
	stuck := time.AfterFunc(2*time.Minute, func() { // a bubble waits for a mutex without end
		debug.SetTraceback("all")
		panic(fmt.Sprintf("%s: %v: a call does not return", s.name, plan(p)))
	})
	defer stuck.Stop()
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, s, p)
		if s.ids {
			uuid.SetRand(w.faults)
			defer uuid.SetRand(nil)
		}
		if len(s.subjects) > 0 {
			w.subject = s.subjects[subject]
		}
		w.known = subject == 0
		if s.prepare != nil {
			s.prepare(w)
			synctest.Wait()
		}
		w.faults.arm()
		s.act(w)
		synctest.Wait()
		w.heal()
		w.check()
	})
	return w
}
