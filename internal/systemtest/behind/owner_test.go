package behind

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/recovery"
)

// Attacks that keep people out of their accounts, or tell others about them.

// atMost is how many networks of an attacker cannot keep the owner's first mail within an hour from
// her. Of the 10 mails that Limits.PerMailbox lets through at once, k of them use up at most k + 1,
// because repeats pass only while fewer than two are used up. See resetRepeats.
const atMost = 8

const (
	aDay       = 24 * time.Hour
	lifetime   = 16*time.Hour - time.Minute // of a token, looked at every minute
	tickOfDays = 5 * time.Second            // so that a day takes less than a second
)

// An attack asks from one of the networks of an attacker until the end.
type attack struct {
	name string
	run  func(r *rig, victim string, from netip.Addr, n int, end time.Time)
}

// often is how often the limit of a client lets anybody ask for ever.
const often = 30 * time.Second

func byName(r *rig, victim string, from netip.Addr) { _ = askName(r.Service, victim, from) }
func byEmail(r *rig, victim string, from netip.Addr) {
	_ = askEmail(r.Service, victim+"@example.com", from)
}
func names(r *rig, victim string, from netip.Addr) {
	_ = askUsernames(r.Service, victim+"@example.com", from)
}

const namesAlone = "names alone"

var attacks = []attack{
	{"resets, at every possible instant", func(r *rig, victim string, from netip.Addr, _ int, end time.Time) {
		for i := 0; time.Now().Before(end); i++ {
			[]func(*rig, string, netip.Addr){byName, byEmail}[i%2](r, victim, from)
			time.Sleep(often)
		}
	}},
	{"resets and names, at every possible instant", func(r *rig, victim string, from netip.Addr, _ int, end time.Time) {
		for i := 0; time.Now().Before(end); i++ {
			[]func(*rig, string, netip.Addr){byName, names, byEmail}[i%3](r, victim, from)
			time.Sleep(often)
		}
	}},
	{"all at once on the hour", func(r *rig, victim string, from netip.Addr, _ int, end time.Time) {
		for time.Now().Before(end) {
			byName(r, victim, from)
			time.Sleep(time.Hour + 2*tickOfDays) // then what it had is forgotten
		}
	}},
	{"repeats first, then the others at once", func(r *rig, victim string, from netip.Addr, n int, end time.Time) {
		for time.Now().Before(end) {
			switch {
			case n < 2: // two that repeat
				byName(r, victim, from)
				time.Sleep(often)
			default:
				byName(r, victim, from)
				time.Sleep(time.Hour + 2*tickOfDays)
			}
		}
	}},
	{"in turns", func(r *rig, victim string, from netip.Addr, n int, end time.Time) {
		time.Sleep(time.Duration(n) * 5 * time.Minute)
		for i := 0; time.Now().Before(end); i++ {
			names(r, victim, from)
			time.Sleep(often)
			byName(r, victim, from)
			time.Sleep(30*time.Minute - often)
		}
	}},
	{namesAlone, func(r *rig, victim string, from netip.Addr, _ int, end time.Time) {
		for time.Now().Before(end) {
			names(r, victim, from)
			time.Sleep(often)
		}
	}},
}

// attack has the networks of an attacker ask until the end.
func (r *rig) attack(wg *sync.WaitGroup, a attack, networks int, victim string, end time.Time) {
	for n := range networks {
		wg.Go(func() { a.run(r, victim, network(n), n, end) })
	}
}

// An ownersDay is how a person fares who asks now and then.
type ownersDay struct{ asked, late, died int }

// ownerAsks asks as the owner of the account until the end, less often than once an hour. Her mail
// is late if it takes longer than most.
func (r *rig) ownerAsks(name string, end time.Time, most time.Duration) (day ownersDay) {
	token := ""
	for {
		time.Sleep(time.Hour + 2*tickOfDays + rand.N(40*time.Minute))
		if !time.Now().Before(end) {
			return day
		}
		if token != "" && !r.alive(token) { // only she may end it, by asking again
			day.died++
		}
		token = ""
		day.asked++
		if m, took := r.served(r.Service, name, owner, most); took > most {
			day.late++
		} else {
			token = m.token
		}
	}
}

// S33: somebody elsewhere asks for alice and bob as often as the limits allow, for a day. Alice
// asks now and then; bob asked before it began.
func TestAttack_S33_TheOwnerIsKeptOut(t *testing.T) {
	long(t)
	for _, a := range attacks {
		for _, networks := range []int{1, 3, atMost} {
			t.Run(fmt.Sprintf("%s/%d networks", a.name, networks), func(t *testing.T) {
				t.Parallel()
				keepOut(t, a, networks, 0)
			})
		}
		if full || a.name == "resets and names, at every possible instant" {
			t.Run(a.name+"/mail is slow", func(t *testing.T) {
				t.Parallel()
				keepOut(t, a, atMost, 10*time.Minute)
			})
		}
	}
}

// keepOut attacks alice and bob from the networks. Mails arrive within the time given.
func keepOut(t *testing.T, a attack, networks int, within time.Duration) {
	inRig(t, recovery.Options{Tick: tickOfDays}, func(r *rig) {
		r.put("alice")
		r.put("bob")
		bobs := r.token(r.Service, "bob")
		if within > 0 {
			r.post.transit = func() time.Duration { return rand.N(within) }
		}
		defer r.start(r.Service)()
		began := time.Now()
		end := began.Add(aDay)
		var wg sync.WaitGroup
		r.attack(&wg, a, networks, "alice", end)
		r.attack(&wg, a, networks, "bob", began.Add(lifetime))
		bobDied := time.Duration(0)
		wg.Go(func() {
			for time.Since(began) < lifetime && r.alive(bobs) {
				time.Sleep(time.Minute)
			}
			bobDied = time.Since(began)
		})
		day := r.ownerAsks("alice", end, within+aMinute)
		wg.Wait()
		t.Logf("alice asked %d times, %d without a mail within %v; %d of her tokens died early; "+
			"%d mails came; bob's token lived %v",
			day.asked, day.late, within+aMinute, day.died, len(r.post.mails("alice@example.com")), bobDied)
		r.is.Equal(day.late, 0)        // each of her requests was mailed
		r.is.Equal(day.died, 0)        // her tokens lived
		r.is.True(bobDied >= lifetime) // and so did bob's
	})
}

// S33: she forgot her user name too: she asks for it, and three minutes later for a password.
func TestAttack_S33_NameAndThenPassword(t *testing.T) {
	long(t)
	for _, a := range attacks {
		for _, networks := range []int{0, 3, atMost} {
			t.Run(fmt.Sprintf("%s/%d networks", a.name, networks), func(t *testing.T) {
				t.Parallel()
				nameAndThenPassword(t, a, networks)
			})
		}
	}
}

func nameAndThenPassword(t *testing.T, a attack, networks int) {
	inRig(t, recovery.Options{Tick: tickOfDays}, func(r *rig) {
		r.put("alice")
		defer r.start(r.Service)()
		end := time.Now().Add(aDay / 2)
		var wg sync.WaitGroup
		r.attack(&wg, a, networks, "alice", end)
		asked, throttled, noName, noReset := 0, 0, 0, 0
		for {
			time.Sleep(3*time.Hour + rand.N(40*time.Minute))
			if !time.Now().Before(end) {
				break
			}
			asked++
			since := time.Now()
			names(r, "alice", owner)
			if _, took := r.mailed("alice@example.com", owner, since, aMinute); took > aMinute {
				throttled++
				if !r.holdsNames("alice@example.com", since) {
					noName++
				}
			}
			time.Sleep(3*time.Minute - time.Since(since))
			if _, took := r.served(r.Service, "alice", owner, aMinute); took > aMinute {
				noReset++
			}
		}
		wg.Wait()
		t.Logf("alice asked %d times: %d times others had her name mailed instead, %d times nobody; "+
			"%d times no mail came for her password", asked, throttled, noName, noReset)
		r.is.Equal(noName, 0)
		r.is.Equal(noReset, 0)
		r.is.True(networks > 0 || throttled == 0) // alone she is mailed
	})
}

// S33: an attacker with more networks than the limit of a mailbox has room for. Whoever is
// throttled, alice or not, is somebody who has a mail already: one with user names, or one whose
// token works.
func TestAttack_S33_ManyNetworks(t *testing.T) {
	long(t)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			manyNetworksAsk(t, a)
		})
	}
}

func manyNetworksAsk(t *testing.T, a attack) {
	var r *rig
	var throttled, empty atomic.Int32
	hooks := recovery.Hooks{JobThrottled: func(e recovery.JobEvent) {
		throttled.Add(1)
		has := r.holdsToken("alice@example.com")
		if e.Kind == recovery.JobUsernames {
			has = r.holdsNames("alice@example.com", time.Now())
		}
		if !has {
			empty.Add(1)
		}
	}}
	inRig(t, recovery.Options{Tick: tickOfDays, Hooks: hooks}, func(rig *rig) {
		r = rig
		r.put("alice")
		defer r.start(r.Service)()
		end := time.Now().Add(aDay / 4)
		if full {
			end = time.Now().Add(aDay)
		}
		var wg sync.WaitGroup
		r.attack(&wg, a, 40, "alice", end)
		asked, late, without := 0, 0, 0
		for {
			time.Sleep(30*time.Minute + rand.N(time.Hour))
			if !time.Now().Before(end) {
				break
			}
			asked++
			if _, took := r.served(r.Service, "alice", owner, aMinute); took > aMinute {
				late++
			}
			if !r.holdsToken("alice@example.com") {
				without++
			}
		}
		wg.Wait()
		t.Logf("alice asked %d times, %d without a mail within a minute, %d without a token that works; "+
			"of %d throttled requests %d had no mail",
			asked, late, without, throttled.Load(), empty.Load())
		r.is.Equal(without, 0)
		r.is.Equal(empty.Load(), int32(0))
		r.is.True(late == 0 || a.name != namesAlone) // names keep no token from anybody
	})
}

// holdsNames reports whether a mail with user names came within the time in which
// Limits.UsernamesPerMailbox forgets one, and a few ticks.
func (r *rig) holdsNames(email string, at time.Time) bool {
	return slices.ContainsFunc(r.post.mails(email), func(m mail) bool {
		return m.kind == recovery.MessageUsernames && at.Sub(m.at) < time.Hour+3*tickOfDays
	})
}

// holdsToken reports whether the token of the newest mail in the mailbox that has one works.
func (r *rig) holdsToken(email string) bool {
	mails := r.post.mails(email)
	for i := len(mails) - 1; i >= 0; i-- {
		if mails[i].token != "" {
			return r.alive(mails[i].token)
		}
	}
	return false
}

func portalsOfStaff() map[string]recovery.Portal {
	nobody := func(context.Context, recovery.Account) (bool, error) { return false, nil }
	return map[string]recovery.Portal{"staff": {URL: "https://staff.example/", Allow: nobody}}
}

// S34: somebody asks for alice through a portal that refuses her, for hours.
func TestAttack_S34_PortalThatRefuses(t *testing.T) {
	long(t)
	inRig(t, recovery.Options{Tick: tickOfDays, Portals: portalsOfStaff()}, func(r *rig) {
		r.put("alice")
		defer r.start(r.Service)()
		end := time.Now().Add(aDay / 4)
		var wg sync.WaitGroup
		for n := range 40 {
			every(&wg, often, end, func(int) { _ = askPortal(r.Service, "alice", "staff", network(n)) })
		}
		day := r.ownerAsks("alice", end, aMinute)
		wg.Wait()
		t.Logf("alice asked %d times, %d without a mail within a minute", day.asked, day.late)
		r.is.Equal(day.late, 0) // a refused request charges nothing
		r.is.Equal(len(r.post.mails("alice@example.com")), day.asked)
	})
}

// S34: somebody asks for names that nobody has yet.
func TestAttack_S34_NamesThatMeanNobody(t *testing.T) {
	long(t)
	inRig(t, recovery.Options{Tick: tickOfDays}, func(r *rig) {
		defer r.start(r.Service)()
		const people = 20
		late := 0
		for i := range people {
			name := fmt.Sprintf("new%d", i)
			for n := range 40 {
				_ = askName(r.Service, name, network(40*i+n))
				_ = askEmail(r.Service, name+"@example.com", network(40*i+n))
				time.Sleep(time.Second)
			}
			time.Sleep(aMinute)
			r.put(name) // she signs up, and has forgotten her password already
			if _, took := r.served(r.Service, name, owner, aMinute); took > aMinute {
				late++
			}
			time.Sleep(aMinute)
		}
		t.Logf("%d of %d people got no mail within a minute", late, people)
		r.is.Equal(late, 0)
	})
}

// S15: two people whose names and addresses differ in case only.
func TestAttack_S15_CaseTwins(t *testing.T) {
	const lower, upper = "alice", "ALICE"
	byName := func(r *rig, name string) error { return askName(r.Service, name, owner) }
	byEmail := func(r *rig, name string) error { return askEmail(r.Service, name+"@example.com", owner) }
	names := func(r *rig, name string) error { return askUsernames(r.Service, name+"@example.com", owner) }
	for what, ask := range map[string]func(*rig, string) error{"by name": byName, "by address": byEmail, "names": names} {
		for meant, twin := range map[string]string{lower: upper, upper: lower} {
			t.Run(what+" of "+meant, func(t *testing.T) {
				told := 0
				see := func(e recovery.JobEvent) {
					if e.Account.ID == twin {
						told++
					}
				}
				hooks := recovery.Hooks{JobStarted: see, JobDropped: see, JobThrottled: see, MailSent: see}
				inRig(t, recovery.Options{Hooks: hooks}, func(r *rig) {
					r.put(lower)
					r.put(upper)
					r.is.NoErr(ask(r, meant))
					r.deliver(r.Service)
					r.deliver(r.Service)
					mails := r.post.mails(meant + "@example.com")
					r.is.Equal(len(r.post.mails(twin+"@example.com")), 0) // the other learns nothing
					r.is.Equal(len(mails), 1)
					for _, name := range mails[0].names { // nor do they learn of the other
						r.is.Equal(name, meant)
					}
					if mails[0].token != "" {
						r.is.NoErr(redeem(r.Service, mails[0].token, owner))
						hash, _ := r.users.PasswordHash(twin)
						r.is.Equal(hash, "hash of old")
					}
					time.Sleep(time.Second)
					r.is.Equal(told, 0)
				})
			})
		}
	}
}
