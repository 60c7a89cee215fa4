package catalogue

import (
	"context"
	"strings"
	"testing"
	"time"

	"example.com/recovery"
)

const panicText = "internal detail 4711"

func panicOn(method string) func(string) error {
	return func(called string) error {
		if called == method {
			panic(panicText)
		}
		return nil
	}
}

// panics calls f, and returns whether it panicked: a direct call passes on a panic of the
// application's own store.
func panics(f func() answer) (got answer, panicked bool) {
	defer func() {
		if recover() != nil {
			panicked = true
		}
	}()
	return f(), false
}

// If code of the application panics, the answer does not have the panic's text, and the process
// goes on.
func TestAttack_S78_Panics(t *testing.T) {
	with := func(s *site, o *recovery.Options) {
		boom := func(place string) {
			if s.fails.Load() == place {
				panic(panicText)
			}
		}
		o.Approve = func(context.Context, recovery.Account, recovery.CompleteRequest) error { boom("Approve"); return nil }
		o.OnReset = func(context.Context, recovery.Account) error { boom("OnReset"); return nil }
		o.Hasher.Hash = func(password string) (string, error) { boom("HashPassword"); return quickHash(password), nil }
		o.Policy = &recovery.Policy{Breached: func(context.Context, string) (bool, error) { boom("Breached"); return false, nil }, BreachFailClosed: true}
		portal := o.Portals["web"]
		portal.Allow = func(context.Context, recovery.Account) (bool, error) { boom("Allow"); return true, nil }
		o.Portals = map[string]recovery.Portal{"web": portal}
		hooks := o.Hooks
		o.Hooks.JobStarted = func(e recovery.JobEvent) { hooks.JobStarted(e); boom("hook") }
		o.Hooks.PasswordChanged = func(e recovery.ResetEvent) { hooks.PasswordChanged(e); boom("hook") }
		generous(s, o)
	}
	onEntries(t, apart, with, func(s *site, e *entry) {
		token := s.token("victim")
		shown := func(got answer, panicked bool, what string) {
			if panicked && e.name != "direct" {
				s.t.Errorf("%s: the panic came through", what)
			}
			if !panicked && got.outcome != broken && got.outcome != unavailable && got.outcome != denied {
				s.t.Errorf("%s: %s", what, got.outcome)
			}
			if strings.Contains(got.text, panicText) && e.name != "direct" {
				s.t.Errorf("%s: its text is in the answer", what)
			}
		}
		for _, a := range e.asks() {
			s.trace.fail(panicOn("Enqueue"))
			got, panicked := panics(func() answer { return a.ask(a.of("billybob")) })
			shown(got, panicked, a.name)
			other, _ := panics(func() answer { return a.ask(unknown(a.kind, "billybob")) })
			s.is.Equal(got, other)
		}
		for _, method := range []string{"TakeLimits", "FindReset", "RefundLimits", "Redeem"} {
			s.trace.fail(panicOn(method))
			got, panicked := panics(func() answer { return e.complete(token, newPassword) })
			shown(got, panicked, method)
		}
		limits := 0
		s.trace.fail(func(method string) error { // at the count of Approve's tries, not of the client's calls
			if method == "TakeLimits" {
				limits++
			}
			if limits == 2 {
				panic(panicText)
			}
			return nil
		})
		got, panicked := panics(func() answer { return e.complete(token, newPassword) })
		shown(got, panicked, "the second TakeLimits")
		s.trace.fail(nil)
		for _, place := range []string{"Approve", "HashPassword", "Breached"} {
			s.fails.Store(place)
			got, panicked := panics(func() answer { return e.complete(token, newPassword) })
			shown(got, panicked, place)
		}
		s.fails.Store("")
		s.is.True(s.verifies("8", oldPassword)) // nothing was changed

		// In the worker: the request is tried again.
		for what, failure := range map[string]func(){
			"FindAccounts": func() { s.trace.fail(panicOn("FindAccounts")) }, "CreateResets": func() { s.trace.fail(panicOn("CreateResets")) },
			"Mailer": func() { s.mail.Fail(func(recovery.Message) error { panic(panicText) }) },
			"Allow":  func() { s.fails.Store("Allow") }, "hook": func() { s.fails.Store("hook") },
		} {
			failure()
			for _, a := range e.asks() {
				s.is.Equal(a.ask(a.of("billybob")).outcome, accepted)
			}
			_, err := s.Deliver(s.ctx)
			s.is.NoErr(err) // the worker lives
			s.flush()       // the hooks have run
			s.trace.fail(nil)
			s.mail.Fail(nil)
			s.fails.Store("")
			s.advance(25 * time.Minute) // a Mailer that panics may have sent
			mails := s.deliver()
			if what != "hook" && what != "Allow" && len(mails) == 0 {
				s.t.Errorf("%s: no mail came afterwards", what)
			}
			s.advance(time.Hour)
		}
		// And at the end: the password is changed, and its notice and OnReset come.
		token = s.token("victim")
		s.fails.Store("hook")
		s.is.Equal(e.complete(token, newPassword).outcome, accepted)
		s.fails.Store("OnReset")
		_, err := s.Deliver(s.ctx)
		s.is.NoErr(err)
		s.fails.Store("")
		last, _ := s.mail.Last()
		s.is.Equal(last.Kind, recovery.MessagePasswordChanged)
		s.flush()
		s.is.True(!strings.Contains(s.events.String(), "OnResetCalled"))
		s.advance(time.Hour)
		s.deliver()
		s.flush()
		s.is.True(strings.Contains(s.events.String(), "OnResetCalled"))
		s.is.True(!strings.Contains(s.log.String(), panicText)) // it may hold anything
		s.sound("8")
	})
}
