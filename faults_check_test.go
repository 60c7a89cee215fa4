package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/recovery"
)

func (w *faultWorld) violation(format string, args ...any) {
	w.violations = append(w.violations, fmt.Sprintf(format, args...))
}

// check looks for what the library promises whatever fails. It is called when everything works again
// and the queue was worked off.
func (w *faultWorld) check() {
	w.checkAnswers()
	w.checkPromises()
	w.checkPasswords()
	w.checkMails()
	w.checkEvents()
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

// must returns how a call of the application has to be answered because something failed in it, or "".
func (w *faultWorld) must(trace []faultSpot) string {
	p := w.plan
	if !slices.Contains(trace, p.at) {
		return ""
	}
	if p.at.site == "Policy.Breached" {
		leaves := p.on(p.at.site, modeCancel, modeCancelAfter, modeFailCancel)
		if leaves || !w.Options().Policy.BreachFailClosed {
			return ""
		}
		return "busy"
	}
	switch p.mode {
	case modePanic, modePanicAfter:
		return "panic"
	case modeFail, modeFailAfter, modeFailCancel, modeDisguised, modeDown, modeDownAfter, modeEmpty:
		if p.at.site == "Options.Approve" {
			return "denied"
		}
		return "other"
	}
	return ""
}

// legal reports whether a call of the application may be answered so. Without the fault it would be
// answered as wanted.
func (w *faultWorld) legal(class, want string) bool {
	p := w.plan
	failing := p.on(p.at.site, modeFail, modeFailAfter, modeFailCancel, modeDisguised, modeDown, modeDownAfter, modeEmpty)
	ours := strings.HasPrefix(p.at.site, "Store.") || p.at.site == "Options.HashPassword"
	switch {
	case class == want || want == "limit" && class == "ok":
		return true
	case strings.HasPrefix(p.at.site, "Hooks."):
		return class == "canceled" && p.mode == modeCancel
	case p.at.site == "Policy.Breached" && class == "busy":
		return w.Options().Policy.BreachFailClosed
	case p.at.site == "Options.Approve" && class == "denied":
		return true
	case class == "token" && p.lyingClock():
		return true
	case want == "password" && class == "ok": // the service that knows it did not answer
		return p.at.site == "Policy.Breached"
	case want == "ok" && class == "token": // of a call that was made again
		return len(w.completions) > 1
	case want == "token" && class == "ok":
		return len(w.completions) > 1
	case class == "panic":
		return p.on(p.at.site, modePanic, modePanicAfter)
	case class == "canceled":
		return p.on(p.at.site, modeCancel, modeCancelAfter, modeFailCancel)
	case class == "deadline":
		return p.on(p.at.site, modeBlock, modeBlockAfter, modeSlow)
	case class == "other":
		return ours && failing
	}
	return false
}

func (w *faultWorld) checkAnswers() {
	var classes, musts []string
	for _, a := range w.asks {
		classes, musts = append(classes, classOf(a.err)), append(musts, w.must(a.trace))
		w.checkTook(a.took, time.Minute)
	}
	for _, c := range w.completions {
		classes, musts = append(classes, classOf(c.err)), append(musts, w.must(c.trace))
		if w.checkTook(c.took, time.Minute); w.plan.at.site == "Policy.Breached" && c.took > 2*time.Second {
			w.violation("the breach service held up the call for %v", c.took)
		}
	}
	if len(classes) != len(w.scenario.want) {
		w.violation("there were %d calls, want %d", len(classes), len(w.scenario.want))
		return
	}
	for i, class := range classes {
		if want := w.scenario.want[i]; !w.legal(class, want) || musts[i] != "" && musts[i] != class {
			w.violation("call %d is answered %q, want %q", i+1, class, want)
		}
	}
	for _, d := range w.deliveries {
		w.checkTook(d.took, 4*30*time.Second) // as Run promises
		if w.plan.mode == modeBlock && (w.plan.at.site == "Mailer.Send" || w.plan.at.site == "Options.OnReset") {
			w.checkTook(d.took, 35*time.Second) // Run began a little before
		}
		switch must := w.must(d.trace); {
		case classOf(d.err) == "ok":
			if must != "" && w.plan.at.site == "Store.ClaimRequests" && w.scenario.name != "Run" {
				w.violation("nothing could be claimed, and the delivery is answered nil")
			}
		case classOf(d.err) == "canceled" && w.plan.on(w.plan.at.site, modeCancel, modeCancelAfter, modeFailCancel):
		case w.plan.at.site != "Store.ClaimRequests":
			w.violation("the delivery is answered %v", d.err)
		}
	}
}

// checkTook checks how long a call took. Time passes only while something foreign takes it.
func (w *faultWorld) checkTook(took, most time.Duration) {
	switch {
	case w.plan.mode == modeSlow:
		most += 10 * time.Minute
	case strings.HasPrefix(w.plan.at.site, "Hooks.") && w.scenario.name != "Run":
		most = 0
	}
	if took > most {
		w.violation("a call took %v", took)
	}
}

// checkPromises checks that what was accepted is mailed, with a token that works.
func (w *faultWorld) checkPromises() {
	if strings.Contains(w.users.Dump(), "request ") {
		w.violation("the queue does not get empty")
	}
	told := w.counts["RequestFailed"] > 0 && w.plan.mode == modePermanent || w.plan.lyingClock()
	mails := w.mail.Messages()
	for _, a := range w.asks {
		if a.err != nil || told {
			continue
		}
		for _, username := range a.expects {
			var last recovery.Message
			for _, m := range mails[a.before:] {
				if m.Kind == a.kind && slices.Contains(m.Usernames, username) {
					last = m
				}
			}
			switch {
			case last.ID == "":
				w.violation("the %s mail to %s is lost", a.kind, username)
			case !last.Token.IsZero() && time.Now().Before(last.ExpiresAt) && !w.alive(last.Token.Reveal(), time.Now()):
				w.violation("the last token of %s is dead", username)
			}
		}
	}
}

// checkPasswords checks that a password is changed exactly when its token is used up, that whoever was
// told of a success has it, and that every change is followed by a notice and a call of OnReset.
func (w *faultWorld) checkPasswords() {
	for _, c := range w.completions {
		switch {
		case c.changed && !c.before:
			w.violation("a dead token changed the password")
		case c.changed != (c.before && !c.after):
			w.violation("changed is %v, the token was alive is %v and is %v", c.changed, c.before, c.after)
		case c.err == nil && !c.changed:
			w.violation("the call returned nil, and the password is the old one")
		case c.err != nil && c.changed && w.plan.at.site != "Store.CompleteReset":
			w.violation("the password was changed, and the caller was told %v", c.err)
		case len(w.completions) == 1 && c.changed != w.has(c.id, c.password):
			w.violation("the password was changed after the call, or changed back")
		}
	}
	for id, address := range map[string]string{"1": sharedAddress, "2": sharedAddress, "3": billybobAddress} {
		hash, ok := w.users.PasswordHash(id)
		if !ok || hash == oldHash || hash == "hash of another" {
			continue
		}
		told := slices.ContainsFunc(w.mail.Messages(), func(m recovery.Message) bool {
			return m.Kind == recovery.MessagePasswordChanged && m.To == address
		})
		if !told && w.plan.mode != modePermanent {
			w.violation("the password was changed, and nobody is told")
		}
		if w.Options().OnReset != nil && !slices.Contains(w.resets, id) {
			w.violation("the password was changed, and OnReset was not called")
		}
	}
}

// checkMails checks that mails go to addresses on file, of those who may have them, and are not repeated
// without end.
func (w *faultWorld) checkMails() {
	copies, most := make(map[string]int), 1
	switch lasting := w.plan.mode == modeDown || w.plan.mode == modeDownAfter; {
	case lasting && (w.plan.at.site == "Mailer.Send" || w.plan.at.site == "Store.FinishRequest"):
		most = 5 // each was accepted, and the Service could not know or note it
	case w.plan.at.site == "Mailer.Send", w.plan.lyingClock():
		most = 2
	}
	for _, m := range w.mail.Messages() {
		if copies[m.ID]++; copies[m.ID] > most {
			w.violation("a mail was sent %d times", copies[m.ID])
		}
		if m.To != sharedAddress && m.To != billybobAddress {
			w.violation("a mail was sent to %s", m.To)
		}
	}
}

// checkEvents checks that the application hears of every answer.
func (w *faultWorld) checkEvents() {
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

// checkSecrets checks that no token, password, hash or address is in what gets logged or printed, and no
// name in an answer.
func (w *faultWorld) checkSecrets() {
	look := func(where, text string, more ...string) {
		if anyToken.MatchString(text) {
			w.violation("a token is in %s: %s", where, text)
		}
		for _, secret := range append(more, goodPassword, otherPassword, deniedPassword, breachedPassword, "hash of", "@example.com") {
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
		look("an event", fmt.Sprintf("%v %+v %#v", e, e, e))
		switch e := e.(type) {
		case recovery.RequestEvent:
			printed("the error of an event", e.Err)
		case recovery.ResetEvent:
			printed("the error of an event", e.Err)
		}
	}
}

// checkAfterwards checks that the Service works: a token that was not used does, and so does another
// account, and in the end nothing is left in the Store.
func (w *faultWorld) checkAfterwards() {
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
	if err := finish(w.token("zoe")); err != nil {
		w.violation("another account cannot be recovered: %v", err)
	}
	time.Sleep(96 * time.Hour)
	if _, err := w.Deliver(w.t.Context()); err != nil {
		w.violation("Deliver: %v", err)
	}
	if m, _ := w.mail.Last(); m.Kind != recovery.MessagePasswordChanged || m.To != "zoe@example.com" {
		w.violation("another account gets no notice")
	}
	time.Sleep(time.Hour)
	if _, err := w.Deliver(w.t.Context()); err != nil {
		w.violation("Deliver: %v", err)
	}
	if dump := w.users.Dump(); dump != "" {
		w.violation("something is left in the Store: %s", dump)
	}
}
