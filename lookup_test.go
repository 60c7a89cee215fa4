package recovery_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

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

// Of several accounts with one canonical form the one that is written as typed is meant, and nobody
// else hears of it. If there is none, it is the one in lower case.
func TestCaseTwins(t *testing.T) {
	for name, c := range map[string]struct {
		stored []string // user names, or addresses
		typed  string
		want   []int // which of them are mailed
	}{
		"the exact one":              {[]string{"Zoe", "zoe", "ZOE"}, "ZOE", []int{2}},
		"the exact one, with spaces": {[]string{"Zoe", "zoe"}, " Zoe  ", []int{0}},
		"else the lower case":        {[]string{"Zoe", "zoe"}, "ZOE", []int{1}},
		"none of several others":     {[]string{"Zoe", "zOe"}, "ZOE", nil},
		"the only one":               {[]string{"Zoe"}, "zOE", []int{0}},
		"a no-break space":           {[]string{"alicex", "alicex\u00a0"}, "AliceX\u3000", []int{0}},
		"a space":                    {[]string{"alicex ", "alicex"}, "alicex ", []int{1}},
		"only the one with a space":  {[]string{"alicex\u00a0"}, "alicex", []int{0}},
		"a capital in parts":         {[]string{"\u00c9ve", "\u00c9VE"}, "E\u0301VE", []int{1}},
		"a name in parts":            {[]string{"Zoe\u0308", "ZOE\u0308"}, "Zo\u00eb", []int{0}},
		"a name with a host":         {[]string{"zoe@b", "zoe@B"}, "zoe@B", []int{1}},

		"an exact address":            {[]string{"Zoe@example.org", "zoe@example.org"}, "Zoe@example.org", []int{0}},
		"whatever its domain's case":  {[]string{"Zoe@example.org", "zoe@example.org"}, "Zoe@EXAMPLE.org", []int{0}},
		"else the lower-case part":    {[]string{"Zoe@example.org", "zoe@EXAMPLE.org"}, "ZOE@example.org", []int{1}},
		"none of several addresses":   {[]string{"Zoe@example.org", "zOe@example.org"}, "ZOE@example.org", nil},
		"quotes mean nothing":         {[]string{`"da..me."@example.org`, "da..me.@example.org"}, `"da..me."@EXAMPLE.org`, []int{0, 1}},
		"asked for without quotes":    {[]string{`"da..me."@example.org`, "da..me.@example.org"}, "da..me.@example.org", []int{0, 1}},
		"the case in quotes":          {[]string{`"Da..me."@example.org`, "da..me.@example.org"}, "Da..me.@example.org", []int{0}},
		"a dot first":                 {[]string{`".Da"@example.org`, `".da"@example.org`}, `".Da"@example.org`, []int{0}},
		"an address with white space": {[]string{"zoe@example.org", "zoe@example.org\u3000"}, "Zoe@example.org", []int{0, 1}},
		"an address in parts":         {[]string{"zo\u00eb@example.org", "zoe\u0308@example.org"}, "zoe\u0308@example.org", []int{0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			number := map[string]int{} // by user name
			byEmail := strings.Contains(c.typed, ".org")
			for i, s := range c.stored {
				username, email := s, fmt.Sprintf("z%d@example.org", i)
				if byEmail {
					username, email = fmt.Sprint("z", i), s
				}
				w.put(fmt.Sprint("z", i), username, email)
				number[username] = i
			}
			if byEmail {
				w.askEmail(c.typed)
			} else {
				w.ask(c.typed)
			}
			mails := w.deliver()
			is.Equal(len(mails), min(len(c.want), 1))
			var mailed []int
			for _, m := range mails {
				for _, r := range m.Resets {
					mailed = append(mailed, number[r.Username])
				}
			}
			slices.Sort(mailed)
			is.Equal(mailed, c.want)
			if c.want == nil {
				w.hooks.wait(t, "JobDropped namesake")
				is.Equal(w.users.Dump(), "")
			}
		})
	}
}

// A twin that may not be recovered is meant all the same: nobody else's account takes its place.
func TestExactTwinThatIsDisabled(t *testing.T) {
	w := newWorld(t, nil)
	w.put("z1", "zoe", "zoe@example.com")
	w.put("z2", "Zoe", "other@example.com", inactive)
	w.ask("Zoe")
	w.is.Equal(len(w.deliver()), 0)
	w.hooks.wait(t, "JobDropped inactive")
}

// An account with another's address, unverified, keeps nobody from being mailed, and is not mailed
// either. Of user names the exact one is meant, whatever is proven.
func TestUnverifiedNamesakes(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.put("20", "Anna", "Anna@example.com")
	w.put("21", "anna", "anna@example.com", unverified)
	for _, r := range []recovery.ResetRequest{{Username: "Anna"}, {Email: "anna@example.com"}, {Email: "ANNA@example.com"}} {
		is.NoErr(errOf(w.RequestReset(w.ctx, r)))
		mails := w.deliver()
		is.Equal(len(mails), 1)
		is.Equal(mails[0].To, "Anna@example.com")
	}
	w.ask("anna")
	is.Equal(len(w.deliver()), 0)
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

// The Store is asked for what was typed and for its canonical form, both without outer spaces.
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
	is.NoErr(errOf(svc.Deliver(w.ctx)))
	is.Equal(query, recovery.AccountQuery{By: recovery.ByUsername, Typed: "AliCe", Canonical: "alice", Max: 1001}) // one more than are mailed
}

// A looseStore finds the same accounts whoever is meant.
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

// looseMails makes a request to a Service whose Store finds the same accounts whoever is meant, and
// returns the mails.
func (w *world) looseMails(r recovery.ResetRequest, found ...recovery.Account) []recovery.Message {
	w.is.Helper()
	svc := w.service(&looseStore{Store: w.users, accounts: found}, recovery.Options{Now: w.Options().Now})
	w.is.NoErr(errOf(svc.RequestReset(w.ctx, r)))
	w.is.NoErr(errOf(svc.Deliver(w.ctx)))
	return w.mail.Messages()
}

// A Store may match more loosely than the library: S05.
func TestLooseMatchesAreCheckedAgain(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	mails := w.looseMails(recovery.ResetRequest{Username: "alice"},
		w.account("10", "álice", "alice@example.com"), w.account("11", "ａlice", "x@example.com"), w.account("12", "alice ", "z@example.com"),
		w.account("13", "alice", "z@example.com"), w.account("14", "alice\u00ad", "q@example.com"))
	is.Equal(len(mails), 1)
	is.Equal(mails[0].To, "z@example.com")
	is.Equal(len(mails[0].Resets), 1) // that of "alice" as it was typed
}

// Nobody is mailed for want of a better match.
func TestLookAlikesAreNotMailed(t *testing.T) {
	for _, username := range []string{"álice", "ａlice", "alice\u00ad", "bob"} {
		t.Run(username, func(t *testing.T) {
			w := newWorld(t, nil)
			w.is.Equal(len(w.looseMails(recovery.ResetRequest{Username: "alice"}, w.account("10", username, "alice@example.com"))), 0)
		})
	}
}

// If accounts with different mailboxes share a name, it is unknown whose it is: nobody is mailed.
func TestAccountsWithAnotherMailbox(t *testing.T) {
	w := newWorld(t, nil)
	disabled := w.account("0", "alice", "alice@example.com")
	disabled.Active = false
	w.is.Equal(len(w.looseMails(recovery.ResetRequest{Username: "alice"}, disabled,
		w.account("1", "alice", "alice@example.com"), w.account("2", "alice", "alice@EXAMPLE.com"),
		w.account("3", "alice", "Alice@example.com"), w.account("4", "alice", "other@example.com"))), 0)
	w.hooks.wait(t, "JobDropped namesake")
	w.is.Equal(w.accountsTold("JobDropped namesake"), []string{""})
}

// The Store's comparison of tenants may be loose, so it is made again.
func TestTenantsAreCheckedAgain(t *testing.T) {
	w := newWorld(t, nil)
	other := w.account("13", "alice", "alice@example.com")
	other.Tenant = "ACME"
	w.is.Equal(len(w.looseMails(recovery.ResetRequest{Username: "alice", Tenant: "acme"}, other)), 0)
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
			AccountID: "13", Tenant: "acme", RequestedAt: w.time(), Priority: w.time(),
		}, nil))
	}
	is.NoErr(errOf(svc.Deliver(w.ctx)))
	m, _ := w.mail.Last()
	is.Equal(m.To, "a@example.com")
	is.Equal(len(m.Usernames), 0)
	is.Equal(given, []recovery.Account{{ID: "13", Tenant: "acme"}})
}

// A Store that compares IDs loosely causes no mail to anybody else.
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
		is.NoErr(errOf(svc.Deliver(w.ctx)))
		if m, _ := w.mail.Last(); len(m.Resets) > 0 {
			loose.accounts[0], _ = svc.CompleteReset(w.ctx, recovery.CompleteRequest{Token: tokenOf(m), Password: goodPassword})
		}
	}
	is.Equal(len(w.mail.Messages()), 2)
	m, _ := w.mail.Last()
	is.Equal(m.Kind, recovery.MessagePasswordChanged)
	is.Equal(m.Usernames, []string{"anna"}) // the notice is about the account whose password it was
}

// A Store may find more that only look like the one that is meant than the Service asks for.
func TestTooManyFound(t *testing.T) {
	for _, c := range []struct {
		n, eligible int
		want        bool
	}{{1000, 1000, false}, {1001, 1001, true}, {2000, 2000, true}, {2000, 1000, false}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
				var alike []recovery.Account
				for i := range c.n {
					a := w.account(fmt.Sprintf("u%04d", i), "billyböb", "other@example.com")
					a.EmailVerified = i < c.eligible
					alike = append(alike, a)
				}
				is.Equal(len(w.looseMails(recovery.ResetRequest{Username: "billybob"}, alike...)), 0)
				want := []string{"JobDropped no_account", "JobDropped too_many", "JobStarted"}
				if !c.want {
					want = slices.Delete(want, 1, 2)
				}
				is.Equal(w.told(), want)
			})
		})
	}
}
