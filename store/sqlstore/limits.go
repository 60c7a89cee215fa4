package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"example.com/recovery"
)

// TakeLimits implements [recovery.Requests].
func (s *Store) TakeLimits(ctx context.Context, at time.Time, charges []recovery.Charge) error {
	return s.write(ctx, func(tx *sql.Tx) error { return s.take(ctx, tx, at, charges) })
}

// take counts the charges, or returns a *LimitError; the caller then rolls back.
func (s *Store) take(ctx context.Context, tx *sql.Tx, at time.Time, charges []recovery.Charge) error {
	for i, c := range charges {
		ok, err := s.count(ctx, tx, at, c)
		if err != nil {
			return err
		}
		if !ok {
			return s.refusal(ctx, tx, at, charges, i)
		}
	}
	return nil
}

// count is [recovery.Limit.Take] in the database: guarded writes that change a row if the event may
// pass, and none if it may not.
func (s *Store) count(ctx context.Context, tx *sql.Tx, at time.Time, c recovery.Charge) (bool, error) {
	now, every := at.UnixMicro(), c.Limit.Every.Microseconds()
	full := int64(c.Limit.Burst) * every
	room := now + full - every                                  // up to this state one more may pass
	beyond := now + full + recovery.MaxClockSkew.Microseconds() // a later state is none
	if s.sql.upsertLimit != "" {
		n, err := affected(tx.ExecContext(ctx, s.sql.upsertLimit, c.Key[:], now+every, beyond, now, now, every, room, beyond))
		return n > 0, err
	}
	if _, err := tx.ExecContext(ctx, s.sql.ensureLimit, c.Key[:]); err != nil {
		return false, err
	}
	n, err := affected(tx.ExecContext(ctx, s.sql.updateLimit, beyond, now, now, every, c.Key[:], room, beyond))
	return n > 0, err
}

// refusal finds out how long the caller has to wait: the longest of all charges. Those before the
// refused one were counted already and are taken back.
func (s *Store) refusal(ctx context.Context, tx *sql.Tx, at time.Time, charges []recovery.Charge, refused int) error {
	e := &recovery.LimitError{}
	for i, c := range charges {
		var micro int64
		err := tx.QueryRowContext(ctx, s.sql.findLimit, c.Key[:]).Scan(&micro)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		state := fromMicro(micro)
		if i < refused {
			state = state.Add(-c.Limit.Every)
		}
		if _, wait := c.Limit.Take(state, at); wait > e.RetryAfter {
			e.Scope, e.RetryAfter = c.Scope, wait
		}
	}
	if e.RetryAfter == 0 { // the row was purged in between: it may pass now
		e.Scope, e.RetryAfter = charges[refused].Scope, time.Microsecond
	}
	return e
}
