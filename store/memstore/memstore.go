// Package memstore is a [recovery.Store] in memory, for tests, examples and single processes that
// may lose their state. It also keeps the accounts: [Store.Put] adds and changes them, as an
// application's own user table would.
//
// Tests compare other stores with it, so it is simple: one mutex and maps. Still, no call costs
// more when more is stored. Like a database, it copies what it is given and what it returns.
package memstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/normal"
	"example.com/recovery/internal/redact"
)

var _ recovery.Store = (*Store)(nil)

// A Store keeps everything in memory. [New] makes one. It is safe for concurrent use.
type Store struct {
	redacted

	// CanonicalUsername must be the function in the Service's Options, if that is set. Set it
	// before the first Put.
	CanonicalUsername func(username string) string

	mu       sync.Mutex
	accounts map[string]*account // by ID
	names    map[key][]string    // account IDs by canonical user name
	emails   map[key][]string    // account IDs by canonical address
	resets   map[recovery.Digest]*reset
	tokens   map[string][]*reset // by account ID
	limits   map[recovery.Digest]limit
	jobs     map[string]*job // by ID
	queue    queue
	expiry   expiries

	states map[recovery.Digest]time.Time // of the limits being taken
}

type redacted = redact.Value

type account struct {
	recovery.Account
	hash string
}

// New returns an empty Store.
func New() *Store {
	return &Store{
		accounts: make(map[string]*account),
		names:    make(map[key][]string),
		emails:   make(map[key][]string),
		resets:   make(map[recovery.Digest]*reset),
		tokens:   make(map[string][]*reset),
		limits:   make(map[recovery.Digest]limit),
		jobs:     make(map[string]*job),
		queue:    queue{lanes: make(map[recovery.Lane]*lane)},
		states:   make(map[recovery.Digest]time.Time),
	}
}

// Put adds the account, or replaces the one with its ID. It ignores the Version and derives its
// own.
func (s *Store) Put(a recovery.Account, passwordHash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(a.ID)
	s.accounts[a.ID] = &account{Account: a, hash: passwordHash}
	name, email := s.keys(a)
	s.names[name] = append(s.names[name], a.ID)
	s.emails[email] = append(s.emails[email], a.ID)
}

// Remove deletes the account with the ID, if there is one.
func (s *Store) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(id)
}

// PasswordHash returns the password hash of the account with the ID.
func (s *Store) PasswordHash(id string) (hash string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.accounts[id]
	if !ok {
		return "", false
	}
	return a.hash, true
}

func (s *Store) remove(id string) {
	old, ok := s.accounts[id]
	if !ok {
		return
	}
	delete(s.accounts, id)
	name, email := s.keys(old.Account)
	unlink(s.names, name, id)
	unlink(s.emails, email, id)
}

// A key finds accounts: a tenant and an identifier in it.
type key struct{ tenant, identifier string }

// keys returns the keys of an account: the canonical forms, or the stored text where there is none.
func (s *Store) keys(a recovery.Account) (name, email key) {
	name, email = key{a.Tenant, a.Username}, key{a.Tenant, a.Email}
	if c, err := recovery.CanonicalUsername(a.Username); err == nil {
		name.identifier = c
	}
	if s.CanonicalUsername != nil {
		name.identifier = s.CanonicalUsername(normal.NFC(normal.Trim(a.Username)))
	}
	if c, err := recovery.CanonicalEmail(a.Email); err == nil {
		email.identifier = c
	}
	return name, email
}

func unlink(index map[key][]string, k key, id string) {
	if ids := slices.DeleteFunc(index[k], func(x string) bool { return x == id }); len(ids) > 0 {
		index[k] = ids
	} else {
		delete(index, k)
	}
}

// current returns the account as the library sees it.
func (a *account) current() recovery.Account {
	c := a.Account
	c.Version = recovery.NewVersion(a.hash, a.Email)
	return c
}

// FindAccounts implements [recovery.Accounts].
func (s *Store) FindAccounts(ctx context.Context, q recovery.AccountQuery) ([]recovery.Account, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var ids []string
	switch q.By {
	case recovery.ByID:
		if a, ok := s.accounts[q.Canonical]; ok && a.Tenant == q.Tenant {
			ids = []string{a.ID}
		}
	case recovery.ByUsername:
		ids = lookUp(s.names, q)
	case recovery.ByEmail:
		ids = lookUp(s.emails, q)
	}
	var found []recovery.Account
	for _, part := range []int{eligible, reachable, others} {
		for _, id := range ids {
			if a := s.accounts[id]; partOf(a.Account) == part && len(found) < q.Max {
				found = append(found, a.current())
			}
		}
	}
	return found, nil
}

// The parts of a result, in order.
const (
	eligible  = iota
	reachable // by mail
	others
)

func partOf(a recovery.Account) int {
	switch {
	case a.Eligible():
		return eligible
	case a.Active && a.EmailVerified:
		return reachable
	}
	return others
}

func lookUp(index map[key][]string, q recovery.AccountQuery) []string {
	ids := slices.Clone(index[key{q.Tenant, q.Canonical}])
	if q.Typed != q.Canonical {
		ids = append(ids, index[key{q.Tenant, q.Typed}]...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// begin takes the lock, unless ctx has ended.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	return nil
}

// Enqueue implements [recovery.Queue].
func (s *Store) Enqueue(ctx context.Context, j recovery.Job, charges recovery.Charges) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := s.take(j.RequestedAt, charges); err != nil {
		return err
	}
	j.Priority = charges.Priority(j.RequestedAt, s.states)
	s.add(j)
	return nil
}

// Claim implements [recovery.Queue].
func (s *Store) Claim(ctx context.Context, c recovery.Claim) ([]recovery.Job, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var due []*job
	if c.JobID == "" {
		due = s.queue.take(c.Lane, c.At, c.Max, c.Again)
	} else if j, ok := s.jobs[c.JobID]; ok && (j.LeaseID == "" || !j.at.After(c.At)) {
		s.queue.remove(j)
		due = []*job{j}
	}
	claimed := make([]recovery.Job, len(due))
	for i, j := range due {
		j.Attempts++
		j.LeaseID = c.LeaseID
		j.fresh = false
		claimed[i] = j.Job
		s.queue.add(j, c.Until)
	}
	return claimed, nil
}

// leased returns the job if it is held under the lease.
func (s *Store) leased(id, leaseID string) (*job, error) {
	j, ok := s.jobs[id]
	if !ok || j.LeaseID == "" || j.LeaseID != leaseID {
		return nil, recovery.ErrLeaseLost
	}
	return j, nil
}

// Finish implements [recovery.Queue].
func (s *Store) Finish(ctx context.Context, o recovery.Outcome) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	j, err := s.leased(o.JobID, o.LeaseID)
	if err != nil {
		return err
	}
	for _, digest := range o.Discard {
		s.forget(digest)
	}
	if j.Charged && len(o.Refund) > 0 {
		j.Charged = false
		s.refund(o.Refund)
	}
	for _, accountID := range o.MailedAccountIDs {
		s.supersede(accountID, recovery.Reset{JobID: j.ID, RequestedAt: j.RequestedAt, Requester: o.Requester})
	}
	s.queue.remove(j)
	if o.RetryAt.IsZero() {
		delete(s.jobs, j.ID)
		return nil
	}
	j.LeaseID = ""
	s.queue.add(j, o.RetryAt)
	return nil
}

func (s *Store) add(added recovery.Job) {
	added.Charged, added.Attempts, added.LeaseID = false, 0, ""
	j := &job{Job: added, fresh: true}
	s.jobs[j.ID] = j
	s.queue.add(j, j.Priority)
}

// Purge implements [recovery.Queue].
func (s *Store) Purge(ctx context.Context, before, ahead time.Time, max int) (int, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	n := 0
	for n < max {
		e, ok := s.expiry.next(before)
		if !ok {
			break
		}
		state, known := s.limits[e.key]
		switch {
		case e.isReset && s.resets[e.key] == nil: // it was discarded
			continue
		case e.isReset:
			s.forget(e.key)
		case !known || !state.look.Equal(e.at): // another entry took its place
			continue
		case state.tat.After(before): // it was charged again since then
			state.look = state.tat
			s.limits[e.key] = state
			s.expiry.add(state.look, e.key, false)
			continue
		default:
			delete(s.limits, e.key)
		}
		n++
	}
	if n < max {
		n += s.mend(before, ahead, max-n)
	}
	return n, nil
}

// mend repairs what a clock far ahead stored: it deletes resets, and makes jobs due.
func (s *Store) mend(now, ahead time.Time, max int) (n int) {
	for digest, r := range s.resets {
		if n < max && r.ExpiresAt.After(ahead) {
			s.forget(digest)
			n++
		}
	}
	for _, j := range s.jobs {
		if n < max && !j.fresh && j.at.After(ahead) {
			s.queue.remove(j)
			s.queue.add(j, now)
			n++
		}
	}
	return n
}

// Stats implements [recovery.Queue].
func (s *Store) Stats(ctx context.Context) ([]recovery.LaneStats, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var stats []recovery.LaneStats
	for _, name := range slices.Sorted(maps.Keys(s.queue.lanes)) {
		of := recovery.LaneStats{Lane: name}
		for _, h := range []jobHeap{s.queue.lanes[name].fresh, s.queue.lanes[name].again} {
			for _, j := range h {
				if of.Jobs == 0 || j.RequestedAt.Before(of.Oldest) {
					of.Oldest = j.RequestedAt
				}
				of.Jobs++
			}
		}
		if of.Jobs > 0 {
			stats = append(stats, of)
		}
	}
	return stats, nil
}

// Now implements [recovery.Queue]: one process has one clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return time.Now(), ctx.Err() }

// Dump returns everything stored except the accounts, as text in a fixed order. A test can search
// it for secrets.
func (s *Store) Dump() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, digest := range slices.SortedFunc(maps.Keys(s.resets), compareDigests) {
		r := s.resets[digest]
		fmt.Fprintln(&b, "reset", digest, r.AccountID, recovery.Digest(r.Version), r.JobID, r.Requester, r.RequestedAt,
			r.ExpiresAt, r.Ended, r.mailed)
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.limits), compareDigests) {
		fmt.Fprintln(&b, "limit", key, s.limits[key].tat)
	}
	for _, id := range slices.Sorted(maps.Keys(s.jobs)) {
		j := s.jobs[id]
		fmt.Fprintln(&b, "job", j.ID, j.Kind, j.By, j.Identifier, j.AccountID, j.Tenant, j.Ticket, j.Portal,
			j.Locale, j.Client, j.RequestedAt, j.Priority, j.Charged, j.Attempts, j.LeaseID, j.fresh, j.at)
	}
	return b.String()
}

func compareDigests(a, b recovery.Digest) int { return bytes.Compare(a[:], b[:]) }
