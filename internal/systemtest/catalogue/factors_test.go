package catalogue

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

const rightFactor = "factor 471193"

// twoFactors wants a second factor. s.asked counts the factors that it was asked about.
func twoFactors(s *site, o *recovery.Options) {
	generous(s, o)
	s.secret(rightFactor)
	o.Approve = func(_ context.Context, _ recovery.Account, r recovery.CompleteRequest) error {
		if r.Factor != "" {
			s.asked.Add(1)
		}
		if r.Factor != rightFactor {
			return &recovery.ChallengeError{Name: "totp", Text: "Enter the code of your app."}
		}
		return nil
	}
}

// A form is a way to complete a reset by what a mail had.
type form struct {
	name  string
	write func(s *site, token string) recovery.CompleteRequest
}

var forms = []form{
	{"token", func(_ *site, token string) recovery.CompleteRequest { return recovery.CompleteRequest{Token: token} }},
	{"code", func(s *site, token string) recovery.CompleteRequest {
		return recovery.CompleteRequest{Ticket: s.typed[token].ticket, Code: s.typed[token].code}
	}},
}

// Five factors are checked for a mail: for its token and its code together, by all instances
// together, whoever asks.
func TestAttack_S36_FiveWrongFactors(t *testing.T) {
	const tries = 5
	everywhere(t, twoFactors, func(s *site) {
		s.is.Equal(recovery.MaxTries, tries)
		instances := []*recovery.Service{s.Service, s.another(s.opts)}
		token := s.token("billybob")
		try := func(f form, i int, factor string) answer {
			s.secret(factor)
			r := f.write(s, token)
			s.client = s.client.Next()
			r.Password, r.Factor, r.Client = newPassword, factor, s.client
			_, err := instances[i%2].CompleteReset(s.ctx, r)
			return s.called(err)
		}
		for i := range tries {
			s.is.Equal(try(forms[i%2], i, fmt.Sprintf("factor %06d", i)).outcome, challenged)
		}
		for _, f := range forms {
			for i := range 4 { // both instances, twice
				s.is.Equal(try(f, i, rightFactor), s.direct().complete(noToken, newPassword)) // dead
			}
		}
		s.is.Equal(s.asked.Load(), int32(tries)) // Approve is asked no more
		s.is.Equal(s.ended("ResetDenied "), tries)
		s.is.True(s.verifies("3", oldPassword))
		for i, f := range forms { // a fresh one passes, and four wrong ones before do no harm
			token = s.again(billybob)
			for range tries - 1 {
				s.is.Equal(try(f, i, "factor 000000").outcome, challenged)
			}
			s.is.Equal(try(f, i, rightFactor).outcome, accepted)
		}
		s.sound("3")
	})
}

func TestAttack_S36_FactorsAtOnce(t *testing.T) {
	everywhere(t, twoFactors, func(s *site) {
		instances := []*recovery.Service{s.Service, s.another(s.opts)}
		for n, f := range forms {
			token := s.token("billybob")
			for i, got := range spy.Together(64, func(i int) answer {
				r := f.write(s, token)
				r.Password, r.Factor, r.Client = newPassword, fmt.Sprintf("factor %06d", i), elsewhere(i)
				_, err := instances[i%2].CompleteReset(s.ctx, r)
				return s.called(err)
			}) {
				s.is.True(got.outcome == challenged || got.outcome == badToken)
				s.secret(fmt.Sprintf("factor %06d", i))
			}
			s.is.Equal(s.asked.Load(), int32(recovery.MaxTries*(n+1)))
		}
		s.sound()
	})
}

// Asking only what is needed uses up no try, through any entry, and gets the same answer each time.
func TestAttack_S36_AskingForTheChallenge(t *testing.T) {
	onEntries(t, apart, twoFactors, func(s *site, e *entry) {
		s.client = elsewhere(1)
		token := s.token("billybob")
		for range 3 * recovery.MaxTries {
			got := e.complete(token, newPassword)
			s.is.True(slices.Contains([]string{challenged, denied}, got.outcome)) // HTTP has no word for it
		}
		s.is.Equal(s.asked.Load(), int32(0))
		s.is.Equal(s.ended("ResetDenied "), 0)
		for _, f := range forms {
			r := f.write(s, token)
			r.Password = newPassword
			for range 3 * recovery.MaxTries {
				s.is.Equal(s.completes(r).outcome, challenged)
			}
		}
		r := forms[1].write(s, token)
		r.Password, r.Factor = newPassword, rightFactor
		s.is.Equal(s.completes(r).outcome, accepted)
		s.sound("3")
	})
}
