package faults

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/recovery"
)

// A mode is a way in which a call goes wrong.
type mode string

const (
	modeFail        mode = "an error"
	modeFailAfter   mode = "an error after the effect"
	modeFailCancel  mode = "an error as the caller goes away"
	modeDisguised   mode = "an error that pretends to be one of ours"
	modeCancel      mode = "the caller goes away before"
	modeCancelAfter mode = "the caller goes away after"
	modeBlock       mode = "no answer until the context ends"
	modeBlockAfter  mode = "the effect, and no answer until the context ends"
	modeSlow        mode = "ten minutes, whatever the context says"
	modePanic       mode = "a panic"
	modePanicAfter  mode = "a panic after the effect"
	modeDown        mode = "errors from now on"
	modeDownAfter   mode = "errors after the effect from now on"
	modePermanent   mode = "refused for good"
	modeUncertain   mode = "accepted, and called uncertain"
	modeEmpty       mode = "an empty result"
	modeAhead       mode = "two days ahead"
	modeBack        mode = "two days back"
	modeNoTime      mode = "the zero time"
	modeFirst       mode = "the first instant"
	modeLast        mode = "the last instant"
	modeShort       mode = "a few bytes and the end"
	modeZeros       mode = "nothing but zeros from now on"
	modeExit        mode = "the end of the goroutine"
	modeReenter     mode = "a call of the Service"
)

var withContext = []mode{
	modeFail, modeFailAfter, modeFailCancel, modeDisguised, modeCancel, modeCancelAfter, modeBlock, modeBlockAfter,
	modeSlow, modePanic, modePanicAfter, modeDown, modeDownAfter,
}

// modesOf returns the modes that a site can have.
func modesOf(site string) []mode {
	switch {
	case site == "Mailer.Send":
		return append([]mode{modePermanent, modeUncertain}, withContext...)
	case site == "Options.Now":
		return []mode{modeCancel, modeSlow, modePanic, modeAhead, modeBack, modeNoTime, modeFirst, modeLast}
	case site == "uuid.Rand":
		return []mode{modeFail, modeShort, modeZeros}
	case site == "Hasher.Hash":
		return []mode{modeFail, modeFailAfter, modeFailCancel, modeDisguised, modeCancel, modeCancelAfter, modeSlow, modePanic, modeEmpty}
	case strings.HasPrefix(site, "Hooks."):
		return []mode{modeCancel, modeBlock, modeSlow, modePanic, modeExit, modeReenter}
	case site == "Options.Approve", site == "Options.OnReset", site == "Portal.Allow", site == "Policy.Breached", site == "Policy.Check":
		return append([]mode{modeReenter}, withContext...)
	}
	return withContext
}

// A spot is the nth call of a site.
type spot struct {
	site string
	n    int
}

// A fault is a call that goes wrong.
type fault struct {
	at   spot
	mode mode
}

func (f fault) String() string { return fmt.Sprintf("%s, call %d, by %q", f.at.site, f.at.n+1, f.mode) }

// on reports whether the fault is at the site, and in one of the modes, if any are given.
func (f fault) on(site string, modes ...mode) bool {
	return f.at.site == site && (len(modes) == 0 || slices.Contains(modes, f.mode))
}

// hits reports whether the call goes wrong.
func (f fault) hits(at spot) bool {
	lasting := f.mode == modeDown || f.mode == modeDownAfter || f.mode == modeZeros
	return f.at == at || lasting && f.at.site == at.site && f.at.n < at.n
}

// A plan lists the calls that go wrong.
type plan []fault

func (p plan) String() string {
	if len(p) == 0 {
		return "no fault"
	}
	texts := make([]string, len(p))
	for i, f := range p {
		texts[i] = f.String()
	}
	return strings.Join(texts, ", and ")
}

func (p plan) on(site string, modes ...mode) bool {
	return slices.ContainsFunc(p, func(f fault) bool { return f.on(site, modes...) })
}

func (p plan) by(modes ...mode) bool {
	return slices.ContainsFunc(p, func(f fault) bool { return slices.Contains(modes, f.mode) })
}

func (p plan) onHook() bool {
	return slices.ContainsFunc(p, func(f fault) bool { return strings.HasPrefix(f.at.site, "Hooks.") })
}

// lyingClock reports whether the clock goes wrong: then deadlines and expiries change too.
func (p plan) lyingClock() bool {
	return p.on("Options.Now", modeAhead, modeBack, modeNoTime, modeFirst, modeLast)
}

// faults counts the calls of foreign functions, and makes those of the plan go wrong.
type faults struct {
	plan    plan
	healed  chan struct{} // closed when everything works again
	reenter func()

	mu     sync.Mutex
	armed  bool
	seen   map[string]int
	order  []spot
	fired  map[fault]bool
	cancel context.CancelFunc // of the call in progress
}

func (f *faults) arm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.seen, f.fired = true, make(map[string]int), make(map[fault]bool)
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

// next records a call and returns how it goes wrong, or "".
func (f *faults) next(site string) mode {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed {
		return ""
	}
	at := spot{site, f.seen[site]}
	f.seen[site]++
	f.order = append(f.order, at)
	for _, fault := range f.plan {
		if fault.hits(at) {
			f.fired[fault] = true
			return fault.mode
		}
	}
	return ""
}

// happened reports whether every planned fault happened.
func (f *faults) happened() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.fired) == len(f.plan)
}

// trace returns the calls from the given one on, without hooks, which run by themselves.
func (f *faults) trace(from int) (trace []spot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range f.order[from:] {
		// The clock does not know who reads it.
		if !strings.HasPrefix(at.site, "Hooks.") && !(at.site == "Options.Now" && f.plan.by(modeReenter)) {
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

// call makes a call that takes a context, or makes it go wrong. The error repeats all secrets that
// the function was given, as careless drivers do.
func (f *faults) call(ctx context.Context, site string, secrets []string, effect func(context.Context) error) error {
	if ctx.Value(reentrant{}) != nil {
		return effect(ctx)
	}
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
	case modeReenter:
		f.reenter()
	}
	return effect(ctx)
}

// hook does the same for a function without arguments and results.
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
	case modePanic:
		f.endProgram()
		panic("boom")
	case modeFirst:
		return time.UnixMicro(math.MinInt64)
	case modeLast:
		return time.UnixMicro(math.MaxInt64)
	case modeAhead:
		return time.Now().Add(48 * time.Hour)
	case modeBack:
		return time.Now().Add(-48 * time.Hour)
	case modeNoTime:
		return time.Time{}
	}
	return time.Now()
}

// Read is where the IDs get their randomness from.
func (f *faults) Read(p []byte) (int, error) {
	switch f.next("uuid.Rand") {
	case modeFail:
		f.endProgram()
		return 0, errInjected
	case modeShort:
		f.endProgram()
		return copy(p, "a few"), io.EOF
	case modeZeros:
		clear(p)
		return len(p), nil
	}
	return rand.Read(p)
}

// endProgram ends the goroutine where neither the library nor the caller would catch a panic: the
// program ends there, and only the state of the Store counts.
func (f *faults) endProgram() {
	pcs := make([]uintptr, 100)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, "(*Service).guard") || strings.HasSuffix(frame.Function, "(*world).call") {
			return
		}
		if !more {
			runtime.Goexit()
		}
	}
}

var errInjected = errors.New("injected")

func errFault(secrets []string) error {
	return fmt.Errorf("%w: duplicate key %q of %s", errInjected, secrets, strings.Join(secrets, " "))
}

// errDisguised matches every error of the library that the site may not return.
func errDisguised(site string, secrets []string) error {
	errs := []error{errFault(secrets), recovery.ErrInvalidRequest, recovery.ErrInvalidPassword, recovery.ErrDenied,
		&recovery.FieldError{Field: "username", Rule: "is wrong"}}
	if strings.HasPrefix(site, "Store.") {
		errs = append(errs, recovery.ErrBusy, recovery.ErrChallenged, &recovery.ChallengeError{Name: "x", Text: "y"},
			&recovery.PasswordError{Reasons: []recovery.PasswordReason{{Name: "x", Text: "y"}}})
	}
	if site != "Store.FindReset" && site != "Store.Redeem" {
		errs = append(errs, recovery.ErrInvalidToken, &recovery.TokenError{Reason: recovery.TokenUsed})
	}
	if !strings.HasPrefix(site, "Store.") {
		errs = append(errs, recovery.ErrLimited, &recovery.LimitError{Scope: recovery.ScopeClient, RetryAfter: time.Hour})
	}
	if site != "Store.CreateResets" && site != "Store.Finish" {
		errs = append(errs, recovery.ErrLeaseLost)
	}
	if site != "Mailer.Send" {
		errs = append(errs, recovery.ErrPermanent, recovery.ErrUncertain)
	}
	return errors.Join(errs...)
}
