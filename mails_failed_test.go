package recovery_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A mail that certainly did not leave uses up nothing: after an outage whoever asks is mailed.
func TestMailsThatDidNotLeaveAreNotCharged(t *testing.T) {
	for name, err := range map[string]error{"fails": errDown, "is refused": fmt.Errorf("no: %w", recovery.ErrPermanent)} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, recovery.Options{Limits: mailLimitsOnly, MaxRequestAge: time.Minute}, func(_ *testing.T, is *is.I, w *world) {
				w.mail.Fail(func(recovery.Message) error { return err })
				for i := range 20 {
					w.from(fmt.Sprintf("198.51.100.%d", i), "billybob")
				}
				w.mailed()
				time.Sleep(2 * time.Minute)
				w.mailed()
				is.Equal(w.waiting(), 0)
				is.True(!strings.Contains(w.users.Dump(), "reset ")) // no token is left either
				w.mail.Fail(nil)
				w.ask("billybob")
				is.Equal(w.mailed(), 1)
			})
		})
	}
}

// A mail that may have left is charged.
func TestMailsThatMayHaveLeftAreCharged(t *testing.T) {
	withMailLimits(t, func(is *is.I, w *world) {
		w.mail.Fail(func(recovery.Message) error { return fmt.Errorf("no answer: %w", recovery.ErrUncertain) })
		w.ask("billybob")
		w.mailed()
		w.mail.Fail(nil)
		w.ask("billybob")
		is.Equal(w.mailed(), 0)
	})
}

// A Mailer that panics may have sent: the mail is tried again as seldom, and its token lives. A job
// without a mail comes back as seldom.
func TestMailerThatPanicsMayHaveSent(t *testing.T) {
	inBubble(t, recovery.Options{Tick: time.Second}, func(_ *testing.T, is *is.I, w *world) {
		tries := 0
		w.mail.Fail(func(recovery.Message) error { tries++; panic("after it was sent") })
		stop := w.run()
		w.ask("alice")
		time.Sleep(2 * time.Second)
		w.ask("nobody")
		time.Sleep(10 * time.Minute)
		is.Equal(w.waiting(), 2)
		time.Sleep(2 * time.Hour)
		stop()
		is.Equal(tries, 3) // as after ErrUncertain
		is.Equal(strings.Count(w.users.Dump(), "reset "), 3)
	})
}

// One mail that fails does not have a flood of names that nobody has come back.
func TestFewJobsComeBackForOneMailThatFails(t *testing.T) {
	inBubble(t, recovery.Options{Tick: time.Second}, func(_ *testing.T, is *is.I, w *world) {
		w.mail.Fail(func(recovery.Message) error { return errDown })
		w.ask("alice")
		w.mailed()
		for range 300 {
			w.ask("nobody")
		}
		w.deliver()
		is.Equal(w.waiting(), 1+32)
	})
}

// What certainly was not mailed leaves no token; what may have been leaves one that works.
func TestTokensOfMailsThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		send  func(context.Context) error
		alive bool
	}{
		"an error":          {func(context.Context) error { return errDown }, false},
		"refused for good":  {func(context.Context) error { return recovery.ErrPermanent }, false},
		"uncertain":         {func(context.Context) error { return fmt.Errorf("no answer: %w", recovery.ErrUncertain) }, true},
		"too slow":          {hangs, true},
		"an error too late": {func(ctx context.Context) error { _ = hangs(ctx); return errDown }, true},
		"a panic":           {func(context.Context) error { panic("boom") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				var tokens []string
				svc, err := recovery.New(w.users, mailerFunc(func(ctx context.Context, m recovery.Message) error {
					for _, r := range m.Resets {
						tokens = append(tokens, r.Token.Reveal())
					}
					return c.send(ctx)
				}), &recovery.Options{Now: time.Now, Logger: w.logger()})
				is.NoErr(err)
				is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "alice@example.com", Code: true, Client: client})))
				is.NoErr(errOf(svc.Deliver(w.ctx)))
				is.Equal(len(tokens), 2)
				for _, token := range tokens {
					is.NoErr(w.deadOrAlive(token, c.alive))
				}
				is.Equal(w.resets() > 0, c.alive) // nor a code
			})
		})
	}
}

// A mail that fails does not void what was mailed before; the first that is accepted does.
func TestMailThatFailsVoidsNothing(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	first := w.token("alice")
	w.advance(time.Minute)
	w.mail.Fail(func(recovery.Message) error { return errDown })
	w.ask("alice")
	w.deliver()
	is.NoErr(w.deadOrAlive(first, true))
	w.mail.Fail(nil)
	w.advance(time.Minute)
	is.Equal(len(w.deliver()), 1)
	is.NoErr(w.deadOrAlive(first, false))
}

// An account that a newer mail went to is left out of an older one's retry.
func TestSupersededAccountsAreLeftOut(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.mail.Fail(func(recovery.Message) error { return errDown })
	w.askEmail("alice@example.com")
	w.deliver()
	w.mail.Fail(nil)
	w.advance(time.Second / 2) // before the retry
	newer := w.token("alice")
	w.advance(time.Minute)
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(namesOf(mails[0]), []string{"alicia"})
	is.NoErr(w.deadOrAlive(newer, true))
	is.Equal(w.resets(), 2)
}
