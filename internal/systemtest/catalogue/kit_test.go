package catalogue

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/httpadapter/portal"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/mailer/mailertest"
)

const (
	oldPassword = "Yesterday#s-Kelp4" // of every account when a test begins
	newPassword = "Tomorrow#s-Vortex7"
	portalURL   = "https://portal.example/recover/reset"
	noToken     = spy.TokenText // well-formed, and nobody's
)

// A site is an application with account recovery. Tests reach all its parts, and drive the worker
// by hand.
type site struct {
	*recovery.Service
	ground
	t      *testing.T
	is     *is.I
	ctx    context.Context
	trace  *traceStore // of the Service's calls of the Store
	mail   *mailertest.Recorder
	log    *spy.Log
	seen   *spy.Log // all that callers were answered
	events *eventLog
	mux    *http.ServeMux
	client netip.Addr        // of the callers that come
	tenant string            // that they ask for
	hashes map[string]string // that accounts have when nothing was changed

	overWire bool                           // requests go over a connection to a real server
	remote   *string                        // what middleware left in Request.RemoteAddr, if not nil
	addr     func(*http.Request) netip.Addr // of the adapters' options, nil for the default
	fails    atomic.Value                   // in S78, the place where what the application supplies panics
	hashed   atomic.Int32                   // passwords
	asked    atomic.Int32                   // second factors
	opts     *recovery.Options              // of the Service
	others   []*recovery.Service            // further instances
	attacks  atomic.Int64
	judged   int64 // attacks of which sound has seen what came of them

	mu      sync.Mutex
	now     time.Time
	secrets []string
	tickets map[string]string // by the ID of their request
	typed   map[string]typed  // what else a mail had, by its token
	server  *httptest.Server
}

// typed is a code, and the ticket of its request.
type typed struct{ ticket, code string }

// accounts are those of every site. mallory is disabled, federate logs in through Google, the
// address of unproven was not verified, and the name of 9 is the address of 8.
var accounts = func() (all []recovery.Account) {
	for i, a := range [][2]string{
		{"alice", "alice@example.com"}, {"alicia", "alice@example.com"}, {"billybob", "billybob@example.com"},
		{"mallory", "mallory@example.com"}, {"federate", "federate@example.com"}, {"unproven", "unproven@example.com"},
		{"mike", "mike@example.com"}, {"victim", "victim@example.com"},
		{"victim@example.com", "attacker@evil.example"}, {"attacker", "attacker@evil.example"},
	} {
		account := eligible(fmt.Sprint(i+1), a[0], a[1])
		account.Active, account.HasPassword, account.EmailVerified = a[0] != "mallory", a[0] != "federate", a[0] != "unproven"
		if a[0] == "federate" {
			account.SignIn = "Google"
		}
		all = append(all, account)
	}
	return all
}()

// newSite builds on a store. Hashing is quick and limits are off unless with says otherwise.
func newSite(t *testing.T, g ground, with func(*site, *recovery.Options)) *site {
	t.Helper()
	s := &site{
		ground: g, t: t, is: is.New(t), ctx: t.Context(), trace: newTraceStore(g.Store),
		mail: &mailertest.Recorder{}, log: &spy.Log{}, seen: &spy.Log{}, events: &eventLog{flushed: make(chan netip.Addr, 100)},
		client: netip.MustParseAddr("192.0.2.1"), hashes: map[string]string{}, tickets: map[string]string{}, typed: map[string]typed{},
		now: time.Date(2046, 11, 21, 18, 30, 0, 123456000, time.UTC), secrets: []string{oldPassword, newPassword},
	}
	s.is.Helper()
	s.putAll(accounts)
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	opts := recovery.Options{
		Application: "Acme", Portals: map[string]recovery.Portal{"web": {URL: portalURL}}, Limits: recovery.Limits{InsecureOff: true},
		Hasher: recovery.Hasher{Hash: func(password string) (string, error) { s.hashed.Add(1); return quickHash(password), nil }},
		Logger: logger, Now: s.clock, Hooks: s.events.hooks(),
		Workers: 1,
		Tick:    10 * time.Millisecond, // what a job without a mail takes, while no mail was sent yet
	}
	if with != nil {
		with(s, &opts)
	}
	s.opts = &opts
	t.Cleanup(s.reckon)
	var err error
	s.Service, err = recovery.New(s.trace, s.mail, &opts)
	s.is.NoErr(err)
	s.mount()
	return s
}

// mount makes new handlers, which have logged nothing yet.
func (s *site) mount() {
	s.is.Helper()
	pages := sync.OnceValue(func() http.Handler { // trying its templates takes longer than most tests of a row
		pages, err := portal.New(s.Service, &portal.Options{
			Portal: "web", Logger: s.opts.Logger, BodyTimeout: 200 * time.Millisecond, ClientAddr: s.addr, Tenant: s.tenantOf,
		})
		s.is.NoErr(err)
		return pages
	})
	wire := &httpadapter.Options{Logger: s.opts.Logger, BodyTimeout: 200 * time.Millisecond, ClientAddr: s.addr, Tenant: s.tenantOf}
	s.mux = http.NewServeMux()
	for path, build := range map[string]func(*recovery.Service, *httpadapter.Options) (http.Handler, error){
		"/account-recovery": httpadapter.NewXandr, "/v2.0/": httpadapter.NewRackspace, "/api/recovery/": httpadapter.NewJSON,
	} {
		format, err := build(s.Service, wire)
		s.is.NoErr(err)
		s.mux.Handle(path, format)
	}
	s.mux.HandleFunc("/recover/", func(w http.ResponseWriter, r *http.Request) { pages().ServeHTTP(w, r) })
}

// another is one more instance on the same store.
func (s *site) another(opts *recovery.Options) *recovery.Service {
	s.is.Helper()
	svc, err := recovery.New(s.trace, s.mail, opts)
	s.is.NoErr(err)
	s.others = append(s.others, svc)
	return svc
}

func (s *site) tenantOf(*http.Request) string { return s.tenant }

// onStores runs a row on every store, all at once.
func onStores(t *testing.T, run func(t *testing.T, k kind)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			run(t, k)
		})
	}
}

// everywhere runs a row on every store. with may be nil.
func everywhere(t *testing.T, with func(*site, *recovery.Options), run func(s *site)) {
	t.Helper()
	onStores(t, func(t *testing.T, k kind) { run(newSite(t, k.empty(t), with)) })
}

// onEveryEntry runs a row on every store through every entry, each on a site of its own.
func onEveryEntry(t *testing.T, with func(*site, *recovery.Options), run func(s *site, e *entry)) {
	t.Helper()
	onEntries(t, func(kind, *entry) bool { return true }, with, run)
}

// onEntries runs a row on every store through the entries that it is about there.
func onEntries(t *testing.T, about func(kind, *entry) bool, with func(*site, *recovery.Options), run func(s *site, e *entry)) {
	t.Helper()
	onStores(t, func(t *testing.T, k kind) {
		for _, name := range entryNames {
			if !about(k, new(site).entry(name)) {
				continue
			}
			t.Run(name, func(t *testing.T) {
				s := newSite(t, k.empty(t), with)
				run(s, s.entry(name))
			})
		}
	})
}

// apart is for a row about the entry or the store but not about their combination: it runs every
// entry on memstore, and every store through the direct call.
func apart(k kind, e *entry) bool { return k.name == "memstore" || e.name == "direct" }

func quickHash(password string) string {
	return fmt.Sprintf("quick$%x", sha256.Sum256([]byte(password)))
}

// put adds or replaces an account, whose password is the old one.
func (s *site) put(a recovery.Account) {
	s.is.Helper()
	s.hashes[a.ID] = quickHash(oldPassword)
	s.is.NoErr(s.Put(a, s.hashes[a.ID]))
}

// putAll adds many accounts at once.
func (s *site) putAll(accounts []recovery.Account) {
	s.is.Helper()
	hash := quickHash(oldPassword)
	for _, a := range accounts {
		s.hashes[a.ID] = hash
		if s.db == nil {
			s.is.NoErr(s.Put(a, hash))
		}
	}
	if s.db != nil {
		s.is.NoErr(databases.PutAll(s.db, s.dialect, accounts, hash))
	}
}

// eligible returns an account that may be recovered, not yet stored.
func eligible(id, username, email string) recovery.Account {
	return recovery.Account{ID: id, Username: username, Email: email, Active: true, HasPassword: true, EmailVerified: true}
}

func (s *site) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// advance moves the clock, also backwards.
func (s *site) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// deliver works until the queue is empty, and returns the mails that were sent.
func (s *site) deliver() []recovery.Message {
	s.is.Helper()
	before := len(s.mail.Messages())
	_, err := s.Deliver(s.ctx)
	s.is.NoErr(err)
	mails := s.mail.Messages()[before:]
	for _, m := range mails {
		s.mailed(m)
	}
	return mails
}

// token returns the token that was mailed to the only account with the user name.
func (s *site) token(username string) string {
	s.is.Helper()
	s.withCode(username)
	mails := s.deliver()
	s.is.Equal(len(mails), 1) // one mail to one account
	return spy.Token(mails[0])
}

// withCode asks for a reset with a code, and returns the ticket.
func (s *site) withCode(username string) (ticket string) {
	s.is.Helper()
	receipt, err := s.request(recovery.ResetRequest{Username: username})
	s.is.NoErr(err)
	fmt.Fprintf(s.seen, "%v %+v %#v\n", receipt, receipt, receipt)
	s.secret(receipt.Ticket.Reveal())
	return receipt.Ticket.Reveal()
}

// request asks for a reset with a code, as the site's client and for its tenant.
func (s *site) request(r recovery.ResetRequest) (recovery.Receipt, error) {
	r.Tenant, r.Client, r.Code = s.tenant, s.client, true
	receipt, err := s.RequestReset(s.ctx, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tickets[receipt.ID] = receipt.Ticket.Reveal()
	return receipt, err
}

// codeOf returns its code, "" if it has none.
func codeOf(m recovery.Message) string {
	if len(m.Resets) == 0 {
		return ""
	}
	return m.Resets[0].Code
}

// verifies reports whether the account logs in with the password.
func (s *site) verifies(id, password string) bool {
	s.is.Helper()
	hash, err := s.PasswordHash(id)
	s.is.NoErr(err)
	if strings.HasPrefix(hash, "quick$") {
		return hash == quickHash(password)
	}
	return recovery.VerifyPassword(hash, password) == nil
}

// stored returns the password hashes of all accounts, by their IDs.
func (s *site) stored() map[string]string {
	s.is.Helper()
	all := map[string]string{}
	if s.db == nil {
		for id := range s.hashes {
			hash, err := s.PasswordHash(id)
			s.is.NoErr(err)
			all[id] = hash
		}
		return all
	}
	_, rows, err := databases.Rows(s.db, "SELECT id, password_hash FROM users")
	s.is.NoErr(err)
	for _, row := range rows {
		all[row[0].String] = row[1].String
	}
	return all
}

// mailed makes sound look for the tokens and codes of a mail from now on, and for their ticket.
func (s *site) mailed(m recovery.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range m.Resets {
		s.secrets = append(s.secrets, r.Token.Reveal())
		if r.Code != "" {
			s.secrets = append(s.secrets, r.Code, plain(r.Code))
		}
		if ticket := s.tickets[m.ID]; ticket != "" {
			s.secrets = append(s.secrets, ticket)
			s.typed[r.Token.Reveal()] = typed{ticket, r.Code}
		}
	}
}

// plain returns a code without its separators.
func plain(code string) string { return strings.ReplaceAll(code, "-", "") }

// secret makes sound look for text from now on.
func (s *site) secret(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = append(s.secrets, text)
}

// serve starts a real server, with real bodies and connections.
func (s *site) serve() *httptest.Server {
	if s.server == nil {
		s.server = httptest.NewServer(s.mux)
		s.t.Cleanup(s.server.Close)
	}
	return s.server
}
