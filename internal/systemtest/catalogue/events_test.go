package catalogue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// flush waits until the hooks of all events so far have run, at every instance.
func (s *site) flush() {
	s.is.Helper()
	for _, svc := range append(s.others, s.Service) {
		s.flushOf(svc)
	}
}

// flushOf does so with a routine event of its own: important events go before it, and routine ones
// run in order. If it is dropped because too many wait, it is sent again.
func (s *site) flushOf(svc *recovery.Service) {
	s.is.Helper()
	for {
		mark := s.events.next()
		_, err := svc.CompleteReset(s.ctx, recovery.CompleteRequest{Token: "flush", Password: newPassword, Client: mark})
		s.is.True(errors.Is(err, recovery.ErrInvalidToken))
		again := time.After(5 * time.Second)
		for waiting := true; waiting; {
			select {
			case seen := <-s.events.flushed:
				if seen == mark {
					return
				}
			case <-again:
				waiting = false
			}
		}
	}
}

// takeEvents waits for the hooks, and returns and forgets what they were told.
func (s *site) takeEvents() (jobs []recovery.JobEvent, limits []recovery.LimitEvent) {
	s.is.Helper()
	s.flush()
	told := &s.events.told
	told.Lock()
	defer told.Unlock()
	jobs, limits = told.jobs, told.limits
	told.jobs, told.limits = nil, nil
	return jobs, limits
}

// marks are the addresses of callers that mark a place among the events, each of a network of its
// own.
var marks = netip.MustParsePrefix("fdff::/16")

// An eventLog records the events of hooks, one line each, with all their fields.
type eventLog struct {
	spy.Log
	flushed chan netip.Addr
	last    uint32

	told struct { // in S18
		sync.Mutex
		jobs   []recovery.JobEvent
		limits []recovery.LimitEvent
	}
}

func (l *eventLog) next() netip.Addr {
	l.last++
	a := marks.Addr().As16()
	binary.BigEndian.PutUint32(a[2:6], l.last) // of a /48
	return netip.AddrFrom16(a)
}

func (l *eventLog) hooks() recovery.Hooks {
	request := func(name string) func(recovery.JobEvent) {
		return func(e recovery.JobEvent) {
			fmt.Fprintf(l, "%s %s %s %s %s %d %s %s %v %+v %#v\n",
				name, e.Reason, e.ID, e.Kind, e.Client, e.Attempt, accountText(e.Account), errorText(e.Err), e, e, e)
			l.told.Lock()
			defer l.told.Unlock()
			l.told.jobs = append(l.told.jobs, e)
		}
	}
	reset := func(name string) func(recovery.ResetEvent) {
		return func(e recovery.ResetEvent) {
			if marks.Contains(e.Client) {
				l.flushed <- e.Client
				return
			}
			fmt.Fprintf(l, "%s %s %s %s %s %v %+v %#v\n", name, e.Reason, e.Client, accountText(e.Account), errorText(e.Err), e, e, e)
		}
	}
	return recovery.Hooks{
		JobStarted:    request("JobStarted"),
		JobThrottled:  request("JobThrottled"),
		JobDropped:    request("JobDropped"),
		JobRetried:    request("JobRetried"),
		JobFailed:     request("JobFailed"),
		MailSent:      request("MailSent"),
		OnResetCalled: request("OnResetCalled"),
		LimitReached: func(e recovery.LimitEvent) {
			fmt.Fprintf(l, "LimitReached %s %s %s %v %+v %#v\n", e.Call, e.Client, errorText(e.Err), e, e, e)
			l.told.Lock()
			defer l.told.Unlock()
			l.told.limits = append(l.told.limits, e)
		},
		TokenRefused:    reset("TokenRefused"),
		ResetDenied:     reset("ResetDenied"),
		PasswordChanged: reset("PasswordChanged"),
	}
}

func accountText(a recovery.Account) string {
	return fmt.Sprintf("%q %q %q %q %q %q %x", a.ID, a.Tenant, a.Username, a.Email, a.Locale, a.SignIn, a.Version)
}

// errorText is the text of an error and of all that it wraps.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	text := fmt.Sprintf("%v %+v %q", err, err, err)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		text += " " + errorText(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			text += " " + errorText(err)
		}
	}
	return text
}
