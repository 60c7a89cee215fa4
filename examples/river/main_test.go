package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
)

// The tests use the PostgreSQL at RECOVERY_POSTGRES (a URL), or else the one on this machine. Each
// test has a database of its own there, and drops it.
func newDatabase(t *testing.T) string {
	is := is.New(t)
	is.Helper()
	u, err := url.Parse(cmp.Or(os.Getenv("RECOVERY_POSTGRES"), "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"))
	is.NoErr(err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	admin, err := pgx.Connect(ctx, u.String())
	if err != nil {
		if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
			t.Fatalf("PostgreSQL was not found, and RECOVERY_REQUIRE_ALL is 1: %v", err)
		}
		t.Skipf("PostgreSQL was not found, so nothing was tested with it: %v", err)
	}
	name := fmt.Sprintf("recovery_river_%d_%d", os.Getpid(), time.Now().UnixNano())
	_, err = admin.Exec(t.Context(), "CREATE DATABASE "+name)
	is.NoErr(err)
	t.Cleanup(func() {
		_, err := admin.Exec(context.Background(), "DROP DATABASE "+name)
		is.NoErr(err)
		is.NoErr(admin.Close(context.Background()))
	})
	u.Path = "/" + name
	return u.String()
}

// mailed waits for the n-th mail.
func mailed(t *testing.T, mails *mailertest.Recorder, n int) recovery.Message {
	t.Helper()
	for range 3000 {
		if all := mails.Messages(); len(all) >= n {
			return all[n-1]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("mail %d did not come within 30 s", n)
	return recovery.Message{}
}

func TestRiverDrivesTheQueue(t *testing.T) {
	is := is.New(t)
	mails := &mailertest.Recorder{}
	var tries atomic.Int32
	mails.Fail(func(recovery.Message) error {
		if tries.Add(1) == 1 {
			return errors.New("the mail server is away")
		}
		return nil
	})
	a, err := open(t.Context(), newDatabase(t), mails, time.Hour) // no sweep comes in time
	is.NoErr(err)
	defer a.close()
	is.NoErr(errOf(a.svc.RequestReset(t.Context(), recovery.ResetRequest{Username: "nobody"})))
	is.NoErr(errOf(a.svc.RequestReset(t.Context(), recovery.ResetRequest{Username: "dora"})))
	reset := mailed(t, mails, 1)
	is.Equal(reset.Kind, recovery.MessageResetToken)
	is.Equal(tries.Load(), int32(2)) // River tried again when the library wanted it to
	_, err = a.svc.CompleteReset(t.Context(), recovery.CompleteRequest{Token: reset.Resets[0].Token.Reveal(), Password: "New-passw0rd-2"})
	is.NoErr(err)
	is.Equal(mailed(t, mails, 2).Kind, recovery.MessagePasswordChanged)

	var jobs, waiting int
	is.NoErr(a.pool.QueryRow(t.Context(), `SELECT count(*) FROM river_job WHERE kind = 'account_recovery'`).Scan(&jobs))
	is.Equal(jobs, 3) // a job for each request, known or not, and for the notice
	for range 6000 {  // the name that nobody has is tried again as dora's mail was
		is.NoErr(a.pool.QueryRow(t.Context(), `SELECT count(*) FROM recovery_jobs`).Scan(&waiting))
		if waiting == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	is.Equal(waiting, 0) // all are finished
}

func TestSweepFindsLostJobs(t *testing.T) {
	is := is.New(t)
	mails := &mailertest.Recorder{}
	a, err := open(t.Context(), newDatabase(t), mails, time.Second)
	is.NoErr(err)
	defer a.close()
	svc, err := recovery.New(a.jobs.Store, mails, nil) // adds no jobs
	is.NoErr(err)
	is.NoErr(errOf(svc.RequestReset(t.Context(), recovery.ResetRequest{Username: "dora"})))
	is.Equal(mailed(t, mails, 1).To, "dora@example.com")
}

// errOf returns the error of a call, for tests that need nothing else of it.
func errOf[T any](_ T, err error) error { return err }
