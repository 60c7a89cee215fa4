package faults

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

const nestedPassword = "Nested-h0rse"

var (
	nestedClient = netip.MustParseAddr("198.51.100.6")
	nestedToken  = strings.Repeat("b", 51) + "a"
)

// reentrant is the key of contexts whose calls are not counted and do not go wrong.
type reentrant struct{}

// A reentry records the Service's answers to calls from a function that it calls itself.
type reentry struct {
	classes []string
	asks    []ask
	counts  map[string]int // of the events of these calls, by hook
}

// reenter makes every call of the Service from such a function, for an account of its own.
func (w *world) reenter() {
	ctx := context.WithValue(w.t.Context(), reentrant{}, true)
	w.plant("6", nestedToken)
	answered := func(err error) { w.nested.classes = append(w.nested.classes, classOf(err)) }
	ask := func(kind recovery.MessageKind, f func() error) {
		a := ask{kind: kind, expects: []string{"quinn"}, before: len(w.mail.Messages()), err: f()}
		w.nested.asks = append(w.nested.asks, a)
		answered(a.err)
	}
	complete := func() {
		_, err := w.CompleteReset(ctx, recovery.CompleteRequest{Token: nestedToken, Password: nestedPassword, Client: nestedClient})
		answered(err)
	}
	_ = w.Options()
	complete()
	if w.has("6", nestedPassword) {
		w.noteChange("6")
	}
	complete()
	// Last, because a completion voids what a worker may have mailed meanwhile.
	ask(recovery.MessageResetToken, func() error {
		return spy.Err(w.RequestReset(ctx, recovery.ResetRequest{Username: "quinn", Client: nestedClient}))
	})
	ask(recovery.MessageUsernames, func() error {
		return spy.Err(w.RetrieveUsername(ctx, recovery.UsernameRequest{Email: quinnAddress}))
	})
	_, err := w.DeliverJob(ctx, "00000000-0000-7000-8000-000000000000")
	answered(err)
	_, err = w.Deliver(ctx)
	answered(err)
}

// plant gives the account a live token, without a call of the Service.
func (w *world) plant(id, text string) {
	token, err := recovery.ParseToken(text)
	if err != nil {
		w.t.Error(err)
	}
	found, err := w.users.FindAccounts(w.t.Context(), recovery.AccountQuery{By: recovery.ByID, Typed: id, Canonical: id, Max: 1})
	if err != nil || len(found) != 1 {
		w.t.Errorf("%d accounts, %v", len(found), err)
		return
	}
	w.planting.Lock()
	defer w.planting.Unlock()
	now := time.Now().UTC().Truncate(time.Microsecond)
	const job = "z" // the newest of this instant, whatever a worker mails meanwhile
	err1 := w.users.Enqueue(w.t.Context(), recovery.Job{ID: job, Kind: recovery.JobReset, RequestedAt: now, Priority: now}, nil)
	_, err2 := w.users.Claim(w.t.Context(), recovery.Claim{LeaseID: job, JobID: job, At: now, Until: now, Max: 1})
	_, err3 := w.users.CreateResets(w.t.Context(), recovery.ResetBatch{JobID: job, LeaseID: job, At: now, Resets: []recovery.Reset{{
		Digest: token.Digest(), AccountID: id, Version: found[0].Version, RequestedAt: now, JobID: job, ExpiresAt: now.Add(time.Hour),
	}}})
	err4 := w.users.Finish(w.t.Context(), recovery.Outcome{JobID: job, LeaseID: job, At: now})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		w.t.Error(err)
	}
}

// checkNested checks that such a function got the usual answers.
func (w *world) checkNested() {
	if !w.plan.by(modeReenter) || !w.faults.happened() {
		return
	}
	if want := []string{"ok", "token", "ok", "ok", "ok", "ok"}; !slices.Equal(w.nested.classes, want) {
		w.violation("a function that calls the Service is answered %q, want %q", w.nested.classes, want)
	}
	for _, hook := range []string{"PasswordChanged", "TokenRefused"} {
		if n := w.nested.counts[hook]; n != 1 {
			w.violation("%s was called %d times for such a call, want 1", hook, n)
		}
	}
}
