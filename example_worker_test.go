package recovery_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// The worker beside a server. At SIGTERM it finishes what it has begun; wait for that.
func ExampleService_Run() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()

	// Serve HTTP here until ctx ends.
	stop()

	fmt.Println(<-done)
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

// For a readiness check or an alarm: what waits, and since when.
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
