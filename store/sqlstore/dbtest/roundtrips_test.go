package dbtest

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/matryer/is"

	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// A queryLog is what pgx sends.
type queryLog struct {
	mu      sync.Mutex
	queries []string
}

func (l *queryLog) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queries = append(l.queries, data.SQL)
	return ctx
}

func (l *queryLog) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// With pgx a request and its limits are one statement, with no transaction around it.
func TestPgxAddsInOneRoundTrip(t *testing.T) {
	is := is.New(t)
	p := databases.NewPostgres(t, "pgx", nil)
	databases.OpenOn(t, sqlstore.PostgreSQL, p.Open(t), "VARCHAR(36)")
	config, err := pgx.ParseConfig(p.DSN)
	is.NoErr(err)
	sent := &queryLog{}
	config.Tracer = sent
	store := databases.StoreOn(t, sqlstore.PostgreSQL, databases.Limited(t, stdlib.OpenDB(*config)), "")
	for range 2 {
		is.NoErr(store.Enqueue(t.Context(), benchRequest(), benchCharges()))
	}
	is.Equal(len(sent.queries), 2)
	for _, query := range sent.queries {
		is.True(strings.HasPrefix(query, "WITH n AS"))
	}
}
