// Package memstore is a [recovery.Store] in memory, for tests, examples and single processes that
// may lose their state. It also keeps the accounts: [Store.Put] adds and changes them, as an
// application's own user table would.
//
// Tests compare other stores with it, so it is simple: one mutex, maps and heaps. Still, requests
// and completions hardly slow down when more is stored. Like a database, it copies what it is given
// and what it returns.
package memstore

import (
	"bytes"
	"cmp"
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
	slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(partOf(s.accounts[a]), partOf(s.accounts[b])) })
	var found []recovery.Account
	for _, id := range ids[:min(q.Max, len(ids))] {
		found = append(found, s.accounts[id].current())
	}
	return found, nil
}

// partOf returns the part of a result that the account belongs to.
func partOf(a *account) int {
	switch {
	case a.Eligible():
		return 0
	case a.Active && a.EmailVerified:
		return 1
	}
	return 2
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
