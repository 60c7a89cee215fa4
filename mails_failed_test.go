package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A mail that certainly did not leave uses up nothing: after an outage whoever asks is mailed.
func TestMailsThatDidNotLeaveAreNotCharged(t *testing.T) {
	for name, err := range map[string]error{"fails": errDown, "is refused": fmt.Errorf("no: %w", recovery.ErrPermanent)} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, recovery.Options{Limits: deskOnly, MaxRequestAge: time.Minute}, func(_ *testing.T, is *is.I, w *world) {
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
	atDesk(t, func(is *is.I, w *world) {
		w.mail.Fail(func(recovery.Message) error { return fmt.Errorf("no answer: %w", recovery.ErrUncertain) })
		w.ask("billybob")
		w.mailed()
		w.mail.Fail(nil)
		w.ask("billybob")
		is.Equal(w.mailed(), 0)
	})
}

// A Mailer that panics may have sent: the mail is tried again as seldom, and its token lives.
func TestMailerThatPanicsMayHaveSent(t *testing.T) {
	inBubble(t, recovery.Options{Tick: time.Second}, func(_ *testing.T, is *is.I, w *world) {
		tries := 0
		w.mail.Fail(func(recovery.Message) error { tries++; panic("after it was sent") })
		stop := w.run()
		w.ask("alice")
		time.Sleep(2 * time.Hour)
		stop()
		is.Equal(tries, 3) // as after ErrUncertain
		is.Equal(strings.Count(w.users.Dump(), "reset "), 3)
	})
}

// Where the Store's answer is lost, a retry leaves no token behind.
func TestResetsOfALostAnswerAreDiscarded(t *testing.T) {
	inBubble(t, recovery.Options{Tick: time.Second}, func(_ *testing.T, is *is.I, w *world) {
		s := &lostAnswers{Store: w.users}
		svc := w.service(s, recovery.Options{Now: time.Now, Tick: time.Second})
		is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Client: client})))
		ctx, cancel := context.WithCancel(w.ctx)
		done := make(chan error, 1)
		go func() { done <- svc.Run(ctx) }()
		time.Sleep(2 * time.Hour)
		cancel()
		is.NoErr(<-done)
		is.True(s.calls > 3)
		is.True(!strings.Contains(w.users.Dump(), "reset "))
	})
}

// lostAnswers stores resets and says that it may not have.
type lostAnswers struct {
	recovery.Store
	calls int
}

func (s *lostAnswers) CreateResets(ctx context.Context, m recovery.Mint) ([]string, error) {
	s.calls++
	_, err := s.Store.CreateResets(ctx, m)
	return nil, errors.Join(err, errStore)
}

// Who claims another's address without a proof keeps nobody from being mailed, and is not mailed
// either. Of user names the exact one is meant, whatever is proven.
func TestUnverifiedNamesakes(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.put("20", "Anna", "Anna@example.com")
	stranger := w.account("21", "anna", "anna@example.com")
	stranger.EmailVerified = false
	w.users.Put(stranger, "hash of old")
	for _, r := range []recovery.ResetRequest{{Username: "Anna"}, {Email: "anna@example.com"}, {Email: "ANNA@example.com"}} {
		is.NoErr(errOf(w.RequestReset(w.ctx, r)))
		mails := w.deliver()
		is.Equal(len(mails), 1)
		is.Equal(mails[0].To, "Anna@example.com")
	}
	w.ask("anna")
	is.Equal(len(w.deliver()), 0)
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
		is.True(w.waiting() > 1)
		is.True(w.waiting() <= 1+32)
	})
}

// Portal.Allow is asked about so many accounts of one address, not about a thousand.
func TestAllowIsAskedAboutFew(t *testing.T) {
	asked := 0
	portals := map[string]recovery.Portal{"p": {URL: "https://portal.example/", Allow: func(context.Context, recovery.Account) (bool, error) {
		asked++
		return false, nil
	}}}
	inBubble(t, recovery.Options{Portals: portals}, func(_ *testing.T, is *is.I, w *world) {
		for i := range 500 {
			w.put(fmt.Sprint(1000+i), fmt.Sprint("many", i), "many@example.com")
		}
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "many@example.com", Portal: "p", Client: client})))
		is.Equal(len(w.deliver()), 0)
		synctest.Wait()
		is.Equal(asked, 50)
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
