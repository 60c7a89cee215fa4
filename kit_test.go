package recovery_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

const (
	goodPassword  = "Correct-h0rse"
	otherPassword = "Battery-stap1e"
)

var client = netip.MustParseAddr("192.0.2.10")

// A world is a Service with everything around it at hand.
type world struct {
	*recovery.Service
	is    *is.I
	ctx   context.Context
	users *memstore.Store
	store *traceStore
	mail  *mailertest.Recorder
	log   *syncBuffer
	hooks *hookLog

	mu  sync.Mutex
	now time.Time
}

// newWorld has alice and alicia on one address, billybob, and mallory, who is disabled. Hashing is
// quick unless opts says otherwise, and limits are off unless opts sets some.
func newWorld(t *testing.T, opts *recovery.Options) *world {
	t.Helper()
	w := &world{
		is: is.New(t), ctx: t.Context(), users: memstore.New(), mail: &mailertest.Recorder{},
		log: &syncBuffer{}, hooks: &hookLog{}, now: time.Date(2026, 11, 21, 18, 30, 0, 0, time.UTC),
	}
	w.store = &traceStore{Store: w.users}
	w.put("1", "alice", "alice@example.com")
	w.put("2", "alicia", "alice@example.com")
	w.put("3", "billybob", "billybob@example.com")
	mallory := w.account("4", "mallory", "mallory@example.com")
	mallory.Active = false
	w.users.Put(mallory, "hash of old")
	var o recovery.Options
	if opts != nil {
		o = *opts
	}
	if o.HashPassword == nil {
		o.HashPassword = func(password string) (string, error) { return "hash of " + password, nil }
	}
	if o.Limits.PerIdentifier == nil {
		o.Limits.InsecureOff = true
	}
	if o.Now == nil {
		o.Now = w.time
	}
	o.Logger = slog.New(slog.NewTextHandler(w.log, nil))
	o.Hooks = w.hooks.all()
	svc, err := recovery.New(w.store, w.mail, &o)
	w.is.NoErr(err)
	w.Service = svc
	return w
}

func (w *world) account(id, username, email string) recovery.Account {
	return recovery.Account{ID: id, Username: username, Email: email, Active: true, HasPassword: true, EmailVerified: true}
}

func (w *world) put(id, username, email string) {
	w.users.Put(w.account(id, username, email), "hash of old")
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// deliver works the queue off and returns the mails that were sent.
func (w *world) deliver() []recovery.Message {
	w.is.Helper()
	before := len(w.mail.Messages())
	_, err := w.Deliver(w.ctx)
	w.is.NoErr(err)
	return w.mail.Messages()[before:]
}

// token asks for a reset and returns the token that was mailed.
func (w *world) token(username string) string {
	w.is.Helper()
	w.is.NoErr(w.RequestReset(w.ctx, recovery.ResetRequest{Username: username, Client: client}))
	mails := w.deliver()
	w.is.Equal(len(mails), 1) // one mail to one account
	return mails[0].Token.Reveal()
}

func (w *world) complete(token, password string) error {
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token, Password: password, Client: client})
	return err
}

// deadOrAlive returns an error unless the token is as wanted.
func (w *world) deadOrAlive(token string, alive bool) error {
	parsed, err := recovery.ParseToken(token)
	if err != nil {
		return err
	}
	_, _, err = w.users.FindReset(w.ctx, parsed.Digest(), w.time())
	if alive == (err == nil) {
		return nil
	}
	return fmt.Errorf("alive is %v, want %v: %v", err == nil, alive, err)
}

func (w *world) hash(id string) string {
	hash, _ := w.users.PasswordHash(id)
	return hash
}

// A traceStore records the calls that it passes on, and can be made to fail.
type traceStore struct {
	recovery.Store

	mu    sync.Mutex
	trace []string
	ids   []string // of the requests that were added
	fail  func(method string) error
}

func (s *traceStore) call(method, detail string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trace = append(s.trace, method+detail)
	if s.fail != nil {
		return s.fail(method)
	}
	return nil
}

func (s *traceStore) failWith(f func(method string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// added returns and forgets the IDs of the requests that were added.
func (s *traceStore) added() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.ids
	s.ids = nil
	return ids
}

func (s *traceStore) adds(requests ...recovery.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range requests {
		s.ids = append(s.ids, r.ID)
	}
}

// calls returns and forgets what was recorded.
func (s *traceStore) calls() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	trace := strings.Join(s.trace, "\n")
	s.trace = nil
	return trace
}

func (s *traceStore) FindAccounts(ctx context.Context, q recovery.AccountQuery) ([]recovery.Account, error) {
	if err := s.call("FindAccounts", ""); err != nil {
		return nil, err
	}
	return s.Store.FindAccounts(ctx, q)
}

func (s *traceStore) CreateReset(ctx context.Context, r recovery.Reset) error {
	if err := s.call("CreateReset", ""); err != nil {
		return err
	}
	return s.Store.CreateReset(ctx, r)
}

func (s *traceStore) FindReset(ctx context.Context, d recovery.Digest, at time.Time) (recovery.Reset, recovery.Account, error) {
	if err := s.call("FindReset", ""); err != nil {
		return recovery.Reset{}, recovery.Account{}, err
	}
	return s.Store.FindReset(ctx, d, at)
}

func (s *traceStore) Redeem(ctx context.Context, c recovery.Redemption) (recovery.Account, error) {
	if err := s.call("Redeem", ""); err != nil {
		return recovery.Account{}, err
	}
	s.adds(c.Add...)
	return s.Store.Redeem(ctx, c)
}

// Enqueue records everything but what the caller chose or chance did: the shape of the request.
func (s *traceStore) Enqueue(ctx context.Context, r recovery.Job, c recovery.Charges) error {
	detail := fmt.Sprintf(" id:%d kind:%s by:%s identifier:%d account:%q portal:%q throttled:%v hard:%d soft:%d at:%v due:%v",
		len(r.ID), r.Kind, r.By, len(r.Identifier), r.AccountID, r.Portal, r.Throttled, len(c.Hard), len(c.Soft), r.RequestedAt, r.DueAt)
	if err := s.call("Enqueue", detail); err != nil {
		return err
	}
	s.adds(r)
	return s.Store.Enqueue(ctx, r, c)
}

func (s *traceStore) TakeLimits(ctx context.Context, at time.Time, c []recovery.Charge) error {
	if err := s.call("TakeLimits", ""); err != nil {
		return err
	}
	return s.Store.TakeLimits(ctx, at, c)
}

func (s *traceStore) Claim(ctx context.Context, l recovery.Claim) ([]recovery.Job, error) {
	if err := s.call("Claim", ""); err != nil {
		return nil, err
	}
	return s.Store.Claim(ctx, l)
}

func (s *traceStore) Finish(ctx context.Context, o recovery.Outcome) error {
	if err := s.call("Finish", ""); err != nil {
		return err
	}
	s.adds(o.Add...)
	return s.Store.Finish(ctx, o)
}

func (s *traceStore) Purge(ctx context.Context, before time.Time, max int) (int, error) {
	if err := s.call("Purge", ""); err != nil {
		return 0, err
	}
	return s.Store.Purge(ctx, before, max)
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

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
