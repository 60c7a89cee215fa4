package recovery_test

import (
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

func (w *world) completeByCode(ticket, code, password string) error {
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Ticket: ticket, Code: code, Password: password, Client: client})
	return err
}

// A mail has codes if the request asked for them, in the form that people read.
func TestCodesInMails(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	w.ask("billybob")
	plain := w.deliver()[0]
	is.Equal(plain.Resets[0].Code, "")
	is.True(plain.CodesExpireAt.IsZero())
	w.advance(time.Minute)

	_, m := w.code("billybob")
	is.True(regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(m.Resets[0].Code))
	is.True(!m.Resets[0].Token.IsZero()) // beside the token
	is.Equal(m.CodesExpireAt, w.time().Add(15*time.Minute))
	is.Equal(m.ExpiresAt, w.time().Add(16*time.Hour))
	is.Equal(strings.Count(w.users.Dump(), "reset "), 3) // two tokens and a code

	_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Email: "alice@example.com", Code: true, Client: client})
	is.NoErr(err)
	both := w.deliver()[0]
	is.Equal(len(both.Resets), 2)
	is.True(both.Resets[0].Code != both.Resets[1].Code) // each account has its own

	svc := w.service(w.store, recovery.Options{CodeTTL: time.Minute})
	is.NoErr(errOf(svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Code: true})))
	is.NoErr(errOf(svc.Deliver(w.ctx)))
	m, _ = w.mail.Last()
	is.Equal(m.CodesExpireAt, w.time().Add(time.Minute)) // Options.CodeTTL
}

// People type a code as they like.
func TestCodesAsPeopleTypeThem(t *testing.T) {
	wide := func(code string) string {
		return strings.Map(func(r rune) rune { return r - '!' + '\uff01' }, code) // full-width forms
	}
	for name, form := range map[string]func(code string) string{
		"as it stands": func(code string) string { return code },
		"lower case":   strings.ToLower,
		"no hyphen":    func(code string) string { return strings.ReplaceAll(code, "-", "") },
		"spaces":       func(code string) string { return " " + strings.Join(strings.Split(code, ""), " ") + "\r\n" },
		"a dash":       func(code string) string { return strings.ReplaceAll(code, "-", "\u2013") },
		"64 bytes":     func(code string) string { return "<" + code + ">" + strings.Repeat(".", 53) },
		"full width":   func(code string) string { return "\u3000" + wide(code) },
		"both":         func(code string) string { return wide(strings.ToLower(code)) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, nil)
			ticket, m := w.code("alice")
			is.NoErr(w.completeByCode(" "+ticket+"\n", form(m.Resets[0].Code), goodPassword))
			is.Equal(w.hash("1"), "hash of "+goodPassword)
		})
	}
}

// A malformed code and a code of another ticket get the same error. Only the hooks get the reason.
func TestCodesThatCompleteNothing(t *testing.T) {
	const malformed, unknown = "malformed", "unknown"
	w := newWorld(t, nil)
	ticket, m := w.code("alice")
	w.advance(time.Minute)
	other, second := w.code("alice")
	w.ask("billybob")
	w.deliver()
	code := m.Resets[0].Code
	for name, c := range map[string]struct {
		request recovery.CompleteRequest
		reason  string
	}{
		"without a ticket":            {recovery.CompleteRequest{Code: code}, malformed},
		"without a code":              {recovery.CompleteRequest{Ticket: ticket}, malformed},
		"with another ticket":         {recovery.CompleteRequest{Ticket: other, Code: code}, unknown},
		"of another ticket":           {recovery.CompleteRequest{Ticket: ticket, Code: second.Resets[0].Code}, unknown},
		"with a made-up ticket":       {recovery.CompleteRequest{Ticket: tokenText, Code: code}, unknown},
		"with the token as ticket":    {recovery.CompleteRequest{Ticket: tokenOf(m), Code: code}, unknown},
		"as token":                    {recovery.CompleteRequest{Token: code}, malformed},
		"the ticket as token":         {recovery.CompleteRequest{Token: ticket}, unknown},
		"with a letter less":          {recovery.CompleteRequest{Ticket: ticket, Code: code[1:]}, malformed},
		"with a letter more":          {recovery.CompleteRequest{Ticket: ticket, Code: code + "B"}, malformed},
		"with letters that are none":  {recovery.CompleteRequest{Ticket: ticket, Code: code + "A"}, malformed},
		"with digits":                 {recovery.CompleteRequest{Ticket: ticket, Code: code + "1"}, malformed},
		"with a long tail":            {recovery.CompleteRequest{Ticket: ticket, Code: code + strings.Repeat("-", 65-len(code))}, malformed},
		"with a ticket of other case": {recovery.CompleteRequest{Ticket: strings.ToUpper(ticket), Code: code}, malformed},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			before := w.hooks.count("TokenRefused " + c.reason)
			c.request.Password, c.request.Client = goodPassword, client
			is.Equal(errOf(w.CompleteReset(w.ctx, c.request)), recovery.ErrInvalidToken)
			for i := 0; i < 5000 && w.hooks.count("TokenRefused "+c.reason) == before; i++ {
				time.Sleep(time.Millisecond)
			}
			is.Equal(w.hooks.count("TokenRefused "+c.reason), before+1)
		})
	}
	is := is.New(t)
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: tokenOf(m), Ticket: ticket, Code: code, Password: goodPassword})
	is.Equal(err.Error(), "recovery: token and code must not both be given")
	_, err = w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: tokenText, Ticket: ticket, Password: goodPassword})
	is.Equal(err, recovery.ErrInvalidToken) // the token alone counts, as the ticket may be in a cookie
	is.Equal(w.hash("1"), "hash of old")
	is.Equal(w.completeByCode(ticket, code, goodPassword), recovery.ErrInvalidToken) // the later mail superseded it
	is.NoErr(w.completeByCode(other, second.Resets[0].Code, goodPassword))
}

// Using a code ends the token of the same mail, and the other way round.
func TestCodeAndTokenAreOne(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	ticket, m := w.code("alice")
	is.NoErr(w.completeByCode(ticket, m.Resets[0].Code, goodPassword))
	is.Equal(w.complete(tokenOf(m), otherPassword), recovery.ErrInvalidToken)
	is.Equal(w.completeByCode(ticket, m.Resets[0].Code, otherPassword), recovery.ErrInvalidToken)
	w.drain()

	ticket, m = w.code("alice")
	both := recovery.CompleteRequest{Token: tokenOf(m), Ticket: ticket, Password: goodPassword, Client: client} // which may be in a cookie
	is.NoErr(errOf(w.CompleteReset(w.ctx, both)))
	is.Equal(w.completeByCode(ticket, m.Resets[0].Code, otherPassword), recovery.ErrInvalidToken)
	is.Equal(w.hash("1"), "hash of "+goodPassword)
}

// No letter of a code is likelier than another.
func TestLettersOfCodesAreEquallyLikely(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	const n, letters = 1 << 20, 20
	w.SetCodeLength(n)
	_, m := w.code("alice")
	counts := map[rune]int{}
	for _, letter := range strings.ReplaceAll(m.Resets[0].Code, "-", "") {
		counts[letter]++
	}
	is.Equal(len(counts), letters)
	want, spread := float64(n)/letters, math.Sqrt(n*(1.0/letters)*(1-1.0/letters))
	for _, count := range counts {
		is.True(math.Abs(float64(count)-want) < 7*spread) // by chance alone not once in 10^10 runs
	}
}

// A mail that has a token and a code for an account is one mail.
func TestMailWithACodeCountsOnce(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{PerAccount: recovery.Limit{Burst: 2, Every: time.Hour}}})
	for _, want := range []int{1, 1, 0} {
		is.NoErr(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Code: true, Client: client})))
		is.Equal(len(w.deliver()), want)
	}
}
