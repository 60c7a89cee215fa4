package recovery_test

import (
	"context"
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

// retries returns the waits between so many tries of a job.
func (w *world) retries(id string, tries int) (waits []time.Duration) {
	w.is.Helper()
	for range tries {
		retryAt, err := w.DeliverJob(w.ctx, id)
		w.is.NoErr(err)
		wait := retryAt.Sub(w.time())
		waits = append(waits, wait)
		w.advance(wait)
	}
	return waits
}

// What must be done in the end is tried every 15 minutes at the least often, and what ages out
// every 5.
func TestLongestBackoff(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{
		MaxRequestAge: 24 * time.Hour, OnReset: func(context.Context, recovery.Account) error { return errDown },
	})
	is.NoErr(w.complete(w.token("alice"), goodPassword))
	w.ask("billybob")
	w.mail.Fail(func(recovery.Message) error { return errDown })
	ids := w.store.added() // alice's request, her notice and the call of OnReset, and billybob's request
	for id, most := range map[string]time.Duration{ids[1]: 15 * time.Minute, ids[2]: 15 * time.Minute, ids[3]: 5 * time.Minute} {
		for i, wait := range w.retries(id, 25) {
			most := min(2*time.Second<<min(i, 16), most)
			is.True(wait >= most/2 && wait < most) // doubling, up to the bound
		}
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
