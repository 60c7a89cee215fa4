package recovery_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A job is reported as started once: not when it is tried again.
func TestJobStartsOnce(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.askEmail("alice@example.com")
		w.mail.Fail(func(recovery.Message) error { return errDown })
		w.deliver()
		w.mail.Fail(nil)
		time.Sleep(time.Minute)
		is.Equal(len(w.deliver()), 1)
		synctest.Wait()
		is.Equal(w.hooks.count("JobStarted"), 1)
		is.Equal(w.hooks.count("JobRetried"), 1)
		is.Equal(w.hooks.count("MailSent"), 1)
	})
}

// The hooks get these events of a request, and no others.
func TestEventsOfARequest(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.ask("billybob")
		w.deliver()
		is.Equal(w.told(), []string{"JobStarted", "MailSent"})
		is.Equal(w.accountsTold("JobStarted"), []string{""}) // not settled yet
		is.Equal(w.accountsTold("MailSent"), []string{"3"})
	})
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.ask("mallory")
		w.deliver()
		is.Equal(w.told(), []string{"JobDropped inactive", "JobStarted"})
		is.Equal(w.accountsTold("JobDropped inactive"), []string{"4"})
	})
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.put("5", "ali", "alice@example.com", inactive)
		is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com"})))
		w.deliver()
		is.Equal(w.told(), []string{"JobDropped inactive", "JobStarted", "MailSent"})
		is.Equal(w.accountsTold("MailSent"), []string{"1"}) // the first that is mailed
	})
}

// The notice, and the application's own work, are about the account.
func TestEventsAfterACompletion(t *testing.T) {
	onReset := func(context.Context, recovery.Account) error { return nil }
	inBubble(t, recovery.Options{OnReset: onReset}, func(_ *testing.T, is *is.I, w *world) {
		is.NoErr(w.complete(w.token("billybob"), goodPassword))
		w.deliver()
		is.Equal(w.told(), []string{"JobStarted", "MailSent", "MailSent", "OnResetCalled", "PasswordChanged"})
		is.Equal(w.accountsTold("OnResetCalled"), []string{"3"})
		is.Equal(w.accountsTold("MailSent"), []string{"3", "3"})
	})
}

// An account that is gone has no address, so no address is taken out of its events.
func TestEventsOfAnAccountThatIsGone(t *testing.T) {
	is := is.New(t)
	down := errors.New("the sessions are not there")
	w := newWorld(t, &recovery.Options{OnReset: func(context.Context, recovery.Account) error { return down }})
	is.NoErr(w.complete(w.token("billybob"), goodPassword))
	w.users.Remove("3")
	w.deliver()
	w.hooks.wait(t, "JobRetried")
	e, _ := w.hooks.last("JobRetried").(recovery.JobEvent)
	is.Equal(e.Err.Error(), down.Error())
}
