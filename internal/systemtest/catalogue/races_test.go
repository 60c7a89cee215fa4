package catalogue

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// 64 completions of one token, and of the code of its mail, come at once, through all entries. What
// a database does at each of its isolation levels, and two processes on one file, is tried in
// internal/systemtest/dbtest.
func TestAttack_S40_OneWinner(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		entries := []*entry{s.byCode()}
		for _, name := range entryNames {
			entries = append(entries, s.entry(name))
		}
		for range 3 {
			token := s.again(billybob)
			password := func(i int) string { return fmt.Sprintf("Tomorrow#s-Vortex-%d", i) }
			winner := -1
			for i, got := range spy.Together(64, func(i int) answer { return entries[i%len(entries)].complete(token, password(i)) }) {
				switch way := i % len(entries); {
				case got.outcome == accepted:
					s.is.Equal(winner, -1) // there is one winner
					winner = i
				case way == 0 && got.outcome == limited: // of a code that is void five are looked up
				default:
					s.is.Equal(got, entries[way].complete(noToken, newPassword)) // the others learn nothing
				}
			}
			s.is.True(winner >= 0)
			s.is.True(s.verifies("3", password(winner))) // the stored password is the winner's
			notices := s.deliver()
			s.is.Equal(len(notices), 1)
			s.is.Equal(notices[0].Kind, recovery.MessagePasswordChanged)
		}
		s.sound("3")
	})
}

// Different tokens of one account, of one request's retries, race: the first that is used voids the
// others.
func TestAttack_S40_TokensOfOneRequest(t *testing.T) {
	patient := func(_ *site, o *recovery.Options) { o.MaxRequestAge = 24 * time.Hour }
	everywhere(t, patient, func(s *site) {
		var tokens []string
		s.mail.Fail(func(m recovery.Message) error { // so that the tokens stay alive
			tokens = append(tokens, spy.Token(m))
			return recovery.ErrUncertain
		})
		s.direct().byName("billybob")
		for range 8 {
			s.deliver()
			s.advance(20 * time.Minute)
		}
		s.mail.Fail(nil)
		s.is.True(len(tokens) == 8)
		winners := 0
		for _, got := range spy.Together(64, func(i int) answer { return s.direct().complete(tokens[i%8], newPassword) }) {
			if got.outcome == accepted {
				winners++
			} else {
				s.is.Equal(got.outcome, badToken)
			}
		}
		s.is.Equal(winners, 1)
		for _, token := range tokens {
			s.secret(token)
			s.dies(s.direct(), token)
		}
		s.sound("3")
	})
}

// A request is made and mailed while an older token is used. One of them comes first.
func TestAttack_S41_RequestRacesCompletion(t *testing.T) {
	everywhere(t, nil, func(s *site) {
		for i := range 12 {
			e := s.entry(entryNames[i%len(entryNames)])
			older := s.again(billybob)
			s.advance(time.Second)
			before := len(s.mail.Messages())
			answers := spy.Together(2, func(j int) answer {
				if j == 0 {
					return e.complete(older, newPassword)
				}
				asked := e.byName("billybob")
				_, err := s.Deliver(s.ctx)
				return answer{asked.outcome, errorText(err)}
			})
			s.is.Equal(answers[1], answer{accepted, ""})
			s.deliver()
			var newer string
			notices := 0
			for _, m := range s.mail.Messages()[before:] {
				switch m.Kind {
				case recovery.MessagePasswordChanged:
					notices++
				default:
					newer = spy.Token(m)
				}
			}
			s.secret(newer)
			s.is.True(newer != "") // the request is mailed in either order
			completed := answers[0].outcome == accepted
			s.is.Equal(s.verifies("3", newPassword), completed)
			s.is.Equal(notices == 1, completed) // changed with a notice, or neither
			s.dies(e, older)                    // used, or superseded
			got := e.complete(newer, "Another#s-Quarry8")
			// Made before the older one was used, it went with it. Made after, or instead, it works.
			s.is.True(got.outcome == accepted || completed && got.outcome == badToken)
			s.is.Equal(s.verifies("3", "Another#s-Quarry8"), got.outcome == accepted)
		}
		s.secret("Another#s-Quarry8")
		s.sound("3")
	})
}

const atOnce = 500 // requests

// deliverTogether empties the queue with several workers at once, and returns the mails by the age
// of their requests.
func (s *site) deliverTogether() []recovery.Message {
	s.is.Helper()
	before := len(s.mail.Messages())
	for _, got := range spy.Together(4, func(int) answer {
		_, err := s.Deliver(s.ctx)
		return answer{text: errorText(err)}
	}) {
		s.is.Equal(got.text, "")
	}
	mails := s.mail.Messages()[before:]
	slices.SortFunc(mails, func(a, b recovery.Message) int { return strings.Compare(a.ID, b.ID) })
	for _, m := range mails {
		s.mailed(m)
	}
	return mails
}

// ended returns how many jobs were not mailed, for a reason.
func (s *site) ended(what string) int {
	s.is.Helper()
	s.flush()
	return strings.Count("\n"+s.events.String(), "\n"+what)
}

// One client asks through every entry for an account that it may have mailed once.
func TestAttack_S42_FiveHundredRequestsAtOnce(t *testing.T) {
	limits := func(s *site, o *recovery.Options) {
		generous(s, o)
		o.Limits.PerAccount = recovery.Limit{Burst: 1, Every: time.Hour}
		o.Workers = 8
	}
	everywhere(t, limits, func(s *site) {
		var entries []*entry
		for _, name := range entryNames {
			entries = append(entries, s.entry(name))
		}
		spellings := []string{"billybob", "BILLYBOB", " billybob ", "BillyBob"}
		answers := spy.Together(atOnce, func(i int) answer { return entries[i%len(entries)].byName(spellings[i%len(spellings)]) })
		for i, got := range answers {
			s.is.Equal(got, answers[i%len(entries)]) // all are answered alike
			s.is.Equal(got.outcome, accepted)
		}
		mails := s.deliverTogether()
		s.is.Equal(len(mails), 1)
		s.is.Equal(len(mails)+s.ended("JobThrottled ")+s.ended("JobDropped superseded "), atOnce)
		s.lives(s.direct(), "3", spy.Token(mails[len(mails)-1]))
		s.sound("3")
	})
}

// As many clients ask for one mailbox, by two names and the address, and for the names. None
// supersedes another's mail, so only the limit bounds the mails.
func TestAttack_S42_FiveHundredClientsAtOnce(t *testing.T) {
	limits := func(s *site, o *recovery.Options) {
		generous(s, o)
		o.Limits.PerMailbox = recovery.Limit{Burst: 3, Every: time.Hour}
		o.Limits.UsernamesPerMailbox = recovery.Limit{Burst: 1, Every: time.Hour}
		o.Workers = 8
	}
	everywhere(t, limits, func(s *site) {
		for _, got := range spy.Together(atOnce, func(i int) answer {
			client := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
			switch i % 4 {
			case 0:
				return s.called(spy.Err(s.RequestReset(s.ctx, recovery.ResetRequest{Username: "alice", Client: client})))
			case 1:
				return s.called(spy.Err(s.RequestReset(s.ctx, recovery.ResetRequest{Username: "alicia", Client: client})))
			case 2:
				return s.called(spy.Err(s.RequestReset(s.ctx, recovery.ResetRequest{Email: "alice@example.com", Client: client})))
			}
			return s.called(spy.Err(s.RetrieveUsername(s.ctx, recovery.UsernameRequest{Email: "alice@example.com", Client: client})))
		}) {
			s.is.Equal(got.outcome, accepted)
		}
		mails := s.deliverTogether()
		s.is.Equal(len(mails), 4) // as the limits say
		s.is.Equal(usernameMails(mails), 1)
		s.is.Equal(s.ended("JobThrottled "), atOnce-4)
		s.advance(time.Hour) // and one more an hour later
		for range 2 {
			s.is.Equal(s.direct().byName("alice").outcome, accepted)
		}
		s.is.Equal(len(s.deliverTogether()), 1)
		s.sound()
	})
}

// The worker is killed after the mail system accepted a mail: the outcome is never stored.
func TestAttack_S44_OutcomeLost(t *testing.T) {
	for use, which := range []string{"first mail", "second mail"} {
		t.Run(which, func(t *testing.T) {
			quick := func(_ *site, o *recovery.Options) { o.SendTimeout = time.Second } // in which the outcome is tried
			everywhere(t, quick, func(s *site) {
				ctx, kill := context.WithCancel(s.ctx)
				s.mail.Fail(func(recovery.Message) error { kill(); return nil })
				s.trace.fail(failOn("Finish", errors.New("killed")))
				s.direct().byName("billybob")
				_, err := s.Deliver(ctx)
				s.is.True(errors.Is(err, context.Canceled))
				s.trace.fail(nil)
				s.mail.Fail(nil)
				s.is.Equal(len(s.deliver()), 0) // still leased
				s.advance(3 * time.Minute)
				s.deliver()
				s.advance(time.Hour)
				s.deliver()
				mails := s.mail.Messages()
				s.is.Equal(len(mails), 2) // it repeats once
				s.is.Equal(mails[0].ID, mails[1].ID)
				for _, m := range mails {
					s.secret(spy.Token(m))
				}
				s.lives(s.direct(), "3", spy.Token(mails[use])) // whichever is opened
				s.dies(s.direct(), spy.Token(mails[1-use]))
				s.sound("3")
			})
		})
	}
}
