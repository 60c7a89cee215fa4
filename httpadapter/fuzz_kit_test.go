package httpadapter_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/httpadapter/portal"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

const liveToken = spy.TokenText

// The entries through which the Service is called, as the fuzz targets see them: each with a
// recorder of what the Service was asked for.
type entries struct {
	svc              *recovery.Service
	xandr, rackspace http.Handler
	json, pages      http.Handler
	calls            []call // what reached the Service, since take
}

// A call is what reached the Service; the zero call is none.
type call struct {
	kind, by, identifier, portal string // of a request
	token, password, username    string // of a completion
}

// newEntries has one token that may be used, by an application that denies every completion that
// gets as far as that.
func newEntries(tb testing.TB) *entries {
	e := &entries{}
	logger := slog.New(slog.DiscardHandler)
	svc, err := recovery.New(recordingStore{memstore.New(), e}, &mailertest.Recorder{}, &recovery.Options{
		Logger: logger, Limits: recovery.Limits{InsecureOff: true},
		Policy:  &recovery.Policy{MinLength: 8, MaxLength: 1024, Require: recovery.NoClasses, AllowCommon: true, AllowOwnWords: true},
		Portals: map[string]recovery.Portal{"web": {URL: "https://portal.example/recover/reset"}},
		Approve: func(_ context.Context, _ recovery.Account, r recovery.CompleteRequest) error {
			e.calls = append(e.calls, call{kind: "complete", token: strings.Trim(r.Token, " \t\r\n"), password: r.Password, username: r.Username})
			return recovery.ErrDenied
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	e.svc = svc
	var errs [4]error
	opts := &httpadapter.Options{Logger: logger}
	e.xandr, errs[0] = httpadapter.NewXandr(svc, opts)
	e.rackspace, errs[1] = httpadapter.NewRackspace(svc, opts)
	e.json, errs[2] = httpadapter.NewJSON(svc, opts)
	e.pages, errs[3] = portal.New(svc, &portal.Options{Portal: "web", Logger: logger})
	if err := errors.Join(errs[:]...); err != nil {
		tb.Fatal(err)
	}
	return e
}

type recordingStore struct {
	recovery.Store
	e *entries
}

func (s recordingStore) Enqueue(_ context.Context, r recovery.Job, _ recovery.Charges) error {
	s.e.calls = append(s.e.calls, call{kind: string(r.Kind), by: string(r.By), identifier: r.Identifier, portal: r.Portal})
	return nil
}

func (s recordingStore) FindReset(_ context.Context, d recovery.Digest, _ time.Time) (recovery.Reset, recovery.Account, error) {
	if token, err := recovery.ParseToken(liveToken); err != nil || d != token.Digest() {
		return recovery.Reset{}, recovery.Account{}, &recovery.TokenError{Reason: recovery.TokenUnknown}
	}
	return recovery.Reset{Digest: d}, recovery.Account{
		ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, nil
}

// TakeLimits counts no denials, which would wear the token out.
func (recordingStore) TakeLimits(context.Context, time.Time, recovery.Charges) error { return nil }

// take returns and forgets the call that reached the Service.
func (e *entries) take() (reached call) {
	switch len(e.calls) {
	case 0:
	case 1:
		reached = e.calls[0]
	default:
		reached = call{kind: "more than one"}
	}
	e.calls = nil
	return reached
}

// send sends a request and returns the status and what reached the Service.
func (e *entries) send(h http.Handler, method, path, body string, header ...string) (status int, reached call) {
	e.take()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	response := httptest.NewRecorder()
	h.ServeHTTP(response, r)
	return response.Code, e.take()
}

func (e *entries) sendXandr(method, body string) (int, call) {
	return e.send(e.xandr, method, "/account-recovery", body, "Content-Type", "application/x-www-form-urlencoded")
}

func (e *entries) sendRackspace(name, media, token, body string) (int, call) {
	return e.send(e.rackspace, "POST", "/v2.0/users/RAX-AUTH/"+name, body, "Content-Type", media, "X-Auth-Token", token)
}

func (e *entries) sendJSON(path, body string) (int, call) {
	return e.send(e.json, "POST", "/api/"+path, body, "Content-Type", "application/json")
}

func (e *entries) sendForm(page, body string) (int, call) {
	return e.send(e.pages, "POST", "/recover/"+page, body, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
}

// direct returns what the Service itself makes of a call.
func (e *entries) direct(f func() error) (reached call, err error) {
	e.take()
	err = f()
	return e.take(), err
}

// The texts of one value. A variant writes every character as a reference, the other as few as
// possible.

func jsonText(s string, references bool) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteByte(s[i]) // no JSON then
		case r > 0xffff && references:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04X`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		case references, r < ' ':
			fmt.Fprintf(&b, `\u%04x`, r)
		case r == '"', r == '\\':
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String() + `"`
}

func xmlText(s string, references bool) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b.WriteByte(s[i]) // no XML then
		case references || strings.ContainsRune("\"&<\t\r\n", r):
			fmt.Fprintf(&b, "&#x%x;", r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String() + `"`
}

func formText(s string, references bool) string {
	var b strings.Builder
	for i := range len(s) {
		switch {
		case s[i] == ' ' && !references:
			b.WriteByte('+')
		case references || strings.IndexByte("&=+%;#\r\n", s[i]) >= 0:
			fmt.Fprintf(&b, "%%%02X", s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

const raxAuth = ` xmlns="http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0" `

// inJSON and inXML report whether a format can carry a value. Both decoders refuse U+0000, which
// JSON could.
func inJSON(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func inXML(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\r' && r != '\n' || r == 0xfffe || r == 0xffff
	})
}
