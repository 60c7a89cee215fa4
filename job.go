package recovery

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"
)

const (
	maxAccounts   = 1000 // of one address
	maxNames      = 50   // in one mail
	firstBackoff  = 2 * time.Second
	maxBackoff    = 5 * time.Minute  // for requests, which end with Options.MaxRequestAge
	noticeBackoff = 15 * time.Minute // for notices and OnReset
	// What may have been accepted is tried a few times in all: a mail server that is slow to answer would
	// fill the mailbox.
	unsureBackoff       = 20 * time.Minute
	unsureNoticeBackoff = 24 * time.Hour

	maxNoticeAge   = 7 * 24 * time.Hour // of a notice that fails; mail systems give up after five days
	minNoticeTries = 5
)

// A job is one request being handled.
type job struct {
	*Service
	request Job
	began   time.Time // what the age of the request and the life of the token count from: the clock is read once
	event   JobEvent
	outcome Outcome
	refused bool     // the mail system does not want the mail, ever
	unsure  bool     // the mail system may have accepted the mail
	secrets []string // addresses and tokens that must not get into a log
}

func (j *job) do(ctx context.Context) error {
	j.began = j.now()
	r, hooks := &j.request, &j.opts.Hooks
	switch r.Kind {
	case JobNotice:
		return j.sendNotice(ctx)
	case JobOnReset:
		return j.callOnReset(ctx)
	}
	if r.Throttled {
		emit(&j.events, hooks.JobThrottled, j.event)
		return nil
	}
	if r.Attempts == 1 && r.AccountID == "" {
		emit(&j.events, hooks.JobStarted, j.event)
	}
	if j.began.Sub(r.RequestedAt) > j.opts.MaxRequestAge {
		j.drop(DropTooOld)
		return nil
	}
	accounts, err := j.meant(ctx)
	if err != nil || len(accounts) == 0 {
		return err
	}
	switch {
	case r.Kind == JobUsernames:
		return j.sendUsernames(ctx, accounts)
	case r.Kind != JobReset:
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
		query = byID(r.AccountID)
	}
	found, err := j.find(ctx, query)
	if err != nil {
		return nil, err
	}
	var accounts []Account
	matched := false
	for _, a := range found[:min(len(found), maxAccounts)] {
		stored := a.Username
		if r.By == ByEmail {
			stored = a.Email
		}
		if c, err := canonicalIdentifier(r.By, stored); err != nil || c != canonical {
			continue
		}
		if r.AccountID != "" && a.ID != r.AccountID {
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
		case !a.EmailVerified:
			reason = DropUnverified
		case err != nil:
			reason = DropBadAddress
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
	if len(found) > maxAccounts && found[maxAccounts].Eligible() { // there may be more
		j.drop(DropTooManyFound)
	}
	return accounts, nil
}

// byID asks for more than one, because the Store's comparison may be loose for IDs too.
func byID(id string) AccountQuery {
	return AccountQuery{By: ByID, Typed: id, Canonical: id, Max: maxAccounts}
}

func (j *job) find(ctx context.Context, query AccountQuery) ([]Account, error) {
	ctx, cancel := context.WithTimeout(ctx, j.storeTimeout())
	defer cancel()
	return j.store.FindAccounts(ctx, query)
}

// split makes a request of its own for each account of an address, so that each mail is tried again
// for itself.
func (j *job) split(accounts []Account) {
	for _, a := range accounts {
		r := j.request
		r.ID, r.AccountID, r.Attempts, r.LeaseID = newID(), a.ID, 0, ""
		j.outcome.Add = append(j.outcome.Add, r)
	}
}

func (j *job) sendReset(ctx context.Context, a Account) error {
	r := &j.request
	j.event.Account = a
	j.secrets = append(j.secrets, addresses(a.Email)...)
	portal, byLink := j.opts.Portals[r.Portal]
	if !byLink && r.Portal != "" {
		j.drop(DropPortal) // it was configured when the request was made
		return nil
	}
	if portal.Allow != nil {
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
		JobID: r.ID, RequestedAt: r.RequestedAt, ExpiresAt: j.began.Add(j.opts.TokenTTL),
	}
	if err := j.createReset(ctx, reset); err != nil {
		if errors.Is(err, ErrSuperseded) {
			j.drop(DropSuperseded)
			return nil
		}
		return err
	}
	m := j.message(MessageResetToken, a)
	m.Token, m.ExpiresAt = token, reset.ExpiresAt
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
	ctx, cancel := context.WithTimeout(ctx, j.storeTimeout())
	defer cancel()
	return j.store.CreateReset(ctx, reset)
}

func (j *job) sendUsernames(ctx context.Context, accounts []Account) error {
	reader := accounts[0]
	for _, a := range accounts {
		reader.Locale = cmp.Or(reader.Locale, a.Locale)
	}
	m := j.message(MessageUsernames, reader)
	m.Usernames = nil
	for _, a := range accounts {
		switch {
		case a.Username == "":
		case len(m.Usernames) < maxNames:
			m.Usernames = append(m.Usernames, a.Username)
		default:
			m.MoreNames++
		}
	}
	if len(m.Usernames) == 0 {
		j.drop(DropNoUsername)
		return nil
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
	return j.send(ctx, j.message(MessagePasswordChanged, a))
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
	emit(&j.events, j.opts.Hooks.OnResetCalled, j.event)
	return nil
}

// account returns the request's account as it is now, or only its ID if it is gone.
func (j *job) account(ctx context.Context) (Account, error) {
	a := Account{ID: j.request.AccountID}
	found, err := j.find(ctx, byID(a.ID))
	if err != nil {
		return a, err
	}
	for _, f := range found {
		if f.ID == a.ID {
			a = f
		}
	}
	j.event.Account = a
	j.secrets = append(j.secrets, addresses(a.Email)...)
	return a, nil
}

// message fills in what all kinds of messages have.
func (j *job) message(kind MessageKind, a Account) Message {
	r := &j.request
	m := Message{
		ID: r.ID, Kind: kind, To: strings.Trim(a.Email, " "), Locale: cmp.Or(a.Locale, r.Locale),
		Application: j.opts.Application, RequestedAt: r.RequestedAt, Client: r.Client,
	}
	if a.Username != "" {
		m.Usernames = []string{a.Username}
	}
	return m
}

func (j *job) send(ctx context.Context, m Message) error {
	j.secrets = append(j.secrets, addresses(m.To)...)
	ctx, cancel := context.WithTimeout(ctx, j.opts.SendTimeout)
	defer cancel()
	if err := j.mailer.Send(ctx, m); err != nil {
		j.refused, j.unsure = errors.Is(err, ErrPermanent), errors.Is(err, ErrUncertain)
		return err
	}
	emit(&j.events, j.opts.Hooks.MailSent, j.event)
	return nil
}

func (j *job) drop(reason DropReason) {
	event := j.event
	event.Reason = reason
	emit(&j.events, j.opts.Hooks.JobDropped, event)
}

// endsBefore reports whether the request is too old to be tried again.
func (j *job) endsBefore(now time.Time) bool {
	age := now.Sub(j.request.RequestedAt)
	switch j.request.Kind {
	case JobOnReset:
		return false // until it returns nil
	case JobNotice: // which may have waited for a worker for as long
		return age >= maxNoticeAge && j.request.Attempts >= minNoticeTries
	}
	return age >= j.opts.MaxRequestAge
}

// backoff doubles with every attempt up to a bound, and is spread over its upper half, so that what
// failed together does not come back together.
func (j *job) backoff() time.Duration {
	most, unsure := maxBackoff, unsureBackoff
	if k := j.request.Kind; k == JobNotice || k == JobOnReset {
		most, unsure = noticeBackoff, unsureNoticeBackoff
	}
	if j.unsure {
		return unsure
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
