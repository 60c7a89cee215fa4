// Package formats writes what the clients of each format of HTTP send.
package formats

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
)

// The formats.
const (
	Xandr         = "Xandr"
	RackspaceJSON = "Rackspace JSON"
	RackspaceXML  = "Rackspace XML"
	Own           = "JSON" // of httpadapter.NewJSON
	Portal        = "portal"
)

// Their media types.
const (
	JSON = "application/json"
	XML  = "application/xml"
	Form = "application/x-www-form-urlencoded"
)

// Space is the namespace of RackspaceXML.
const Space = "http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0"

// A Request has header lines such as "Accept: text/html".
type Request struct {
	Method, Path, Body string
	Header             []string
}

// New returns the request of a call: "reset", "names" or "complete". The pairs are names of fields
// and their values.
func New(format, call string, pairs ...string) Request {
	r := Request{Method: "POST", Body: Body(format, call, pairs...), Header: []string{"Content-Type: " + JSON}}
	switch format {
	case Xandr:
		if r.Path = "/account-recovery"; call == "complete" {
			r.Method = "PUT"
		}
	case Own:
		r.Path = "/api/recovery/" + map[string]string{"reset": "resets", "names": "usernames", "complete": "completions"}[call]
	case Portal:
		r.Path = "/recover/" + map[string]string{"reset": "password", "names": "username", "complete": "reset"}[call]
		r.Header = []string{"Content-Type: " + Form, "Sec-Fetch-Site: same-origin"}
	default:
		r.Path = "/v2.0/users/RAX-AUTH/" + map[string]string{"reset": "forgot-pwd", "complete": "pwd-reset"}[call]
		if format == RackspaceXML {
			r.Path, r.Header = r.Path+".xml", []string{"Content-Type: " + XML}
		}
	}
	return r
}

// With returns the request with more header lines.
func (r Request) With(header ...string) Request {
	r.Header = append(r.Header[:len(r.Header):len(r.Header)], header...)
	return r
}

// Bytes is the request as it is sent.
func (r Request) Bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: app.example\r\nContent-Length: %d\r\n", r.Method, r.Path, len(r.Body))
	for _, line := range r.Header {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n" + r.Body)
	return b.Bytes()
}

// Body is that of such a request.
func Body(format, call string, pairs ...string) string {
	root := map[string]string{"reset": "forgotPasswordCredentials", "complete": "passwordReset"}[call]
	var members, attributes string
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		name, value := pairs[i], pairs[i+1]
		members += "," + QuoteJSON(name) + ":" + QuoteJSON(value)
		attributes += ` ` + name + `="` + quoteXML(value) + `"`
		form.Set(name, value)
	}
	members = strings.TrimPrefix(members, ",")
	switch format {
	case Xandr:
		return `{"account-recovery":{` + members + `}}`
	case Own:
		return `{` + members + `}`
	case RackspaceJSON:
		return `{"RAX-AUTH:` + root + `":{` + members + `}}`
	case RackspaceXML:
		return `<` + root + ` xmlns="` + Space + `"` + attributes + `/>`
	}
	return form.Encode()
}

// QuoteJSON writes a string with its bytes as they are, but for what ends it: bytes that are no
// UTF-8 arrive as such.
func QuoteJSON(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			fmt.Fprintf(&b, `\u%04x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// quoteXML writes a string for an attribute.
func quoteXML(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || strings.IndexByte(`"<>&'`, c) >= 0 {
			fmt.Fprintf(&b, "&#%d;", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
