package behind

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/recovery"
)

// The attacker asks for own-1, X, own-2 in a row, looks into his own mailboxes, and guesses whether
// X exists. All of the accounts are fresh at every guess.

const (
	guesses  = 100 // to learn from, and as many to be judged by
	mostTrue = 60  // of guesses. Chance exceeds it once in 57 times, hence two more tries
	looks    = 3
	never    = 2 * time.Minute
)

// A mailSystem takes about so long for a mail, and may refuse it for now.
type mailSystem struct {
	name    string
	takes   time.Duration
	refuses func(try int, sinceGuess time.Duration) bool
}

func failsOnce(try int, _ time.Duration) bool         { return try == 1 }
func downFor10s(_ int, sinceGuess time.Duration) bool { return sinceGuess < 10*time.Second }

var mailSystems = []mailSystem{
	{"5ms", 5 * time.Millisecond, nil},
	{"30ms", 30 * time.Millisecond, nil},
	{"200ms", 200 * time.Millisecond, nil},
	{"400ms", 400 * time.Millisecond, nil}, // more than a tick
	{"5ms, fails once", 5 * time.Millisecond, failsOnce},
	{"200ms, fails once", 200 * time.Millisecond, failsOnce},
	{"5ms, down for 10s", 5 * time.Millisecond, downFor10s},
	{"200ms, down for 10s", 200 * time.Millisecond, downFor10s},
}

// mailSystemNamed returns the mail systems with the names.
func mailSystemNamed(names ...string) (found []mailSystem) {
	for _, m := range mailSystems {
		if slices.Contains(names, m.name) {
			found = append(found, m)
		}
	}
	return found
}

// A probing is how many X are asked for between own-1 and own-2.
type probing struct {
	name     string
	burst    int
	networks int // that ask for X, under the default limits; 0 without limits
}

// An other is what X is if it exists. Mails have codes throughout.
type other struct {
	name    string
	account func(name string) recovery.Account
	silent  bool // Options.NoSignInMail
}

var (
	anAccount = other{"an account", accountOf, false}
	noSignIn  = other{"no password, and no mail", withoutPassword, true}
	others    = []other{anAccount, {"no password", withoutPassword, false}, noSignIn}
)

func withoutPassword(name string) recovery.Account {
	a := accountOf(name)
	a.HasPassword, a.SignIn = false, "Google"
	return a
}

var (
	fewProbings = []probing{{"one probe", 1, 1}, {"20 probes of 20 networks", 20, 20}}
	probings    = append(slices.Clone(fewProbings), probing{"20 probes, no limits", 20, 0})
)

// A worker is started on a rig and returns what stops it.
type worker func(r *rig, places int) (stop func())

func libraryWorker(r *rig, _ int) (stop func()) { return r.start(r.Service) }

// deliverLoop is a cron job.
func deliverLoop(r *rig, _ int) (stop func()) {
	return r.background(func(ctx context.Context) {
		for ctx.Err() == nil {
			_, _ = r.Deliver(ctx)
			time.Sleep(250 * time.Millisecond)
		}
	})
}

// engine is an application's own job engine: it polls, and has places of its own.
func engine(r *rig, places int) (stop func()) {
	type entry struct {
		id string
		at time.Time
	}
	var mu sync.Mutex
	var queue []entry
	r.store.set(func() {
		r.store.added = func(id string) {
			mu.Lock()
			defer mu.Unlock()
			queue = append(queue, entry{id, time.Now()})
		}
	})
	next := func() (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		for i, e := range queue {
			if !e.at.After(time.Now()) {
				queue = slices.Delete(queue, i, i+1)
				return e.id, true
			}
		}
		return "", false
	}
	return r.background(func(ctx context.Context) {
		var wg sync.WaitGroup
		for range places {
			wg.Go(func() {
				for tick := time.Tick(250 * time.Millisecond); ctx.Err() == nil; <-tick {
					id, ok := next()
					if !ok {
						continue
					}
					if retryAt, _ := r.DeliverJob(ctx, id); !retryAt.IsZero() {
						mu.Lock()
						queue = append(queue, entry{id, retryAt})
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
	})
}

// A firstEdition is the worker of the first edition, cut down to what an attacker sees of it. Its
// places share a tick, take the oldest request, and either send a mail or drop the request at once.
// It is the positive control: the measurement must find it.
type firstEdition struct {
	*rig
	mu    sync.Mutex
	queue []queued
}

type queued struct {
	job recovery.Job
	due time.Time
}

func firstEditionWorker(r *rig, places int) (stop func()) {
	f := &firstEdition{rig: r}
	r.store.set(func() { r.store.Store.Store = tapped{r.store.Store.Store, f} })
	return r.background(func(ctx context.Context) {
		tick := time.Tick(250 * time.Millisecond)
		var wg sync.WaitGroup
		for range places {
			wg.Go(func() {
				for {
					select {
					case <-ctx.Done():
						return
					case <-tick:
						for f.work() {
						}
					}
				}
			})
		}
		wg.Wait()
	})
}

// tapped gives jobs to the first edition's worker.
type tapped struct {
	recovery.Store
	to *firstEdition
}

func (t tapped) Enqueue(_ context.Context, j recovery.Job, _ recovery.Charges) error {
	t.to.add(j, time.Now())
	return nil
}

func (f *firstEdition) add(j recovery.Job, due time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, queued{j, due})
}

// work handles one request, if there is one.
func (f *firstEdition) work() bool {
	f.mu.Lock()
	i := slices.IndexFunc(f.queue, func(q queued) bool { return !q.due.After(time.Now()) })
	if i < 0 {
		f.mu.Unlock()
		return false
	}
	j := f.queue[i].job
	f.queue = slices.Delete(f.queue, i, i+1)
	f.mu.Unlock()
	found, err := f.users.FindAccounts(f.ctx, recovery.AccountQuery{By: j.By, Typed: j.Identifier, Canonical: j.Identifier, Max: 1})
	if err != nil || len(found) == 0 {
		return true
	}
	if f.post.Send(f.ctx, recovery.Message{ID: j.ID, To: found[0].Email, Client: j.Client}) != nil {
		f.add(j, time.Now().Add(time.Second+rand.N(time.Second)))
	}
	return true
}

// A guessing is a set of cases.
type guessing struct {
	on       func(*testing.T, recovery.Options, func(*rig))
	worker   worker
	systems  []mailSystem
	places   []int // of the worker
	probings []probing
	others   []other // each case has one of them, in turn; in a full run, all
	n        int     // guesses
}

// S56: the library's worker, with Run.
func TestAttack_S56_OwnMailsAroundAnother(t *testing.T) {
	long(t)
	g := guessing{inRig, libraryWorker, mailSystems, []int{1, 2, 16}, probings, others, guesses}
	if !full {
		g.systems = mailSystemNamed("30ms", "400ms", "5ms, fails once", "200ms, down for 10s")
	}
	g.everyOne(t, notAboveChance)
}

// S56: the same on a database.
func TestAttack_S56_OwnMailsAroundAnotherOnSQLite(t *testing.T) {
	long(t)
	g := guessing{inRigOnSQLite, libraryWorker, mailSystemNamed("30ms", "200ms"), []int{2}, fewProbings, others, guesses}
	if !full {
		g.n = guesses * 2 / 5
	}
	g.everyOne(t, notAboveChance)
}

// S57: the same with Deliver and DeliverJob.
func TestAttack_S57_OwnMailsAroundAnother(t *testing.T) {
	long(t)
	for name, w := range map[string]worker{"Deliver": deliverLoop, "DeliverJob": engine} {
		t.Run(name, func(t *testing.T) {
			g := guessing{inRig, w, mailSystemNamed("30ms", "400ms", "5ms, fails once", "200ms, down for 10s"),
				[]int{1, 16}, probings, others, guesses}
			if !full {
				g.probings = fewProbings
			}
			g.everyOne(t, notAboveChance)
		})
	}
}

// The measurement finds the first edition's worker.
func TestAttack_S56_PositiveControl(t *testing.T) {
	long(t)
	g := guessing{inRig, firstEditionWorker, mailSystemNamed("30ms", "200ms", "200ms, fails once"),
		[]int{1, 2}, fewProbings, []other{anAccount}, guesses}
	// One probe is not enough where every mail fails once: own-2 then waits for itself.
	g.everyOne(t, func(t *testing.T, c guess, right, _ int) {
		if right <= mostTrue && (c.probing.burst > 1 || c.system.name != "200ms, fails once") {
			t.Errorf("the first edition's worker is not found: %d guesses are right", right)
		}
	})
}

func notAboveChance(t *testing.T, c guess, right, n int) {
	if right > mostOf(n) {
		t.Errorf("%d of %d guesses whether X exists are right", right, n)
	}
}

// mostOf is mostTrue for n guesses: fewer guesses scatter more.
func mostOf(n int) int { return n*mostTrue/guesses + (guesses-n)/20 }

// A guess is one case.
type guess struct {
	system  mailSystem
	places  int
	probing probing
	x       other
}

// cases returns those of the set.
func (g guessing) cases() (all []guess) {
	for i, m := range g.systems {
		for j, places := range g.places {
			for k, p := range g.probings {
				others := g.others
				if turn := (i + j + k) % len(others); !full {
					others = others[turn : turn+1]
				}
				for _, x := range others {
					all = append(all, guess{m, places, p, x})
				}
			}
		}
	}
	return all
}

func (g guessing) everyOne(t *testing.T, judge func(t *testing.T, c guess, right, n int)) {
	for _, c := range g.cases() {
		t.Run(fmt.Sprintf("mail %s/workers %d/%s/%s", c.system.name, c.places, c.probing.name, c.x.name), func(t *testing.T) {
			t.Parallel()
			right := g.n
			for range looks {
				if right = min(right, g.rightOnes(t, c)); right <= mostOf(g.n) {
					break
				}
			}
			t.Logf("%d of %d right", right, g.n)
			judge(t, c, right, g.n)
		})
	}
}

// rightOnes returns how many guesses are right.
func (g guessing) rightOnes(t *testing.T, c guess) int {
	seen := make([]sight, 2*g.n)
	limits := noLimits
	if c.probing.networks > 0 {
		limits = recovery.Limits{}
	}
	g.on(t, recovery.Options{Workers: c.places, Limits: limits, NoSignInMail: c.x.silent}, func(r *rig) {
		a := attacker{rig: r, x: c.x}
		r.post.serves(a.serve(c.system))
		defer g.worker(r, c.places)()
		for i := range seen {
			seen[i] = a.look(i, c.probing)
		}
	})
	return score(seen[:g.n], seen[g.n:])
}

// A sight is what the attacker sees, and the truth that he guesses: the gap between his two mails,
// and how long each of them took.
type sight struct {
	exists bool
	clues  [3]time.Duration
}

type attacker struct {
	*rig
	x     other
	mu    sync.Mutex
	began time.Time
	tries map[string]int
}

func (a *attacker) serve(m mailSystem) func(context.Context, recovery.Message) error {
	return func(_ context.Context, msg recovery.Message) error {
		time.Sleep(m.takes*4/5 + rand.N(m.takes*2/5))
		a.mu.Lock()
		defer a.mu.Unlock()
		a.tries[msg.ID]++
		if m.refuses != nil && m.refuses(a.tries[msg.ID], time.Since(a.began)) {
			return errDown
		}
		return nil
	}
}

// look asks before and after an X that exists or does not.
func (a *attacker) look(i int, p probing) (s sight) {
	x := fmt.Sprintf("x%d", i)
	if s.exists = rand.N(2) == 0; s.exists {
		a.is.NoErr(a.add(a.x.account(x), "hash of old"))
	}
	a.mu.Lock()
	a.began, a.tries = time.Now(), map[string]int{}
	a.mu.Unlock()
	own := [2]string{fmt.Sprintf("own%d-1", i), fmt.Sprintf("own%d-2", i)}
	ask := func(name string, from int) time.Time {
		_, err := askCode(a.Service, name, network(32*i+from))
		a.is.NoErr(err)
		time.Sleep(time.Millisecond)
		return time.Now()
	}
	a.put(own[0])
	a.put(own[1])
	var asked [2]time.Time
	asked[0] = ask(own[0], 0)
	for k := range p.burst {
		ask(x, 1+k%max(1, p.networks))
	}
	asked[1] = ask(own[1], 0)
	var took [2]time.Duration
	for k := range own {
		_, took[k] = a.mailed(own[k]+"@example.com", network(32*i), asked[k], never)
	}
	s.clues = [3]time.Duration{asked[1].Add(took[1]).Sub(asked[0].Add(took[0])), took[0], took[1]}
	time.Sleep(10*time.Second + rand.N(250*time.Millisecond)) // until nothing waits, at any place between two ticks
	return s
}

// score takes the clue, threshold and direction that fit the known sights best, and returns how
// often they are right about the unknown ones.
func score(known, unknown []sight) (right int) {
	count := func(sights []sight, clue int, threshold time.Duration, above bool) (n int) {
		for _, s := range sights {
			if s.exists == (s.clues[clue] > threshold == above) {
				n++
			}
		}
		return n
	}
	best := 0
	for clue := range len(sight{}.clues) {
		for _, s := range known {
			for _, above := range []bool{true, false} {
				if n := count(known, clue, s.clues[clue], above); n > best {
					best, right = n, count(unknown, clue, s.clues[clue], above)
				}
			}
		}
	}
	return right
}
