package smtpmailer

import (
	"runtime"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
)

const (
	password  = "S3cret-pass"
	recipient = "billybob@example.com"
)

// newMailer returns a Mailer for a fake server, closed at the end of the test.
func newMailer(t testing.TB, f *fake, change func(*Options)) *Mailer {
	is := is.New(t)
	is.Helper()
	o := &Options{
		Host: fakeHost, ImplicitTLS: f.implicit, TLSConfig: trusted(), Username: "relay-user", Password: password,
		From: "Example <accounts@example.com>", Hello: "app.example.com",
	}
	if change != nil {
		change(o)
	}
	r, err := mailer.New(nil)
	is.NoErr(err) // the built-in templates
	m, err := New(r, o)
	is.NoErr(err) // sound options
	m.dial = f.dial
	t.Cleanup(func() { is.NoErr(m.Close()) })
	return m
}

// newPair returns a fake server with STARTTLS and a Mailer for it.
func newPair(t testing.TB, change func(*Options)) (*fake, *Mailer) {
	f := newFake(t, false)
	return f, newMailer(t, f, change)
}

func message() recovery.Message {
	m := spy.Message(recovery.MessageResetToken)
	m.ID, m.To = "0198a7c2-6f6e-7d43-8a51-3c1f5c5b0b11", recipient
	return m
}

// eventually waits until a condition holds, for ten seconds at most.
func eventually(cond func() bool) bool {
	for range 1000 {
		if cond() {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return cond()
}

// noLeak checks that no more goroutines are left than there were.
func noLeak(t testing.TB) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		if !eventually(func() bool { return runtime.NumGoroutine() <= before }) {
			stacks := make([]byte, 1<<20)
			t.Errorf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
		}
	})
}
