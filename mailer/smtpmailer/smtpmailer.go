package smtpmailer

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"example.com/recovery"
	"example.com/recovery/mailer"
)

var _ recovery.Mailer = (*Mailer)(nil)

// A Mailer is a [recovery.Mailer] that sends over SMTP. It is safe for concurrent use. It prints as
// "[redacted]".
type Mailer struct {
	redacted

	renderer *mailer.Renderer
	opts     settings
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	slots    chan struct{} // one for each connection in use

	mu      sync.Mutex
	closed  bool
	idle    []*session     // the one used last is at the end
	endings sync.WaitGroup // expired sessions that are still quitting
}

// New returns a Mailer. It neither connects nor starts a goroutine, so it succeeds while the server
// is down. The error joins every fault of the options. Host and From have no default, so nil
// options are an error.
func New(r *mailer.Renderer, opts *Options) (*Mailer, error) {
	s, err := opts.settings()
	if r == nil {
		err = errors.Join(errors.New("smtpmailer: the Renderer must not be nil"), err)
	}
	if err != nil {
		return nil, err
	}
	return &Mailer{
		renderer: r, opts: s, dial: new(net.Dialer).DialContext, slots: make(chan struct{}, s.Connections),
	}, nil
}

// Send renders the message and returns nil once the server has accepted it. The package
// documentation says which errors wrap [recovery.ErrPermanent].
func (m *Mailer) Send(ctx context.Context, msg recovery.Message) error {
	rendered, err := m.renderer.Render(msg)
	if err != nil {
		return err
	}
	l, err := m.compose(rendered)
	if err != nil {
		return err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.opts.Timeout)
		defer cancel()
	}
	if ctx.Err() != nil {
		return stepError(ctx, stepWait, ctx.Err())
	}
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return stepError(ctx, stepWait, ctx.Err())
	}
	s, err := m.take()
	if err != nil {
		return err
	}
	if s != nil {
		again, err := m.transfer(ctx, s, l)
		if !again {
			return err
		}
	}
	if s, err = m.connect(ctx); err != nil {
		return err
	}
	_, err = m.transfer(ctx, s, l)
	return err
}

// Close ends the kept connections. A Send that is under way goes on; a later one fails. Close waits
// at most two seconds for the server's replies to QUIT.
func (m *Mailer) Close() error {
	m.mu.Lock()
	m.closed = true
	idle := m.idle
	m.idle = nil
	m.mu.Unlock()
	deadline := time.Now().Add(quitTimeout)
	var quits sync.WaitGroup
	for _, s := range idle {
		quits.Go(func() {
			s.idle.Stop()
			s.quit(deadline)
		})
	}
	quits.Wait()
	m.endings.Wait()
	return nil
}

const quitTimeout = 2 * time.Second

// transfer sends a mail over s and keeps s or ends it. If again is true, the mail was certainly not
// accepted and the connection may be at fault: if s was a kept one, a new one may work.
func (m *Mailer) transfer(ctx context.Context, s *session, l letter) (again bool, err error) {
	s.conn.left = maxReplies
	stop := context.AfterFunc(ctx, s.abort)
	deadline, _ := ctx.Deadline()
	step, err := s.deliver(l, m.opts.EnvelopeFrom, time.Now().Add(time.Until(deadline)/4))
	// A surplus reply would be taken for the reply to the next mail.
	alive := stop() && s.conn.left > 0 && !s.unread()
	if err == nil || accepted(step, err) {
		if alive && err == nil {
			m.keep(s)
		} else {
			s.abort()
		}
		return false, nil // the server has accepted the mail, whatever happens now
	}
	if s.conn.left <= 0 {
		err = errTooLong // instead of what the truncated reply says
	}
	err = stepError(ctx, step, err)
	reply, replied := errors.AsType[*ReplyError](err)
	if step == stepEnd && (!replied || !reply.refuses() || s.unread()) {
		err = &uncertainError{err} // the server has the whole mail, and has not clearly refused it
	}
	// After a refusal of this mail the connection can carry the next one. After any other error its
	// state is unknown.
	if alive && errors.Is(err, recovery.ErrPermanent) {
		m.keep(s)
		return false, err
	}
	s.abort()
	switch step {
	case stepReset, stepMail, stepBody:
		again = true
	case stepRcpt, stepData:
		again = !replied || reply.Code == 421 || reply.Code < 400
	}
	return again && ctx.Err() == nil, err
}

// take returns a kept connection, or nil if there is none.
func (m *Mailer) take() (*session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errClosed
	}
	last := len(m.idle) - 1
	if last < 0 {
		return nil, nil
	}
	s := m.idle[last]
	m.idle[last] = nil
	m.idle = m.idle[:last]
	s.idle.Stop()
	return s, nil
}

func (m *Mailer) keep(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		s.abort()
		return
	}
	s.kept = true
	m.idle = append(m.idle, s)
	s.idle = time.AfterFunc(m.opts.IdleTimeout, func() { m.expire(s) })
}

// expire ends a session unless somebody has taken it meanwhile.
func (m *Mailer) expire(s *session) {
	if m.remove(s) {
		defer m.endings.Done()
		s.quit(time.Now().Add(quitTimeout))
	}
}

func (m *Mailer) remove(s *session) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.Index(m.idle, s)
	if i < 0 {
		return false
	}
	m.idle = slices.Delete(m.idle, i, i+1)
	m.endings.Add(1)
	return true
}
