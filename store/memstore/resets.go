package memstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"example.com/recovery"
)

type reset struct {
	recovery.Reset
	mailed bool // its mail was accepted
}

// CreateResets implements [recovery.Resets].
func (s *Store) CreateResets(ctx context.Context, m recovery.ResetBatch) (superseded []string, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	j, err := s.leased(m.JobID, m.LeaseID)
	if err != nil {
		return nil, err
	}
	var kept []recovery.Reset
	for _, r := range m.Resets {
		switch {
		case !s.superseded(r, m.At):
			kept = append(kept, r)
		case !slices.Contains(superseded, r.AccountID):
			superseded = append(superseded, r.AccountID)
		}
	}
	if len(m.Resets) > 0 && len(kept) == 0 {
		return superseded, nil
	}
	if !j.Charged {
		if err := s.take(m.At, m.Charges); err != nil {
			return nil, err
		}
		j.Charged = true
	}
	for _, r := range kept {
		n := &reset{Reset: r}
		s.resets[r.Digest] = n
		s.tokens[r.AccountID] = append(s.tokens[r.AccountID], n)
		s.expiry.add(r.ExpiresAt, r.Digest, true)
	}
	return superseded, nil
}

// superseded reports whether a mail for a newer request of the same requester was accepted.
func (s *Store) superseded(r recovery.Reset, at time.Time) bool {
	return slices.ContainsFunc(s.tokens[r.AccountID], func(other *reset) bool {
		return other.mailed && other.Requester == r.Requester && older(r, other.Reset) &&
			!other.RequestedAt.After(at.Add(recovery.MaxClockSkew))
	})
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

// Placeholders: live does the same work if there is no reset or no account.
var (
	noReset   reset
	noAccount account
)

var errUnknown = &recovery.TokenError{Reason: recovery.TokenUnknown}

// live returns the reset with the digest and its account if it can be redeemed at the given
// instant. It does the same for every token.
func (s *Store) live(digest recovery.Digest, at time.Time) (*reset, *account, error) {
	r, known := s.resets[digest]
	if !known {
		r = &noReset
	}
	a, exists := s.accounts[r.AccountID]
	if !exists {
		a = &noAccount
	}
	err := r.Judge(at, a.current())
	if !known {
		err = errUnknown
	}
	if err != nil {
		return nil, nil, err
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
		if other.Ended == "" {
			other.Ended = recovery.TokenVoided
		}
	}
	r.Ended = recovery.TokenUsed
	for _, j := range c.Add {
		s.add(j)
	}
	return a.current(), nil
}

// supersede marks the resets of by's job as mailed. It ends the account's live resets of the same
// requester whose request is older.
func (s *Store) supersede(accountID string, by recovery.Reset) {
	for _, r := range s.tokens[accountID] {
		switch {
		case r.JobID == by.JobID:
			r.mailed = true
		case r.Ended == "" && r.Requester == by.Requester && older(r.Reset, by):
			r.Ended = recovery.TokenSuperseded
		}
	}
}

func (s *Store) forget(digest recovery.Digest) {
	r, known := s.resets[digest]
	if !known {
		return
	}
	delete(s.resets, digest)
	left := slices.DeleteFunc(s.tokens[r.AccountID], func(x *reset) bool { return x == r })
	if len(left) > 0 {
		s.tokens[r.AccountID] = left
	} else {
		delete(s.tokens, r.AccountID)
	}
}
