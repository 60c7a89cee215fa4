package recovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

const (
	claimBatch    = 16
	leaseFactor   = 4 // × Options.SendTimeout: how long a claim lasts
	workFactor    = 2 // × Options.SendTimeout: how long one request may take
	storeTimeout  = 10 * time.Second
	purgeEvery    = 10 * time.Minute
	purgeBatch    = 500
	maxAccounts   = 1000 // of one address
	maxNames      = 50   // in one mail
	firstBackoff  = 2 * time.Second
	maxBackoff    = 5 * time.Minute  // for requests, which end with Options.MaxRequestAge
	noticeBackoff = 15 * time.Minute // for notices and OnReset, which do not end
	finishTries   = 3
)

// Run is the worker. At every Options.Tick it takes what is due from the queue, mails it, and calls
// OnReset; now and then it purges. When ctx ends it finishes what it has claimed, which takes at most
// 4 × Options.SendTimeout, and returns nil. Any number of processes may run it on one Store.
func (s *Service) Run(ctx context.Context) error {
	s.worker.Store(true)
	tick := time.NewTicker(s.opts.Tick)
	defer tick.Stop()
	b := &batch{service: s}
	var wg sync.WaitGroup
	for range s.opts.Workers {
		wg.Go(func() {
			// The workers share one ticker, so that an idle worker asks the Store once a tick and a
			// hanging mail holds up one of them.
			for {
				select {
				case <-ctx.Done():
					b.drain(ctx)
					return
				case <-tick.C:
					b.drain(ctx)
					s.purgeIfDue(ctx)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// Deliver works through everything that is due and returns how many requests it dealt with, failed
// ones that will be tried again included. It is for tests, cron jobs and serverless functions; Run
// calls the same code. The error is that of the Store when requests could not be claimed; what
// happens to a single request is told to the hooks. When ctx ends it finishes what it has claimed.
func (s *Service) Deliver(ctx context.Context) (int, error) {
	s.worker.Store(true)
	b := &batch{service: s}
	var wg sync.WaitGroup
	for range s.opts.Workers {
		wg.Go(func() { b.drain(ctx) })
	}
	wg.Wait()
	s.purgeIfDue(ctx)
	return b.done, b.err
}

// A batch is what was claimed and not yet begun.
type batch struct {
	service *Service

	mu       sync.Mutex
	requests []Request
	until    time.Time // when the lease of requests ends
	done     int
	err      error
}

// drain handles requests until there are none, or until ctx has ended and the batch is empty.
func (b *batch) drain(ctx context.Context) {
	for {
		r, ok := b.next(ctx)
		if !ok {
			return
		}
		// What was claimed is finished even if ctx ends meanwhile.
		b.service.handle(context.WithoutCancel(ctx), r)
	}
}

func (b *batch) next(ctx context.Context) (Request, bool) {
	s := b.service
	b.mu.Lock()
	defer b.mu.Unlock()
	now := s.now()
	if now.Add(workFactor * s.opts.SendTimeout).After(b.until) {
		b.requests = nil // too late to begin: others may claim them soon
	}
	if len(b.requests) == 0 {
		if ctx.Err() != nil {
			return Request{}, false
		}
		lease := Lease{ID: newID(), At: now, Until: now.Add(leaseFactor * s.opts.SendTimeout), Max: claimBatch}
		var claimed []Request
		err := s.guard("claim requests", func() (err error) {
			ctx, cancel := context.WithTimeout(ctx, storeTimeout)
			defer cancel()
			claimed, err = s.store.ClaimRequests(ctx, lease)
			return err
		})
		s.noteStore(ctx, err)
		if err != nil {
			b.err = err
			return Request{}, false
		}
		b.requests, b.until = claimed, lease.Until
	}
	if len(b.requests) == 0 {
		return Request{}, false
	}
	r := b.requests[0]
	b.requests = b.requests[1:]
	b.done++
	return r, true
}

// noteStore logs when the Store fails and when it is back, not at every tick between.
func (s *Service) noteStore(ctx context.Context, err error) {
	switch {
	case err == nil:
		if s.storeDown.CompareAndSwap(true, false) {
			s.opts.Logger.Info("recovery: the store answers again")
		}
	case ctx.Err() == nil && s.storeDown.CompareAndSwap(false, true):
		s.opts.Logger.Error("recovery: the worker cannot claim requests", "error", err.Error())
	}
}

// handle does what a request asks for and writes down the outcome.
func (s *Service) handle(ctx context.Context, r Request) {
	j := &job{Service: s, request: r, event: RequestEvent{ID: r.ID, Kind: r.Kind, Attempt: r.Attempts, Client: r.Client}}
	j.outcome = Outcome{RequestID: r.ID, Lease: r.Lease}
	err := s.guard("handle a request", func() error {
		ctx, cancel := context.WithTimeout(ctx, workFactor*s.opts.SendTimeout)
		defer cancel()
		return j.do(ctx)
	})
	now := s.now()
	event, hooks := j.event, &s.opts.Hooks
	tell := func() {}
	switch {
	case err == nil:
	case errors.Is(err, ErrPermanent) || j.endsBefore(now):
		event.Err = j.scrubbed(err)
		tell = func() { emit(&s.events, hooks.RequestFailed, event) }
		s.opts.Logger.Error("recovery: a request failed for good", j.logAttrs(err)...)
		j.outcome.Mailed, j.outcome.Add = "", nil
	default:
		event.Err = j.scrubbed(err)
		tell = func() { emit(&s.events, hooks.RequestRetried, event) }
		s.opts.Logger.Warn("recovery: a request failed and will be tried again", j.logAttrs(err)...)
		j.outcome = Outcome{RequestID: r.ID, Lease: r.Lease, RetryAt: now.Add(j.backoff())}
	}
	j.outcome.At = now
	tell()
	s.finish(ctx, j)
}

// finish writes the outcome down. It tries more than once, because a mail whose outcome is lost is
// sent again.
func (s *Service) finish(ctx context.Context, j *job) {
	for try := 1; ; try++ {
		err := s.guard("finish a request", func() error {
			ctx, cancel := context.WithTimeout(ctx, storeTimeout)
			defer cancel()
			return s.store.FinishRequest(ctx, j.outcome)
		})
		// A lost lease means that another worker has it, or that an earlier try did take effect.
		if err == nil || errors.Is(err, ErrLeaseLost) {
			return
		}
		if try == finishTries {
			s.opts.Logger.Error("recovery: the outcome of a request could not be stored, it will be repeated", j.logAttrs(err)...)
			return
		}
		time.Sleep(time.Duration(try) * 100 * time.Millisecond)
	}
}

// guard calls f, which runs foreign code, and turns a panic into an error.
func (s *Service) guard(op string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			// The value is foreign and may hold anything; the stack says where.
			s.opts.Logger.Error("recovery: panic", "while", op, "stack", string(debug.Stack()))
			err = errors.New("recovery: panic while trying to " + op)
		}
	}()
	return f()
}

func (s *Service) purgeIfDue(ctx context.Context) {
	now := s.now()
	s.purge.Lock()
	due := !now.Before(s.purge.next)
	if due {
		s.purge.next = now.Add(purgeEvery)
	}
	s.purge.Unlock()
	for due && ctx.Err() == nil {
		var n int
		err := s.guard("purge", func() (err error) {
			ctx, cancel := context.WithTimeout(ctx, storeTimeout)
			defer cancel()
			n, err = s.store.Purge(ctx, now, purgeBatch)
			return err
		})
		if err != nil && ctx.Err() == nil {
			s.opts.Logger.Error("recovery: the store could not be purged", "error", err.Error())
		}
		due = err == nil && n >= purgeBatch
	}
}

// A job is one request being handled.
type job struct {
	*Service
	request Request
	event   RequestEvent
	outcome Outcome
	secrets []string // addresses and tokens that must not get into a log
}

func (j *job) do(ctx context.Context) error {
	r, hooks := &j.request, &j.opts.Hooks
	switch r.Kind {
	case RequestKindNotice:
		return j.sendNotice(ctx)
	case RequestKindOnReset:
		return j.callOnReset(ctx)
	}
	if r.Throttled {
		emit(&j.events, hooks.RequestThrottled, j.event)
		return nil
	}
	if r.Attempts == 1 {
		emit(&j.events, hooks.RequestAccepted, j.event)
	}
	if j.now().Sub(r.RequestedAt) > j.opts.MaxRequestAge {
		j.drop(DropTooOld)
		return nil
	}
	accounts, err := j.meant(ctx)
	if err != nil || len(accounts) == 0 {
		return err
	}
	switch {
	case r.Kind == RequestKindUsernames:
		return j.sendUsernames(ctx, accounts)
	case r.Kind != RequestKindReset:
		j.drop(DropMalformed)
		return nil
	case len(accounts) > 1:
		j.split(accounts)
		return nil
	}
	return j.sendReset(ctx, accounts[0])
}

// meant returns the eligible accounts that the request means. The Store's comparison may be looser
// than ours, so each account is compared again.
func (j *job) meant(ctx context.Context) ([]Account, error) {
	r := &j.request
	canonical, err := canonicalIdentifier(r.By, r.Identifier)
	if err != nil {
		j.drop(DropMalformed)
		return nil, nil
	}
	j.secrets = append(j.secrets, r.Identifier, canonical)
	query := AccountQuery{By: r.By, Typed: r.Identifier, Canonical: canonical, Max: maxAccounts + 1}
	if r.AccountID != "" {
		query = AccountQuery{By: ByID, Typed: r.AccountID, Canonical: r.AccountID, Max: 1}
	}
	found, err := j.find(ctx, query)
	if err != nil {
		return nil, err
	}
	var accounts []Account
	matched := false
	for _, a := range found {
		stored := a.Username
		if r.By == ByEmail {
			stored = a.Email
		}
		if c, err := canonicalIdentifier(r.By, stored); err != nil || c != canonical {
			continue
		}
		matched = true
		_, err := CanonicalEmail(a.Email)
		reason := DropReason("")
		switch {
		case !a.Active:
			reason = DropInactive
		case !a.HasPassword:
			reason = DropNoPassword
		case !a.Verified:
			reason = DropUnverified
		case err != nil:
			reason = DropBadAddress
		case len(accounts) == maxAccounts:
			reason = DropTooManyFound
		default:
			accounts = append(accounts, a)
			continue
		}
		j.event.Account = a
		j.drop(reason)
	}
	j.event.Account = Account{}
	if !matched {
		j.drop(DropNoAccount)
	}
	return accounts, nil
}

func (j *job) find(ctx context.Context, query AccountQuery) ([]Account, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return j.store.FindAccounts(ctx, query)
}

// split makes a request of its own for each account of an address, so that each mail is tried again
// for itself.
func (j *job) split(accounts []Account) {
	for _, a := range accounts {
		r := j.request
		r.ID, r.AccountID, r.DueAt, r.Attempts, r.Lease = newID(), a.ID, j.now(), 0, ""
		j.outcome.Add = append(j.outcome.Add, r)
	}
}

func (j *job) sendReset(ctx context.Context, a Account) error {
	r := &j.request
	j.event.Account = a
	portal, byLink := j.opts.Portals[r.Portal]
	if !byLink && r.Portal != "" {
		j.drop(DropPortal) // it was configured when the request was made
		return nil
	}
	if byLink && portal.Allow != nil {
		allowed, err := portal.Allow(ctx, a)
		if err != nil {
			return err
		}
		if !allowed {
			j.drop(DropPortal)
			return nil
		}
	}
	token := newToken()
	j.secrets = append(j.secrets, token.Reveal())
	reset := Reset{
		Digest: token.Digest(), AccountID: a.ID, Version: a.Version,
		RequestID: r.ID, RequestedAt: r.RequestedAt, ExpiresAt: j.now().Add(j.opts.TokenTTL),
	}
	if err := j.createReset(ctx, reset); err != nil {
		if errors.Is(err, ErrSuperseded) {
			j.drop(DropSuperseded)
			return nil
		}
		return err
	}
	m := j.message(MessageResetToken, a)
	m.Usernames, m.Token, m.ExpiresAt = []string{a.Username}, token, reset.ExpiresAt
	if byLink {
		m.Kind, m.Link = MessageResetLink, portal.URL+"#token="+token.Reveal()
	}
	if err := j.send(ctx, m); err != nil {
		return err
	}
	j.outcome.Mailed = a.ID
	return nil
}

func (j *job) createReset(ctx context.Context, reset Reset) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return j.store.CreateReset(ctx, reset)
}

func (j *job) sendUsernames(ctx context.Context, accounts []Account) error {
	m := j.message(MessageUsernames, accounts[0])
	for _, a := range accounts {
		if m.Locale == "" {
			m.Locale = a.Locale
		}
		if len(m.Usernames) < maxNames {
			m.Usernames = append(m.Usernames, a.Username)
		} else {
			m.MoreNames++
		}
	}
	return j.send(ctx, m)
}

// sendNotice tells the address that the account had when its password was changed, even if the
// account is gone by now.
func (j *job) sendNotice(ctx context.Context) error {
	a, err := j.account(ctx)
	if err != nil {
		return err
	}
	a.Email = j.request.Identifier
	m := j.message(MessagePasswordChanged, a)
	if a.Username != "" {
		m.Usernames = []string{a.Username}
	}
	return j.send(ctx, m)
}

func (j *job) callOnReset(ctx context.Context) error {
	if j.opts.OnReset == nil {
		return errors.New("recovery: Options.OnReset is not set in this process")
	}
	a, err := j.account(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, j.opts.SendTimeout)
	defer cancel()
	if err := j.opts.OnReset(ctx, a); err != nil {
		return err
	}
	emit(&j.events, j.opts.Hooks.ResetCalled, j.event)
	return nil
}

// account returns the request's account as it is now, or only its ID if it is gone.
func (j *job) account(ctx context.Context) (Account, error) {
	a := Account{ID: j.request.AccountID}
	found, err := j.find(ctx, AccountQuery{By: ByID, Typed: a.ID, Canonical: a.ID, Max: 1})
	if err != nil {
		return a, err
	}
	for _, f := range found {
		if f.ID == a.ID {
			a = f
		}
	}
	j.event.Account = a
	j.secrets = append(j.secrets, a.Email)
	return a, nil
}

// message fills in what all kinds of messages have.
func (j *job) message(kind MessageKind, a Account) Message {
	r := &j.request
	m := Message{
		ID: r.ID, Kind: kind, To: strings.Trim(a.Email, " "), Locale: a.Locale,
		Application: j.opts.Application, RequestedAt: r.RequestedAt, Client: r.Client,
	}
	if m.Locale == "" {
		m.Locale = r.Locale
	}
	return m
}

func (j *job) send(ctx context.Context, m Message) error {
	j.secrets = append(j.secrets, m.To)
	ctx, cancel := context.WithTimeout(ctx, j.opts.SendTimeout)
	defer cancel()
	if err := j.mailer.Send(ctx, m); err != nil {
		return err
	}
	emit(&j.events, j.opts.Hooks.MailSent, j.event)
	return nil
}

func (j *job) drop(reason DropReason) {
	event := j.event
	event.Reason = reason
	emit(&j.events, j.opts.Hooks.RequestDropped, event)
}

// endsBefore reports whether the request is too old to be tried once more.
func (j *job) endsBefore(now time.Time) bool {
	switch j.request.Kind {
	case RequestKindNotice, RequestKindOnReset:
		return false
	}
	return now.Sub(j.request.RequestedAt) >= j.opts.MaxRequestAge
}

// backoff doubles with every attempt up to a bound, and is spread over its upper half, so that what
// failed together does not come back together.
func (j *job) backoff() time.Duration {
	most := maxBackoff
	if k := j.request.Kind; k == RequestKindNotice || k == RequestKindOnReset {
		most = noticeBackoff
	}
	d := most
	if shift := j.request.Attempts - 1; shift < 16 {
		d = min(firstBackoff<<max(shift, 0), most)
	}
	return d/2 + rand.N(d/2)
}

func (j *job) logAttrs(err error) []any {
	return []any{
		"request", j.request.ID, "kind", string(j.request.Kind), "attempt", j.request.Attempts,
		"error", j.scrubbed(err).Error(),
	}
}

func (j *job) scrubbed(err error) error {
	return &outsideError{text: scrub(err.Error(), j.secrets...), err: err}
}
