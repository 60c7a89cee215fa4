package smtpmailer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

// pipelined returns the acts of a server that offers PIPELINING, under TLS and in the clear.
func pipelined(acts map[string]act, clear bool) map[string]act {
	all := map[string]act{"tls EHLO": say("250-mail.example.com\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN")}
	if clear {
		all["EHLO"] = say("250-mail.example.com\r\n250 PIPELINING")
	}
	maps.Copy(all, acts)
	return all
}

// together answers MAIL, RCPT and DATA once it has all three.
func together(replies string) act {
	return func(p *peer) bool {
		p.mail.from = strings.TrimPrefix(p.rest, "FROM:")
		rcpt, err := p.r.ReadString('\n')
		if err != nil {
			return false
		}
		p.mail.to = strings.TrimSpace(strings.TrimPrefix(rcpt, "RCPT TO:"))
		data, err := p.r.ReadString('\n')
		if err != nil || data != "DATA\r\n" {
			return false
		}
		if !say(replies)(p) {
			return false
		}
		return !strings.HasSuffix(replies, "354 go ahead") || p.body()
	}
}

func TestCommandsComeTogether(t *testing.T) {
	is := is.New(t)
	f := newFake(t, false)
	m := newMailer(t, f, nil)
	f.set(pipelined(map[string]act{"MAIL": together("250 ok\r\n250 ok\r\n354 go ahead")}, false))
	for range 3 {
		is.NoErr(m.Send(t.Context(), message(t))) // to a server that waits for all of them
	}
	dials, _, _, _ := f.counts()
	is.Equal(dials, 1) // over one connection
	for _, r := range f.got() {
		is.Equal(r.from, "<accounts@example.com>")
		is.Equal(r.to, "<"+recipient+">")
		rendered, err := m.renderer.Render(message(t))
		is.NoErr(err)
		checkWire(is, r, rendered) // whole
	}
	is.Equal(len(f.got()), 3) // each
}

// A server that is not fit for it does not get commands together.
func TestCommandsComeOneByOneWithoutTheOffer(t *testing.T) {
	is := is.New(t)
	f := newFake(t, false)
	m := newMailer(t, f, nil)
	alone := func(p *peer) bool {
		_ = p.raw.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := p.r.Peek(1)
		_ = p.raw.SetReadDeadline(time.Time{})
		if err == nil {
			t.Error("a command came before the reply to the one before")
		}
		return say("250 ok")(p)
	}
	f.set(map[string]act{"RCPT": func(p *peer) bool { p.mail.to = p.rest; return alone(p) }})
	is.NoErr(m.Send(t.Context(), message(t)))
}

// What a server does wrong has the same consequences, but for the commands that it sees.
func TestAttack_S65_HostileServersWithPipelining(t *testing.T) {
	for _, c := range hostile {
		steps := slices.Collect(maps.Keys(c.acts))
		if !slices.ContainsFunc(steps, func(step string) bool { return slices.Contains([]string{"MAIL", "RCPT", "DATA", "end"}, step) }) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			c.acts = pipelined(c.acts, c.options != nil)
			if strings.HasSuffix(c.never, "RCPT") || strings.HasSuffix(c.never, "DATA") {
				c.never = ""
			}
			testHostile(t, c)
		})
	}
}

func TestDeadConnectionIsReplacedWithPipelining(t *testing.T) {
	ok, good := say("250 ok"), together("250 ok\r\n250 ok\r\n354 go ahead")
	for name, second := range map[string]act{
		"silent":                      hang,
		"closed":                      shut,
		"421":                         sayAndClose("421 4.4.2 idle"),
		"log-in expired":              together("530 5.7.0 log in\r\n503 no\r\n503 no"),
		"closed behind MAIL":          after(ok, shut),
		"closed behind RCPT":          after(say("250 ok\r\n250 ok"), shut),
		"closed behind RCPT, for now": after(say("250 ok\r\n421 4.4.2 idle"), shut),
		"reset behind MAIL":           after(ok, reset),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			noLeak(t)
			f := newFake(t, false)
			m := newMailer(t, f, nil)
			f.set(pipelined(map[string]act{"MAIL": once(good, once(second, good))}, false))
			is.NoErr(m.Send(t.Context(), message(t))) // over a new connection
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			is.NoErr(m.Send(ctx, message(t))) // over another one
			dials, _, _, _ := f.counts()
			is.Equal(dials, 2)        // once more
			is.Equal(len(f.got()), 2) // each mail once
		})
	}
}

// A server may refuse the recipient and accept DATA all the same.
func TestRefusedRecipientWithPipelining(t *testing.T) {
	good := together("250 ok\r\n250 ok\r\n354 go ahead")
	for _, c := range []struct {
		name   string
		second act
		want   class
		step   string
		dials  int
	}{
		{"DATA is refused too", together("250 ok\r\n550 5.1.1 no\r\n503 5.5.1 no"), permanent, "RCPT TO: the server replied 550 5.1.1", 1},
		{"DATA is refused for now", together("250 ok\r\n550 5.1.1 no\r\n451 later"), permanent, "RCPT TO: the server replied 550 5.1.1", 1},
		{"DATA is accepted", together("250 ok\r\n550 5.1.1 no\r\n354 go on"), permanent, "RCPT TO: the server replied 550 5.1.1", 2},
		{"DATA has no reply", together("250 ok\r\n550 5.1.1 no"), permanent, "RCPT TO: the server replied 550 5.1.1", 2},
		{"closed", after(together("250 ok\r\n550 5.1.1 no"), shut), permanent, "RCPT TO: the server replied 550 5.1.1", 2},
		{"no SMTP", together("250 ok\r\n550 5.1.1 no\r\nquoted"), permanent, "RCPT TO: the server replied 550 5.1.1", 2},
		{"a reply too many", together("250 ok\r\n550 5.1.1 no\r\n503 no\r\n250 quoted"), permanent, "RCPT TO: the server replied 550 5.1.1", 2},
		{"for now", together("250 ok\r\n450 4.2.1 later\r\n503 no"), temporary, "RCPT TO: the server replied 450 4.2.1", 2},
		{"for now, and DATA is accepted", together("250 ok\r\n450 4.2.1 later\r\n354 go on"), temporary, "RCPT TO: the server replied 450 4.2.1", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			noLeak(t)
			f := newFake(t, false)
			m := newMailer(t, f, nil)
			f.set(pipelined(map[string]act{"MAIL": once(good, once(c.second, good))}, false))
			is.NoErr(m.Send(t.Context(), message(t))) // the connection is kept
			start := time.Now()
			err := m.Send(t.Context(), message(t))
			is.Equal(classOf(err), c.want)                         // as the server says
			is.Equal(err.Error(), "smtpmailer: "+c.step)           // and where
			is.True(time.Since(start) < skipTimeout+2*time.Second) // soon
			is.Equal(len(f.got()), 1)                              // nothing of it was sent
			is.NoErr(m.Send(t.Context(), message(t)))              // the next one
			is.Equal(len(f.got()), 2)                              // arrives
			dials, _, _, _ := f.counts()
			is.Equal(dials, c.dials) // the connection is kept where it is clear what it is good for
		})
	}
}

func TestNoCommandHasASecondLine(t *testing.T) {
	for _, acts := range []map[string]act{nil, pipelined(nil, false)} {
		is := is.New(t)
		f := newFake(t, false)
		m := newMailer(t, f, nil)
		f.set(acts)
		s, err := m.connect(t.Context())
		is.NoErr(err) // connected
		defer s.abort()
		for _, to := range []string{"a@example.com>\r\nDATA", "a\n", "a\r"} {
			_, err = s.deliver(letter{to: to, ascii: true}, "accounts@example.com", time.Time{})
			is.True(errors.Is(err, errExchange)) // refused, whoever let it through
			s.dirty = false
			_, err = s.deliver(letter{to: "a", ascii: true}, to, time.Time{})
			is.True(errors.Is(err, errExchange)) // as a sender too
			s.dirty = false
		}
		is.Equal(count(f.verbs(), "tls MAIL"), 0) // nothing was sent
	}
}
