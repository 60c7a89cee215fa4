package recovery_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
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
	is.Equal(len(w.deliver()), 1)
}

// A job engine drives single requests.
func TestDeliverRequest(t *testing.T) {
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

	is.NoErr(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "alice@example.com", Client: client}))
	is.True(deliver(w.store.added()[0]).IsZero()) // it became one request for each account
	parts := w.store.added()
	is.Equal(len(parts), 2)
	for _, id := range parts {
		is.True(deliver(id).IsZero())
	}
	is.Equal(len(w.mail.Messages()), 4)
	is.True(!strings.Contains(w.users.Dump(), "request "))
}

func TestDeliverRequestWhenTheStoreFails(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.ask("alice")
	id := w.store.added()[0]
	failing := ""
	w.store.failWith(func(method string) error {
		if method == failing {
			return errStore
		}
		return nil
	})
	failing = "Claim"
	_, err := w.DeliverJob(w.ctx, id)
	is.True(errors.Is(err, errStore)) // it could not be claimed
	failing = "Finish"
	retryAt, err := w.DeliverJob(w.ctx, id)
	is.NoErr(err)
	is.Equal(len(w.mail.Messages()), 1)
	is.True(retryAt.After(w.time())) // when its lease is over
	failing = ""
	is.Equal(len(w.deliver()), 0) // until then it is leased
	w.advance(retryAt.Sub(w.time()))
	retryAt, err = w.DeliverJob(w.ctx, id)
	is.NoErr(err)
	is.True(retryAt.IsZero())
	is.Equal(len(w.mail.Messages()), 2) // the mail whose outcome was lost comes again
}

// A lateStore claims, and fails after that.
type lateStore struct{ recovery.Store }

func (s *lateStore) Claim(ctx context.Context, l recovery.Claim) ([]recovery.Job, error) {
	claimed, err := s.Store.Claim(ctx, l)
	return claimed, errors.Join(err, errStore)
}

func TestNothingIsHandledBesideAnError(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.ask("alice")
	svc, err := recovery.New(&lateStore{w.users}, w.mail, &recovery.Options{Now: w.time, Logger: slog.New(slog.DiscardHandler)})
	is.NoErr(err)
	_, err = svc.DeliverJob(w.ctx, w.store.added()[0])
	is.True(errors.Is(err, errStore))
	_, err = svc.Deliver(w.ctx)
	is.True(errors.Is(err, errStore))
	is.Equal(len(w.mail.Messages()), 0)
}
