package recovery_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

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

// Accounts of one canonical form are told apart by how it is written: the exact one is meant,
// alone.
func TestTwinsBeyondCase(t *testing.T) {
	for name, c := range map[string]struct {
		stored []string // user names, or addresses
		typed  string
		want   []string // of the accounts in the mail
	}{
		"a name with a no-break space":   {[]string{"alicex", "alicex\u00a0"}, "AliceX\u3000", []string{"alicex"}},
		"a name with a space":            {[]string{"alicex ", "alicex"}, "alicex ", []string{"alicex"}},
		"only the name with a space":     {[]string{"alicex\u00a0"}, "alicex", []string{"alicex\u00a0"}},
		"a capital in parts":             {[]string{"\u00c9ve", "\u00c9VE"}, "E\u0301VE", []string{"\u00c9VE"}},
		"a name in parts":                {[]string{"Zoe\u0308", "ZOE\u0308"}, "Zo\u00eb", []string{"Zoe\u0308"}},
		"the quoted address is the same": {[]string{`"da..me."@example.org`, "da..me.@example.org"}, `"da..me."@EXAMPLE.org`, []string{"0", "1"}},
		"asked for without quotes":       {[]string{`"da..me."@example.org`, "da..me.@example.org"}, "da..me.@example.org", []string{"0", "1"}},
		"the case in quotes":             {[]string{`"Da..me."@example.org`, "da..me.@example.org"}, "Da..me.@example.org", []string{"0"}},
		"a dot first":                    {[]string{`".Da"@example.org`, `".da"@example.org`}, `".Da"@example.org`, []string{"0"}},
		"an address with white space":    {[]string{"zoe@example.org", "zoe@example.org\u3000"}, "Zoe@example.org", []string{"0", "1"}},
		"an address in parts":            {[]string{"zo\u00eb@example.org", "zoe\u0308@example.org"}, "zoe\u0308@example.org", []string{"0", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			byEmail := strings.Contains(c.typed, "@")
			for i, s := range c.stored {
				if byEmail {
					w.put(fmt.Sprint("z", i), fmt.Sprint(i), s)
				} else {
					w.put(fmt.Sprint("z", i), s, fmt.Sprintf("z%d@example.org", i))
				}
			}
			if byEmail {
				w.askEmail(c.typed)
			} else {
				w.ask(c.typed)
			}
			mails := w.deliver()
			is.Equal(len(mails), 1)
			var names []string
			for _, r := range mails[0].Resets {
				names = append(names, r.Username)
			}
			slices.Sort(names)
			is.Equal(names, c.want)
		})
	}
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

// S13: whoever makes accounts with the address of somebody else, which stay unverified, does not keep that
// one out.
func TestAttack_S13_CrowdedOut(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.users.Put(w.account("z", "zoe", "zoe@example.com"), "hash of old")
	for i := range 1001 {
		a := w.account(fmt.Sprintf("u%04d", i), fmt.Sprintf("user%04d", i), "zoe@example.com")
		a.EmailVerified = false
		w.users.Put(a, "hash of old")
	}
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "zoe@example.com"})))
	is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: "zoe@example.com"})))
	mails := w.deliver()
	is.Equal(len(mails), 2)
	for _, m := range mails {
		for _, r := range m.Resets {
			m.Usernames = append(m.Usernames, r.Username)
		}
		is.Equal(m.Usernames, []string{"zoe"})
	}
}

// A store may find more that only look like the one that is meant than the Service asks for.
func TestTooManyFound(t *testing.T) {
	for _, c := range []struct {
		n, eligible int
		want        bool
	}{{999, 999, false}, {1000, 1000, false}, {1001, 1001, true}, {2000, 2000, true}, {2000, 1000, false}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			var alike []recovery.Account
			for i := range c.n {
				a := w.account(fmt.Sprintf("u%04d", i), "billyböb", "other@example.com")
				a.EmailVerified = i < c.eligible
				alike = append(alike, a)
			}
			svc := w.service(&looseStore{Store: w.users, accounts: alike}, recovery.Options{})
			for _, name := range []string{"billybob", "billybab"} { // events come in order
				is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: name})))
				_, err := svc.Deliver(w.ctx)
				is.NoErr(err)
			}
			for begin := time.Now(); w.hooks.count("JobDropped no_account") < 2; time.Sleep(time.Millisecond) {
				is.True(time.Since(begin) < 10*time.Second) // both were dropped
			}
			is.Equal(w.hooks.seen("JobDropped too_many"), c.want)
			is.True(!w.hooks.seen("JobRetried"))
		})
	}
}

// The Store is asked for what was typed and for its canonical form, both without spaces around them.
func TestAccountsAreLookedUpWithoutSpaces(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	var query recovery.AccountQuery
	svc := w.service(spy.On(w.users, func(ctx context.Context, _ string, arg any, call func(context.Context) error) error {
		if q, ok := arg.(recovery.AccountQuery); ok {
			query = q
		}
		return call(ctx)
	}), recovery.Options{})
	is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "  AliCe "})))
	_, err := svc.Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(query.Typed, "AliCe")
	is.Equal(query.Canonical, "alice")
	is.Equal(query.Max, 1001) // to see whether there are more than are mailed
}

// A namesake without a password keeps nobody out, and neither does a name with white space.
func TestNamesakesThatKeepNobodyOut(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.putElsewhere("9", "billybob", "evil@example.com", "Google")
	w.put("8", "Alice\u3000", "evil@example.com")
	w.put("7", "Carol", "carol@example.com")
	w.put("6", "CAROL ", "evil@example.com")
	for name, want := range map[string]string{"billybob": "billybob@example.com", "alice": "alice@example.com", "cArOl": "carol@example.com"} {
		w.ask(name)
		mails := w.deliver()
		is.Equal(len(mails), 1)
		is.Equal(mails[0].To, want)
	}
}

// The Store's comparison of tenants may be loose, so it is made again.
func TestTenantsAreCheckedAgain(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	other := w.account("13", "alice", "alice@example.com")
	other.Tenant = "ACME"
	svc := w.service(&looseStore{Store: w.users, accounts: []recovery.Account{other}}, recovery.Options{})
	_, err := svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Tenant: "acme"})
	is.NoErr(err)
	_, err = svc.Deliver(w.ctx)
	is.NoErr(err)
	is.Equal(len(w.mail.Messages()), 0)
	w.hooks.wait(t, "JobDropped no_account")
}

// The Store's comparison of tenants may be loose for IDs, too: neither a notice nor OnReset is told
// of another tenant's account.
func TestTenantsOfIDsAreCheckedAgain(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	other := w.account("13", "carol", "carol@example.com")
	other.Tenant = "ACME"
	var given []recovery.Account
	svc := w.service(&looseStore{Store: w.users, accounts: []recovery.Account{other}}, recovery.Options{
		OnReset: func(_ context.Context, a recovery.Account) error { given = append(given, a); return nil },
	})
	for _, kind := range []recovery.JobKind{recovery.JobNotice, recovery.JobOnReset} {
		is.NoErr(w.users.Enqueue(w.ctx, recovery.Job{
			ID: string(kind), Kind: kind, By: recovery.ByEmail, Identifier: "a@example.com",
			AccountID: "13", Tenant: "acme", RequestedAt: w.time(), Turn: w.time(),
		}, nil))
	}
	_, err := svc.Deliver(w.ctx)
	is.NoErr(err)
	m, _ := w.mail.Last()
	is.Equal(m.To, "a@example.com")
	is.Equal(len(m.Usernames), 0)
	is.Equal(given, []recovery.Account{{ID: "13", Tenant: "acme"}})
}
