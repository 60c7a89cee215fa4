package recovery_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A notice that fails ends when it is a week old and was tried five times, and neither before.
func TestNoticeEndsAfterAWeekAndFiveTries(t *testing.T) {
	for name, waits := range map[string][]time.Duration{ // before each try; the last is the end
		"in time":                   {0, time.Hour, time.Hour, time.Hour, 7*24*time.Hour - 3*time.Hour},
		"waited for a worker":       {30 * 24 * time.Hour, time.Hour, time.Hour, time.Hour, time.Hour},
		"a little less than a week": {0, time.Hour, time.Hour, time.Hour, 7*24*time.Hour - 3*time.Hour - time.Microsecond, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			is.NoErr(w.complete(w.token("alice"), goodPassword))
			w.mail.Fail(func(recovery.Message) error { return errDown })
			for i, wait := range waits {
				w.advance(wait)
				w.deliver()
				if i < len(waits)-1 {
					is.Equal(w.waiting(), 1) // tried again
				}
			}
			w.hooks.wait(t, "JobFailed")
			is.Equal(w.hooks.count("JobRetried"), len(waits)-1)
		})
	}
}

// A request that fails when it is an hour old has ended.
func TestRequestEndsAfterAnHour(t *testing.T) {
	for age, event := range map[time.Duration]string{time.Hour: "JobFailed", time.Hour - time.Microsecond: "JobRetried"} {
		t.Run(age.String(), func(t *testing.T) {
			w := newWorld(t, nil)
			w.mail.Fail(func(recovery.Message) error { return errDown })
			w.ask("alice")
			w.advance(age)
			w.deliver()
			w.hooks.wait(t, event)
		})
	}
}

// retries returns the waits between the tries of a request that fails for so long.
func (w *world) retries(start string, tries int) (waits []time.Duration) {
	w.is.Helper()
	for range tries {
		retryAt, err := w.DeliverJob(w.ctx, start)
		w.is.NoErr(err)
		wait := retryAt.Sub(w.time())
		waits = append(waits, wait)
		w.advance(wait)
	}
	return waits
}

// What must be done in the end is tried every 15 minutes at the least often, and what ages out every 5.
func TestLongestBackoff(t *testing.T) {
	for name, c := range map[string]struct {
		opts  recovery.Options
		which int // of the requests that are added by the call
		most  time.Duration
	}{
		"a reset":  {recovery.Options{MaxRequestAge: 24 * time.Hour}, -1, 5 * time.Minute},
		"a notice": {recovery.Options{}, 0, 15 * time.Minute},
		"OnReset":  {recovery.Options{OnReset: func(context.Context, recovery.Account) error { return errDown }}, 1, 15 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, &c.opts)
			if c.which < 0 {
				w.ask("alice")
				c.which = 0
			} else {
				token := w.token("alice")
				w.store.added()
				is.NoErr(w.complete(token, goodPassword))
			}
			id := w.store.added()[c.which]
			w.mail.Fail(func(recovery.Message) error { return errDown })
			for i, wait := range w.retries(id, 25) {
				most := c.most
				if i < 16 {
					most = min(2*time.Second<<i, c.most)
				}
				is.True(wait >= most/2 && wait < most) // doubling, up to the bound
			}
		})
	}
}

// What may have been accepted is tried again after 20 minutes, and a notice after a day.
func TestBackoffOfWhatMayHaveBeenAccepted(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	token := w.token("alice")
	w.store.added()
	is.NoErr(w.complete(token, goodPassword))
	notice := w.store.added()[0]
	w.ask("billybob")
	reset := w.store.added()[0]
	w.mail.Fail(func(recovery.Message) error { return recovery.ErrUncertain })
	is.Equal(w.retries(reset, 2), []time.Duration{20 * time.Minute, 20 * time.Minute})
	is.Equal(w.retries(notice, 2), []time.Duration{24 * time.Hour, 24 * time.Hour})
}

// What failed together does not come back together: waits are spread over the upper half.
func TestBackoffIsSpread(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.mail.Fail(func(recovery.Message) error { return errDown })
	early, late := 0, 0
	for range 200 {
		w.ask("alice")
		retryAt, err := w.DeliverJob(w.ctx, w.store.added()[0])
		is.NoErr(err)
		switch wait := retryAt.Sub(w.time()); {
		case wait < 1150*time.Millisecond:
			early++
		case wait >= 1850*time.Millisecond:
			late++
		}
	}
	is.True(early > 0 && late > 0) // of 200, 30 are expected in each of these parts
}

// A mail system that accepts mails and says so too late gets few copies.
func TestMailThatMayHaveBeenAccepted(t *testing.T) {
	inBubble(t, recovery.Options{Workers: 1, Tick: 30 * time.Second}, func(t *testing.T, is *is.I, w *world) {
		token := w.token("alice")
		is.NoErr(w.complete(token, goodPassword))
		copies := map[recovery.MessageKind]int{}
		var mu sync.Mutex
		w.mail.Fail(func(m recovery.Message) error {
			mu.Lock()
			defer mu.Unlock()
			copies[m.Kind]++
			return fmt.Errorf("no answer: %w", recovery.ErrUncertain)
		})
		stop := w.run()
		w.ask("billybob")
		time.Sleep(8 * 24 * time.Hour)
		stop()
		is.Equal(copies, map[recovery.MessageKind]int{recovery.MessageResetToken: 3, recovery.MessagePasswordChanged: 8})
		is.Equal(w.waiting(), 0)
	})
}

func TestRetries(t *testing.T) {
	inBubble(t, recovery.Options{}, func(t *testing.T, is *is.I, w *world) {
		var attempts []time.Time
		var ids, tokens []string
		w.mail.Fail(func(m recovery.Message) error {
			attempts = append(attempts, time.Now())
			ids, tokens = append(ids, m.ID), append(tokens, tokenOf(m))
			if len(attempts) < 5 {
				return errDown
			}
			return nil
		})
		stop := w.run()
		w.ask("alice")
		time.Sleep(5 * time.Minute)
		stop()
		is.Equal(len(attempts), 5)
		for i := 1; i < 5; i++ {
			wait, most := attempts[i].Sub(attempts[i-1]), 2*time.Second<<(i-1)
			is.True(wait >= most/2 && wait <= most+10*time.Millisecond) // doubling, with jitter in the upper half
			is.Equal(ids[i], ids[0])                                    // the same mail
			is.True(tokens[i] != tokens[0])                             // with a new token
		}
		for i, token := range tokens {
			is.NoErr(w.deadOrAlive(token, i == 4)) // what certainly was not accepted leaves no token
		}
		w.hooks.wait(t, "JobRetried")
		is.Equal(strings.Count(w.log.String(), "will be tried again"), 4)
		is.True(!strings.Contains(w.log.String(), "alice@example.com")) // the address in the Mailer's error is not logged
		is.True(strings.Contains(w.log.String(), "connection to [redacted] refused"))
	})
}

func TestOldRequestsAreDropped(t *testing.T) {
	inBubble(t, recovery.Options{MaxRequestAge: time.Minute}, func(t *testing.T, is *is.I, w *world) {
		w.ask("alice")
		time.Sleep(time.Minute + time.Microsecond)
		is.Equal(len(w.deliver()), 0)
		w.hooks.wait(t, "JobDropped too_old")
		w.ask("alice")
		time.Sleep(time.Minute)
		is.Equal(len(w.deliver()), 1)
	})
}

// An address that no mail reaches is not kept for ever. A notice that waited for the worker for
// longer is sent.
func TestNoticeEndsAfterAWeek(t *testing.T) {
	inBubble(t, recovery.Options{Tick: 30 * time.Second}, func(t *testing.T, is *is.I, w *world) {
		alice, billybob := w.token("alice"), w.token("billybob")
		is.NoErr(w.complete(alice, goodPassword))
		is.NoErr(w.complete(billybob, goodPassword))
		stop := w.run()
		w.mail.Fail(func(m recovery.Message) error {
			if m.To == "alice@example.com" {
				return errDown
			}
			return nil
		})
		time.Sleep(7*24*time.Hour - time.Minute)
		is.True(strings.Contains(w.users.Dump(), "alice@example.com")) // still tried
		time.Sleep(16 * time.Minute)
		stop()
		w.hooks.wait(t, "JobFailed")
		is.Equal(w.waiting(), 0)

		w.mail.Fail(nil)
		alice = w.token("alice")
		is.NoErr(w.complete(alice, otherPassword))
		time.Sleep(30 * 24 * time.Hour)
		is.Equal(len(w.deliver()), 1)
	})
}
