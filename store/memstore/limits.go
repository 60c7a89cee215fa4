package memstore

import (
	"context"
	"time"

	"example.com/recovery"
)

type limit struct {
	tat  time.Time // see Limit.Take
	look time.Time // when Purge looks at it, never after tat
}

// TakeLimits implements [recovery.Queue].
func (s *Store) TakeLimits(ctx context.Context, at time.Time, charges recovery.Charges) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return s.take(at, charges)
}

// RefundLimits implements [recovery.Queue].
func (s *Store) RefundLimits(ctx context.Context, charges recovery.Charges) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.refund(charges)
	return nil
}

func (s *Store) refund(charges recovery.Charges) {
	s.read(charges)
	charges.Refund(s.states)
	s.write()
}

// take takes the charges and leaves their new states in s.states.
func (s *Store) take(at time.Time, charges recovery.Charges) error {
	s.read(charges)
	if err := charges.Take(at, s.states); err != nil {
		return err
	}
	s.write()
	return nil
}

// read reads the charges' states into s.states.
func (s *Store) read(charges recovery.Charges) {
	clear(s.states)
	for _, c := range charges {
		s.states[c.Key] = s.limits[c.Key].tat
	}
}

func (s *Store) write() {
	for key, tat := range s.states {
		if tat.IsZero() { // it was never taken
			continue
		}
		state, known := s.limits[key]
		state.tat = tat
		if !known || tat.Before(state.look) { // before: the clock went back, or there was a refund
			state.look = tat
			s.expiry.add(tat, key, false)
		}
		s.limits[key] = state
	}
}
