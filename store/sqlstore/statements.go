package sqlstore

import (
	"context"
	"database/sql"
	"net/netip"
	"strings"

	"example.com/recovery"
)

// statements are what a dialect says in its own words. Each dialect's are constants in a file of its
// own, in this order; the tables are written with the default prefix. Arguments come in the order of
// the placeholders, the same for all dialects.
type statements struct {
	lockDatabase string // takes the write lock, where there is one of the whole database

	createReset string
	findReset   string // with the digest, or the next one
	redeem      string
	voidOthers  string
	markMailed  string
	supersede   string

	addAtOnce      string // does what the next four do, in usual cases
	ensureLimits   string // makes rows that can be locked
	lockLimits     string
	setLimits      string
	insertRequests string

	claim      string // or, where nothing can be returned by an update, the next two
	lockDue    string
	claimOne   string // the same for one request
	lockOne    string
	lease      string
	findLeased string
	finish     string
	retry      string

	purgeResets string
	purgeLimits string
}

func statementsOf(d Dialect) statements {
	switch d {
	case PostgreSQL:
		return postgresql
	case MySQL:
		return mysql
	}
	return sqlite
}

const defaultPrefix = "recovery_"

// prefixed returns the statements with another prefix of the tables.
func (s statements) prefixed(prefix string) statements {
	for _, text := range []*string{
		&s.lockDatabase, &s.createReset, &s.findReset, &s.redeem, &s.voidOthers, &s.markMailed, &s.supersede,
		&s.ensureLimits, &s.lockLimits, &s.setLimits, &s.addAtOnce, &s.insertRequests,
		&s.claim, &s.lockDue, &s.claimOne, &s.lockOne, &s.lease, &s.findLeased, &s.finish, &s.retry,
		&s.purgeResets, &s.purgeLimits,
	} {
		*text = strings.ReplaceAll(*text, defaultPrefix, prefix)
	}
	return s
}

// requests reads what a claim returns.
func (s *Store) requests(rows *sql.Rows, err error) (requests []recovery.Job, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r recovery.Job
		var client string
		var requestedAt, dueAt int64
		var throttled int
		if err := rows.Scan(&r.ID, &r.Kind, &r.By, &r.Identifier, &r.AccountID, &r.Portal, &r.Locale, &client,
			&requestedAt, &dueAt, &throttled, &r.Attempts, &r.LeaseID); err != nil {
			return nil, err
		}
		r.Client, _ = netip.ParseAddr(client) // "" is the zero Addr
		r.RequestedAt, r.DueAt = fromMicro(requestedAt), fromMicro(dueAt)
		r.Throttled = throttled != 0
		requests = append(requests, r)
	}
	return requests, rows.Err()
}

// lock takes the database's write lock if it has one.
func (s *Store) lock(ctx context.Context, tx txn) error {
	if s.sql.lockDatabase == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, s.sql.lockDatabase)
	return err
}
