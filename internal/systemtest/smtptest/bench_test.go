package smtptest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	gomail "github.com/wneessen/go-mail"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
	"example.com/recovery/mailer/smtpmailer"
	"example.com/recovery/store/memstore"
)

const (
	mailsPerRound = 400
	connections   = 2 // as many as the worker has
)

// BenchmarkSend sends mails over two kept connections with TLS. In turns it uses a bare loop over
// go-mail, which gets the finished text, smtpmailer, which renders it, and the recovery worker with
// smtpmailer. "mailer-of-bare" and "worker-of-bare" are their speed as a part of the bare loop's;
// "worker-of-bare-one" compares the worker with a bare loop over one connection, and
// "mailer-of-bare-and-render" leaves the templates out of the comparison. One server answers at
// once, so that every microsecond shows. The other takes 5 ms to accept a mail, as if it wrote the
// mail to a disk first.
//
//	go test -run '^$' -bench Send -benchtime 5x ./internal/systemtest/smtptest
func BenchmarkSend(b *testing.B) {
	for name, delay := range map[string]time.Duration{"instant": 0, "5ms": 5 * time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			s := newServer(b, func(_ *smtp.Server, s *server) { s.discard, s.delay = true, delay })
			m, r := newMailer(b, s, nil)
			rendered, err := r.Render(message(recovery.MessageResetToken, "en"))
			if err != nil {
				b.Fatal(err)
			}
			clients := make(chan *gomail.Client, connections)
			for range connections {
				clients <- dial(b, s)
			}
			var bare, one, mailer, worker, rendering time.Duration
			rounds := 0
			for b.Loop() {
				bare += loop(b, connections, func(ctx context.Context, i int) error { return sendBare(clients, rendered, i) })
				one += loop(b, 1, func(ctx context.Context, i int) error { return sendBare(clients, rendered, i) })
				mailer += loop(b, connections, func(ctx context.Context, i int) error {
					msg := message(recovery.MessageResetToken, "en")
					msg.To = address(i)
					return m.Send(ctx, msg)
				})
				worker += deliver(b, m)
				rendering += loop(b, connections, func(context.Context, int) error {
					_, err := r.Render(message(recovery.MessageResetToken, "en"))
					return err
				})
				rounds++
			}
			mails := float64(rounds * mailsPerRound)
			b.ReportMetric(0, "ns/op") // a round of all means nothing
			b.ReportMetric(mails/bare.Seconds(), "bare-mails/s")
			b.ReportMetric(mails/mailer.Seconds(), "mailer-mails/s")
			b.ReportMetric(mails/worker.Seconds(), "worker-mails/s")
			b.ReportMetric(float64(rendering.Microseconds())/mails, "render-µs")
			b.ReportMetric(float64(bare+rendering)/float64(mailer), "mailer-of-bare-and-render")
			b.ReportMetric(float64(bare)/float64(mailer), "mailer-of-bare")
			b.ReportMetric(float64(bare)/float64(worker), "worker-of-bare")
			b.ReportMetric(float64(one)/float64(worker), "worker-of-bare-one")
		})
	}
}

func address(i int) string { return fmt.Sprintf("user%d@example.com", i) }

// loop returns how long a round takes with the given number of callers.
func loop(b *testing.B, callers int, f func(ctx context.Context, i int) error) time.Duration {
	b.Helper()
	start := time.Now()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c; i < mailsPerRound; i += callers {
				if err := f(b.Context(), i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func dial(b *testing.B, s *server) *gomail.Client {
	b.Helper()
	c, err := gomail.NewClient(s.host, gomail.WithPort(s.port), gomail.WithTLSPolicy(gomail.TLSMandatory),
		gomail.WithTLSConfig(&tls.Config{RootCAs: s.roots, ServerName: s.host}), gomail.WithSMTPAuth(gomail.SMTPAuthPlain),
		gomail.WithUsername(username), gomail.WithPassword(password), gomail.WithHELO("example.com"),
		gomail.WithoutRset(), gomail.WithoutNoop())
	if err != nil {
		b.Fatal(err)
	}
	if err := c.DialWithContext(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func sendBare(clients chan *gomail.Client, rendered mailer.Mail, i int) error {
	c := <-clients
	defer func() { clients <- c }()
	msg := gomail.NewMsg()
	if err := msg.From("accounts@example.com"); err != nil {
		return err
	}
	if err := msg.To(address(i)); err != nil {
		return err
	}
	msg.Subject(rendered.Subject)
	msg.SetBodyString(gomail.TypeTextPlain, rendered.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, rendered.HTML)
	return c.Send(msg)
}

// deliver returns how long the worker takes for a round of requests that are in its queue.
func deliver(b *testing.B, m *smtpmailer.Mailer) time.Duration {
	b.Helper()
	store := memstore.New()
	svc, err := recovery.New(store, m, &recovery.Options{
		Logger: slog.New(slog.DiscardHandler), Limits: recovery.Limits{InsecureOff: true}, Workers: connections,
	})
	if err != nil {
		b.Fatal(err)
	}
	for i := range mailsPerRound {
		store.Put(recovery.Account{
			ID: fmt.Sprint(i), Username: fmt.Sprintf("user%d", i), Email: address(i), Active: true, HasPassword: true, EmailVerified: true,
		}, "hash")
		if err := spy.Err(svc.RequestReset(b.Context(), recovery.ResetRequest{Email: address(i)})); err != nil {
			b.Fatal(err)
		}
	}
	start := time.Now()
	n, err := svc.Deliver(b.Context())
	if err != nil || n != mailsPerRound {
		b.Fatal(n, err)
	}
	return time.Since(start)
}
