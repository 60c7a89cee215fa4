package smtpmailer

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/recovery"
	"example.com/recovery/mailer"
)

const base64Line = 76 // characters

// A letter is a mail as it goes over the wire.
type letter struct {
	redacted

	to    string // envelope address
	ascii bool   // to is ASCII
	data  []byte // lines that end in CRLF, dots stuffed; 7 bit, but for a recipient that is not ASCII
}

// compose lays a rendered mail out as a message of RFC 5322.
func (m *Mailer) compose(rendered mailer.Mail) (letter, error) {
	to, ok := envelopeAddress(rendered.To)
	if !ok {
		return letter{}, fmt.Errorf("smtpmailer: the recipient must be a plain address with a domain name: %w",
			recovery.ErrPermanent)
	}
	now := m.opts.Now().UTC()
	text, html := crlf(rendered.Text), crlf(rendered.HTML)
	b := new(bytes.Buffer)
	b.Grow(2<<10 + len(text)*3/2 + len(html)*3/2)
	writeField(b, "Auto-Submitted", "auto-generated") // RFC 3834
	if rendered.Locale != "" {
		writeField(b, "Content-Language", rendered.Locale)
	}
	writeField(b, "Date", now.Format(time.RFC1123Z))
	writeField(b, "From", encodeAddress(m.opts.from))
	writeField(b, "MIME-Version", "1.0")
	writeField(b, "Message-ID", "<"+messageID(rendered.ID)+"@"+m.opts.MessageIDDomain+">")
	if m.opts.ReplyTo != "" {
		writeField(b, "Reply-To", encodeAddress(m.opts.replyTo))
	}
	writeField(b, "Subject", encodeWords(rendered.Subject))
	// Exchange sends out-of-office replies in spite of Auto-Submitted. Non-delivery reports are wanted.
	writeField(b, "X-Auto-Response-Suppress", "OOF, AutoReply")
	writeField(b, "To", (&mail.Address{Address: to}).String())
	boundary := newBoundary()
	b.WriteString("Content-Type: multipart/alternative;\r\n boundary=" + boundary + "\r\n")
	header := b.Len()
	b.WriteString("\r\n")
	writePart(b, boundary, "text/plain", text)
	b.WriteString("\r\n")
	writePart(b, boundary, "text/html", html)
	b.WriteString("\r\n--" + boundary + "--\r\n")
	data := b.Bytes()
	if m.opts.DKIM != nil {
		signature, err := m.opts.DKIM.signer(now).Sign(data[:header], data[header+2:])
		if err != nil {
			return letter{}, fmt.Errorf("smtpmailer: the mail cannot be signed: %w", err)
		}
		data = append([]byte(signature), data...)
	}
	return letter{to: to, ascii: isASCII(to), data: stuff(data)}, nil
}

func newBoundary() string {
	var random [30]byte
	_, _ = rand.Read(random[:]) // which never fails
	return hex.EncodeToString(random[:])
}

// writeField writes a field of a header, folded at spaces to lines of less than 76 characters where words
// are not too long.
func writeField(b *bytes.Buffer, name, value string) {
	b.WriteString(name + ":")
	room := 72 - len(name)
	for word := range strings.SplitSeq(value, " ") {
		if room-len(word) <= 1 {
			b.WriteString("\r\n")
			room = 73
		}
		b.WriteString(" " + word)
		room -= len(word) + 1
	}
	b.WriteString("\r\n")
}

// writePart writes a part of a multipart message, in the encoding that is shorter. Both leave no line that
// is too long, no CR or LF alone and no byte above 127.
func writePart(b *bytes.Buffer, boundary, mediaType, text string) {
	encoding := "quoted-printable"
	if wantsBase64(text) {
		encoding = "base64"
	}
	b.WriteString("--" + boundary + "\r\nContent-Transfer-Encoding: " + encoding + "\r\nContent-Type: " + mediaType + "; charset=UTF-8\r\n\r\n")
	if encoding == "base64" {
		for line := range slices.Chunk([]byte(text), base64Line/4*3) {
			b.Write(base64.StdEncoding.AppendEncode(b.AvailableBuffer(), line))
			b.WriteString("\r\n")
		}
		return
	}
	w := quotedprintable.NewWriter(b)
	_, _ = io.WriteString(w, text) // a bytes.Buffer takes everything
	_ = w.Close()
}

// stuff doubles every dot at the start of a line (RFC 5321 section 4.5.2).
func stuff(data []byte) []byte {
	if !bytes.Contains(data, []byte("\n.")) {
		return data
	}
	return bytes.ReplaceAll(data, []byte("\n."), []byte("\n.."))
}

// messageID returns the left side of a Message-ID. It depends on the ID alone, so that a mail system
// can recognise a mail that it gets again.
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
		return rand.Text() // two mails without an ID are two mails
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// encodeWords returns s as encoded-words of RFC 2047 unless it is plain ASCII. package mime would
// leave "=?" alone, which readers decode.
func encodeWords(s string) string {
	if !strings.Contains(s, "=?") && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return s
	}
	const most = 36 // bytes: their word of 60 characters fits the first line of a Subject
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

func wantsBase64(s string) bool {
	outside := 0
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			outside++
		}
	}
	return outside > len(s)/6 // each becomes three characters, against four for every three bytes
}

// crlf returns s with the line endings of a mail.
func crlf(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	return strings.ReplaceAll(s, "\n", "\r\n")
}
