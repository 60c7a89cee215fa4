package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
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
	log   *spy.Log
	hooks *hookLog

	mu  sync.Mutex
	now time.Time
}

// newWorld has alice and alicia on one address, billybob, and mallory, who is disabled.
func newWorld(t *testing.T, opts *recovery.Options) *world {
	t.Helper()
	w := &world{
		is: is.New(t), ctx: t.Context(), users: memstore.New(), mail: &mailertest.Recorder{},
		log: &spy.Log{}, hooks: &hookLog{}, now: time.Date(2026, 11, 21, 18, 30, 0, 0, time.UTC),
	}
	w.store = newTraceStore(w.users)
	w.put("1", "alice", "alice@example.com")
	w.put("2", "alicia", "alice@example.com")
	w.put("3", "billybob", "billybob@example.com")
	w.put("4", "mallory", "mallory@example.com", inactive)
	var o recovery.Options
	if opts != nil {
		o = *opts
	}
	w.Service = w.service(w.store, o)
	return w
}

// service returns one more Service on the world. Hashing is quick, ticks are short and limits are
// off, unless the options say otherwise.
func (w *world) service(store recovery.Store, o recovery.Options) *recovery.Service {
	w.is.Helper()
	if o.Hasher.Hash == nil {
		o.Hasher.Hash = func(password string) (string, error) { return "hash of " + password, nil }
	}
	if o.Limits == (recovery.Limits{}) {
		o.Limits.InsecureOff = true
	}
	if o.Now == nil {
		o.Now = w.time
	}
	if o.Tick == 0 {
		o.Tick = 10 * time.Millisecond // what a job without a mail takes, while no mail was sent yet
	}
	if o.Logger == nil {
		o.Logger = w.logger()
	}
	o.Hooks = w.hooks.all()
	svc, err := recovery.New(store, w.mail, &o)
	w.is.NoErr(err)
	return svc
}

func (w *world) logger() *slog.Logger { return slog.New(slog.NewTextHandler(w.log, nil)) }

func (w *world) account(id, username, email string) recovery.Account {
	return recovery.Account{ID: id, Username: username, Email: email, Active: true, HasPassword: true, EmailVerified: true}
}

// put adds an account, or changes it.
func (w *world) put(id, username, email string, changes ...func(*recovery.Account)) {
	a := w.account(id, username, email)
	for _, change := range changes {
		change(&a)
	}
	w.users.Put(a, "hash of old")
}

func inactive(a *recovery.Account)   { a.Active = false }
func unverified(a *recovery.Account) { a.EmailVerified = false }
func noPassword(a *recovery.Account) { a.HasPassword = false }

func inTenant(tenant string) func(*recovery.Account) {
	return func(a *recovery.Account) { a.Tenant = tenant }
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

// drain works the queue off until nothing waits in it, and returns the mails that were sent.
func (w *world) drain() (mails []recovery.Message) {
	w.is.Helper()
	for range 100 {
		mails = append(mails, w.deliver()...)
		if w.waiting() == 0 {
			return mails
		}
		w.advance(time.Minute)
	}
	w.is.Fail() // the queue gets empty
	return nil
}

// token asks for a reset and returns the token that was mailed.
func (w *world) token(username string) string {
	w.is.Helper()
	w.ask(username)
	mails := w.deliver()
	w.is.Equal(len(mails), 1)           // one mail
	w.is.Equal(len(mails[0].Resets), 1) // for one account
	return tokenOf(mails[0])
}

// ask asks for a reset by user name.
func (w *world) ask(username string) {
	w.is.Helper()
	w.is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: username, Client: client})))
}

// askEmail asks for a reset by address.
func (w *world) askEmail(email string) {
	w.is.Helper()
	w.is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Email: email, Client: client})))
}

// tokenOf returns the first token of a mail, "" if it has none.
func tokenOf(m recovery.Message) string {
	if len(m.Resets) == 0 {
		return ""
	}
	return m.Resets[0].Token.Reveal()
}

// waiting returns how many jobs wait in the queue.
func (w *world) waiting() (n int) {
	w.is.Helper()
	lanes, err := w.users.Stats(context.Background())
	w.is.NoErr(err)
	for _, lane := range lanes {
		n += lane.Jobs
	}
	return n
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
	_, _, err = w.users.FindReset(w.ctx, parsed.Digest(), w.Options().Now())
	if alive == (err == nil) {
		return nil
	}
	return fmt.Errorf("alive is %v, want %v: %v", err == nil, alive, err)
}

func (w *world) hash(id string) string {
	hash, _ := w.users.PasswordHash(id)
	return hash
}

// errOf is for calls of which a test wants the error alone.
func errOf[T any](_ T, err error) error { return err }

// Limits that are counted when a mail is about to leave. The others are out of the way.
var mailLimitsOnly = recovery.Limits{
	PerClient:         recovery.Limit{Burst: 100_000, Every: time.Millisecond},
	Global:            recovery.Limit{Burst: 100_000, Every: time.Millisecond},
	CompletePerClient: recovery.Limit{Burst: 100_000, Every: time.Millisecond},
}

// mailed works the queue off and returns how many mails were sent.
func (w *world) mailed() int {
	w.is.Helper()
	return len(w.deliver())
}

// everybody is a Portal.Allow.
func everybody(context.Context, recovery.Account) (bool, error) { return true, nil }

// many puts n accounts into the store, and returns their user names.
func (w *world) many(n int) (names []string) {
	for i := range n {
		name := fmt.Sprintf("user%04d", i)
		w.put("u"+name, name, name+"@example.com")
		names = append(names, name)
	}
	return names
}

// completeAll has all accounts recovered, so that notices, and calls of OnReset, wait.
func (w *world) completeAll(names []string) {
	w.is.Helper()
	for _, name := range names {
		w.ask(name)
	}
	for _, m := range w.deliver() {
		w.is.NoErr(w.complete(tokenOf(m), goodPassword))
	}
}

// namesOf returns the user names that a mail has tokens for.
func namesOf(m recovery.Message) (names []string) {
	for _, r := range m.Resets {
		names = append(names, r.Username)
	}
	return names
}

// resets returns how many tokens the Store has, dead ones included.
func (w *world) resets() (n int) {
	for line := range strings.Lines(w.users.Dump()) {
		if strings.HasPrefix(line, "reset ") {
			n++
		}
	}
	return n
}

// from asks for a reset by user name as another client.
func (w *world) from(addr, username string) {
	w.is.Helper()
	w.is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: username, Client: netip.MustParseAddr(addr)})))
}

var (
	errHash  = errors.New("hashing failed")
	errStore = errors.New("store failed")
)

// code asks for a code and returns the ticket and what was mailed.
func (w *world) code(username string) (ticket string, mail recovery.Message) {
	w.is.Helper()
	receipt, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: username, Code: true, Client: client})
	w.is.NoErr(err)
	mails := w.deliver()
	w.is.Equal(len(mails), 1)
	return receipt.Ticket.Reveal(), mails[0]
}

const tokenText = spy.TokenText

var errDown = errors.New("connection to alice@example.com refused")

// inBubble runs f with a Service on fake time.
func inBubble(t *testing.T, opts recovery.Options, f func(t *testing.T, is *is.I, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		opts.Now = time.Now
		f(t, is.New(t), newWorld(t, &opts))
	})
}

// run starts the worker and returns what stops it.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		w.is.Helper()
		cancel()
		w.is.NoErr(<-done)
	}
}

// claim leases what is due in the lane of mails, as another worker would.
func (w *world) claim(max int) []recovery.Job {
	w.is.Helper()
	claimed, err := w.users.Claim(w.ctx, recovery.Claim{
		LeaseID: "x", Lane: recovery.LaneMail, At: time.Now(), Until: time.Now().Add(time.Hour), Max: max,
	})
	w.is.NoErr(err)
	return claimed
}

// hangs waits until ctx ends.
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

type mailerFunc func(context.Context, recovery.Message) error

func (f mailerFunc) Send(ctx context.Context, m recovery.Message) error { return f(ctx, m) }
