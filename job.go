package recovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"example.com/recovery/internal/normal"
)

const (
	workFactor  = 2                      // × Options.SendTimeout: how long one job may take
	endFactor   = 1                      // × Options.SendTimeout: how long storing the outcome may take
	finishPause = 100 * time.Millisecond // before the outcome is stored again; doubles each time
	maxPause    = 2 * time.Second

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

// A delivery is one attempt at a Job.
type delivery struct {
	*Service
	job         Job
	began       time.Time // by the process's own clock
	at          time.Time // when handling began, by the Store's clock
	event       JobEvent
	outcome     Outcome
	atEnd       []func() // events for the hooks, unless the job is tried again
	mustPretend bool     // a job without a mail must take as long as one with a mail
	result      result
	created     []Digest // of the resets of this attempt
	charged     Charges  // of its mail
	secrets     []string // addresses and tokens that must not get into a log
}

// A result is how an attempt went.
type result struct {
	failed  bool // with an error
	mailed  bool // the mail system was asked
	refused bool // it refused the mail for good
	unsure  bool // it may have accepted the mail
}

// next says what follows from the result. undo deletes the resets of the attempt and refunds its
// charges. unsure makes the pause before the retry a long one.
//
//	the mail was accepted         -
//	it may have been accepted     retry, unsure
//	it was refused for good       undo
//	it was not accepted           undo, retry
//	an error came before it       undo, retry
//	there was nothing to mail     undo, and retry as a recent mail, like
func (r result) next(like sample) (undo, retry, unsure bool) {
	undo = !r.mailed || r.failed && !r.unsure
	if r.mailed || r.failed {
		return undo, r.failed && !r.refused, r.unsure
	}
	return undo, like.failed, like.unsure
}

// handle does what a job asks for and stores the outcome. It returns when the job is to be tried
// again, and whether that could be stored.
func (s *Service) handle(ctx context.Context, j Job, stopping <-chan struct{}) (retryAt time.Time, ok bool) {
	d := &delivery{Service: s, job: j, began: time.Now(), event: JobEvent{ID: j.ID, Kind: j.Kind, Attempt: j.Attempts, Tenant: j.Tenant, Client: j.Client}}
	d.outcome = Outcome{JobID: j.ID, LeaseID: j.LeaseID}
	err := s.guard("handle a job", func() error {
		ctx, cancel := context.WithTimeout(ctx, workFactor*s.opts.SendTimeout)
		defer cancel()
		return d.do(ctx)
	})
	d.result.failed = err != nil
	var like sample
	if d.mustPretend && !d.result.mailed {
		like = d.pretend(stopping)
	}
	undo, retry, unsure := d.result.next(like)
	if undo {
		d.outcome.Discard, d.outcome.Refund = d.created, d.charged
	}
	now := s.now()
	event, hooks := d.event, &s.opts.Hooks
	if retry = retry && !d.givesUp(now); retry {
		d.outcome.RetryAt = now.Add(d.backoff(unsure))
	} else {
		for _, call := range d.atEnd {
			call()
		}
	}
	if err != nil {
		event.Err = d.scrubbed(err)
	}
	switch {
	case err == nil:
	case retry:
		emit(&s.events, routine, hooks.JobRetried, event)
		s.opts.Logger.Warn("recovery: a job failed and will be tried again", d.logAttrs(err)...)
	default:
		emit(&s.events, matters, hooks.JobFailed, event)
		s.opts.Logger.Error("recovery: a job failed for good", d.logAttrs(err)...)
	}
	d.outcome.At = now
	return d.outcome.RetryAt, s.finish(ctx, d)
}

// pretend makes the job take as long as a recent mail, and returns how such a mail would have gone.
// A worker that is being stopped does not wait.
func (d *delivery) pretend(stopping <-chan struct{}) sample {
	timer := time.NewTimer(d.pace.draw(d.job.Attempts).took - time.Since(d.began))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stopping:
	}
	return d.pace.result(d.job.Attempts)
}

// finish stores the outcome and reports whether it could. It tries for endFactor × SendTimeout,
// because a mail whose outcome is lost is sent again.
func (s *Service) finish(ctx context.Context, d *delivery) bool {
	until := time.Now().Add(endFactor * s.opts.SendTimeout)
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	for pause := finishPause; ; pause = min(2*pause, maxPause) {
		err := s.guard("finish a job", func() error {
			return s.bounded(ctx, func(ctx context.Context) error { return s.store.Finish(ctx, d.outcome) })
		})
		// A lost lease means that another worker has the job, or that the outcome was stored by an
		// earlier call.
		if err == nil || errors.Is(err, ErrLeaseLost) {
			return true
		}
		if time.Now().Add(pause + s.opts.StoreTimeout).After(until) {
			s.opts.Logger.Error("recovery: the outcome of a job could not be stored, it will be repeated", d.logAttrs(err)...)
			return false
		}
		time.Sleep(pause)
	}
}

func (d *delivery) do(ctx context.Context) error {
	d.at = d.now()
	j := &d.job
	switch j.Kind {
	case JobNotice:
		return d.sendNotice(ctx)
	case JobOnReset:
		return d.callOnReset(ctx)
	}
	waited := d.at.Sub(j.RequestedAt)
	if j.Attempts == 1 {
		emit(&d.events, routine, d.opts.Hooks.JobStarted, d.event)
		d.delays.began(waited)
	}
	if d.tooOld(*j, d.at) {
		d.delays.dropped()
		d.drop(DropTooOld)
		return nil
	}
	d.mustPretend = true
	accounts, err := d.meant(ctx)
	if err != nil || len(accounts) == 0 {
		return err
	}
	switch j.Kind {
	case JobUsernames:
		return d.sendUsernames(ctx, accounts)
	case JobReset:
		return d.sendResets(ctx, accounts)
	}
	d.drop(DropMalformed)
	return nil
}

// tooOld reports whether a job is so old that nobody waits for its mail any more.
func (s *Service) tooOld(j Job, at time.Time) bool {
	return j.Kind.Lane() == LaneMail && at.Sub(j.RequestedAt) > s.opts.MaxRequestAge
}

// sendNotice tells the address that the account had when its password was changed, even if the
// account is gone by now.
func (d *delivery) sendNotice(ctx context.Context) error {
	a, err := d.account(ctx)
	if err != nil {
		return err
	}
	a.Email = d.job.Identifier
	m := d.message(MessagePasswordChanged, a)
	if a.Username != "" {
		m.Usernames = []string{a.Username}
	}
	return d.send(ctx, m)
}

func (d *delivery) callOnReset(ctx context.Context) error {
	if d.opts.OnReset == nil {
		return errors.New("recovery: Options.OnReset is not set in this process")
	}
	a, err := d.account(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.opts.SendTimeout)
	defer cancel()
	if err := d.opts.OnReset(ctx, a); err != nil {
		return err
	}
	emit(&d.events, matters, d.opts.Hooks.OnResetCalled, d.event)
	return nil
}

// message fills in what all kinds of messages have.
func (d *delivery) message(kind MessageKind, a Account) Message {
	j := &d.job
	return Message{
		ID: j.ID, Kind: kind, To: normal.Trim(a.Email), Tenant: j.Tenant, Locale: strings.Trim(a.Locale+","+j.Locale, ","),
		Application: d.opts.Application, RequestedAt: j.RequestedAt, Client: j.Client,
	}
}

func (d *delivery) send(ctx context.Context, m Message) error {
	m.SentAt = d.now()
	if err := ctx.Err(); err != nil { // nothing has left, for certain
		return err
	}
	d.secrets = append(d.secrets, addresses(m.To)...)
	ctx, cancel := context.WithTimeout(ctx, d.opts.SendTimeout)
	defer cancel()
	d.result.mailed, d.result.unsure = true, true // until it is known, also after a panic
	noted := sample{failed: true, unsure: true}
	defer func() {
		noted.attempt, noted.took = d.job.Attempts, time.Since(d.began)
		d.pace.note(d.job.Kind.Lane(), noted)
	}()
	err := d.mailer.Send(ctx, m)
	d.result.refused = errors.Is(err, ErrPermanent)
	d.result.unsure = errors.Is(err, ErrUncertain) || err != nil && ctx.Err() != nil
	noted = sample{failed: err != nil && !d.result.refused, unsure: d.result.unsure}
	if err != nil {
		return err
	}
	emit(&d.events, routine, d.opts.Hooks.MailSent, d.event)
	return nil
}

func (d *delivery) drop(reason DropReason) {
	event := d.event
	event.Reason = reason
	d.atEnd = append(d.atEnd, func() { emit(&d.events, routine, d.opts.Hooks.JobDropped, event) })
}

// givesUp reports whether the job is not tried again after a failure.
func (d *delivery) givesUp(now time.Time) bool {
	age := now.Sub(d.job.RequestedAt)
	switch d.job.Kind {
	case JobOnReset:
		return false // until it returns nil
	case JobNotice: // it may have waited that long for a worker
		return age >= maxNoticeAge && d.job.Attempts >= minNoticeTries
	}
	return age >= d.opts.MaxRequestAge // the next attempt would be tooOld
}

// backoff doubles with every attempt up to a bound, and is random in its upper half, so that jobs
// that failed together do not come back together. After a mail that may have been accepted it is
// long from the start.
func (d *delivery) backoff(unsure bool) time.Duration {
	most, long := maxBackoff, unsureBackoff
	if k := d.job.Kind; k == JobNotice || k == JobOnReset {
		most, long = noticeBackoff, unsureNoticeBackoff
	}
	if unsure {
		return long
	}
	wait := most
	if shift := d.job.Attempts - 1; shift < 16 {
		wait = min(firstBackoff<<max(shift, 0), most)
	}
	return wait/2 + rand.N(wait/2)
}

func (d *delivery) logAttrs(err error) []any {
	return []any{
		"job", d.job.ID, "kind", string(d.job.Kind), "attempt", d.job.Attempts,
		"error", d.scrubbed(err).Error(),
	}
}

func (d *delivery) scrubbed(err error) error {
	return &outsideError{text: scrub(err.Error(), d.secrets...), err: err}
}
