package faults

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// The address contains none of the names, so that redacting one does not redact the other.
const (
	sharedAddress   = "liddell@example.com"
	billybobAddress = "thornton@example.com"
	quinnAddress    = "harley@example.com"
	oldHash         = "hash of old"
)

// A world is a Service whose neighbours can all fail, with a record of its answers.
type world struct {
	*recovery.Service
	t        *testing.T
	scenario scenario
	plan     plan
	faults   *faults
	users    *memstore.Store
	mail     *mailertest.Recorder
	log      *spy.Log
	subject  string // the named account
	known    bool   // whether the subject is the one that mails are promised to
	dead     string // a token that was mailed and may not be used

	asks        []ask
	completions []completion
	deliveries  []delivery
	violations  []string

	mu      sync.Mutex
	events  []event
	counts  map[string]int              // of events, by hook
	jobs    []string                    // IDs of the jobs that the Store was given
	sends   map[string]int              // by ID of a message, since it was refused for good
	refused map[string]recovery.Message // for good, by ID
	changes map[string]int              // of passwords, by ID of the account
	tries   int                         // that were counted and not given back
	resets  []string                    // IDs of the accounts that OnReset was called for, successfully

	nested   reentry
	planting sync.Mutex // no worker takes the job of plant
}

// An ask is a call of RequestReset or RetrieveUsername.
type ask struct {
	kind    recovery.MessageKind
	expects []string // user names that mails are promised to
	before  int      // mails that were there before
	jobs    []string // IDs of what the Store was given
	err     error
	took    time.Duration
	trace   []spot
}

// A completion is a call of CompleteReset.
type completion struct {
	id, token, password string
	err                 error
	at                  time.Time
	before, after       bool // whether the token was alive
	changed             bool // whether the password was, by this call
	took                time.Duration
	trace               []spot
}

// An event is a call of a hook.
type event struct {
	hook  string
	event any
}

// A delivery is a call of Deliver, DeliverJob or Run.
type delivery struct {
	err   error
	took  time.Duration
	trace []spot
}

func newWorld(t *testing.T, s scenario, plan plan) *world {
	w := &world{
		t: t, scenario: s, plan: plan, users: memstore.New(), mail: &mailertest.Recorder{}, log: &spy.Log{},
		faults: &faults{plan: plan, healed: make(chan struct{}), cancel: func() {}},
		counts: make(map[string]int), changes: make(map[string]int),
		refused: make(map[string]recovery.Message), sends: make(map[string]int), nested: reentry{counts: make(map[string]int)},
	}
	put := func(id, username, email string, active bool) {
		w.users.Put(recovery.Account{ID: id, Username: username, Email: email, Active: active, HasPassword: true, EmailVerified: true}, oldHash)
	}
	put("1", "alice", sharedAddress, true)
	put("2", "alicia", sharedAddress, true)
	put("3", "billybob", billybobAddress, true)
	put("4", "mallory", "mallory@example.com", false)
	put("5", "zoe", "zoe@example.com", true) // for afterwards
	put("6", "quinn", quinnAddress, true)    // for calls from within a hook
	o := recovery.Options{
		Logger: slog.New(slog.NewJSONHandler(w.log, nil)), Now: w.faults.now, Workers: 1, HashConcurrency: 1, Tick: time.Second, Hooks: w.hooks(),
		Hasher: recovery.Hasher{Hash: w.hash}, Portals: map[string]recovery.Portal{"web": {URL: "https://portal.example/reset", Allow: w.allow}},
	}
	if s.options != nil {
		s.options(w, &o)
	}
	var err error
	if w.Service, err = recovery.New(spy.On(w.users, w.stored), mailer{w}, &o); err != nil {
		t.Fatal(err)
	}
	w.faults.reenter = w.reenter
	return w
}

// The functions of the application.

func (w *world) hash(password string) (hash string, err error) {
	ctx := context.Background()
	if password == nestedPassword {
		ctx = context.WithValue(ctx, reentrant{}, true)
	}
	err = w.faults.call(ctx, "Hasher.Hash", []string{password}, func(context.Context) error {
		hash = "hash of " + password
		return nil
	})
	return hash, err
}

func (w *world) allow(ctx context.Context, a recovery.Account) (allowed bool, err error) {
	err = w.faults.call(ctx, "Portal.Allow", []string{a.Email}, func(context.Context) error { allowed = true; return nil })
	return allowed, err
}

func (w *world) breached(ctx context.Context, password string) (breached bool, err error) {
	err = w.faults.call(ctx, "Policy.Breached", []string{password}, func(context.Context) error {
		breached = password == breachedPassword
		return nil
	})
	return breached || errors.Is(err, errInjected), err
}

func (w *world) ownRule(ctx context.Context, a recovery.Account, password string) (reasons []recovery.PasswordReason, err error) {
	err = w.faults.call(ctx, "Policy.Check", []string{a.Email, password}, func(context.Context) error {
		if password == earlierPassword {
			reasons = []recovery.PasswordReason{{Name: "history", Text: "must not be an earlier one"}}
		}
		return nil
	})
	return reasons, err
}

func (w *world) approve(ctx context.Context, a recovery.Account, r recovery.CompleteRequest) error {
	return w.faults.call(ctx, "Options.Approve", []string{a.Email, r.Password, r.Token}, func(context.Context) error {
		if r.Password == deniedPassword {
			return fmt.Errorf("second factor is missing for %s: %w", a.Email, recovery.ErrDenied)
		}
		return nil
	})
}

func (w *world) onReset(ctx context.Context, a recovery.Account) error {
	return w.faults.call(ctx, "Options.OnReset", []string{a.Email}, func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.resets = append(w.resets, a.ID)
		return nil
	})
}

// hooks sets every field of Hooks, whatever fields there are.
func (w *world) hooks() (hooks recovery.Hooks) {
	v := reflect.ValueOf(&hooks).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		v.Field(i).Set(reflect.MakeFunc(v.Field(i).Type(), func(args []reflect.Value) []reflect.Value {
			w.faults.hook("Hooks."+name, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.events = append(w.events, event{name, args[0].Interface()})
				if args[0].FieldByName("Client").Interface() == nestedClient {
					w.nested.counts[name]++
				} else {
					w.counts[name]++
				}
			})
			return nil
		}))
	}
	return hooks
}

type mailer struct{ w *world }

func (m mailer) Send(ctx context.Context, msg recovery.Message) error {
	secrets := []string{msg.To}
	for _, r := range msg.Resets {
		secrets = append(secrets, r.Token.Reveal(), r.Link, r.Code)
	}
	err := m.w.faults.call(ctx, "Mailer.Send", secrets, func(ctx context.Context) error {
		return m.w.mail.Send(ctx, msg)
	})
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if _, before := m.w.refused[msg.ID]; before {
		m.w.sends[msg.ID]++
	}
	if errors.Is(err, recovery.ErrPermanent) {
		m.w.refused[msg.ID] = msg
	}
	return err
}

// stored makes a call of the Store and records it.
func (w *world) stored(ctx context.Context, method string, arg any, call func(context.Context) error) error {
	var secrets []string
	switch arg := arg.(type) {
	case recovery.AccountQuery:
		secrets = []string{arg.Typed, arg.Canonical}
	case recovery.Redemption:
		secrets = []string{arg.PasswordHash}
	}
	if ctx.Value(reentrant{}) == nil {
		w.mu.Lock()
		for _, j := range spy.Added(arg) {
			w.jobs = append(w.jobs, j.ID)
			secrets = append(secrets, j.Identifier)
		}
		w.mu.Unlock()
	}
	return w.faults.call(ctx, "Store."+method, secrets, func(ctx context.Context) error {
		if method == "Claim" {
			w.planting.Lock()
			defer w.planting.Unlock()
		}
		err := call(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		switch arg := arg.(type) {
		case spy.TakeLimits:
			w.tried(arg.Charges, 1, err)
		case recovery.Charges:
			w.tried(arg, -1, err)
		}
		return err
	})
}

// tried counts the tries of a token or a ticket.
func (w *world) tried(charges recovery.Charges, n int, err error) {
	if err == nil && (charges[0].Scope == recovery.ScopeToken || charges[0].Scope == recovery.ScopeTicket) {
		w.tries += n
	}
}

// The application's own steps.

var errPanicked = errors.New("the call panicked")

// call makes a call with a context of its own, as the handler of a request does: it catches a
// panic.
func (w *world) call(timeout time.Duration, f func(ctx context.Context) error) (took time.Duration, trace []spot, err error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), timeout)
	defer cancel()
	w.faults.caller(cancel)
	start, from := time.Now(), w.faults.calls()
	defer func() {
		took, trace = time.Since(start), w.faults.trace(from)
		if v := recover(); v != nil {
			err = errPanicked
		}
	}()
	return 0, nil, f(ctx)
}

func (w *world) asked(kind recovery.MessageKind, expects []string, f func(ctx context.Context) error) {
	a := ask{kind: kind, before: len(w.mail.Messages())}
	if w.known {
		a.expects = expects
	}
	from := len(w.jobs)
	a.took, a.trace, a.err = w.call(time.Minute, f)
	a.jobs = w.jobs[from:]
	w.asks = append(w.asks, a)
}

func (w *world) ask(username string) {
	w.asked(recovery.MessageResetToken, []string{username}, func(ctx context.Context) error {
		return spy.Err(w.RequestReset(ctx, recovery.ResetRequest{Username: username, Client: client}))
	})
}

func (w *world) complete(id, token, password string) {
	c := completion{id: id, token: token, password: password, at: time.Now()}
	c.before, c.changed = w.alive(token, c.at), w.has(id, password)
	request := recovery.CompleteRequest{Token: token, Password: password, Client: client}
	if ticket, code, ok := strings.Cut(token, " "); ok {
		request.Token, request.Ticket, request.Code = "", ticket, code
	}
	c.took, c.trace, c.err = w.call(time.Minute, func(ctx context.Context) error {
		_, err := w.CompleteReset(ctx, request)
		return err
	})
	if c.after, c.changed = w.alive(token, c.at), w.has(id, password) && !c.changed; c.changed {
		w.noteChange(id)
	}
	w.completions = append(w.completions, c)
}

// has reports whether the account has the password.
func (w *world) has(id, password string) bool {
	hash, _ := w.users.PasswordHash(id)
	return hash == "hash of "+password
}

func (w *world) noteChange(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changes[id]++
}

// alive reports whether the token could be used.
func (w *world) alive(token string, at time.Time) bool {
	digest, err := digestOf(token)
	if err != nil {
		return false
	}
	_, _, err = w.users.FindReset(w.t.Context(), digest, at)
	return err == nil
}

// digestOf returns what a Store has of a token, or of a ticket and its code with a space between.
func digestOf(token string) (recovery.Digest, error) {
	ticket, code, isCode := strings.Cut(token, " ")
	parsed, err := recovery.ParseToken(ticket)
	if digest := parsed.Digest(); isCode {
		return sha256.Sum256([]byte("recovery code\x00" + string(digest[:]) + strings.ReplaceAll(code, "-", ""))), err
	}
	return parsed.Digest(), err
}

// code returns the ticket and the code of a mail to the account, made without faults.
func (w *world) code(username string) string {
	receipt, err := w.RequestReset(w.t.Context(), recovery.ResetRequest{Username: username, Code: true, Client: client})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Deliver(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	mails := w.mail.Messages()
	return receipt.Ticket.Reveal() + " " + mails[len(mails)-1].Resets[0].Code
}

func (w *world) delivered(timeout time.Duration, f func(ctx context.Context) error) {
	var d delivery
	d.took, d.trace, d.err = w.call(timeout, f)
	w.deliveries = append(w.deliveries, d)
}

func (w *world) deliver() {
	w.delivered(365*24*time.Hour, func(ctx context.Context) error {
		_, err := w.Deliver(ctx)
		return err
	})
}

// token returns a token of the account, made without faults.
func (w *world) token(username string, from netip.Addr) string {
	if err := spy.Err(w.RequestReset(w.t.Context(), recovery.ResetRequest{Username: username, Client: from})); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Deliver(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	for _, m := range slices.Backward(w.mail.Messages()) {
		if len(m.Resets) > 0 && m.Resets[0].Username == username {
			time.Sleep(time.Hour) // until the limits forget it
			return spy.Token(m)
		}
	}
	w.t.Fatal("there must be a mail with a token")
	return ""
}

// answers is everything that a caller and the Store can see of the calls.
func (w *world) answers() string {
	var b strings.Builder
	for _, a := range w.asks {
		fmt.Fprintf(&b, "%T %v in %v with %v; ", a.err, a.err, a.took, a.trace)
	}
	for _, c := range w.completions {
		fmt.Fprintf(&b, "%T %v in %v with %v; ", c.err, c.err, c.took, c.trace)
	}
	return b.String()
}

// waiting returns how many jobs are in the queue.
func (w *world) waiting() (n int) {
	lanes, err := w.users.Stats(w.t.Context())
	if err != nil {
		w.t.Error(err)
	}
	for _, lane := range lanes {
		n += lane.Jobs
	}
	return n
}

// heal makes everything work again, and works until nothing is left to do.
func (w *world) heal() {
	w.faults.heal()
	synctest.Wait()
	w.faults.caller(func() {})
	if w.plan.on("Options.Now", modeLast) { // what would be due then must be asked for
		for i := 0; i < len(w.jobs); i++ {
			if _, err := w.DeliverJob(w.t.Context(), w.jobs[i]); err != nil {
				w.violation("DeliverJob returns %v when everything works again", err)
			}
		}
	}
	// At least half an hour, in which every slow call ends.
	for i := 0; i < 7 || w.waiting() > 0 && i < 30; i++ {
		if _, err := w.Deliver(w.t.Context()); err != nil {
			w.violation("Deliver returns %v when everything works again", err)
		}
		switch {
		case i < 10:
			time.Sleep(30 * time.Second << min(i, 5))
		default:
			time.Sleep(6 * time.Hour)
		}
	}
	synctest.Wait()
}
