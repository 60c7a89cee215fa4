package faults

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery/internal/race"
)

// Two faults happen at once, by two rules. A call and the next one of its site go wrong in the same
// way; and every call of the Store goes wrong together with every call of the Mailer, in every pair
// of modes with different effects. TestFaults checks whether the answers reveal who is meant.
func TestTwoFaults(t *testing.T) {
	var mu sync.Mutex
	var count [2]struct{ pairs, happened int }
	t.Run("scenarios", func(t *testing.T) {
		for _, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				order := run(t, s, 0).faults.order
				for rule, plans := range [2][]plan{sameCallTwice(order), storeAndMailer(order)} {
					for _, plan := range plans {
						w := run(t, s, 0, plan...)
						w.report(t)
						mu.Lock()
						if count[rule].pairs++; w.faults.happened() { // one may prevent the other
							count[rule].happened++
						}
						mu.Unlock()
					}
				}
			})
		}
	})
	is := is.New(t)
	is.True(count[0].happened > 0) // a call fails twice
	is.True(count[1].happened > 0) // Store and Mailer fail
	t.Logf("%d pairs of a call and the next, of which %d happened; %d of Store and Mailer, of which %d happened",
		count[0].pairs, count[0].happened, count[1].pairs, count[1].happened)
}

func sameCallTwice(order []spot) (plans []plan) {
	for _, at := range order {
		next := spot{at.site, at.n + 1}
		for _, mode := range modesOf(at.site) {
			// A lasting fault already includes the next call, and a function that calls the Service
			// does so once.
			if first := (fault{at, mode}); !first.hits(next) && mode != modeReenter {
				plans = append(plans, plan{first, {next, mode}})
			}
		}
	}
	return plans
}

func storeAndMailer(order []spot) (plans []plan) {
	modes := []mode{modeFail, modeFailAfter, modePermanent, modeUncertain}
	if !race.Enabled { // which takes five times as long, and keeps 100 kB of every run
		modes = append(modes, modeBlockAfter, modePanicAfter, modeDown)
	}
	for _, call := range order {
		for _, send := range order {
			if !strings.HasPrefix(call.site, "Store.") || send.site != "Mailer.Send" {
				continue
			}
			for _, first := range modesOf(call.site) {
				for _, second := range modesOf(send.site) {
					if slices.Contains(modes, first) && slices.Contains(modes, second) {
						plans = append(plans, plan{{call, first}, {send, second}})
					}
				}
			}
		}
	}
	return plans
}
