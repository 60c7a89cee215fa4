package catalogue

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// Whoever reads the store can compute the code of a ticket's digest, but completes nothing, because
// the ticket itself is not stored. The test knows the code, so it need not search long.
func TestAttack_S20_CodesWithTheStoreInHand(t *testing.T) {
	everywhere(t, generous, func(s *site) {
		ticket := s.withCode("billybob")
		inHand := digest(s.t, ticket)
		holds := func(d recovery.Digest) bool {
			return slices.ContainsFunc(s.values(), func(v string) bool {
				return strings.Contains(v, string(d[:])) || strings.Contains(v, hex.EncodeToString(d[:]))
			})
		}
		s.is.True(holds(inHand)) // while the job waits
		stored := s.values()
		mails := s.deliver()
		s.is.Equal(len(mails), 1)
		s.is.True(!holds(inHand)) // and no longer
		code := plain(mails[0].Resets[0].Code)
		found := recovery.Digest(sha256.Sum256([]byte("recovery code\x00" + string(inHand[:]) + code)))
		s.is.True(holds(found)) // this is how the code would be found

		asToken := func(d recovery.Digest) string {
			return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(d[:]))
		}
		tickets := []string{string(inHand[:]), inHand.String(), asToken(inHand), asToken(found), found.String()}
		stored, leak := append(stored, s.values()...), finder(s.secrets)
		for _, value := range stored {
			s.is.Equal(leak(value), "") // neither ticket nor code, nor a part of one
			for _, v := range vectors(s.t, "tokens", "S20") {
				text, ok := written(v.Value, value)
				if _, err := recovery.ParseToken(text); ok && err == nil && !slices.Contains(tickets, text) {
					tickets = append(tickets, text)
				}
			}
		}
		s.is.True(len(tickets) > 20)
		for _, text := range tickets {
			s.is.Equal(s.completes(recovery.CompleteRequest{Ticket: text, Code: code, Password: newPassword}).outcome, badToken)
			s.is.Equal(s.completes(recovery.CompleteRequest{Token: text, Password: newPassword}).outcome, badToken)
		}
		s.is.Equal(s.completes(recovery.CompleteRequest{Ticket: ticket, Code: code, Password: newPassword}).outcome, accepted)
		s.sound("3")
	})
}

// A code expires to the microsecond, while its token lives on, and never after its token.
func TestAttack_S23_CodesExpire(t *testing.T) {
	row := func(s *site) {
		for _, c := range []struct {
			after time.Duration
			want  string
		}{{15*time.Minute - time.Microsecond, accepted}, {15 * time.Minute, badToken}, {15*time.Minute + time.Microsecond, badToken}} {
			token := s.again(billybob)
			s.advance(c.after)
			s.is.Equal(s.byCode().complete(token, newPassword).outcome, c.want)
			if c.want == badToken {
				s.lives(s.direct(), "3", token)
			}
			s.advance(-c.after)
		}
		s.sound("3")
	}
	everywhere(t, nil, row)
	for _, k := range oddSessions {
		t.Run(k.name, func(t *testing.T) { row(newSite(t, k.empty(t), nil)) })
	}
	t.Run("tokens of ten minutes", func(t *testing.T) {
		s := newSite(t, onMemory(), func(_ *site, o *recovery.Options) { o.TokenTTL = 10 * time.Minute })
		token := s.token("billybob")
		s.advance(10 * time.Minute)
		s.dies(s.byCode(), token)
		s.sound()
	})
}

// Whatever fails, and whatever its error says, no ticket, code or factor leaks.
func TestAttack_S29_TicketsCodesAndFactors(t *testing.T) {
	const factor = "factor 220784"
	// An application may take the spaces off before it repeats anything.
	all := func(r recovery.CompleteRequest) error {
		ticket, code, factor := strings.TrimSpace(r.Ticket), strings.TrimSpace(r.Code), strings.TrimSpace(r.Factor)
		return fmt.Errorf("%s %s %s %s %s %s %q", ticket, code, strings.ToUpper(code), plain(strings.ToUpper(code)), factor, r.Password, r)
	}
	with := func(s *site, o *recovery.Options) {
		generous(s, o)
		s.secret(factor)
		o.Approve = func(_ context.Context, _ recovery.Account, r recovery.CompleteRequest) error {
			switch s.fails.Load() {
			case "denied":
				return fmt.Errorf("%w: %w", all(r), recovery.ErrDenied)
			case "failed":
				return all(r)
			}
			return nil
		}
	}
	everywhere(t, with, func(s *site) {
		s.mail.Fail(func(m recovery.Message) error { // a mail server that repeats what it was sent
			s.mailed(m)
			code := m.Resets[0].Code
			return fmt.Errorf("550 %s %s %s %s", code, plain(code), strings.ToLower(code), spy.Token(m))
		})
		s.withCode("billybob")
		s.deliver()
		s.mail.Fail(nil)
		s.advance(2 * time.Hour)
		s.deliver() // ends what the failure left
		// Codes as they may be typed.
		for _, as := range []func(code string) string{
			func(code string) string { return code },
			plain,
			strings.ToLower,
			func(code string) string { return " " + code[:4] + "  " + code[5:] + "\n" },
		} {
			s.advance(time.Minute) // mails to one mailbox for one client are at most two at an instant
			own := s.typed[s.token("victim")]
			code := as(own.code)
			for _, form := range []string{code, strings.ToLower(code), strings.ToUpper(code)} {
				s.secret(strings.TrimSpace(form))
			}
			for _, space := range []string{"", " "} {
				r := recovery.CompleteRequest{Ticket: own.ticket + space, Code: code, Factor: factor + space, Password: newPassword}
				fmt.Fprintf(s.seen, "%v %+v %#v\n", r, r, r)
				for _, mode := range []string{"failed", "denied"} {
					s.fails.Store(mode)
					for _, method := range []string{"", "TakeLimits", "FindReset", "RefundLimits", "Redeem"} {
						if method == "Redeem" {
							s.fails.Store("")
						}
						s.trace.fail(func(called string) error {
							if called == method { // a Store knows nothing of it, but may be asked anything
								return fmt.Errorf("%s %s %s %s", r.Ticket, r.Code, r.Factor, r.Password)
							}
							return nil
						})
						s.is.True(s.completes(r).outcome != accepted)
					}
				}
				s.trace.fail(nil)
			}
		}
		s.is.True(strings.Contains(s.log.String(), "could not be given back"))
		s.sound()
	})
}
