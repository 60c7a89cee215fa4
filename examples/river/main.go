// Command river runs the jobs of account recovery in River, a job engine on PostgreSQL, instead of
// Service.Run. River schedules, retries and shows them like the application's other jobs.
//
//	go run ./examples/river -db postgres://postgres@127.0.0.1:5432/postgres
//
// It creates its tables and a user there, and prints what to try and its mails.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/mailer"
	"example.com/recovery/store/sqlstore"
)

func main() {
	db := flag.String("db", "postgres://postgres@127.0.0.1:5432/postgres", "`URL` of a PostgreSQL database")
	addr := flag.String("addr", "127.0.0.1:8082", "`address` to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *db, *addr); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, db, addr string) error {
	renderer, err := mailer.New(nil)
	if err != nil {
		return err
	}
	a, err := open(ctx, db, mailer.NewConsole(os.Stdout, renderer), time.Minute)
	if err != nil {
		return err
	}
	defer a.close()
	handler, err := httpadapter.NewXandr(a.svc, nil)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: addr, Handler: handler, ReadTimeout: 30 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Printf(`Try

  curl -d '{"account-recovery":{"username":"dora"}}' http://%[1]s/account-recovery
  curl -X PUT -d '{"account-recovery":{"password":"New-passw0rd-2","token":"TOKEN"}}' http://%[1]s/account-recovery

`, addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// An app is the Service and what drives it.
type app struct {
	svc  *recovery.Service
	jobs *jobs
	pool *pgxpool.Pool
}

const schema = `
CREATE TABLE IF NOT EXISTS example_river_users (
	id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name     TEXT NOT NULL UNIQUE,
	email    TEXT NOT NULL,
	password TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS example_river_users_email ON example_river_users (email);
INSERT INTO example_river_users (name, email, password) VALUES ('dora', 'dora@example.com', 'none yet') ON CONFLICT DO NOTHING`

func open(ctx context.Context, url string, mails recovery.Mailer, sweepEvery time.Duration) (_ *app, err error) {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	if _, err := pool.Exec(ctx, schema); err != nil {
		return nil, err
	}
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}

	table := sqlstore.Table{
		Name: "example_river_users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
		CanonicalUsername: sqlstore.Exact, CanonicalEmail: sqlstore.Exact,
		Active: sqlstore.Always, EmailVerified: sqlstore.Always,
	}
	accounts, err := table.Accounts(sqlstore.PostgreSQL)
	if err != nil {
		return nil, err
	}
	store, err := sqlstore.New(stdlib.OpenDBFromPool(pool), sqlstore.PostgreSQL, accounts, nil)
	if err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx); err != nil {
		return nil, err
	}
	j := &jobs{Store: store}
	svc, err := recovery.New(j, mails, &recovery.Options{Application: "River App"})
	if err != nil {
		return nil, err
	}
	j.river, err = river.NewClient(driver, config(svc, sweepEvery))
	if err != nil {
		return nil, err
	}
	if err := j.river.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	return &app{svc, j, pool}, nil
}

func config(svc *recovery.Service, sweepEvery time.Duration) *river.Config {
	workers := river.NewWorkers()
	river.AddWorker(workers, &deliver{svc: svc})
	river.AddWorker(workers, &sweep{svc: svc})
	everySweep := river.NewPeriodicJob(river.PeriodicInterval(sweepEvery),
		func() (river.JobArgs, *river.InsertOpts) { return sweepArgs{}, nil }, nil)
	return &river.Config{
		Workers: workers,
		// A queue for each lane, so that no kind of work waits for another. They have as many
		// places as Service.Run: a job holds its place as long as if it sends a mail.
		Queues: map[string]river.QueueConfig{
			string(recovery.LaneMail):    {MaxWorkers: 36},
			string(recovery.LaneNotice):  {MaxWorkers: 9},
			string(recovery.LaneOnReset): {MaxWorkers: 9},
			river.QueueDefault:           {MaxWorkers: 1}, // the sweep
		},
		PeriodicJobs: []*river.PeriodicJob{everySweep},
		JobTimeout:   5 * time.Minute, // longer than the library's own deadlines
		// River must poll, and not start a job because it was added: the time of the work would
		// tell a caller whether there was a mail to send.
		PollOnly:          true,
		FetchPollInterval: 250 * time.Millisecond,
	}
}

// close waits for the jobs that have begun.
func (a *app) close() {
	if err := a.jobs.river.Stop(context.Background()); err != nil {
		log.Print(err)
	}
	a.pool.Close()
}
