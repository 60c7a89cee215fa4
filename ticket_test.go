package recovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// Everybody gets a receipt, and its ID ties what the caller logs to what the hooks are told.
func TestReceipts(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	seen := map[string]bool{}
	for _, name := range []string{"alice", "nobody", "mallory"} {
		for _, code := range []bool{false, true} {
			reset, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Code: code})
			is.NoErr(err)
			names, err := w.RetrieveUsername(w.ctx, recovery.UsernameRequest{Email: name + "@example.com"})
			is.NoErr(err)
			for _, r := range []recovery.Receipt{reset, names} {
				is.Equal(len(r.ID), 36)
				_, err := recovery.ParseToken(r.Ticket.Reveal()) // the form of a token
				is.NoErr(err)
				is.True(!r.Ticket.IsZero() && !seen[r.ID] && !seen[r.Ticket.Reveal()])
				seen[r.ID], seen[r.Ticket.Reveal()] = true, true
			}
		}
	}
	receipt, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "b\x00b"})
	is.True(errors.Is(err, recovery.ErrInvalidRequest))
	is.True(receipt.ID == "" && receipt.Ticket.IsZero() && receipt.Ticket.Reveal() == "")

	w = newWorld(t, nil)
	receipt, err = w.RequestReset(w.ctx, recovery.ResetRequest{Username: "billybob"})
	is.NoErr(err)
	is.Equal(w.deliver()[0].ID, receipt.ID)
	w.hooks.wait(t, "MailSent")
	is.Equal(w.hooks.values[0].(recovery.JobEvent).ID, receipt.ID)
}

// A ticket is as secret as a token.
func TestTicketsCannotBePrinted(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	receipt, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Code: true})
	is.NoErr(err)
	secret := receipt.Ticket.Reveal()
	for _, v := range []any{receipt, &receipt, receipt.Ticket, &receipt.Ticket, struct{ t recovery.Ticket }{receipt.Ticket}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			is.True(!strings.Contains(fmt.Sprintf(verb, v), secret))
		}
		text, err := json.Marshal(v)
		is.NoErr(err)
		is.True(!strings.Contains(string(text), secret))
		w.logger().Info("a value", "v", v)
	}
	is.True(!strings.Contains(w.log.String(), secret))
	is.True(!strings.Contains(w.users.Dump(), secret))
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
	_, err = svc.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Code: true})
	is.NoErr(err)
	_, err = svc.Deliver(w.ctx)
	is.NoErr(err)
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
		"brackets":     func(code string) string { return "<" + code + ">." },
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

// What is no code, or not the ticket's, is one error, and names its reason to the hooks alone.
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
		"with letters that are none":  {recovery.CompleteRequest{Ticket: ticket, Code: "AEIO-UYAE"}, malformed},
		"with digits":                 {recovery.CompleteRequest{Ticket: ticket, Code: code[1:] + "1"}, malformed},
		"with a long tail":            {recovery.CompleteRequest{Ticket: ticket, Code: code + strings.Repeat("-", 1<<20)}, malformed},
		"with a ticket of other case": {recovery.CompleteRequest{Ticket: strings.ToUpper(ticket), Code: code}, malformed},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			before := w.hooks.count("TokenRefused " + c.reason)
			c.request.Password, c.request.Client = goodPassword, client
			_, err := w.CompleteReset(w.ctx, c.request)
			is.Equal(err, recovery.ErrInvalidToken)
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

// A code and the token beside it end together, whichever is used.
func TestCodeAndTokenAreOne(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	ticket, m := w.code("alice")
	is.NoErr(w.completeByCode(ticket, m.Resets[0].Code, goodPassword))
	is.Equal(w.complete(tokenOf(m), otherPassword), recovery.ErrInvalidToken)
	is.Equal(w.completeByCode(ticket, m.Resets[0].Code, otherPassword), recovery.ErrInvalidToken)
	w.drain()

	ticket, m = w.code("alice")
	is.NoErr(w.complete(tokenOf(m), goodPassword))
	is.Equal(w.completeByCode(ticket, m.Resets[0].Code, otherPassword), recovery.ErrInvalidToken)
	is.Equal(w.hash("1"), "hash of "+goodPassword)
}

// Whoever asks again at once is not mailed again. With the ticket in hand, the code that was mailed
// works on, and the tries are those of the one ticket.
func TestAskingAgainWithATicket(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{PerAccount: recovery.Limit{Burst: 1, Every: time.Minute}}})
	ticket, m := w.code("alice")
	again := func(earlier string) string {
		receipt, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Code: true, Ticket: earlier, Client: client})
		is.NoErr(err)
		return receipt.Ticket.Reveal()
	}
	is.Equal(again(ticket+"\n"), ticket)
	is.Equal(len(w.deliver()), 0)
	for range recovery.MaxTries - 1 {
		is.Equal(w.completeByCode(ticket, "BCDF-GHJK", goodPassword), recovery.ErrInvalidToken)
	}
	w.advance(time.Minute)
	is.Equal(again(ticket), ticket)
	newer := w.deliver()
	is.Equal(len(newer), 1)
	is.Equal(w.completeByCode(ticket, m.Resets[0].Code, goodPassword), recovery.ErrInvalidToken) // superseded, and the last try
	is.True(errors.Is(w.completeByCode(ticket, newer[0].Resets[0].Code, goodPassword), recovery.ErrLimited))
	for _, none := range []string{"", "x", ticket[1:]} {
		is.True(again(none) != ticket) // what is no ticket is replaced
	}
}

// A code lives for a quarter of an hour, to the microsecond, and the token beside it on.
func TestCodesExpire(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  error
	}{{15*time.Minute - time.Microsecond, nil}, {15 * time.Minute, recovery.ErrInvalidToken}} {
		is := is.New(t)
		w := newWorld(t, nil)
		ticket, m := w.code("alice")
		w.advance(c.after)
		is.Equal(w.completeByCode(ticket, m.Resets[0].Code, goodPassword), c.want)
		is.Equal(w.complete(tokenOf(m), goodPassword) == nil, c.want != nil)
	}
}

// Only wrong codes use up the tries of a ticket.
func TestTriesOfATicket(t *testing.T) {
	errDown := errors.New("down")
	for name, c := range map[string]struct {
		options recovery.Options
		fail    func(*world, string, string) error
	}{
		"a rejected password": {fail: func(w *world, ticket, code string) error { return w.completeByCode(ticket, code, "Alice-passw0rd") }},
		"a denial": {
			options: recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error { return recovery.ErrDenied }},
			fail:    func(w *world, ticket, code string) error { return w.completeByCode(ticket, code, goodPassword) },
		},
		"a store that fails": {fail: func(w *world, ticket, code string) error {
			w.store.failAt("FindReset", errDown)
			defer w.store.failWith(nil)
			return w.completeByCode(ticket, code, goodPassword)
		}},
		"another's user name": {fail: func(w *world, ticket, code string) error {
			_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Ticket: ticket, Code: code, Username: "bob", Password: goodPassword})
			return err
		}},
		"no code": {fail: func(w *world, ticket, code string) error { return w.completeByCode(ticket, "", goodPassword) }},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, &c.options)
			ticket, m := w.code("alice")
			for range 2 * recovery.MaxTries {
				is.True(c.fail(w, ticket, m.Resets[0].Code) != nil)
			}
			svc := w.service(w.store, recovery.Options{})
			_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{Ticket: ticket, Code: m.Resets[0].Code, Password: goodPassword})
			is.NoErr(err)
		})
	}

	is := is.New(t)
	w := newWorld(t, nil)
	ticket, m := w.code("alice")
	for range recovery.MaxTries {
		is.Equal(w.completeByCode(ticket, "BCDF-GHJK", goodPassword), recovery.ErrInvalidToken)
	}
	err := w.completeByCode(ticket, m.Resets[0].Code, goodPassword)
	limited, ok := errors.AsType[*recovery.LimitError](err)
	is.True(ok) // it is told, as it says nothing of an account
	is.Equal(*limited, recovery.LimitError{Scope: recovery.ScopeTicket, RetryAfter: 15 * time.Minute})
	w.hooks.wait(t, "LimitReached complete ticket")
	is.NoErr(w.complete(tokenOf(m), goodPassword)) // the token is another thing
}

// Every ticket is counted alike, also one that nobody was given, and no look-up comes before.
func TestTriesAreCountedForAnyTicket(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{Limits: recovery.Limits{CompletePerClient: recovery.Limit{Burst: 1000, Every: time.Second}}})
	tickets := []string{tokenText}
	for _, name := range []string{"billybob", "nobody", "mallory"} {
		receipt, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: name, Code: true})
		is.NoErr(err)
		tickets = append(tickets, receipt.Ticket.Reveal())
	}
	w.deliver()
	w.store.calls()
	for _, ticket := range tickets {
		for i := range recovery.MaxTries + 1 {
			_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Ticket: ticket, Code: "BCDF-GHJK", Password: goodPassword})
			want := "TakeLimits\nTakeLimits\nFindReset"
			if i == recovery.MaxTries {
				want = "TakeLimits\nTakeLimits"
				is.True(errors.Is(err, recovery.ErrLimited))
			} else {
				is.Equal(err, recovery.ErrInvalidToken)
			}
			is.Equal(w.store.calls(), want)
		}
	}
}

// S38: no number of callers at several instances has more tries than there are.
func TestAttack_S38_CodesGuessedAtOnce(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	second := w.service(w.store, recovery.Options{})
	ticket, m := w.code("alice")
	var looks atomic.Int32
	w.store.Around = func(ctx context.Context, method string, _ any, call func(context.Context) error) error {
		if method == "FindReset" {
			looks.Add(1)
		}
		return call(ctx)
	}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			svc := []*recovery.Service{w.Service, second}[i%2]
			_, err := svc.CompleteReset(w.ctx, recovery.CompleteRequest{
				Ticket: ticket, Code: "BCDF-GHJ" + "BCDFGHJKLMNPQRSTVWXZ"[i%20:i%20+1], Password: goodPassword,
				Client: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}),
			})
			is.True(err == recovery.ErrInvalidToken || errors.Is(err, recovery.ErrLimited))
		})
	}
	wg.Wait()
	is.Equal(looks.Load(), int32(recovery.MaxTries))
	is.True(errors.Is(w.completeByCode(ticket, m.Resets[0].Code, goodPassword), recovery.ErrLimited))
}

// S38: what an attacker hits who uses all that the limits let through. The arithmetic is shown on
// codes of two letters, of which there are so few that hits can be counted.
func TestAttack_S38_ExpectedHits(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	limit := w.service(w.store, recovery.Options{Limits: recovery.Limits{PerAccount: recovery.Limit{Burst: 1, Every: time.Minute}}}).Options().Limits.Global
	tickets := float64(limit.Burst) + float64(time.Hour/limit.Every) // an hour, of all tenants, to all clients
	hits := func(letters, codes int) float64 {
		return recovery.MaxTries * float64(codes) / math.Pow(20, float64(letters))
	}
	is.True(tickets*hits(8, 1) < 2e-5)  // every request means one account
	is.True(tickets*hits(8, 10) < 1e-3) // and where each means an address of ten or more

	const letters, weak, rounds, codes = "BCDFGHJKLMNPQRSTVWXZ", 2, 800, 10
	w.SetCodeLength(weak)
	for i := range codes {
		w.put(fmt.Sprint("1", i), fmt.Sprint("guess", i), "guess@example.com")
	}
	found := 0
	for i := range rounds {
		receipt, err := w.RequestReset(w.ctx, recovery.ResetRequest{Email: "guess@example.com", Code: true})
		is.NoErr(err)
		w.deliver()
		for try := range recovery.MaxTries + 3 { // what is beyond the tries finds nothing
			n := (7*i + try) % (len(letters) * len(letters))
			code := string([]byte{letters[n/len(letters)], letters[n%len(letters)]})
			if w.completeByCode(receipt.Ticket.Reveal(), code, goodPassword) == nil {
				found++
				break
			}
		}
		w.deliver() // the notice
		w.advance(time.Hour)
	}
	// A ticket is hit at most once, as the mail's other codes are guessed at no more.
	p := 1 - math.Pow(1-hits(weak, codes)/recovery.MaxTries, recovery.MaxTries)
	want, spread := rounds*p, math.Sqrt(rounds*p*(1-p))
	t.Logf("%d of %d tickets were hit, %.0f were expected, and %.1f is the standard deviation", found, rounds, want, spread)
	is.True(math.Abs(float64(found)-want) < 5*spread) // by chance alone once in a million runs
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
		_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Code: true, Client: client})
		is.NoErr(err)
		is.Equal(len(w.deliver()), want)
	}
}
