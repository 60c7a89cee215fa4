package recovery_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// An engine is the application's job engine. It gets the ID of every job that is added, whoever the
// job is for, and no more.
type engine chan string

// tellingStore is a Store that tells the engine.
type tellingStore struct {
	recovery.Store
	engine engine
}

func (s tellingStore) Enqueue(ctx context.Context, j recovery.Job, c recovery.Charges) error {
	err := s.Store.Enqueue(ctx, j, c)
	if err == nil {
		s.engine <- j.ID
	}
	return err
}

func (s tellingStore) Redeem(ctx context.Context, r recovery.Redemption) (recovery.Account, error) {
	account, err := s.Store.Redeem(ctx, r)
	for _, j := range r.Add {
		if err == nil {
			s.engine <- j.ID
		}
	}
	return account, err
}

// A job engine (River, asynq, a queue of a cloud) in the place of Run. It polls, and does not start
// a job the moment that it comes. Once a minute it calls Deliver, for jobs that got lost.
func ExampleService_DeliverJob() {
	ctx := context.Background()
	users := memstore.New()
	users.Put(recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, "hash")
	jobs := make(engine, 100)
	var mails mailertest.Recorder
	svc, err := recovery.New(tellingStore{users, jobs}, &mails, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := svc.RequestReset(ctx, recovery.ResetRequest{Username: "alice"}); err != nil {
		log.Fatal(err)
	}

	id := <-jobs // in a worker of the engine
	retryAt, err := svc.DeliverJob(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	if !retryAt.IsZero() {
		time.AfterFunc(time.Until(retryAt), func() { jobs <- id })
	}
	fmt.Println("mails:", len(mails.Messages()))
	// Output: mails: 1
}
