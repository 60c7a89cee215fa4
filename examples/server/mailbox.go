package main

import (
	"context"
	"encoding/json"
	"html/template"
	"net/http"
	"sync"

	"example.com/recovery"
	"example.com/recovery/mailer"
)

var _ recovery.Mailer = (*mailbox)(nil)

// maxMails is how many mails are kept: a load test sends many.
const maxMails = 1000

// A mailbox shows the mails to whoever asks. That is for trying out; a real Mailer gives them to a
// mail system and keeps nothing.
type mailbox struct {
	renderer *mailer.Renderer

	mu    sync.Mutex
	mails []mail // newest last
}

type mail struct {
	To      string               `json:"to"`
	Kind    recovery.MessageKind `json:"kind"`
	Subject string               `json:"subject"`
	Text    string               `json:"text"`
	Token   string               `json:"token,omitempty"` // of the only account
	Code    string               `json:"code,omitempty"`
	Link    string               `json:"link,omitempty"`
	Resets  []reset              `json:"resets,omitempty"` // if there are several accounts
}

type reset struct {
	Username string `json:"username"`
	Token    string `json:"token,omitempty"`
	Code     string `json:"code,omitempty"`
	Link     string `json:"link,omitempty"`
}

// Send implements [recovery.Mailer].
func (b *mailbox) Send(_ context.Context, m recovery.Message) error {
	rendered, err := b.renderer.Render(m)
	if err != nil {
		return err
	}
	shown := mail{To: rendered.To, Kind: m.Kind, Subject: rendered.Subject, Text: rendered.Text}
	for _, r := range m.Resets {
		one := reset{Username: r.Username, Code: r.Code, Link: r.Link}
		if r.Link == "" {
			one.Token = r.Token.Reveal()
		}
		shown.Resets = append(shown.Resets, one)
	}
	if len(shown.Resets) == 1 {
		one := shown.Resets[0]
		shown.Token, shown.Code, shown.Link, shown.Resets = one.Token, one.Code, one.Link, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mails = append(b.mails, shown)
	if len(b.mails) > maxMails {
		b.mails = b.mails[1:]
	}
	return nil
}

func (b *mailbox) list() []mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]mail{}, b.mails...)
}

func (b *mailbox) serveJSON(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(b.list()) // the client may be gone
}

var mailboxPage = template.Must(template.New("mailbox").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Mailbox</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; background: Canvas; color: CanvasText; max-width: 48rem; margin: 2rem auto; padding: 0 1rem }
article { border: 1px solid; border-radius: .5rem; padding: 0 1rem; margin: 1rem 0 }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
</style>
<main>
<h1>Mailbox</h1>
{{range .}}<article>
<h2>{{.Subject}}</h2>
<p>To {{.To}} ({{.Kind}})</p>
<pre>{{.Text}}</pre>
{{with .Link}}<p><a href="{{.}}">Follow the link</a></p>{{end}}
{{range .Resets}}{{if .Link}}<p><a href="{{.Link}}">Follow the link of {{.Username}}</a></p>{{end}}{{end}}
</article>
{{else}}<p>No mail yet. Mails come within a second of the request for them.</p>
{{end}}<p><a href="/">Start</a> · <a href="/login">Log in</a></p>
</main>`))

func (b *mailbox) servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = mailboxPage.Execute(w, b.list()) // the client may be gone
}
