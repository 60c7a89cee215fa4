package recovery

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"example.com/recovery/internal/invisible"
	"example.com/recovery/internal/normal"
	"example.com/recovery/internal/outage"
)

// A Service recovers accounts. It is made by [New] and safe for concurrent use.
type Service struct {
	redacted

	store  Store
	mailer Mailer
	opts   Options // with every default filled in
	hashes hashSlots
	locks  tokenLocks
	events events
	clock  clock
	pace   pace
	delays delays

	codeLength int // of what people type; only tests change it

	worker   atomic.Bool // Run, Deliver or DeliverJob was called
	waiting  atomic.Bool // a request was accepted
	noClient atomic.Bool // a call came without Client

	claims   outage.Log
	breaches outage.Log // failures of the breach service

	purge struct {
		sync.Mutex
		next time.Time
	}
}

// New returns a Service that keeps its state in store and sends its mails through mailer. It starts
// no goroutine: call [Service.Run], or [Service.Deliver] now and then, or nothing is ever mailed.
// The error names every fault of the options at once.
func New(store Store, mailer Mailer, opts *Options) (*Service, error) {
	settings, err := opts.settings()
	if store == nil {
		err = errors.Join(err, errors.New("recovery: New needs a Store"))
	}
	if mailer == nil {
		err = errors.Join(err, errors.New("recovery: New needs a Mailer"))
	}
	if err != nil {
		return nil, err
	}
	s := &Service{store: store, mailer: mailer, opts: settings, codeLength: codeLength}
	s.hashes.slots = make(chan struct{}, settings.HashConcurrency)
	s.hashes.wait, s.hashes.hash = settings.HashWait, settings.Hasher.Hash
	s.events.log = settings.Logger
	s.clock = clock{now: settings.Now, injected: settings.Now != nil, shared: s.storeNow, log: settings.Logger}
	if settings.Now == nil {
		s.clock.now = time.Now
		s.opts.Now = time.Now
	}
	s.pace.none = settings.Tick
	return s, nil
}

// A ResetRequest asks for a token by mail. Exactly one of Username and Email is set. It prints as
// "[redacted]".
//
// Locale has BCP 47 tags with commas between them. From Accept-Language join the tags that
// ParseAcceptLanguage of golang.org/x/text/language returns, and leave out "mul", which is how it
// reads "*".
type ResetRequest struct {
	redacted

	Username string
	Email    string
	Tenant   string     // whose accounts are meant, a text of up to 64 bytes; "" is a tenant, too
	Code     bool       // the mail also has a code to type, for whoever holds Receipt.Ticket
	Ticket   string     // of an earlier Receipt, or ""; reused, so that codes on their way still work
	Portal   string     // name in Options.Portals, or ""
	Locale   string     // languages of whoever asks, as "de-CH,fr", or ""; not a raw Accept-Language
	Client   netip.Addr // of whoever asks; all without one count as one client
}

// A UsernameRequest asks for the user names of an address by mail. It prints as "[redacted]".
type UsernameRequest struct {
	redacted

	Email  string
	Tenant string
	Locale string
	Client netip.Addr
}

// A Receipt is what a caller gets for a request, whoever was named. It prints as "[redacted]".
type Receipt struct {
	redacted

	// ID is that of the request: events of the hooks and Message.ID carry it. It is no secret.
	ID string

	// Ticket is the other half of every code that the mail carries. Keep it where only the person
	// who asked can reach it: in a cookie, a form or the memory of an app. A person who asks again
	// within a minute is not mailed again: give the Ticket as ResetRequest.Ticket, so that the code
	// on its way still works. After a [*LimitError] of ScopeTicket leave it out.
	Ticket Ticket
}

// A CompleteRequest sets a new password with a token, or with a code and the ticket of its request.
// It prints as "[redacted]".
//
// Give Token and Code as they were pasted or typed. A whole link works too, even one that a mail
// filter rewrote. White space, U+200B, U+FEFF and one pair of angle brackets are ignored.
type CompleteRequest struct {
	redacted

	Token    string
	Ticket   string // Receipt.Ticket, revealed
	Code     string
	Password string
	Factor   string // the answer to a [*ChallengeError], for Options.Approve
	Username string // if set, it must be the user name of the token's account
	Locale   string // for the notice, behind the account's own
	Client   netip.Addr
}

// RequestReset has a token, or the link to a portal, mailed for each of at most ten eligible
// accounts that the user name or address means: one mail, to the address on file. It returns once
// the request is stored. The answer, the calls of the Store and the time they take are the same
// whether the account exists, does not, or may not be recovered. The answer is also the same if it
// was mailed too often.
//
// Errors: a [*FieldError] if the request is malformed, a [*LimitError], ctx's error, or the
// Store's. Nothing is stored or mailed after one of the first two. The others may leave open
// whether the request is stored: to ask again does no harm.
func (s *Service) RequestReset(ctx context.Context, r ResetRequest) (Receipt, error) {
	by, identifier := ByUsername, r.Username
	switch {
	case r.Username == "" && r.Email == "":
		return Receipt{}, &FieldError{"username", "or email must be given"}
	case r.Username != "" && r.Email != "":
		return Receipt{}, &FieldError{"username", "and email must not both be given"}
	case r.Email != "":
		by, identifier = ByEmail, r.Email
	}
	if p, ok := s.opts.Portals[r.Portal]; r.Portal != "" && !ok || !p.isFor(r.Tenant) {
		return Receipt{}, &FieldError{"portal", "must be one that the application configured"}
	}
	return s.ask(ctx, Job{
		Kind: JobReset, By: by, Identifier: identifier,
		Tenant: r.Tenant, Portal: r.Portal, Locale: r.Locale, Client: r.Client,
	}, r.Code, r.Ticket)
}

// RetrieveUsername has the user names of all eligible accounts with the address mailed to it. It
// promises and returns what [Service.RequestReset] does. Of addresses that differ only in case the
// one that was typed goes first, and alone: at sign-up, reuse the spelling that is stored.
func (s *Service) RetrieveUsername(ctx context.Context, r UsernameRequest) (Receipt, error) {
	return s.ask(ctx, Job{
		Kind: JobUsernames, By: ByEmail, Identifier: r.Email,
		Tenant: r.Tenant, Locale: r.Locale, Client: r.Client,
	}, false, "")
}

// ask adds a request to the queue. Every request gets a receipt.
func (s *Service) ask(ctx context.Context, j Job, code bool, ticket string) (Receipt, error) {
	canonical, err := s.canonical(j.By, j.Identifier)
	if err != nil {
		return Receipt{}, err
	}
	if err := cmp.Or(checkTenant(j.Tenant), checkLocale(j.Locale)); err != nil {
		return Receipt{}, err
	}
	s.clock.sync(ctx)
	receipt := Receipt{ID: newID(), Ticket: ticketOf(ticket)}
	j.ID = receipt.ID
	if code {
		j.Ticket = receipt.Ticket.secret.Digest()
	}
	j.Identifier = normal.NFC(normal.Trim(j.Identifier))
	j.Client = s.client(j.Client)
	j.RequestedAt = s.now()
	j.Priority = j.RequestedAt
	var charges Charges
	if limits := &s.opts.Limits; !limits.InsecureOff {
		charges = callCharges("request", clientNetworks(j.Client), limits.PerClient, limits.Global)
	}
	if err := s.bounded(ctx, func(ctx context.Context) error { return s.store.Enqueue(ctx, j, charges) }); err != nil {
		return Receipt{}, s.storeError(ctx, "add the request", LimitEvent{Call: string(j.Kind), Tenant: j.Tenant, Client: j.Client},
			err, j.Identifier, canonical)
	}
	s.watchForWorker()
	return receipt, nil
}

const maxTenant, maxLocale = 64, 64 // bytes

func checkTenant(s string) error {
	if len(s) > maxTenant || invisible.In(s) {
		return &FieldError{"tenant", "must be at most 64 bytes of visible text"}
	}
	return nil
}

func checkLocale(s string) error {
	if len(s) > maxLocale || slices.ContainsFunc([]byte(s), func(c byte) bool { return !isLetterDigit(c) && c != '-' && c != ',' }) {
		return &FieldError{"locale", "must be language tags of letters, digits and hyphens, with a comma between two, and at most 64 bytes"}
	}
	return nil
}

// bounded makes a call of the Store, which must end within StoreTimeout.
func (s *Service) bounded(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.StoreTimeout)
	defer cancel()
	return call(ctx)
}

// boundedCall is bounded for a method of the Store that returns something.
func boundedCall[A, R any](ctx context.Context, s *Service, method func(context.Context, A) (R, error), arg A) (result R, err error) {
	err = s.bounded(ctx, func(ctx context.Context) (err error) {
		result, err = method(ctx, arg)
		return err
	})
	return result, err
}

// guard calls f, which runs foreign code, and turns a panic into an error.
func (s *Service) guard(op string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errors.New("recovery: panic while trying to " + op)
			defer func() { _ = recover() }() // the Logger is the application's too
			// The value is foreign and may hold anything; the stack says where.
			s.opts.Logger.Error("recovery: panic", "while", op, "stack", string(debug.Stack()))
		}
	}()
	return f()
}

// client returns the address in the form in which it is stored and counted.
func (s *Service) client(a netip.Addr) netip.Addr {
	if !a.IsValid() && !s.opts.Limits.InsecureOff && s.noClient.CompareAndSwap(false, true) {
		s.opts.Logger.Warn("recovery: a call came without the address of its client; all such calls count as one client: " +
			"set Client of the request, or have Options.ClientAddr of httpadapter and portal return a valid address")
	}
	return a.Unmap().WithZone("")
}

// storeError turns an error of the Store into the caller's.
func (s *Service) storeError(ctx context.Context, op string, call LimitEvent, err error, secrets ...string) error {
	if e, ok := errors.AsType[*LimitError](err); ok {
		call.Err = e
		emit(&s.events, routine, s.opts.Hooks.LimitReached, call)
		return e
	}
	if errors.Is(err, ctx.Err()) {
		return ctx.Err()
	}
	return wrapOutside(op, err, secrets...)
}

// workerGrace is how long a request may wait before the missing worker is reported.
const workerGrace = 10 * time.Second

// watchForWorker logs, once, that requests wait in a process that called neither Run, Deliver nor
// DeliverJob.
func (s *Service) watchForWorker() {
	if !s.waiting.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(workerGrace, func() {
		if !s.worker.Load() {
			s.opts.Logger.Warn("recovery: requests are waiting, and neither Run, Deliver nor DeliverJob was called here; " +
				"nothing is mailed unless another process does")
		}
	})
}

// now returns the time as Stores keep it.
func (s *Service) now() time.Time { return s.clock.read() }

func newID() string { return uuid.Must(uuid.NewV7()).String() }
