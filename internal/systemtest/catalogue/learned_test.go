package catalogue

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/recovery"
)

// classes are what a name can mean; each account exists, as the first part of an address too.
var classes = map[string]string{
	"known": "billybob", "known, of the same address as another": "alice", "disabled": "mallory", "without password": "federate", "unproven": "unproven",
	"a name that is another's address": "victim", "with a live token": "mike", "over the limit": "attacker",
}

// of is the identifier of an account for a way of asking.
func (a ask) of(name string) string {
	if a.kind == "email" {
		return name + "@example.com"
	}
	return name
}

// withLimits has an account mailed twice an hour.
func withLimits(s *site, o *recovery.Options) {
	generous(s, o)
	o.Limits.PerAccount = recovery.Limit{Burst: 2, Every: time.Hour}
}

// Whoever is named, the answer is the same byte for byte, and so are the calls of the store. Over
// HTTP the answers are those of a real server, with the headers that it adds.
func TestAttack_S50_SameAnswer(t *testing.T) {
	onEveryEntry(t, withLimits, func(s *site, e *entry) {
		s.overWire = true
		s.is.NoErr(errOf(s.RequestReset(s.ctx, recovery.ResetRequest{Username: "mike"})))
		s.deliver()
		for _, a := range e.asks() {
			for range 3 { // so that it is over its limit, of which nobody learns
				a.ask(a.of("attacker"))
				s.deliver()
			}
			s.trace.calls()
			want := a.ask(unknown(a.kind, "attacker"))
			s.is.Equal(want.outcome, accepted)
			wantCalls := s.trace.calls()
			s.is.Equal(len(wantCalls), 1) // the request is added, and nothing is looked up
			for class, name := range classes {
				got := a.ask(a.of(name))
				if got != want {
					s.t.Errorf("%s, %s: answered\n%s\nand for an unknown name\n%s", a.name, class, got.text, want.text)
				}
				if calls := shape(s.trace.calls()); calls != shape(wantCalls) {
					s.t.Errorf("%s, %s: the store was asked\n%s\nand for an unknown name\n%s", a.name, class, calls, shape(wantCalls))
				}
			}
			s.is.True(!strings.Contains(want.text, "Set-Cookie") && !strings.Contains(want.text, "Retry-After"))
		}
		s.deliver()
		s.sound()
	})
}

// shape is a trace without the length of what was typed.
func shape(calls []string) string {
	text := strings.Join(calls, "\n")
	before, rest, _ := strings.Cut(text, "identifier:")
	_, after, _ := strings.Cut(rest, " ")
	return before + after
}

var errForeign = errors.New("connection refused by 192.0.2.77")

// A database or a mail system that fails, fails for everybody alike, and for nobody where it
// matters later.
func TestAttack_S52_FailuresTellNothing(t *testing.T) {
	onEveryEntry(t, nil, func(s *site, e *entry) {
		s.trace.fail(func(string) error { return errForeign })
		for _, a := range e.asks() {
			want := a.ask(unknown(a.kind, "attacker"))
			s.is.Equal(want.outcome, unavailable)
			s.is.True(e.name == "direct" || !strings.Contains(want.text, "192.0.2.77"))
			for _, name := range classes {
				s.is.Equal(a.ask(a.of(name)), want)
			}
		}
		// For tokens the same holds: the limits and the look-up fail before anything is known.
		s.trace.fail(nil)
		token := s.token("victim")
		s.trace.fail(func(method string) error {
			if method == "FindReset" {
				return errForeign
			}
			return nil
		})
		s.is.Equal(e.complete(token, newPassword), e.complete(noToken, newPassword))

		// Whoever is mailed, and whatever fails then, the answers before and after are the same.
		for name, failure := range map[string]func(){
			"the mail system":          func() { s.mail.Fail(func(recovery.Message) error { return errForeign }) },
			"the mail system for good": func() { s.mail.Fail(func(recovery.Message) error { return recovery.ErrPermanent }) },
			"the look-up":              func() { s.trace.fail(failOn("FindAccounts")) },
			"the token":                func() { s.trace.fail(failOn("CreateResets")) },
		} {
			s.mail.Fail(nil)
			s.trace.fail(nil)
			failure()
			for _, a := range e.asks() {
				want := a.ask(unknown(a.kind, "attacker"))
				for range 2 {
					for _, account := range []string{"billybob", "mallory", "nobodyxx"} {
						if got := a.ask(a.of(account)); got != want {
							s.t.Errorf("%s fails, %s of %s: %s", name, a.name, account, got.text)
						}
					}
					_, _ = s.Deliver(s.ctx)
				}
			}
		}
		s.mail.Fail(nil)
		s.trace.fail(nil)
		s.advance(10 * time.Minute)
		for _, m := range s.deliver() { // what failed for now is mailed
			s.is.True(slices.Contains([]string{"billybob@example.com"}, m.To))
		}
		s.is.True(!strings.Contains(s.log.String(), "@example.com")) // no address in the log
		s.sound()
	})
}

func failOn(method string) func(string) error {
	return func(called string) error {
		if called == method {
			return errForeign
		}
		return nil
	}
}

// The limits that callers are told of are counted before anything is looked up, by who asks. Those
// of mailboxes are silent.
func TestAttack_S53_LimitsTellNothing(t *testing.T) {
	const burst = 6
	limits := func(s *site, o *recovery.Options) {
		generous(s, o)
		o.Limits.PerClient = recovery.Limit{Burst: burst, Every: time.Minute}
		o.Limits.CompletePerClient = o.Limits.PerClient
		o.Limits.PerMailbox = recovery.Limit{Burst: 2, Every: time.Hour}
		o.Limits.UsernamesPerMailbox = o.Limits.PerMailbox
	}
	onEveryEntry(t, limits, func(s *site, e *entry) {
		for _, a := range e.asks() {
			var want []answer
			for _, name := range []string{"nobodyxx", "billybob", "mallory", "alice"} {
				s.client = s.client.Next() // a fresh one
				var got []answer
				for range burst + 2 {
					s.trace.calls()
					got = append(got, a.ask(a.of(name)))
					calls := s.trace.calls()
					s.is.Equal(len(calls), 1)
					s.is.True(strings.HasPrefix(calls[0], "Enqueue ")) // nothing else
				}
				if want == nil {
					want = got
					s.is.Equal(got[burst-1].outcome, accepted)
					s.is.Equal(got[burst].outcome, limited)
				}
				s.is.True(slices.Equal(got, want)) // each as for an unknown name, the wait included
				s.is.True(len(s.deliver()) <= 2)   // to one mailbox
			}
		}
		s.client = s.client.Next()
		live := s.token("victim")
		for i := range burst + 1 {
			token := noToken[:30] + string(rune('a'+i)) + noToken[31:]
			s.trace.calls()
			got := e.complete(token, newPassword)
			calls := s.trace.calls()
			s.is.Equal(calls[0], "TakeLimits")
			s.is.Equal(got.outcome, map[bool]string{true: badToken, false: limited}[i < burst])
			s.is.Equal(len(calls), map[bool]int{true: 2, false: 1}[i < burst])
		}
		s.is.Equal(e.complete(live, newPassword), e.complete(noToken, newPassword)) // a live token is limited alike
		s.advance(time.Hour)
		s.is.Equal(e.complete(live, newPassword).outcome, accepted) // and lives on
		s.sound("8")
	})
}

// Whatever is wrong with a token, there is one answer.
func TestAttack_S55_OneAnswerForEveryToken(t *testing.T) {
	onEveryEntry(t, nil, func(s *site, e *entry) {
		victim := eligible("8", "victim", "victim@example.com")
		change := func(f func(*recovery.Account)) string {
			token := s.token("victim")
			a := victim
			f(&a)
			s.put(a)
			return token
		}
		want := e.complete(noToken, newPassword)
		s.is.Equal(want.outcome, badToken)
		for _, c := range []struct {
			reason string
			make   func() string
		}{
			{"malformed", func() string { return "malformed" }},
			{"one character less", func() string { return s.token("victim")[1:] }},
			{"in capitals", func() string { return strings.ToUpper(s.token("victim")) }},
			{"unknown", func() string { return "b" + noToken[1:] }},
			{"used", func() string {
				token := s.token("victim")
				s.is.Equal(e.complete(token, newPassword).outcome, accepted)
				s.deliver()
				return token
			}},
			{"superseded", func() string {
				token := s.token("victim")
				s.advance(time.Second)
				s.token("victim")
				return token
			}},
			{"voided", func() string {
				// Both tokens are of mails that may have been accepted, so that neither supersedes the other.
				var tokens []string
				s.mail.Fail(func(m recovery.Message) error {
					tokens = append(tokens, tokenOf(m))
					return recovery.ErrUncertain
				})
				for range 2 {
					s.is.NoErr(errOf(s.RequestReset(s.ctx, recovery.ResetRequest{Username: "victim"})))
					s.deliver()
				}
				s.mail.Fail(nil)
				s.is.Equal(e.complete(tokens[0], newPassword).outcome, accepted)
				s.secret(tokens[0])
				s.secret(tokens[1])
				s.deliver()
				return tokens[1]
			}},
			{"expired", func() string {
				token := s.token("victim")
				s.advance(16 * time.Hour)
				return token
			}},
			{"expired and purged", func() string {
				token := s.token("victim")
				s.advance(100 * time.Hour)
				s.deliver()
				return token
			}},
			{"password changed", func() string {
				token := s.token("victim")
				s.is.NoErr(s.Put(victim, quickHash("Another#Password-5")))
				return token
			}},
			{"address changed", func() string { return change(func(a *recovery.Account) { a.Email = "new@example.com" }) }},
			{"disabled", func() string { return change(func(a *recovery.Account) { a.Active = false }) }},
			{"without password", func() string { return change(func(a *recovery.Account) { a.HasPassword = false }) }},
			{"unproven", func() string { return change(func(a *recovery.Account) { a.EmailVerified = false }) }},
			{"deleted", func() string {
				token := s.token("victim")
				s.is.NoErr(s.Remove("8"))
				return token
			}},
		} {
			s.put(victim)
			if got := e.complete(c.make(), newPassword); got != want {
				s.t.Errorf("%s: answered\n%s\nand for an unknown token\n%s", c.reason, got.text, want.text)
			}
		}
		s.put(victim)
		if e.completeAs != nil {
			for _, name := range []string{"alice", "nobody", "mallory"} {
				if got := e.completeAs(name, s.token("victim"), newPassword); got != want {
					s.t.Errorf("the token of another: %s", got.text)
				}
			}
		}
		s.sound()
	})
}
