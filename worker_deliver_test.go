package recovery_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

func TestDeliverSaysThatItsContextEnded(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.ask("alice")
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	n, err := w.Deliver(ctx)
	is.Equal(n, 0)
	is.Equal(err, context.Canceled)
	calls := w.store.calls()
	is.True(!strings.Contains(calls, "Claim") && !strings.Contains(calls, "Purge"))
	is.Equal(errOf(w.DeliverJob(ctx, "any")), context.Canceled)
	is.Equal(w.log.String(), "") // it is no failure of the Store
	is.Equal(len(w.deliver()), 1)
}

// A job engine drives single jobs.
func TestDeliverJob(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	deliver := func(id string) time.Time {
		is.Helper()
		retryAt, err := w.DeliverJob(w.ctx, id)
		is.NoErr(err)
		return retryAt
	}
	w.ask("alice")
	w.ask("billybob")
	ids := w.store.added()
	is.Equal(len(ids), 2)
	is.True(deliver(ids[1]).IsZero()) // done
	mails := w.mail.Messages()
	is.Equal(len(mails), 1) // this one alone
	is.Equal(mails[0].To, "billybob@example.com")
	is.True(deliver(ids[1]).IsZero()) // nothing is left to do
	is.True(deliver("no such request").IsZero())
	is.Equal(len(w.mail.Messages()), 1)

	w.mail.Fail(func(recovery.Message) error { return errDown })
	retryAt := deliver(ids[0])
	wait := retryAt.Sub(w.time())
	is.True(wait >= time.Second && wait <= 2*time.Second) // the backoff of the worker
	w.mail.Fail(nil)
	is.True(deliver(ids[0]).IsZero()) // when to call is the engine's business
	is.Equal(len(w.mail.Messages()), 2)
	is.Equal(w.waiting(), 0)
}

func TestDeliverJobWhenTheStoreFails(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{SendTimeout: time.Second, StoreTimeout: 100 * time.Millisecond})
	w.ask("alice")
	id := w.store.added()[0]
	w.store.failAt("Claim", errStore)
	is.True(errors.Is(errOf(w.DeliverJob(w.ctx, id)), errStore)) // it could not be claimed
	w.store.failAt("Finish", errStore)
	retryAt, err := w.DeliverJob(w.ctx, id)
	is.NoErr(err)
	is.Equal(len(w.mail.Messages()), 1)
	is.True(retryAt.After(w.time())) // when its lease is over
	w.store.failWith(nil)
	is.Equal(len(w.deliver()), 0) // until then it is leased
	w.advance(retryAt.Sub(w.time()))
	retryAt, err = w.DeliverJob(w.ctx, id)
	is.NoErr(err)
	is.True(retryAt.IsZero())
	is.Equal(len(w.mail.Messages()), 2) // the mail whose outcome was lost comes again
}

func TestNothingIsHandledBesideAnError(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.ask("alice")
	svc := w.service(spy.On(w.users, func(ctx context.Context, method string, _ any, call func(context.Context) error) error {
		err := call(ctx)
		if method == "Claim" { // it claims, and fails after that
			err = errors.Join(err, errStore)
		}
		return err
	}), recovery.Options{})
	_, err := svc.DeliverJob(w.ctx, w.store.added()[0])
	is.True(errors.Is(err, errStore))
	is.True(errors.Is(errOf(svc.Deliver(w.ctx)), errStore))
	is.Equal(len(w.mail.Messages()), 0)
}

// Deliver comes to an end though requests come as fast as they are handled.
func TestDeliverEndsUnderSteadyRequests(t *testing.T) {
	inBubble(t, recovery.Options{Workers: 2}, func(_ *testing.T, is *is.I, w *world) {
		var mails atomic.Int32
		w.mail.Fail(func(recovery.Message) error {
			time.Sleep(100 * time.Millisecond)
			if mails.Add(1) >= 100 {
				return nil
			}
			ask := recovery.ResetRequest{Username: "billybob", Client: client}
			return errors.Join(errOf(w.RequestReset(w.ctx, ask)), errOf(w.RequestReset(w.ctx, ask)))
		})
		for range 50 {
			w.ask("alice")
		}
		done, err := w.Deliver(w.ctx)
		is.NoErr(err)
		is.True(done >= 2 && done < 20) // few of those that came
	})
}

// Requests that come while Deliver runs do not keep it from those that were there.
func TestDeliverDoesNotEndWithWhatWasAdded(t *testing.T) {
	inBubble(t, recovery.Options{Workers: 2}, func(_ *testing.T, is *is.I, w *world) {
		var mails atomic.Int32
		w.mail.Fail(func(recovery.Message) error {
			time.Sleep(100 * time.Millisecond)
			if mails.Add(1) > 3 {
				return nil
			}
			return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "billybob", Client: client}))
		})
		for range 40 {
			w.ask("billybob")
		}
		done, err := w.Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(done, 43)
	})
}

// What Deliver claims late is leased from then on: nobody else takes it up meanwhile.
func TestDeliverLeasesFromTheClaim(t *testing.T) {
	inBubble(t, recovery.Options{Workers: 1, SendTimeout: 10 * time.Second}, func(_ *testing.T, is *is.I, w *world) {
		w.mail.Fail(func(recovery.Message) error { time.Sleep(9 * time.Second); return nil })
		for range 10 {
			w.ask("billybob")
		}
		done := make(chan error, 1)
		go func() { _, err := w.Deliver(w.ctx); done <- err }()
		time.Sleep(85 * time.Second) // the last but one is on its way
		_, err := w.service(w.users, recovery.Options{Now: time.Now, SendTimeout: 10 * time.Second, Workers: 2}).Deliver(w.ctx)
		is.NoErr(err)
		is.NoErr(<-done)
		is.Equal(len(w.mail.Messages()), 10)
	})
}

// Deliver claims until nothing is due, and as much as it has free places.
func TestDeliverClaimsUntilNothingIsDue(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	for range 7 {
		w.ask("billybob")
	}
	store, claims := w.claims()
	n, err := w.service(store, recovery.Options{Workers: 1}).Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(n, 7)
	all := claims()
	is.Equal(sizes(all, recovery.LaneMail), []int{1, 1, 1, 1, 1, 1, 1, 1, 1}) // the last two find nothing
	is.Equal(sizes(all, recovery.LaneNotice), []int{1, 1})
	is.Equal(sizes(all, recovery.LaneOnReset), []int{1, 1})
}

// A job engine's job is claimed alone.
func TestJobIsClaimedAlone(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	store, claims := w.claims()
	w.ask("alice")
	id := w.store.added()[0]
	is.NoErr(errOf(w.service(store, recovery.Options{}).DeliverJob(w.ctx, id)))
	all := claims()
	is.Equal(all, []recovery.Claim{{ // until four times SendTimeout
		JobID: id, LeaseID: all[0].LeaseID, At: w.time(), Until: w.time().Add(2 * time.Minute), Max: 1,
	}})
}

// When ctx ends, DeliverJob does not wait: what was drawn is kept to, but for the time.
func TestDeliverJobWithoutPretending(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.sends(30*time.Second, nil)
		w.ask("billybob")
		w.deliver()
		w.store.added()
		w.ask("nobody")
		ctx, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		start := time.Now()
		is.NoErr(errOf(w.DeliverJob(ctx, w.store.added()[0])))
		is.Equal(time.Since(start), time.Second)
		is.Equal(w.waiting(), 0)
	})
}
