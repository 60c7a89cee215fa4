package httpadapter

import (
	"errors"
	"net/http"
	"strings"

	"example.com/recovery"
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
//	400  SYNTAX   INVALID_FIELD     a field is missing, too many, or against its rule
//	400  SYNTAX   INVALID_PASSWORD  against the policy; error_description lists the reasons' names
//	401  NOAUTH   INVALID_TOKEN     the token cannot be used, whatever the reason
//	403  UNAUTH   CHALLENGE         Options.Approve of package recovery asks for a second factor
//	403  UNAUTH                     Options.Approve denied the reset
//	404  SYNTAX                     another path
//	405  SYNTAX                     another method
//	413  LIMIT                      body too large
//	429  SYSTEM   RATE_EXCEEDED     over a limit, with Retry-After
//	500  SYSTEM                     a bug, here or in the application; the log has it
//	503  SYSTEM   SERVICE_UNAVAILABLE  the store, hashing or Options.Approve failed, with Retry-After
//
// dbg_info.time is always 0: a measured time would reveal what the answer hides.
func NewXandr(svc *recovery.Service, opts *Options) http.Handler {
	return newAdapter(svc, opts, func(o *Options) format { return xandr{always200: o.XandrAlways200} })
}

type xandr struct{ always200 bool }

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

func (x xandr) serve(a *adapter, w http.ResponseWriter, r *http.Request) answer {
	if r.URL.Path != xandrPath {
		return x.fault(r, http.StatusNotFound, "SYNTAX", "", "there is nothing at this path")
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		reply := x.fault(r, http.StatusMethodNotAllowed, "SYNTAX", "", "the method must be POST or PUT")
		reply.header.Set("Allow", "POST, PUT")
		return reply
	}
	body, err := a.readBody(w, r)
	if errors.Is(err, errTooLarge) {
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
		return x.complete(a, r, fields)
	}
	return x.request(a, r, fields)
}

func (x xandr) request(a *adapter, r *http.Request, fields []field) answer {
	username, email, password, token := fields[0], fields[1], fields[2], fields[3]
	switch {
	case password.set || token.set:
		return x.badField(r, "password and token belong in a PUT request")
	case username.set == email.set:
		return x.badField(r, "exactly one of username and email must be given")
	case username.set && username.value == "":
		return x.badField(r, "username must not be empty")
	case username.set:
		_, err := a.svc.RequestReset(r.Context(), recovery.ResetRequest{
			Username: username.value, Tenant: a.opts.Tenant(r), Locale: locale(r), Client: a.opts.ClientAddr(r),
		})
		return x.reply(a, r, fields, err)
	}
	_, err := a.svc.RetrieveUsername(r.Context(), recovery.UsernameRequest{
		Email: email.value, Tenant: a.opts.Tenant(r), Locale: locale(r), Client: a.opts.ClientAddr(r),
	})
	return x.reply(a, r, fields, err)
}

func (x xandr) complete(a *adapter, r *http.Request, fields []field) answer {
	username, email, password, token := fields[0], fields[1], fields[2], fields[3]
	switch {
	case email.set:
		return x.badField(r, "email belongs in a POST request")
	case !password.set || !token.set:
		return x.badField(r, "password and token must be given")
	case username.set && username.value == "":
		return x.badField(r, "username must not be empty")
	}
	_, err := a.svc.CompleteReset(r.Context(), recovery.CompleteRequest{
		Username: username.value, Password: password.value, Token: token.value,
		Locale: locale(r), Client: a.opts.ClientAddr(r),
	})
	return x.reply(a, r, fields, err)
}

// reply answers with what a call returned.
func (x xandr) reply(a *adapter, r *http.Request, fields []field, err error) answer {
	if err == nil {
		a.succeeded()
		return answer{http.StatusOK, jsonHeader(), xandrOK}
	}
	class, text, retry := a.classify(r.Context(), fields, err)
	switch class {
	case failureRequest:
		return x.badField(r, text)
	case failurePassword:
		e, _ := errors.AsType[*recovery.PasswordError](err)
		names := make([]string, len(e.Reasons))
		for i, reason := range e.Reasons {
			names[i] = reason.Name
		}
		description := strings.Join(names, ",")
		return x.faultWith(r, http.StatusBadRequest, "SYNTAX", "INVALID_PASSWORD", text, &description)
	case failureToken:
		return x.fault(r, http.StatusUnauthorized, "NOAUTH", "INVALID_TOKEN", text)
	case failureChallenge:
		return x.fault(r, http.StatusForbidden, "UNAUTH", "CHALLENGE", text)
	case failureDenied:
		return x.fault(r, http.StatusForbidden, "UNAUTH", "", text)
	case failureLimit:
		reply := x.fault(r, http.StatusTooManyRequests, "SYSTEM", "RATE_EXCEEDED", text)
		reply.header.Set("Retry-After", seconds(retry))
		reply.header.Set("X-Ratelimit-Code", "429")
		return reply
	case failureBroken:
		return x.broken(r)
	}
	reply := x.fault(r, http.StatusServiceUnavailable, "SYSTEM", "SERVICE_UNAVAILABLE", text)
	reply.header.Set("Retry-After", seconds(retry))
	return reply
}

func (x xandr) broken(r *http.Request) answer {
	return x.fault(r, http.StatusInternalServerError, "SYSTEM", "", "internal error")
}

func (x xandr) badField(r *http.Request, text string) answer {
	return x.fault(r, http.StatusBadRequest, "SYNTAX", "INVALID_FIELD", text)
}

func (x xandr) fault(r *http.Request, status int, id, code, text string) answer {
	return x.faultWith(r, status, id, code, text, nil)
}

func (x xandr) faultWith(r *http.Request, status int, id, code, text string, description *string) answer {
	e := xandrError{ID: id, Text: text, Description: description, Service: xandrService, Method: knownMethod(r.Method), Debug: xandrDebugInfo}
	if code != "" {
		e.Code = &code
	}
	if x.always200 {
		status = http.StatusOK
	}
	return answer{status, jsonHeader(), mustMarshal(map[string]xandrError{"response": e})}
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
