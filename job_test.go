package recovery_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// OnReset has a context that ends, and no error of its own ends the calls.
func TestOnResetIsTriedWhateverItReturns(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		calls := 0
		svc := w.service(w.store, recovery.Options{Now: time.Now, OnReset: func(ctx context.Context, _ recovery.Account) error {
			if calls++; calls == 1 {
				<-ctx.Done()
				return fmt.Errorf("could not tell the user: %w", recovery.ErrPermanent)
			}
			return nil
		}})
		_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword})
		is.NoErr(err)
		start := time.Now()
		_, err = svc.Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(time.Since(start), 30*time.Second) // SendTimeout
		time.Sleep(time.Minute)
		_, err = svc.Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(calls, 2)
	})
}

// A token is valid from when it is made, however long its request waited.
func TestRetriedTokenHasItsWholeTime(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.ask("alice")
	asked := w.time()
	w.advance(30 * time.Minute)
	m := w.deliver()[0]
	is.Equal(m.RequestedAt, asked)
	is.Equal(m.ExpiresAt, w.time().Add(16*time.Hour))
}

func TestAccountsWithoutUserName(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.put("20", "", "noname@example.com")
	w.askEmail("noname@example.com")
	m := w.deliver()[0]
	is.Equal(m.Resets[0].Username, "")
	is.NoErr(w.complete(tokenOf(m), goodPassword))
	w.deliver()
	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "noname@example.com"})))
	is.Equal(len(w.deliver()), 0)
	w.hooks.wait(t, "JobDropped no_username")
}

// A Store whose comparison of IDs is loose too mails nobody else.
func TestLooseIDs(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	upper, lower := w.account("A1", "ann", "ann@example.com"), w.account("a1", "anna", "ann@example.com")
	w.users.Put(lower, "hash of old")
	lower.Version = recovery.NewVersion("hash of old", lower.Email)
	loose := &looseStore{Store: w.users, accounts: []recovery.Account{lower, upper}, looseIDs: true}
	svc := w.service(loose, recovery.Options{})
	is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "anna"})))
	for range 2 {
		_, err := svc.Deliver(w.ctx)
		is.NoErr(err)
		if m, _ := w.mail.Last(); len(m.Resets) > 0 {
			loose.accounts[0], _ = svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: tokenOf(m), Password: goodPassword})
		}
	}
	is.Equal(len(w.mail.Messages()), 2)
	m, _ := w.mail.Last()
	is.Equal(m.Kind, recovery.MessagePasswordChanged)
	is.Equal(m.Usernames, []string{"anna"}) // the notice is about the account whose password it was
}

func TestDropReasons(t *testing.T) {
	for reason, change := range map[string]func(*recovery.Account){
		"no_account":  func(a *recovery.Account) { a.Username = "someone else" },
		"inactive":    func(a *recovery.Account) { a.Active = false },
		"no_password": func(a *recovery.Account) { a.HasPassword = false },
		"unverified":  func(a *recovery.Account) { a.EmailVerified = false },
		"bad_address": func(a *recovery.Account) { a.Email = "alice@example.com\r\nBcc: evil@example.com" },
	} {
		t.Run(reason, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, &recovery.Options{NoSignInMail: true})
			a := w.account("1", "alice", "alice@example.com")
			change(&a)
			w.users.Put(a, "hash of old")
			w.ask("alice")
			is.Equal(len(w.deliver()), 0)
			w.hooks.wait(t, "JobDropped "+reason)
			is.Equal(w.users.Dump(), "") // no token, no request
		})
	}
}

// A Store may match more loosely than the library: S05.
func TestLooseMatchesAreCheckedAgain(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	svc := w.service(&looseStore{Store: w.users, accounts: []recovery.Account{
		w.account("10", "álice", "alice@example.com"), w.account("11", "ａlice", "x@example.com"), w.account("12", "alice ", "z@example.com"),
		w.account("13", "alice", "z@example.com"), w.account("14", "alice\u00ad", "q@example.com"),
	}}, recovery.Options{})
	is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice"})))
	_, err := svc.Deliver(w.ctx)
	is.NoErr(err)
	mails := w.mail.Messages()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].To, "z@example.com")
	is.Equal(len(mails[0].Resets), 1) // that of "alice" as it was typed
}

// Nobody is mailed for want of a better match.
func TestLookAlikesAreNotMailed(t *testing.T) {
	for _, username := range []string{"álice", "ａlice", "alice\u00ad", "bob"} {
		t.Run(username, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			svc := w.service(&looseStore{Store: w.users, accounts: []recovery.Account{w.account("10", username, "alice@example.com")}}, recovery.Options{})
			is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice"})))
			_, err := svc.Deliver(w.ctx)
			is.NoErr(err)
			is.Equal(len(w.mail.Messages()), 0)
		})
	}
}

type looseStore struct {
	recovery.Store
	accounts []recovery.Account
	looseIDs bool
}

func (s *looseStore) FindAccounts(_ context.Context, q recovery.AccountQuery) ([]recovery.Account, error) {
	if q.By != recovery.ByID {
		return s.accounts, nil
	}
	var found []recovery.Account
	for _, a := range s.accounts {
		if a.ID == q.Canonical || s.looseIDs && strings.EqualFold(a.ID, q.Canonical) {
			found = append(found, a)
		}
	}
	return found, nil
}

// S25: mail is sent to where the account is when it is sent.
func TestAddressChangesBeforeTheMail(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.ask("alice")
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "billybob@example.com"})))
	w.put("1", "alice", "alice@example.org")
	w.put("3", "billybob", "billybob@example.org")
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].To, "alice@example.org") // asked for by name: the new address; by the old address: nothing
	w.hooks.wait(t, "JobDropped no_account")
}

// The notice goes to the address that the account had when its password was changed.
func TestNoticeGoesToTheOldAddress(t *testing.T) {
	for name, happen := range map[string]func(w *world){
		"address changed": func(w *world) { w.put("1", "alice", "attacker@example.com") },
		"account deleted": func(w *world) { w.users.Remove("1") },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			is.NoErr(w.complete(w.token("alice"), goodPassword))
			happen(w)
			mails := w.deliver()
			is.Equal(len(mails), 1)
			is.Equal(mails[0].Kind, recovery.MessagePasswordChanged)
			is.Equal(mails[0].To, "alice@example.com")
		})
	}
}

func TestOnReset(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		var calls []string
		svc := w.service(w.store, recovery.Options{Now: time.Now, OnReset: func(_ context.Context, a recovery.Account) error {
			calls = append(calls, a.ID+" "+a.Username)
			switch len(calls) {
			case 1:
				return errDown
			case 2:
				panic("boom")
			}
			return nil
		}})
		_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: w.token("alice"), Password: goodPassword})
		is.NoErr(err)
		for range 5 {
			_, err := svc.Deliver(w.ctx)
			is.NoErr(err)
			time.Sleep(time.Minute)
		}
		is.Equal(calls, []string{"1 alice", "1 alice", "1 alice"}) // until it returns nil
		w.hooks.wait(t, "OnResetCalled")

		// The call survives a process that does not know it, and the end of the account.
		_, err = svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: w.token("billybob"), Password: goodPassword})
		is.NoErr(err)
		w.users.Remove("3")
		w.deliver()
		is.True(strings.Contains(w.log.String(), "Options.OnReset is not set in this process"))
		time.Sleep(time.Minute)
		_, err = svc.Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(calls[len(calls)-1], "3 ")
		is.Equal(w.waiting(), 0)
	})
}

// everybody is a Portal.Allow.
func everybody(context.Context, recovery.Account) (bool, error) { return true, nil }

func TestPortals(t *testing.T) {
	is := is.New(t)
	asks := 0
	w := newWorld(t, &recovery.Options{Portals: map[string]recovery.Portal{
		"cloud_control": {URL: "https://portal.example/reset?lang=en", Allow: everybody},
		"support": {URL: "https://support.example/", Allow: func(_ context.Context, a recovery.Account) (bool, error) {
			if asks++; asks == 1 {
				return false, errDown
			}
			return a.Username == "billybob", nil
		}},
	}})
	ask := func(username, portal string) []recovery.Message {
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: username, Portal: portal})))
		mails := w.deliver()
		w.advance(time.Minute)
		return append(mails, w.deliver()...)
	}
	mails := ask("alice", "cloud_control")
	is.Equal(len(mails), 1)
	is.Equal(mails[0].Kind, recovery.MessageResetLink)
	is.Equal(mails[0].Resets[0].Link, "https://portal.example/reset?lang=en#token="+tokenOf(mails[0]))
	is.NoErr(w.complete(tokenOf(mails[0]), goodPassword))

	mails = ask("billybob", "support") // the first answer of Allow is an error
	is.Equal(len(mails), 2)
	is.Equal(mails[1].Kind, recovery.MessageResetLink)
	is.Equal(len(ask("alicia", "support")), 0) // not allowed, silently
	w.hooks.wait(t, "JobDropped portal")
	is.Equal(ask("alicia", "")[0].Kind, recovery.MessageResetToken)

	// A portal that is gone when the request is worked on.
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alicia", Portal: "cloud_control"})))
	svc := w.service(w.users, recovery.Options{})
	before := len(w.mail.Messages())
	_, err := svc.Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(len(w.mail.Messages()), before)
}

func TestDefaultPortal(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Portals: map[string]recovery.Portal{"": {URL: "https://portal.example/reset"}}})
	w.ask("alice")
	is.Equal(w.deliver()[0].Kind, recovery.MessageResetLink)
}

func TestNewerMailSupersedesLateRetry(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.mail.Fail(func(recovery.Message) error { return errDown })
	w.ask("alice")
	w.deliver()
	w.mail.Fail(nil)
	w.advance(time.Second / 2)
	w.ask("alice")
	newer := w.deliver()
	is.Equal(len(newer), 1)
	w.advance(time.Minute)
	is.Equal(len(w.drain()), 0) // the older request's retry is not mailed any more
	w.hooks.wait(t, "JobDropped superseded")
	is.NoErr(w.complete(tokenOf(newer[0]), goodPassword))
}

// A queue that holds what no version of the library put there loses nothing else.
func TestMalformedRequestsAreDropped(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	now := w.time()
	for i, r := range []recovery.Job{
		{Kind: recovery.JobReset, By: recovery.ByEmail, Identifier: "no address"},
		{Kind: "from the future", By: recovery.ByUsername, Identifier: "alice"},
	} {
		r.ID, r.RequestedAt, r.Turn = fmt.Sprint("id-", i), now, now
		is.NoErr(w.users.Enqueue(w.ctx, r, nil))
	}
	w.ask("alice")
	is.Equal(len(w.deliver()), 1)
	w.hooks.wait(t, "JobDropped malformed")
	is.Equal(w.waiting(), 0)
}

// A clock that is days ahead for a moment makes no token that lives for days.
func TestTokenOfAMisreadClock(t *testing.T) {
	for during, mails := range map[string]int{"Claim": 0, "FindAccounts": 1, "CreateResets": 1} { // from this call to the next
		t.Run(during, func(t *testing.T) {
			is := is.New(t)
			now := time.Date(2026, 11, 21, 18, 30, 0, 0, time.UTC)
			var wrong atomic.Bool
			w := newWorld(t, &recovery.Options{Now: func() time.Time {
				if wrong.Load() {
					return now.Add(48 * time.Hour)
				}
				return now
			}})
			w.ask("billybob")
			w.store.failWith(func(method string) error {
				if method != "Now" {
					wrong.Store(method == during)
				}
				return nil
			})
			sent := w.deliver()
			is.Equal(len(sent), mails)
			for _, m := range sent {
				is.True(m.ExpiresAt.Sub(now) <= 16*time.Hour)
			}
		})
	}
}

// A mail says what is left of its token when it is sent, however long that took.
func TestMailsSayWhenTheyAreSent(t *testing.T) {
	is := is.New(t)
	var w *world
	w = newWorld(t, &recovery.Options{Portals: map[string]recovery.Portal{"web": {
		URL: "https://portal.example/",
		Allow: func(context.Context, recovery.Account) (bool, error) {
			w.advance(50 * time.Second)
			return true, nil
		},
	}}})
	w.is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Portal: "web", Code: true})))
	w.advance(20 * time.Minute)
	began := w.time()
	m := w.deliver()[0]
	is.Equal(m.SentAt, began.Add(50*time.Second))
	is.Equal(m.ExpiresAt, began.Add(16*time.Hour))
	is.Equal(m.CodesExpireAt, began.Add(15*time.Minute))
}
