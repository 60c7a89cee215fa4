// Package mailer renders the mails of account recovery: a [recovery.Message] becomes a subject, a
// text part and an HTML part, in the language of the reader.
//
// [New] makes a [Renderer], [Renderer.Render] renders. An application calls Render in its
// [recovery.Mailer] and hands the result to its mail system:
//
//	func (q Queue) Send(ctx context.Context, m recovery.Message) error {
//		mail, err := q.renderer.Render(m)
//		if err != nil {
//			return err // wraps recovery.ErrPermanent
//		}
//		return q.put(ctx, mail.To, mail.Subject, mail.Text, mail.HTML)
//	}
//
// [Console] prints mails during development. Package mailer/mailertest records messages in tests.
//
// # Languages
//
// English (en) and Japanese (ja) are built in. Message.Locale alone chooses the language: the
// first of its languages that is available, or one near to it. If there is none, the mail is in
// English. docs/languages.md explains how to add a language.
//
// # Templates
//
// [Options.Templates] replaces single files, or adds languages. For each one that is missing, the
// built-in file is used. The layout:
//
//	layout.html                  the frame of every HTML part
//	pieces.html                  the building blocks of HTML parts: the button, the token's box
//	en/words.txt                 what the parts of a language share: dates, labels, the closing lines
//	en/reset_token.subject.txt   and so on for reset_link, password_changed, usernames and sign_in
//	en/reset_token.txt           the text part
//	en/reset_token.html          the HTML part, without its frame
//
// A directory is named by its BCP 47 tag ("pt-BR"). A new language must have all files that en has.
// Files whose names begin with a dot are ignored; any other file is an error.
//
// Files that end in .html are parsed by html/template, the others by text/template. The dot is a
// [Data]. Every part can use the templates that words.txt defines, and every HTML part also those
// of pieces.html. layout.html executes the part as the template "content".
//
// In a text part, a line that begins with a space is never broken: put tokens, links and names
// there. Other lines are wrapped at spaces when they are wider than 76 columns.
//
// An address may have several accounts. One mail then covers all of them, and reset_token and
// reset_link must show a token or link for each. If the reader asked for codes, they must show each
// account's code too, and should say that it works only on the page or in the app where the reader
// asked. Data.Token, Data.Link and Data.Code are set only if the mail is about a single account, so
// a template can test for them:
//
//	{{if .Token}}
//	Your token:
//
//	    {{.Token}}
//	{{with .Code}}
//	Or, on the page where you asked, until {{template "date" $.CodesExpireAt}}:
//
//	    {{.}}
//	{{end}}
//	{{else}}
//	Your tokens:
//	{{range .Resets}}
//	    {{.Username}}
//	    {{.Token}} {{.Code}}
//	{{end}}
//	{{with .MoreResets}}and {{.}} more accounts.{{end}}
//	{{end}}
//
// An account without a password gets no token; the mail says how to log in to it. A sign_in message
// is about such accounts only. Messages reset_token, reset_link and usernames may list them beside
// others. So every kind but password_changed must show them:
//
//	{{range .SignIns}}
//	    {{.Username}}
//	    Log in with {{or .Provider "another service"}}
//	{{end}}
//	{{with .MoreSignIns}}and {{.}} more accounts.{{end}}
//
// Data.Valid and Data.CodesValid are the time that is left when the mail is sent. If the mail had
// to wait, that is less than the full lifetime.
//
// New executes every template on messages of many shapes: with and without names and dates, for one
// account and for several, with codes, with sign-ins, with hostile names. It returns an error if a
// text or HTML part does not show a token, link, code, user name or sign-in that it must show.
//
// The program examples/mailpreview writes every mail to files, and a page that shows them side by
// side. It can use your own templates.
//
// # What a mail shows of its input
//
// A mail shows user names whole and exactly, because the reader has to copy them. This holds for
// every name that recovery.CanonicalUsername accepts: up to 254 bytes, with quotation marks,
// joiners, variation selectors and combining marks. White space at the ends is removed. The
// built-in text parts show a name on a line of its own, without quotation marks, because a
// quotation mark in the name would end them.
//
// Strangers choose names, and readers trust what a mail shows. So a name that CanonicalUsername
// refuses is made harmless: control, format, bidirectional and other invisible characters, line
// separators and invalid UTF-8 become U+FFFD, and an ellipsis replaces what is beyond 254
// characters. Nobody can type such a name anyway. A name with right-to-left letters is isolated so
// that it does not reorder the text around it: by the element bdi in an HTML part, by U+2068 and
// U+2069 in a text part. Other names in a text part have nothing around them.
//
// No name can become a link. Mail programs turn text that looks like a host name, an address or a
// URL into a link.
//
//   - In an HTML part, the text stays the name. An empty element wbr stands before each ".", ":"
//     and "@", so that no text between elements is a host or a URL. Copying yields the name. Some
//     programs look across elements; layout.html asks them to make no links (format-detection).
//   - In a text part, only changing the characters prevents a link. So where a part of the name
//     looks like a host or a URL, and only there, "." is shown as "[.]" and ":" as "[:]", and the
//     mail explains the brackets. A name like "john.smith" stays as it is, because no mail program
//     takes it for a host. So does a name that is a plain address ("a@example.com"), because many
//     accounts are named by their address. At worst it becomes a link that starts a mail.
//
// This holds for your own templates too. In an HTML part a user name is markup, so it must not go
// through functions such as printf. In an attribute it is the name alone.
//
// The operator chooses the names of the application and of the services where accounts log in. They
// are one line of at most 64 visible characters. Only "://" is broken up in them.
//
// The subject consists of fixed words and the name of the application; its template gets no token,
// link, code or user name, nor how many accounts there are. Mails load nothing from the network and
// contain no image.
//
// # Secrets
//
// A rendered mail holds the tokens and codes. [Mail] and [Data] print, log and marshal as
// "[redacted]"; no error of this package contains an address, a name, a token, a code or a link.
package mailer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/language"

	"example.com/recovery"
)

// Options change how mails are worded. A nil *Options is valid, and so is every zero field.
type Options struct {
	// Application is the name of the product for messages that carry none. The default is no name:
	// the texts then say "your account".
	Application string

	// SupportURL is where the reader finds help, an https or mailto URL. It is shown below every
	// mail. The default is none.
	SupportURL string

	// Templates replaces or adds templates, as the package documentation describes. The default is
	// the built-in ones, in the folder templates beside the source. Their colours are the button's,
	// in pieces.html, and the grey of lines, in pieces.html and in each language's .html files.
	Templates fs.FS

	// Location is the time zone in which dates are shown. The default is UTC.
	Location *time.Location

	// FullClientAddress shows the whole address of the client that asked. By default an IPv4
	// address is shown as its /24 ("192.0.2.x") and an IPv6 address as its /48: enough to recognise
	// your own network, too little to find somebody else.
	FullClientAddress bool
}

// A Renderer renders messages. It is safe for concurrent use.
type Renderer struct {
	opts    Options
	support support
	locales []locale // English first
	matcher language.Matcher
}

// A Mail is a rendered message. It prints, logs and marshals as "[redacted]", because Text and HTML
// contain the tokens.
type Mail struct {
	redacted

	ID      string // of the message: stable across retries
	To      string // the only recipient
	Locale  string // BCP 47 tag of the language that was chosen: "en"
	Subject string // one line without control characters, not yet encoded for a header
	Text    string // lines end in LF; one with a token or a link may have any width
	HTML    string // a whole document; lines end in LF
}

// New compiles the built-in templates and those of opts, and tries each one. The error joins
// everything that is wrong with opts.
func New(opts *Options) (*Renderer, error) {
	r := &Renderer{}
	if opts != nil {
		r.opts = *opts
	}
	if r.opts.Location == nil {
		r.opts.Location = time.UTC
	}
	var faults []error
	var err error
	if r.support, err = parseSupport(r.opts.SupportURL); err != nil {
		faults = append(faults, err)
	}
	files, err := readFiles(r.opts.Templates)
	if err != nil {
		faults = append(faults, err)
	}
	if r.locales, err = compile(files); err != nil {
		faults = append(faults, err)
	}
	var tags []language.Tag
	for _, l := range r.locales {
		tags = append(tags, l.tag)
		if err := r.try(l); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	r.matcher = language.NewMatcher(tags)
	return r, nil
}

// Locales returns the BCP 47 tags of the languages that r has, English first.
func (r *Renderer) Locales() []string {
	tags := make([]string, len(r.locales))
	for i, l := range r.locales {
		tags[i] = l.name
	}
	return tags
}

// Render renders m. An error wraps [recovery.ErrPermanent], since rendering the same message again
// gives the same result, and names the field of m that breaks a rule, or the template that fails.
func (r *Renderer) Render(m recovery.Message) (Mail, error) {
	if err := check(m); err != nil {
		return Mail{}, err
	}
	l := r.choose(m.Locale)
	mail, faults := r.render(l, m)
	if len(faults) > 0 {
		// A template's error may quote its input, so it is not wrapped.
		return Mail{}, fmt.Errorf("mailer: %s failed: %w", l.file(m.Kind, faults[0].part), recovery.ErrPermanent)
	}
	return mail, nil
}

// maxTag bounds the tags that are parsed; RFC 5646 section 4.4.1 recommends 35.
const maxTag = 64

// choose returns the first language of the list that is available, or one near to it.
func (r *Renderer) choose(list string) locale {
	var tags []language.Tag
	for s := range strings.SplitSeq(list, ",") {
		if len(s) > maxTag {
			continue
		}
		if t, err := language.Parse(s); err == nil {
			tags = append(tags, t)
		}
	}
	_, i, _ := r.matcher.Match(tags...)
	return r.locales[i]
}

// A fault is what went wrong with one part of a mail.
type fault struct {
	part part
	err  error
}

// render executes all three parts, even if one of them fails.
func (r *Renderer) render(l locale, m recovery.Message) (mail Mail, faults []fault) {
	templates := l.parts[m.Kind]

	b := buffers.Get().(*bytes.Buffer)
	defer giveBack(b)
	if err := templates.subject.Execute(b, r.data(l, m, subjectPart)); err != nil {
		faults = append(faults, fault{subjectPart, err})
	}
	subject := oneLine(b.String(), maxSubject)
	b.Reset()
	data := r.data(l, m, textPart)
	data.Subject = subject
	if err := templates.text.Execute(b, data); err != nil {
		faults = append(faults, fault{textPart, err})
	}
	text := layOut(b.String())
	b.Reset()
	data = r.data(l, m, htmlPart)
	data.Subject = subject
	if err := templates.html.Execute(b, data); err != nil {
		faults = append(faults, fault{htmlPart, err})
	}
	html := string(bytes.TrimSpace(b.Bytes())) + "\n"
	return Mail{ID: m.ID, To: m.To, Locale: l.name, Subject: subject, Text: text, HTML: html}, faults
}

// buffers receive the output of templates.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// giveBack erases the mail in b and returns b to the pool.
func giveBack(b *bytes.Buffer) {
	b.Reset()
	clear(b.AvailableBuffer()[:b.Available()])
	buffers.Put(b)
}
