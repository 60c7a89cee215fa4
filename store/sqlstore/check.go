package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// A Checker is an [Accounts] that can check itself at start. [*Mapping] is one.
type Checker interface {
	// Check must return one error with everything that would keep the other methods from working.
	// It must call warn for what only makes them slow, and for what it cannot know. It must change
	// nothing; tx is rolled back. New password hashes have up to hashLength characters.
	Check(ctx context.Context, tx *sql.Tx, hashLength int, warn func(warning string)) error
}

// Check reports at start what would fail later: a database of another dialect or of too old a
// version, missing tables or columns of the store, missing rights, and what the Accounts report if
// they are a [Checker]. A [*Mapping] checks itself against the user table: its names, conditions
// and types, whether a password fits and can be set, whether the ID is unique, and whether a
// look-up finds accounts however their address is stored.
//
// The error joins all faults. Each names the field of Table, and shows the database's own words if
// these hold no data. Check logs a warning about what may be slow or wrong: see Options.Logger. It
// changes nothing, reads at most 1,000 rows of the user table a few times, and needs no more rights
// than the store. On SQLite it waits for its turn to write. [Store.Migrate] calls it; an
// application that migrates with a tool should call it itself.
func (s *Store) Check(ctx context.Context) error {
	own := s.checkOwnTables(ctx, s.db, callMigrate)
	if own != nil && code(own) == "" {
		return fmt.Errorf("sqlstore: %w", own) // no answer of the database
	}
	return s.checkRest(ctx, own)
}

// checkRest checks everything but the columns of the store's own tables; own says what is wrong
// with those.
func (s *Store) checkRest(ctx context.Context, own error) error {
	var opts *sql.TxOptions
	if s.dialect == PostgreSQL {
		opts = readCommitted
	}
	var p *probe
	var warnings []string
	err := s.transact(ctx, opts, func(tx txn) error {
		p, warnings = &probe{ctx: ctx, tx: tx.Tx, d: s.dialect}, nil
		switch {
		case !p.server():
		case own != nil:
			p.fault("%w", own)
		default:
			p.rights(s.names)
		}
		warn := func(warning string) { warnings = append(warnings, warning) }
		p.accounts(s.accounts, s.hashLength, warn)
		if s.dialect == SQLite && own == nil {
			p.file(s.sql.lockDatabase, warn)
		}
		return cmp.Or(p.broken, errNothing)
	})
	if !errors.Is(err, errNothing) {
		return err
	}
	logger := cmp.Or(s.logger, slog.Default())
	for _, warning := range warnings {
		logger.WarnContext(ctx, "sqlstore: "+warning)
	}
	return errors.Join(p.faults...)
}

// accounts asks the Accounts.
func (p *probe) accounts(a Accounts, hashLength int, warn func(string)) {
	checker, ok := a.(Checker)
	if !ok || p.broken != nil {
		return
	}
	err := checker.Check(context.WithValue(p.ctx, serverChecked{}, p.d), p.tx, hashLength, warn)
	switch {
	case err == nil:
	case lostToAnother(err), p.ctx.Err() != nil:
		p.broken = err
	default:
		p.faults = append(p.faults, err)
	}
}

// rights tries to insert, update and delete in each of the store's tables.
func (p *probe) rights(n names) {
	for _, t := range tablesOf(p.d) {
		name, column, all := n.in(t.name), t.columns[0], strings.Join(t.columns, ", ")
		for _, statement := range []string{
			"INSERT INTO " + name + " (" + all + ") SELECT " + all + " FROM " + name,
			"UPDATE " + name + " SET " + column + " = " + column,
			"DELETE FROM " + name,
		} {
			err := p.try(statement + " WHERE 1 = 0")
			switch {
			case err == nil:
				continue
			case isReadOnly(err):
				p.fault("%w", hide(err))
				return
			case isDenied(err):
				p.fault("the store's table %s: %s: %w", name, grantAll, hide(err))
			default:
				p.fault("the store's table %s cannot be written: %w", name, hide(err))
			}
			break
		}
	}
}

// file checks that SQLite's file can be written, and the settings of the connection. It must come
// last, because it locks the database.
func (p *probe) file(lock string, warn func(string)) {
	if p.broken != nil {
		return
	}
	if _, err := p.tx.ExecContext(p.ctx, lock); isReadOnly(err) { // a busy database is no fault
		p.fault("%w", hide(err))
	}
	pragma := func(name string) string {
		a, _ := p.read("PRAGMA " + name)
		if len(a.rows) == 0 {
			return ""
		}
		return strings.ToUpper(a.rows[0][0])
	}
	journal := pragma("journal_mode")
	if journal == "MEMORY" { // the database is in memory too
		return
	}
	if journal != "" && journal != "WAL" {
		warn("SQLite's journal_mode is " + journal + ", so readers and writers wait for each other: set WAL in the DSN")
	}
	if pragma("busy_timeout") == "0" {
		warn("SQLite's busy_timeout is 0, so calls fail while another writes: set 5000 in the DSN")
	}
	if level := map[string]string{"0": "OFF", "1": "NORMAL"}[pragma("synchronous")]; level != "" {
		warn("SQLite's synchronous is " + level + ", so a power failure loses what was committed: set FULL in the DSN")
	}
}
