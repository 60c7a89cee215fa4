package mailer_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
)

func TestConsoleWritesOneMailAtATime(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, nil)
	var out bytes.Buffer
	console := mailer.NewConsole(&out, r)
	m := spy.Message(recovery.MessageResetToken)
	mail := render(t, r, m)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { _ = console.Send(t.Context(), m) })
	}
	wg.Wait()
	one := "To: billybob@example.com\nSubject: Your Example password reset token\n\n" + mail.Text + "\n"
	is.Equal(out.String(), strings.Repeat(one, 20)) // whole mails
}

func TestConsoleReportsFailures(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, nil)
	m := spy.Message(recovery.MessageResetToken)

	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	is.True(errors.Is(mailer.NewConsole(&out, r).Send(ctx, m), context.Canceled)) // the error of ctx

	spoilt := m
	spoilt.Kind = "x"
	is.True(errors.Is(mailer.NewConsole(&out, r).Send(t.Context(), spoilt), recovery.ErrPermanent)) // the error of Render
	is.Equal(out.Len(), 0)                                                                          // nothing was written

	err := mailer.NewConsole(brokenWriter{}, r).Send(t.Context(), m)
	is.True(errors.Is(err, errPipe))                       // the error of the writer
	is.True(!errors.Is(err, recovery.ErrPermanent))        // which may pass
	is.True(!strings.Contains(err.Error(), spy.TokenText)) // and shows no token
}

func TestConsoleNeedsItsParts(t *testing.T) {
	is := is.New(t)
	for _, r := range []*mailer.Renderer{nil, newRenderer(t, nil)} {
		func() {
			defer func() { is.True(recover() != nil) }() // New panics instead of a later Send
			if r == nil {
				mailer.NewConsole(&bytes.Buffer{}, nil)
			} else {
				mailer.NewConsole(nil, r)
			}
		}()
	}
}

var errPipe = errors.New("broken pipe")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errPipe }
