package smtpmailer

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/mail"
	"strings"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"

	"example.com/recovery"
	"example.com/recovery/mailer"
)

// A letter is a mail as it goes over the wire.
type letter struct {
	redacted

	to    string // envelope address
	ascii bool   // to is ASCII
	data  []byte // without dot-stuffing; 7 bit unless the recipient is not ASCII
}

// compose lays a rendered mail out as a message of RFC 5322.
func (m *Mailer) compose(rendered mailer.Mail) (letter, error) {
	to, ok := envelopeAddress(rendered.To)
	if !ok {
		return letter{}, fmt.Errorf("smtpmailer: the recipient must be a plain address with a domain name: %w",
			recovery.ErrPermanent)
	}
	now := m.opts.Now().UTC()
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.SetGenHeader("From", encodeAddress(m.opts.from))
	if m.opts.ReplyTo != "" {
		msg.SetGenHeader("Reply-To", encodeAddress(m.opts.replyTo))
	}
	msg.SetGenHeaderPreformatted(gomail.Header(gomail.HeaderTo), "<"+to+">")
	msg.SetGenHeader(gomail.HeaderSubject, encodeWords(rendered.Subject))
	msg.SetDateWithValue(now)
	msg.SetMessageIDWithValue(messageID(rendered.ID) + "@" + m.opts.MessageIDDomain)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834
	// Exchange sends out-of-office replies in spite of Auto-Submitted. Non-delivery reports are
	// wanted.
	msg.SetGenHeader("X-Auto-Response-Suppress", "OOF, AutoReply")
	if rendered.Locale != "" {
		msg.SetGenHeader("Content-Language", rendered.Locale)
	}
	text, html := crlf(rendered.Text), crlf(rendered.HTML)
	msg.SetBodyString(gomail.TypeTextPlain, text, gomail.WithPartEncoding(encoding(text)))
	msg.AddAlternativeString(gomail.TypeTextHTML, html, gomail.WithPartEncoding(encoding(html)))
	if m.opts.DKIM != nil {
		msg.SetDKIM(m.opts.DKIM.signer(now))
	}
	var b bytes.Buffer
	b.Grow(2<<10 + len(text)*3/2 + len(html)*3/2)
	if _, err := msg.WriteTo(&b); err != nil {
		return letter{}, fmt.Errorf("smtpmailer: the mail cannot be composed: %w", err)
	}
	return letter{to: to, ascii: isASCII(to), data: b.Bytes()}, nil
}

// messageID returns the left side of a Message-ID. It depends on the ID alone, so that a mail
// system can recognise a repeated mail.
func messageID(id string) string {
	legal := id != "" && len(id) <= 64
	for atom := range strings.SplitSeq(id, ".") {
		legal = legal && atom != "" && !strings.ContainsFunc(atom, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
		})
	}
	switch {
	case legal:
		return id
	case id == "":
		return rand.Text() // mails without an ID must not share one
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// encodeWords returns s as encoded-words of RFC 2047 unless it is plain ASCII. It also encodes
// "=?", which package mime would leave alone and mail programs would decode.
func encodeWords(s string) string {
	if !strings.Contains(s, "=?") && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return s
	}
	const most = 36 // bytes: they make a word of 60 characters, which fits the first line of a Subject
	var words []string
	for s != "" {
		n := min(most, len(s))
		for n < len(s) && n > most-utf8.UTFMax && !utf8.RuneStart(s[n]) {
			n--
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

func encodeAddress(a mail.Address) string {
	if isASCII(a.Name) {
		return a.String() // as a quoted string
	}
	return encodeWords(a.Name) + " <" + a.Address + ">"
}

// encoding returns the shorter encoding of s. Neither leaves a line that is too long, a bare CR or
// LF, or a byte above 127.
func encoding(s string) gomail.Encoding {
	outside := 0
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			outside++
		}
	}
	if outside > len(s)/6 { // quoted-printable adds two characters for each, base64 a third of s
		return gomail.EncodingB64
	}
	return gomail.EncodingQP
}

// crlf returns s with the line endings of a mail.
func crlf(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	return strings.ReplaceAll(s, "\n", "\r\n")
}
