package recovery_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A leaseStore keeps the leases that it was asked for.
type leaseStore struct {
	recovery.Store
	leases []recovery.Claim
}

func (s *leaseStore) Claim(ctx context.Context, l recovery.Claim) ([]recovery.Job, error) {
	s.leases = append(s.leases, l)
	return s.Store.Claim(ctx, l)
}

// sizes returns and forgets how many requests were claimed at a time.
func (s *leaseStore) sizes() string {
	var sizes []int
	for _, l := range s.leases {
		sizes = append(sizes, l.Max)
	}
	s.leases = nil
	return fmt.Sprint(sizes)
}

// leasing returns a Service with one worker on a store that keeps the leases.
func (w *world) leasing(opts recovery.Options) (*leaseStore, *recovery.Service) {
	w.is.Helper()
	s := &leaseStore{Store: w.users}
	opts.Now, opts.Workers = w.time, 1
	opts.Limits.InsecureOff = true
	svc, err := recovery.New(s, w.mail, &opts)
	w.is.NoErr(err)
	return s, svc
}

// What is done quickly is claimed in larger and larger batches, up to 16; after one that was not filled it
// begins anew.
func TestQuickBatchesGrow(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	store, svc := w.leasing(recovery.Options{})
	for range 40 {
		w.ask("billybob")
	}
	n, err := svc.Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(n, 40)
	is.Equal(store.sizes(), "[1 2 4 8 16 16 1]") // 9 were left for the last of the 16
}

// No clock makes the first batch look like a quick one, which was of nothing.
func TestFirstBatchInTheYearOne(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Now: func() time.Time { return time.Time{} }})
	w.ask("billybob")
	is.Equal(len(w.deliver()), 1)
}

// A batch that took a second is not quick.
func TestSlowBatchesDoNotGrow(t *testing.T) {
	for took, want := range map[time.Duration]string{time.Second - time.Microsecond: "[1 2 1]", time.Second: "[1 1 1 1]"} {
		t.Run(took.String(), func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			store, svc := w.leasing(recovery.Options{})
			for range 3 {
				w.ask("billybob")
			}
			w.mail.Fail(func(recovery.Message) error { w.advance(took); return nil })
			_, err := svc.Deliver(w.ctx)
			is.NoErr(err)
			is.Equal(store.sizes(), want)
		})
	}
}

// A job engine's request is claimed alone.
func TestRequestIsLeasedAlone(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	store, svc := w.leasing(recovery.Options{})
	w.ask("alice")
	id := w.store.added()[0]
	_, err := svc.DeliverJob(w.ctx, id)
	is.NoErr(err)
	is.Equal(len(store.leases), 1)
	l := store.leases[0]
	is.Equal(l.JobID, id)
	is.Equal(l.Max, 1)
	is.Equal(l.Until.Sub(l.At), 2*time.Minute) // four times SendTimeout
}

// Whoever works is not reported as missing.
func TestWorkersAreNotMissing(t *testing.T) {
	for name, work := range map[string]func(w *world) (stop func()){
		"Run": func(w *world) func() { return w.run() },
		"DeliverJob": func(w *world) func() {
			_, err := w.DeliverJob(w.ctx, "no such request")
			w.is.NoErr(err)
			return func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				stop := work(w)
				time.Sleep(time.Second)
				w.ask("alice")
				time.Sleep(time.Minute)
				stop()
				is.Equal(w.log.String(), "")
			})
		})
	}
}

// That a caller leaves is no failure of the Store.
func TestClaimOfACallerWhoLeft(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	_, err := w.DeliverJob(ctx, "any")
	is.Equal(err, context.Canceled)
	is.Equal(w.log.String(), "")
}

// The hooks are told why a request failed, without addresses and tokens.
func TestFailuresAreToldWithTheirReason(t *testing.T) {
	for event, failure := range map[string]error{"JobRetried": errDown, "JobFailed": recovery.ErrPermanent} {
		t.Run(event, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			w.mail.Fail(func(m recovery.Message) error {
				return fmt.Errorf("no mail for %s with %s: %w", m.To, m.Token.Reveal(), failure)
			})
			w.ask("alice")
			w.deliver()
			w.hooks.wait(t, event)
			e, _ := w.hooks.last(event).(recovery.JobEvent)
			is.True(strings.HasPrefix(e.Err.Error(), "no mail for [redacted] with [redacted]: "))
			is.Equal(e.Account.ID, "1")
			is.Equal(e.Attempt, 1)
			is.Equal(e.Client, client)
		})
	}
}

// A finishStore keeps the outcomes, and fails.
type finishStore struct {
	recovery.Store
	outcomes []recovery.Outcome
}

func (s *finishStore) Finish(_ context.Context, o recovery.Outcome) error {
	s.outcomes = append(s.outcomes, o)
	return errStore
}

// An outcome that cannot be written is written again after a tenth of a second, and after two more.
func TestOutcomesAreTriedWithPauses(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		store := &finishStore{Store: w.users}
		svc, err := recovery.New(store, w.mail, &recovery.Options{Now: time.Now, Logger: slog.New(slog.NewTextHandler(w.log, nil))})
		is.NoErr(err)
		w.ask("alice")
		start := time.Now()
		n, err := svc.Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(n, 1)
		is.Equal(time.Since(start), 300*time.Millisecond)
		is.Equal(len(store.outcomes), 3)
		for _, o := range store.outcomes {
			is.True(o.At.Equal(start)) // when the mail was sent
			is.Equal(o.Mailed, "1")
		}
	})
}

// A panic of foreign code is told to the log: where, and not what.
func TestPanicOfTheMailerIsLogged(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.mail.Fail(func(m recovery.Message) error { panic("no mail for " + m.To) })
	w.ask("alice")
	is.Equal(len(w.deliver()), 0)
	is.True(strings.Contains(w.log.String(), `msg="recovery: panic" while="handle a request" stack=`))
	is.True(strings.Contains(w.log.String(), "batches_test.go"))
	is.True(!strings.Contains(w.log.String(), "alice@example.com"))
}

// A panickingHandler panics when it is told of a panic.
type panickingHandler struct{ slog.Handler }

func (h panickingHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "recovery: panic" {
		panic("no log")
	}
	return h.Handler.Handle(ctx, r)
}

func TestPanicOfTheLoggerThatIsToldOfOne(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.ask("alice")
	svc, err := recovery.New(w.users, w.mail, &recovery.Options{
		Now: w.time, Logger: slog.New(panickingHandler{slog.NewTextHandler(w.log, nil)}),
	})
	is.NoErr(err)
	w.mail.Fail(func(recovery.Message) error { panic("no mail") })
	n, err := svc.Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(n, 1)
	is.True(strings.Contains(w.log.String(), "will be tried again")) // as after any other failure
}

// A request is reported once: neither when it is tried again nor for each account that it means.
func TestRequestIsAcceptedOnce(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.mail.Fail(func(recovery.Message) error { return errDown })
	is.NoErr(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "alice@example.com"}))
	w.deliver()
	w.mail.Fail(nil)
	w.advance(time.Minute)
	is.Equal(len(w.deliver()), 2)
	w.ask("billybob")
	w.mail.Fail(func(recovery.Message) error { return errDown })
	w.deliver()
	w.advance(time.Minute)
	w.mail.Fail(nil)
	is.Equal(len(w.deliver()), 1)
	is.NoErr(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "nobody"}))
	w.deliver()
	w.hooks.wait(t, "JobDropped no_account") // hooks run in order: what came before was told
	is.Equal(w.hooks.count("JobStarted"), 3)
	is.Equal(w.hooks.count("JobRetried"), 3)
}
