package recovery

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"example.com/recovery/internal/normal"
)

// A completion is one call of CompleteReset.
type completion struct {
	*Service
	request  CompleteRequest
	username string   // canonical; "" if none was given
	digest   Digest   // of the token or code
	reset    Reset    // with the digest, once it was found
	ticket   Digest   // of the code's ticket; the zero Digest for a token
	account  Account  // of the reset, once it was found
	secrets  []string // what must not get into an error
}

// CompleteReset sets a new password: it checks the password, finds the token or code, asks
// Options.Approve and Policy.Check, hashes, and redeems the token, sets the password, voids the
// account's other tokens and codes and queues the notice in one transaction. It returns the account
// as it is then.
//
// Errors: [ErrInvalidToken] if the token or code cannot be used, one error for every reason; a
// [*PasswordError]; a [*LimitError]; a [*ChallengeError]; [ErrDenied]; [ErrBusy]; a [*FieldError]
// if the user name or the locale is malformed, or a code is given beside a token; ctx's error, or
// that of the Store or one of the application's functions. After an error of the Store it may be
// unknown whether the password was changed. It is safe to try again: the token is then alive or
// used. After other errors a live token stays alive, unless that was its last denial. So does a
// code, but a wrong code uses up one of its ticket's MaxTries.
func (s *Service) CompleteReset(ctx context.Context, r CompleteRequest) (Account, error) {
	c := &completion{Service: s, request: r}
	if err := c.do(ctx, c.check, c.checkText, c.countAndRead); err != nil {
		return Account{}, err
	}
	// One at a time: a completion that waited finds the token used, and hashes nothing.
	unlock, err := s.locks.lock(ctx, cmp.Or(c.ticket, c.digest), s.opts.HashWait)
	if err != nil {
		return Account{}, err
	}
	defer unlock()
	if err := c.do(ctx, c.find, c.checkPassword, c.approve, c.checkOwnRule); err != nil {
		return Account{}, err
	}
	return c.redeem(ctx)
}

// CheckReset reports whether the token or code of r can be used, and returns the account that it
// belongs to, so that a page can say that a link is dead before somebody thinks up a password. It
// changes nothing, but counts as a completion for the limits, and a wrong code uses up one of its
// ticket's MaxTries. The password and the factor are not looked at. Errors are those of
// [Service.CompleteReset].
func (s *Service) CheckReset(ctx context.Context, r CompleteRequest) (Account, error) {
	c := &completion{Service: s, request: r}
	if err := c.do(ctx, c.check, c.countAndRead, c.find); err != nil {
		return Account{}, err
	}
	return c.account, nil
}

// do takes the steps until one fails.
func (c *completion) do(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// check checks what needs no Store, except the password.
func (c *completion) check(context.Context) (err error) {
	r := &c.request
	if r.Username != "" {
		if c.username, err = c.canonical(ByUsername, r.Username); err != nil {
			return err
		}
	}
	if err := checkLocale(r.Locale); err != nil {
		return err
	}
	if r.Token != "" && r.Code != "" {
		return &FieldError{"token", "and code must not both be given"}
	}
	return nil
}

func (c *completion) checkText(context.Context) error {
	return passwordError(c.opts.Policy.checkText(c.request.Password))
}

// countAndRead counts the call against its client's limit, and reads its token or code.
func (c *completion) countAndRead(ctx context.Context) error {
	r := &c.request
	r.Token = pasted(r.Token)
	// An application may clean a secret before it quotes it in an error: those forms are secret
	// too.
	for _, secret := range []string{r.Password, r.Token, r.Ticket, r.Code, r.Factor} {
		c.secrets = append(c.secrets, secret, normal.Trim(secret), strings.Join(strings.Fields(secret), ""))
	}
	c.clock.sync(ctx)
	r.Client = c.client(r.Client)
	if limits := &c.opts.Limits; !limits.InsecureOff {
		charges := callCharges("complete", clientNetworks(r.Client), limits.CompletePerClient, Limit{})
		err := c.bounded(ctx, func(ctx context.Context) error { return c.store.TakeLimits(ctx, c.now(), charges) })
		if err != nil {
			return c.limitError(ctx, "count the completion", err)
		}
	}
	if !c.parse() {
		return c.refuse(TokenMalformed)
	}
	return nil
}

func (c *completion) byCode() bool {
	return c.request.Token == ""
}

// parse reads the token, or the code and its ticket.
func (c *completion) parse() bool {
	if !c.byCode() {
		token, err := ParseToken(c.request.Token)
		c.digest = token.Digest()
		return err == nil
	}
	ticket, err := ParseToken(c.request.Ticket)
	code, ok := parseCode(c.request.Code, c.codeLength)
	if err != nil || !ok {
		return false
	}
	c.secrets = append(c.secrets, code, groupCode(code))
	c.ticket = ticket.Digest()
	c.digest = codeDigest(c.ticket, code)
	return true
}

// find looks the token up. A wrong code uses up a try of its ticket.
func (c *completion) find(ctx context.Context) error {
	look := func() (wrong bool, err error) {
		err = c.bounded(ctx, func(ctx context.Context) (err error) {
			c.reset, c.account, err = c.store.FindReset(ctx, c.digest, c.now())
			return err
		})
		if err != nil {
			err = c.tokenError(ctx, "find the token", err)
		}
		return err == ErrInvalidToken, err
	}
	var err error
	if c.byCode() {
		err = c.try(ctx, codeCharges(c.ticket), look)
	} else {
		_, err = look()
	}
	if err != nil {
		return err
	}
	c.secrets = append(c.secrets, addresses(c.account.Email)...)
	if !c.account.Eligible() { // Reset.Judge said it before, if the Store asked
		return c.refuse(TokenAccountGone)
	}
	if c.username == "" {
		return nil
	}
	if name, err := c.canonical(ByUsername, c.account.Username); err != nil || name != c.username {
		return c.refuse(TokenOtherAccount)
	}
	return nil
}

// try calls do, which may fail only as often as the charges allow. It takes them first, so that
// concurrent callers get no extra tries, and gives them back unless do failed.
func (c *completion) try(ctx context.Context, charges Charges, do func() (failed bool, err error)) error {
	err := c.bounded(ctx, func(ctx context.Context) error { return c.store.TakeLimits(ctx, c.now(), charges) })
	if e, ok := errors.AsType[*LimitError](err); ok && e.Scope == ScopeToken { // a ticket's is told
		return c.refuse(TokenTriedOut)
	}
	if err != nil {
		return c.limitError(ctx, "count the try", err)
	}
	failed := false
	defer func() { // also after a panic
		if failed {
			return
		}
		err := c.bounded(context.WithoutCancel(ctx), func(ctx context.Context) error { return c.store.RefundLimits(ctx, charges) })
		if err != nil {
			c.opts.Logger.Error("recovery: a try that did not fail could not be given back", "error", scrub(err.Error(), c.secrets...))
		}
	}()
	failed, err = do()
	return err
}

// checkPassword applies the rules that need the account, and those that cost a remote call.
func (c *completion) checkPassword(ctx context.Context) error {
	p, password := c.opts.Policy, c.request.Password
	reasons := p.checkWords(password, []string{c.account.Username, c.account.Email, c.opts.Application})
	if p.Breached != nil {
		breached, err := c.askBreached(ctx, password)
		switch {
		case err == nil:
			c.breaches.Works(c.opts.Logger.Info, "recovery: the breach service answers again")
			if breached {
				reasons = append(reasons, reasonBreached)
			}
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			c.breaches.Failed(c.opts.Logger.Warn, "recovery: the breach service failed",
				"error", scrub(err.Error(), c.secrets...), "refused", p.BreachFailClosed)
			if p.BreachFailClosed {
				return ErrBusy
			}
		}
	}
	return passwordError(reasons)
}

// askBreached calls Policy.Breached, and stops waiting at its deadline even if the function goes
// on.
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

// approve asks Options.Approve. Its error is a decision of the application, or a failure.
func (c *completion) approve(ctx context.Context) error {
	if c.opts.Approve == nil {
		return nil
	}
	return c.try(ctx, approveCharges(c.reset), func() (failed bool, err error) {
		err = c.opts.Approve(ctx, c.account, c.request)
		if err == nil {
			return false, nil
		}
		denied, challenged := errors.Is(err, ErrDenied), errors.Is(err, ErrChallenged)
		challenge, ok := errors.AsType[*ChallengeError](err)
		if !ok || challenge == nil {
			challenge = &ChallengeError{Name: "factor", Text: "Enter your second factor."}
		}
		cause := wrapOutside("approve", err, c.secrets...)
		failed = denied || challenged && c.request.Factor != ""
		if failed {
			emit(&c.events, matters, c.opts.Hooks.ResetDenied, ResetEvent{Client: c.request.Client, Account: c.account, Err: cause})
		}
		switch {
		case denied:
			return failed, &deniedError{cause}
		case challenged:
			return failed, challenge
		}
		return failed, c.applicationError(ctx, "approve", err)
	})
}

// checkOwnRule asks Policy.Check. That may reveal earlier passwords, so it comes after Approve.
func (c *completion) checkOwnRule(ctx context.Context) error {
	if c.opts.Policy.Check == nil {
		return nil
	}
	reasons, err := c.opts.Policy.Check(ctx, c.account, c.request.Password)
	if err == nil {
		err = passwordError(reasons)
	}
	if err != nil {
		return c.applicationError(ctx, "check the password", err)
	}
	return nil
}

// redeem hashes the password and sets it.
func (c *completion) redeem(ctx context.Context) (Account, error) {
	hash, err := c.hashes.do(ctx, c.request.Password)
	if err != nil {
		return Account{}, c.applicationError(ctx, "hash the password", err)
	}
	if hash == "" {
		return Account{}, errors.New("recovery: Options.Hasher returned an empty hash")
	}
	at := c.now()
	redemption := Redemption{Digest: c.digest, At: at, PasswordHash: hash, Add: c.aftermath(at)}
	account, err := boundedCall(ctx, c.Service, c.store.Redeem, redemption)
	if err != nil {
		c.secrets = append(c.secrets, hash)
		return Account{}, c.tokenError(ctx, "complete the reset", err)
	}
	emit(&c.events, matters, c.opts.Hooks.PasswordChanged, ResetEvent{Client: c.request.Client, Account: account})
	c.watchForWorker()
	return account, nil
}

// aftermath returns the jobs that follow the change of a password.
func (c *completion) aftermath(at time.Time) []Job {
	notice := Job{
		ID: newID(), Kind: JobNotice, By: ByEmail,
		// The address at the time of the change: an intruder may change the address next, and the
		// notice must go to the old one.
		Identifier: c.account.Email, AccountID: c.account.ID, Tenant: c.account.Tenant,
		Locale: c.request.Locale, Client: c.request.Client, RequestedAt: at, Priority: at,
	}
	if c.opts.OnReset == nil {
		return []Job{notice}
	}
	call := notice
	call.ID, call.Kind, call.By, call.Identifier = newID(), JobOnReset, ByID, c.account.ID
	return []Job{notice, call}
}

// refuse gives the reason to the hooks, and none to the caller.
func (c *completion) refuse(reason TokenReason) error {
	emit(&c.events, routine, c.opts.Hooks.TokenRefused, ResetEvent{Client: c.request.Client, Account: c.account, Reason: reason})
	return ErrInvalidToken
}

// tokenError turns an error of FindReset or Redeem into the caller's.
func (c *completion) tokenError(ctx context.Context, op string, err error) error {
	if e, ok := errors.AsType[*TokenError](err); ok {
		return c.refuse(e.Reason)
	}
	if errors.Is(err, ErrInvalidToken) {
		return c.refuse(TokenUnknown)
	}
	return c.limitError(ctx, op, err)
}

// limitError turns an error of TakeLimits, or any other of the Store, into the caller's.
func (c *completion) limitError(ctx context.Context, op string, err error) error {
	return c.storeError(ctx, op, LimitEvent{Call: "complete", Client: c.request.Client}, err, c.secrets...)
}

// applicationError turns an error of one of the application's functions into the caller's.
func (c *completion) applicationError(ctx context.Context, op string, err error) error {
	if e, ok := errors.AsType[*PasswordError](err); ok && e.hasReasons() {
		return e
	}
	switch {
	case errors.Is(err, ErrBusy):
		return ErrBusy
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return ctx.Err()
	}
	return wrapOutside(op, err, c.secrets...)
}

// A deniedError is ErrDenied with the reason of Options.Approve beside it.
type deniedError struct{ err error }

func (e *deniedError) Error() string   { return ErrDenied.Error() }
func (e *deniedError) Unwrap() []error { return []error{ErrDenied, e.err} }
