package smtpmailer

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail/smtp"
)

// auth is only called under TLS.
func (m *Mailer) auth(ctx context.Context, c *smtp.Client) error {
	ok, offered := c.Extension("AUTH")
	if !ok {
		return errNoAuth
	}
	mechanism := m.opts.mechanism(strings.Fields(offered))
	user, password, host := m.opts.Username, m.opts.Password, m.opts.Host
	var a smtp.Auth
	switch mechanism {
	case "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS":
		state, err := c.GetTLSConnectionState()
		if err != nil {
			return err
		}
		a = smtp.ScramSHA256PlusAuth(user, password, state)
		if mechanism == "SCRAM-SHA-1-PLUS" {
			a = smtp.ScramSHA1PlusAuth(user, password, state)
		}
	case "SCRAM-SHA-256":
		a = smtp.ScramSHA256Auth(user, password)
	case "SCRAM-SHA-1":
		a = smtp.ScramSHA1Auth(user, password)
	case "PLAIN":
		a = smtp.PlainAuth("", user, password, host, false)
	case "LOGIN":
		a = smtp.LoginAuth(user, password, host, false)
	case "XOAUTH2":
		token, err := m.opts.AccessToken(ctx)
		if err != nil {
			return &tokenError{err}
		}
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return &tokenError{errBadToken}
		}
		a = smtp.XOAuth2Auth(user, token)
	default:
		return errNoAuth
	}
	return c.Auth(&boundedAuth{Auth: a})
}

// mechanism returns the AUTH mechanism to use, or "" if there is none.
func (s *settings) mechanism(offered []string) string {
	for _, name := range mechanisms {
		if s.Auth != "" && name != s.Auth || s.Auth == "" && name == "XOAUTH2" {
			continue
		}
		if slices.ContainsFunc(offered, func(o string) bool { return strings.EqualFold(o, name) }) {
			return name
		}
	}
	return ""
}

const (
	maxAuthRounds = 4
	maxIterations = 1_000_000 // of SCRAM: they take a third of a second, during which ctx is not checked
)

// A boundedAuth keeps a server from making the client talk, or compute, without end.
type boundedAuth struct {
	smtp.Auth
	rounds int
}

func (a *boundedAuth) Next(challenge []byte, more bool) ([]byte, error) {
	if more {
		if a.rounds++; a.rounds > maxAuthRounds {
			return nil, errExchange
		}
		for field := range bytes.SplitSeq(challenge, []byte(",")) {
			if count, ok := bytes.CutPrefix(field, []byte("i=")); ok && bytes.HasPrefix(challenge, []byte("r=")) {
				if n, err := strconv.Atoi(string(count)); err != nil || n < 1 || n > maxIterations {
					return nil, errExchange
				}
			}
		}
	}
	return a.Auth.Next(challenge, more)
}
