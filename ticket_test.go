package recovery_test

import (
	"errors"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

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

// Only wrong codes use up the tries of a ticket.
func TestTriesOfATicket(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	ticket, m := w.code("alice")
	for range 2 * recovery.MaxTries {
		is.Equal(reasons(w.completeByCode(ticket, m.Resets[0].Code, "Alice-passw0rd")), "own_word")
	}
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

// Every ticket is counted, even one that nobody was given, and before any look-up.
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
