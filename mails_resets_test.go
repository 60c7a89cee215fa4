package recovery_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// namesOf returns the user names that a mail has tokens for.
func namesOf(m recovery.Message) (names []string) {
	for _, r := range m.Resets {
		names = append(names, r.Username)
	}
	return names
}

// resets returns how many tokens the Store has, dead ones included.
func (w *world) resets() (n int) {
	for line := range strings.Lines(w.users.Dump()) {
		if strings.HasPrefix(line, "reset ") {
			n++
		}
	}
	return n
}

// from asks for a reset by user name as another client.
func (w *world) from(addr, username string) {
	w.is.Helper()
	w.is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: username, Client: netip.MustParseAddr(addr)})))
}

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

// A mail has links for those accounts that the portal is for.
func TestPortalChoosesAmongAccounts(t *testing.T) {
	asked := 0
	allow := func(_ context.Context, a recovery.Account) (bool, error) { asked++; return a.Username >= "user02", nil }
	inBubble(t, recovery.Options{Portals: map[string]recovery.Portal{"p": {URL: "https://portal.example/", Allow: allow}}},
		func(_ *testing.T, is *is.I, w *world) {
			for i := range 15 {
				w.put(fmt.Sprintf("u%02d", i), fmt.Sprintf("user%02d", i), "many@example.com")
			}
			is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "many@example.com", Portal: "p"})))
			m := w.deliver()[0]
			is.Equal(namesOf(m)[0], "user02")
			is.Equal(len(m.Resets), 10)
			is.Equal(m.MoreResets, 3)
			is.Equal(asked, 12) // no more than are mailed
			synctest.Wait()
			is.Equal(w.accountsTold("JobDropped portal"), []string{"u00", "u01"})
			is.Equal(w.accountsTold("MailSent"), []string{"u02"})
		})
}

// Of several identifiers that differ in case only, the exact one is meant, and nobody else hears of
// it.
func TestCaseTwins(t *testing.T) {
	for name, c := range map[string]struct {
		stored []string // user names, or addresses
		typed  string
		want   string // "" for nobody
	}{
		"the exact one":              {[]string{"Zoe", "zoe", "ZOE"}, "ZOE", "ZOE"},
		"the exact one, with spaces": {[]string{"Zoe", "zoe"}, " Zoe  ", "Zoe"},
		"else the lower case":        {[]string{"Zoe", "zoe"}, "ZOE", "zoe"},
		"none of several others":     {[]string{"Zoe", "zOe"}, "ZOE", ""},
		"the only one":               {[]string{"Zoe"}, "zOE", "Zoe"},
		"an exact address":           {[]string{"Zoe@example.com", "zoe@example.com"}, "Zoe@example.com", "Zoe@example.com"},
		"whatever its domain's case": {[]string{"Zoe@example.com", "zoe@example.com"}, "Zoe@EXAMPLE.com", "Zoe@example.com"},
		"else the lower-case part":   {[]string{"Zoe@example.com", "zoe@EXAMPLE.com"}, "ZOE@example.com", "zoe@EXAMPLE.com"},
		"none of several addresses":  {[]string{"Zoe@example.com", "zOe@example.com"}, "ZOE@example.com", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				byEmail := strings.Contains(c.typed, "@")
				for i, s := range c.stored {
					a := w.account(fmt.Sprint("z", i), s, fmt.Sprintf("zoe%d@example.com", i))
					if byEmail {
						a.Username, a.Email = fmt.Sprint("zoe", i), s
					}
					w.users.Put(a, "hash of old")
				}
				if byEmail {
					w.askEmail(c.typed)
				} else {
					w.ask(c.typed)
				}
				mails := w.deliver()
				synctest.Wait()
				if c.want == "" {
					is.Equal(len(mails), 0)
					is.Equal(w.hooks.count("JobDropped namesake"), 1)
					is.Equal(w.users.Dump(), "")
					return
				}
				is.Equal(len(mails), 1)
				is.Equal(len(mails[0].Resets), 1)
				if byEmail {
					is.Equal(mails[0].To, c.want)
				} else {
					is.Equal(mails[0].Resets[0].Username, c.want)
				}
			})
		})
	}
}

// A twin that may not be recovered is meant all the same: nobody else's account takes its place.
func TestExactTwinThatIsDisabled(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.put("z1", "zoe", "zoe@example.com")
	disabled := w.account("z2", "Zoe", "other@example.com")
	disabled.Active = false
	w.users.Put(disabled, "hash of old")
	w.ask("Zoe")
	is.Equal(len(w.deliver()), 0)
	w.hooks.wait(t, "JobDropped inactive")
}

// Nothing tells whose a name is that accounts with different mailboxes have: nobody is mailed.
func TestAccountsWithAnotherMailbox(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		svc := w.service(&looseStore{Store: w.users, accounts: []recovery.Account{
			w.account("1", "alice", "alice@example.com"), w.account("2", "alice", "alice@EXAMPLE.com"),
			w.account("3", "alice", "Alice@example.com"), w.account("4", "alice", "other@example.com"),
		}}, recovery.Options{Now: time.Now})
		is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice"})))
		_, err := svc.Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(len(w.mail.Messages()), 0)
		synctest.Wait()
		is.Equal(w.accountsTold("JobDropped namesake"), []string{""})
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
				w.askEmail("alice@example.com")
				_, err = svc.Deliver(w.ctx)
				is.NoErr(err)
				is.Equal(len(tokens), 2)
				for _, token := range tokens {
					is.NoErr(w.deadOrAlive(token, c.alive))
				}
				is.Equal(w.resets() > 0, c.alive)
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
