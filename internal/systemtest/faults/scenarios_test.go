package faults

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing/synctest"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

const (
	goodPassword     = "Correct-h0rse"
	otherPassword    = "Battery-stap1e"
	deniedPassword   = "Denied-h0rse" // by Options.Approve
	breachedPassword = "Leaked-h0rse" // by Policy.Breached
	earlierPassword  = "Before-h0rse" // by Policy.Check
	runTime          = 3500 * time.Millisecond
	unknownToken     = spy.TokenText
)

var client = netip.MustParseAddr("192.0.2.10")

// A scenario is something that an application does. The calls in act can go wrong, those in prepare
// cannot.
type scenario struct {
	name string
	// subjects are named in turn. The first gets the promised mails, and a caller may see no
	// difference.
	subjects []string
	want     []string // what the calls answer without a fault: see classOf
	options  func(*world, *recovery.Options)
	prepare  func(*world)
	act      func(*world)
	ids      bool // whether the randomness of the IDs goes wrong, and nothing else
}

var people = []string{"alice", "nobody", "mallory"}
var addresses = []string{"Liddell@EXAMPLE.com", "nobody@example.com", "mallory@example.com"}

// wholeApplication sets every function that an application can supply for a completion.
func wholeApplication(w *world, o *recovery.Options) {
	o.Policy = &recovery.Policy{Breached: w.breached, Check: w.ownRule}
	o.Approve, o.OnReset = w.approve, w.onReset
}

var scenarios = []scenario{{
	name: "a reset by user name", subjects: people, want: []string{"ok"},
	act: func(w *world) { w.ask(w.subject); w.deliver() },
}, {
	name: "a reset by an address of two accounts", subjects: addresses, want: []string{"ok"},
	act: func(w *world) { w.askByAddress(); w.deliver() },
}, {
	name: "a link to a portal", subjects: people, want: []string{"ok"},
	act: func(w *world) {
		w.asked(recovery.MessageResetLink, []string{"alice"}, func(ctx context.Context) error {
			return spy.Err(w.RequestReset(ctx, recovery.ResetRequest{Username: w.subject, Portal: "web", Client: client}))
		})
		w.deliver()
	},
}, {
	name: "the user names of an address", subjects: addresses, want: []string{"ok"},
	act: func(w *world) {
		w.asked(recovery.MessageUsernames, []string{"alice", "alicia"}, func(ctx context.Context) error {
			return spy.Err(w.RetrieveUsername(ctx, recovery.UsernameRequest{Email: w.subject, Client: client}))
		})
		w.deliver()
	},
}, {
	name: "a malformed request", want: []string{"field"},
	act: func(w *world) { w.ask("a\x00b"); w.deliver() },
}, {
	name: "the limit of an account", subjects: people, want: []string{"ok", "ok"},
	act: func(w *world) {
		w.ask(w.subject)
		w.ask(w.subject)
		w.asks[1].expects = nil
		w.deliver()
	},
}, {
	name: "the limit of a client", subjects: people, want: []string{"ok", "limit"},
	options: func(_ *world, o *recovery.Options) {
		o.Limits.PerClient = recovery.Limit{Burst: 1, Every: 3 * time.Hour}
	},
	act: func(w *world) { w.ask(w.subject); w.ask("billybob"); w.deliver() },
}, {
	name: "two requests", want: []string{"ok", "ok"},
	act: func(w *world) {
		w.ask("alice")
		w.deliver()
		time.Sleep(2 * time.Minute)
		w.ask("alice")
		w.deliver()
	},
}, {
	name: "a request after a mail that was not used", want: []string{"ok"},
	prepare: func(w *world) { w.dead = w.token("alice", client) },
	act: func(w *world) {
		w.ask("alice")
		w.deliver()
		if len(w.mail.Messages()) == 1 && !w.alive(w.dead, time.Now()) {
			w.violation("no newer mail was accepted, and the older token is dead")
		}
	},
}, {
	name: "a request that waits too long", want: []string{"ok"},
	act: func(w *world) {
		w.ask("alice")
		w.asks[0].expects = nil
		time.Sleep(2 * time.Hour)
		w.deliver()
	},
}, {
	name: "a mail system that fails once", want: []string{"ok"},
	prepare: func(w *world) {
		var failed atomic.Bool
		w.mail.Fail(func(recovery.Message) error {
			if failed.CompareAndSwap(false, true) {
				return errInjected
			}
			return nil
		})
	},
	act: func(w *world) {
		w.ask("alice")
		w.deliver()
		time.Sleep(time.Minute)
		w.deliver()
	},
}, {
	name: "a mail system that refuses", want: []string{"ok"},
	prepare: func(w *world) {
		w.mail.Fail(func(m recovery.Message) error {
			if m.To == sharedAddress {
				return fmt.Errorf("550 %s: %w", m.To, recovery.ErrPermanent)
			}
			return nil
		})
	},
	act: func(w *world) { w.ask("alice"); w.deliver() },
}, {
	name: "retries", options: wholeApplication, want: []string{"ok", "ok"},
	prepare: func(w *world) { w.dead = w.token("billybob", client) },
	act: func(w *world) {
		w.ask("alice")
		w.complete("3", w.dead, goodPassword)
		for range 3 {
			w.deliver()
			time.Sleep(6 * time.Minute)
		}
	},
}, {
	name: "a completion", want: []string{"ok"}, options: wholeApplication,
	prepare: func(w *world) { w.dead = w.token("alice", client) },
	act:     func(w *world) { w.complete("1", w.dead, goodPassword) },
}, {
	name: "a completion that needs the breach service", want: []string{"ok"},
	options: func(w *world, o *recovery.Options) {
		o.Policy = &recovery.Policy{Breached: w.breached, BreachFailClosed: true}
	},
	prepare: func(w *world) { w.dead = w.token("alice", client) },
	act:     func(w *world) { w.complete("1", w.dead, goodPassword) },
}, {
	name: "a completion that is denied", want: []string{"denied"}, options: wholeApplication,
	prepare: func(w *world) { w.dead = w.token("alice", client) },
	act:     func(w *world) { w.complete("1", w.dead, deniedPassword) },
}, {
	name: "a password that has leaked", want: []string{"password"}, options: wholeApplication,
	prepare: func(w *world) { w.dead = w.token("alice", client) },
	act:     func(w *world) { w.complete("1", w.dead, breachedPassword) },
}, {
	name: "a password that is too short, then one that is not", want: []string{"password", "ok"}, options: wholeApplication,
	prepare: func(w *world) { w.dead = w.token("alice", client) },
	act: func(w *world) {
		w.complete("1", w.dead, "short")
		w.complete("1", w.dead, goodPassword)
		w.deliver()
	},
}, {
	name: "a password that was used before", want: []string{"password"}, options: wholeApplication,
	prepare: func(w *world) { w.dead = w.token("alice", client) },
	act:     func(w *world) { w.complete("1", w.dead, earlierPassword) },
}, {
	name: "a wrong code, then the right one", want: []string{"token", "ok"}, options: wholeApplication,
	prepare: func(w *world) { w.dead = w.code("alice") },
	act: func(w *world) {
		ticket, _, _ := strings.Cut(w.dead, " ")
		w.complete("1", ticket+" BCDF-GHJK", goodPassword)
		w.complete("1", w.dead, goodPassword)
	},
}, {
	name: "a token that cannot be used", want: []string{"token"}, options: wholeApplication,
	subjects: []string{"unknown", "used", "superseded", "expired", "stale", "disabled", "deleted"},
	prepare:  makeDeadToken,
	act:      func(w *world) { w.complete("1", w.dead, otherPassword) },
}, {
	name: "a malformed token", want: []string{"token"},
	act: func(w *world) { w.complete("1", "null", otherPassword) },
}, {
	name: "one token twice", want: []string{"ok", "token"}, options: wholeApplication,
	prepare: func(w *world) { w.dead = w.token("alice", client) },
	act: func(w *world) {
		w.complete("1", w.dead, goodPassword)
		w.complete("1", w.dead, otherPassword)
	},
}, {
	name: "the notice and OnReset", options: wholeApplication, want: []string{"ok"},
	prepare: func(w *world) { w.dead = w.token("alice", client); w.complete("1", w.dead, goodPassword) },
	act:     func(w *world) { w.deliver() },
}, {
	name: "the notice after the address was changed", options: wholeApplication, want: []string{"ok"},
	prepare: func(w *world) {
		w.dead = w.token("alice", client)
		w.complete("1", w.dead, goodPassword)
		hash, _ := w.users.PasswordHash("1")
		w.users.Put(recovery.Account{ID: "1", Username: "alice", Email: "attacker@example.com", Active: true, HasPassword: true, EmailVerified: true}, hash)
	},
	act: func(w *world) { w.deliver() },
}, {
	name: "Run", options: wholeApplication, want: []string{"ok", "ok"},
	prepare: func(w *world) { w.dead = w.token("billybob", client) },
	act: func(w *world) {
		w.ask("alice")
		w.complete("3", w.dead, goodPassword)
		w.delivered(runTime, func(ctx context.Context) error { return w.Run(ctx) })
	},
}, {
	name: "DeliverJob", want: []string{"ok"}, subjects: addresses[:1],
	act: func(w *world) {
		w.askByAddress()
		for i := 0; i < len(w.jobs); i++ {
			w.delivered(time.Hour, func(ctx context.Context) error {
				_, err := w.DeliverJob(ctx, w.jobs[i])
				return err
			})
		}
	},
}, {
	name: "what waits in the queue", want: []string{"ok"},
	act: func(w *world) {
		w.asked("", nil, func(ctx context.Context) error {
			_, err := w.Stats(ctx)
			return err
		})
	},
}, {
	name:    "a purge",
	prepare: func(w *world) { w.dead = w.token("alice", client); time.Sleep(17 * time.Hour) },
	act:     func(w *world) { w.deliver() },
}}

func (w *world) askByAddress() {
	w.asked(recovery.MessageResetToken, []string{"alice", "alicia"}, func(ctx context.Context) error {
		return spy.Err(w.RequestReset(ctx, recovery.ResetRequest{Email: w.subject, Client: client}))
	})
}

// makeDeadToken makes a dead token of alice; the subject names the reason.
func makeDeadToken(w *world) {
	defer time.Sleep(2 * time.Minute) // so that the clocks are compared again, whatever was done here
	if w.dead = unknownToken; w.subject == "unknown" {
		return
	}
	w.dead = w.token("alice", client)
	alice := recovery.Account{ID: "1", Username: "alice", Email: sharedAddress, Active: true, HasPassword: true, EmailVerified: true}
	switch w.subject {
	case "used":
		w.complete("1", w.dead, goodPassword)
		synctest.Wait()
		w.completions = nil
		w.counts["PasswordChanged"] = 0
	case "superseded":
		w.token("alice", client)
	case "expired":
		time.Sleep(17 * time.Hour)
	case "stale":
		w.users.Put(alice, "hash of another")
	case "disabled":
		alice.Active = false
		w.users.Put(alice, oldHash)
	case "deleted":
		w.users.Remove("1")
	}
}
