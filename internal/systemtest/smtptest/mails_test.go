package smtptest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery/internal/spy"
	rendering "example.com/recovery/mailer"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// each sends a mail of each kind in each language and calls f with what arrived.
func each(t *testing.T, f func(t *testing.T, name string, got envelope, rendered rendering.Mail)) {
	s := newServer(t, nil)
	m, r := newMailer(t, s, nil)
	for _, locale := range locales {
		for _, kind := range kinds {
			name := locale + "." + string(kind)
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				msg := message(kind, locale)
				is.NoErr(m.Send(t.Context(), msg)) // sent
				mails := s.mails()
				rendered, err := r.Render(msg)
				is.NoErr(err) // as it was sent
				f(t, name, mails[len(mails)-1], rendered)
			})
		}
	}
}

var boundary = regexp.MustCompile(`[0-9a-f]{60}`) // which is random

// The golden files have the envelope and the headers of the mail and of its parts. The bodies are
// the Renderer's, which has golden files of its own.
func TestHeadersAreTheGoldenFiles(t *testing.T) {
	each(t, func(t *testing.T, name string, got envelope, _ rendering.Mail) {
		is := is.New(t)
		is.Equal(strings.Count(got.data, "\n"), strings.Count(got.data, "\r\n")) // CRLF everywhere
		text := boundary.ReplaceAllString(strings.ReplaceAll(got.data, "\r\n", "\n"), "BOUNDARY")
		shown := "MAIL FROM:<" + got.from + ">\nRCPT TO:<" + got.to + ">\n"
		for i, part := range strings.Split(text, "--BOUNDARY") {
			header, _, _ := strings.Cut(part, "\n\n")
			shown += header + "\n"
			if i > 0 && header != "--\n" {
				shown += "\n(body)\n--BOUNDARY"
			}
		}
		spy.Golden(t, *update, name+".txt", shown)
	})
}

// The result of Python's parser, as a second opinion on a mail.
const script = `
import sys, json, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
parts = [p for p in m.walk() if not p.is_multipart()]
json.dump({
    "defects": [str(d) for p in m.walk() for d in p.defects]
        + [str(d) for p in m.walk() for v in p.values() for d in v.defects],
    "headers": [k for k in m.keys()],
    "subject": m["Subject"], "to": m["To"], "from": m["From"], "replyTo": m["Reply-To"],
    "date": m["Date"].datetime.isoformat(), "id": m["Message-ID"],
    "types": [p.get_content_type() + " " + p.get_content_charset() for p in parts],
    "bodies": [p.get_payload(decode=True).decode("utf-8") for p in parts],
}, sys.stdout)
`

func TestPythonReadsWhatWasRendered(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("RECOVERY_REQUIRE_ALL") == "1" {
			t.Fatal("python3 is not installed, and RECOVERY_REQUIRE_ALL is 1")
		}
		t.Skip("python3 is not installed: its parser has not read the mails")
	}
	each(t, func(t *testing.T, _ string, got envelope, want rendering.Mail) {
		is := is.New(t)
		cmd := exec.CommandContext(t.Context(), python, "-I", "-c", script)
		cmd.Stdin = strings.NewReader(got.data)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("python3: %v\n%s", err, stderr.String())
		}
		var m struct {
			Defects, Headers, Types, Bodies      []string
			Subject, To, From, ReplyTo, Date, ID string
		}
		is.NoErr(json.Unmarshal(out, &m)) // what the script prints
		is.Equal(len(m.Defects), 0)       // flawless
		is.Equal(m.Headers, []string{
			"Auto-Submitted", "Content-Language", "Date", "From", "MIME-Version", "Message-ID", "Reply-To", "Subject",
			"X-Auto-Response-Suppress", "To", "Content-Type",
		}) // no other
		is.Equal(m.Subject, want.Subject)                                       // as rendered
		is.Equal(m.From, "Example アカウント <accounts@example.com>")                // the author
		is.Equal(m.To, "Billybob@xn--r8jz45g.jp")                               // the recipient
		is.Equal(m.ReplyTo, "Help <help@example.com>")                          // for answers
		is.Equal(m.Date, "2026-11-21T02:30:05+00:00")                           // the time, without our zone
		is.Equal(m.ID, "<0198a7c2-6f6e-7d43-8a51-3c1f5c5b0b11@id.example.com>") // of the message, at every try
		is.Equal(m.Types, []string{"text/plain utf-8", "text/html utf-8"})      // in this order
		crlf := strings.NewReplacer("\n", "\r\n")
		is.Equal(m.Bodies, []string{crlf.Replace(want.Text), crlf.Replace(want.HTML)}) // byte for byte
	})
}
