package smtpmailer

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
)

var fields = []string{ // of every mail
	"Auto-Submitted", "Content-Language", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To",
	"X-Auto-Response-Suppress",
}

func TestMessageIDIsStableAndLegal(t *testing.T) {
	is := is.New(t)
	const id = "0198a7c2-6f6e-7d43-8a51-3c1f5c5b0b11"
	is.Equal(messageID(id), id) // a legal ID stands as it is
	for _, id := range []string{"a b", "a@b", "<a>", ".a", "a..b", "é", "a\r\nb", strings.Repeat("x", 65)} {
		got := messageID(id)
		is.Equal(got, messageID(id))                        // the same at every try
		is.True(got != messageID(id+"x"))                   // another for another mail
		is.Equal(strings.Trim(got, "0123456789abcdef"), "") // legal
	}
	first, second := messageID(""), messageID("")
	is.True(first != second) // no ID is no sameness
}

func TestEncodedWordsSayTheSame(t *testing.T) {
	for _, s := range []string{
		"", "Plain", "パスワードの再設定", strings.Repeat("あ", 200), "x" + strings.Repeat("あ", 200), "=?utf-8?q?x?=", "a =?", "é", strings.Repeat("é", 21) + "x",
		"tail 😀", strings.Repeat("😀", 40), "xy" + strings.Repeat("😀", 40), "\ttab",
	} {
		is := is.New(t)
		encoded := encodeWords(s)
		got, err := new(mime.WordDecoder).DecodeHeader(encoded)
		is.NoErr(err)    // legal
		is.Equal(got, s) // and the same
		for word := range strings.FieldsSeq(encoded) {
			if s == encoded {
				continue
			}
			is.True(len(word) <= 75) // RFC 2047 section 2
			decoded, err := new(mime.WordDecoder).Decode(word)
			is.NoErr(err)                                 // legal
			is.True(utf8.ValidString(decoded))            // whole characters
			is.True(!strings.Contains(decoded, "\ufffd")) // not halves
		}
	}
}

func TestRecipients(t *testing.T) {
	for to, want := range map[string]string{ // "" is refused for good
		"billybob@example.com":           "billybob@example.com",
		"Billy.Bob+x@Example.COM":        "Billy.Bob+x@example.com",
		"a@例え.jp":                        "a@xn--r8jz45g.jp",
		"a b@example.com":                "",
		"a@b@example.com":                "",
		"<a@example.com>":                "",
		"a@example.com> SIZE=1":          "",
		"a,b@example.com":                "",
		"da..me.@docomo.ne.jp":           `"da..me."@docomo.ne.jp`,
		`"da..me."@docomo.ne.jp`:         `"da..me."@docomo.ne.jp`,
		`"a"@Example.com`:                `"a"@example.com`,
		`".a"@example.com`:               `".a"@example.com`,
		" a.@例え.jp\u3000":                `"a."@xn--r8jz45g.jp`,
		".a@example.com":                 "",
		`"a b"@example.com`:              "",
		`"a@b"@example.com`:              "",
		`"a\"b"@example.com`:             "",
		`"a\"@example.com`:               "",
		`"a"b"@example.com`:              "",
		`"a@example.com`:                 "",
		`a"@example.com`:                 "",
		`""@example.com`:                 "",
		`"x> ORCPT=y"@example.com`:       "",
		`"=?utf-8?q?x?="@example.com`:    "",
		"a@[192.0.2.1]":                  "",
		"a@example.com\r\nRCPT TO:<b@c>": "",
		"a@example.com\u2028":            "",
		strings.Repeat("a", 65) + "@b.c": "",
	} {
		t.Run(to, func(t *testing.T) {
			is := is.New(t)
			f, m := newPair(t, nil)
			msg := message()
			msg.To = to
			err := m.Send(t.Context(), msg)
			if want == "" {
				is.Equal(classOf(err), permanent) // trying again is pointless
				is.Equal(len(f.verbs()), 0)       // and the server is not bothered
				checkQuiet(t, err, to, "example.com")
				return
			}
			is.NoErr(err)                                                               // sent
			is.Equal(f.got()[0].to, "<"+want+">")                                       // to this address
			is.Equal(f.got()[0].from, "<accounts@example.com>")                         // from ours
			is.True(strings.Contains(string(f.got()[0].raw), "\r\nTo: <"+want+">\r\n")) // and the header says the same
		})
	}
}

func TestNonASCIIAddressNeedsSMTPUTF8(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	msg := message()
	msg.To = "jürgen@example.com"
	err := m.Send(t.Context(), msg)
	is.Equal(classOf(err), permanent)                // it does not take such addresses
	is.True(!slices.Contains(f.verbs(), "tls MAIL")) // and is not asked
	checkQuiet(t, err, "rgen", "example.com")

	is.NoErr(m.Close())
	m = newMailer(t, f, nil)
	f.set(map[string]act{"tls EHLO": say("250-mail.example.com\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN")})
	is.NoErr(m.Send(t.Context(), msg))                                                // now it does
	is.Equal(f.got()[0].to, "<jürgen@example.com>")                                   // as it is
	is.Equal(f.got()[0].from, "<accounts@example.com> BODY=8BITMIME SMTPUTF8")        // and says so
	is.True(strings.Contains(string(f.got()[0].raw), "To: <jürgen@example.com>\r\n")) // in the header too
	is.NoErr(m.Send(t.Context(), message()))                                          // one in ASCII
	is.Equal(f.got()[1].from, "<accounts@example.com> BODY=8BITMIME")                 // needs no SMTPUTF8
}

func TestTheRenderersRefusalIsKept(t *testing.T) {
	is := is.New(t)
	f, m := newPair(t, nil)
	msg := message()
	msg.ExpiresAt = time.Time{}
	err := m.Send(t.Context(), msg)
	is.Equal(classOf(err), permanent)                   // a broken message stays broken
	is.True(strings.HasPrefix(err.Error(), "mailer: ")) // in the Renderer's words
	is.Equal(f.dialed(), 0)                             // nobody is asked
}

func FuzzMail(f *testing.F) {
	for _, s := range []string{
		"billybob", "x\r\nBcc: all@example.com\r\n\r\nbody", "x\r\n.\r\nMAIL FROM:<a@example.com>", "\r.\r", "\n.\n", ".", "..",
		"a\u2028b\u0085c", "a\x00b", "\xff\xfe", "=?utf-8?q?=0D=0ABcc:x?=", strings.Repeat("あ", 300), strings.Repeat("a", 3000),
		" ", "\t", "--", "\u202egnp.exe",
	} {
		f.Add(s, s, "ja", s, s, uint8(0))
	}
	f.Add("billybob", "Example", "en", recipient, "0198a7c2", uint8(3))
	server := newFake(f, false)
	m := newMailer(f, server, nil)
	kinds := []recovery.MessageKind{
		recovery.MessageResetToken, recovery.MessageResetLink, recovery.MessagePasswordChanged, recovery.MessageUsernames,
		recovery.MessageSignIn,
	}
	f.Fuzz(func(t *testing.T, username, application, locale, to, id string, kind uint8) {
		is := is.New(t)
		msg := message()
		msg.Kind = kinds[int(kind)%len(kinds)]
		msg.Usernames, msg.Resets[0].Username = []string{username}, username
		msg.Application, msg.Locale, msg.ID = application, locale, id
		msg.MoreResets = int(kind) % 3
		if msg.Kind == recovery.MessageSignIn {
			msg.SignIns = []recovery.SignIn{{Username: username, Provider: application}}
		}
		if kind >= 128 {
			msg.To = to
		}
		if msg.Kind == recovery.MessageResetLink {
			msg.Resets[0].Link = "https://app.example.com/reset?" + username + "#token=" + spy.TokenText
		}
		msg.Client = netip.Addr{}
		before := len(server.got())
		err := m.Send(t.Context(), msg)
		if err != nil {
			is.Equal(classOf(err), permanent)   // refused by us
			is.Equal(len(server.got()), before) // and not sent
			return
		}
		got := server.got()
		is.Equal(len(got), before+1) // one message
		rendered, err := m.renderer.Render(msg)
		is.NoErr(err) // as it was sent
		checkWire(is, got[before], rendered)
		server.mu.Lock()
		server.mails, server.seen = nil, nil
		server.mu.Unlock()
	})
}

// checkWire checks what holds for every mail on the wire.
func checkWire(is *is.I, r received, want mailer.Mail) {
	is.Helper()
	is.Equal(bytes.Count(r.raw, []byte("\r")), bytes.Count(r.raw, []byte("\r\n"))) // no lone CR
	is.Equal(bytes.Count(r.raw, []byte("\n")), bytes.Count(r.raw, []byte("\r\n"))) // no lone LF
	for line := range bytes.SplitSeq(r.raw, []byte("\r\n")) {
		is.True(len(line) <= 78 || bytes.Contains(line, []byte("@")))                                    // short lines
		is.True(len(line) == 0 || line[0] != '.' || bytes.HasPrefix(line, []byte("..")))                 // dots are stuffed
		is.True(!bytes.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c > '~' })) // 7 bit, no control characters
	}
	m, err := mail.ReadMessage(bytes.NewReader(bytes.ReplaceAll(r.raw, []byte("\r\n.."), []byte("\r\n."))))
	is.NoErr(err) // one message
	var names []string
	for name, values := range m.Header {
		names = append(names, name)
		is.Equal(len(values), 1) // once each
	}
	slices.Sort(names)
	is.Equal(names, fields) // no other header
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	is.NoErr(err)                   // legal
	is.Equal(subject, want.Subject) // as rendered
	to, err := m.Header.AddressList("To")
	is.NoErr(err)                                                           // legal
	is.Equal(len(to), 1)                                                    // one recipient
	is.Equal(m.Header.Get("To"), r.to)                                      // the one of the envelope
	is.Equal(m.Header.Get("From"), `"Example" <accounts@example.com>`)      // ours
	is.Equal(m.Header.Get("Content-Language"), want.Locale)                 // of the Renderer
	is.True(strings.HasSuffix(m.Header.Get("Message-ID"), "@example.com>")) // ours

	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	is.NoErr(err) // legal
	parts := multipart.NewReader(m.Body, params["boundary"])
	for _, part := range []struct{ kind, body string }{{"text/plain", want.Text}, {"text/html", want.HTML}} {
		p, err := parts.NextRawPart()
		is.NoErr(err)                                                       // the part is there
		is.True(strings.HasPrefix(p.Header.Get("Content-Type"), part.kind)) // of its kind
		var body io.Reader = quotedprintable.NewReader(p)
		if p.Header.Get("Content-Transfer-Encoding") == "base64" {
			body = base64.NewDecoder(base64.StdEncoding, p)
		}
		decoded, err := io.ReadAll(body)
		is.NoErr(err)                                                          // legal
		is.Equal(strings.ReplaceAll(string(decoded), "\r\n", "\n"), part.body) // as rendered
	}
	_, err = parts.NextRawPart()
	is.Equal(err, io.EOF) // no other part
}

func TestLineEndingsBecomeCRLF(t *testing.T) {
	is := is.New(t)
	is.Equal(crlf("a\r\nb\rc\nd\r\r\n\n"), "a\r\nb\r\nc\r\nd\r\n\r\n\r\n") // whatever a template's file has
}
