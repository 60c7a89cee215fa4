// Package stage is a Service with people, mails and a log, for the tests of handlers.
package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

const (
	Password = "superSecurePassw0rd!"
	NoToken  = spy.TokenText // well-formed, and nobody's
)

// A Stage is a Service with everything around it at hand.
type Stage struct {
	*recovery.Service
	Users  *memstore.Store
	Log    *spy.Log
	Logger *slog.Logger // writes to Log
	Fail   func() error // what the next calls of the store fail with
	T      *testing.T
	Mail   mailertest.Recorder
}

// New has alice and alicia on one address, billybob, mallory, who is disabled, and one whose name
// is billybob's address. There are no limits unless core sets some.
func New(t *testing.T, core recovery.Options) *Stage {
	t.Helper()
	s := &Stage{Users: memstore.New(), Log: &spy.Log{}, T: t}
	for id, a := range map[string][2]string{
		"1": {"alice", "alice@example.com"}, "2": {"alicia", "alice@example.com"}, "3": {"billybob", "billybob@example.com"},
		"4": {"mallory", "mallory@example.com"}, "5": {"billybob@example.com", "other@example.com"},
	} {
		s.Users.Put(recovery.Account{ID: id, Username: a[0], Email: a[1], Active: a[0] != "mallory", HasPassword: true, EmailVerified: true}, "hash of old")
	}
	s.Logger = slog.New(slog.NewTextHandler(s.Log, nil))
	core.Logger = s.Logger
	if core.Tick == 0 {
		core.Tick = 10 * time.Millisecond // what a job without a mail takes
	}
	if core.Hasher.Hash == nil {
		core.Hasher.Hash = func(password string) (string, error) { return "hash of " + password, nil }
	}
	if core.Limits == (recovery.Limits{}) {
		core.Limits.InsecureOff = true
	}
	var err error
	s.Service, err = recovery.New(spy.Before(s.Users, s.broken), &s.Mail, &core)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// broken returns what a request's call of the store fails with, or nil.
func (s *Stage) broken(_ context.Context, method string) error {
	if s.Fail == nil || method != "Enqueue" && method != "FindReset" {
		return nil
	}
	return s.Fail()
}

// Mails works the queue off and returns the mails that were sent.
func (s *Stage) Mails() []recovery.Message {
	s.T.Helper()
	before := len(s.Mail.Messages())
	_, err := s.Deliver(s.T.Context())
	if err != nil {
		s.T.Fatal(err)
	}
	return s.Mail.Messages()[before:]
}

// Recipients works the queue off and returns to whom mails were sent, as "tenant:address".
func (s *Stage) Recipients() (to []string) {
	s.T.Helper()
	for _, m := range s.Mails() {
		to = append(to, m.Tenant+":"+m.To)
	}
	return to
}

// Token returns the token of a mail to username.
func (s *Stage) Token(username string) string {
	s.T.Helper()
	if _, err := s.RequestReset(s.T.Context(), recovery.ResetRequest{Username: username}); err != nil {
		s.T.Fatal(err)
	}
	token := ""
	for _, m := range s.Mails() { // also notices of what came before
		token = cmp.Or(token, spy.Token(m))
	}
	if token == "" {
		s.T.Fatal("no token was mailed")
	}
	return token
}

// Options of the core for which a completion or a request fails.
var (
	ErrStore = errors.New("connection refused")
	Denied   = approve(fmt.Errorf("the application's reason: %w", recovery.ErrDenied))
	Unsure   = approve(errors.New("the service of second factors is down"))
	// Challenged asks for a factor, and says so in words that only some formats show.
	Challenged = approve(fmt.Errorf("ask for it: %w", &recovery.ChallengeError{Name: "totp", Text: "Enter the code of your authenticator app."}))
	Rejected   = approve(fmt.Errorf("internal detail: %w", OwnReasons))
	OwnReasons = &recovery.PasswordError{Reasons: []recovery.PasswordReason{
		{Name: "seen_before", Text: "must not be one of the last 5"}, {Name: "own rule", Text: `must have no <b> & no "quotes"`},
	}}
	// OneRequest lets each client make one request, and one completion, in 90 seconds and a bit.
	OneRequest = recovery.Options{
		Now:    func() time.Time { return time.Date(2026, 11, 21, 18, 30, 0, 0, time.UTC) },
		Limits: recovery.Limits{PerClient: once, CompletePerClient: once},
	}
	once = recovery.Limit{Burst: 1, Every: 90*time.Second + time.Millisecond}
)

func approve(err error) recovery.Options {
	return recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error { return err }}
}
