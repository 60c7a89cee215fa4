package sidechannel

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/httpadapter/portal"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/formats"
)

// A subject is the account that a request names, and for a completion the token, or the ticket and
// code.
type subject struct {
	username, email, token string
	ticket, code           string
}

// tenant is whose accounts are meant.
const tenant = "acme"

// An action is one thing that a caller can do through one entry.
type action struct {
	name    string
	handler string // or
	direct  func(svc *recovery.Service, s subject, who netip.Addr) error
	write   func(s subject) formats.Request // for a handler
	named   bool                            // a completion with a user name
	byCode  bool                            // a completion with a code
}

// The handlers. One is for both formats of Rackspace.
const (
	xandr       = "xandr"
	rackspace   = "rackspace"
	own         = "json"
	portalPages = "portal"
)

// requests are all ways to ask for a mail.
var requests = []action{
	{name: "direct, reset with a code", direct: func(svc *recovery.Service, s subject, who netip.Addr) error {
		return spy.Err(svc.RequestReset(context.Background(), recovery.ResetRequest{Username: s.username, Tenant: tenant, Code: true, Client: who}))
	}},
	{name: "direct, reset by address", direct: func(svc *recovery.Service, s subject, who netip.Addr) error {
		return spy.Err(svc.RequestReset(context.Background(), recovery.ResetRequest{Email: s.email, Tenant: tenant, Client: who, Portal: "web", Locale: "ja"}))
	}},
	{name: "direct, user names", direct: func(svc *recovery.Service, s subject, who netip.Addr) error {
		return spy.Err(svc.RetrieveUsername(context.Background(), recovery.UsernameRequest{Email: s.email, Tenant: tenant, Client: who}))
	}},
	{name: "Xandr, reset", handler: xandr, write: func(s subject) formats.Request {
		return formats.New(formats.Xandr, "reset", "username", s.username)
	}},
	{name: "Xandr, user names", handler: xandr, write: func(s subject) formats.Request {
		return formats.New(formats.Xandr, "names", "email", s.email)
	}},
	{name: "Rackspace, JSON", handler: rackspace, write: func(s subject) formats.Request {
		return formats.New(formats.RackspaceJSON, "reset", "username", s.username)
	}},
	{name: "Rackspace, XML with a portal", handler: rackspace, write: func(s subject) formats.Request {
		return formats.New(formats.RackspaceXML, "reset", "username", s.username, "portal", "web").With("Accept-Language: ja")
	}},
	{name: "JSON, reset with a code", handler: own, write: func(s subject) formats.Request {
		r := formats.New(formats.Own, "reset", "username", s.username)
		r.Body = strings.TrimSuffix(r.Body, "}") + `,"code":true}`
		return r
	}},
	{name: "JSON, by address", handler: own, write: func(s subject) formats.Request {
		return formats.New(formats.Own, "reset", "email", s.email)
	}},
	{name: "JSON, user names", handler: own, write: func(s subject) formats.Request {
		return formats.New(formats.Own, "names", "email", s.email)
	}},
	{name: "portal, by user name", handler: portalPages, write: func(s subject) formats.Request {
		return formats.New(formats.Portal, "reset", "by", "username", "username", s.username, "email", "")
	}},
	{name: "portal, by address", handler: portalPages, write: func(s subject) formats.Request {
		return formats.New(formats.Portal, "reset", "by", "email", "username", "", "email", s.email)
	}},
	{name: "portal, user names", handler: portalPages, write: func(s subject) formats.Request {
		return formats.New(formats.Portal, "names", "email", s.email)
	}},
}

// completions are all ways to use a token.
var completions = []action{
	{name: "direct", direct: func(svc *recovery.Service, s subject, who netip.Addr) error {
		_, err := svc.CompleteReset(context.Background(), recovery.CompleteRequest{Token: s.token, Password: goodPassword, Client: who})
		return err
	}},
	{name: "direct with a user name", named: true, direct: func(svc *recovery.Service, s subject, who netip.Addr) error {
		_, err := svc.CompleteReset(context.Background(), recovery.CompleteRequest{
			Token: s.token, Password: goodPassword, Username: s.username, Client: who,
		})
		return err
	}},
	{name: "direct by code", byCode: true, direct: func(svc *recovery.Service, s subject, who netip.Addr) error {
		_, err := svc.CompleteReset(context.Background(), recovery.CompleteRequest{
			Ticket: s.ticket, Code: s.code, Password: goodPassword, Client: who,
		})
		return err
	}},
	{name: "Xandr", handler: xandr, write: func(s subject) formats.Request {
		return formats.New(formats.Xandr, "complete", "password", goodPassword, "token", s.token)
	}},
	{name: "Xandr with a user name", named: true, handler: xandr, write: func(s subject) formats.Request {
		return formats.New(formats.Xandr, "complete", "username", s.username, "password", goodPassword, "token", s.token)
	}},
	{name: "Rackspace, JSON", handler: rackspace, write: func(s subject) formats.Request {
		return formats.New(formats.RackspaceJSON, "complete", "password", goodPassword).With("X-Auth-Token: " + s.token)
	}},
	{name: "Rackspace, XML", handler: rackspace, write: func(s subject) formats.Request {
		return formats.New(formats.RackspaceXML, "complete", "password", goodPassword).With("X-Auth-Token: " + s.token)
	}},
	{name: "JSON", handler: own, write: func(s subject) formats.Request {
		return formats.New(formats.Own, "complete", "password", goodPassword, "token", s.token)
	}},
	{name: "JSON by code", byCode: true, handler: own, write: func(s subject) formats.Request {
		return formats.New(formats.Own, "complete", "password", goodPassword, "ticket", s.ticket, "code", s.code)
	}},
	{name: "portal", handler: portalPages, write: func(s subject) formats.Request {
		return formats.New(formats.Portal, "complete", "token", s.token, "password", goodPassword, "repeat", goodPassword)
	}},
}

// handler returns the entry of that name. who may be nil for the connection's address.
func handler(name string, svc *recovery.Service, who func(*http.Request) netip.Addr) (http.Handler, error) {
	of := func(*http.Request) string { return tenant }
	opts := &httpadapter.Options{ClientAddr: who, Logger: quiet, Tenant: of}
	switch name {
	case xandr:
		return httpadapter.NewXandr(svc, opts)
	case rackspace:
		return httpadapter.NewRackspace(svc, opts)
	case own:
		return httpadapter.NewJSON(svc, opts)
	}
	return portal.New(svc, &portal.Options{Portal: "web", ClientAddr: who, Logger: quiet, Tenant: of})
}

// handler returns the entry of that name, of the world's client and clock.
func (w *world) handler(name string) http.Handler {
	w.is.Helper()
	h, ok := w.handlers[name]
	if !ok {
		var err error
		h, err = handler(name, w.svc, func(*http.Request) netip.Addr { return w.who })
		w.is.NoErr(err)
		w.handlers[name] = h
	}
	return h
}

// A browser keeps a connection to each entry of a world.
type browser struct {
	w     *world
	conns map[string]net.Conn
}

func (w *world) browser() *browser { return &browser{w, map[string]net.Conn{}} }

// do does the action and returns the whole answer, byte for byte, except times and the identifier,
// which one format repeats. It keeps how long to wait, in seconds.
func (b *browser) do(a action, s subject) string {
	b.w.is.Helper()
	if a.handler == "" {
		err := a.direct(b.w.svc, s, b.w.who)
		return fmt.Sprintf("%T %v", err, err)
	}
	conn, ok := b.conns[a.handler]
	if !ok {
		server := httptest.NewServer(b.w.handler(a.handler))
		b.w.t.Cleanup(server.Close)
		var err error
		conn, err = net.Dial("tcp", server.Listener.Addr().String())
		b.w.is.NoErr(err)
		b.w.t.Cleanup(func() { _ = conn.Close() })
		b.conns[a.handler] = conn
	}
	m := a.write(s)
	_, err := conn.Write(m.Bytes())
	b.w.is.NoErr(err)
	var raw bytes.Buffer
	r, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &raw)), &http.Request{Method: m.Method})
	b.w.is.NoErr(err) // the connection is kept
	_, err = io.Copy(io.Discard, r.Body)
	b.w.is.NoErr(err)
	text := instants.ReplaceAllString(date.ReplaceAllString(raw.String(), "Date: masked\r\n"), "later")
	text = madeUp.ReplaceAllString(text, `"$1":"masked"`)
	for _, mask := range []string{s.username, s.email} {
		if mask != "" {
			text = strings.ReplaceAll(text, mask, strings.Repeat("x", len(mask)))
		}
	}
	return text
}

// madeUp is what JSON makes up for every request, in the length that it always has.
var madeUp = regexp.MustCompile(`"(id|ticket)":"([0-9a-f-]{36}|[a-z2-7]{52})"`)

var date = regexp.MustCompile(`Date: [^\r]+\r\n`)
