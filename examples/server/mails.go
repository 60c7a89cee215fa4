package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"sync/atomic"

	"example.com/recovery"
	"example.com/recovery/mailer"
	"example.com/recovery/mailer/smtpmailer"
)

// A countingMailer sends to the mailbox or a mail server, and counts the mails.
type countingMailer struct {
	recovery.Mailer
	box   *mailbox // nil if there is a mail server
	sent  atomic.Int64
	close func() error
}

func (m *countingMailer) Send(ctx context.Context, message recovery.Message) error {
	err := m.Mailer.Send(ctx, message)
	if err == nil {
		m.sent.Add(1)
	}
	return err
}

// newMailer returns the Mailer for -smtp, or the mailbox, and a phrase that says where mails go.
func newMailer(c config, renderer *mailer.Renderer, base string, stderr io.Writer) (m *countingMailer, fate string, err error) {
	if c.smtp == "" {
		box := &mailbox{renderer: renderer}
		return &countingMailer{Mailer: box, box: box, close: func() error { return nil }}, "not sent but shown: " + base + "/mailbox and " + base + "/mailbox.json", nil
	}
	opts, err := smtpmailer.ParseURL(c.smtp)
	if err != nil {
		return nil, "", fmt.Errorf("-smtp: %w", err)
	}
	opts.From = c.from
	smtp, err := smtpmailer.New(renderer, &opts)
	if err != nil {
		return nil, "", fmt.Errorf("-smtp or -from: %w", err)
	}
	if opts.InsecurePlaintext {
		fmt.Fprintln(stderr, "WARNING: -smtp=smtp+insecure://…: mails, and the tokens in them, cross the network in the clear. For a test server on this machine only.")
	}
	u, err := url.Parse(c.smtp)
	if err != nil {
		return nil, "", err // it was parsed before
	}
	return &countingMailer{Mailer: smtp, close: smtp.Close}, "sent through " + u.Scheme + "://" + u.Host, nil
}
