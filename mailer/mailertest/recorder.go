// Package mailertest records the messages of account recovery, for the tests of applications. It
// renders nothing: a test looks at the fields of a [recovery.Message], such as
// Resets[0].Token.
//
// Use a zero [Recorder] instead of the real [recovery.Mailer]. The worker sends the mails, not the
// request, so a test calls Service.Deliver before it looks:
//
//	var mails mailertest.Recorder
//	service, err := recovery.New(store, &mails, nil)
//	…
//	_, err = service.RequestReset(ctx, recovery.ResetRequest{Username: "billybob"})
//	…
//	_, err = service.Deliver(ctx)
//	m, ok := mails.Last()
package mailertest

import (
	"context"
	"slices"
	"sync"

	"example.com/recovery"
	"example.com/recovery/internal/redact"
)

var _ recovery.Mailer = (*Recorder)(nil)

type redacted = redact.Value

// A Recorder is a [recovery.Mailer] that keeps what it is given. The zero value is ready to use. It
// is safe for concurrent use and must not be copied.
type Recorder struct {
	redacted

	mu       sync.Mutex
	messages []recovery.Message
	fail     func(recovery.Message) error
}

// Send records m, unless ctx has ended or the function given to [Recorder.Fail] returns an error.
// It returns that error unchanged.
func (r *Recorder) Send(ctx context.Context, m recovery.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	fail := r.fail
	r.mu.Unlock()
	if fail != nil {
		if err := fail(clone(m)); err != nil { // without the lock, so that fail may call r
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, clone(m))
	return nil
}

// Messages returns a copy of what was recorded, the oldest first.
func (r *Recorder) Messages() []recovery.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	messages := make([]recovery.Message, len(r.messages))
	for i, m := range r.messages {
		messages[i] = clone(m)
	}
	return messages
}

// Last returns the message that was recorded last, and false if there is none.
func (r *Recorder) Last() (recovery.Message, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.messages) == 0 {
		return recovery.Message{}, false
	}
	return clone(r.messages[len(r.messages)-1]), true
}

// Reset forgets what was recorded. What [Recorder.Fail] set stays.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = nil
}

// Fail makes Send call f first, and return its error instead of recording. A nil f ends that. An
// error that wraps [recovery.ErrPermanent] simulates a mail system that refuses the recipient. f
// may be called concurrently.
func (r *Recorder) Fail(f func(recovery.Message) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = f
}

func clone(m recovery.Message) recovery.Message {
	m.Usernames = slices.Clone(m.Usernames)
	m.Resets = slices.Clone(m.Resets)
	m.SignIns = slices.Clone(m.SignIns)
	return m
}
