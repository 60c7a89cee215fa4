package smtpmailer

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

type class string

const (
	sent      class = "accepted"
	temporary class = "temporary"
	permanent class = "permanent"
	uncertain class = "uncertain" // and temporary
)

func classOf(err error) class {
	switch {
	case err == nil:
		return sent
	case errors.Is(err, recovery.ErrPermanent):
		return permanent
	case errors.Is(err, recovery.ErrUncertain):
		return uncertain
	}
	return temporary
}

// A hostile case is one thing that a server can do wrong.
type hostileCase struct {
	name  string
	acts  map[string]act
	want  class
	step  string // that the error names
	stuck bool   // only the end of the context ends it
	flat  bool   // the server sends without end
	never string // verb that the server must not see

	implicit bool
	cert     *certificate
	options  func(*Options)
}

const (
	quoted = " <billybob@example.com> quoted" // servers repeat the recipient
	ehlo   = "250-mail.example.com\r\n250 "
)

func plaintext(o *Options) {
	o.InsecurePlaintext, o.Username, o.Password = true, "", ""
}

var hostile = []hostileCase{
	// It does not answer.
	{name: "hang before the greeting", acts: map[string]act{"banner": hang}, want: temporary, step: "greeting", stuck: true, never: "EHLO"},
	{name: "hang before the greeting under TLS", acts: map[string]act{"banner": hang}, want: temporary, step: "greeting", stuck: true, implicit: true, never: "tls EHLO"},
	{name: "hang at EHLO", acts: map[string]act{"EHLO": hang}, want: temporary, step: "EHLO", stuck: true, never: "STARTTLS"},
	{name: "hang at STARTTLS", acts: map[string]act{"STARTTLS": hang}, want: temporary, step: "STARTTLS", stuck: true, never: "tls EHLO"},
	{name: "hang at the handshake", acts: map[string]act{"handshake": hang}, want: temporary, step: "STARTTLS", stuck: true, never: "tls EHLO"},
	{name: "hang at the first handshake", acts: map[string]act{"handshake": hang}, want: temporary, step: "TLS", stuck: true, implicit: true, never: "tls EHLO"},
	{name: "hang at EHLO under TLS", acts: map[string]act{"tls EHLO": hang}, want: temporary, step: "STARTTLS", stuck: true, never: "tls AUTH"},
	{name: "hang at AUTH", acts: map[string]act{"tls AUTH": hang}, want: temporary, step: "AUTH", stuck: true, never: "tls MAIL"},
	{name: "hang at MAIL", acts: map[string]act{"MAIL": hang}, want: temporary, step: "MAIL FROM", stuck: true, never: "tls RCPT"},
	{name: "hang at RCPT", acts: map[string]act{"RCPT": hang}, want: temporary, step: "RCPT TO", stuck: true, never: "tls DATA"},
	{name: "hang at DATA", acts: map[string]act{"DATA": hang}, want: temporary, step: "DATA", stuck: true},
	{name: "hang after the body", acts: map[string]act{"end": hang}, want: uncertain, step: "end of DATA", stuck: true},
	{name: "drip before the greeting", acts: map[string]act{"banner": drip}, want: temporary, step: "greeting", stuck: true},
	{name: "drip after the body", acts: map[string]act{"end": drip}, want: uncertain, step: "end of DATA", stuck: true},
	{name: "refused credentials, then hang", acts: map[string]act{"tls AUTH": after(say("535 5.7.8 no"), hang)}, want: temporary, step: "AUTH", stuck: true, never: "tls MAIL"},

	// It answers without end.
	{name: "endless greeting", acts: map[string]act{"banner": flood("220-x\r\n")}, want: temporary, step: "greeting: the server's replies are too long", flat: true},
	{name: "endless EHLO", acts: map[string]act{"EHLO": flood("250-X-QUOTED quoted\r\n")}, want: temporary, step: "EHLO: the server's replies are too long", flat: true},
	{name: "endless line at the greeting", acts: map[string]act{"banner": flood("2")}, want: temporary, step: "greeting: the server's replies are too long", flat: true},
	{name: "endless line at EHLO under TLS", acts: map[string]act{"tls EHLO": flood("2")}, want: temporary, step: "STARTTLS: the server's replies are too long", flat: true},
	{name: "endless line at RCPT", acts: map[string]act{"RCPT": flood("550 ")}, want: temporary, step: "RCPT TO: the server's replies are too long", flat: true},
	{name: "endless reply after the body", acts: map[string]act{"end": flood("250-ok\r\n")}, want: uncertain, step: "end of DATA: the server's replies are too long", flat: true},
	{name: "endless challenges", acts: map[string]act{"tls AUTH": flood("334 cj14LHM9eCxpPTE=\r\n")}, want: temporary, step: "AUTH", flat: true, never: "tls MAIL"},

	// It refuses for now.
	{name: "421 as greeting", acts: map[string]act{"banner": sayAndClose("421 4.3.2" + quoted)}, want: temporary, step: "greeting: the server replied 421 4.3.2"},
	{name: "554 as greeting", acts: map[string]act{"banner": sayAndClose("554 5.7.1" + quoted)}, want: temporary, step: "greeting: the server replied 554 5.7.1"},
	{name: "421 at EHLO", acts: map[string]act{"EHLO": say("421 4.3.2" + quoted), "HELO": shut}, want: temporary, step: "EHLO: the server replied 421 4.3.2", never: "STARTTLS"},
	{name: "550 at EHLO", acts: map[string]act{"EHLO": say("550 5.7.1" + quoted), "HELO": say("550 5.7.1" + quoted)}, want: temporary, step: "EHLO", never: "STARTTLS"},
	{name: "454 at STARTTLS", acts: map[string]act{"STARTTLS": say("454 4.7.0" + quoted)}, want: temporary, step: "STARTTLS: the server replied 454 4.7.0", never: "AUTH"},
	{name: "501 at STARTTLS", acts: map[string]act{"STARTTLS": say("501 5.5.4" + quoted)}, want: temporary, step: "STARTTLS: the server replied 501 5.5.4", never: "AUTH"},
	{name: "550 at EHLO under TLS", acts: map[string]act{"tls EHLO": say("550 5.7.1" + quoted)}, want: temporary, step: "STARTTLS", never: "tls AUTH"},
	{name: "454 at AUTH", acts: map[string]act{"tls AUTH": say("454 4.7.0" + quoted)}, want: temporary, step: "AUTH: the server replied 454 4.7.0", never: "tls MAIL"},
	{name: "535 at AUTH", acts: map[string]act{"tls AUTH": say("535 5.7.8" + quoted)}, want: temporary, step: "AUTH: the server replied 535 5.7.8", never: "tls MAIL"},
	{name: "451 at MAIL", acts: map[string]act{"MAIL": say("451 4.3.0" + quoted)}, want: temporary, step: "MAIL FROM: the server replied 451 4.3.0", never: "tls DATA"},
	{name: "530 at MAIL", acts: map[string]act{"MAIL": say("530 5.7.0" + quoted)}, want: temporary, step: "MAIL FROM: the server replied 530 5.7.0", never: "tls DATA"},
	{name: "553 at MAIL", acts: map[string]act{"MAIL": say("553 5.1.8" + quoted)}, want: temporary, step: "MAIL FROM: the server replied 553 5.1.8", never: "tls DATA"},
	{name: "501 at MAIL", acts: map[string]act{"MAIL": say("501 5.1.3" + quoted)}, want: temporary, step: "MAIL FROM: the server replied 501 5.1.3", never: "tls DATA"},
	{name: "550 at MAIL", acts: map[string]act{"MAIL": say("550" + quoted)}, want: temporary, step: "MAIL FROM: the server replied 550", never: "tls DATA"},
	{name: "450 at RCPT", acts: map[string]act{"RCPT": say("450 4.2.0" + quoted)}, want: temporary, step: "RCPT TO: the server replied 450 4.2.0", never: "tls DATA"},
	{name: "421 at RCPT", acts: map[string]act{"RCPT": sayAndClose("421 4.7.0" + quoted)}, want: temporary, step: "RCPT TO: the server replied 421 4.7.0", never: "tls DATA"},
	{name: "451 at DATA", acts: map[string]act{"DATA": say("451 4.3.0" + quoted)}, want: temporary, step: "DATA: the server replied 451 4.3.0"},
	{name: "421 at DATA", acts: map[string]act{"DATA": sayAndClose("421 4.3.2" + quoted)}, want: temporary, step: "DATA: the server replied 421 4.3.2"},
	{name: "554 at DATA", acts: map[string]act{"DATA": say("554 5.5.1" + quoted)}, want: temporary, step: "DATA: the server replied 554 5.5.1"},
	{name: "550 at DATA", acts: map[string]act{"DATA": say("550 5.6.0" + quoted)}, want: temporary, step: "DATA: the server replied 550 5.6.0"},
	{name: "421 in the body", acts: map[string]act{"DATA": sayAndClose("354 go\r\n421 4.3.2" + quoted)}, want: temporary, step: ""},
	{name: "451 after the body", acts: map[string]act{"end": say("451 4.3.0" + quoted)}, want: temporary, step: "end of DATA: the server replied 451 4.3.0"},
	{name: "421 after the body", acts: map[string]act{"end": sayAndClose("421 4.3.2" + quoted)}, want: temporary, step: "end of DATA: the server replied 421 4.3.2"},

	// It refuses us rather than the mail.
	{name: "relaying denied", acts: map[string]act{"RCPT": say("554 5.7.1" + quoted)}, want: temporary, step: "RCPT TO: the server replied 554 5.7.1", never: "tls DATA"},
	{name: "authentication required at RCPT", acts: map[string]act{"RCPT": say("530 5.7.0" + quoted)}, want: temporary, step: "RCPT TO: the server replied 530 5.7.0", never: "tls DATA"},
	{name: "bad sequence at RCPT", acts: map[string]act{"RCPT": say("503" + quoted)}, want: temporary, step: "RCPT TO: the server replied 503", never: "tls DATA"},
	{name: "sender unknown at RCPT", acts: map[string]act{"RCPT": say("550 5.1.8" + quoted)}, want: temporary, step: "RCPT TO: the server replied 550 5.1.8", never: "tls DATA"},
	{name: "system full at RCPT", acts: map[string]act{"RCPT": say("550 5.3.1" + quoted)}, want: temporary, step: "RCPT TO: the server replied 550 5.3.1", never: "tls DATA"},
	{name: "unauthenticated mail", acts: map[string]act{"end": say("550 5.7.26" + quoted)}, want: temporary, step: "end of DATA: the server replied 550 5.7.26"},

	// It refuses the mail.
	{name: "unknown user", acts: map[string]act{"RCPT": say("550 5.1.1" + quoted)}, want: permanent, step: "RCPT TO: the server replied 550 5.1.1", never: "tls DATA"},
	{name: "unknown user in two lines", acts: map[string]act{"RCPT": say("550-5.1.1" + quoted + "\r\n550 5.1.1" + quoted)}, want: permanent, step: "RCPT TO: the server replied 550 5.1.1", never: "tls DATA"},
	{name: "unknown user without enhanced code", acts: map[string]act{"RCPT": say("550" + quoted)}, want: permanent, step: "RCPT TO: the server replied 550", never: "tls DATA"},
	{name: "mailbox full", acts: map[string]act{"RCPT": say("552 5.2.2" + quoted)}, want: permanent, step: "RCPT TO: the server replied 552 5.2.2", never: "tls DATA"},
	{name: "too big", acts: map[string]act{"end": say("552 5.3.4" + quoted)}, want: permanent, step: "end of DATA: the server replied 552 5.3.4"},
	{name: "content refused", acts: map[string]act{"end": say("554 5.6.0" + quoted)}, want: permanent, step: "end of DATA: the server replied 554 5.6.0"},

	// It accepts and fails afterwards.
	{name: "accepted, then reset", acts: map[string]act{"end": after(accept, reset)}, want: sent},
	{name: "accepted, then closed", acts: map[string]act{"end": after(accept, shut)}, want: sent},
	{name: "accepted, then hang", acts: map[string]act{"end": after(accept, hang)}, want: sent},
	{name: "accepted, then 421", acts: map[string]act{"end": after(accept, sayAndClose("421 4.3.2 bye"))}, want: sent},
	{name: "accepted with 251", acts: map[string]act{"end": func(p *peer) bool { p.took(); return say("251 ok")(p) }}, want: sent},
	{name: "accepted twice", acts: map[string]act{"end": func(p *peer) bool { p.took(); return say("250 ok\r\n250 ok")(p) }}, want: sent},

	// Its questions have no end.
	{name: "too many questions", acts: offer("LOGIN", func(p *peer) bool {
		ask(p, "Username:")
		ask(p, "Password:")
		ask(p, "quoted")
		return say("501 5.7.0 aborted")(p)
	}), want: temporary, step: "AUTH: the exchange failed", never: "tls MAIL"},

	// It does not speak SMTP.
	{name: "greeting of another protocol", acts: map[string]act{"banner": say("* OK IMAP4rev1 quoted")}, want: temporary, step: "greeting: the reply is not SMTP", never: "EHLO"},
	{name: "250 as greeting", acts: map[string]act{"banner": say("250" + quoted)}, want: temporary, step: "greeting: the server replied 250", never: "EHLO"},
	{name: "garbage at MAIL", acts: map[string]act{"MAIL": say("quoted \x00\xff\x1b[31m")}, want: temporary, step: "MAIL FROM: the reply is not SMTP", never: "tls DATA"},
	{name: "354 at MAIL", acts: map[string]act{"MAIL": say("354" + quoted)}, want: temporary, step: "MAIL FROM: the server replied 354", never: "tls DATA"},
	{name: "250 at DATA", acts: map[string]act{"DATA": say("250" + quoted)}, want: temporary, step: "DATA: the server replied 250"},
	{name: "354 after the body", acts: map[string]act{"end": say("354" + quoted)}, want: uncertain, step: "end of DATA: the server replied 354: the mail may have been accepted"},
	{name: "no code after the body", acts: map[string]act{"end": say("ok" + quoted)}, want: uncertain, step: "end of DATA: the reply is not SMTP"},
	{name: "999 after the body", acts: map[string]act{"end": say("999" + quoted)}, want: uncertain, step: "end of DATA: the server replied 999: the mail may have been accepted"},
	{name: "two minds after the body", acts: map[string]act{"end": say("451 4.3.0" + quoted + "\r\n250 ok")}, want: uncertain, step: "end of DATA: the server replied 451 4.3.0: the mail may have been accepted"},
	{name: "refused before the body", acts: map[string]act{"DATA": func(p *peer) bool { return say("354 go\r\n550 5.1.1"+quoted)(p) && p.body() }}, want: temporary, step: "body: the server replied before it had the mail"},
	{name: "accepted before the body", acts: map[string]act{"DATA": func(p *peer) bool { return say("354 go\r\n250 ok")(p) && p.body() }}, want: temporary, step: "body: the server replied before it had the mail"},
	{name: "codes that differ within a reply", acts: map[string]act{"RCPT": say("550-5.1.1" + quoted + "\r\n250 ok")}, want: temporary, step: "RCPT TO", stuck: true, never: "tls DATA"},
	{name: "enhanced code of another class", acts: map[string]act{"RCPT": say("450 5.1.1" + quoted)}, want: temporary, step: "RCPT TO: the server replied 450", never: "tls DATA"},

	// It goes away.
	{name: "closed before the greeting", acts: map[string]act{"banner": shut}, want: temporary, step: "greeting: EOF"},
	{name: "closed at EHLO", acts: map[string]act{"EHLO": shut}, want: temporary, step: "EHLO"},
	{name: "closed at STARTTLS", acts: map[string]act{"STARTTLS": shut}, want: temporary, step: "STARTTLS: EOF"},
	{name: "closed at the handshake", acts: map[string]act{"handshake": shut}, want: temporary, step: "STARTTLS"},
	{name: "closed at AUTH", acts: map[string]act{"AUTH": shut}, want: temporary, step: "AUTH"},
	{name: "closed at MAIL", acts: map[string]act{"MAIL": shut}, want: temporary, step: "MAIL FROM"},
	{name: "closed at RCPT", acts: map[string]act{"RCPT": shut}, want: temporary, step: "RCPT TO", never: "tls DATA"},
	{name: "closed at DATA", acts: map[string]act{"DATA": shut}, want: temporary, step: "DATA"},
	{name: "closed after the body", acts: map[string]act{"end": shut}, want: uncertain, step: "end of DATA"},
	{name: "reset at RCPT", acts: map[string]act{"RCPT": reset}, want: temporary, step: "RCPT TO", never: "tls DATA"},
	{name: "reset after the body", acts: map[string]act{"end": reset}, want: uncertain, step: "end of DATA"},

	// In the clear, where that was asked for.
	{name: "hang in the clear", acts: map[string]act{"RCPT": hang}, want: temporary, step: "RCPT TO", stuck: true, options: plaintext, never: "AUTH"},
	{name: "unknown user in the clear", acts: map[string]act{"RCPT": say("550 5.1.1" + quoted)}, want: permanent, step: "RCPT TO", options: plaintext, never: "AUTH"},
}

// Whatever the server does, Send returns in time, keeps its memory flat, and the next mail flows.
func TestAttack_S65_HostileServers(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) { testHostile(t, c) })
	}
}

// testHostile sends a mail to the server, which must see none of the verbs, and another once it is
// healthy.
func testHostile(t *testing.T, c hostileCase, never ...string) {
	is := is.New(t)
	noLeak(t)
	f := newFake(t, c.implicit)
	m := newMailer(t, f, c.options)
	f.set(c.acts)
	if c.cert != nil {
		f.mu.Lock()
		f.tls.Certificates[0] = c.cert.cert
		f.mu.Unlock()
	}

	limit := 10 * time.Second
	if c.stuck {
		limit = 300 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	allocated := totalAlloc()
	returned := make(chan error, 1)
	go func() { returned <- m.Send(ctx, message()) }()
	var err error
	select {
	case err = <-returned:
	case <-time.After(limit + 5*time.Second):
		t.Fatal("Send does not return after its context has ended")
	}
	allocated = totalAlloc() - allocated

	is.Equal(classOf(err), c.want)                                 // the class of the error
	is.Equal(errors.Is(err, context.DeadlineExceeded), c.stuck)    // the context is blamed if it was its fault
	is.Equal(len(f.got()), map[class]int{sent: 1}[c.want])         // accepted once, or not at all
	is.True(c.never == "" || !slices.Contains(f.verbs(), c.never)) // the server does not see this
	for _, verb := range never {
		is.True(!slices.Contains(f.verbs(), verb)) // nor these
	}
	is.True(!slices.Contains(f.verbs(), "AUTH"))                                                              // no AUTH in the clear
	is.True(c.options != nil || !slices.Contains(f.verbs(), "MAIL"))                                          // no mail in the clear
	is.True(err == nil || strings.HasPrefix(err.Error(), "smtpmailer: "+c.step))                              // the error names the step
	is.True(!strings.Contains(c.step, "replied") || err.Error() == "smtpmailer: "+c.step)                     // and the codes
	checkQuiet(t, err, recipient, "billybob", "quoted", spy.TokenText, password, "relay-user", "x1b", "\x1b") // and nothing else
	if c.flat {
		_, _, _, wrote := f.counts()
		is.True(wrote < 16<<20)     // the client stops reading; the rest is the kernel's buffers
		is.True(allocated < 16<<20) // bytes
	}

	f.set(nil)
	f.mu.Lock()
	f.tls.Certificates[0] = good.cert
	f.mu.Unlock()
	before := len(f.got())
	ctx, cancel = context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	is.NoErr(m.Send(ctx, message())) // the next mail to a healthy server
	is.Equal(len(f.got()), before+1) // arrives once
	is.NoErr(m.Close())
	is.True(eventually(f.idle)) // no connection is left
}

// checkQuiet checks the texts of err and of all that it wraps.
func checkQuiet(t *testing.T, err error, secrets ...string) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		for _, secret := range secrets {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error %q contains %q", err, secret)
			}
		}
	}
}

func totalAlloc() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
