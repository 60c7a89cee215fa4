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
	"net/url"
	"regexp"
	"strings"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/httpadapter/portal"
	"example.com/recovery/internal/spy"
)

// A subject is who a request names, and for a completion with which token, or ticket and code.
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
	write   func(s subject) message // for a handler
	named   bool                    // a completion with a user name
	byCode  bool                    // a completion with a code
}

// A message is a request over HTTP.
type message struct {
	method, path, body string
	header             []string // names and values in turn
}

// bytes is the request as it is sent.
func (m message) bytes(more ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: acme.example\r\nContent-Length: %d\r\n", m.method, m.path, len(m.body))
	for _, header := range [][]string{m.header, more} {
		for i := 0; i < len(header); i += 2 {
			fmt.Fprintf(&b, "%s: %s\r\n", header[i], header[i+1])
		}
	}
	b.WriteString("\r\n" + m.body)
	return b.Bytes()
}

const (
	xandrPath   = "/account-recovery"
	forgotPath  = "/v2.0/users/RAX-AUTH/forgot-pwd"
	resetPath   = "/v2.0/users/RAX-AUTH/pwd-reset"
	raxSpace    = "http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0"
	formType    = "application/x-www-form-urlencoded"
	jsonType    = "application/json"
	xmlType     = "application/xml"
	xandr       = "xandr"
	rackspace   = "rackspace"
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
	{name: "Xandr, reset", handler: xandr, write: func(s subject) message {
		return message{"POST", xandrPath, fmt.Sprintf(`{"account-recovery":{"username":%q}}`, s.username), nil}
	}},
	{name: "Xandr, user names", handler: xandr, write: func(s subject) message {
		return message{"POST", xandrPath, fmt.Sprintf(`{"account-recovery":{"email":%q}}`, s.email), nil}
	}},
	{name: "Rackspace, JSON", handler: rackspace, write: func(s subject) message {
		return message{"POST", forgotPath, fmt.Sprintf(`{"RAX-AUTH:forgotPasswordCredentials":{"username":%q}}`, s.username),
			[]string{"Content-Type", jsonType}}
	}},
	{name: "Rackspace, XML with a portal", handler: rackspace, write: func(s subject) message {
		return message{"POST", forgotPath, fmt.Sprintf(`<forgotPasswordCredentials xmlns=%q username=%q portal="web"/>`, raxSpace, s.username),
			[]string{"Content-Type", xmlType, "Accept", xmlType, "Accept-Language", "ja"}}
	}},
	{name: "portal, by user name", handler: portalPages, write: func(s subject) message {
		return form("password", url.Values{"by": {"username"}, "username": {s.username}, "email": {""}})
	}},
	{name: "portal, by address", handler: portalPages, write: func(s subject) message {
		return form("password", url.Values{"by": {"email"}, "username": {""}, "email": {s.email}})
	}},
	{name: "portal, user names", handler: portalPages, write: func(s subject) message {
		return form("username", url.Values{"email": {s.email}})
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
	{name: "Xandr", handler: xandr, write: func(s subject) message {
		return message{"PUT", xandrPath, fmt.Sprintf(`{"account-recovery":{"password":%q,"token":%q}}`, goodPassword, s.token), nil}
	}},
	{name: "Xandr with a user name", named: true, handler: xandr, write: func(s subject) message {
		return message{"PUT", xandrPath, fmt.Sprintf(`{"account-recovery":{"username":%q,"password":%q,"token":%q}}`,
			s.username, goodPassword, s.token), nil}
	}},
	{name: "Rackspace, JSON", handler: rackspace, write: func(s subject) message {
		return message{"POST", resetPath, fmt.Sprintf(`{"RAX-AUTH:passwordReset":{"password":%q}}`, goodPassword),
			[]string{"Content-Type", jsonType, "X-Auth-Token", s.token}}
	}},
	{name: "Rackspace, XML", handler: rackspace, write: func(s subject) message {
		return message{"POST", resetPath + ".xml", fmt.Sprintf(`<passwordReset xmlns=%q password=%q/>`, raxSpace, goodPassword),
			[]string{"Content-Type", xmlType, "X-Auth-Token", s.token}}
	}},
	{name: "portal", handler: portalPages, write: func(s subject) message {
		return form("reset", url.Values{"token": {s.token}, "password": {goodPassword}, "repeat": {goodPassword}})
	}},
}

func form(page string, values url.Values) message {
	return message{"POST", "/" + page, values.Encode(), []string{"Content-Type", formType, "Sec-Fetch-Site", "same-origin"}}
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

// do does the action and returns all that comes back, byte for byte but the times and the
// identifier, which one of the formats repeats. How long to wait is left, in seconds.
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
	_, err := conn.Write(m.bytes())
	b.w.is.NoErr(err)
	var raw bytes.Buffer
	r, err := http.ReadResponse(bufio.NewReader(io.TeeReader(conn, &raw)), &http.Request{Method: m.method})
	b.w.is.NoErr(err) // the connection is kept
	_, err = io.Copy(io.Discard, r.Body)
	b.w.is.NoErr(err)
	text := instants.ReplaceAllString(date.ReplaceAllString(raw.String(), "Date: masked\r\n"), "later")
	for _, mask := range []string{s.username, s.email} {
		if mask != "" {
			text = strings.ReplaceAll(text, mask, strings.Repeat("x", len(mask)))
		}
	}
	return text
}

var date = regexp.MustCompile(`Date: [^\r]+\r\n`)
