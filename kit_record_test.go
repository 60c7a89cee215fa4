package recovery_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// A traceStore records the calls that it passes on, and can be made to fail.
type traceStore struct {
	spy.Store

	mu    sync.Mutex
	trace []string
	ids   []string // of the jobs that were added
	fail  func(method string) error
}

func newTraceStore(store recovery.Store) *traceStore {
	s := &traceStore{Store: spy.Store{Store: store}}
	s.Around = s.record
	return s
}

// record notes of a job everything but what the caller chose or chance did: its shape.
func (s *traceStore) record(ctx context.Context, method string, arg any, call func(context.Context) error) error {
	detail := ""
	if e, ok := arg.(spy.Enqueue); ok {
		j := e.Job
		detail = fmt.Sprintf(" id:%d kind:%s by:%s identifier:%d account:%q tenant:%q ticket:%v portal:%q charges:%d at:%v priority:%v",
			len(j.ID), j.Kind, j.By, len(j.Identifier), j.AccountID, j.Tenant, j.Ticket != recovery.Digest{}, j.Portal,
			len(e.Charges), j.RequestedAt, j.Priority)
	}
	s.mu.Lock()
	s.trace = append(s.trace, method+detail)
	fail := s.fail
	s.mu.Unlock()
	if fail != nil {
		if err := fail(method); err != nil {
			return err
		}
	}
	s.mu.Lock()
	for _, j := range spy.Added(arg) {
		s.ids = append(s.ids, j.ID)
	}
	s.mu.Unlock()
	return call(ctx)
}

// failWith has calls fail for which f returns an error.
func (s *traceStore) failWith(f func(method string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// failAt has the calls of one method fail.
func (s *traceStore) failAt(failing string, err error) {
	s.failWith(func(method string) error {
		if method == failing {
			return err
		}
		return nil
	})
}

// hangAt has the calls of one method hang until their context ends.
func (s *traceStore) hangAt(hanging string) {
	s.Around = func(ctx context.Context, method string, arg any, call func(context.Context) error) error {
		if method == hanging {
			return hangs(ctx)
		}
		return s.record(ctx, method, arg, call)
	}
}

// added returns and forgets the IDs of the jobs that were added.
func (s *traceStore) added() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.ids
	s.ids = nil
	return ids
}

// calls returns and forgets what was recorded.
func (s *traceStore) calls() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	trace := strings.Join(s.trace, "\n")
	s.trace = nil
	return trace
}

// A hookLog records events as "Name reason".
type hookLog struct {
	mu     sync.Mutex
	events []string
	values []any
}

func (h *hookLog) add(name, reason string, event any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, strings.TrimSpace(name+" "+reason))
	h.values = append(h.values, event)
}

// wait waits for an event, which comes after the call that caused it.
func (h *hookLog) wait(t *testing.T, event string) {
	t.Helper()
	for range 5000 {
		if h.seen(event) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Fatalf("no event %q came; there were %q", event, h.events)
}

func (h *hookLog) count(event string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e == event {
			n++
		}
	}
	return n
}

func (h *hookLog) seen(event string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.events, event)
}

func (h *hookLog) all() recovery.Hooks {
	request := func(name string) func(recovery.JobEvent) {
		return func(e recovery.JobEvent) { h.add(name, string(e.Reason), e) }
	}
	reset := func(name string) func(recovery.ResetEvent) {
		return func(e recovery.ResetEvent) { h.add(name, string(e.Reason), e) }
	}
	return recovery.Hooks{
		JobStarted:      request("JobStarted"),
		JobThrottled:    request("JobThrottled"),
		JobDropped:      request("JobDropped"),
		JobRetried:      request("JobRetried"),
		JobFailed:       request("JobFailed"),
		MailSent:        request("MailSent"),
		OnResetCalled:   request("OnResetCalled"),
		LimitReached:    func(e recovery.LimitEvent) { h.add("LimitReached", e.Call+" "+string(e.Err.Scope), e) },
		TokenRefused:    reset("TokenRefused"),
		ResetDenied:     reset("ResetDenied"),
		PasswordChanged: reset("PasswordChanged"),
	}
}

// told returns the events so far, sorted, because what matters goes first. It is for bubbles.
func (w *world) told() []string {
	synctest.Wait()
	w.hooks.mu.Lock()
	defer w.hooks.mu.Unlock()
	return slices.Sorted(slices.Values(w.hooks.events))
}

// last returns the last event of a kind.
func (h *hookLog) last(event string) any {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, name := range slices.Backward(h.events) {
		if name == event {
			return h.values[i]
		}
	}
	return nil
}

// accountsTold returns the IDs of the accounts in the events of one kind, "" for none.
func (w *world) accountsTold(event string) (ids []string) {
	w.hooks.mu.Lock()
	defer w.hooks.mu.Unlock()
	for i, name := range w.hooks.events {
		if e, ok := w.hooks.values[i].(recovery.JobEvent); ok && name == event {
			ids = append(ids, e.Account.ID)
		}
	}
	return ids
}
