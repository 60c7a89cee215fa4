package recovery_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// An outcome that was not stored is stored again before the mail is repeated.
func TestOutcomeIsTriedAgain(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	fails := 2
	w.store.failWith(func(method string) error {
		if method == "Finish" && fails > 0 {
			fails--
			return errStore
		}
		return nil
	})
	w.ask("alice")
	is.Equal(len(w.deliver()), 1)
	is.Equal(w.log.String(), "")
	is.Equal(w.waiting(), 0)

	w.store.failAt("Finish", recovery.ErrLeaseLost)
	w.ask("billybob")
	is.Equal(len(w.deliver()), 1)
	is.Equal(w.log.String(), "") // another worker has it: nothing to say
}

// An outcome that cannot be stored is stored again after longer and longer pauses, for as long as a
// mail may take.
func TestOutcomesAreTriedWithPauses(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		start := time.Now()
		var tries []time.Duration
		store := spy.On(w.users, func(ctx context.Context, _ string, arg any, call func(context.Context) error) error {
			o, ok := arg.(recovery.Outcome)
			if !ok {
				return call(ctx)
			}
			tries = append(tries, time.Since(start))
			is.True(o.At.Equal(start)) // when the mail was sent
			is.Equal(o.MailedAccountIDs, []string{"1"})
			return errStore
		})
		w.ask("alice")
		n, err := w.service(store, recovery.Options{Now: time.Now, StoreTimeout: time.Second}).Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(n, 1)
		is.Equal(tries[:6], []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond, 1500 * time.Millisecond, 3100 * time.Millisecond})
		is.Equal(tries[6]-tries[5], 2*time.Second) // the longest
		is.True(time.Since(start) > 25*time.Second && time.Since(start) <= 30*time.Second)
		is.True(strings.Contains(w.log.String(), "it will be repeated"))
	})
}

// A panic of foreign code is logged: where it happened, not its value.
func TestPanicOfTheMailerIsLogged(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.mail.Fail(func(m recovery.Message) error { panic("no mail for " + m.To) })
	w.ask("alice")
	is.Equal(len(w.deliver()), 0)
	is.True(strings.Contains(w.log.String(), `msg="recovery: panic" while="handle a job" stack=`))
	is.True(strings.Contains(w.log.String(), "job_handle_test.go"))
	is.True(!strings.Contains(w.log.String(), "alice@example.com"))
}

// A panickingHandler panics when it logs a panic.
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
	svc := w.service(w.users, recovery.Options{Logger: slog.New(panickingHandler{slog.NewTextHandler(w.log, nil)})})
	w.mail.Fail(func(recovery.Message) error { panic("no mail") })
	n, err := svc.Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(n, 1)
	is.True(strings.Contains(w.log.String(), "will be tried again")) // as after any other failure
}
