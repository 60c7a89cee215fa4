package httpadapter

import (
	"encoding/xml"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/recovery"
)

const (
	rackspaceForgot = "/v2.0/users/RAX-AUTH/forgot-pwd"
	rackspaceReset  = "/v2.0/users/RAX-AUTH/pwd-reset"

	raxAuthSpace  = "http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0"
	identitySpace = "http://docs.openstack.org/identity/api/v2.0"
)

// NewRackspace returns a handler for POST /v2.0/users/RAX-AUTH/forgot-pwd and pwd-reset.
//
// Bodies are JSON or XML. They must have the Content-Type application/json or application/xml, with
// no parameter but charset=utf-8. Answers are XML if the path ends in ".xml", or if it has no
// suffix and Accept prefers application/xml; all others are JSON. forgot-pwd answers 204 for every
// well-formed request. A portal must be one of Options.Portals of package recovery.
//
//	400  badRequest            not the document that is asked for, or against the password policy
//	401  unauthorized          the token in X-Auth-Token cannot be used, whatever the reason
//	403  forbidden             Options.Approve denied the reset, or asks for a second factor
//	404  itemNotFound          another path
//	405  methodNotAllowed      another method
//	406  (no body)             neither JSON nor XML is acceptable
//	413  overLimit             over a limit, with retryAt and Retry-After; or body too large
//	415  unsupportedMediaType  another Content-Type or a Content-Encoding
//	500  identityFault         a bug, here or in the application; the log has it
//	503  serviceUnavailable    the store, the hashing or Options.Approve failed, with Retry-After
func NewRackspace(svc *recovery.Service, opts *Options) http.Handler {
	return newAdapter(svc, opts, func(o *Options) format { return rackspace{now: o.Now} })
}

type rackspace struct{ now func() time.Time }

// A document describes the body of one of the calls.
type document struct {
	jsonRoot, xmlRoot string
	fields            []field
}

func (rs rackspace) serve(a *adapter, w http.ResponseWriter, r *http.Request) answer {
	path, media := mediaOf(r)
	if media == "" {
		return rs.empty(http.StatusNotAcceptable, "")
	}
	if path != rackspaceForgot && path != rackspaceReset {
		return rs.fault(media, http.StatusNotFound, "there is nothing at this path")
	}
	if r.Method != http.MethodPost {
		reply := rs.fault(media, http.StatusMethodNotAllowed, "the method must be POST")
		reply.header.Set("Allow", "POST")
		return reply
	}
	d := document{"RAX-AUTH:forgotPasswordCredentials", "forgotPasswordCredentials", []field{{name: "username"}, {name: "portal"}}}
	if path == rackspaceReset {
		d = document{"RAX-AUTH:passwordReset", "passwordReset", []field{{name: "password"}}}
	}
	body, err := a.readBody(w, r)
	if errors.Is(err, errTooLarge) {
		return rs.fault(media, http.StatusRequestEntityTooLarge, err.Error())
	}
	if err == nil {
		err = d.decode(r, body)
	}
	if errors.Is(err, errMediaType) {
		return rs.fault(media, http.StatusUnsupportedMediaType, err.Error())
	}
	if err != nil {
		return rs.fault(media, http.StatusBadRequest, err.Error())
	}
	if path == rackspaceReset {
		return rs.reset(a, r, media, d.fields)
	}
	return rs.forgot(a, r, media, d.fields)
}

// decode reads the body as its Content-Type says.
func (d *document) decode(r *http.Request, body []byte) error {
	if len(body) == 0 && len(r.Header["Content-Type"]) == 0 {
		return checkText(body) // without a body the type is not at fault
	}
	media, err := bodyMedia(r.Header)
	if err != nil {
		return err
	}
	if media == xmlType {
		return decodeXML(body, d.xmlRoot, raxAuthSpace, d.fields)
	}
	return decodeJSON(body, d.jsonRoot, d.fields)
}

func (rs rackspace) forgot(a *adapter, r *http.Request, media string, fields []field) answer {
	username, portal := fields[0], fields[1]
	switch {
	case !username.set:
		return rs.fault(media, http.StatusBadRequest, "username must be given")
	case username.value == "":
		return rs.fault(media, http.StatusBadRequest, "username must not be empty")
	case portal.set && portal.value == "":
		return rs.fault(media, http.StatusBadRequest, "portal must not be empty")
	}
	_, err := a.svc.RequestReset(r.Context(), recovery.ResetRequest{
		Username: username.value, Tenant: a.opts.Tenant(r), Portal: portal.value, Locale: locale(r), Client: a.opts.ClientAddr(r),
	})
	return rs.reply(a, r, media, fields, username.value, err)
}

func (rs rackspace) reset(a *adapter, r *http.Request, media string, fields []field) answer {
	if !fields[0].set {
		return rs.fault(media, http.StatusBadRequest, "password must be given")
	}
	var token string
	if tokens := r.Header["X-Auth-Token"]; len(tokens) == 1 {
		token = tokens[0] // with two headers, neither counts
	}
	account, err := a.svc.CompleteReset(r.Context(), recovery.CompleteRequest{
		Token: token, Password: fields[0].value, Locale: locale(r), Client: a.opts.ClientAddr(r),
	})
	return rs.reply(a, r, media, fields, account.Username, err)
}

// reply answers with what a call returned.
func (rs rackspace) reply(a *adapter, r *http.Request, media string, fields []field, username string, err error) answer {
	if err == nil {
		a.succeeded()
		reply := rs.empty(http.StatusNoContent, media)
		if name := strings.TrimSpace(username); isHeaderText(name) {
			reply.header.Set("X-User-Name", name)
		}
		return reply
	}
	class, text, retry := a.classify(r.Context(), fields, err)
	switch class {
	case failureRequest, failurePassword:
		return rs.fault(media, http.StatusBadRequest, text)
	case failureToken:
		return rs.fault(media, http.StatusUnauthorized, text)
	case failureDenied, failureChallenge:
		return rs.fault(media, http.StatusForbidden, text)
	case failureLimit:
		at := rs.now().UTC().Add(retry + time.Second - 1).Truncate(time.Second)
		reply := rs.faultAt(media, http.StatusRequestEntityTooLarge, text, at.Format(time.RFC3339))
		reply.header.Set("Retry-After", seconds(retry))
		return reply
	case failureBroken:
		return rs.broken(r)
	}
	reply := rs.fault(media, http.StatusServiceUnavailable, text)
	reply.header.Set("Retry-After", seconds(retry))
	return reply
}

func (rs rackspace) broken(r *http.Request) answer {
	_, media := mediaOf(r)
	if media == "" {
		media = jsonType
	}
	return rs.fault(media, http.StatusInternalServerError, "internal error")
}

var faultNames = map[int]string{
	http.StatusBadRequest:            "badRequest",
	http.StatusUnauthorized:          "unauthorized",
	http.StatusForbidden:             "forbidden",
	http.StatusNotFound:              "itemNotFound",
	http.StatusMethodNotAllowed:      "methodNotAllowed",
	http.StatusRequestEntityTooLarge: "overLimit",
	http.StatusUnsupportedMediaType:  "unsupportedMediaType",
	http.StatusInternalServerError:   "identityFault",
	http.StatusServiceUnavailable:    "serviceUnavailable",
}

// A rackspaceFault is a fault in both formats. Its root is named after the fault.
type rackspaceFault struct {
	XMLName xml.Name `json:"-"`
	Space   string   `json:"-" xml:"xmlns,attr"`
	Code    int      `json:"code" xml:"code,attr"`
	Message string   `json:"message" xml:"message"`
	RetryAt string   `json:"retryAt,omitempty" xml:"retryAt,attr,omitempty"`
}

func (rs rackspace) fault(media string, status int, text string) answer {
	return rs.faultAt(media, status, text, "")
}

func (rs rackspace) faultAt(media string, status int, text, retryAt string) answer {
	reply := rs.empty(status, media)
	f := rackspaceFault{Code: status, Message: text, RetryAt: retryAt}
	if media == xmlType {
		f.XMLName.Local, f.Space = faultNames[status], identitySpace
		body, err := xml.Marshal(f)
		if err != nil {
			panic(err)
		}
		reply.body = body
	} else {
		reply.body = mustMarshal(map[string]rackspaceFault{faultNames[status]: f})
	}
	return reply
}

// empty returns an answer without a body, whose headers say what it depends on.
func (rs rackspace) empty(status int, media string) answer {
	header := http.Header{"Vary": {"Accept, Accept-Encoding, X-Auth-Token"}}
	if media != "" {
		header.Set("Content-Type", media)
	}
	return answer{status: status, header: header}
}

// isHeaderText reports whether a stored user name, which may hold anything, can stand in a header.
func isHeaderText(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	})
}
