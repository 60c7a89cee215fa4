// Package storetest checks that a [recovery.Store] keeps every promise of the interface's comments.
//
// # Use
//
// Call [Run] from a test of the store's own package, with a function that opens an empty store:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Harness {
//			s := mystore.New(t.TempDir())
//			return storetest.Harness{Store: s, Put: s.Put, Remove: s.Remove, …}
//		})
//	}
//
// Each case enforces one sentence and prints it when it fails. Some cases attack concurrency: run
// the suite with -race, and more than once. docs/store.md says how to begin.
//
// A mapping of a user table is not a Store, and its faults may not show here: package accountstest
// checks a sqlstore.Accounts.
//
// # Compatibility
//
// A new version may have new cases: a store that fails one broke the interface's promise before.
package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"example.com/recovery"
)

// A Harness holds a store under test, and what the interface does not offer: the application's
// access to accounts, and a dump of the stored data.
type Harness struct {
	Store recovery.Store

	// Put adds an account, or replaces the one with its ID, as an application does. It ignores the
	// Version. It must accept any text as user name, address and sign-in, and any text of up to 64
	// bytes as tenant: every store under test has tenants.
	Put func(account recovery.Account, passwordHash string) error
	// Remove deletes an account, as an application does.
	Remove func(id string) error
	// PasswordHash returns the stored password hash of an account.
	PasswordHash func(id string) (string, error)
	// Dump returns everything that the store holds except the accounts, with texts unchanged, in an
	// order that depends only on the data. It returns "" if there is nothing.
	Dump func() (string, error)
}

// Run runs every case as a subtest, each on a store of its own.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) {
					if err := c.check(t.Context(), open(t)); err != nil {
						t.Errorf("%s\n\tthe interface says: %s", err, c.sentence)
					}
				})
			}
		})
	}
}

var groups = []struct {
	name  string
	cases []testCase
}{
	{"FindAccounts", accountCases},
	{"Tenants", tenantCases},
	{"Resets", resetCases},
	{"CreateResets", createCases},
	{"Redeem", redeemCases},
	{"Codes", codeCases},
	{"Limits", limitCases},
	{"Queue", queueCases},
	{"Finish", finishCases},
	{"Purge", purgeCases},
	{"Context", contextCases},
}

type testCase struct {
	name     string
	sentence string
	run      func(*bench)
}

// check runs the case and returns its failure.
func (c testCase) check(ctx context.Context, h Harness) (err error) {
	defer func() {
		if v := recover(); v != nil {
			f, ok := v.(failure)
			if !ok {
				panic(v)
			}
			err = f
		}
	}()
	c.run(&bench{Harness: h, ctx: ctx})
	return nil
}

type failure string

func (f failure) Error() string { return string(f) }

// A bench gives a case its harness, and steps that end the case when they fail.
type bench struct {
	Harness
	ctx context.Context
	ids int
}

func (b *bench) fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

func (b *bench) ok(err error, what string) {
	if err != nil {
		b.fail("%s: unexpected error: %v", what, err)
	}
}

func (b *bench) want(ok bool, format string, args ...any) {
	if !ok {
		b.fail(format, args...)
	}
}

// t0 is when every case begins. It has microseconds, and stores must keep them.
var t0 = time.Date(2026, 2, 28, 23, 59, 59, 123456000, time.UTC)

const (
	ttl  = 16 * time.Hour
	tick = time.Microsecond
)

// account returns an eligible account, not yet stored.
func account(id, username, email string) recovery.Account {
	return recovery.Account{ID: id, Username: username, Email: email, Active: true, HasPassword: true, EmailVerified: true}
}

func (b *bench) put(a recovery.Account, hash string) { b.ok(b.Put(a, hash), "Put") }

// alice stores the account that most cases use, and returns it as the store has it.
func (b *bench) alice() recovery.Account {
	b.put(account("1", "alice", "alice@example.com"), "hash-0")
	return b.byID("1")
}

func (b *bench) byID(id string) recovery.Account { return b.stored("", id) }

// stored returns an account as the store has it.
func (b *bench) stored(tenant, id string) recovery.Account {
	found := b.queryIn(tenant, recovery.ByID, id, id, 2)
	b.want(len(found) == 1, "FindAccounts by ID found %d accounts, not 1", len(found))
	return found[0]
}

func (b *bench) hash(id string) string {
	hash, err := b.PasswordHash(id)
	b.ok(err, "PasswordHash")
	return hash
}

func (b *bench) dump() string {
	text, err := b.Dump()
	b.ok(err, "Dump")
	return text
}

func (b *bench) id() string {
	b.ids++
	return fmt.Sprintf("019abcde-0000-7000-8000-%012d", b.ids)
}

// digest returns a new digest.
func (b *bench) digest() (d recovery.Digest) {
	b.ids++
	d[0], d[1], d[2], d[31] = byte(b.ids), byte(b.ids>>8), 0xfe, 0x01
	return d
}

// requester is the client network of every reset, unless a case says otherwise.
var requester = recovery.Digest{0xaa, 31: 0x01}

// reset returns a reset for the account, asked for at the given time, not yet stored.
func (b *bench) reset(a recovery.Account, at time.Time) recovery.Reset {
	return recovery.Reset{
		Digest: b.digest(), AccountID: a.ID, Version: a.Version, Requester: requester,
		JobID: b.id(), RequestedAt: at, ExpiresAt: at.Add(ttl),
	}
}

// create mints the reset under its job and ends the job.
func (b *bench) create(r recovery.Reset, charges ...recovery.Charge) (superseded []string, err error) {
	return b.mint([]recovery.Reset{r}, charges...)
}

// mint mints the resets of one mail under their job and ends the job.
func (b *bench) mint(resets []recovery.Reset, charges ...recovery.Charge) (superseded []string, err error) {
	at := resets[0].RequestedAt
	j := b.leased(resets[0].JobID, at)
	superseded, err = b.Store.CreateResets(b.ctx, recovery.ResetBatch{
		JobID: j.ID, LeaseID: j.LeaseID, At: at, Resets: resets, Charges: charges,
	})
	b.finish(j, at)
	return superseded, err
}

// live stores a reset for the account and returns it.
func (b *bench) live(a recovery.Account, at time.Time) recovery.Reset {
	r := b.reset(a, at)
	b.store(r)
	return r
}

// store mints the resets of one mail and wants all of them to be stored.
func (b *bench) store(resets ...recovery.Reset) {
	superseded, err := b.mint(resets)
	b.ok(err, "CreateResets")
	b.want(len(superseded) == 0, "CreateResets left out %q", superseded)
}

// leased adds a job with the ID and claims it.
func (b *bench) leased(id string, at time.Time) recovery.Job {
	j := b.job(at)
	j.ID = id
	b.add(j)
	claimed := b.claimID(id, at)
	b.want(len(claimed) == 1, "Claim by ID returned %d jobs, not 1", len(claimed))
	return claimed[0]
}

// job returns a job of the common kind, not yet stored.
func (b *bench) job(at time.Time) recovery.Job {
	return recovery.Job{
		ID: b.id(), Kind: recovery.JobReset, By: recovery.ByUsername, Identifier: "alice", RequestedAt: at, Priority: at,
	}
}

func (b *bench) add(j recovery.Job) { b.ok(b.Store.Enqueue(b.ctx, j, nil), "Enqueue") }

// claim leases everything that is due, in every lane.
func (b *bench) claim(at time.Time) (all []recovery.Job) {
	lease := b.id()
	for _, lane := range []recovery.Lane{recovery.LaneMail, recovery.LaneNotice, recovery.LaneOnReset} {
		all = append(all, b.claimMax(lane, lease, at, 1000)...)
	}
	return all
}

func (b *bench) claimMax(lane recovery.Lane, lease string, at time.Time, most int) []recovery.Job {
	claimed, err := b.Store.Claim(b.ctx, recovery.Claim{LeaseID: lease, Lane: lane, At: at, Until: at.Add(time.Minute), Max: most, Again: (most + 3) / 4})
	b.ok(err, "Claim")
	return claimed
}

func (b *bench) claimID(id string, at time.Time) []recovery.Job {
	claimed, err := b.Store.Claim(b.ctx, recovery.Claim{LeaseID: b.id(), At: at, Until: at.Add(time.Minute), Max: 1, JobID: id})
	b.ok(err, "Claim by ID")
	return claimed
}

// claimOne leases what is due and wants it to be one job.
func (b *bench) claimOne(at time.Time) recovery.Job {
	claimed := b.claim(at)
	b.want(len(claimed) == 1, "Claim returned %d jobs, not 1", len(claimed))
	return claimed[0]
}

func (b *bench) finish(j recovery.Job, at time.Time) {
	b.ok(b.Store.Finish(b.ctx, recovery.Outcome{JobID: j.ID, LeaseID: j.LeaseID, At: at}), "Finish")
}

// mailed finishes a reset's job as one whose mail was accepted.
func (b *bench) mailed(r recovery.Reset) {
	j := b.leased(r.JobID, r.RequestedAt)
	b.ok(b.Store.Finish(b.ctx, recovery.Outcome{
		JobID: j.ID, LeaseID: j.LeaseID, At: r.RequestedAt, MailedAccountIDs: []string{r.AccountID}, Requester: r.Requester,
	}), "Finish")
}

// find returns why the token is refused, or "" if it is live.
func (b *bench) find(d recovery.Digest, at time.Time) recovery.TokenReason {
	_, _, err := b.Store.FindReset(b.ctx, d, at)
	return b.reason(err, "FindReset")
}

func (b *bench) redeem(d recovery.Digest, at time.Time, hash string) (recovery.Account, error) {
	return b.Store.Redeem(b.ctx, recovery.Redemption{Digest: d, At: at, PasswordHash: hash})
}
