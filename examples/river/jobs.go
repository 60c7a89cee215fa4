package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"example.com/recovery"
)

// jobs is a Store that gives River every job that it adds, whoever it is for. River gets only the
// job's ID. If River loses its job, the mail is late: sweep finds the library's.
type jobs struct {
	recovery.Store
	river *river.Client[pgx.Tx]
}

func (j *jobs) Enqueue(ctx context.Context, job recovery.Job, c recovery.Charges) error {
	return j.insert(ctx, j.Store.Enqueue(ctx, job, c), job)
}

func (j *jobs) Redeem(ctx context.Context, c recovery.Redemption) (recovery.Account, error) {
	account, err := j.Store.Redeem(ctx, c)
	return account, j.insert(ctx, err, c.Add...)
}

func (j *jobs) insert(ctx context.Context, err error, added ...recovery.Job) error {
	for _, job := range added {
		if err == nil {
			lane := &river.InsertOpts{Queue: string(job.Kind.Lane())}
			if _, failed := j.river.Insert(ctx, deliverArgs{job.ID}, lane); failed != nil {
				slog.Warn("River did not take a job; the sweep will find it", "job", job.ID, "error", failed)
			}
		}
	}
	return err
}

type deliverArgs struct {
	Job string `json:"job"`
}

func (deliverArgs) Kind() string { return "account_recovery" }

// deliver works on one job, and snoozes it until the library tries again.
type deliver struct {
	river.WorkerDefaults[deliverArgs]
	svc *recovery.Service
}

func (d *deliver) Work(ctx context.Context, job *river.Job[deliverArgs]) error {
	retryAt, err := d.svc.DeliverJob(ctx, job.Args.Job)
	if err != nil || retryAt.IsZero() {
		return err
	}
	return river.JobSnooze(max(0, time.Until(retryAt)))
}

type sweepArgs struct{}

func (sweepArgs) Kind() string { return "account_recovery_sweep" }

// sweep works on due jobs that River does not have, and purges.
type sweep struct {
	river.WorkerDefaults[sweepArgs]
	svc *recovery.Service
}

func (s *sweep) Work(ctx context.Context, _ *river.Job[sweepArgs]) error {
	_, err := s.svc.Deliver(ctx)
	return err
}
