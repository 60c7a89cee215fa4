package catalogue

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// generous makes limits counted, so that they are in the tables, but never reached.
func generous(_ *site, o *recovery.Options) {
	often := recovery.Limit{Burst: 1_000_000, Every: time.Microsecond}
	o.Limits = recovery.Limits{
		PerClient: often, Global: often, CompletePerClient: often,
		PerAccount: often, PerRequester: often, PerMailbox: often, UsernamesPerMailbox: often,
	}
}

func TestAttack_S20_EverythingStoredIsTriedAsAToken(t *testing.T) {
	everywhere(t, generous, func(s *site) {
		direct := s.direct()
		live := s.token("billybob")
		used := s.token("victim")
		s.token("mike")
		s.advance(time.Minute)
		s.token("mike") // the first is superseded
		s.is.Equal(direct.complete(used, newPassword).outcome, accepted)
		direct.byName("attacker")
		direct.names("alice@example.com") // these wait, as the notice does
		type candidate struct {
			vector
			text string
		}
		var candidates []candidate
		stored, leak := s.values(), finder(s.secrets)
		for _, value := range stored {
			s.is.Equal(leak(value), "") // neither a token nor a part of one
			for _, v := range vectors(s.t, "tokens", "S20") {
				if text, ok := written(v.Value, value); ok {
					candidates = append(candidates, candidate{v, text})
				}
			}
		}
		s.is.True(len(stored) > 30 && len(candidates) > 500)
		formed := 0
		for i, c := range candidates {
			_, err := s.CompleteReset(s.ctx, recovery.CompleteRequest{Token: c.text, Password: newPassword})
			s.is.Equal(s.called(err).outcome, badToken)
			c.tried()
			if _, err := recovery.ParseToken(c.text); err == nil {
				formed++
			}
			if i%10 == 0 {
				e := s.entry(entryNames[i/10%len(entryNames)])
				s.is.True(e.complete(c.text, newPassword).refused())
			}
		}
		s.is.True(formed > len(stored)) // most were well-formed
		s.sound("8")
		for _, file := range s.files() {
			content, err := os.ReadFile(file)
			s.is.NoErr(err)
			s.is.Equal(finder([]string{live, used})(string(content)), "")
		}
		s.lives(direct, "3", live)
	})
}

// files are those of the database, where it is one that the test can read.
func (s *site) files() []string {
	s.is.Helper()
	var path string
	if s.db == nil || s.db.QueryRowContext(s.ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&path) != nil {
		return nil
	}
	return []string{path, path + "-wal"}
}

func TestAttack_S21_Reuse(t *testing.T) {
	throughEach(t, nil, func(s *site, e *entry) {
		token := s.again(billybob)
		s.lives(e, "3", token)
		for _, name := range append([]string{e.name}, entryNames...) { // the same way, and every other
			other := s.entry(name)
			s.dies(other, token)
			s.is.True(other.complete(token, oldPassword).refused())
			if other.completeAs != nil {
				s.is.Equal(other.completeAs("billybob", token, newPassword).outcome, badToken)
			}
		}
		s.advance(-time.Hour)
		s.dies(e, token) // the clock went back to before it was used
		s.advance(time.Hour)
		s.is.Equal(len(s.deliver()), 1) // one notice
		again := s.token("billybob")
		s.dies(e, token) // another token does not revive it
		s.lives(e, "3", again)
		s.put(billybob)
		s.dies(e, token)            // nor does the password that it was made for
		s.advance(30 * time.Minute) // expired tokens are purged
		s.deliver()
		s.advance(17 * time.Hour)
		s.deliver()
		s.dies(e, token)
		s.is.True(s.verifies("3", oldPassword))
		s.sound("3")
	})
}

func TestAttack_S22_OlderTokenAfterANewerMail(t *testing.T) {
	throughEach(t, nil, func(s *site, e *entry) {
		older := s.again(billybob)
		s.advance(time.Second)
		newer := s.token("billybob")
		s.dies(e, older)
		s.advance(-e.life() / 4)
		s.dies(e, older)
		s.advance(e.life() / 4)
		s.lives(e, "3", newer)
		s.dies(e, older)
		s.sound("3")
	})
}

// A mail that somebody else asked for supersedes no token. A client of another network is somebody
// else.
func TestAttack_S22_NewerMailForAnotherNetwork(t *testing.T) {
	throughEach(t, nil, func(s *site, e *entry) {
		own := s.client
		older := s.again(billybob)
		for _, other := range []string{"198.51.100.7", "192.0.2.2", "2001:db8:1::1", "2001:db8:2::1", "64:ff9b::c000:202"} {
			s.client = netip.MustParseAddr(other)
			s.advance(time.Minute)
			s.token("billybob")
			_, _, err := s.Store.FindReset(s.ctx, digest(s.t, older), s.clock())
			s.is.NoErr(err) // it is alive
		}
		own, s.client = s.client, own
		s.is.Equal(e.byName("billybob").outcome, accepted)
		waits := s.trace.added()
		own, s.client = s.client, own
		s.advance(time.Minute)
		s.is.Equal(e.byName("billybob").outcome, accepted)
		_, err := s.DeliverJob(s.ctx, s.trace.added())
		s.is.NoErr(err)
		mails := s.deliver() // what waited is mailed, though the mail for the other network overtook it
		s.is.Equal(len(mails), 1)
		s.is.Equal(mails[0].ID, waits)
		older = spy.Token(mails[0])
		s.advance(time.Minute)
		theirs := s.token("billybob")
		s.client = own
		s.advance(time.Minute)
		newer := s.token("billybob")
		s.dies(e, older) // by the mail for its own network
		s.client = netip.MustParseAddr("2001:db8:1:2:3::4")
		s.advance(time.Minute)
		s.token("billybob")
		s.client = own
		_, _, err = s.Store.FindReset(s.ctx, digest(s.t, theirs), s.clock())
		s.is.NoErr(err)
		s.lives(e, "3", newer)
		s.dies(e, theirs) // one that was used voids them all
		s.sound("3")
	})
}

// A request that never became a mail supersedes no token.
func TestAttack_S22_NewerRequestThatIsNotMailed(t *testing.T) {
	down := errors.New("connection refused")
	limits := func(s *site, o *recovery.Options) {
		generous(s, o)
		o.Limits.PerAccount = recovery.Limit{Burst: 1, Every: 24 * time.Hour}
	}
	n := rand.IntN(len(entryNames)) // each case takes an entry
	for what, newer := range map[string]struct {
		with func(*site, *recovery.Options)
		ask  func(s *site, e *entry)
	}{
		"it waits": {nil, func(s *site, e *entry) { e.byName("billybob") }},
		"it failed": {nil, func(s *site, e *entry) {
			s.mail.Fail(func(recovery.Message) error { return down })
			e.byName("billybob")
			s.deliver()
		}},
		"it failed for good": {nil, func(s *site, e *entry) {
			s.mail.Fail(func(recovery.Message) error { return fmt.Errorf("550: %w", recovery.ErrPermanent) })
			e.byName("billybob")
			s.deliver()
		}},
		"it aged out": {nil, func(s *site, e *entry) {
			s.mail.Fail(func(recovery.Message) error { return down })
			e.byName("billybob")
			for range 4 {
				s.deliver()
				s.advance(20 * time.Minute)
			}
		}},
		"it was throttled":          {limits, func(s *site, e *entry) { e.byName("billybob"); s.deliver() }},
		"it was for another's name": {nil, func(s *site, e *entry) { e.byName("victim"); s.deliver() }},
		"it was for the user names": {nil, func(s *site, e *entry) {
			s.direct().names("billybob@example.com")
			s.deliver()
		}},
		"it was malformed": {nil, func(s *site, e *entry) { e.byName("billybob\u200b"); s.deliver() }},
	} {
		n++
		name := entryNames[n%len(entryNames)]
		t.Run(what, func(t *testing.T) {
			everywhere(t, newer.with, func(s *site) {
				e := s.entry(name)
				older := s.token("billybob")
				s.advance(time.Minute)
				newer.ask(s, e)
				s.lives(e, "3", older)
				s.mail.Fail(nil)
				s.sound("3")
			})
		})
	}
}

// The tokens of one request's retries are all valid, until one is used.
func TestAttack_S22_RetriesOfOneRequest(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		var tried []string
		s.mail.Fail(func(m recovery.Message) error {
			tried = append(tried, spy.Token(m))
			return fmt.Errorf("too slow: %w", recovery.ErrUncertain)
		})
		s.direct().byName("billybob")
		s.deliver()
		s.advance(25 * time.Minute)
		s.deliver()
		s.is.Equal(len(tried), 2)
		for _, token := range tried {
			s.secret(token)
			_, _, err := s.Store.FindReset(s.ctx, digest(s.t, token), s.clock())
			s.is.NoErr(err)
		}
		s.lives(s.direct(), "3", tried[0])
		s.dies(s.direct(), tried[1])
		s.mail.Fail(nil)
		s.sound("3")
	})
}

func TestAttack_S23_Expiry(t *testing.T) {
	row := func(s *site) {
		for i, v := range s.vectors("tokens", "S23") {
			e := s.entry(entryNames[i%len(entryNames)])
			token := s.again(billybob)
			var total time.Duration
			for _, step := range strings.Fields(v.Value) {
				d, err := time.ParseDuration(step)
				s.is.NoErr(err)
				s.advance(d)
				total += d
				s.is.Equal(e.complete(noToken, newPassword).outcome, badToken) // other calls come meanwhile
			}
			got := e.complete(token, newPassword)
			s.meets(v, e, got)
			s.is.Equal(s.verifies("3", newPassword), v.Want == accepted)
			s.advance(-total)
		}
		s.sound("3")
	}
	everywhere(t, nil, row)
	for _, k := range oddSessions {
		t.Run(k.name, func(t *testing.T) { row(newSite(t, k.empty(t), nil)) })
	}
	t.Run("the application's clock has a zone", func(t *testing.T) {
		everywhere(t, nil, func(s *site) {
			s.now = s.now.In(time.FixedZone("odd", 13*3600+45*60+1))
			row(s)
		})
	})
}

// A token is checked again when the password is set, so changes during hashing count.
func TestAttack_S23_ExpiryWhileHashing(t *testing.T) {
	slow := func(s *site, o *recovery.Options) {
		o.Hasher.Hash = func(password string) (string, error) {
			s.advance(time.Microsecond)
			return quickHash(password), nil
		}
	}
	throughEach(t, slow, func(s *site, e *entry) {
		token := s.again(billybob)
		s.advance(e.life() - time.Microsecond)
		s.dies(e, token)
		s.advance(time.Hour - e.life())
		s.sound()
	})
}

func TestAttack_S24_PasswordChangedElsewhere(t *testing.T) {
	throughEach(t, nil, func(s *site, e *entry) {
		token := s.again(billybob)
		s.is.NoErr(s.Put(billybob, s.hashes["3"]))
		_, _, err := s.Store.FindReset(s.ctx, digest(s.t, token), s.clock())
		s.is.NoErr(err) // nothing was changed
		for _, hash := range []string{quickHash("chosen elsewhere"), s.hashes["3"] + " ", strings.ToUpper(s.hashes["3"]), s.hashes["3"][1:], "-"} {
			s.is.NoErr(s.Put(billybob, hash))
			s.dies(e, token)
			got, err := s.PasswordHash("3")
			s.is.NoErr(err)
			s.is.Equal(got, hash) // as the application set it
		}
		s.is.NoErr(s.Put(billybob, s.hashes["3"]))
		s.sound()
	})
}

func TestAttack_S24_PasswordChangedWhileHashing(t *testing.T) {
	change := func(s *site, o *recovery.Options) {
		o.Hasher.Hash = func(password string) (string, error) {
			s.is.NoErr(s.Put(billybob, quickHash("chosen elsewhere")))
			return quickHash(password), nil
		}
	}
	throughEach(t, change, func(s *site, e *entry) {
		s.dies(e, s.again(billybob))
		s.is.True(s.verifies("3", "chosen elsewhere"))
		s.sound("3")
	})
}

func TestAttack_S25_AddressChanged(t *testing.T) {
	throughEach(t, nil, func(s *site, e *entry) {
		token := s.again(billybob)
		for _, address := range []string{"new@example.com", "Billybob@example.com", "billybob@example.org", "billybob@example.com ", ""} {
			s.put(eligible("3", "billybob", address))
			s.dies(e, token)
		}
		s.put(billybob)
		s.is.Equal(len(s.deliver()), 0)
		s.sound()
	})
}

// A mail that was not sent before the address changed does not go to the address that was typed.
func TestAttack_S25_QueuedMail(t *testing.T) {
	moved := eligible("3", "billybob", "new@example.com")
	everywhere(t, nil, func(s *site) {
		e := s.direct()
		e.byEmail("billybob@example.com")
		e.names("billybob@example.com")
		s.put(moved)
		s.is.Equal(len(s.deliver()), 0) // the account has another address now

		e.byName("billybob")
		mails := s.deliver()
		s.is.Equal(len(mails), 1)
		s.is.Equal(mails[0].To, "new@example.com") // the stored one, as ever

		s.put(billybob)
		var tried []string
		s.mail.Fail(func(m recovery.Message) error {
			tried = append(tried, spy.Token(m))
			return errors.New("connection refused")
		})
		e.byEmail("billybob@example.com")
		s.deliver()
		s.mail.Fail(nil)
		s.put(moved)
		s.advance(10 * time.Minute)
		s.is.Equal(len(s.deliver()), 0) // nor is it tried again
		s.is.True(len(tried) > 0)
		for _, token := range tried {
			s.secret(token)
			s.dies(e, token)
		}
		s.put(billybob)
		s.sound()
	})
}

// The mail of an address with many accounts is made anew at each try, from the accounts as they are
// then.
func TestAttack_S25_QueuedMailOfManyAccounts(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		s.mail.Fail(func(recovery.Message) error { return errors.New("connection refused") })
		s.direct().byEmail("alice@example.com")
		s.deliver()
		s.put(eligible("1", "alice", "alice@example.org"))
		s.mail.Fail(nil)
		s.advance(10 * time.Minute)
		mails := s.deliver()
		s.is.Equal(len(mails), 1)
		s.is.Equal(len(mails[0].Resets), 1)
		s.is.Equal(mails[0].Resets[0].Username, "alicia") // whose address it still is
		s.sound()
	})
}

func TestAttack_S26_AnotherUsersName(t *testing.T) {
	named := func(_ kind, e *entry) bool { return e.completeAs != nil } // the format has a place for a name
	onEntries(t, named, nil, func(s *site, e *entry) {
		for i, v := range s.vectors("tokens", "S26") {
			if s.db != nil && (i%2 == 0) != (e.name == "direct") {
				continue // a database sees each through one of the two
			}
			token := s.again(billybob)
			got := e.completeAs(v.Value, token, newPassword)
			s.meets(v, e, got)
			if got.outcome == badToken {
				s.is.Equal(got, e.completeAs(v.Value, noToken, newPassword)) // the same as for no token
			}
			s.is.Equal(s.verifies("3", newPassword), v.Want == accepted)
			if v.Want != accepted {
				s.lives(e, "3", token)
			}
		}
		s.sound("3")
	})
}
