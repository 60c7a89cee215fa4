package sqlstore

import (
	"context"
	"database/sql"
	"sync"
)

// A txn is a transaction that uses prepared statements. Accounts get the bare [sql.Tx].
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

// prepared keeps the statements of SQLite, where parsing takes as long as executing: without it a
// single request takes a quarter longer, and each of 16 at once an eighth longer. For other
// databases it is nil: they parse on the server, and poolers mix up prepared statements.
type prepared struct {
	mu      sync.Mutex
	stmts   map[string]*sql.Stmt // by text; nil: seen, not yet prepared
	missing []string
}

// find returns the statement with the text, nil if there is none yet.
func (p *prepared) find(text string) *sql.Stmt {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	stmt, known := p.stmts[text]
	if !known {
		p.stmts[text] = nil
		p.missing = append(p.missing, text)
	}
	return stmt
}

// prepare prepares what was missing. It needs a connection, so it is called before a transaction
// has one. A statement that fails will be missing again.
func (p *prepared) prepare(ctx context.Context, db *sql.DB) {
	if p == nil {
		return
	}
	p.mu.Lock()
	texts := p.missing
	p.missing = nil
	p.mu.Unlock()
	for _, text := range texts {
		stmt, err := db.PrepareContext(ctx, text)
		p.mu.Lock()
		if p.stmts[text] = stmt; err != nil {
			delete(p.stmts, text)
		}
		p.mu.Unlock()
	}
}

// close releases the statements on all connections, once nothing refers to the Store.
func (p *prepared) close() {
	for _, stmt := range p.stmts {
		if stmt != nil {
			_ = stmt.Close()
		}
	}
}
