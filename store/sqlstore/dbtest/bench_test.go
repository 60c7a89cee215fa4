package dbtest

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// The benchmarks compare a method with the bare statements that it consists of, on the same
// database in the same run, because machines differ and are noisy. "of-bare" is the speed as a part
// of the bare statements' speed. Run them with
//
//	go test -run '^$' -bench . -benchtime 3x ./store/sqlstore/dbtest

const opsPerRound = 2000

// compare runs both in turns, each as often first as second, after a round of each that is not
// counted, and reports how fast ours is as a part of bare.
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

// measure returns how long n calls of f take, made by so many callers at once.
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
		RequestedAt: now, Turn: now,
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
	requested_at, turn, fresh, order_at) VALUES (?, 'mail', 'reset', 'username', 'billybob', '', '', '', '', ?, ?, ?, ?)`

// BenchmarkEnqueue compares one request, with and without its limits, with the bare insert of the
// same row.
func BenchmarkEnqueue(b *testing.B) {
	benchOnEach(b, func(b *testing.B, s databases.Server, store *sqlstore.Store, db *sql.DB) {
		bare := insertOnce(b, s, db)
		for _, callers := range []int{1, 16} {
			b.Run(fmt.Sprintf("limits/callers=%d", callers), func(b *testing.B) {
				compare(b, callers, opsPerRound, bare, func(ctx context.Context) error { return store.Enqueue(ctx, benchRequest(), benchCharges()) })
			})
			b.Run(fmt.Sprintf("no limits/callers=%d", callers), func(b *testing.B) {
				compare(b, callers, opsPerRound, bare, func(ctx context.Context) error { return store.Enqueue(ctx, benchRequest(), nil) })
			})
		}
	})
}

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
		return errOf(svc.RequestReset(ctx, recovery.ResetRequest{Username: nextID(), Client: benchClient}))
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

// BenchmarkFlood compares the requests of 16 callers, each from an address of its own, beside 4 callers
// from one address that is over its limit, with the same requests alone.
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
			return errOf(svc.RequestReset(ctx, recovery.ResetRequest{Username: nextID(), Client: client}))
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

// BenchmarkDurability tells what waiting for the disk costs: "of-bare" is the speed of requests
// whose commits do not, as a part of the speed of those that do.
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

// BenchmarkCompleteReset compares a completion, less the hashing, with the three writes that cannot
// be done without: redeem, set the password, queue the notice.
func BenchmarkCompleteReset(b *testing.B) {
	benchOnEach(b, func(b *testing.B, s databases.Server, store *sqlstore.Store, db *sql.DB) {
		now := time.UnixMicro(time.Now().UnixMicro()).UTC()
		insertReset := databases.Bind(s.Dialect, `INSERT INTO recovery_resets (digest, account_id, version, job_id, requester, requested_at, expires_at)
			VALUES (?, ?, ?, ?, ?, ?, ?)`)
		newReset := func(ctx context.Context) (recovery.Reset, error) {
			id := nextID()
			a := recovery.Account{ID: id, Username: id, Email: id + "@example.com", Active: true, HasPassword: true, EmailVerified: true}
			r := recovery.Reset{AccountID: id, Version: recovery.NewVersion("old", a.Email), JobID: id, RequestedAt: now, ExpiresAt: now.Add(time.Hour)}
			copy(r.Digest[:], id)
			if err := databases.Put(db, s.Dialect, a, "old"); err != nil {
				return r, err
			}
			_, err := db.ExecContext(ctx, insertReset, r.Digest[:], id, r.Version[:], id, r.Requester[:], now.UnixMicro(), r.ExpiresAt.UnixMicro())
			return r, err
		}
		queue := make(chan recovery.Reset, 2*opsPerRound)
		fill := func() {
			for len(queue) < cap(queue) {
				r, err := newReset(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				queue <- r
			}
		}
		redeem := databases.Bind(s.Dialect, "UPDATE recovery_resets SET ended = 'used' WHERE digest = ? AND ended = ''")
		set := databases.Bind(s.Dialect, "UPDATE users SET password_hash = 'new' WHERE id = ?")
		insert := databases.Bind(s.Dialect, insertJob)
		bare := func(ctx context.Context) error {
			r := <-queue
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			at := now.UnixMicro()
			if _, err = tx.ExecContext(ctx, redeem, r.Digest[:]); err == nil {
				if _, err = tx.ExecContext(ctx, set, r.AccountID); err == nil {
					_, err = tx.ExecContext(ctx, insert, nextID(), at, at, 1, at)
				}
			}
			if err != nil {
				return err
			}
			return tx.Commit()
		}
		ours := func(ctx context.Context) error {
			r := <-queue
			_, err := store.Redeem(ctx, recovery.Redemption{Digest: r.Digest, At: now, PasswordHash: "new", Add: []recovery.Job{benchRequest()}})
			return err
		}
		var bareTime, ourTime time.Duration
		for b.Loop() {
			fill()
			bareTime += measure(b, 1, opsPerRound, bare)
			ourTime += measure(b, 1, opsPerRound, ours)
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(bareTime)/float64(ourTime), "of-bare")
	})
}

const (
	claimed    = 1000 // requests of a round of BenchmarkClaimFinish
	claimBatch = 16   // as the worker claims them
)

// BenchmarkClaimFinish compares claiming requests in batches and finishing each with the statements
// that cannot be done without: per batch a lease of what is due and its rows, per request a delete.
func BenchmarkClaimFinish(b *testing.B) {
	benchOnEach(b, func(b *testing.B, s databases.Server, store *sqlstore.Store, db *sql.DB) {
		now := time.UnixMicro(time.Now().UnixMicro()).UTC()
		fill := func() {
			for range claimed {
				r := benchRequest()
				r.RequestedAt, r.Turn = now, now
				if err := store.Enqueue(b.Context(), r, nil); err != nil {
					b.Fatal(err)
				}
			}
		}
		var bareClaim, bareFinish, ourClaim, ourFinish time.Duration
		for b.Loop() {
			fill()
			bare := bareQueue{db, s.Dialect}
			claim, finish := drain(b, func(lease string) ([]recovery.Job, error) { return bare.claim(b.Context(), lease, now) },
				func(r recovery.Job) error { return bare.finish(b.Context(), r) })
			bareClaim, bareFinish = bareClaim+claim, bareFinish+finish
			fill()
			claim, finish = drain(b, func(lease string) ([]recovery.Job, error) {
				return store.Claim(b.Context(), recovery.Claim{LeaseID: lease, Lane: recovery.LaneMail, At: now, Until: now.Add(time.Hour), Max: claimBatch, Again: claimBatch / 4})
			}, func(r recovery.Job) error {
				return store.Finish(b.Context(), recovery.Outcome{JobID: r.ID, LeaseID: r.LeaseID, At: now})
			})
			ourClaim, ourFinish = ourClaim+claim, ourFinish+finish
		}
		n := float64(b.N * claimed)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(ourClaim.Microseconds())/n*claimBatch, "µs/claim")
		b.ReportMetric(float64(ourFinish.Microseconds())/n, "µs/finish")
		b.ReportMetric(float64(bareClaim)/float64(ourClaim), "claim-of-bare")
		b.ReportMetric(float64(bareFinish)/float64(ourFinish), "finish-of-bare")
		b.ReportMetric(float64(bareClaim+bareFinish)/float64(ourClaim+ourFinish), "of-bare")
	})
}

// drain claims and finishes everything, and returns how long each took.
func drain(b *testing.B, claim func(lease string) ([]recovery.Job, error), finish func(recovery.Job) error) (claiming, finishing time.Duration) {
	b.Helper()
	total := 0
	for {
		start := time.Now()
		batch, err := claim(nextID())
		if err != nil {
			b.Fatal(err)
		}
		claiming += time.Since(start)
		if len(batch) == 0 {
			break
		}
		start = time.Now()
		for _, r := range batch {
			if err := finish(r); err != nil {
				b.Fatal(err)
			}
		}
		finishing += time.Since(start)
		total += len(batch)
	}
	if total != claimed {
		b.Fatalf("%d requests were claimed, not %d", total, claimed)
	}
	return claiming, finishing
}

// A bareQueue claims and finishes with as few statements as each database can.
type bareQueue struct {
	db      *sql.DB
	dialect sqlstore.Dialect
}

func (q bareQueue) claim(ctx context.Context, lease string, now time.Time) (batch []recovery.Job, err error) {
	tx, err := q.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	until := now.Add(time.Hour).UnixMicro()
	var rows *sql.Rows
	switch q.dialect {
	case sqlstore.MySQL:
		rows, err = tx.QueryContext(ctx, `SELECT id, identifier FROM recovery_jobs WHERE lane = 'mail' AND fresh = 1
			ORDER BY order_at DESC LIMIT ? FOR UPDATE SKIP LOCKED`, claimBatch)
	case sqlstore.PostgreSQL:
		rows, err = tx.QueryContext(ctx, `UPDATE recovery_jobs SET lease_id = $1, fresh = 0, order_at = $2 WHERE id IN (SELECT id FROM recovery_jobs
			WHERE lane = 'mail' AND fresh = 1 ORDER BY order_at DESC LIMIT $3 FOR UPDATE SKIP LOCKED) RETURNING id, identifier`, lease, until, claimBatch)
	default:
		rows, err = tx.QueryContext(ctx, `UPDATE recovery_jobs SET lease_id = ?, fresh = 0, order_at = ? WHERE id IN (SELECT id FROM recovery_jobs
			WHERE lane = 'mail' AND fresh = 1 ORDER BY order_at DESC LIMIT ?) RETURNING id, identifier`, lease, until, claimBatch)
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r := recovery.Job{LeaseID: lease}
		if err := rows.Scan(&r.ID, &r.Identifier); err != nil {
			return nil, err
		}
		batch = append(batch, r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if q.dialect == sqlstore.MySQL && len(batch) > 0 {
		args := []any{lease, until}
		for _, r := range batch {
			args = append(args, r.ID)
		}
		in := strings.Repeat(", ?", len(batch))[2:]
		if _, err := tx.ExecContext(ctx, "UPDATE recovery_jobs SET lease_id = ?, fresh = 0, order_at = ? WHERE id IN ("+in+")", args...); err != nil {
			return nil, err
		}
	}
	return batch, tx.Commit()
}

func (q bareQueue) finish(ctx context.Context, r recovery.Job) error {
	_, err := q.db.ExecContext(ctx, databases.Bind(q.dialect, "DELETE FROM recovery_jobs WHERE id = ? AND lease_id = ?"), r.ID, r.LeaseID)
	return err
}

// errOf is for calls of which a test wants the error alone.
func errOf[T any](_ T, err error) error { return err }
