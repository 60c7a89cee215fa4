package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/mailer"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/mailer/smtpmailer"
	"example.com/recovery/store/memstore"
)

// A server with the worker beside it. At SIGTERM the server ends first, then the worker finishes
// what it has begun, then the mailer closes its connections.
//
// 3 × SendTimeout must be below the time that the orchestrator grants, which is 30 seconds in
// Kubernetes: the default SendTimeout of 30 seconds makes 90. Here all takes at most 3 + 3 × 8 + 2.
func ExampleService_Run() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	renderer, err := mailer.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	mails, err := smtpmailer.New(renderer, &smtpmailer.Options{Host: "smtp.example.com", From: "accounts@example.com"})
	if err != nil {
		log.Fatal(err)
	}
	svc, err := recovery.New(memstore.New(), mails, &recovery.Options{SendTimeout: 8 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	handler, err := httpadapter.NewXandr(svc, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Addr: "localhost:0", Handler: handler,
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
	}
	served, worked := make(chan error, 1), make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	worker, stopWorker := context.WithCancel(context.Background()) // not ctx: the worker ends last
	defer stopWorker()
	go func() { worked <- svc.Run(worker) }()

	stop() // leave this out: SIGTERM does it
	select {
	case <-ctx.Done():
	case err := <-served:
		log.Print(err)
	}
	drain, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	err = server.Shutdown(drain)
	stopWorker()
	fmt.Println(errors.Join(err, <-worked, mails.Close()))
	// Output: <nil>
}

// A program that cron starts every minute: it sends what waits, and ends.
func ExampleService_Deliver() {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, nil) // the Store that the server has
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	n, err := svc.Deliver(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("jobs:", n)
	// Output: jobs: 0
}

// Sessions that the database does not have (in Redis, in signed cookies) end after the reset. The
// worker calls OnReset until it returns nil. Sessions in the same database can end in the
// transaction of the reset: see the example of sqlstore.Accounts.
func ExampleOptions_onReset() {
	ctx := context.Background()
	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, "hash")
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, &recovery.Options{
		OnReset: func(_ context.Context, a recovery.Account) error {
			fmt.Println("end all sessions of account", a.ID) // an error is tried again
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice"}); err != nil {
		log.Fatal(err)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	mail, _ := mails.Last()
	if _, err := svc.CompleteReset(ctx, recovery.CompleteRequest{
		Token: mail.Resets[0].Token.Reveal(), Password: "Correct-h0rse-7",
	}); err != nil {
		log.Fatal(err)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: end all sessions of account 1
}

// For an alarm: what waits, and since when.
func ExampleService_Stats() {
	ctx := context.Background()
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice"}); err != nil {
		log.Fatal(err)
	}
	stats, err := svc.Stats(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, lane := range stats.Lanes {
		late := lane.Jobs > 0 && time.Since(lane.Oldest) > time.Minute
		fmt.Println(lane.Lane, lane.Jobs, late)
	}
	// Output:
	// mail 1 false
	// notice 0 false
	// on_reset 0 false
}

// A clock that a test moves. It begins more than an hour away from the machine's: a nearer one is
// taken for a clock that is wrong, and the Store's is followed.
func ExampleOptions_now() {
	ctx := context.Background()
	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, "hash")
	now := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	var mails mailertest.Recorder
	svc, err := recovery.New(users, &mails, &recovery.Options{Now: func() time.Time { return now }})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice"}); err != nil {
		log.Fatal(err)
	}
	if _, err := svc.Deliver(ctx); err != nil {
		log.Fatal(err)
	}
	mail, _ := mails.Last()
	fmt.Println(mail.ExpiresAt)

	now = now.Add(16 * time.Hour)
	_, err = svc.CompleteReset(ctx, recovery.CompleteRequest{Token: mail.Resets[0].Token.Reveal(), Password: "Correct-h0rse-7"})
	fmt.Println(err)
	// Output:
	// 2001-02-03 20:05:06 +0000 UTC
	// recovery: the token is not valid
}
