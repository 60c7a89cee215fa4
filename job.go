package recovery

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

const (
	maxAccounts   = 1000 // of one address
	maxNames      = 50   // in one mail
	maxResets     = 10   // in one mail
	maxAsked      = 50   // accounts of one address that Portal.Allow is asked about
	firstBackoff  = 2 * time.Second
	maxBackoff    = 5 * time.Minute  // for requests, which end with Options.MaxRequestAge
	noticeBackoff = 15 * time.Minute // for notices and OnReset
	// What may have been accepted is tried a few times in all: a mail server that is slow to answer
	// would fill the mailbox.
	unsureBackoff       = 20 * time.Minute
	unsureNoticeBackoff = 24 * time.Hour

	maxNoticeAge   = 7 * 24 * time.Hour // of a notice that fails; mail systems give up after five days
	minNoticeTries = 5
)

// A job is one Job being handled.
type job struct {
	*Service
	job     Job
	began   time.Time // by the process's own clock
	at      time.Time // what the age of the request and the life of the token count from
	event   JobEvent
	outcome Outcome
	told    []func() // what hooks are told unless the job is tried again
	hides   bool     // whether there is a mail must not be seen
	mailed  bool     // the mail system was asked
	refused bool     // the mail system does not want the mail, ever
	unsure  bool     // the mail system may have accepted the mail
	secrets []string // addresses and tokens that must not get into a log
}

func (j *job) do(ctx context.Context) error {
	j.at = j.now()
	r := &j.job
	switch r.Kind {
	case JobNotice:
		return j.sendNotice(ctx)
	case JobOnReset:
		return j.callOnReset(ctx)
	}
	waited := j.at.Sub(r.RequestedAt)
	if r.Attempts == 1 {
		emit(&j.events, routine, j.opts.Hooks.JobStarted, j.event)
		j.slips.began(waited)
	}
	if j.tooOld(*r, j.at) {
		j.slips.dropped()
		j.drop(DropTooOld)
		return nil
	}
	j.hides = true
	accounts, err := j.meant(ctx)
	if err != nil || len(accounts) == 0 {
		return err
	}
	switch r.Kind {
	case JobUsernames:
		return j.sendUsernames(ctx, accounts)
	case JobReset:
		return j.sendResets(ctx, accounts)
	}
	j.drop(DropMalformed)
	return nil
}

// tooOld reports whether nobody waits any more for the mail of a job.
func (s *Service) tooOld(j Job, at time.Time) bool {
	return j.Kind.Lane() == LaneMail && at.Sub(j.RequestedAt) > s.opts.MaxRequestAge
}

// meant returns the eligible accounts that the request means, all of one mailbox.
func (j *job) meant(ctx context.Context) (accounts []Account, err error) {
	r := &j.job
	canonical, err := canonicalIdentifier(r.By, r.Identifier)
	if err != nil {
		j.drop(DropMalformed)
		return nil, nil
	}
	j.secrets = append(j.secrets, r.Identifier, canonical)
	found, err := j.find(ctx, AccountQuery{By: r.By, Typed: r.Identifier, Canonical: canonical, Max: maxAccounts + 1})
	if err != nil {
		return nil, err
	}
	for _, a := range j.matching(found[:min(len(found), maxAccounts)], canonical) {
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
	if len(found) > maxAccounts && found[maxAccounts].Eligible() { // there may be more
		j.drop(DropTooManyFound)
	}
	for _, a := range accounts {
		if spelling(ByEmail, a.Email) != spelling(ByEmail, accounts[0].Email) { // nothing tells whose name it is
			j.drop(DropNamesake)
			return nil, nil
		}
	}
	return accounts, nil
}

// matching returns those of the found accounts that the request means. The Store's comparison may
// be looser than ours, so each account is compared again. Of several that differ in case only, it
// means the one that is exactly as typed, or else the one in lower case: the others must not learn
// of it. An unverified address proves nobody's claim, so such accounts count only where there are
// no others.
func (j *job) matching(found []Account, canonical string) []Account {
	by := j.job.By
	verified, unverified := map[string][]Account{}, map[string][]Account{}
	for _, a := range found {
		stored := a.Username
		if by == ByEmail {
			stored = a.Email
		}
		if c, err := canonicalIdentifier(by, stored); err != nil || c != canonical {
			continue
		}
		spelled := unverified
		if a.EmailVerified {
			spelled = verified
		}
		spelled[spelling(by, stored)] = append(spelled[spelling(by, stored)], a)
	}
	spelled := verified
	if len(verified) == 0 {
		spelled = unverified
	}
	for _, exact := range []string{spelling(by, j.job.Identifier), spelling(by, canonical)} {
		if accounts := spelled[exact]; len(accounts) > 0 {
			return accounts
		}
	}
	switch len(spelled) {
	case 0:
		j.drop(DropNoAccount)
	case 1:
		for _, accounts := range spelled {
			return accounts
		}
	default:
		j.drop(DropNamesake)
	}
	return nil
}

// spelling tells identifiers apart that are the same but for case. In an address it is the case
// before the @ that may matter.
func spelling(by IdentifierKind, s string) string {
	s = strings.Trim(s, " ")
	if by != ByEmail {
		return s
	}
	local, domain, _ := strings.Cut(s, "@")
	domain, _ = canonicalDomain(domain)
	return local + "@" + domain
}

// byID asks for more than one, because the Store's comparison may be loose for IDs too.
func byID(id string) AccountQuery {
	return AccountQuery{By: ByID, Typed: id, Canonical: id, Max: maxAccounts}
}

func (j *job) find(ctx context.Context, query AccountQuery) (found []Account, err error) {
	err = j.foreground(ctx, func(ctx context.Context) error {
		found, err = j.store.FindAccounts(ctx, query)
		return err
	})
	return found, err
}

// sendResets sends one mail with a token for each account.
func (j *job) sendResets(ctx context.Context, accounts []Account) error {
	r := &j.job
	portal, byLink := j.opts.Portals[r.Portal]
	if !byLink && r.Portal != "" {
		j.drop(DropPortal) // it was configured when the request was made
		return nil
	}
	allowed, more, err := j.allowed(ctx, portal, accounts)
	if err != nil || len(allowed) == 0 {
		return err
	}
	requester := requesterNetwork(r.Client)
	tokens := map[string]Token{}
	mint := Mint{JobID: r.ID, LeaseID: r.LeaseID, At: j.at}
	for _, a := range allowed {
		token := newToken()
		tokens[a.ID] = token
		j.secrets = append(j.secrets, token.Reveal())
		mint.Resets = append(mint.Resets, Reset{
			Digest: token.Digest(), AccountID: a.ID, Version: a.Version, JobID: r.ID,
			Requester: limitKey("requester", ScopeClient, requester), RequestedAt: r.RequestedAt, ExpiresAt: j.at.Add(j.opts.TokenTTL),
		})
	}
	// Until a mail may have left, what an attempt made is of no use: it is deleted and given back.
	for _, r := range mint.Resets {
		j.outcome.Discard = append(j.outcome.Discard, r.Digest)
	}
	superseded, admitted, err := j.admit(ctx, mint, allowed[0], allowed)
	if err != nil || !admitted {
		return err
	}
	kind := MessageResetToken
	if byLink {
		kind = MessageResetLink
	}
	m := j.message(kind, allowed[0])
	m.Usernames, m.MoreResets, m.ExpiresAt = nil, more, j.at.Add(j.opts.TokenTTL)
	var mailed []string
	for _, a := range allowed {
		if slices.Contains(superseded, a.ID) {
			continue
		}
		token := tokens[a.ID]
		reset := MessageReset{Username: a.Username, Token: token}
		if byLink {
			reset.Link = portal.URL + "#token=" + token.Reveal()
		}
		m.Resets = append(m.Resets, reset)
		mailed = append(mailed, a.ID)
	}
	if err := j.send(ctx, m); err != nil {
		return err
	}
	j.outcome.MailedAccountIDs, j.outcome.Requester = mailed, mint.Resets[0].Requester
	return nil
}

// allowed returns the first accounts that may have a link to the portal, and how many accounts come
// after those.
func (j *job) allowed(ctx context.Context, portal Portal, accounts []Account) (allowed []Account, more int, err error) {
	for i, a := range accounts {
		if len(allowed) == maxResets || i == maxAsked {
			return allowed, len(accounts) - i, nil
		}
		j.event.Account = a
		if portal.Allow != nil {
			j.secrets = append(j.secrets, addresses(a.Email)...)
			ok, err := portal.Allow(ctx, a)
			if err != nil {
				return nil, 0, err
			}
			if !ok {
				j.drop(DropPortal)
				continue
			}
		}
		allowed = append(allowed, a)
	}
	if len(allowed) > 0 {
		j.event.Account = allowed[0]
	}
	return allowed, 0, nil
}

// admit stores the resets of a mail and counts it against the limits of its mailbox. Who is over
// them is not mailed, and nobody is told but the hooks.
func (j *job) admit(ctx context.Context, mint Mint, to Account, accounts []Account) (superseded []string, ok bool, err error) {
	j.event.Account = to
	j.secrets = append(j.secrets, addresses(to.Email)...)
	if limits := &j.opts.Limits; !limits.InsecureOff {
		mailbox, err := CanonicalEmail(to.Email)
		if err != nil {
			return nil, false, err
		}
		mint.Charges = limits.usernameCharges(mailbox)
		if len(mint.Resets) > 0 {
			mint.Charges = limits.resetCharges(mailbox, requesterNetwork(j.job.Client), accounts)
		}
		j.outcome.Refund = mint.Charges
	}
	err = j.foreground(ctx, func(ctx context.Context) (err error) {
		superseded, err = j.store.CreateResets(ctx, mint)
		return err
	})
	if limited, ok := errors.AsType[*LimitError](err); ok {
		event := j.event
		event.Err = limited
		j.told = append(j.told, func() { emit(&j.events, routine, j.opts.Hooks.JobThrottled, event) })
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if len(mint.Resets) > 0 && len(superseded) == len(mint.Resets) {
		j.drop(DropSuperseded)
		return nil, false, nil
	}
	return superseded, true, nil
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
	_, admitted, err := j.admit(ctx, Mint{JobID: j.job.ID, LeaseID: j.job.LeaseID, At: j.at}, reader, nil)
	if err != nil || !admitted {
		return err
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
	a.Email = j.job.Identifier
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
	emit(&j.events, matters, j.opts.Hooks.OnResetCalled, j.event)
	return nil
}

// account returns the request's account as it is now, or only its ID if it is gone.
func (j *job) account(ctx context.Context) (Account, error) {
	a := Account{ID: j.job.AccountID}
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
	r := &j.job
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
	j.mailed, j.unsure = true, true // until it is known, also after a panic
	result := try{failed: true, unsure: true}
	defer func() {
		result.attempt, result.took = j.job.Attempts, time.Since(j.began)
		j.pace.note(j.job.Kind.Lane(), result)
	}()
	err := j.mailer.Send(ctx, m)
	j.refused = errors.Is(err, ErrPermanent)
	j.unsure = errors.Is(err, ErrUncertain) || err != nil && ctx.Err() != nil
	result = try{failed: err != nil && !j.refused, unsure: j.unsure}
	if err != nil {
		return err
	}
	emit(&j.events, routine, j.opts.Hooks.MailSent, j.event)
	return nil
}

func (j *job) drop(reason DropReason) {
	event := j.event
	event.Reason = reason
	j.told = append(j.told, func() { emit(&j.events, routine, j.opts.Hooks.JobDropped, event) })
}

// endsBefore reports whether the request is too old to be tried again.
func (j *job) endsBefore(now time.Time) bool {
	age := now.Sub(j.job.RequestedAt)
	switch j.job.Kind {
	case JobOnReset:
		return false // until it returns nil
	case JobNotice: // which may have waited for a worker for as long
		return age >= maxNoticeAge && j.job.Attempts >= minNoticeTries
	}
	return age >= j.opts.MaxRequestAge
}

// backoff doubles with every attempt up to a bound, and is spread over its upper half, so that what
// failed together does not come back together.
func (j *job) backoff() time.Duration {
	most, unsure := maxBackoff, unsureBackoff
	if k := j.job.Kind; k == JobNotice || k == JobOnReset {
		most, unsure = noticeBackoff, unsureNoticeBackoff
	}
	if j.unsure {
		return unsure
	}
	d := most
	if shift := j.job.Attempts - 1; shift < 16 {
		d = min(firstBackoff<<max(shift, 0), most)
	}
	return d/2 + rand.N(d/2)
}

func (j *job) logAttrs(err error) []any {
	return []any{
		"job", j.job.ID, "kind", string(j.job.Kind), "attempt", j.job.Attempts,
		"error", j.scrubbed(err).Error(),
	}
}

func (j *job) scrubbed(err error) error {
	return &outsideError{text: scrub(err.Error(), j.secrets...), err: err}
}
