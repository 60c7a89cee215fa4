package catalogue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// late makes a method fail after its call has taken effect, as when a connection is cut in a
// COMMIT.
func late(store recovery.Store, failing string, cut error) recovery.Store {
	return spy.On(store, func(ctx context.Context, method string, _ any, call func(context.Context) error) error {
		if err := call(ctx); err != nil || method != failing {
			return err
		}
		return cut
	})
}

// The state after all retries failed: the caller is told to come back, and no more, and the token
// lives. Package sqlstore has the tests of the retries.
func TestAttack_S45_DatabaseFails(t *testing.T) {
	onEntries(t, apart, generous, func(s *site, e *entry) {
		token := s.token("billybob")
		told := map[string]answer{} // by call
		for i, v := range s.vectors("races", "S45") {
			if !s.turn(e, i) {
				continue
			}
			text, ok := written(v.Value, token)
			s.is.True(ok)
			for _, method := range []string{"TakeLimits", "FindReset", "Redeem", "Enqueue"} {
				call, got := "complete", answer{}
				if method == "Enqueue" { // which knows neither token nor password
					call, text = "reset", strings.NewReplacer("{}", "billybob", newPassword, "").Replace(v.Value)
				}
				s.trace.fail(failOn(method, errors.New(text)))
				if call == "reset" {
					got = e.byName("billybob")
				} else {
					got = e.complete(token, newPassword)
				}
				s.trace.fail(nil)
				s.meets(v, e, got)
				s.is.True(s.verifies("3", oldPassword))
				if e.name == "direct" { // whose caller gets the error, for its log
					continue
				}
				s.is.True(strings.Contains(got.text, "\nRetry-After: 1\n"))
				if told[call] == (answer{}) {
					told[call] = got
				}
				s.is.Equal(got, told[call]) // the answer does not say what failed
			}
		}
		s.lives(e, "3", token)
		s.sound("3")
	})
}

// A caller who was told of a failure, although the reset was done, finds the token used and the
// password changed.
func TestAttack_S45_DatabaseFailsAfterTheEffect(t *testing.T) {
	cut := errors.New("read tcp 127.0.0.1:5432: connection reset by peer")
	throughEach(t, generous, func(s *site, e *entry) {
		s.put(billybob)
		s.advance(time.Second) // one client's mails to one mailbox are at most two at an instant
		s.trace.Store.Store = late(s.Store, "Enqueue", cut)
		s.is.Equal(e.byName("billybob").outcome, unavailable)
		s.trace.Store.Store = s.Store
		mails := s.deliver()
		s.is.Equal(len(mails), 1) // what was stored is mailed
		token := spy.Token(mails[0])
		if e.name == "code" { // the mail had one, but the caller got no ticket
			s.advance(time.Second)
			token = s.again(billybob)
		}
		s.trace.Store.Store = late(s.Store, "Redeem", cut)
		s.is.Equal(e.complete(token, newPassword).outcome, unavailable)
		s.trace.Store.Store = s.Store
		s.is.True(s.verifies("3", newPassword))
		s.dies(e, token)
		s.is.Equal(len(s.deliver()), 1) // and the notice comes
		s.sound("3")
	})
}

// The worker meets the same faults at each of its calls, and the mail comes all the same.
func TestAttack_S45_DatabaseFailsTheWorker(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		for _, method := range []string{"FindAccounts", "CreateResets", "Claim", "Purge"} {
			for _, v := range vectors(s.t, "races", "S45")[:4] {
				s.put(billybob)
				s.direct().byName("billybob")
				var failed atomic.Bool
				s.trace.fail(func(m string) error {
					if m == method && failed.CompareAndSwap(false, true) {
						return errors.New(v.Value)
					}
					return nil
				})
				before := len(s.mail.Messages())
				_, err := s.Deliver(s.ctx)
				s.is.Equal(err != nil, method == "Claim")
				s.advance(20 * time.Minute)
				s.deliver()
				s.trace.fail(nil)
				mails := s.mail.Messages()[before:]
				s.is.Equal(len(mails), 1)
				s.lives(s.direct(), "3", spy.Token(mails[0]))
				s.deliver()
			}
		}
		s.sound("3")
	})
}

// befalls changes billybob's account as a vector says.
func (s *site) befalls(what string) {
	s.is.Helper()
	a := billybob
	for what := range strings.SplitSeq(what, ", ") {
		switch what {
		case "inactive":
			a.Active = false
		case "no password":
			a.HasPassword = false
		case "unverified":
			a.EmailVerified = false
		case "restored":
			s.is.NoErr(s.Put(a, s.hashes["3"]))
			a = billybob
		case "renamed":
			a.Username = "bobby"
		case "spoken to in Japanese":
			a.Locale = "ja"
		case "moved":
			a.Email = "merged@example.com"
		case "removed":
			s.is.NoErr(s.Remove("3"))
			continue
		case "taken":
			s.put(eligible("99", "billybob", "other@example.com"))
			continue
		case "copied":
			s.put(eligible("99", "billybob", "billybob@example.com"))
			continue
		default:
			s.t.Fatalf("%q is no known change of an account", what)
		}
		s.is.NoErr(s.Put(a, s.hashes["3"]))
	}
}

func TestAttack_S46_AccountEnds(t *testing.T) {
	throughEach(t, nil, func(s *site, e *entry) {
		for _, v := range s.vectors("races", "S46") {
			s.is.NoErr(s.Remove("99"))
			delete(s.hashes, "99")
			token := s.again(billybob)
			s.advance(time.Minute)
			s.befalls(v.Value)
			if v.Want == accepted {
				s.lives(e, "3", token)
			} else {
				s.dies(e, token)
			}
			s.is.Equal(len(s.deliver()) == 1, v.Want == accepted) // the notice, or nothing
		}
		s.put(billybob)
		s.sound("3")
	})
}

// The account ends between the request and its mail.
func TestAttack_S46_AccountEndsBeforeTheMail(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		for i, v := range s.vectors("races", "S46") {
			s.is.NoErr(s.Put(billybob, s.hashes["3"]))
			s.is.NoErr(s.Remove("99"))
			delete(s.hashes, "99")
			e := s.entry(entryNames[i%len(entryNames)])
			s.is.Equal(e.byName("billybob").outcome, accepted)
			s.befalls(v.Value)
			for _, m := range s.deliver() { // to whoever has the name now, at the stored address
				if m.Kind == recovery.MessageSignIn { // no token
					s.is.True(strings.Contains(v.Value, "no password") && m.To == "billybob@example.com")
					continue
				}
				s.is.True(strings.Contains(v.Value, "taken") && m.To == "other@example.com" ||
					strings.Contains(v.Value, "moved") && m.To == "merged@example.com" ||
					(v.Want == accepted && v.Value != "renamed" || strings.Contains(v.Value, "copied")) && m.To == "billybob@example.com")
			}
		}
		s.is.NoErr(s.Put(billybob, s.hashes["3"]))
		s.sound()
	})
}

// No worker runs for so long, while a full queue waits.
func TestAttack_S47_NoWorker(t *testing.T) {
	const waiting = 10
	everywhere(t, nil, func(s *site) {
		for i := range waiting {
			s.put(eligible(fmt.Sprint(100+i), fmt.Sprintf("reader%02d", i), fmt.Sprintf("reader%02d@example.com", i)))
		}
		for _, v := range s.vectors("races", "S47") {
			idle, err := time.ParseDuration(v.Value)
			s.is.NoErr(err)
			token := s.again(billybob)
			s.lives(s.direct(), "3", token) // its notice waits
			for i := range waiting {
				name := fmt.Sprintf("reader%02d", i)
				s.is.Equal(s.entry(entryNames[i%len(entryNames)]).byName(name).outcome, accepted)
			}
			s.direct().names("victim@example.com")
			s.advance(idle)
			dropped := s.ended("JobDropped too_old ")
			to := map[recovery.MessageKind]int{}
			for _, m := range s.deliver() {
				to[m.Kind]++
			}
			dropped = s.ended("JobDropped too_old ") - dropped
			s.is.Equal(to[recovery.MessagePasswordChanged], 1) // the notice is sent, however late
			if v.Want == "mailed" {
				s.is.Equal([]int{to[recovery.MessageResetToken] + to[recovery.MessageResetLink], to[recovery.MessageUsernames], dropped}, []int{waiting, 1, 0})
			} else {
				s.is.Equal([]int{to[recovery.MessageResetToken] + to[recovery.MessageResetLink], to[recovery.MessageUsernames], dropped}, []int{0, 0, waiting + 1})
			}
			dump, err := s.Dump()
			s.is.NoErr(err)
			s.is.True(!strings.Contains(dump, "reader")) // nothing waits on, and no name is kept
		}
		s.sound("3")
	})
}

// The mail server is down for so long, and the worker goes on trying.
func TestAttack_S48_NoMailServer(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		for _, v := range s.vectors("races", "S48") {
			down, err := time.ParseDuration(v.Value)
			s.is.NoErr(err)
			token := s.again(billybob)
			s.lives(s.direct(), "3", token) // its notice waits
			s.mail.Fail(func(m recovery.Message) error {
				s.mailed(m)
				return fmt.Errorf("connection refused for %s with %s", m.To, spy.Token(m)+" "+codeOf(m))
			})
			s.direct().byName("attacker")
			s.entry("portal").names("alice@example.com")
			sent := len(s.mail.Messages())
			step := max(20*time.Minute, down/24)
			for range down / step {
				s.advance(step)
				_, err := s.Deliver(s.ctx)
				s.is.NoErr(err)
			}
			s.is.Equal(len(s.mail.Messages()), sent) // nothing got through
			s.mail.Fail(nil)
			s.advance(20 * time.Minute)
			mails := s.deliver()
			s.is.Equal(len(mails), 1)
			s.is.Equal(mails[0].Kind, recovery.MessagePasswordChanged) // the notice, once; requests aged out
			s.is.Equal(mails[0].To, "billybob@example.com")
			s.advance(24 * time.Hour)
			s.is.Equal(len(s.deliver()), 0) // nothing is left
		}
		s.is.Equal(s.ended("JobFailed ")+s.ended("JobDropped too_old "), 2*3) // each request with an event
		s.sound("3")
	})
}
