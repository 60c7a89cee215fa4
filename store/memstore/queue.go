package memstore

import (
	"context"
	"maps"
	"slices"
	"time"

	"example.com/recovery"
)

// Enqueue implements [recovery.Queue].
func (s *Store) Enqueue(ctx context.Context, j recovery.Job, charges recovery.Charges) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := s.take(j.RequestedAt, charges); err != nil {
		return err
	}
	j.Priority = charges.Priority(j.RequestedAt, s.states)
	s.add(j)
	return nil
}

// Claim implements [recovery.Queue].
func (s *Store) Claim(ctx context.Context, c recovery.Claim) ([]recovery.Job, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var due []*job
	if c.JobID == "" {
		due = s.queue.take(c.Lane, c.At, c.Max, c.Again)
	} else if j, ok := s.jobs[c.JobID]; ok && (j.LeaseID == "" || !j.at.After(c.At)) {
		s.queue.remove(j)
		due = []*job{j}
	}
	claimed := make([]recovery.Job, len(due))
	for i, j := range due {
		j.Attempts++
		j.LeaseID = c.LeaseID
		j.fresh = false
		claimed[i] = j.Job
		s.queue.add(j, c.Until)
	}
	return claimed, nil
}

// leased returns the job if it is held under the lease.
func (s *Store) leased(id, leaseID string) (*job, error) {
	j, ok := s.jobs[id]
	if !ok || j.LeaseID == "" || j.LeaseID != leaseID {
		return nil, recovery.ErrLeaseLost
	}
	return j, nil
}

// Finish implements [recovery.Queue].
func (s *Store) Finish(ctx context.Context, o recovery.Outcome) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	j, err := s.leased(o.JobID, o.LeaseID)
	if err != nil {
		return err
	}
	for _, digest := range o.Discard {
		s.forget(digest)
	}
	if j.Charged && len(o.Refund) > 0 {
		j.Charged = false
		s.refund(o.Refund)
	}
	for _, accountID := range o.MailedAccountIDs {
		s.supersede(accountID, recovery.Reset{JobID: j.ID, RequestedAt: j.RequestedAt, Requester: o.Requester})
	}
	s.queue.remove(j)
	if o.RetryAt.IsZero() {
		delete(s.jobs, j.ID)
		return nil
	}
	j.LeaseID = ""
	s.queue.add(j, o.RetryAt)
	return nil
}

func (s *Store) add(added recovery.Job) {
	added.Charged, added.Attempts, added.LeaseID = false, 0, ""
	j := &job{Job: added, fresh: true}
	s.jobs[j.ID] = j
	s.queue.add(j, j.Priority)
}

// Stats implements [recovery.Queue].
func (s *Store) Stats(ctx context.Context) ([]recovery.LaneStats, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var stats []recovery.LaneStats
	for _, name := range slices.Sorted(maps.Keys(s.queue.lanes)) {
		of := recovery.LaneStats{Lane: name}
		for _, h := range []jobHeap{s.queue.lanes[name].fresh, s.queue.lanes[name].again} {
			for _, j := range h {
				if of.Jobs == 0 || j.RequestedAt.Before(of.Oldest) {
					of.Oldest = j.RequestedAt
				}
				of.Jobs++
			}
		}
		if of.Jobs > 0 {
			stats = append(stats, of)
		}
	}
	return stats, nil
}

// Now implements [recovery.Queue]: one process has one clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return time.Now(), ctx.Err() }
