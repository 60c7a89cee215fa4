package sidechannel

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// A scale is how much is measured.
type scale struct {
	accounts int
	pool     int // subjects of each class, which are used in turn; few have a time of their own, as a class
}

// The classes that are timed.
const (
	timedUnknown uint8 = iota
	timedUnknownToo
	timedDelayed     // unknown, and delayed
	timedDelayedMore // unknown, and delayed more
	timedKnown
	timedDisabled
	timedSeveral
	timedLive // known, with a token that was not used
	timedClasses
)

// numberOf returns the number of the first subject of a class. Accounts have numbers below 500,000.
func (s scale) numberOf(class uint8) int {
	switch class {
	case timedKnown:
		return 0
	case timedDisabled:
		return s.pool
	case timedSeveral:
		return 2 * s.pool // to 5
	case timedLive:
		return livePools * s.pool
	}
	return 500_000 + int(class)*s.pool
}

// The first pools of the accounts with tokens.
const (
	usedPools = iota + 5
	expiredPools
	gonePools
	livePools
)

func numbered(i int) subject {
	name := fmt.Sprintf("user%06d", i)
	return subject{username: name, email: name + "@example.com"}
}

// subjects returns those of a class.
func (s scale) subjects(class uint8) []subject {
	all := make([]subject, s.pool)
	for i := range all {
		step := 1
		if class == timedSeveral {
			step = 3
		}
		all[i] = numbered(s.numberOf(class) + step*i)
	}
	return all
}

// population returns all accounts.
func (s scale) population() []recovery.Account {
	all := make([]recovery.Account, s.accounts)
	for i := range all {
		one := numbered(i)
		all[i] = recovery.Account{
			ID: one.username[4:], Tenant: tenant, Username: one.username, Email: one.email,
			Active: true, HasPassword: true, EmailVerified: true,
		}
		switch pool := i / s.pool; {
		case pool == 1 || pool == gonePools:
			all[i].Active = false
		case pool >= 2 && pool < 5: // three accounts of one address
			all[i].Email = numbered(i - (i-2*s.pool)%3).email
		}
	}
	return all
}

// A stage is a Service on a store full of accounts, with its worker at work.
type stage struct {
	opened
	scale scale
	is    *is.I
	svc   *recovery.Service
	queue *queue
	rests int
}

// A queue is a store that counts its waiting requests.
type queue struct {
	recovery.Store
	left atomic.Int64
}

func (q *queue) Enqueue(ctx context.Context, r recovery.Job, c recovery.Charges) error {
	err := q.Store.Enqueue(ctx, r, c)
	if err == nil {
		q.left.Add(1)
	}
	return err
}

func (q *queue) Finish(ctx context.Context, o recovery.Outcome) error {
	err := q.Store.Finish(ctx, o)
	if err == nil && o.RetryAt.IsZero() {
		q.left.Add(-1)
	}
	return err
}

// rest returns when the worker has nothing to do. Now and then it vacuums PostgreSQL, because the
// measurement makes dead rows faster than autovacuum, if that runs at all, removes them.
func (g *stage) rest() {
	for g.queue.left.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	if g.rests++; g.rests%50 == 1 && g.dialect == sqlstore.PostgreSQL {
		_, err := g.db.Exec("VACUUM (ANALYZE) recovery_jobs, recovery_resets, recovery_limits")
		g.is.NoErr(err)
	}
}

// roomy limits are counted and never reached.
var roomy = recovery.Limits{
	PerClient: often, Global: often, CompletePerClient: often,
	PerAccount: often, PerRequester: often, PerMailbox: often, UsernamesPerMailbox: often,
}

var often = recovery.Limit{Burst: 1_000_000, Every: time.Microsecond}

var portals = map[string]recovery.Portal{"web": {URL: "https://portal.example/recover/reset"}}

// dropped mails go nowhere.
type dropped struct{}

func (dropped) Send(ctx context.Context, _ recovery.Message) error { return ctx.Err() }

func newStage(t testing.TB, b backend, s scale, l leaky) *stage {
	t.Helper()
	g := &stage{opened: b.open(t), scale: s, is: is.New(t)}
	g.is.NoErr(g.fill(s.population()))
	g.queue = &queue{Store: g.store}
	var store recovery.Store = g.queue
	if l != nil {
		var wait func()
		store, wait = l(store, dropped{})
		t.Cleanup(wait)
	}
	var err error
	g.svc, err = recovery.New(store, dropped{}, &recovery.Options{
		Limits: roomy, Logger: quiet,
		Workers: 256, // more than are asked for between two rests: what is due at a tick is done at once
		Tick:    10 * time.Millisecond,
		Portals: portals,
	})
	g.is.NoErr(err)
	ctx, cancel := context.WithCancel(context.Background())
	var worker sync.WaitGroup
	worker.Go(func() { _ = g.svc.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		worker.Wait()
	})
	return g
}

// fill adds many accounts at once.
func (o opened) fill(all []recovery.Account) error {
	if o.db == nil {
		for _, a := range all {
			if err := o.put(a, oldHash); err != nil {
				return err
			}
		}
		return nil
	}
	tx, err := o.db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if err := databases.PutAll(tx, o.dialect, all, oldHash); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, statement := range []string{
		"CREATE INDEX users_username ON users (tenant, username)", "CREATE INDEX users_email ON users (tenant, email)", "ANALYZE",
	} {
		if _, err := o.db.Exec(statement); err != nil {
			return err
		}
	}
	return nil
}

// tokens makes one token for each account of a pool, and ends it with end.
func (g *stage) tokens(pool int, lives time.Duration, end func(digest recovery.Digest) error) []string {
	g.is.Helper()
	now := time.Now().Truncate(time.Microsecond).UTC()
	all, resets := make([]string, g.scale.pool), []recovery.Reset{}
	for i := range all {
		all[i] = randomToken()
		token, err := recovery.ParseToken(all[i])
		g.is.NoErr(err)
		one := numbered(pool*g.scale.pool + i)
		resets = append(resets, recovery.Reset{
			Digest: token.Digest(), AccountID: one.username[4:], Version: recovery.NewVersion(oldHash, one.email),
			RequestedAt: now, ExpiresAt: now.Add(lives),
		})
	}
	for some := range slices.Chunk(resets, 200) {
		g.is.NoErr(plant(context.Background(), g.store, now, some...))
	}
	for _, r := range resets {
		if end != nil {
			g.is.NoErr(end(r.Digest))
		}
	}
	return all
}

func (g *stage) unknownTokens() []string {
	all := make([]string, g.scale.pool)
	for i := range all {
		all[i] = randomToken()
	}
	return all
}
