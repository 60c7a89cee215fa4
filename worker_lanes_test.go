package recovery_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// mailWithin asks for a reset and expects its mail within so long.
func (w *world) mailWithin(d time.Duration) {
	w.is.Helper()
	before := len(w.mail.Messages())
	w.ask("billybob")
	time.Sleep(d)
	mails := w.mail.Messages()[before:]
	w.is.Equal(len(mails), 1)
	w.is.Equal(mails[0].To, "billybob@example.com")
}

// An OnReset that hangs delays neither mails nor notices.
func TestOnResetThatHangsDelaysNoMail(t *testing.T) {
	var calls atomic.Int32
	onReset := func(ctx context.Context, _ recovery.Account) error { calls.Add(1); return hangs(ctx) }
	inBubble(t, recovery.Options{OnReset: onReset}, func(_ *testing.T, is *is.I, w *world) {
		w.completeAll(w.many(50))
		w.mail.Reset()
		stop := w.run()
		defer stop()
		time.Sleep(time.Second)
		is.Equal(calls.Load(), int32(9))     // a quarter of Workers at once
		is.Equal(len(w.mail.Messages()), 50) // every notice
		w.mailWithin(20 * time.Millisecond)
	})
}

// Notices that hang delay no mail that people wait for.
func TestNoticesThatHangDelayNoMail(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.completeAll(w.many(50))
		var atOnce atomic.Int32
		w.mail.Fail(func(m recovery.Message) error {
			if m.Kind == recovery.MessagePasswordChanged {
				atOnce.Add(1)
				time.Sleep(29 * time.Second)
			}
			return nil
		})
		w.mail.Reset()
		stop := w.run()
		defer stop()
		time.Sleep(time.Second)
		is.Equal(atOnce.Load(), int32(9))
		w.mailWithin(20 * time.Millisecond)
	})
}

// Mails that hang delay no notice and no call of OnReset.
func TestMailsThatHangDelayNoNotice(t *testing.T) {
	var called atomic.Bool
	onReset := func(context.Context, recovery.Account) error { called.Store(true); return nil }
	inBubble(t, recovery.Options{OnReset: onReset}, func(_ *testing.T, is *is.I, w *world) {
		token := w.token("alice")
		w.mail.Reset()
		w.mail.Fail(func(m recovery.Message) error {
			if m.Kind == recovery.MessageResetToken {
				time.Sleep(29 * time.Second)
			}
			return nil
		})
		for range 100 {
			w.ask("billybob")
		}
		stop := w.run()
		defer stop()
		time.Sleep(20 * time.Millisecond) // the mails have their places
		is.NoErr(w.complete(token, goodPassword))
		time.Sleep(20 * time.Millisecond)
		is.Equal(len(w.mail.Messages()), 1) // the notice
		is.True(called.Load())
	})
}

// Deliver, too, works on all lanes at once.
func TestDeliverWorksLanesOffTogether(t *testing.T) {
	onReset := func(context.Context, recovery.Account) error { time.Sleep(10 * time.Second); return nil }
	inBubble(t, recovery.Options{OnReset: onReset}, func(_ *testing.T, is *is.I, w *world) {
		w.completeAll([]string{"alice"})
		w.mail.Fail(func(recovery.Message) error { time.Sleep(10 * time.Second); return nil })
		w.ask("billybob")
		start := time.Now()
		n, err := w.Deliver(w.ctx)
		is.NoErr(err)
		is.Equal(n, 3)
		is.Equal(time.Since(start), 10*time.Second)
	})
}
