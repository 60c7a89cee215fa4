package recovery_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A mail has up to ten tokens, and says for how many accounts it has none.
func TestOneMailHasTenResets(t *testing.T) {
	for n, more := range map[int]int{1: 0, 9: 0, 10: 0, 11: 1, 25: 15} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, &recovery.Options{Portals: map[string]recovery.Portal{"": {URL: "https://portal.example/"}}})
			for i := range n {
				w.put(fmt.Sprintf("u%02d", i), fmt.Sprintf("user%02d", i), "many@example.com")
			}
			w.askEmail("many@example.com")
			mails := w.deliver()
			is.Equal(len(mails), 1)
			is.Equal(mails[0].Kind, recovery.MessageResetLink)
			is.Equal(len(mails[0].Resets), n-more)
			is.Equal(mails[0].MoreResets, more)
			for i, r := range mails[0].Resets {
				is.Equal(r.Username, fmt.Sprintf("user%02d", i))
				is.Equal(r.Link, "https://portal.example/#token="+r.Token.Reveal())
				is.NoErr(w.complete(r.Token.Reveal(), goodPassword)) // each for its own account
				is.Equal(w.hash(fmt.Sprintf("u%02d", i)), "hash of "+goodPassword)
			}
			is.Equal(w.resets(), n-more) // none for accounts that are not in the mail
		})
	}
}

// Asking again voids the older tokens that the same client network asked for, and no others.
func TestOnlyTheOwnTokensAreSuperseded(t *testing.T) {
	for name, c := range map[string]struct {
		first, second string
		superseded    bool
	}{
		"the same address":    {"192.0.2.1", "192.0.2.1", true},
		"mapped into IPv6":    {"192.0.2.1", "::ffff:192.0.2.1", true},
		"behind a translator": {"192.0.2.1", "64:ff9b::192.0.2.1", true},
		"a neighbour":         {"192.0.2.1", "192.0.2.2", false},
		"the same /48":        {"2001:db8::1", "2001:db8:0:ffff::1", true},
		"another /48":         {"2001:db8::1", "2001:db8:1::1", false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			w.from(c.first, "alice")
			first := tokenOf(w.deliver()[0])
			w.advance(time.Minute)
			w.from(c.second, "alice")
			second := tokenOf(w.deliver()[0])
			is.NoErr(w.deadOrAlive(first, !c.superseded))
			is.NoErr(w.deadOrAlive(second, true))
		})
	}
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
	is.Equal(m.RequestedAt, began.Add(-20*time.Minute))
	is.Equal(m.SentAt, began.Add(50*time.Second))
	is.Equal(m.ExpiresAt, began.Add(16*time.Hour))
	is.Equal(m.CodesExpireAt, began.Add(15*time.Minute))
}

func TestResetByEmailHasATokenForEachAccount(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.askEmail("ALICE@example.com")
	mails := w.deliver()
	is.Equal(len(mails), 1) // one mail
	is.Equal(mails[0].To, "alice@example.com")
	tokens := map[string]string{}
	for _, r := range mails[0].Resets {
		tokens[r.Username] = r.Token.Reveal()
	}
	is.Equal(len(tokens), 2)
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Username: "alice", Token: tokens["alicia"], Password: goodPassword})
	is.Equal(err, recovery.ErrInvalidToken) // each token resets its own account only
	w.hooks.wait(t, "TokenRefused other_account")
	is.NoErr(w.complete(tokens["alicia"], goodPassword))
	is.Equal(w.hash("1"), "hash of old")
	is.Equal(w.hash("2"), "hash of "+goodPassword)
	is.NoErr(w.deadOrAlive(tokens["alice"], true))
}

func TestRetrieveUsername(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "Alice@Example.com", Locale: "en"})))
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].Kind, recovery.MessageUsernames)
	is.Equal(mails[0].To, "alice@example.com")
	is.Equal(mails[0].Usernames, []string{"alice", "alicia"})
	is.True(len(mails[0].Resets) == 0)
}

// S13: one address with many accounts.
func TestManyAccountsOfOneAddress(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	for i := range 1200 {
		a := w.account(fmt.Sprintf("u%04d", i), fmt.Sprintf("user%04d", i), "many@example.com")
		a.Locale = "ja"
		w.users.Put(a, "hash of old")
	}
	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "many@example.com", Locale: "en"})))
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(len(mails[0].Usernames), 50)
	is.Equal(mails[0].MoreNames, 950)
	is.Equal(mails[0].Locale, "ja,en") // the account's goes first
	w.hooks.wait(t, "JobDropped too_many")
}
