package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"example.com/recovery"
)

// jobs is a Store that makes a job of every request it adds, whoever it is for. The job holds no more
// than the request's ID. One that gets lost costs a delay: sweep finds the request.
type jobs struct {
	recovery.Store
	river *river.Client[pgx.Tx]
}

func (j *jobs) Enqueue(ctx context.Context, r recovery.Job, c recovery.Charges) error {
	return j.enqueue(ctx, j.Store.Enqueue(ctx, r, c), r)
}

func (j *jobs) Redeem(ctx context.Context, c recovery.Redemption) (recovery.Account, error) {
	account, err := j.Store.Redeem(ctx, c)
	return account, j.enqueue(ctx, err, c.Add...)
}

func (j *jobs) Finish(ctx context.Context, o recovery.Outcome) error {
	return j.enqueue(ctx, j.Store.Finish(ctx, o), o.Add...)
}

func (j *jobs) enqueue(ctx context.Context, err error, requests ...recovery.Job) error {
	for _, r := range requests {
		if err == nil {
			if _, failed := j.river.Insert(ctx, deliverArgs{r.ID}, nil); failed != nil {
				slog.Warn("a job could not be added; the sweep will find the request", "request", r.ID, "error", failed)
			}
		}
	}
	return err
}

type deliverArgs struct {
	Request string `json:"request"`
}

func (deliverArgs) Kind() string { return "account_recovery" }

// deliver works on one request, and again when the library wants to try again.
type deliver struct {
	river.WorkerDefaults[deliverArgs]
	svc *recovery.Service
}

func (d *deliver) Work(ctx context.Context, job *river.Job[deliverArgs]) error {
	retryAt, err := d.svc.DeliverJob(ctx, job.Args.Request)
	if err != nil || retryAt.IsZero() {
		return err
	}
	return river.JobSnooze(max(0, time.Until(retryAt)))
}

type sweepArgs struct{}

func (sweepArgs) Kind() string { return "account_recovery_sweep" }

// sweep works on what is due and has no job, and purges.
type sweep struct {
	river.WorkerDefaults[sweepArgs]
	svc *recovery.Service
}

func (s *sweep) Work(ctx context.Context, _ *river.Job[sweepArgs]) error {
	_, err := s.svc.Deliver(ctx)
	return err
}
