package behind

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/recovery"
)

// Floods that delay people, with the default options.

const (
	// aMinute is how soon a person's mail must leave. Whoever waits longer asks again, or gives up.
	aMinute = time.Minute

	// doorRate is how many requests a second the default Limits.Global lets through for ever, and
	// doorBurst how many it lets through at once.
	doorRate, doorBurst = 20, 500

	// fewNetworks are the fewest that can keep the door busy: each may ask once per 30 seconds.
	fewNetworks = doorRate * 30
)

// A flood is a schedule of requests of strangers: f is called with a number for each.
type schedule func(end time.Time, f func(i int))

// steady asks as fast as the door lets through, after all that it lets through at once.
func steady(end time.Time, f func(i int)) {
	for i := 0; time.Now().Before(end); i++ {
		f(i)
		if i >= doorBurst {
			time.Sleep(time.Second / doorRate * 51 / 50) // which leaves people their share of the door
		}
	}
}

// bursts waits until the door lets a burst through at once, and uses that up.
func bursts(end time.Time, f func(i int)) {
	for i := 0; time.Now().Before(end); time.Sleep(doorBurst * time.Second / doorRate) {
		for range doorBurst {
			f(i)
			i++
		}
	}
}

func strangers(networks int) func(i int) netip.Addr {
	return func(i int) netip.Addr { return network(i % networks) }
}

var manyNetworks = strangers(1 << 24) // each asks once

// S88: strangers ask as fast as the door lets them.
func TestAttack_S88_Floods(t *testing.T) {
	long(t)
	flooding, people := 20*time.Minute, 20 // who ask meanwhile
	if full {
		flooding, people = time.Hour, 60
	}
	nobody := func(*rig, string) {}
	somebody := func(r *rig, name string) { r.put(name) }
	for _, c := range []struct {
		name    string
		takes   time.Duration // a mail
		prepare func(r *rig, name string)
		from    func(i int) netip.Addr
		flood   schedule
	}{
		{"real names, mail of 1s, many networks", time.Second, somebody, manyNetworks, steady},
		{"real names, mail of 1s, many networks, in bursts", time.Second, somebody, manyNetworks, bursts},
		{"real names, mail of 2s, few networks", 2 * time.Second, somebody, strangers(fewNetworks), steady},
		{"nobody's names, mail of 1s, many networks", time.Second, nobody, manyNetworks, steady},
		{"nobody's names, mail of 1s, many networks, in bursts", time.Second, nobody, manyNetworks, bursts},
		{"nobody's names, mail of 2s, few networks", 2 * time.Second, nobody, strangers(fewNetworks), steady},
		{"nobody's names, mail of 2s, few networks, in bursts", 2 * time.Second, nobody, strangers(fewNetworks), bursts},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inRig(t, recovery.Options{}, func(r *rig) {
				r.post.serves(func(context.Context, recovery.Message) error {
					time.Sleep(c.takes*9/10 + rand.N(c.takes/10))
					return nil
				})
				defer r.start(r.Service)()
				end := time.Now().Add(flooding)
				var wg sync.WaitGroup
				refused := 0
				wg.Go(func() {
					c.flood(end, func(i int) {
						name := fmt.Sprintf("user%d", i)
						c.prepare(r, name)
						if askName(r.Service, name, c.from(i)) != nil {
							refused++
						}
					})
				})
				late, longest, out := 0, time.Duration(0), 0
				var mu sync.Mutex
				for i := range people {
					time.Sleep(flooding/time.Duration(people) - 500*time.Millisecond + rand.N(time.Second))
					wg.Go(func() { // a person of whom nobody else knows
						name, from := fmt.Sprintf("person%d", i), network(1<<23+i)
						r.put(name)
						since := time.Now()
						for tries := 0; askName(r.Service, name, from) != nil; tries++ { // the door's limit of all
							mu.Lock()
							out++
							mu.Unlock()
							time.Sleep(50 * time.Millisecond)
						}
						_, took := r.mailed(name+"@example.com", from, since, 2*aMinute)
						mu.Lock()
						defer mu.Unlock()
						if longest = max(longest, took); took > aMinute {
							late++
						}
					})
				}
				wg.Wait()
				stats, err := r.Stats(r.ctx)
				r.is.NoErr(err)
				t.Logf("%d of %d people got no mail within a minute; the longest wait was %v (2m: longer); %d requests of the flood and %d of people were refused; %d jobs wait",
					late, people, longest, refused, out, stats.Lanes[0].Jobs)
				r.is.Equal(late, 0)
			})
		})
	}
}

// S88: the mail system hangs or refuses for half an hour, and then takes 10 ms a mail. Meanwhile
// people of many networks ask, or strangers for names that nobody has.
func TestAttack_S88_BacklogAfterAnOutage(t *testing.T) {
	long(t)
	for _, c := range []struct {
		name    string
		hangs   bool
		waiting int
		real    int // one in so many of those who wait has an account
	}{
		{"hangs", true, 20_000, 1},
		{"refuses", false, 20_000, 1},
		{"hangs, and names that nobody has", true, 40_000, 5000},
		{"refuses, and names that nobody has", false, 40_000, 5000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inRig(t, recovery.Options{}, func(r *rig) {
				var up atomic.Bool
				r.post.serves(func(ctx context.Context, _ recovery.Message) error {
					switch {
					case up.Load():
						time.Sleep(10 * time.Millisecond)
						return nil
					case c.hangs:
						<-ctx.Done()
						return ctx.Err()
					}
					return errDown
				})
				defer r.start(r.Service)()
				for i := range c.waiting {
					name := fmt.Sprintf("user%d", i)
					if i%c.real == 0 {
						r.put(name)
					}
					r.is.NoErr(askName(r.Service, name, network(i)))
					time.Sleep(40 * time.Minute / time.Duration(c.waiting))
				}
				up.Store(true)
				var took [4]time.Duration
				var wg sync.WaitGroup
				for i := range took {
					name := fmt.Sprintf("fresh%d", i)
					r.put(name)
					wg.Go(func() { _, took[i] = r.served(r.Service, name, network(c.waiting+i), time.Hour) })
					time.Sleep(15 * time.Second)
				}
				wg.Wait()
				t.Logf("fresh requests 0, 15, 30 and 45 s after the mail system was back were mailed after %v", took)
				for _, d := range took {
					r.is.True(d < aMinute)
				}
			})
		})
	}
}

// S88: mails to an attacker's own mailboxes are refused for now, again and again, as a mail relay
// does with a domain whose DNS does not answer. Everybody else's mail works.
func TestAttack_S88_MailboxesThatFail(t *testing.T) {
	long(t)
	const networks = 100
	for _, c := range []struct {
		name        string
		own, nobody int // requests an hour: for mailboxes that fail, and for names that nobody has
	}{{"alone", 1500, 0}, {"and names that nobody has", 100, 3000}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inRig(t, recovery.Options{}, func(r *rig) {
				for i := range c.own {
					r.put(fmt.Sprintf("own%d", i))
				}
				r.post.serves(func(_ context.Context, m recovery.Message) error {
					time.Sleep(100 * time.Millisecond)
					if strings.HasPrefix(m.To, "own") {
						return errDown
					}
					return nil
				})
				defer r.start(r.Service)()
				lasting := time.Hour
				if full {
					lasting *= 2
				}
				end := time.Now().Add(lasting)
				var wg sync.WaitGroup
				every(&wg, time.Hour/time.Duration(c.own+c.nobody), end, func(i int) {
					// Names without an account are own100 and so on.
					_ = askName(r.Service, fmt.Sprintf("own%d", i%(c.own+c.nobody)), network(i%networks))
				})
				late, longest := 0, time.Duration(0)
				for i := 0; time.Now().Before(end); i++ {
					time.Sleep(2 * time.Minute)
					name, from := fmt.Sprintf("person%d", i), network(1<<23+i)
					r.put(name)
					_, took := r.served(r.Service, name, from, 2*aMinute)
					if longest = max(longest, took); took > aMinute {
						late++
					}
				}
				wg.Wait()
				t.Logf("%d people got no mail within a minute; the longest wait was %v (2m: longer)", late, longest)
				r.is.Equal(late, 0)
			})
		})
	}
}
