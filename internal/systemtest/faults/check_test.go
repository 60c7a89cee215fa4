package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/recovery"
)

func (w *world) violation(format string, args ...any) {
	w.violations = append(w.violations, fmt.Sprintf(format, args...))
}

// check checks what the library promises whatever fails. It is called when everything works again
// and the queue is empty.
func (w *world) check() {
	w.checkAnswers()
	w.checkPromises()
	w.checkPasswords()
	w.checkMails()
	w.checkTries()
	w.checkRefused()
	w.checkEvents()
	w.checkNested()
	w.checkSecrets()
	w.checkAfterwards()
}

// classOf names what a caller can tell from an error.
func classOf(err error) string {
	var classes []string
	for class, is := range map[string]bool{
		"panic": err == errPanicked, "token": errors.Is(err, recovery.ErrInvalidToken), "password": errors.Is(err, recovery.ErrInvalidPassword),
		"limit": errors.Is(err, recovery.ErrLimited), "field": errors.Is(err, recovery.ErrInvalidRequest), "denied": errors.Is(err, recovery.ErrDenied),
		"busy": errors.Is(err, recovery.ErrBusy), "canceled": err == context.Canceled, "deadline": err == context.DeadlineExceeded,
	} {
		if is {
			classes = append(classes, class)
		}
	}
	switch {
	case err == nil:
		return "ok"
	case len(classes) == 0:
		return "other"
	}
	slices.Sort(classes)
	return strings.Join(classes, " and ")
}

// must returns the answer that a call of the application must get because something failed in it,
// or "".
func (w *world) must(trace []spot) string {
	for _, at := range trace {
		for _, f := range w.plan {
			if must := w.mustBy(f); f.hits(at) && must != "" {
				return must
			}
		}
	}
	return ""
}

func (w *world) mustBy(f fault) string {
	if f.at.site == "Policy.Breached" {
		leaves := f.on(f.at.site, modeReenter, modeCancel, modeCancelAfter, modeFailCancel)
		if leaves || !w.Options().Policy.BreachFailClosed {
			return ""
		}
		return "busy"
	}
	failing := f.on(f.at.site, modeFail, modeFailAfter, modeFailCancel, modeDisguised, modeDown, modeDownAfter)
	switch {
	case f.on("Store.Stats", modeCancel, modeCancelAfter, modeFailCancel): // ctx's error goes first
		return "canceled"
	case f.at.site == "Store.Now": // the last known time still holds
		return ""
	case f.at.site == "Store.RefundLimits" && failing: // a try is given back, if possible
		return ""
	}
	switch f.mode {
	case modePanic, modePanicAfter:
		return "panic"
	case modeFail, modeFailAfter, modeFailCancel, modeDisguised, modeDown, modeDownAfter, modeEmpty, modeShort:
		switch {
		case f.at.site == "Options.Approve" && f.mode == modeDisguised: // as a denial, among others
			return "denied"
		case f.at.site == "Options.Approve" && f.mode == modeFailAfter: // the effect may be a denial
			return ""
		case f.at.site == "uuid.Rand":
			return "panic"
		}
		return "other"
	}
	return ""
}

// legal reports whether a call of the application may get this answer. want is its answer without a
// fault.
func (w *world) legal(class, want string) bool {
	if class == want {
		return true
	}
	return slices.ContainsFunc(w.plan, func(f fault) bool { return w.legalBy(f, class, want) })
}

func (w *world) legalBy(f fault, class, want string) bool {
	failing := f.on(f.at.site, modeFail, modeFailAfter, modeFailCancel, modeDisguised, modeDown, modeDownAfter, modeEmpty)
	ofStore := strings.HasPrefix(f.at.site, "Store.")
	ours := ofStore || f.at.site == "Hasher.Hash" || f.at.site == "Options.Approve" || f.at.site == "Policy.Check"
	switch {
	case strings.HasPrefix(f.at.site, "Hooks."):
		return class == "canceled" && f.mode == modeCancel
	case want == "limit" && class == "ok": // the call before was not counted
		return true
	case f.at.site == "Policy.Breached" && class == "busy":
		return w.Options().Policy.BreachFailClosed
	case f.at.site == "Options.Approve" && class == "denied":
		return f.mode == modeDisguised
	case class == "token" && w.plan.lyingClock():
		return true
	case want == "password" && class == "ok": // the service that knows it did not answer
		return f.at.site == "Policy.Breached"
	case want == "ok" && class == "token": // of a call that was made again
		return len(w.completions) > 1
	case want == "token" && class == "ok":
		return len(w.completions) > 1
	case f.at.site == "Store.Now": // it changes no answer
		return class == "canceled" && f.on(f.at.site, modeCancel, modeCancelAfter, modeFailCancel) || class == "deadline" && f.mode == modeSlow
	case class == "panic":
		return f.on(f.at.site, modePanic, modePanicAfter) || f.on("uuid.Rand", modeFail, modeShort)
	case class == "canceled":
		return f.on(f.at.site, modeCancel, modeCancelAfter, modeFailCancel)
	case class == "deadline": // the caller's; a Store has one of its own
		return f.mode == modeSlow || !ofStore && f.on(f.at.site, modeBlock, modeBlockAfter)
	case class == "other":
		return ours && failing || ofStore && f.on(f.at.site, modeBlock, modeBlockAfter)
	}
	return false
}

func (w *world) checkAnswers() {
	var classes, musts []string
	for _, a := range w.asks {
		classes, musts = append(classes, classOf(a.err)), append(musts, w.must(a.trace))
		w.checkTook(a.took, w.mostByStore())
	}
	for _, c := range w.completions {
		classes, musts = append(classes, classOf(c.err)), append(musts, w.must(c.trace))
		if w.checkTook(c.took, w.mostByStore()); w.plan.on("Policy.Breached") && c.took > 2*time.Second {
			w.violation("the breach service held up the call for %v", c.took)
		}
	}
	if len(classes) != len(w.scenario.want) {
		w.violation("there were %d calls, want %d", len(classes), len(w.scenario.want))
		return
	}
	for i, class := range classes {
		if want := w.scenario.want[i]; !w.legal(class, want) {
			w.violation("call %d is answered %q, want %q", i+1, class, want)
		}
		if must := musts[i]; must != "" && must != class {
			w.violation("call %d is answered %q, must be %q", i+1, class, must)
		}
	}
	for _, d := range w.deliveries {
		w.checkTook(d.took, time.Duration(max(1, len(w.plan)))*4*30*time.Second) // as Run promises
		if len(w.plan) == 1 && (w.plan.on("Mailer.Send", modeBlock) || w.plan.on("Options.OnReset", modeBlock)) {
			w.checkTook(d.took, time.Duration(max(1, len(w.asks)))*35*time.Second) // a job without a mail takes as long
		}
		switch classOf(d.err) {
		case "ok":
			if w.claimFailed(d.trace) && w.scenario.name != "Run" {
				w.violation("nothing could be claimed, and the delivery is answered nil")
			}
		case "canceled":
			if !w.plan.by(modeCancel, modeCancelAfter, modeFailCancel) {
				w.violation("the delivery is answered %v", d.err)
			}
		case "panic":
			if !w.plan.on("Options.Now", modePanic) && !w.plan.on("uuid.Rand", modeFail, modeShort) {
				w.violation("the delivery panics")
			}
		default:
			if !w.plan.on("Store.Claim") {
				w.violation("the delivery is answered %v", d.err)
			}
		}
	}
}

// claimFailed reports whether a claim failed in one of the calls.
func (w *world) claimFailed(trace []spot) bool {
	return slices.ContainsFunc(trace, func(at spot) bool {
		return slices.ContainsFunc(w.plan, func(f fault) bool {
			return f.hits(at) && f.at.site == "Store.Claim" && w.mustBy(f) != ""
		})
	})
}

// mostByStore returns how long a caller waits at most: no call of the Store takes longer than
// StoreTimeout, and no caller waits for its clock.
func (w *world) mostByStore() time.Duration {
	switch {
	case w.plan.onHook():
		return 0
	case len(w.plan) != 1 || !strings.HasPrefix(w.plan[0].at.site, "Store."):
		return time.Minute
	case w.plan.on("Store.Now"):
		return 500 * time.Millisecond
	}
	return 5 * time.Second
}

// checkTook checks how long a call took. Time passes only in foreign functions, and no call waits
// for a hook. A delivery may pretend to send mails.
func (w *world) checkTook(took, most time.Duration) {
	for _, f := range w.plan {
		if f.mode == modeSlow && !w.plan.onHook() {
			most += 10 * time.Minute
		}
	}
	if w.plan.onHook() {
		most = min(most, runTime)
	}
	if took > most {
		w.violation("a call took %v", took)
	}
}

// checkPromises checks that accepted requests are mailed, with a token that works.
func (w *world) checkPromises() {
	if w.waiting() > 0 {
		w.violation("the queue does not get empty")
	}
	mails := w.mail.Messages()
	for _, a := range slices.Concat(w.asks, w.nested.asks) {
		if a.err != nil {
			continue
		}
		for _, username := range a.expects {
			var last recovery.Message
			for _, m := range mails[a.before:] {
				if m.Kind == a.kind && slices.Contains(namesIn(m), username) {
					last = m
				}
			}
			switch {
			case last.ID == "" && !w.excused(a, username):
				w.violation("the %s mail to %s is lost", a.kind, username)
			case last.ID != "" && time.Now().Before(last.ExpiresAt) && !w.plan.lyingClock():
				for _, r := range last.Resets {
					if r.Username == username && !w.alive(r.Token.Reveal(), time.Now()) {
						w.violation("the last token of %s is dead", username)
					}
				}
			}
		}
	}
}

// namesIn returns the user names that a mail is about.
func namesIn(m recovery.Message) []string {
	names := slices.Clone(m.Usernames)
	for _, r := range m.Resets {
		names = append(names, r.Username)
	}
	return names
}

// excused reports whether a mail may be missing. Either the mail system refused it for good, or
// refused one that was counted before it, or a lying clock made the request too old and the
// application was told.
func (w *world) excused(a ask, username string) bool {
	throttled := slices.ContainsFunc(w.events, func(e event) bool {
		r, ok := e.event.(recovery.JobEvent)
		return ok && e.hook == "JobThrottled" && slices.Contains(a.jobs, r.ID)
	})
	for id, m := range w.refused {
		if (throttled || slices.Contains(a.jobs, id)) && m.Kind == a.kind && slices.Contains(namesIn(m), username) {
			return true
		}
	}
	return w.plan.lyingClock() && slices.ContainsFunc(w.events, func(e event) bool {
		r, ok := e.event.(recovery.JobEvent)
		return ok && slices.Contains(a.jobs, r.ID) &&
			(r.Reason == recovery.DropTooOld || r.Reason == recovery.DropSuperseded || e.hook == "JobFailed")
	})
}

// checkTries checks that denials and wrong codes lost a try, and nothing else did.
func (w *world) checkTries() {
	if w.plan.on("Store.TakeLimits") || w.plan.on("Store.RefundLimits") || w.plan.lyingClock() {
		return
	}
	lost := 0
	for _, c := range w.completions {
		wrongCode := strings.Contains(c.token, " ") && !c.before && errors.Is(c.err, recovery.ErrInvalidToken)
		if errors.Is(c.err, recovery.ErrDenied) || wrongCode {
			lost++
		}
	}
	if w.tries != lost {
		w.violation("%d tries were lost, and %d should be", w.tries, lost)
	}
}

// checkRefused checks that a mail that is refused for good is reported and not tried again.
func (w *world) checkRefused() {
	for id, m := range w.refused {
		told := slices.ContainsFunc(w.events, func(e event) bool {
			r, ok := e.event.(recovery.JobEvent)
			return ok && e.hook == "JobFailed" && r.ID == id && errors.Is(r.Err, recovery.ErrPermanent)
		})
		if !told {
			w.violation("the %s mail was refused for good, and nobody is told", m.Kind)
		}
		// The refusal is unknown if its outcome could not be stored, or the program ended before.
		if n := w.sends[id]; n > 0 && !w.plan.on("Store.Finish") && !w.plan.on("Options.Now") && !w.plan.on("uuid.Rand") {
			w.violation("the %s mail was refused for good, and tried %d times more", m.Kind, n)
		}
	}
}

// checkPasswords checks that a password changes exactly when its token is used up, that a success
// was one, and that a notice and a call of OnReset follow every change.
func (w *world) checkPasswords() {
	for _, c := range w.completions {
		switch {
		case c.changed && !c.before:
			w.violation("a dead token changed the password")
		case c.changed != (c.before && !c.after):
			w.violation("changed is %v, the token was alive is %v and is %v", c.changed, c.before, c.after)
		case c.err == nil && !c.changed:
			w.violation("the call returned nil, and the password is the old one")
		case c.err != nil && c.changed && !w.plan.on("Store.Redeem"):
			w.violation("the password was changed, and the caller was told %v", c.err)
		case len(w.completions) == 1 && c.changed != w.has(c.id, c.password):
			w.violation("the password was changed after the call, or changed back")
		}
	}
	for id, who := range map[string]struct{ username, address string }{
		"1": {"alice", sharedAddress}, "2": {"alicia", sharedAddress}, "3": {"billybob", billybobAddress}, "6": {"quinn", quinnAddress},
	} {
		notices := make(map[string]bool) // by ID
		for _, m := range slices.AppendSeq(w.mail.Messages(), maps.Values(w.refused)) {
			if m.Kind == recovery.MessagePasswordChanged && m.To == who.address && slices.Contains(m.Usernames, who.username) {
				notices[m.ID] = true
			}
		}
		if len(notices) != w.changes[id] {
			w.violation("the password of %s was changed %d times, with %d notices", who.username, w.changes[id], len(notices))
		}
		if w.changes[id] > 0 && w.Options().OnReset != nil && !slices.Contains(w.resets, id) {
			w.violation("the password was changed, and OnReset was not called")
		}
	}
}

// checkMails checks that mails go only to stored addresses of accounts that may get them, and do
// not repeat without end.
func (w *world) checkMails() {
	copies, most := make(map[string]int), 1
	for _, f := range w.plan {
		switch lasting := f.mode == modeDown || f.mode == modeDownAfter; {
		case lasting && (f.on("Mailer.Send") || f.on("Store.Finish")):
			most += 4 // each was accepted, and the Service could not know or note it
		case f.on("Mailer.Send"), f.on("Options.Now"):
			most++
		}
	}
	for _, m := range w.mail.Messages() {
		if copies[m.ID]++; copies[m.ID] > most {
			w.violation("a mail was sent %d times", copies[m.ID])
		}
		if m.To != sharedAddress && m.To != billybobAddress && (m.To != quinnAddress || !w.plan.by(modeReenter)) {
			w.violation("a mail was sent to %s", m.To)
		}
	}
}

// checkEvents checks that the hooks report every answer.
func (w *world) checkEvents() {
	answers := make(map[string]int)
	for _, a := range w.asks {
		answers[classOf(a.err)]++
	}
	changed := 0
	for _, c := range w.completions {
		if answers[classOf(c.err)]++; c.err == nil {
			changed++
		}
	}
	for hook, want := range map[string]int{
		"LimitReached": answers["limit"], "TokenRefused": answers["token"], "ResetDenied": answers["denied"], "PasswordChanged": changed,
	} {
		if got := w.counts[hook]; got != want {
			w.violation("%s was called %d times, want %d", hook, got, want)
		}
	}
}

var anyToken = regexp.MustCompile(`[a-z2-7]{52}`)

// checkSecrets checks that no token, password, hash or address is logged or printed, and that no
// answer has a name.
func (w *world) checkSecrets() {
	look := func(where, text string, more ...string) {
		if anyToken.MatchString(text) {
			w.violation("a token is in %s: %s", where, text)
		}
		for _, secret := range append(more, goodPassword, otherPassword, deniedPassword, breachedPassword, nestedPassword, "hash of", "@example.com") {
			if secret != "" && strings.Contains(text, secret) {
				w.violation("%q is in %s: %s", secret, where, text)
			}
		}
	}
	printed := func(where string, err error, more ...string) {
		if err != nil {
			look(where, fmt.Sprintf("%v %+v %#v %q", err, err, err, err), more...)
		}
	}
	look("the log", w.log.String())
	for _, a := range w.asks {
		printed("an answer", a.err, "alice", w.subject)
	}
	for _, c := range w.completions {
		printed("an answer", c.err)
	}
	for _, d := range w.deliveries {
		printed("the error of a delivery", d.err)
	}
	for _, e := range w.events {
		look("an event", fmt.Sprintf("%v %+v %#v", e.event, e.event, e.event))
		switch e := e.event.(type) {
		case recovery.JobEvent:
			printed("the error of an event", e.Err)
		case recovery.ResetEvent:
			printed("the error of an event", e.Err)
		}
	}
}

// checkAfterwards checks that the Service works: an unused token can be redeemed, another account
// can be recovered, and in the end the Store is empty.
func (w *world) checkAfterwards() {
	w.mail.Fail(nil)
	finish := func(token string) error {
		_, err := w.CompleteReset(w.t.Context(), recovery.CompleteRequest{Token: token, Password: goodPassword})
		return err
	}
	for _, c := range w.completions {
		if w.alive(c.token, time.Now()) {
			if err := finish(c.token); err != nil {
				w.violation("a token that is alive is refused: %v", err)
			}
		}
	}
	if err := finish(w.token("zoe", netip.MustParseAddr("203.0.113.7"))); err != nil {
		w.violation("another account cannot be recovered: %v", err)
	}
	time.Sleep(96 * time.Hour)
	if _, err := w.Deliver(w.t.Context()); err != nil {
		w.violation("Deliver: %v", err)
	}
	if !slices.ContainsFunc(w.mail.Messages(), func(m recovery.Message) bool {
		return m.Kind == recovery.MessagePasswordChanged && m.To == "zoe@example.com"
	}) {
		w.violation("another account gets no notice")
	}
	time.Sleep(time.Hour)
	if _, err := w.Deliver(w.t.Context()); err != nil {
		w.violation("Deliver: %v", err)
	}
	for line := range strings.Lines(w.users.Dump()) {
		// Limits and tokens of the last instant are kept until then.
		if !w.plan.on("Options.Now", modeLast) || strings.HasPrefix(line, "job ") || !strings.Contains(line, " 294247-01-1") {
			w.violation("something is left in the Store: %s", line)
		}
	}
}
