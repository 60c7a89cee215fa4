package recovery_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// putElsewhere adds an account that logs in through the provider.
func (w *world) putElsewhere(id, username, email, provider string) {
	a := w.account(id, username, email)
	a.HasPassword, a.SignIn = false, provider
	w.users.Put(a, "")
}

// An account that logs in elsewhere gets a mail that says so, and no token.
func TestSignInElsewhere(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.putElsewhere("9", "gina", "gina@example.com", "Google")
	for _, ask := range []func() error{
		func() error {
			return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "gina", Code: true, Client: client}))
		},
		func() error {
			return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "gina@example.com", Client: client}))
		},
		func() error {
			return errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "gina@example.com", Client: client}))
		},
	} {
		is.NoErr(ask())
		mails := w.deliver()
		is.Equal(len(mails), 1)
		m := mails[0]
		is.Equal(m.Kind, recovery.MessageSignIn)
		is.Equal(m.To, "gina@example.com")
		is.Equal(len(m.SignIns), 1)
		is.Equal(m.SignIns[0].Username, "gina")
		is.Equal(m.SignIns[0].Provider, "Google")
		is.Equal(len(m.Resets)+len(m.Usernames), 0)
		is.True(m.ExpiresAt.IsZero() && m.CodesExpireAt.IsZero())
		is.Equal(w.users.Dump(), "") // no token, no code
		w.advance(time.Minute)
	}
}

// Whoever has both kinds of accounts on one address gets one mail about all of them.
func TestSignInBesideAPassword(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.putElsewhere("9", "gina", "alice@example.com", "Google")
	w.putElsewhere("8", "", "alice@example.com", "")
	w.askEmail("alice@example.com")
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].Kind, recovery.MessageResetToken)
	is.Equal(len(mails[0].Resets), 2)
	is.Equal(mails[0].Resets[0].Username, "alice")
	is.Equal(mails[0].Resets[1].Username, "alicia")
	is.Equal(len(mails[0].SignIns), 2)

	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com"})))
	mails = w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].Kind, recovery.MessageUsernames)
	is.Equal(mails[0].Usernames, []string{"alice", "alicia"})
	is.Equal(len(mails[0].SignIns), 2)
}

// A mail names ten accounts, those with a password first, and says how many more there are.
func TestManySignIns(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	for i := range 15 {
		w.putElsewhere(fmt.Sprint("9", i), fmt.Sprint("gina", i), "alice@example.com", "Google")
	}
	w.askEmail("alice@example.com")
	m := w.deliver()[0]
	is.Equal([]int{len(m.Resets), len(m.SignIns), m.MoreResets, m.MoreSignIns}, []int{2, 8, 0, 7})
	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com"})))
	m = w.deliver()[0]
	is.Equal([]int{len(m.Usernames), len(m.SignIns), m.MoreNames, m.MoreSignIns}, []int{2, 10, 0, 5})
}

// Accounts that may not be mailed, or not by this portal, get no such mail, and all limits hold.
func TestSignInIsMailedLikeATokenIs(t *testing.T) {
	is := is.New(t)
	denied := false
	w := newWorld(t, &recovery.Options{
		Limits: recovery.Limits{PerClient: recovery.Limit{Burst: 1000, Every: time.Second}},
		Portals: map[string]recovery.Portal{"web": {URL: "https://portal.example/", Allow: func(context.Context, recovery.Account) (bool, error) {
			return !denied, nil
		}}},
	})
	w.putElsewhere("9", "gina", "gina@example.com", "Google")
	unverified := w.account("8", "hugo", "hugo@example.com")
	unverified.HasPassword, unverified.EmailVerified = false, false
	w.users.Put(unverified, "")
	disabled := w.account("7", "ina", "ina@example.com")
	disabled.HasPassword, disabled.Active = false, false
	w.users.Put(disabled, "")
	ask := func(name, portal string) int {
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Portal: portal, Client: client})))
		return len(w.deliver())
	}
	is.Equal(ask("hugo", "")+ask("ina", ""), 0)
	denied = true
	is.Equal(ask("gina", "web"), 0)
	denied = false
	sent := ask("gina", "web")
	for range 199 {
		w.advance(36 * time.Second)
		sent += ask("gina", "")
	}
	is.Equal(sent, 2) // in two hours, whoever asks
}

// Mails about an account that logs in elsewhere use up nothing of the tokens' limit.
func TestSignInMailsKeepNoTokenFromAnybody(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{
		PerClient: recovery.Limit{Burst: 1000, Every: time.Second}, PerMailbox: recovery.Limit{Burst: 1, Every: time.Hour},
	}})
	w.putElsewhere("9", "gina-google", "alice@example.com", "Google")
	for range 3 {
		w.ask("gina-google")
	}
	is.Equal(len(w.deliver()), 1)
	w.ask("alice")
	is.Equal(len(w.deliver()[0].Resets), 1)
}

func TestNoSignInMail(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{NoSignInMail: true})
	w.putElsewhere("9", "gina", "gina@example.com", "Google")
	w.ask("gina")
	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "gina@example.com"})))
	is.Equal(len(w.deliver()), 0)
	w.hooks.wait(t, "JobDropped no_password")
}

// Mails that tell where somebody logs in use up nothing of those with user names.
func TestSignInMailsKeepNoNamesFromAnybody(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{
		PerClient: recovery.Limit{Burst: 1000, Every: time.Second}, UsernamesPerMailbox: recovery.Limit{Burst: 1, Every: time.Hour},
	}})
	w.putElsewhere("9", "gina-google", "alice@example.com", "Google")
	w.ask("gina-google")
	is.Equal(len(w.deliver()), 1)
	w.ask("gina-google")
	is.Equal(len(w.deliver()), 0)
	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "alice@example.com", Client: client})))
	is.Equal(len(w.deliver()), 1)
}
