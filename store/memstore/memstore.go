// Package memstore is a [recovery.Store] in memory, for tests, examples and programs of one process
// that may forget. It also keeps the accounts: [Store.Put] adds and changes them, as an application's
// own user table would.
//
// It is the oracle that other stores are compared with: one mutex, maps, and no cleverness but that
// no call's cost grows with what is stored. Like a database, it returns copies and keeps nothing of
// what it is given.
package memstore

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/redact"
)

var _ recovery.Store = (*Store)(nil)

// A Store keeps everything in memory. It is made by [New] and safe for concurrent use.
type Store struct {
	redacted

	mu       sync.Mutex
	accounts map[string]*account // by ID
	names    map[string][]string // account IDs by canonical user name
	emails   map[string][]string // account IDs by canonical address
	resets   map[recovery.Digest]*reset
	tokens   map[string][]*reset // by account ID
	limits   map[recovery.Digest]limit
	requests map[string]*request // by ID
	queue    due
	expiry   expiries
}

type redacted = redact.Value

type account struct {
	recovery.Account
	hash string
}

type reset struct {
	recovery.Reset
	ended  recovery.TokenReason // "" while it is live
	mailed bool                 // its mail was accepted
}

type limit struct {
	tat  time.Time // see Limit.Take
	look time.Time // when Purge looks at it, never after tat
}

// New returns an empty Store.
func New() *Store {
	return &Store{
		accounts: make(map[string]*account),
		names:    make(map[string][]string),
		emails:   make(map[string][]string),
		resets:   make(map[recovery.Digest]*reset),
		tokens:   make(map[string][]*reset),
		limits:   make(map[recovery.Digest]limit),
		requests: make(map[string]*request),
	}
}

// Put adds the account, or replaces the one with its ID. The Version is derived; the one given is
// ignored.
func (s *Store) Put(a recovery.Account, passwordHash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(a.ID)
	s.accounts[a.ID] = &account{Account: a, hash: passwordHash}
	name, email := keys(a)
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
	name, email := keys(old.Account)
	unlink(s.names, name, id)
	unlink(s.emails, email, id)
}

// keys returns what the account is found under: the canonical forms, or the stored text where it has
// none.
func keys(a recovery.Account) (name, email string) {
	name, err := recovery.CanonicalUsername(a.Username)
	if err != nil {
		name = a.Username
	}
	if email, err = recovery.CanonicalEmail(a.Email); err != nil {
		email = a.Email
	}
	return name, email
}

func unlink(index map[string][]string, key, id string) {
	if ids := slices.DeleteFunc(index[key], func(x string) bool { return x == id }); len(ids) > 0 {
		index[key] = ids
	} else {
		delete(index, key)
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
		ids = []string{q.Canonical}
	case recovery.ByUsername:
		ids = lookUp(s.names, q)
	case recovery.ByEmail:
		ids = lookUp(s.emails, q)
	}
	var found []recovery.Account
	for _, eligible := range []bool{true, false} {
		for _, id := range ids {
			if a, ok := s.accounts[id]; ok && a.Eligible() == eligible && len(found) < q.Max {
				found = append(found, a.current())
			}
		}
	}
	return found, nil
}

func lookUp(index map[string][]string, q recovery.AccountQuery) []string {
	ids := slices.Clone(index[q.Canonical])
	if q.Typed != q.Canonical {
		ids = append(ids, index[q.Typed]...)
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

// CreateReset implements [recovery.Resets].
func (s *Store) CreateReset(ctx context.Context, r recovery.Reset) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, other := range s.tokens[r.AccountID] {
		if other.mailed && older(r, other.Reset) {
			return recovery.ErrSuperseded
		}
	}
	n := &reset{Reset: r}
	s.resets[r.Digest] = n
	s.tokens[r.AccountID] = append(s.tokens[r.AccountID], n)
	s.expiry.add(r.ExpiresAt, r.Digest, true)
	return nil
}

// older reports whether a's request came before b's.
func older(a, b recovery.Reset) bool {
	return cmp.Or(a.RequestedAt.Compare(b.RequestedAt), cmp.Compare(a.JobID, b.JobID)) < 0
}

// FindReset implements [recovery.Resets].
func (s *Store) FindReset(ctx context.Context, digest recovery.Digest, at time.Time) (recovery.Reset, recovery.Account, error) {
	if err := s.begin(ctx); err != nil {
		return recovery.Reset{}, recovery.Account{}, err
	}
	defer s.mu.Unlock()
	r, a, err := s.live(digest, at)
	if err != nil {
		return recovery.Reset{}, recovery.Account{}, err
	}
	return r.Reset, a.current(), nil
}

// What is looked at in place of what is not there.
var (
	noReset   reset
	noAccount account
)

// live returns the reset with the digest and its account if it can be redeemed at the given instant. It
// does the same for every token.
func (s *Store) live(digest recovery.Digest, at time.Time) (*reset, *account, error) {
	r, known := s.resets[digest]
	if !known {
		r = &noReset
	}
	a, exists := s.accounts[r.AccountID]
	if !exists {
		a = &noAccount
	}
	version := a.current().Version
	refuse := func(reason recovery.TokenReason) (*reset, *account, error) {
		return nil, nil, &recovery.TokenError{Reason: reason}
	}
	switch {
	case !known:
		return refuse(recovery.TokenUnknown)
	case r.ended != "":
		return refuse(r.ended)
	case !at.Before(r.ExpiresAt):
		return refuse(recovery.TokenExpired)
	case !a.Eligible(): // as noAccount is not
		return refuse(recovery.TokenAccountGone)
	case version != r.Version:
		return refuse(recovery.TokenStale)
	}
	return r, a, nil
}

// Redeem implements [recovery.Resets].
func (s *Store) Redeem(ctx context.Context, c recovery.Redemption) (recovery.Account, error) {
	if err := s.begin(ctx); err != nil {
		return recovery.Account{}, err
	}
	defer s.mu.Unlock()
	r, a, err := s.live(c.Digest, c.At)
	if err != nil {
		return recovery.Account{}, err
	}
	a.hash = c.PasswordHash
	for _, other := range s.tokens[r.AccountID] {
		if other.ended == "" {
			other.ended = recovery.TokenVoided
		}
	}
	r.ended = recovery.TokenUsed
	s.add(c.Add...)
	return a.current(), nil
}

// Enqueue implements [recovery.Queue].
func (s *Store) Enqueue(ctx context.Context, r recovery.Job, charges recovery.Charges) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if refused := s.take(r.RequestedAt, charges.Hard); refused != nil {
		return refused
	}
	r.Throttled = s.take(r.RequestedAt, charges.Soft) != nil
	s.add(r)
	return nil
}

// TakeLimits implements [recovery.Queue].
func (s *Store) TakeLimits(ctx context.Context, at time.Time, charges []recovery.Charge) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if refused := s.take(at, charges); refused != nil {
		return refused
	}
	return nil
}

// take counts all of the charges or none.
func (s *Store) take(at time.Time, charges []recovery.Charge) *recovery.LimitError {
	var refused *recovery.LimitError
	for _, c := range charges {
		_, wait := c.Limit.Take(s.limits[c.Key].tat, at)
		if wait > 0 && (refused == nil || wait > refused.RetryAfter) {
			refused = &recovery.LimitError{Scope: c.Scope, RetryAfter: wait}
		}
	}
	for _, c := range charges { // what is refused is stored as it was: it takes as long
		state, known := s.limits[c.Key]
		if next, _ := c.Limit.Take(state.tat, at); refused == nil {
			state.tat = next
		} else if !known {
			continue
		}
		if !known || state.tat.Before(state.look) { // before: the clock went back
			state.look = state.tat
			s.expiry.add(state.look, c.Key, false)
		}
		s.limits[c.Key] = state
	}
	return refused
}

// Claim implements [recovery.Queue].
func (s *Store) Claim(ctx context.Context, l recovery.Claim) ([]recovery.Job, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var due []*request
	if l.JobID == "" {
		due = s.queue.take(l.At, l.Max)
	} else if r, ok := s.requests[l.JobID]; ok && (r.LeaseID == "" || !r.free.After(l.At)) {
		s.queue.remove(r)
		due = []*request{r}
	}
	claimed := make([]recovery.Job, len(due))
	for i, r := range due {
		r.Attempts++
		r.LeaseID = l.LeaseID
		claimed[i] = r.Job
		s.queue.add(r, l.Until)
	}
	return claimed, nil
}

// Finish implements [recovery.Queue].
func (s *Store) Finish(ctx context.Context, o recovery.Outcome) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	r, ok := s.requests[o.JobID]
	if !ok || r.LeaseID == "" || r.LeaseID != o.LeaseID {
		return recovery.ErrLeaseLost
	}
	if o.Mailed != "" {
		s.supersede(o.Mailed, r.Job)
	}
	s.add(o.Add...)
	if !o.RetryAt.IsZero() {
		r.LeaseID, r.DueAt = "", o.RetryAt
		s.queue.remove(r)
		s.queue.add(r, o.RetryAt)
		return nil
	}
	s.queue.remove(r)
	delete(s.requests, r.ID)
	return nil
}

// supersede ends the live resets of the account that come from requests older than by.
func (s *Store) supersede(accountID string, by recovery.Job) {
	mine := recovery.Reset{JobID: by.ID, RequestedAt: by.RequestedAt}
	for _, r := range s.tokens[accountID] {
		switch {
		case r.JobID == by.ID:
			r.mailed = true
		case r.ended == "" && older(r.Reset, mine):
			r.ended = recovery.TokenSuperseded
		}
	}
}

func (s *Store) add(requests ...recovery.Job) {
	for _, r := range requests {
		r.Attempts, r.LeaseID = 0, ""
		q := &request{Job: r}
		s.requests[r.ID] = q
		s.queue.add(q, r.DueAt)
	}
}

// Purge implements [recovery.Queue].
func (s *Store) Purge(ctx context.Context, before time.Time, max int) (int, error) {
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
		state := s.limits[e.key]
		switch {
		case e.isReset:
			s.forget(e.key)
		case !state.look.Equal(e.at): // another entry took its place
			continue
		case state.tat.After(before): // it was counted again since
			state.look = state.tat
			s.limits[e.key] = state
			s.expiry.add(state.look, e.key, false)
			continue
		default:
			delete(s.limits, e.key)
		}
		n++
	}
	return n, nil
}

func (s *Store) forget(digest recovery.Digest) {
	r := s.resets[digest]
	delete(s.resets, digest)
	left := slices.DeleteFunc(s.tokens[r.AccountID], func(x *reset) bool { return x == r })
	if len(left) > 0 {
		s.tokens[r.AccountID] = left
	} else {
		delete(s.tokens, r.AccountID)
	}
}

// Dump returns everything at rest but the accounts, as one text, so that a test can look for what
// must not be there. The order is fixed.
func (s *Store) Dump() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b dump
	for _, digest := range slices.SortedFunc(maps.Keys(s.resets), compareDigests) {
		r := s.resets[digest]
		b.line("reset", digest, r.AccountID, recovery.Digest(r.Version), r.JobID, r.RequestedAt, r.ExpiresAt, r.ended, r.mailed)
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.limits), compareDigests) {
		b.line("limit", key, s.limits[key].tat)
	}
	for _, id := range slices.Sorted(maps.Keys(s.requests)) {
		r := s.requests[id]
		b.line("request", r.ID, r.Kind, r.By, r.Identifier, r.AccountID, r.Portal, r.Locale, r.Client,
			r.RequestedAt, r.DueAt, r.Throttled, r.Attempts, r.LeaseID)
	}
	return b.String()
}

func compareDigests(a, b recovery.Digest) int { return bytes.Compare(a[:], b[:]) }
