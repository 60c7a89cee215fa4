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
	"example.com/recovery/httpadapter/internal/exchange"
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
// suffix and Accept prefers application/xml; all others are JSON. forgot-pwd answers every accepted
// request with 204. A portal must be one of Options.Portals of package recovery.
//
//	400  badRequest            not the document that is asked for, or against the password policy
//	401  unauthorized          the token in X-Auth-Token cannot be used, whatever the reason
//	403  forbidden             Options.Approve denied the reset or asks for a second factor; or a
//	                           page of another origin calls
//	404  itemNotFound          another path
//	405  methodNotAllowed      another method
//	406  (no body)             neither JSON nor XML is acceptable
//	413  overLimit             over a limit, with retryAt and Retry-After; or body too large
//	415  unsupportedMediaType  another Content-Type or a Content-Encoding
//	500  identityFault         a bug, here or in the application; the log has it
//	503  serviceUnavailable    the store, hashing or a function of the application failed, with
//	                           Retry-After
func NewRackspace(svc *recovery.Service, opts *Options) (http.Handler, error) {
	h, err := opts.handler(svc)
	if err != nil {
		return nil, err
	}
	return &rackspace{Base: h, core: svc.Options()}, nil
}

type rackspace struct {
	*exchange.Base
	core recovery.Options
}

// A document describes the body of one of the calls.
type document struct {
	jsonRoot, xmlRoot string
	fields            []field
}

// ServeHTTP implements [http.Handler].
func (rs *rackspace) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rs.Serve(w, r, func() exchange.Reply { return rs.answer(w, r) }, func() exchange.Reply { return rs.internalError(r) })
}

func (rs *rackspace) answer(w http.ResponseWriter, r *http.Request) exchange.Reply {
	path, media := mediaOf(r)
	if media == "" {
		return rs.empty(http.StatusNotAcceptable, "")
	}
	isReset := isAt(path, rackspaceReset)
	if !isReset && !isAt(path, rackspaceForgot) {
		return rs.fault(media, http.StatusNotFound, "there is nothing at this path")
	}
	if r.Method != http.MethodPost {
		reply := rs.fault(media, http.StatusMethodNotAllowed, "the method must be POST")
		reply.Header.Set("Allow", "POST")
		return reply
	}
	d := document{"RAX-AUTH:forgotPasswordCredentials", "forgotPasswordCredentials", []field{{name: "username"}, {name: "portal"}}}
	if isReset {
		d = document{"RAX-AUTH:passwordReset", "passwordReset", []field{{name: "password"}}}
	}
	if rs.IsForeign(r) {
		return rs.fault(media, http.StatusForbidden, crossSite)
	}
	body, err := exchange.ReadBody(w, r)
	if errors.Is(err, exchange.ErrTooLarge) {
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
	if isReset {
		return rs.complete(r, media, d.fields)
	}
	return rs.request(r, media, d.fields)
}

var errMediaType = errors.New("there must be one Content-Type, application/json or application/xml with no parameter but charset=utf-8, and no Content-Encoding")

// decode reads the body as its Content-Type says.
func (d *document) decode(r *http.Request, body []byte) error {
	if len(body) == 0 && len(r.Header["Content-Type"]) == 0 {
		return checkText(body) // without a body the type is not at fault
	}
	switch exchange.ContentType(r.Header, jsonType, xmlType) {
	case xmlType:
		return decodeXML(body, d.xmlRoot, raxAuthSpace, d.fields)
	case jsonType:
		return decodeJSON(body, d.jsonRoot, d.fields)
	}
	return errMediaType
}

func (rs *rackspace) request(r *http.Request, media string, fields []field) exchange.Reply {
	username, portal := fields[0], &fields[1]
	switch {
	case !username.set:
		return rs.fault(media, http.StatusBadRequest, "username must be given")
	case username.value == "":
		return rs.fault(media, http.StatusBadRequest, "username must not be empty")
	case portal.value == "":
		portal.set = false // no portal, just as when it is left out
	}
	_, err := rs.Service.RequestReset(r.Context(), recovery.ResetRequest{
		Username: username.value, Tenant: rs.Tenant(r), Portal: portalNamed(rs.core.Portals, portal.value),
		Locale: exchange.Locale(r.Header), Client: rs.ClientAddr(r),
	})
	return rs.reply(r, media, fields, username.value, err)
}

func (rs *rackspace) complete(r *http.Request, media string, fields []field) exchange.Reply {
	if !fields[0].set {
		return rs.fault(media, http.StatusBadRequest, "password must be given")
	}
	tokens := r.Header["X-Auth-Token"]
	if len(tokens) != 1 || tokens[0] == "" { // of two headers, neither counts
		return rs.fault(media, http.StatusUnauthorized, "the header X-Auth-Token must be given once, with the token")
	}
	c := recovery.CompleteRequest{Token: tokens[0], Password: fields[0].value, Locale: exchange.Locale(r.Header), Client: rs.ClientAddr(r)}
	// The token stands before the body, so it is judged before the password.
	var account recovery.Account
	err := rs.core.Policy.Validate(c.Password, rs.core.Application)
	if err == nil {
		account, err = rs.Service.CompleteReset(r.Context(), c)
	} else if _, tokenErr := rs.Service.CheckReset(r.Context(), c); tokenErr != nil {
		err = tokenErr
	}
	return rs.reply(r, media, fields, account.Username, err)
}

// reply answers with what a call returned.
func (rs *rackspace) reply(r *http.Request, media string, fields []field, username string, err error) exchange.Reply {
	class, wait := rs.ClassifyAndLog(r.Context(), err, func(field string) bool { return isSet(fields, field) })
	text := explain(class, err)
	var reply exchange.Reply
	switch class {
	case exchange.OK:
		reply := rs.empty(http.StatusNoContent, media)
		if name := strings.TrimSpace(username); isHeaderText(name) {
			reply.Header.Set("X-User-Name", name)
		}
		return reply
	case exchange.BadField, exchange.BadPassword:
		return rs.fault(media, http.StatusBadRequest, text)
	case exchange.BadToken:
		return rs.fault(media, http.StatusUnauthorized, text)
	case exchange.Denied, exchange.Challenged:
		return rs.fault(media, http.StatusForbidden, text)
	case exchange.Limited:
		at := rs.core.Now().UTC().Add(wait + time.Second - 1).Truncate(time.Second)
		reply = rs.faultAt(media, http.StatusRequestEntityTooLarge, text, at.Format(time.RFC3339))
	case exchange.Unavailable:
		reply = rs.fault(media, http.StatusServiceUnavailable, text)
	default:
		return rs.internalError(r)
	}
	reply.Header.Set("Retry-After", exchange.Seconds(wait))
	return reply
}

func (rs *rackspace) internalError(r *http.Request) exchange.Reply {
	_, media := mediaOf(r)
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

func (rs *rackspace) fault(media string, status int, text string) exchange.Reply {
	return rs.faultAt(media, status, text, "")
}

func (rs *rackspace) faultAt(media string, status int, text, retryAt string) exchange.Reply {
	reply := rs.empty(status, media)
	f := rackspaceFault{Code: status, Message: text, RetryAt: retryAt}
	if media == xmlType {
		f.XMLName.Local, f.Space = faultNames[status], identitySpace
		body, err := xml.Marshal(f)
		if err != nil {
			panic(err)
		}
		reply.Body = body
	} else {
		reply.Body = mustMarshal(map[string]rackspaceFault{faultNames[status]: f})
	}
	return reply
}

// empty returns an answer without a body, whose headers say what it depends on.
func (rs *rackspace) empty(status int, media string) exchange.Reply {
	header := http.Header{"Vary": {"Accept, Accept-Encoding, X-Auth-Token"}}
	if media != "" {
		header.Set("Content-Type", media)
	}
	return exchange.Reply{Status: status, Header: header}
}

// isHeaderText reports whether a stored user name, which may hold anything, can stand in a header.
func isHeaderText(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	})
}
