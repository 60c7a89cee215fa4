package recovery_test

import (
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// What is asked for must not change what the caller sees or what the Store is asked: the same calls
// with the same arguments, but for the identifier and what chance decides.
func TestRequestsAreUniform(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{
		Workers: 1, // in order, so that no mail is superseded before it is sent
		Limits: recovery.Limits{
			PerClient: recovery.Limit{Burst: 1000, Every: time.Second},
		},
	})
	unverified := w.account("6", "uverifie", "uverifie@example.com")
	unverified.EmailVerified = false
	w.users.Put(unverified, "hash of old")
	disabled := w.account("4", "disabled", "disabled@example.com")
	disabled.Active = false
	w.users.Put(disabled, "hash of old")
	noPassword := w.account("7", "federate", "federate@example.com")
	noPassword.HasPassword = false
	w.users.Put(noPassword, "hash of old")

	tenants := w.account("8", "billybob", "billybob@acme.example")
	tenants.Tenant = "acme"
	w.users.Put(tenants, "hash of old")

	// All of one length, so that the recorded lengths are equal.
	names := map[string]string{
		"known": "billybob", "unknown": "nobodyxx", "disabled": "disabled", "unverified": "uverifie",
		"without password": "federate", "throttled": "throttle", "throttled unknown": "throttlx",
	}
	w.put("5", "throttle", "throttle@example.com")
	for _, name := range []string{"throttle", "throttlx"} {
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Client: client})))
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: name + "@example.com", Client: client})))
		for range 2 {
			is.NoErr(errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: name + "@example.com", Client: client})))
		}
	}
	w.deliver()
	w.store.calls()
	sent := len(w.mail.Messages())

	traces := map[string]map[string]string{}
	for class, name := range names {
		email := name + "@example.com"
		for call, f := range map[string]func() error{
			"reset by user name": func() error {
				return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Client: client}))
			},
			"reset by address": func() error { return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: email, Client: client})) },
			"reset with a code in a tenant": func() error {
				return errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Tenant: "acme", Code: true, Client: client}))
			},
			"user names": func() error {
				return errOf(w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: email, Client: client}))
			},
		} {
			is.NoErr(f())
			if traces[call] == nil {
				traces[call] = map[string]string{}
			}
			traces[call][class] = w.store.calls()
		}
	}
	for call, byClass := range traces {
		for class, trace := range byClass {
			if trace != byClass["unknown"] {
				t.Errorf("%s, %s:\n%s\nunknown:\n%s", call, class, trace, byClass["unknown"])
			}
			is.Equal(strings.Count(trace, "\n"), 0) // one call of the Store
			is.True(strings.HasPrefix(trace, "Enqueue "))
		}
	}
	is.Equal(len(w.mail.Messages()), sent) // nothing is mailed by a call
	is.Equal(len(w.deliver()), 4)          // billybob's token and names, where federate logs in, and the tenant's token
}

// The Store's clock is read once a minute, whoever is meant.
func TestClockIsReadWhoeverIsMeant(t *testing.T) {
	is := is.New(t)
	for _, name := range []string{"billybob", "nobody", "mallory"} {
		w := newWorld(t, nil)
		trace := ""
		for range 5 {
			w.ask(name)
			for line := range strings.Lines(w.store.calls() + "\n") {
				method, _, _ := strings.Cut(strings.TrimSpace(line), " ")
				trace += method + " "
			}
			w.advance(30 * time.Second)
		}
		is.Equal(trace, "Now Enqueue Enqueue Now Enqueue Enqueue Now Enqueue ")
	}
}

func TestThrottledIsSilent(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{PerClient: recovery.Limit{Burst: 1000, Every: time.Second}}})
	mailed := 0
	for minute := range 120 {
		for _, name := range []string{"alice", " ALICE", "nobody"} {
			w.ask(name)
		}
		mailed += len(w.deliver())
		if minute == 59 {
			is.Equal(mailed, 6) // six an hour
		}
		w.advance(time.Minute)
	}
	is.Equal(mailed, 7)
	w.hooks.wait(t, "JobThrottled")
	is.True(!strings.Contains(w.users.Dump(), "alice")) // what is finished is gone
}

func TestKindsOfIdentifiersAreApart(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.put("8", "victim@example.com", "attacker@example.com") // a user name that is another's address: S12
	w.put("9", "victim", "victim@example.com")
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: "victim@example.com"})))
	mails := w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].To, "victim@example.com")
	is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "victim@example.com"})))
	mails = w.deliver()
	is.Equal(len(mails), 1)
	is.Equal(mails[0].To, "attacker@example.com")
	is.NoErr(w.deadOrAlive(tokenOf(mails[0]), true))
}
