package dbtest

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/sqlstore"
)

// The benchmarks compare a method with the bare statements that it consists of, on the same
// database in the same run, because machines differ and are noisy. "of-bare" is the speed as a part
// of the bare statements' speed. Run them with
//
//	go test -run '^$' -bench . -benchtime 3x ./internal/systemtest/dbtest

const opsPerRound = 2000

// compare runs both in turns, each as often first as second, after an uncounted round of each. It
// reports our speed as a part of the bare one.
func compare(b *testing.B, callers, ops int, bare, ours func(ctx context.Context) error) {
	b.Helper()
	both := []func(context.Context) error{bare, ours}
	var took [2]time.Duration
	for _, f := range both {
		measure(b, callers, ops, f)
	}
	rounds := 0
	for b.Loop() {
		for i := range both {
			which := (i + rounds) % 2
			took[which] += measure(b, callers, ops, both[which])
		}
		rounds++
	}
	n := float64(rounds * ops)
	b.ReportMetric(0, "ns/op") // a round of both means nothing
	b.ReportMetric(float64(took[0].Microseconds())/n, "bare-µs/op")
	b.ReportMetric(float64(took[1].Microseconds())/n, "µs/op")
	b.ReportMetric(float64(took[0])/float64(took[1]), "of-bare")
}

// measure returns how long n calls of f take, made by the given number of callers at once.
func measure(b *testing.B, callers, n int, f func(ctx context.Context) error) time.Duration {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	var failed atomic.Value
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(b.Context()); err != nil {
					failed.Store(err)
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	if err := failed.Load(); err != nil {
		b.Fatal(err)
	}
	return took
}

func benchOnEach(b *testing.B, f func(b *testing.B, s databases.Server, store *sqlstore.Store, db *sql.DB)) {
	for _, s := range databases.Servers {
		b.Run(s.Name, func(b *testing.B) {
			store, db := databases.Open(b, s)
			f(b, s, store, db)
		})
	}
}

var benchIDs atomic.Int64

func nextID() string { return fmt.Sprintf("bench-%d", benchIDs.Add(1)) }

func benchRequest() recovery.Job {
	now := time.UnixMicro(time.Now().UnixMicro()).UTC()
	return recovery.Job{
		ID: nextID(), Kind: recovery.JobReset, By: recovery.ByUsername, Identifier: "billybob",
		RequestedAt: now, Priority: now,
	}
}

// benchCharges are the limits of a request from an IPv4 address, none of them reached.
func benchCharges() recovery.Charges {
	charge := func(scope recovery.Scope, key int64) recovery.Charge {
		c := recovery.Charge{Scope: scope, Limit: recovery.Limit{Burst: 1_000_000, Every: time.Millisecond}}
		c.Key[0], c.Key[1], c.Key[2], c.Key[3] = byte(key), byte(key>>8), byte(key>>16), byte(scope[0])
		return c
	}
	n := benchIDs.Add(1)
	return recovery.Charges{charge(recovery.ScopeClient, n%1000), charge(recovery.ScopeGlobal, 0)}
}

// insertOnce returns the bare insert of a request and its commit: prepared, and on SQLite, which
// has one writer and lets the others try again after a while, by one caller after the other.
func insertOnce(b *testing.B, s databases.Server, db *sql.DB) func(context.Context) error {
	insert, err := db.PrepareContext(b.Context(), databases.Bind(s.Dialect, insertJob))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = insert.Close() })
	var turn sync.Mutex
	return func(ctx context.Context) error {
		if s.Dialect == sqlstore.SQLite {
			turn.Lock()
			defer turn.Unlock()
		}
		now := time.Now().UnixMicro()
		_, err := insert.ExecContext(ctx, nextID(), now, now, 1, now)
		return err
	}
}

const insertJob = `INSERT INTO recovery_jobs (id, lane, kind, by_kind, identifier, account_id, portal, locale, client,
	requested_at, priority, fresh, order_at) VALUES (?, 'mail', 'reset', 'username', 'billybob', '', '', '', '', ?, ?, ?, ?)`

// unreached returns a service whose limits are all counted and never reached.
func unreached(b *testing.B, store recovery.Store) *recovery.Service {
	never := recovery.Limit{Burst: 1_000_000, Every: time.Microsecond}
	svc, err := recovery.New(store, &mailertest.Recorder{}, &recovery.Options{
		Logger: slog.New(slog.DiscardHandler),
		Limits: recovery.Limits{
			PerClient: never, Global: never, PerAccount: never, PerRequester: never, PerMailbox: never,
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	return svc
}

var benchClient = netip.MustParseAddr("192.0.2.1")

// requestOnce returns the whole request path in process, for a name that was not asked for before.
func requestOnce(b *testing.B, store recovery.Store) func(context.Context) error {
	svc := unreached(b, store)
	return func(ctx context.Context) error {
		return spy.Err(svc.RequestReset(ctx, recovery.ResetRequest{Username: nextID(), Client: benchClient}))
	}
}

// BenchmarkRequestReset compares it, with all limits counted and none reached, with the bare insert
// of one row and its commit.
func BenchmarkRequestReset(b *testing.B) {
	benchOnEach(b, func(b *testing.B, s databases.Server, store *sqlstore.Store, db *sql.DB) {
		bare, ours := insertOnce(b, s, db), requestOnce(b, store)
		for _, callers := range []int{1, 16} {
			b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { compare(b, callers, opsPerRound, bare, ours) })
		}
	})
}

// BenchmarkFlood compares the requests of 16 callers, each from an address of its own, beside 4
// callers from one address that is over its limit, with the same requests alone.
func BenchmarkFlood(b *testing.B) {
	benchOnEach(b, func(b *testing.B, s databases.Server, store *sqlstore.Store, db *sql.DB) {
		svc, err := recovery.New(store, &mailertest.Recorder{}, &recovery.Options{
			Logger: slog.New(slog.DiscardHandler),
			Limits: recovery.Limits{Global: recovery.Limit{Burst: 1_000_000, Every: time.Microsecond}},
		})
		if err != nil {
			b.Fatal(err)
		}
		var n atomic.Uint32
		request := func(ctx context.Context) error {
			i := n.Add(1)
			client := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			return spy.Err(svc.RequestReset(ctx, recovery.ResetRequest{Username: nextID(), Client: client}))
		}
		var alone, beside time.Duration
		for b.Loop() {
			alone += measure(b, 16, opsPerRound, request)
			ctx, stop := context.WithCancel(b.Context())
			var flood sync.WaitGroup
			for range 4 {
				flood.Go(func() {
					for ctx.Err() == nil {
						_, _ = svc.RequestReset(ctx, recovery.ResetRequest{Username: "billybob", Client: benchClient})
					}
				})
			}
			beside += measure(b, 16, opsPerRound, request)
			stop()
			flood.Wait()
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(alone)/float64(beside), "of-alone")
	})
}

// BenchmarkDurability measures what waiting for the disk costs: "of-bare" is the speed of requests
// whose commits do not wait, as a part of the speed of those that do.
func BenchmarkDurability(b *testing.B) {
	for _, c := range []struct {
		name  string
		d     sqlstore.Dialect
		place func(durable bool) databases.Place
	}{
		{"SQLite", sqlstore.SQLite, func(durable bool) databases.Place {
			p := databases.NewSQLite(b)
			if !durable {
				p.DSN += "&_pragma=synchronous(OFF)"
			}
			return p
		}},
		{"PostgreSQL with pgx", sqlstore.PostgreSQL, func(durable bool) databases.Place {
			if durable {
				return databases.NewPostgres(b, "pgx", nil)
			}
			return databases.NewPostgres(b, "pgx", map[string]string{"synchronous_commit": "off"})
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			open := func(durable bool) func(context.Context) error {
				return requestOnce(b, databases.OpenOn(b, c.d, c.place(durable).Open(b), databases.TextType(c.d)))
			}
			compare(b, 16, opsPerRound, open(true), open(false))
		})
	}
}
