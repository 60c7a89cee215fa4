package catalogue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// wrong returns a code of the same form as the given one, but different, and another for each i
// below 19.
func wrong(code string, i int) string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	return letters[(strings.IndexByte(letters, code[0])+1+i)%len(letters):][:1] + code[1:]
}

// lookedUp returns how many tokens and codes were looked up since the last call.
func (s *site) lookedUp() (n int) {
	for _, call := range s.trace.calls() {
		if call == "FindReset" {
			n++
		}
	}
	return n
}

// With a ticket, five codes are looked up while its code lives, by all instances together, whoever
// asks.
func TestAttack_S38_FiveTriesATicket(t *testing.T) {
	everywhere(t, generous, func(s *site) {
		instances := []*recovery.Service{s.Service, s.another(s.opts)}
		token := s.token("billybob")
		own := s.typed[token]
		try := func(i int, code string) answer {
			s.client = elsewhere(i)
			_, err := instances[i%2].CompleteReset(s.ctx, recovery.CompleteRequest{
				Ticket: own.ticket, Code: code, Password: newPassword, Client: s.client,
			})
			return s.called(err)
		}
		s.trace.calls()
		for i := range recovery.MaxTries {
			s.is.Equal(try(i, wrong(own.code, i)).outcome, badToken)
		}
		s.is.Equal(s.lookedUp(), 5)
		for i := range 16 { // the right one, at either instance, until it is over
			s.is.Equal(try(i, own.code).outcome, limited)
			s.advance(time.Minute - 5*time.Second)
		}
		s.is.Equal(s.lookedUp(), 0)
		s.advance(20 * time.Second)
		s.is.Equal(try(0, own.code).outcome, badToken)
		s.is.Equal(s.lookedUp(), 1) // 15 minutes after the first it is looked up again: in vain
		s.is.True(strings.Contains(s.refusals(), "expired"))
		s.is.Equal(s.hashed.Load(), int32(0))
		s.lives(s.direct(), "3", token) // the mail's token still works
		s.lives(s.byCode(), "3", s.again(billybob))
		s.sound("3")
	})
}

// refusals are the reasons for which tokens were refused.
func (s *site) refusals() string {
	s.is.Helper()
	s.flush()
	var reasons []string
	for line := range strings.Lines(s.events.String()) {
		if reason, ok := strings.CutPrefix(line, "TokenRefused "); ok {
			reason, _, _ = strings.Cut(reason, " ")
			reasons = append(reasons, reason)
		}
	}
	return strings.Join(reasons, " ")
}

func TestAttack_S38_CodesAtOnce(t *testing.T) {
	everywhere(t, generous, func(s *site) {
		instances := []*recovery.Service{s.Service, s.another(s.opts)}
		own := s.typed[s.token("billybob")]
		s.trace.calls()
		for _, got := range spy.Together(64, func(i int) answer {
			_, err := instances[i%2].CompleteReset(s.ctx, recovery.CompleteRequest{
				Ticket: own.ticket, Code: wrong(own.code, i%19), Password: newPassword, Client: elsewhere(i),
			})
			return s.called(err)
		}) {
			s.is.True(got.outcome == badToken || got.outcome == limited)
		}
		s.is.Equal(s.lookedUp(), 5)
		s.is.Equal(s.completes(recovery.CompleteRequest{Ticket: own.ticket, Code: own.code, Password: newPassword}).outcome, limited)
		s.sound()
	})
}

// A code is useless without the ticket of its own request, and a ticket is useless without its
// code.
func TestAttack_S38_CodeWithoutItsTicket(t *testing.T) {
	everywhere(t, generous, func(s *site) {
		tokens := []string{s.token("billybob")}
		s.client = s.client.Next() // so that the older one stays alive
		tokens = append(tokens, s.token("billybob"), s.token("attacker"))
		var all []typed // two of the account, and one of somebody else's
		for _, token := range tokens {
			all = append(all, s.typed[token])
		}
		a, b, c := all[0], all[1], all[2]
		for _, r := range []recovery.CompleteRequest{
			{Ticket: b.ticket, Code: a.code}, {Ticket: a.ticket, Code: b.code}, {Ticket: c.ticket, Code: a.code},
			{Code: a.code}, {Ticket: a.ticket}, {Ticket: randomTicket(), Code: a.code}, {Ticket: " ", Code: a.code},
			{Token: a.code}, {Token: plain(a.code)}, {Token: a.ticket}, {Token: a.ticket + a.code}, {Token: a.ticket + " " + a.code},
			{Ticket: a.code, Code: a.ticket}, {Ticket: tokens[0], Code: a.code}, {Ticket: a.ticket, Code: tokens[0]},
			{Ticket: strings.ToUpper(a.ticket), Code: a.code}, {Ticket: a.ticket[1:], Code: a.code}, {Ticket: a.ticket + "a", Code: a.code},
			{Ticket: a.ticket, Code: a.code + a.code[:1]}, {Ticket: a.ticket, Code: a.code[1:]}, {Ticket: a.ticket, Code: a.code + "0"},
			{Ticket: a.ticket, Code: "-"}, {Ticket: a.ticket, Code: "null"}, {Ticket: a.ticket, Code: strings.Repeat(a.code, 1000)},
			{Ticket: digest(s.t, a.ticket).String(), Code: a.code},
		} {
			r.Password = newPassword
			s.is.Equal(s.completes(r), s.direct().complete(noToken, newPassword))
		}
		both := recovery.CompleteRequest{Token: tokens[0], Ticket: a.ticket, Code: a.code, Password: newPassword}
		s.is.Equal(s.completes(both).outcome, malformed) // it is one or the other
		s.is.Equal(s.hashed.Load(), int32(0))
		s.is.True(s.verifies("3", oldPassword))
		s.lives(s.byCode(), "3", tokens[0])
		s.dies(s.byCode(), tokens[1]) // the password was changed by the other
		s.dies(s.direct(), tokens[0])
		s.sound("3")
	})
}

// Only a wrong code uses up a try. A right code that fails for another reason does not.
func TestAttack_S38_WhatUsesNoTry(t *testing.T) {
	fails := func(s *site, place string) error {
		switch s.fails.Load() {
		case place:
			return errForeign
		case "denied " + place:
			return fmt.Errorf("not now: %w", recovery.ErrDenied)
		case "asks " + place:
			return &recovery.ChallengeError{Name: "totp"}
		case "panic " + place:
			panic(panicText)
		}
		return nil
	}
	with := func(s *site, o *recovery.Options) {
		generous(s, o)
		o.Approve = func(context.Context, recovery.Account, recovery.CompleteRequest) error { return fails(s, "Approve") }
		o.Hasher.Hash = func(password string) (string, error) { return quickHash(password), fails(s, "Hash") }
		o.Policy = &recovery.Policy{Check: func(context.Context, recovery.Account, string) ([]recovery.PasswordReason, error) {
			if s.fails.Load() == "refused Check" {
				return []recovery.PasswordReason{{Name: "used_before", Text: "must be a new one"}}, nil
			}
			return nil, fails(s, "Check")
		}}
	}
	everywhere(t, with, func(s *site) {
		own := s.typed[s.token("billybob")]
		right := recovery.CompleteRequest{Ticket: own.ticket, Code: own.code, Password: newPassword}
		try := func(want string, r recovery.CompleteRequest) {
			s.is.Helper()
			for range recovery.MaxTries - 1 { // a code has no more denials
				got, panicked := panics(func() answer { return s.completes(r) })
				if got.outcome != want && !(panicked && want == broken) {
					s.t.Errorf("%v, %s: %s %s", s.fails.Load(), want, got.outcome, got.text)
				}
			}
		}
		weakOne, ownWord, named := right, right, right
		weakOne.Password, ownWord.Password, named.Username = "short", "Long-enough-billybob-7", "victim"
		try(weak, weakOne)
		try(weak, ownWord)
		try(badToken, named)
		for place, want := range map[string]string{
			"Approve": unavailable, "denied Approve": denied, "asks Approve": challenged, "panic Approve": broken,
			"Hash": unavailable, "panic Hash": broken, "Check": unavailable, "refused Check": weak, "panic Check": broken,
		} {
			s.fails.Store(place)
			try(want, right)
		}
		s.fails.Store("")
		for _, method := range []string{"TakeLimits", "FindReset", "Redeem"} {
			s.trace.fail(failOn(method, errForeign))
			try(unavailable, right)
			s.trace.fail(panicOn(method))
			try(broken, right)
		}
		n := 0
		s.trace.fail(func(method string) error { // at the count of the try, not at that of the client
			if n++; method == "TakeLimits" && n%2 == 0 {
				return errForeign
			}
			return nil
		})
		try(unavailable, right)
		s.trace.fail(nil)
		ctx, cancel := context.WithCancel(s.ctx)
		cancel()
		_, err := s.CompleteReset(ctx, right)
		s.is.True(errors.Is(err, context.Canceled))
		s.is.True(s.verifies("3", oldPassword))
		for i := range recovery.MaxTries - 1 { // so four wrong ones are left, and the right one
			s.is.Equal(s.completes(recovery.CompleteRequest{Ticket: own.ticket, Code: wrong(own.code, i), Password: newPassword}).outcome, badToken)
		}
		s.is.Equal(s.completes(right).outcome, accepted)
		s.sound("3")
	})
}

// A try that cannot be given back is lost. The log says so, but the caller is not told.
func TestAttack_S38_TryThatIsNotGivenBack(t *testing.T) {
	everywhere(t, generous, func(s *site) {
		own := s.typed[s.token("billybob")]
		s.trace.fail(failOn("RefundLimits", errForeign))
		named := recovery.CompleteRequest{Ticket: own.ticket, Code: own.code, Password: newPassword, Username: "victim"}
		for range recovery.MaxTries {
			s.is.Equal(s.completes(named).outcome, badToken)
		}
		s.is.Equal(strings.Count(s.log.String(), "could not be given back"), recovery.MaxTries)
		s.trace.fail(nil)
		s.trace.calls()
		s.is.Equal(s.completes(named).outcome, limited)
		s.is.Equal(s.lookedUp(), 0) // no more than five, however it fails
		s.sound()
	})
}

// Wrong codes get the same answers, byte for byte and call for call, whoever the ticket's request
// named, and also for a ticket that was never given.
func TestAttack_S38_TicketsTellNothing(t *testing.T) {
	everywhere(t, withLimits, func(s *site) {
		for range 3 {
			s.withCode("attacker") // who is over the limit from then on
			s.deliver()
		}
		tickets := map[string]string{"made up": randomTicket()}
		for class, name := range classes {
			tickets[class] = s.withCode(name)
		}
		tickets["unknown"] = s.withCode("nobodyxx")
		s.deliver()
		used := s.token("mike")
		s.is.Equal(s.byCode().complete(used, newPassword).outcome, accepted)
		tickets["used"] = s.typed[used].ticket
		tickets["of a request that waits"] = s.withCode("billybob")
		tickets["of nobody's request that waits"] = s.withCode("nobodyxx")
		sequence := func(ticket string) string {
			s.trace.calls()
			var seen []string
			for i := range recovery.MaxTries + 2 {
				got := s.completes(recovery.CompleteRequest{Ticket: ticket, Code: wrong("BBBB-BBBB", i), Password: newPassword})
				seen = append(seen, got.outcome, got.text, strings.Join(s.trace.calls(), " "))
			}
			return strings.Join(seen, "\n")
		}
		want := sequence(randomTicket())
		s.is.Equal(strings.Count(want, "TakeLimits TakeLimits FindReset"), recovery.MaxTries)
		for class, ticket := range tickets {
			if got := sequence(ticket); got != want {
				s.t.Errorf("%s:\n%s\nmade up:\n%s", class, got, want)
			}
		}
		s.sound("7") // mike's own
	})
}

// All tickets and all their tries together give less than a thousandth of a right guess an hour,
// even if each mail has as many codes as it may.
func TestAttack_S38_ExpectedHits(t *testing.T) {
	is := is.New(t)
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, nil)
	is.NoErr(err)
	defaults := svc.Options()

	// The form of codes, seen in many of them.
	s := newSite(t, onMemory(), nil)
	for i := range 20 {
		s.put(eligible(fmt.Sprint(100+i), fmt.Sprintf("shared%02d", i), "shared@example.com"))
	}
	letters, lengths, most := map[rune]bool{}, map[int]bool{}, 0
	for range 50 {
		s.is.Equal(s.direct().byEmail("shared@example.com").outcome, accepted)
		for _, m := range s.deliver() {
			most = max(most, len(m.Resets))
			for _, r := range m.Resets {
				lengths[len(plain(r.Code))] = true
				for _, letter := range plain(r.Code) {
					letters[letter] = true
				}
			}
		}
	}
	s.sound()
	is.Equal(lengths, map[int]bool{8: true})
	is.Equal(len(letters), 20)
	is.Equal(most, 10) // codes in a mail
	space := math.Pow(20, 8)

	global := defaults.Limits.Global
	tickets := float64(global.Burst) + float64(time.Hour/global.Every)
	tries := float64(recovery.MaxTries)
	for _, codes := range []int{1, most} {
		hits := tickets * tries * float64(codes) / space
		t.Logf("%.0f tickets an hour, %.0f tries each, %d codes: %.1e hits", tickets, tries, codes, hits)
		is.True(hits < 1e-3)
	}
	// A mail that is tried again has new codes, and the tries of its ticket come back meanwhile.
	again := tries + float64(defaults.MaxRequestAge/defaults.CodeTTL)
	is.True(tickets*again*float64(most)/space < 1e-3)
	// No option gives codes a longer life.
	is.Equal(defaults.CodeTTL, 15*time.Minute)
	_, err = recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{CodeTTL: 15*time.Minute + 1})
	is.True(err != nil)
}
