package httpadapter

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/stage"
	"example.com/recovery/internal/spy"
)

const (
	forgotPath = "/v2.0/users/RAX-AUTH/forgot-pwd"
	resetPath  = "/v2.0/users/RAX-AUTH/pwd-reset"
	isJSON     = "Content-Type: application/json"
	isXML      = "Content-Type: application/xml"
	wantXML    = "Accept: application/xml"
	hasToken   = "X-Auth-Token: TOKEN"

	forgotJSON = `{"RAX-AUTH:forgotPasswordCredentials": {"username": "billybob"}}`
	resetJSON  = `{"RAX-AUTH:passwordReset": {"password": "superSecurePassw0rd!"}}`
	resetXML   = `<passwordReset xmlns="http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0" password="superSecurePassw0rd!"/>`

	// The document's own request, declarations that nothing uses included.
	forgotXML = `<?xml version="1.0" encoding="UTF-8"?>
<forgotPasswordCredentials username="billybob"
     xmlns="http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0"
     xmlns:OS-KSADM="http://docs.openstack.org/identity/api/ext/OS-KSADM/v1.0"
     xmlns:OS-KSCATALOG="http://docs.openstack.org/identity/api/ext/OS-KSCATALOG/v1.0"
     xmlns:atom="http://www.w3.org/2005/Atom"
     xmlns:identity="http://docs.openstack.org/identity/api/v2.0"/>`
)

var withPortal = recovery.Options{Portals: map[string]recovery.Portal{"cloud_control": {URL: "https://portal.example/reset"}}}

// twoPortals lets nobody into WEB.
var twoPortals = recovery.Options{Portals: map[string]recovery.Portal{
	"WEB": {URL: "https://portal.example/WEB", Allow: func(context.Context, recovery.Account) (bool, error) { return false, nil }},
	"web": {URL: "https://portal.example/web", Allow: func(context.Context, recovery.Account) (bool, error) { return true, nil }},
}}

var rackspaceVectors = []vector{
	{name: "forgot password in JSON, as documented", method: "POST", path: forgotPath, header: []string{isJSON}, body: forgotJSON, mails: "reset_token billybob@example.com"},
	{name: "forgot password in XML, as documented", method: "POST", path: forgotPath, header: []string{isXML}, body: forgotXML, mails: "reset_token billybob@example.com"},
	{name: "forgot password, unknown user name", method: "POST", path: forgotPath, header: []string{isJSON}, body: strings.Replace(forgotJSON, "billybob", "nobody", 1)},
	{name: "forgot password, disabled account", method: "POST", path: forgotPath, header: []string{isJSON}, body: strings.Replace(forgotJSON, "billybob", "mallory", 1)},
	{name: "the header repeats what was sent", method: "POST", path: forgotPath, header: []string{isJSON}, body: strings.Replace(forgotJSON, "billybob", "  BILLYbob ", 1), mails: "reset_token billybob@example.com"},
	{name: "portal in JSON", core: withPortal, method: "POST", path: forgotPath, header: []string{isJSON},
		body: `{"RAX-AUTH:forgotPasswordCredentials": {"username": "billybob", "portal": "cloud_control"}}`, mails: "reset_link billybob@example.com"},
	{name: "portal in XML", core: withPortal, method: "POST", path: forgotPath, header: []string{isXML},
		body: `<forgotPasswordCredentials xmlns="http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0" username="billybob" portal="cloud_control"/>`, mails: "reset_link billybob@example.com"},
	{name: "unknown portal", core: withPortal, method: "POST", path: forgotPath, header: []string{isJSON},
		body: `{"RAX-AUTH:forgotPasswordCredentials": {"username": "billybob", "portal": "other"}}`},
	{name: "empty portal", core: withPortal, method: "POST", path: forgotPath, header: []string{isJSON},
		body: `{"RAX-AUTH:forgotPasswordCredentials": {"username": "billybob", "portal": ""}}`, mails: "reset_token billybob@example.com"},
	{name: "empty portal, and the default one is another tenant's", core: recovery.Options{Portals: map[string]recovery.Portal{"": {URL: "https://portal.example/reset", Tenants: []string{"acme"}}}},
		method: "POST", path: forgotPath, header: []string{isJSON}, body: `{"RAX-AUTH:forgotPasswordCredentials": {"username": "billybob", "portal": ""}}`},
	{name: "portal that differs from another in case", core: twoPortals, method: "POST", path: forgotPath, header: []string{isJSON},
		body: `{"RAX-AUTH:forgotPasswordCredentials": {"username": "billybob", "portal": "web"}}`, mails: "reset_link billybob@example.com"},
	{name: "empty body of another type", method: "POST", path: forgotPath, header: []string{"Content-Type: text/plain"}},
	{name: "portal in another case", core: withPortal, method: "POST", path: forgotPath, header: []string{isJSON},
		body: `{"RAX-AUTH:forgotPasswordCredentials": {"username": "billybob", "portal": "Cloud_Control"}}`, mails: "reset_link billybob@example.com"},
	{name: "slash behind the path", method: "POST", path: forgotPath + "/", header: []string{isJSON}, body: forgotJSON, mails: "reset_token billybob@example.com"},
	{name: "slash behind the suffix", method: "POST", path: forgotPath + ".xml/", header: []string{isJSON}, body: forgotJSON, mails: "reset_token billybob@example.com"},
	{name: "below a prefix", method: "POST", path: "/identity" + forgotPath, header: []string{isJSON}, body: forgotJSON, mails: "reset_token billybob@example.com"},
	{name: "byte order mark in XML", method: "POST", path: forgotPath, header: []string{isXML}, body: "\ufeff" + forgotXML, mails: "reset_token billybob@example.com"},
	{name: "byte order mark in JSON", method: "POST", path: forgotPath, header: []string{isJSON}, body: "\ufeff" + forgotJSON},
	{name: "no user name", method: "POST", path: forgotPath, header: []string{isJSON}, body: `{"RAX-AUTH:forgotPasswordCredentials": {}}`},
	{name: "empty user name", method: "POST", path: forgotPath, header: []string{isJSON}, body: `{"RAX-AUTH:forgotPasswordCredentials": {"username": ""}}`},
	{name: "header injection in the user name", method: "POST", path: forgotPath, header: []string{isJSON}, body: `{"RAX-AUTH:forgotPasswordCredentials": {"username": "billybob\r\nSet-Cookie: x=y"}}`},
	{name: "new password in JSON, as documented", method: "POST", path: resetPath, header: []string{isJSON, hasToken}, body: resetJSON, mails: "password_changed billybob@example.com"},
	{name: "new password in XML, as documented", method: "POST", path: resetPath, header: []string{isXML, wantXML, hasToken}, body: resetXML, mails: "password_changed billybob@example.com"},
	{name: "no token", method: "POST", path: resetPath, header: []string{isJSON}, body: resetJSON},
	{name: "two tokens", method: "POST", path: resetPath, header: []string{isJSON, hasToken, hasToken}, body: resetJSON},
	{name: "empty token", method: "POST", path: resetPath, header: []string{isJSON, "X-Auth-Token:"}, body: resetJSON},
	{name: "unknown token, XML", method: "POST", path: resetPath, header: []string{isXML, wantXML, "X-Auth-Token: " + stage.NoToken}, body: resetXML},
	{name: "no password", method: "POST", path: resetPath, header: []string{isJSON, hasToken}, body: `{"RAX-AUTH:passwordReset": {}}`},
	{name: "rejected password", method: "POST", path: resetPath, header: []string{isJSON, hasToken}, body: `{"RAX-AUTH:passwordReset": {"password": "secret"}}`},
	{name: "rejected password and unknown token", method: "POST", path: resetPath, header: []string{isJSON, "X-Auth-Token: " + stage.NoToken}, body: `{"RAX-AUTH:passwordReset": {"password": "secret"}}`},
	{name: "rejected password and no token", method: "POST", path: resetPath, header: []string{isJSON}, body: `{"RAX-AUTH:passwordReset": {"password": "secret"}}`},
	{name: "rejected password, XML", method: "POST", path: resetPath, header: []string{isXML, wantXML, hasToken}, body: strings.Replace(resetXML, "superSecurePassw0rd!", "secret", 1)},
	{name: "denied by the application", core: stage.Denied, method: "POST", path: resetPath, header: []string{isJSON, hasToken}, body: resetJSON},
	{name: "challenged by the application", core: stage.Challenged, method: "POST", path: resetPath, header: []string{isJSON, hasToken}, body: resetJSON},
	{name: "challenged by the application, XML", core: stage.Challenged, method: "POST", path: resetPath, header: []string{isXML, wantXML, hasToken}, body: resetXML},
	{name: "rejected by the application", core: stage.Rejected, method: "POST", path: resetPath, header: []string{isJSON, hasToken}, body: resetJSON},
	{name: "rejected by the application, XML", core: stage.Rejected, method: "POST", path: resetPath, header: []string{isXML, wantXML, hasToken}, body: resetXML},
	{name: "the application cannot decide", core: stage.Unsure, method: "POST", path: resetPath, header: []string{isJSON, hasToken}, body: resetJSON},
	{name: "denied by the application, XML", core: stage.Denied, method: "POST", path: resetPath, header: []string{isXML, wantXML, hasToken}, body: resetXML},
	{name: "suffix beats Accept", method: "POST", path: forgotPath + ".xml", header: []string{isJSON, "Accept: application/json"}, body: "{}"},
	{name: "suffix beats Accept, the other way", method: "POST", path: forgotPath + ".json", header: []string{isXML, "Accept: application/xml"}, body: "<x/>"},
	{name: "suffix of an accepted request", method: "POST", path: forgotPath + ".xml", header: []string{isJSON}, body: forgotJSON, mails: "reset_token billybob@example.com"},
	{name: "not acceptable", method: "POST", path: forgotPath, header: []string{isJSON, "Accept: text/html"}, body: forgotJSON},
	{name: "another path", method: "POST", path: "/v2.0/users/RAX-AUTH/reset-pwd", header: []string{isJSON}, body: resetJSON},
	{name: "from another site", method: "POST", path: forgotPath, header: []string{isJSON, "Origin: https://evil.example"}, body: forgotJSON},
	{name: "another path, XML", method: "POST", path: "/v2.0/users.xml", header: []string{isJSON}, body: resetJSON},
	{name: "GET", method: "GET", path: forgotPath},
	{name: "HEAD", method: "HEAD", path: resetPath},
	{name: "PUT", method: "PUT", path: resetPath, header: []string{isJSON, hasToken, wantXML}, body: resetJSON},
	{name: "empty body", method: "POST", path: forgotPath},
	{name: "empty body with a type", method: "POST", path: forgotPath, header: []string{isJSON}},
	{name: "no type", method: "POST", path: forgotPath, body: forgotJSON},
	{name: "form", method: "POST", path: forgotPath, header: []string{"Content-Type: application/x-www-form-urlencoded"}, body: forgotJSON},
	{name: "two types", method: "POST", path: forgotPath, header: []string{isJSON, isXML}, body: forgotJSON},
	{name: "two types in one", method: "POST", path: forgotPath, header: []string{"Content-Type: application/json, application/xml"}, body: forgotJSON},
	{name: "charset utf-8", method: "POST", path: forgotPath, header: []string{"Content-Type: application/json; charset=UTF-8"}, body: forgotJSON, mails: "reset_token billybob@example.com"},
	{name: "another charset", method: "POST", path: forgotPath, header: []string{"Content-Type: application/json; charset=utf-16"}, body: forgotJSON},
	{name: "another parameter", method: "POST", path: forgotPath, header: []string{"Content-Type: application/json; profile=x"}, body: forgotJSON},
	{name: "compressed", method: "POST", path: forgotPath, header: []string{isJSON, "Content-Encoding: gzip", wantXML}, body: forgotJSON},
	{name: "not compressed, and says so", method: "POST", path: forgotPath, header: []string{isJSON, "Content-Encoding: identity"}, body: forgotJSON, mails: "reset_token billybob@example.com"},
	{name: "JSON that claims to be XML", method: "POST", path: forgotPath, header: []string{isXML}, body: forgotJSON},
	{name: "DOCTYPE", method: "POST", path: forgotPath, header: []string{isXML, wantXML}, body: `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>` + resetXML},
	{name: "body too large", method: "POST", path: forgotPath, header: []string{isJSON}, body: strings.Repeat(" ", 16<<10+1)},
	{name: "body too large, XML", method: "POST", path: forgotPath, header: []string{isXML, wantXML}, body: strings.Repeat(" ", 16<<10+1)},
	{name: "over the limit", core: stage.OneRequest, before: askOnce, method: "POST", path: forgotPath, header: []string{isJSON}, body: forgotJSON},
	{name: "over the limit, XML", core: stage.OneRequest, before: askOnce, method: "POST", path: forgotPath, header: []string{isXML, wantXML}, body: forgotXML},
	{name: "store down", before: storeDown, method: "POST", path: forgotPath, header: []string{isJSON}, body: forgotJSON},
	{name: "store down, XML", before: storeDown, method: "POST", path: resetPath, header: []string{isXML, wantXML, hasToken}, body: resetXML},
	{name: "store panics", before: storePanic, method: "POST", path: forgotPath, header: []string{isJSON}, body: forgotJSON},
	{name: "tenant at fault", opts: noTenant, method: "POST", path: forgotPath, header: []string{isJSON}, body: forgotJSON},
	{name: "tenant at fault, XML", opts: noTenant, method: "POST", path: forgotPath, header: []string{isXML, wantXML}, body: forgotXML},
	{name: "store panics, XML", before: storePanic, method: "POST", path: forgotPath, header: []string{isXML, wantXML}, body: forgotXML},
}

func TestRackspaceGolden(t *testing.T) { golden(t, NewRackspace, "rackspace.txt", rackspaceVectors) }

// The stored name stands in a header and may hold anything.
func TestRackspaceNeutralisesTheStoredName(t *testing.T) {
	for name, want := range map[string]string{
		"billybob\r\nSet-Cookie: x=y": "",
		"bob\x00":                     "",
		"bo\u2028b":                   "",
		"bo\u2029b":                   "",
		"":                            "",
		"b\xffb":                      "",
		"Bj\u00f6rn":                  "X-User-Name: Bj\u00f6rn\n",
	} {
		is := is.New(t)
		w := newWorld(t, NewRackspace, recovery.Options{}, Options{})
		is.NoErr(spy.Err(w.RequestReset(t.Context(), recovery.ResetRequest{Email: "victim@example.com"})))
		w.Users.Put(recovery.Account{ID: "9", Username: name, Email: "victim@example.com", Active: true, HasPassword: true, EmailVerified: true}, "hash of old")
		mails := w.Mails()
		is.Equal(len(mails), 1)
		response := w.send("POST", resetPath, []string{isJSON, "X-Auth-Token: " + mails[0].Resets[0].Token.Reveal()}, resetJSON)
		is.True(strings.HasPrefix(response, "HTTP/1.1 204 "))
		is.True(!strings.Contains(response, "Set-Cookie"))
		is.Equal(strings.Contains(response, "X-User-Name"), want != "")
		is.True(strings.Contains(response, want))
	}
}

func TestAcceptable(t *testing.T) {
	for accept, want := range map[string]string{
		"":                                   jsonType,
		" ":                                  jsonType,
		"*/*":                                jsonType,
		"application/*":                      jsonType,
		"application/json":                   jsonType,
		"application/xml":                    xmlType,
		"application/xml;q=0.5, */*;q=0.1":   xmlType,
		"application/xml, application/json":  jsonType,
		"application/xml, */*;q=0.9":         xmlType,
		"application/json;q=0, */*":          xmlType,
		"*/*, application/json;q=0":          xmlType,
		"text/html, application/*;q=0.2":     jsonType,
		"application/json;q=0.2, */*;q=0.3":  xmlType,
		"text/html":                          "",
		"*/*;q=0":                            "",
		"application/xml;q=2":                "",
		"application/xml;q=x":                "",
		"application/xml;q":                  "",
		"application/xml;q=1":                xmlType,
		"application/json;q=x, */*":          jsonType, // what cannot be read is passed over
		"application/json;q=-1, */*":         jsonType,
		"*/*;q=0, application/*":             jsonType, // the most specific decides, wherever it stands
		"application/*;q=0, application/xml": xmlType,
		"application/xml;q=NaN":              "",
		"garbage///":                         "",
		"garbage///, application/xml":        xmlType,
		"APPLICATION/XML":                    xmlType,
		"application/xml;q=0.000, text/html": "",
	} {
		t.Run(accept, func(t *testing.T) {
			is := is.New(t)
			is.Equal(acceptable([]string{accept}), want)
		})
	}
}

// Retry-After and retryAt are whole seconds, never too early.
func TestRackspaceRetryAt(t *testing.T) {
	for nanoseconds, want := range map[int]string{0: "2026-11-21T18:31:00Z", 1: "2026-11-21T18:31:01Z"} {
		is := is.New(t)
		w := newWorld(t, NewRackspace, recovery.Options{Now: func() time.Time { return time.Date(2026, 11, 21, 18, 30, 0, nanoseconds, time.UTC) }}, Options{})
		w.Fail = func() error { return &recovery.LimitError{RetryAfter: time.Minute} }
		response := w.send("POST", forgotPath, []string{isJSON}, forgotJSON)
		is.True(strings.Contains(response, want))
		is.True(strings.Contains(response, "\nRetry-After: 60\n"))
	}
}
