package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"sync"
)

// A txn is a transaction that uses statements that are prepared already. Accounts get the bare one.
type txn struct {
	*sql.Tx
	prepared *prepared
}

func (t txn) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	if stmt := t.prepared.find(text); stmt != nil {
		return t.StmtContext(ctx, stmt).ExecContext(ctx, args...)
	}
	return t.Tx.ExecContext(ctx, text, args...)
}

func (t txn) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	if stmt := t.prepared.find(text); stmt != nil {
		return t.StmtContext(ctx, stmt).QueryContext(ctx, args...)
	}
	return t.Tx.QueryContext(ctx, text, args...)
}

func (t txn) QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row {
	if stmt := t.prepared.find(text); stmt != nil {
		return t.StmtContext(ctx, stmt).QueryRowContext(ctx, args...)
	}
	return t.Tx.QueryRowContext(ctx, text, args...)
}

// prepared keeps the statements of SQLite, which parses for as long as it executes. The others parse on
// their servers, and poolers between mix up what is prepared; there it is nil.
type prepared struct {
	mu      sync.Mutex
	ready   map[string]*sql.Stmt
	missing []string
}

// find returns the statement with the text, nil if there is none yet.
func (p *prepared) find(text string) *sql.Stmt {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	stmt := p.ready[text]
	if stmt == nil && !slices.Contains(p.missing, text) {
		p.missing = append(p.missing, text)
	}
	return stmt
}

// prepare prepares what was missing. It is called when no transaction is held, which may have the only
// connection. What fails now will be missing again.
func (p *prepared) prepare(ctx context.Context, db *sql.DB) {
	if p == nil {
		return
	}
	p.mu.Lock()
	texts := p.missing
	p.missing = nil
	p.mu.Unlock()
	for _, text := range texts {
		p.prepareOne(ctx, db, text)
	}
}

func (p *prepared) prepareOne(ctx context.Context, db *sql.DB, text string) {
	stmt, err := db.PrepareContext(ctx, text)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready[text] != nil {
		_ = stmt.Close()
		return
	}
	p.ready[text] = stmt
}
