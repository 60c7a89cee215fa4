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

// withLimits lets an account be mailed twice an hour.
func withLimits(s *site, o *recovery.Options) {
	generous(s, o)
	o.Limits.PerAccount = recovery.Limit{Burst: 2, Every: time.Hour}
}

// shape is a trace without the length of what was typed.
func shape(calls []string) string {
	text := strings.Join(calls, "\n")
	before, rest, _ := strings.Cut(text, "identifier:")
	_, after, _ := strings.Cut(rest, " ")
	return before + after
}

var errForeign = errors.New("connection refused by 192.0.2.77")

// A failing database or mail system fails for every name alike, and a failure that comes later
// changes no answer.
func TestAttack_S52_FailuresTellNothing(t *testing.T) {
	onEntries(t, apart, nil, func(s *site, e *entry) {
		s.trace.fail(func(string) error { return errForeign })
		for _, a := range e.asks() {
			want := a.ask(unknown(a.kind, "attacker"))
			s.is.Equal(want.outcome, unavailable)
			s.is.True(e.name == "direct" || !strings.Contains(want.text, "192.0.2.77"))
			for _, name := range classes {
				s.is.Equal(a.ask(a.of(name)), want)
			}
		}
		// The same holds for tokens: the limits and the look-up fail before anything is known.
		s.trace.fail(nil)
		token := s.token("victim")
		s.trace.fail(failOn("FindReset", errForeign))
		s.is.Equal(e.complete(token, newPassword), e.complete(noToken, newPassword))

		// The answers before and after are the same, whoever is mailed and whatever fails then.
		for name, failure := range map[string]func(){
			"the mail system":          func() { s.mail.Fail(func(recovery.Message) error { return errForeign }) },
			"the mail system for good": func() { s.mail.Fail(func(recovery.Message) error { return recovery.ErrPermanent }) },
			"the look-up":              func() { s.trace.fail(failOn("FindAccounts", errForeign)) },
			"the token":                func() { s.trace.fail(failOn("CreateResets", errForeign)) },
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

// failOn has a method fail with the error.
func failOn(method string, err error) func(string) error {
	return func(called string) error {
		if called == method {
			return err
		}
		return nil
	}
}
