package recovery

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// A Service recovers accounts. It is made by [New] and safe for concurrent use.
type Service struct {
	redacted

	store  Store
	mailer Mailer
	opts   Options // with every default filled in
	hasher hasher
	turns  turns
	events events
	clock  clock
	pace   pace
	slips  slips

	worker    atomic.Bool // Run or Deliver was called
	waiting   atomic.Bool // a request was accepted
	noClient  atomic.Bool // a call came without Client
	storeDown atomic.Bool // the worker's last claim failed

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
	s := &Service{store: store, mailer: mailer, opts: settings}
	s.hasher.slots = make(chan struct{}, settings.HashConcurrency)
	s.hasher.wait = settings.HashWait
	s.hasher.hash = settings.HashPassword
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
type ResetRequest struct {
	redacted

	Username string
	Email    string
	Portal   string     // name in Options.Portals, or ""
	Locale   string     // of whoever asks, a BCP 47 tag or ""; the account's own goes first
	Client   netip.Addr // of whoever asks; all without one count as one client
}

// A UsernameRequest asks for the user names of an address by mail. It prints as "[redacted]".
type UsernameRequest struct {
	redacted

	Email  string
	Locale string
	Client netip.Addr
}

// A CompleteRequest sets a new password with a token. It prints as "[redacted]".
type CompleteRequest struct {
	redacted

	Token    string
	Password string
	Username string // if set, it must be the user name of the token's account
	Locale   string // for the notice, if the account has none
	Client   netip.Addr
}

// RequestReset has a token, or the link to a portal, mailed for every eligible account that the
// user name or address means: one mail, to the address on file. It returns nil once the request is
// stored, whoever was named: the answer, the calls of the Store and the time they take are the same
// for an account that exists, does not, or may not be recovered. The answer is the same, too, for
// one that was mailed too often.
//
// Errors: a [*FieldError] if the request is malformed, a [*LimitError], ctx's error, or the
// Store's. Nothing is stored or mailed after one of the first two. The others may leave open
// whether the request is stored: to ask again does no harm.
func (s *Service) RequestReset(ctx context.Context, r ResetRequest) error {
	by, identifier := ByUsername, r.Username
	switch {
	case r.Username == "" && r.Email == "":
		return &FieldError{"username", "or email must be given"}
	case r.Username != "" && r.Email != "":
		return &FieldError{"username", "and email must not both be given"}
	case r.Email != "":
		by, identifier = ByEmail, r.Email
	}
	if _, ok := s.opts.Portals[r.Portal]; r.Portal != "" && !ok {
		return &FieldError{"portal", "must be one that the application configured"}
	}
	return s.ask(ctx, Job{
		Kind: JobReset, By: by, Identifier: identifier,
		Portal: r.Portal, Locale: r.Locale, Client: r.Client,
	})
}

// RetrieveUsername has the user names of all eligible accounts with the address mailed to it. It
// promises and returns what [Service.RequestReset] does.
func (s *Service) RetrieveUsername(ctx context.Context, r UsernameRequest) error {
	return s.ask(ctx, Job{
		Kind: JobUsernames, By: ByEmail, Identifier: r.Email,
		Locale: r.Locale, Client: r.Client,
	})
}

func (s *Service) ask(ctx context.Context, j Job) error {
	canonical, err := canonicalIdentifier(j.By, j.Identifier)
	if err != nil {
		return err
	}
	if err := checkLocale(j.Locale); err != nil {
		return err
	}
	s.clock.sync(ctx)
	j.ID = newID()
	j.Identifier = strings.Trim(j.Identifier, " ")
	j.Client = s.client(j.Client)
	j.RequestedAt = s.now()
	j.Turn = j.RequestedAt
	var charges Charges
	if limits := &s.opts.Limits; !limits.InsecureOff {
		charges = doorCharges("request", clientNetworks(j.Client), limits.PerClient, limits.Global)
	}
	if err := s.foreground(ctx, func(ctx context.Context) error { return s.store.Enqueue(ctx, j, charges) }); err != nil {
		return s.callFailed(ctx, "add the request", string(j.Kind), j.Client, err, j.Identifier, canonical)
	}
	s.watchForWorker()
	return nil
}

// foreground bounds a call of the Store that somebody waits for.
func (s *Service) foreground(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.StoreTimeout)
	defer cancel()
	return call(ctx)
}

// client returns the address in the form in which it is stored and counted.
func (s *Service) client(a netip.Addr) netip.Addr {
	if !a.IsValid() && !s.opts.Limits.InsecureOff && s.noClient.CompareAndSwap(false, true) {
		s.opts.Logger.Warn("recovery: a call came without the address of its client; all such calls count as one client")
	}
	return a.Unmap().WithZone("")
}

// CompleteReset sets a new password: it checks the password, finds the token, asks Options.Approve,
// hashes, and redeems the token, sets the password, voids the account's other tokens and queues the
// notice in one transaction. It returns the account as it is then.
//
// Errors: [ErrInvalidToken] if the token cannot be used, one error for every reason; a
// [*PasswordError]; a [*LimitError]; [ErrDenied]; [ErrBusy]; a [*FieldError] if the user name is
// none or the locale malformed; ctx's error, or that of the Store, Options.Approve or
// Options.HashPassword. After the Store's it may be unknown whether the password was changed:
// trying again is safe, and finds the token alive or used. Otherwise the token stays alive, unless
// it was denied for the last time.
func (s *Service) CompleteReset(ctx context.Context, r CompleteRequest) (Account, error) {
	var username string
	if r.Username != "" {
		var err error
		if username, err = CanonicalUsername(r.Username); err != nil {
			return Account{}, err
		}
	}
	if err := checkLocale(r.Locale); err != nil {
		return Account{}, err
	}
	if err := passwordError(s.opts.Policy.checkText(r.Password)); err != nil {
		return Account{}, err
	}
	s.clock.sync(ctx)
	r.Client = s.client(r.Client)
	secrets := []string{r.Password, strings.Trim(r.Token, " \t\r\n")}

	if limits := &s.opts.Limits; !limits.InsecureOff {
		charges := doorCharges("complete", clientNetworks(r.Client), limits.CompletePerClient, Limit{})
		err := s.foreground(ctx, func(ctx context.Context) error { return s.store.TakeLimits(ctx, s.now(), charges) })
		if err != nil {
			return Account{}, s.callFailed(ctx, "count the completion", "complete", r.Client, err, secrets...)
		}
	}
	token, err := ParseToken(r.Token)
	if err != nil {
		return Account{}, s.refuse(r, Account{}, TokenMalformed)
	}
	// One at a time: what waited finds the token used, and hashes nothing.
	digest := token.Digest()
	if err := s.turns.take(ctx, digest, s.opts.HashWait); err != nil {
		return Account{}, err
	}
	defer s.turns.pass(digest)
	return s.complete(ctx, r, username, digest, secrets)
}

// complete is CompleteReset from the look at the token on.
func (s *Service) complete(ctx context.Context, r CompleteRequest, username string, digest Digest, secrets []string) (Account, error) {
	var reset Reset
	var account Account
	err := s.foreground(ctx, func(ctx context.Context) (err error) {
		reset, account, err = s.store.FindReset(ctx, digest, s.now())
		return err
	})
	if err != nil {
		return Account{}, s.completeFailed(ctx, "find the token", r, account, err, secrets)
	}
	secrets = append(secrets, addresses(account.Email)...)
	switch name, err := CanonicalUsername(account.Username); {
	case !account.Eligible():
		return Account{}, s.refuse(r, account, TokenAccountGone)
	case r.Username != "" && (err != nil || name != username):
		return Account{}, s.refuse(r, account, TokenOtherAccount)
	case reset.Tries >= MaxTries:
		return Account{}, s.refuse(r, account, TokenDenied)
	}
	if err := s.checkPassword(ctx, r.Password, account); err != nil {
		return Account{}, err
	}
	if err := s.approve(ctx, r, account, digest, secrets); err != nil {
		return Account{}, err
	}
	hash, err := s.hasher.do(ctx, r.Password)
	if err != nil {
		if err == ErrBusy || err == ctx.Err() {
			return Account{}, err
		}
		return Account{}, outside("hash the password", err, secrets...)
	}
	if hash == "" {
		return Account{}, errors.New("recovery: Options.HashPassword returned an empty hash")
	}

	at := s.now()
	redemption := Redemption{Digest: digest, At: at, PasswordHash: hash, Add: s.aftermath(r, account, at)}
	err = s.foreground(ctx, func(ctx context.Context) (err error) {
		account, err = s.store.Redeem(ctx, redemption)
		return err
	})
	if err != nil {
		return Account{}, s.completeFailed(ctx, "complete the reset", r, account, err, append(secrets, hash))
	}
	emit(&s.events, matters, s.opts.Hooks.PasswordChanged, ResetEvent{Client: r.Client, Account: account})
	s.watchForWorker()
	return account, nil
}

// approve asks Options.Approve. The try is counted before, so that no number of callers has more of
// them than there are, and given back if it did not end in a denial.
func (s *Service) approve(ctx context.Context, r CompleteRequest, account Account, digest Digest, secrets []string) error {
	if s.opts.Approve == nil {
		return nil
	}
	err := s.foreground(ctx, func(ctx context.Context) error { return s.store.CountTry(ctx, digest, 1) })
	if err != nil {
		return s.completeFailed(ctx, "count the try", r, account, err, secrets)
	}
	denied := false
	defer func() { // also after a panic
		if denied {
			return
		}
		err := s.foreground(context.WithoutCancel(ctx), func(ctx context.Context) error { return s.store.CountTry(ctx, digest, -1) })
		if err != nil {
			s.opts.Logger.Error("recovery: a try that was not denied could not be given back", "error", scrub(err.Error(), secrets...))
		}
	}()
	err = s.opts.Approve(ctx, account, r)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrDenied):
		denied = true
		err = outside("approve", err, secrets...)
		emit(&s.events, matters, s.opts.Hooks.ResetDenied, ResetEvent{Client: r.Client, Account: account, Err: err})
		return &deniedError{err}
	case errors.Is(err, ErrBusy):
		return ErrBusy
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return ctx.Err()
	}
	return outside("approve", err, secrets...)
}

// checkPassword applies the rules that need the account, and those that cost a remote call.
func (s *Service) checkPassword(ctx context.Context, password string, account Account) error {
	p := s.opts.Policy
	reasons := p.checkWords(password, []string{account.Username, account.Email, s.opts.Application})
	if p.Breached != nil {
		breached, err := s.askBreached(ctx, password)
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.opts.Logger.Warn("recovery: the breach service failed",
				"error", scrub(err.Error(), password, account.Email), "refused", p.BreachFailClosed)
			if p.BreachFailClosed {
				return ErrBusy
			}
		}
		if breached && err == nil {
			reasons = append(reasons, reasonBreached)
		}
	}
	return passwordError(reasons)
}

// askBreached gives Policy.Breached its deadline, and does not wait for one that ignores it.
func (s *Service) askBreached(ctx context.Context, password string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Policy.BreachTimeout)
	defer cancel()
	type answer struct {
		breached bool
		err      error
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		a.err = s.guard("ask the breach service", func() (err error) {
			a.breached, err = s.opts.Policy.Breached(ctx, password)
			return err
		})
		answers <- a
	}()
	select {
	case a := <-answers:
		return a.breached, a.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// aftermath is what the worker has to do once the password is changed.
func (s *Service) aftermath(r CompleteRequest, account Account, at time.Time) []Job {
	notice := Job{
		ID: newID(), Kind: JobNotice, By: ByEmail,
		// The address as it was when the password was changed: whoever changes the password may
		// change the address next, and the notice is for the one before.
		Identifier: account.Email, AccountID: account.ID,
		Locale: r.Locale, Client: r.Client, RequestedAt: at, Turn: at,
	}
	if s.opts.OnReset == nil {
		return []Job{notice}
	}
	call := notice
	call.ID, call.Kind, call.By, call.Identifier = newID(), JobOnReset, ByID, account.ID
	return []Job{notice, call}
}

// refuse tells the hooks the reason and the caller none.
func (s *Service) refuse(r CompleteRequest, account Account, reason TokenReason) error {
	emit(&s.events, routine, s.opts.Hooks.TokenRefused, ResetEvent{Client: r.Client, Account: account, Reason: reason})
	return ErrInvalidToken
}

func (s *Service) completeFailed(ctx context.Context, op string, r CompleteRequest, account Account, err error, secrets []string) error {
	if errors.Is(err, ErrInvalidToken) {
		reason := TokenUnknown
		if e, ok := errors.AsType[*TokenError](err); ok {
			reason = e.Reason
		}
		return s.refuse(r, account, reason)
	}
	return s.callFailed(ctx, op, "complete", r.Client, err, secrets...)
}

// callFailed turns an error of the Store into the caller's.
func (s *Service) callFailed(ctx context.Context, op, call string, client netip.Addr, err error, secrets ...string) error {
	if e, ok := errors.AsType[*LimitError](err); ok {
		emit(&s.events, routine, s.opts.Hooks.LimitReached, LimitEvent{Call: call, Client: client, Err: e})
		return e
	}
	if errors.Is(err, ctx.Err()) {
		return ctx.Err()
	}
	return outside(op, err, secrets...)
}

// workerGrace is how long a request may wait before the missing worker is reported.
const workerGrace = 10 * time.Second

// watchForWorker has the log told, once, when requests wait in a process that never called Run.
func (s *Service) watchForWorker() {
	if !s.waiting.CompareAndSwap(false, true) {
		return
	}
	time.AfterFunc(workerGrace, func() {
		if !s.worker.Load() {
			s.opts.Logger.Warn("recovery: requests are waiting, and neither Run nor Deliver was called here; " +
				"nothing is mailed unless another process does")
		}
	})
}

// now returns the time as Stores keep it.
func (s *Service) now() time.Time { return s.clock.read() }

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func canonicalIdentifier(by IdentifierKind, s string) (string, error) {
	if by == ByEmail {
		return CanonicalEmail(s)
	}
	return CanonicalUsername(s)
}

func checkLocale(s string) error {
	if len(s) > maxLocale || slices.ContainsFunc([]byte(s), func(c byte) bool { return !isLetterDigit(c) && c != '-' }) {
		return &FieldError{"locale", "must be a language tag of at most 35 letters, digits and hyphens"}
	}
	return nil
}

// A deniedError is ErrDenied with the reason of Options.Approve beside it.
type deniedError struct{ err error }

func (e *deniedError) Error() string   { return ErrDenied.Error() }
func (e *deniedError) Unwrap() []error { return []error{ErrDenied, e.err} }
