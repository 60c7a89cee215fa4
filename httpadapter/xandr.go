package httpadapter

import (
	"errors"
	"net/http"
	"strings"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/exchange"
)

const (
	xandrPath    = "/account-recovery"
	xandrService = "account-recovery"
)

// NewXandr returns a handler for POST and PUT /account-recovery.
//
// The API's documentation promises JSON and leaves errors open. Here they look like the API's other
// errors, and have their own status unless Options.XandrAlways200 is set:
//
//	400  SYNTAX   INVALID_JSON      not the JSON that is asked for
//	400  SYNTAX   INVALID_FIELD     a field is missing, superfluous or invalid
//	400  SYNTAX   INVALID_PASSWORD  against the policy; error_description lists the reasons' names
//	400  SYNTAX   INVALID_TOKEN     the token cannot be used, whatever the reason
//	403  UNAUTH   CHALLENGE         Options.Approve of package recovery asks for a second factor
//	403  UNAUTH                     denied by Options.Approve, or a page of another origin calls
//	404  SYNTAX                     another path
//	405  SYNTAX                     another method
//	413  LIMIT                      body too large
//	429  SYSTEM   RATE_EXCEEDED     over a limit, with Retry-After
//	500  SYSTEM                     a bug, here or in the application; the log has it
//	503  SYSTEM   SERVICE_UNAVAILABLE  the store, hashing or the application failed; Retry-After
//
// A bad token is not 401 NOAUTH. That means "not logged in": clients log in and repeat the call.
//
// dbg_info.time is always 0: a measured time would reveal what the answer hides.
func NewXandr(svc *recovery.Service, opts *Options) (http.Handler, error) {
	h, err := opts.handler(svc)
	if err != nil {
		return nil, err
	}
	return &xandr{Base: h, always200: opts != nil && opts.XandrAlways200}, nil
}

type xandr struct {
	*exchange.Base
	always200 bool
}

type xandrDebug struct {
	Version    string   `json:"version"`
	Warnings   []string `json:"warnings"`
	Time       int      `json:"time"`
	OutputTerm string   `json:"output_term"`
}

var xandrDebugInfo = xandrDebug{Version: "1", Warnings: []string{}, OutputTerm: xandrService}

type xandrError struct {
	ID          string     `json:"error_id"`
	Text        string     `json:"error"`
	Description *string    `json:"error_description"`
	Service     string     `json:"service"`
	Method      string     `json:"method"`
	Code        *string    `json:"error_code"`
	Debug       xandrDebug `json:"dbg_info"`
}

var xandrOK = mustMarshal(map[string]any{"response": struct {
	Status string     `json:"status"`
	Debug  xandrDebug `json:"dbg_info"`
}{"OK", xandrDebugInfo}})

// ServeHTTP implements [http.Handler].
func (x *xandr) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.Serve(w, r, func() exchange.Reply { return x.answer(w, r) }, func() exchange.Reply { return x.internalError(r) })
}

func (x *xandr) answer(w http.ResponseWriter, r *http.Request) exchange.Reply {
	if !isAt(r.URL.Path, xandrPath) {
		return x.fault(r, http.StatusNotFound, "SYNTAX", "", "there is nothing at this path")
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		reply := x.fault(r, http.StatusMethodNotAllowed, "SYNTAX", "", "the method must be POST or PUT")
		reply.Header.Set("Allow", "POST, PUT")
		return reply
	}
	if x.IsForeign(r) {
		return x.fault(r, http.StatusForbidden, "UNAUTH", "", crossSite)
	}
	body, err := exchange.ReadBody(w, r)
	if errors.Is(err, exchange.ErrTooLarge) {
		return x.fault(r, http.StatusRequestEntityTooLarge, "LIMIT", "", err.Error())
	}
	fields := []field{{name: "username"}, {name: "email"}, {name: "password"}, {name: "token"}}
	if err == nil {
		err = decodeJSON(body, xandrService, fields)
	}
	if err != nil {
		return x.fault(r, http.StatusBadRequest, "SYNTAX", "INVALID_JSON", err.Error())
	}
	if r.Method == http.MethodPut {
		return x.complete(r, fields)
	}
	return x.request(r, fields)
}

func (x *xandr) request(r *http.Request, fields []field) exchange.Reply {
	username, email, password, token := fields[0], fields[1], fields[2], fields[3]
	switch {
	case password.set || token.set:
		return x.badField(r, "password and token belong in a PUT request")
	case username.set == email.set:
		return x.badField(r, "exactly one of username and email must be given")
	case username.set && username.value == "":
		return x.badField(r, "username must not be empty")
	case username.set:
		_, err := x.Service.RequestReset(r.Context(), recovery.ResetRequest{
			Username: username.value, Tenant: x.Tenant(r), Locale: exchange.Locale(r.Header), Client: x.ClientAddr(r),
		})
		return x.reply(r, fields, err)
	}
	_, err := x.Service.RetrieveUsername(r.Context(), recovery.UsernameRequest{
		Email: email.value, Tenant: x.Tenant(r), Locale: exchange.Locale(r.Header), Client: x.ClientAddr(r),
	})
	return x.reply(r, fields, err)
}

func (x *xandr) complete(r *http.Request, fields []field) exchange.Reply {
	username, email, password, token := fields[0], fields[1], fields[2], fields[3]
	switch {
	case email.set:
		return x.badField(r, "email belongs in a POST request")
	case !password.set || !token.set:
		return x.badField(r, "password and token must be given")
	case username.set && username.value == "":
		return x.badField(r, "username must not be empty")
	case token.value == "":
		return x.badField(r, "token must not be empty")
	}
	_, err := x.Service.CompleteReset(r.Context(), recovery.CompleteRequest{
		Username: username.value, Password: password.value, Token: token.value,
		Locale: exchange.Locale(r.Header), Client: x.ClientAddr(r),
	})
	return x.reply(r, fields, err)
}

// reply answers with what a call returned.
func (x *xandr) reply(r *http.Request, fields []field, err error) exchange.Reply {
	class, wait := x.ClassifyAndLog(r.Context(), err, func(field string) bool { return isSet(fields, field) })
	text := explain(class, err)
	var reply exchange.Reply
	switch class {
	case exchange.OK:
		return exchange.Reply{Status: http.StatusOK, Header: jsonHeader(), Body: xandrOK}
	case exchange.BadField:
		return x.badField(r, text)
	case exchange.BadPassword:
		e, _ := errors.AsType[*recovery.PasswordError](err)
		names := make([]string, len(e.Reasons))
		for i, reason := range e.Reasons {
			names[i] = reason.Name
		}
		description := strings.Join(names, ",")
		return x.faultWith(r, http.StatusBadRequest, "SYNTAX", "INVALID_PASSWORD", text, &description)
	case exchange.BadToken:
		return x.fault(r, http.StatusBadRequest, "SYNTAX", "INVALID_TOKEN", text)
	case exchange.Challenged:
		return x.fault(r, http.StatusForbidden, "UNAUTH", "CHALLENGE", text)
	case exchange.Denied:
		return x.fault(r, http.StatusForbidden, "UNAUTH", "", text)
	case exchange.Limited:
		reply = x.fault(r, http.StatusTooManyRequests, "SYSTEM", "RATE_EXCEEDED", text)
		reply.Header.Set("X-Ratelimit-Code", "429")
	case exchange.Unavailable:
		reply = x.fault(r, http.StatusServiceUnavailable, "SYSTEM", "SERVICE_UNAVAILABLE", text)
	default:
		return x.internalError(r)
	}
	reply.Header.Set("Retry-After", exchange.Seconds(wait))
	return reply
}

func (x *xandr) internalError(r *http.Request) exchange.Reply {
	return x.fault(r, http.StatusInternalServerError, "SYSTEM", "", "internal error")
}

func (x *xandr) badField(r *http.Request, text string) exchange.Reply {
	return x.fault(r, http.StatusBadRequest, "SYNTAX", "INVALID_FIELD", text)
}

func (x *xandr) fault(r *http.Request, status int, id, code, text string) exchange.Reply {
	return x.faultWith(r, status, id, code, text, nil)
}

func (x *xandr) faultWith(r *http.Request, status int, id, code, text string, description *string) exchange.Reply {
	e := xandrError{ID: id, Text: text, Description: description, Service: xandrService, Method: knownMethod(r.Method), Debug: xandrDebugInfo}
	if code != "" {
		e.Code = &code
	}
	if x.always200 {
		status = http.StatusOK
	}
	return exchange.Reply{Status: status, Header: jsonHeader(), Body: mustMarshal(map[string]xandrError{"response": e})}
}

// knownMethod returns the method, or "" for one that HTTP does not define: no answer repeats input.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	}
	return ""
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {jsonType}} }
