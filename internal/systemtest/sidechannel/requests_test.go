package sidechannel

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A class is a kind of account that a request may name.
type class struct {
	name string
	// make makes the account of the subject, and whatever else the class is about.
	make func(w *world, s subject)
	// lately is whether the subject was mailed a moment ago, so that it is over a limit.
	lately bool
}

// unknown is the class that the others are compared with.
var unknown = class{name: "unknown"}

func known(w *world, s subject) { w.add(s.username, s.email, nil) }

func changed(change func(*recovery.Account)) func(*world, subject) {
	return func(w *world, s subject) { w.add(s.username, s.email, change) }
}

func shared(more int) func(*world, subject) {
	return func(w *world, s subject) {
		known(w, s)
		for i := range more {
			w.add(fmt.Sprintf("%s%03d", s.username, i), s.email, nil)
		}
	}
}

var classes = []class{
	{name: "known", make: known},
	{name: "disabled", make: changed(func(a *recovery.Account) { a.Active = false })},
	{name: "unverified", make: changed(func(a *recovery.Account) { a.EmailVerified = false })},
	{name: "without a password", make: changed(func(a *recovery.Account) { a.HasPassword = false })},
	{name: "in another language", make: changed(func(a *recovery.Account) { a.Locale = "ja" })},
	{name: "3 accounts", make: shared(2)},
	{name: "20 accounts", make: shared(19)},
	{name: "with a live token", make: func(w *world, s subject) {
		w.unsent(&s, w.add(s.username, s.email, nil), 16*time.Hour)
	}},
	{name: "reset before", make: func(w *world, s subject) {
		w.unsent(&s, w.add(s.username, s.email, nil), 16*time.Hour)
		w.use(s.token)
	}},
	{name: "mailed lately", make: known, lately: true},
	{name: "another tenant's", make: changed(func(a *recovery.Account) { a.Tenant = "umbrella" })},
}

// generous limits let every call pass, but an account is mailed only once an hour.
var generous = recovery.Limits{
	PerClient:           recovery.Limit{Burst: 100_000, Every: time.Second},
	Global:              recovery.Limit{Burst: 100_000, Every: time.Second},
	CompletePerClient:   recovery.Limit{Burst: 100_000, Every: time.Second},
	PerAccount:          recovery.Limit{Burst: 1, Every: time.Hour},
	PerMailbox:          recovery.Limit{Burst: 1, Every: time.Hour},
	UsernamesPerMailbox: recovery.Limit{Burst: 1, Every: time.Hour},
}

// someone returns a new subject; all have names of one length.
func (w *world) someone() subject {
	w.names++
	name := fmt.Sprintf("user%06d", 7919*w.names%1_000_000)
	return subject{username: name, email: name + "@example.com"}
}

// ready makes a subject of the class, and then purges the limits that this used.
func (w *world) ready(c class) subject {
	w.is.Helper()
	w.deliver()
	s := w.someone()
	if c.make != nil {
		c.make(w, s)
		w.deliver()
		w.now = w.now.Add(2 * time.Hour)
		w.deliver()
	}
	return s
}

// compareRequests makes the request of each action for each class and returns what differs.
func compareRequests(w *world, actions []action) (found []string) {
	w.is.Helper()
	browser := w.browser()
	observe := func(a action, c class) observation {
		s := w.ready(c)
		// All classes share one clock, because its time is in rows and calls, though in no answer.
		w.now = w.now.Truncate(24 * time.Hour).Add(24 * time.Hour)
		mailed := 0
		if c.lately {
			w.mails.Reset()
			browser.do(a, s)
			w.idle()
			mailed = len(w.mails.Messages()) + len(w.deliver())
		}
		w.now = w.now.Add(2 * time.Minute) // so that each call looks at the Store's clock
		o := w.observe(func() string { return browser.do(a, s) })
		if again := len(w.deliver()); c.lately && (mailed != 1 || again != 0) {
			found = append(found, fmt.Sprintf("%s, %s: %d mails, and %d over the limit", a.name, c.name, mailed, again))
		}
		return o
	}
	for _, a := range actions {
		want := observe(a, unknown)
		for _, c := range classes {
			if d := observe(a, c).differences(want); d != "" {
				found = append(found, fmt.Sprintf("%s, %s against unknown: %s", a.name, c.name, d))
			}
		}
		// One call of the Store, beside a look at its clock. Nothing is looked up, not even for
		// everybody.
		calls := strings.Split(strings.TrimPrefix(want.calls, "Now \n"), "\n")
		if len(calls) != 1 || !strings.HasPrefix(calls[0], "Enqueue ") || queued(want.rows) != 1 {
			found = append(found, fmt.Sprintf("%s does not do what it should:\n%s\n%s", a.name, want.calls, want.rows))
		}
	}
	return found
}

func TestAttack_S50_RequestsAreAnsweredAlike(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		for _, difference := range compareRequests(newWorld(t, b, generous, nil), requests) {
			t.Error(difference)
		}
	})
}

// sequence returns the answers of n calls of one client.
func (w *world) sequence(n int, call func() string) string {
	w.clients++
	w.who = netip.AddrFrom4([4]byte{198, 18, byte(w.clients >> 8), byte(w.clients)})
	var answers []string
	for range n {
		answers = append(answers, call())
		w.idle()
	}
	return strings.Join(answers, "\n")
}

var limited = recovery.Limits{
	PerClient:         recovery.Limit{Burst: 5, Every: 30 * time.Second},
	Global:            recovery.Limit{Burst: 100_000, Every: time.Microsecond},
	CompletePerClient: recovery.Limit{Burst: 5, Every: 30 * time.Second},
}

// compareSequences makes each request more often than one client may, for each class, and returns
// what differs in which calls are refused and how.
func compareSequences(w *world, actions []action) (found []string) {
	w.is.Helper()
	browser := w.browser()
	const n = 7
	for _, a := range actions {
		sequence := func(c class) string {
			s := w.ready(c)
			return w.sequence(n, func() string { return browser.do(a, s) })
		}
		want := sequence(unknown)
		compared := classes
		if w.db != nil {
			compared = []class{classes[0], classes[1], classes[5], classes[7]}
		}
		if refused := strings.Count(want, "recovery: too many") + strings.Count(want, "Retry-After"); refused != n-limited.PerClient.Burst {
			found = append(found, fmt.Sprintf("%s: %d of %d calls are over the limit:\n%s", a.name, refused, n, want))
		}
		for _, c := range compared {
			if got := sequence(c); got != want {
				found = append(found, fmt.Sprintf("%s, %s:\n%s\nunknown:\n%s", a.name, c.name, got, want))
			}
		}
	}
	return found
}

func TestAttack_S53_LimitsAreReachedAlike(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		for _, difference := range compareSequences(newWorld(t, b, limited, nil), requests) {
			t.Error(difference)
		}
	})
}

// A failing database fails for every name alike; a failing mail system changes no answer.
func TestAttack_S52_FailuresAreAnsweredAlike(t *testing.T) {
	onEach(t, func(t *testing.T, b backend) {
		w := newWorld(t, b, generous, nil)
		is := is.New(t)
		browser := w.browser()
		failing := func(method string) error {
			if method == "Enqueue" || method == "TakeLimits" || method == "FindReset" {
				return errors.New("connection refused")
			}
			return nil
		}
		some := append([]class{unknown}, classes[0], classes[1], classes[5])
		for i, a := range requests {
			refuse := []error{errors.New("no route to host"), recovery.ErrPermanent}[i%2]
			w.mails.Fail(func(recovery.Message) error { return refuse })
			var first string
			for _, c := range some {
				s := w.ready(c)
				var answers []string
				for _, fail := range []func(string) error{nil, nil, failing} {
					w.trace.fail = fail
					answers = append(answers, browser.do(a, s))
					w.trace.fail = nil
					_, err := w.svc.Deliver(t.Context())
					is.NoErr(err)
					w.now = w.now.Add(2 * time.Minute)
				}
				all := strings.Join(answers, "\n")
				if c.name == unknown.name {
					first = all
				}
				if all != first || answers[0] != answers[1] || answers[0] == answers[2] {
					t.Errorf("%s, %s:\n%s\nunknown:\n%s", a.name, c.name, all, first)
				}
			}
		}
	})
}
