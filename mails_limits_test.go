package recovery_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// withMailLimits runs f with the default limits of mails.
func withMailLimits(t *testing.T, f func(is *is.I, w *world)) {
	t.Helper()
	no := recovery.Portal{URL: "https://portal.example/", Allow: func(context.Context, recovery.Account) (bool, error) { return false, nil }}
	inBubble(t, recovery.Options{Workers: 1, Limits: mailLimitsOnly, Portals: map[string]recovery.Portal{"no": no}}, func(_ *testing.T, is *is.I, w *world) { f(is, w) })
}

// A client network causes one mail a minute for an account. Whoever is over a limit is told
// nothing, and a hook is told which.
func TestAccountIsMailedOnceAMinute(t *testing.T) {
	withMailLimits(t, func(is *is.I, w *world) {
		w.ask("billybob")
		w.ask("billybob")
		is.Equal(w.mailed(), 1)
		time.Sleep(time.Minute - 20*time.Millisecond)
		w.ask("billybob")
		is.Equal(w.mailed(), 0)
		time.Sleep(time.Minute)
		w.ask("billybob")
		is.Equal(w.mailed(), 1)
		synctest.Wait()
		is.Equal(w.hooks.count("JobThrottled"), 2)
		e, _ := w.hooks.last("JobThrottled").(recovery.JobEvent)
		is.Equal(e.Account.ID, "3")
		is.True(strings.Contains(e.Err.Error(), "account limit"))
		is.Equal(w.waiting(), 0) // it does not come back
	})
}

// A client network causes six mails with tokens an hour to a mailbox, whatever account they are
// for.
func TestMailboxIsMailedSixTimesAnHourForOneNetwork(t *testing.T) {
	withMailLimits(t, func(is *is.I, w *world) {
		sent := 0
		for i := range 60 {
			w.ask([]string{"alice", "alicia"}[i%2])
			sent += w.mailed()
			time.Sleep(time.Minute - 20*time.Millisecond)
		}
		is.Equal(sent, 6)
		w.ask("billybob")
		is.Equal(w.mailed(), 1) // another mailbox
	})
}

// Mails with user names count apart: one an hour, whoever asks. They keep no token from anybody,
// and tokens keep no names.
func TestUsernamesAreMailedApart(t *testing.T) {
	withMailLimits(t, func(is *is.I, w *world) {
		names := func(i int) int {
			is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{
				Email: "Alice@example.com", Client: netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i)),
			})))
			return w.mailed()
		}
		is.Equal(names(1), 1)
		is.Equal(names(2), 0)
		sent := 0
		for i := range 20 {
			w.from(fmt.Sprintf("198.51.100.%d", i), "alice")
			sent += w.mailed()
		}
		is.Equal(sent, 10)
		time.Sleep(time.Hour)
		is.Equal(names(3), 1)
		is.Equal(names(4), 0)
	})
}

// Mails with user names are none of those that a network may cause.
func TestUsernamesUseUpNothingOfANetwork(t *testing.T) {
	withMailLimits(t, func(is *is.I, w *world) {
		is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com", Client: client})))
		is.Equal(w.mailed(), 1)
		sent := 0
		for i := range 55 {
			w.ask([]string{"alice", "alicia"}[i%2])
			sent += w.mailed()
			time.Sleep(time.Minute)
		}
		is.Equal(sent, 6)
	})
}

// The first mail for a network always passes while no more than eight others ask, whatever they do.
func TestEightOthersKeepNoMailBack(t *testing.T) {
	withMailLimits(t, func(is *is.I, w *world) {
		for round := range 12 {
			ask := func(i int) { w.from(fmt.Sprintf("192.0.2.%d", i), "billybob") }
			for range rand.IntN(40) {
				for i := range 8 {
					if rand.IntN(3) == 0 {
						ask(i)
					}
				}
				w.deliver()
				time.Sleep(time.Duration(1+rand.IntN(20)) * time.Minute)
			}
			time.Sleep(time.Duration(rand.IntN(90)) * time.Minute)
			for range 5 { // one takes all that it can get, and then the others come at once
				time.Sleep(time.Minute)
				ask(0)
				w.deliver()
			}
			for i := range 8 {
				ask(i)
			}
			w.deliver()
			w.from(fmt.Sprintf("198.51.100.%d", round), "billybob")
			is.Equal(w.mailed(), 1)
			time.Sleep(7 * time.Hour) // all shares are over
		}
	})
}

// A mailbox gets ten mails with tokens at once and then one in six minutes, whoever asks; those for
// which it got one already go after the others.
func TestMailboxIsMailedTenTimesAtOnce(t *testing.T) {
	withMailLimits(t, func(is *is.I, w *world) {
		sent := 0
		for i := range 20 {
			w.from(fmt.Sprintf("192.0.2.%d", i), "billybob")
			sent += w.mailed()
		}
		is.Equal(sent, 10)
		synctest.Wait()
		e, _ := w.hooks.last("JobThrottled").(recovery.JobEvent)
		is.True(strings.Contains(e.Err.Error(), "mailbox limit"))
		time.Sleep(6 * time.Minute)
		w.from("192.0.2.1", "billybob")
		is.Equal(w.mailed(), 0) // it had a share
		w.from("192.0.2.99", "billybob")
		is.Equal(w.mailed(), 1)
	})
}

// Nothing but a mail that is about to leave is counted.
func TestNothingElseIsChargedAsAMail(t *testing.T) {
	for name, ask := range map[string]func(*world) error{
		"a name that nobody has": func(w *world) error {
			return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "newname", Client: client}))
		},
		"a portal that refuses": func(w *world) error {
			return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "billybob", Portal: "no", Client: client}))
		},
		"an account that is disabled": func(w *world) error {
			return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "mallory", Client: client}))
		},
		"an address without user names": func(w *world) error {
			return errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "noname@example.com", Client: client}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			withMailLimits(t, func(is *is.I, w *world) {
				w.put("20", "", "noname@example.com")
				for range 30 {
					is.NoErr(ask(w))
					is.Equal(w.mailed(), 0)
				}
				is.True(!strings.Contains(w.store.calls(), "CreateResets"))
				w.put("21", "newname", "newname@example.com")
				w.put("4", "mallory", "mallory@example.com")
				for _, name := range []string{"newname", "billybob", "mallory"} {
					w.ask(name)
				}
				w.askEmail("noname@example.com")
				is.Equal(w.mailed(), 4)
			})
		})
	}
}

// A retry is not counted again: one mail is counted, however often it fails before, and whether or
// not it may have left.
func TestRetriesAreNotCountedAgain(t *testing.T) {
	for _, fault := range []error{errDown, recovery.ErrUncertain} {
		inBubble(t, recovery.Options{Limits: recovery.Limits{PerRequester: recovery.Limit{Burst: 2, Every: 24 * time.Hour}}},
			func(_ *testing.T, is *is.I, w *world) {
				w.mail.Fail(func(recovery.Message) error { return fault })
				w.ask("billybob")
				id := w.store.added()[0]
				for range 5 {
					is.NoErr(errOf(w.DeliverJob(w.ctx, id)))
				}
				w.mail.Fail(nil)
				is.NoErr(errOf(w.DeliverJob(w.ctx, id)))
				is.Equal(len(w.mail.Messages()), 1)
				time.Sleep(time.Hour)
				w.ask("billybob")
				is.Equal(w.mailed(), 1) // the second of two
				time.Sleep(time.Hour)
				w.ask("billybob")
				is.Equal(w.mailed(), 0)
			})
	}
}

// Notices are not counted: nobody can keep one back by asking.
func TestNoticesAreNotCounted(t *testing.T) {
	withMailLimits(t, func(is *is.I, w *world) {
		token := w.token("billybob")
		for i := range 30 {
			w.from(fmt.Sprintf("192.0.2.%d", 100+i), "billybob")
		}
		w.deliver()
		is.NoErr(w.complete(token, goodPassword))
		is.Equal(w.mailed(), 1)
	})
}

// All accounts of a mail must be within their limits, and then each is counted.
func TestAccountsOfOneMailAreCountedTogether(t *testing.T) {
	withMailLimits(t, func(is *is.I, w *world) {
		w.ask("alicia")
		is.Equal(w.mailed(), 1)
		w.askEmail("alice@example.com") // alicia's limit is reached
		is.Equal(w.mailed(), 0)
		w.ask("alice") // and nothing was counted of alice's
		is.Equal(w.mailed(), 1)
	})
}

// What a client network had of one tenant's mails is not counted against another tenant's.
func TestNetworkHasMailsOfEachTenant(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{PerRequester: recovery.Limit{Burst: 1, Every: time.Hour}}})
	w.put("11", "alice", "alice@example.com", inTenant("acme"))
	for _, c := range []struct {
		tenant string
		mails  int
	}{{"acme", 1}, {"acme", 0}, {"", 1}} {
		w.advance(2 * time.Minute)
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: c.tenant, Client: client})))
		is.Equal(w.mailed(), c.mails)
	}
}
