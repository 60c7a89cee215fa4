package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/recovery"
)

// A faultMode is a way in which a call goes wrong.
type faultMode string

const (
	modeFail        faultMode = "an error"
	modeFailAfter   faultMode = "an error after the effect"
	modeFailCancel  faultMode = "an error as the caller goes away"
	modeDisguised   faultMode = "an error that pretends to be one of ours"
	modeCancel      faultMode = "the caller goes away before"
	modeCancelAfter faultMode = "the caller goes away after"
	modeBlock       faultMode = "no answer until the context ends"
	modeBlockAfter  faultMode = "the effect, and no answer until the context ends"
	modeSlow        faultMode = "ten minutes, whatever the context says"
	modePanic       faultMode = "a panic"
	modePanicAfter  faultMode = "a panic after the effect"
	modeDown        faultMode = "errors from now on"
	modeDownAfter   faultMode = "errors after the effect from now on"
	modePermanent   faultMode = "refused for good"
	modeUncertain   faultMode = "accepted, and called uncertain"
	modeEmpty       faultMode = "an empty result"
	modeAhead       faultMode = "two days ahead"
	modeBack        faultMode = "two days back"
	modeNoTime      faultMode = "the zero time"
	modeExit        faultMode = "the end of the goroutine"
	modeReenter     faultMode = "a call of the Service"
)

var withContext = []faultMode{
	modeFail, modeFailAfter, modeFailCancel, modeDisguised, modeCancel, modeCancelAfter, modeBlock, modeBlockAfter,
	modeSlow, modePanic, modePanicAfter, modeDown, modeDownAfter,
}

// modesOf returns what can happen at a site. A clock has no error, and no caller to catch its panic.
func modesOf(site string) []faultMode {
	switch {
	case site == "Mailer.Send":
		return append([]faultMode{modePermanent, modeUncertain}, withContext...)
	case site == "Options.Now":
		return []faultMode{modeCancel, modeSlow, modeAhead, modeBack, modeNoTime}
	case site == "Options.HashPassword":
		return []faultMode{modeFail, modeFailAfter, modeFailCancel, modeDisguised, modeCancel, modeCancelAfter, modeSlow, modePanic, modeEmpty}
	case strings.HasPrefix(site, "Hooks."):
		return []faultMode{modeCancel, modeBlock, modeSlow, modePanic, modeExit, modeReenter}
	}
	return withContext
}

// A faultSpot is the nth call of a site.
type faultSpot struct {
	site string
	n    int
}

// A faultPlan is what is to go wrong; the zero one is nothing.
type faultPlan struct {
	at   faultSpot
	mode faultMode
}

func (p faultPlan) String() string {
	if p.mode == "" {
		return "no fault"
	}
	return fmt.Sprintf("%s, call %d, by %q", p.at.site, p.at.n+1, p.mode)
}

func (p faultPlan) on(site string, modes ...faultMode) bool {
	return p.at.site == site && slices.Contains(modes, p.mode)
}

// lyingClock reports whether the clock is what goes wrong: then time itself decides otherwise.
func (p faultPlan) lyingClock() bool {
	return p.on("Options.Now", modeAhead, modeBack, modeNoTime)
}

// faults counts the calls of foreign functions and lets one of them go wrong.
type faults struct {
	plan    faultPlan
	healed  chan struct{} // closed when everything works again
	reenter func()

	mu     sync.Mutex
	armed  bool
	seen   map[string]int
	order  []faultSpot
	fired  bool
	cancel context.CancelFunc // of the call in progress
}

func (f *faults) arm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.seen = true, make(map[string]int)
}

func (f *faults) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	close(f.healed)
}

func (f *faults) caller(cancel context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel = cancel
}

func (f *faults) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel()
}

// next notes a call and returns how it goes wrong, or "".
func (f *faults) next(site string) faultMode {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed {
		return ""
	}
	at := faultSpot{site, f.seen[site]}
	f.seen[site]++
	f.order = append(f.order, at)
	lasting := f.plan.mode == modeDown || f.plan.mode == modeDownAfter
	if f.plan.at != at && !(lasting && f.plan.at.site == site && f.plan.at.n < at.n) {
		return ""
	}
	f.fired = true
	return f.plan.mode
}

// trace returns the calls from the given one on, less the hooks: those run by themselves.
func (f *faults) trace(from int) (trace []faultSpot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range f.order[from:] {
		if !strings.HasPrefix(at.site, "Hooks.") {
			trace = append(trace, at)
		}
	}
	return trace
}

func (f *faults) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.order)
}

// call makes a call that takes a context, or lets it go wrong. The error repeats all secrets that the
// function was given, as careless drivers do.
func (f *faults) call(ctx context.Context, site string, secrets []string, effect func(context.Context) error) error {
	mode := f.next(site)
	switch mode {
	case modeFailAfter, modeDownAfter, modeBlockAfter, modePanicAfter, modeUncertain:
		_ = effect(ctx)
	}
	switch mode {
	case modeFail, modeFailAfter, modeDown, modeDownAfter:
		return errFault(secrets)
	case modeFailCancel:
		f.leave()
		return errFault(secrets)
	case modeDisguised:
		return errDisguised(site, secrets)
	case modePermanent:
		return fmt.Errorf("%w: %w", errFault(secrets), recovery.ErrPermanent)
	case modeUncertain:
		return fmt.Errorf("%w: %w", errFault(secrets), recovery.ErrUncertain)
	case modeEmpty:
		return nil
	case modeCancel:
		f.leave()
	case modeCancelAfter:
		err := effect(ctx)
		f.leave()
		return err
	case modeBlock, modeBlockAfter:
		<-ctx.Done()
		return ctx.Err()
	case modeSlow:
		time.Sleep(10 * time.Minute)
		ctx = context.WithoutCancel(ctx)
	case modePanic, modePanicAfter:
		panic(errFault(secrets).Error())
	}
	return effect(ctx)
}

// hook is the same for a function that takes nothing and returns nothing.
func (f *faults) hook(site string, call func()) {
	defer call()
	switch f.next(site) {
	case modeCancel:
		f.leave()
	case modeBlock:
		<-f.healed
	case modeSlow:
		time.Sleep(10 * time.Minute)
	case modePanic:
		panic("boom")
	case modeExit:
		runtime.Goexit()
	case modeReenter:
		f.reenter()
	}
}

// now is the clock.
func (f *faults) now() time.Time {
	switch f.next("Options.Now") {
	case modeCancel:
		f.leave()
	case modeSlow:
		time.Sleep(10 * time.Minute)
	case modeAhead:
		return time.Now().Add(48 * time.Hour)
	case modeBack:
		return time.Now().Add(-48 * time.Hour)
	case modeNoTime:
		return time.Time{}
	}
	return time.Now()
}

var errInjected = errors.New("injected")

func errFault(secrets []string) error {
	return fmt.Errorf("%w: duplicate key %q of %s", errInjected, secrets, strings.Join(secrets, " "))
}

// errDisguised matches every error of the library that the site may not return.
func errDisguised(site string, secrets []string) error {
	errs := []error{errFault(secrets), recovery.ErrInvalidRequest, recovery.ErrInvalidPassword, recovery.ErrDenied, recovery.ErrBusy,
		&recovery.FieldError{Field: "username", Rule: "is wrong"}, &recovery.PasswordError{Reasons: []recovery.PasswordReason{{Name: "x", Text: "y"}}}}
	if site != "Store.FindReset" && site != "Store.CompleteReset" {
		errs = append(errs, recovery.ErrInvalidToken, &recovery.TokenError{Reason: recovery.TokenUsed})
	}
	if !strings.HasPrefix(site, "Store.") {
		errs = append(errs, recovery.ErrLimited, &recovery.LimitError{Scope: recovery.ScopeClient, RetryAfter: time.Hour})
	}
	if site != "Store.CreateReset" {
		errs = append(errs, recovery.ErrSuperseded)
	}
	if site != "Store.FinishRequest" {
		errs = append(errs, recovery.ErrLeaseLost)
	}
	if site != "Mailer.Send" {
		errs = append(errs, recovery.ErrPermanent, recovery.ErrUncertain)
	}
	return errors.Join(errs...)
}
