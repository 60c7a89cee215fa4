package behind

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/race"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/memstore"
	"example.com/recovery/store/sqlstore"
)

const (
	goodPassword  = "Correct-h0rse"
	otherPassword = "Battery-stap1e"
)

// full runs every case, and each for longer.
var full = os.Getenv("RECOVERY_GUESSES") == "full"

var (
	noLimits = recovery.Limits{InsecureOff: true}
	owner    = netip.MustParseAddr("192.0.2.10") // the client of the person who is attacked

	errStore = errors.New("the store fails")
	errDown  = errors.New("the mail system fails")
)

// network returns the i-th of 2²⁴ clients in unrelated networks.
func network(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
}

// A rig is a store and a post office on fake time, and a Service on them. Limits are the defaults.
type rig struct {
	*recovery.Service
	t     *testing.T
	is    *is.I
	ctx   context.Context
	users *memstore.Store
	add   func(a recovery.Account, hash string) error
	store *seam // around users
	post  *postOffice
	log   *spy.Log
}

// inRig runs f in a bubble.
func inRig(t *testing.T, opts recovery.Options, f func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newRig(t, opts)) })
}

func newRig(t *testing.T, opts recovery.Options) *rig {
	users := memstore.New()
	r := &rig{
		t: t, is: is.New(t), ctx: t.Context(), users: users, store: newSeam(users),
		add:  func(a recovery.Account, hash string) error { users.Put(a, hash); return nil },
		post: &postOffice{boxes: map[string][]mail{}}, log: &spy.Log{},
	}
	r.Service = r.service(opts)
	return r
}

// inRigOnSQLite is inRig on a database. The rig has no users.
func inRigOnSQLite(t *testing.T, opts recovery.Options, f func(r *rig)) {
	t.Helper()
	place := databases.NewSQLite(t)
	place.DSN = strings.Replace(place.DSN, "synchronous(FULL)", "synchronous(OFF)", 1)
	server := databases.Server{
		Name: "SQLite", Dialect: sqlstore.SQLite, Place: func(testing.TB) databases.Place { return place },
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, opts)
		store, db := databases.Open(t, server)
		h := databases.HarnessOn(server.Dialect, store, db)
		r.users, r.add, r.store.Store.Store = nil, h.Put, h.Store
		f(r)
	})
}

// service returns one more Service on the same store and post office.
func (r *rig) service(opts recovery.Options) *recovery.Service {
	r.is.Helper()
	if opts.Hasher.Hash == nil {
		opts.Hasher.Hash = func(password string) (string, error) { return "hash of " + password, nil }
	}
	opts.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	svc, err := recovery.New(r.store, r.post, &opts)
	r.is.NoErr(err)
	return svc
}

// put adds an account. Its ID is the name, its address name@example.com unless another is given.
func (r *rig) put(name string, email ...string) {
	a := accountOf(name)
	a.Email = cmp.Or(append(email, a.Email)...)
	r.is.NoErr(r.add(a, "hash of old"))
}

func accountOf(name string) recovery.Account {
	return recovery.Account{
		ID: name, Username: name, Email: name + "@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}
}

func askName(s *recovery.Service, name string, from netip.Addr) error {
	return spy.Err(s.RequestReset(context.Background(), recovery.ResetRequest{Username: name, Client: from}))
}

// askCode is askName for a mail that also has a code.
func askCode(s *recovery.Service, name string, from netip.Addr) (ticket string, err error) {
	receipt, err := s.RequestReset(context.Background(), recovery.ResetRequest{Username: name, Code: true, Client: from})
	return receipt.Ticket.Reveal(), err
}

func askEmail(s *recovery.Service, email string, from netip.Addr) error {
	return spy.Err(s.RequestReset(context.Background(), recovery.ResetRequest{Email: email, Client: from}))
}

func askPortal(s *recovery.Service, name, portal string, from netip.Addr) error {
	return spy.Err(s.RequestReset(context.Background(), recovery.ResetRequest{Username: name, Portal: portal, Client: from}))
}

func askUsernames(s *recovery.Service, email string, from netip.Addr) error {
	return spy.Err(s.RetrieveUsername(context.Background(), recovery.UsernameRequest{Email: email, Client: from}))
}

func redeem(s *recovery.Service, token string, from netip.Addr) error {
	_, err := s.CompleteReset(context.Background(), recovery.CompleteRequest{Token: token, Password: goodPassword, Client: from})
	return err
}

// start runs the worker of s and returns what stops it.
func (r *rig) start(s *recovery.Service) (stop func()) {
	return r.background(func(ctx context.Context) { _ = s.Run(ctx) })
}

// background runs f and returns what ends its context and waits for it.
func (r *rig) background(f func(ctx context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(r.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	return func() { cancel(); wg.Wait() }
}

// deliver works until the queue of s is empty.
func (r *rig) deliver(s *recovery.Service) {
	r.is.Helper()
	_, err := s.Deliver(r.ctx)
	r.is.NoErr(err)
}

// token asks s for a reset, empties the queue, and returns the token that was mailed to
// name@example.com.
func (r *rig) token(s *recovery.Service, name string) string {
	r.is.Helper()
	r.is.NoErr(askName(s, name, owner))
	r.deliver(s)
	mails := r.post.mails(name + "@example.com")
	r.is.True(len(mails) > 0) // a token was mailed
	return mails[len(mails)-1].token
}

// alive reports whether the store would redeem the token now.
func (r *rig) alive(token string) bool {
	parsed, err := recovery.ParseToken(token)
	if err == nil {
		_, _, err = r.users.FindReset(r.ctx, parsed.Digest(), time.Now())
	}
	return err == nil
}

// mailed waits for a mail to the address that the client asked for since then, and returns it and
// how long it took. It gives up when most is over, and returns no mail and more than most.
func (r *rig) mailed(email string, client netip.Addr, since time.Time, most time.Duration) (mail, time.Duration) {
	for ; ; time.Sleep(50 * time.Millisecond) {
		mails := r.post.mails(email)
		for i := len(mails) - 1; i >= 0 && !mails[i].at.Before(since); i-- {
			if m := mails[i]; m.client == client {
				return m, m.at.Sub(since)
			}
		}
		if time.Since(since) > most {
			return mail{}, time.Since(since)
		}
	}
}

// served asks s for a reset and waits for the mail. If it is refused, or does not come, the time is
// more than most.
func (r *rig) served(s *recovery.Service, name string, from netip.Addr, most time.Duration) (mail, time.Duration) {
	since := time.Now()
	if askName(s, name, from) != nil {
		return mail{}, most + 1
	}
	return r.mailed(name+"@example.com", from, since, most)
}

// crowd adds user0 and so on, and has each ask.
func (r *rig) crowd(n int) {
	r.is.Helper()
	for i := range n {
		name := fmt.Sprintf("user%d", i)
		r.put(name)
		r.is.NoErr(askName(r.Service, name, network(i)))
	}
}

// crowdMails returns how many of a crowd were mailed, and how many mails more came.
func (r *rig) crowdMails(n int) (mailed, repeated int) {
	for i := range n {
		mails := len(r.post.mails(fmt.Sprintf("user%d@example.com", i)))
		mailed += min(mails, 1)
		repeated += max(mails-1, 0)
	}
	return mailed, repeated
}

// resets returns how many tokens are stored.
func (r *rig) resets() int { return strings.Count("\n"+r.users.Dump(), "\nreset ") }

// every runs f at once and then at every interval until the end, beside the test.
func every(wg *sync.WaitGroup, d time.Duration, end time.Time, f func(i int)) {
	wg.Go(func() {
		for i := 0; time.Now().Before(end); i++ {
			f(i)
			time.Sleep(d)
		}
	})
}

// A mail is one in a mailbox.
type mail struct {
	kind   recovery.MessageKind
	at     time.Time // when it arrived
	asked  time.Time
	client netip.Addr
	token  string // the first one
	names  []string
}

// A postOffice is a Mailer that puts mails into mailboxes when serve returns nil.
type postOffice struct {
	mu    sync.Mutex
	boxes map[string][]mail
	serve func(context.Context, recovery.Message) error // nil: at once

	// transit, if set, is how long an accepted mail is on its way to the mailbox.
	transit func() time.Duration
}

func (p *postOffice) Send(ctx context.Context, m recovery.Message) error {
	p.mu.Lock()
	serve, transit := p.serve, p.transit
	p.mu.Unlock()
	if serve != nil {
		if err := serve(ctx, m); err != nil {
			return err
		}
	}
	arrived := mail{kind: m.Kind, asked: m.RequestedAt, client: m.Client, names: m.Usernames}
	if len(m.Resets) > 0 {
		arrived.token = m.Resets[0].Token.Reveal()
	}
	if transit == nil {
		p.arrive(m.To, arrived)
	} else {
		time.AfterFunc(transit(), func() { p.arrive(m.To, arrived) })
	}
	return nil
}

func (p *postOffice) arrive(email string, m mail) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.at = time.Now()
	p.boxes[email] = append(p.boxes[email], m)
}

func (p *postOffice) mails(email string) []mail {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.boxes[email]
}

// takes makes every mail take the given time.
func (p *postOffice) takes(d time.Duration) {
	p.serves(func(context.Context, recovery.Message) error { time.Sleep(d); return nil })
}

func (p *postOffice) serves(f func(context.Context, recovery.Message) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serve = f
}

// A seam is a Store whose calls can be made to fail or to hang, and whose jobs can be seen.
type seam struct {
	spy.Store

	mu     sync.Mutex
	before func(ctx context.Context, method string) error // its error is the call's
	added  func(id string)                                // a job
	now    func() time.Time                               // instead of Store.Now
}

func newSeam(store recovery.Store) *seam {
	s := &seam{}
	s.Store = spy.On(store, s.around)
	return s
}

func (s *seam) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// fail makes calls fail for which f returns an error. f may wait.
func (s *seam) fail(f func(ctx context.Context, method string) error) {
	s.set(func() { s.before = f })
}

// hang makes the calls of one method hang until their context ends.
func (s *seam) hang(hanging string) {
	s.fail(func(ctx context.Context, method string) error {
		if method != hanging {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
}

func (s *seam) around(ctx context.Context, method string, arg any, call func(context.Context) error) error {
	s.mu.Lock()
	before, added := s.before, s.added
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx, method); err != nil {
			return err
		}
	}
	err := call(ctx)
	if e, ok := arg.(spy.Enqueue); ok && err == nil && added != nil {
		added(e.Job.ID)
	}
	return err
}

// Now implements [recovery.Store].
func (s *seam) Now(ctx context.Context) (time.Time, error) {
	s.mu.Lock()
	now := s.now
	s.mu.Unlock()
	if now != nil {
		return now(), nil
	}
	return s.Store.Now(ctx)
}

// long skips a test of days of fake time under the race detector, which has a limit of events.
// .ci/run runs it without the detector.
func long(t *testing.T) {
	t.Helper()
	if race.Enabled {
		t.Skip("too long for the race detector: run it without -race")
	}
}
