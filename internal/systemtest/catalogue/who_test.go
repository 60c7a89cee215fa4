package catalogue

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// tryRow runs the vectors of a row through every entry that takes them. A database gets the
// identifiers from the direct call only.
func tryRow(t *testing.T, row, file string) {
	t.Helper()
	about := func(k kind, e *entry) bool { return apart(k, e) && slices.ContainsFunc(vectors(t, file, row), e.takes) }
	onEntries(t, about, nil, func(s *site, e *entry) {
		s.tryAll(e, file, row)
		s.works(e)
		s.sound()
	})
}

func TestAttack_S01_ArrayOfIdentifiers(t *testing.T) { tryRow(t, "S01", "bodies") }

func TestAttack_S02_ListInOneString(t *testing.T) { tryRow(t, "S02", "identifiers") }

func TestAttack_S03_AttackersAddressBesideTheName(t *testing.T) {
	onEntries(t, apart, nil, func(s *site, e *entry) {
		s.tryAll(e, "bodies", "S03")
		if e.name == "direct" {
			for _, r := range []recovery.ResetRequest{
				{Username: "victim", Email: "attacker@evil.example"}, {Username: "attacker", Email: "victim@example.com"}, {Username: "victim", Email: "victim@example.com"}, {Username: " ", Email: "attacker@evil.example"},
			} {
				s.is.Equal(s.called(spy.Err(s.RequestReset(s.ctx, r))).outcome, malformed)
			}
			s.is.Equal(len(s.trace.calls()), 0)
		}
		s.works(e)
		s.sound()
	})
}

func TestAttack_S04_LookAlikeAddresses(t *testing.T) { tryRow(t, "S04", "identifiers") }

// The collations of the application's own columns, each of which takes some of the vectors for one
// of the accounts mike and weiss.
var loose = []struct {
	dialect       sqlstore.Dialect
	text, prepare string
}{
	{sqlstore.SQLite, "TEXT COLLATE NOCASE", ""},
	{sqlstore.SQLite, "TEXT COLLATE RTRIM", ""},
	{sqlstore.PostgreSQL, "citext", "CREATE EXTENSION citext"},
	{sqlstore.PostgreSQL, "TEXT COLLATE loose", "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"},
	{sqlstore.MySQL, "VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", ""},
	{sqlstore.MySQL, "VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci", ""},
	{sqlstore.MySQL, "VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_520_nopad_ci", ""},
	{sqlstore.MySQL, "VARCHAR(254) CHARACTER SET latin1 COLLATE latin1_swedish_ci", ""},
}

func TestAttack_S05_EqualForTheDatabase(t *testing.T) {
	run := func(s *site, e *entry) {
		s.put(eligible("11", "weiss", "weiss@example.com"))
		s.tryAll(e, "identifiers", "S05")
		s.works(e)
		s.sound()
	}
	onEntries(t, apart, nil, run)
	for _, l := range loose {
		t.Run(fmt.Sprint(l.dialect, " ", l.text), func(t *testing.T) {
			is := is.New(t)
			server := serverOf(l.dialect)
			db := server.Create(t)
			if l.prepare != "" {
				if _, err := db.Exec(l.prepare); err != nil {
					databases.Missing(t, l.prepare, err)
				}
			}
			_, err := db.Exec(fmt.Sprintf(databases.CreateUsers, databases.TextType(server.Dialect), l.text))
			is.NoErr(err)
			store := databases.StoreOn(t, server.Dialect, db, "")
			is.NoErr(store.Migrate(t.Context()))
			s := newSite(t, ground{databases.HarnessOn(server.Dialect, store, db), db, server.Dialect}, nil)
			run(s, s.direct()) // which can ask in every way
			s.isLoose()
		})
	}
}

// isLoose wants the database to take some other name for an account's, or the row would test
// nothing.
func (s *site) isLoose() {
	s.is.Helper()
	found := 0
	for _, name := range []string{"m\u00edke", "WEISS", "mike ", "wei\u00df"} {
		accounts, err := s.Store.FindAccounts(s.ctx, recovery.AccountQuery{By: recovery.ByUsername, Typed: name, Canonical: name, Max: 10})
		s.is.NoErr(err)
		found += len(accounts)
	}
	s.is.True(found > 0) // the column's collation must be a loose one
}

func TestAttack_S06_InvisibleCharacters(t *testing.T) { tryRow(t, "S06", "identifiers") }

func TestAttack_S07_Spaces(t *testing.T) { tryRow(t, "S07", "identifiers") }

func TestAttack_S08_ProviderHabits(t *testing.T) { tryRow(t, "S08", "identifiers") }

func TestAttack_S09_WhatAddressParsersUnwrap(t *testing.T) { tryRow(t, "S09", "identifiers") }

func TestAttack_S10_TooLong(t *testing.T) { tryRow(t, "S10", "identifiers") }

// An operator is refused, or is a name that nobody has, and the application's table is unchanged.
func TestAttack_S11_OperatorsAndSQL(t *testing.T) {
	about := func(k kind, e *entry) bool { return apart(k, e) || e.name == "Xandr" } // JSON, too
	onEntries(t, about, nil, func(s *site, e *entry) {
		before := s.users()
		s.tryAll(e, "identifiers", "S11")
		s.tryAll(e, "bodies", "S11")
		s.is.Equal(s.users(), before) // the accounts must be as they were
		s.works(e)
		s.sound()
	})
}

// users returns all that the application keeps of its accounts.
func (s *site) users() string {
	s.is.Helper()
	var b strings.Builder
	for id := range s.hashes {
		found, err := s.Store.FindAccounts(s.ctx, recovery.AccountQuery{By: recovery.ByID, Typed: id, Canonical: id, Max: 10})
		s.is.NoErr(err)
		for _, a := range found {
			fmt.Fprintf(&b, "%s %v %v %v\n", accountText(a), a.Active, a.HasPassword, a.EmailVerified)
		}
	}
	if s.db != nil {
		var n int
		s.is.NoErr(s.db.QueryRow("SELECT COUNT(*) FROM users").Scan(&n))
		fmt.Fprintln(&b, n)
	}
	lines := strings.SplitAfter(b.String(), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func TestAttack_S12_NameIsAnothersAddress(t *testing.T) {
	onEveryEntry(t, nil, func(s *site, e *entry) {
		for _, a := range e.asks() {
			want := "attacker@evil.example" // of the account with that name
			if a.kind == "email" {
				want = "victim@example.com"
			}
			for _, typed := range []string{"victim@example.com", " Victim@Example.COM "} {
				s.is.Equal(a.ask(typed), a.ask(unknown(a.kind, typed)))
				mails := s.deliver()
				s.is.Equal(len(mails), 1) // to the account that was meant, and no other
				s.is.Equal(mails[0].To, want)
				if a.name == "names" {
					s.is.Equal(mails[0].Usernames, []string{"victim"}) // not the name of whoever took the address for a name
					continue
				}
				s.is.Equal(e.complete(spy.Token(mails[0]), newPassword).outcome, accepted)
				s.is.Equal(s.verifies("9", newPassword), a.kind == "username")
				s.is.Equal(s.verifies("8", newPassword), a.kind == "email")
				s.deliver() // the notice
				s.put(eligible("8", "victim", "victim@example.com"))
				s.put(eligible("9", "victim@example.com", "attacker@evil.example"))
			}
			// No account has the name of an address as its address, or the other way round.
			s.is.Equal(a.ask("victim@example.com.").outcome == accepted, a.kind == "username")
			s.is.Equal(len(s.deliver()), 0)
		}
		s.works(e)
		s.sound()
	})
}

// One mail goes to the address, with a token for each of some accounts, and says how many more
// there are.
func TestAttack_S13_ManyAccountsOfOneAddress(t *testing.T) {
	const mostTokens, mostNames = 10, 50
	for _, n := range []int{0, 1, 20, 500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			about := func(k kind, e *entry) bool { return apart(k, e) && (e.byEmail != nil || e.names != nil) }
			onEntries(t, about, nil, func(s *site, e *entry) {
				const address = "shared@example.com"
				shared := []recovery.Account{{ID: "0999", Username: "sharedx", Email: address, HasPassword: true, EmailVerified: true}}
				for i := range n {
					shared = append(shared, eligible(fmt.Sprint(1000+i), fmt.Sprintf("shared%03d", i), address))
				}
				s.putAll(shared)
				for _, a := range e.asks() {
					if a.kind != "email" {
						continue
					}
					s.is.Equal(a.ask(address), a.ask(unknown(a.kind, address)))
					mails := s.deliver()
					s.is.Equal(len(mails), min(n, 1)) // to the address, however many accounts it has
					for _, m := range mails {
						s.is.Equal(m.To, address)
						if a.name == "names" {
							s.is.Equal(len(m.Usernames), min(n, mostNames))
							s.is.Equal(m.MoreNames, n-min(n, mostNames))
							s.is.True(!slices.Contains(m.Usernames, "sharedx"))
							continue
						}
						s.is.Equal(len(m.Resets), min(n, mostTokens))
						s.is.Equal(m.MoreResets, n-min(n, mostTokens))
						s.is.Equal(len(m.Usernames), 0)
						s.redeem(e, m.Resets)
						s.deliver() // the notices
					}
				}
				s.changedAreOwn(n)
			})
		})
	}
}

// redeem uses every token, each of which resets its own account only.
func (s *site) redeem(e *entry, resets []recovery.MessageReset) {
	s.is.Helper()
	for _, r := range resets {
		id := "1" + strings.TrimPrefix(r.Username, "shared")
		before := s.stored()
		s.is.Equal(before[id], quickHash(oldPassword)) // no account has two tokens
		s.is.Equal(e.complete(r.Token.Reveal(), newPassword).outcome, accepted)
		before[id] = quickHash(newPassword)
		s.is.True(maps.Equal(s.stored(), before)) // this account's password and no other's
	}
}

// changedAreOwn ends the row: only accounts of the address have the new password.
func (s *site) changedAreOwn(n int) {
	s.is.Helper()
	var own []string
	for i := range n {
		own = append(own, fmt.Sprint(1000+i))
	}
	s.sound(own...)
}

func TestAttack_S14_AccountsThatMayNotBeRecovered(t *testing.T) {
	onEntries(t, apart, nil, func(s *site, e *entry) {
		before := s.users()
		for _, a := range e.asks() {
			for _, name := range []string{"mallory", "unproven"} {
				if a.kind == "email" {
					name += "@example.com"
				}
				s.trace.calls()
				s.is.Equal(a.ask(name), a.ask(unknown(a.kind, name)))
				s.trace.calls()
				s.is.Equal(len(s.deliver()), 0)
				s.is.True(!slices.Contains(s.trace.calls(), "CreateResets")) // no token is made
			}
		}
		s.is.Equal(s.users(), before) // no status is written
		s.works(e)
		// A token from before the account was disabled is dead, and does not enable the account.
		for i, unfit := range []func(*recovery.Account){
			func(a *recovery.Account) { a.Active = false },
			func(a *recovery.Account) { a.HasPassword = false },
			func(a *recovery.Account) { a.EmailVerified = false },
		} {
			s.put(eligible("8", "victim", "victim@example.com"))
			token := s.token("victim")
			a := eligible("8", "victim", "victim@example.com")
			unfit(&a)
			s.put(a)
			before := s.users()
			if got := e.complete(token, newPassword); got != e.complete(noToken, newPassword) {
				s.t.Errorf("%d: %s", i, got.text)
			}
			s.is.Equal(s.users(), before)
		}
		s.sound()
	})
}

// resets returns how many tokens and codes are stored.
func (s *site) resets() int {
	s.is.Helper()
	dump, err := s.Dump()
	s.is.NoErr(err)
	return strings.Count("\n"+dump, "\nreset ") + strings.Count("\n"+dump, "\nrecovery_resets ")
}

// An account without a password here gets a mail that says where to log in, and no token. The
// caller sees no difference.
func TestAttack_S14_AccountsWithoutAPassword(t *testing.T) {
	onEntries(t, apart, nil, func(s *site, e *entry) {
		before := s.users()
		for _, a := range e.asks() {
			s.is.Equal(a.ask(a.of("federate")), a.ask(unknown(a.kind, a.of("federate"))))
			mails := s.deliver()
			s.is.Equal(len(mails), 1)
			s.is.Equal(mails[0].Kind, recovery.MessageSignIn)
			s.is.Equal(mails[0].To, "federate@example.com")
			s.is.Equal(mails[0].SignIns, []recovery.SignIn{{Username: "federate", Provider: "Google"}})
			s.is.Equal(len(mails[0].Resets), 0)
			s.is.Equal(s.resets(), 0)
		}
		s.is.Equal(s.users(), before) // nothing is written to the account
		// Of the accounts of an address, those with a password get tokens, and only those.
		alfred := recovery.Account{ID: "11", Username: "alfred", Email: "alice@example.com", Active: true, EmailVerified: true, SignIn: "Okta"}
		s.put(alfred)
		if e.byEmail != nil {
			e.byEmail("alice@example.com")
			mails := s.deliver()
			s.is.Equal(len(mails), 1)
			s.is.Equal(len(mails[0].Resets), 2)
			s.is.Equal(mails[0].SignIns, []recovery.SignIn{{Username: "alfred", Provider: "Okta"}})
			for _, r := range mails[0].Resets {
				s.is.Equal(e.complete(r.Token.Reveal(), newPassword).outcome, accepted)
			}
			s.deliver() // the notices
		}
		// An account that may not log in, or whose address was not verified, gets no mail.
		for _, unfit := range []func(*recovery.Account){
			func(a *recovery.Account) { a.Active = false },
			func(a *recovery.Account) { a.EmailVerified = false },
		} {
			a := alfred
			a.Email = "alfred@example.com"
			unfit(&a)
			s.put(a)
			for _, ask := range e.asks() {
				s.is.Equal(ask.ask(ask.of("alfred")).outcome, accepted)
			}
			s.is.Equal(len(s.deliver()), 0)
		}
		if e.byEmail != nil {
			s.sound("1", "2")
		} else {
			s.sound()
		}
	})
}

func TestAttack_S14_NoSignInMail(t *testing.T) {
	silent := func(_ *site, o *recovery.Options) { o.NoSignInMail = true }
	onEntries(t, apart, silent, func(s *site, e *entry) {
		for _, a := range e.asks() {
			s.is.Equal(a.ask(a.of("federate")), a.ask(unknown(a.kind, a.of("federate"))))
			s.is.Equal(len(s.deliver()), 0)
		}
		s.is.Equal(s.ended("JobDropped no_password "), len(e.asks()))
		s.sound()
	})
}
