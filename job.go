package recovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"
)

const (
	maxNames      = 50 // in one mail
	maxResets     = 10 // in one mail
	maxAsked      = 50 // accounts of one address that Portal.Allow is asked about
	firstBackoff  = 2 * time.Second
	maxBackoff    = 5 * time.Minute  // for requests, which end with Options.MaxRequestAge
	noticeBackoff = 15 * time.Minute // for notices and OnReset
	// A mail that may have been accepted is tried only a few times: a mail server that answers too
	// late would fill the mailbox.
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
	at      time.Time // when handling began, by the Store's clock
	event   JobEvent
	outcome Outcome
	told    []func() // what hooks are told unless the job is tried again
	hides   bool     // nobody must see whether a mail leaves
	mailed  bool     // the mail system was asked
	refused bool     // the mail system refused the mail for good
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

// tooOld reports whether a job is so old that nobody waits for its mail any more.
func (s *Service) tooOld(j Job, at time.Time) bool {
	return j.Kind.Lane() == LaneMail && at.Sub(j.RequestedAt) > s.opts.MaxRequestAge
}

// sendNotice tells the address that the account had when its password was changed, even if the
// account is gone by now.
func (j *job) sendNotice(ctx context.Context) error {
	a, err := j.account(ctx)
	if err != nil {
		return err
	}
	a.Email = j.job.Identifier
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
	emit(&j.events, matters, j.opts.Hooks.OnResetCalled, j.event)
	return nil
}

// message fills in what all kinds of messages have.
func (j *job) message(kind MessageKind, a Account) Message {
	r := &j.job
	return Message{
		ID: r.ID, Kind: kind, To: trimSpace(a.Email), Tenant: r.Tenant, Locale: strings.Trim(a.Locale+","+r.Locale, ","),
		Application: j.opts.Application, RequestedAt: r.RequestedAt, Client: r.Client,
	}
}

func (j *job) send(ctx context.Context, m Message) error {
	m.SentAt = j.now()
	if err := ctx.Err(); err != nil { // nothing has left, for certain
		return err
	}
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
	case JobNotice: // it may have waited that long for a worker
		return age >= maxNoticeAge && j.job.Attempts >= minNoticeTries
	}
	return age >= j.opts.MaxRequestAge
}

// backoff doubles with every attempt up to a bound, and is random in its upper half, so that jobs
// that failed together do not come back together.
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
