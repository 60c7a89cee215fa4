package httpadapter

import (
	_ "embed"
	"errors"
	"net/http"
	"slices"
	"strings"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/exchange"
)

// problemType begins the types of problems. They are names, and nothing is found there.
const problemType = "https://example.com/recovery/problems/"

//go:embed openapi.yaml
var openAPI []byte

// NewJSON returns a handler for a front end of one's own: a single-page or a mobile application.
//
//	POST  resets       {"username":"U"} or {"email":"E"};
//	                   may have "portal", "code":true and "ticket"
//	POST  usernames    {"email":"E"}
//	POST  completions  {"token":"T","password":"P"} or {"ticket":"K","code":"C","password":"P"};
//	                   may have "username" and "factor"
//	GET   policy       the rules for new passwords
//	GET   openapi.yaml the description of all this, in OpenAPI 3.1
//
// The two kinds of requests are answered with 202, a completion with 204. Errors are problems of
// RFC 9457 (application/problem+json), whose types end in:
//
//	400  malformed     not the JSON asked for, or a field is missing, superfluous or invalid
//	403  challenge     Options.Approve of package recovery wants a second factor: send "factor"
//	403  denied        Options.Approve denied the reset
//	403  cross-site    a page of an origin that is not in Options.Origins sent the request
//	404  not-found     another path
//	405  method        another method
//	410  token, code   the token or code cannot be used, whatever the reason
//	413  too-large     the body has more than 16 KiB
//	415  media-type    the Content-Type is not application/json
//	422  password      against the policy; "reasons" has all that is known
//	429  limit         over a limit, with Retry-After
//	429  ticket        too many wrong codes: ask without the ticket
//	500  internal      a bug, here or in the application; the log has it
//	503  unavailable   the store, hashing or a function of the application failed; Retry-After
//
// The pages of Options.Origins are answered as CORS asks. No cookie is read or set.
func NewJSON(svc *recovery.Service, opts *Options) (http.Handler, error) {
	h, err := opts.handler(svc)
	if err != nil {
		return nil, err
	}
	j := &jsonAPI{Base: h}
	core := svc.Options()
	j.policy, j.portals = mustMarshal(policyOf(core.Policy)), core.Portals
	return j, nil
}

type jsonAPI struct {
	*exchange.Base
	policy  []byte
	portals map[string]recovery.Portal
}

// A jsonRule is a rule for new passwords.
type jsonRule struct {
	Name  string `json:"name"`
	Limit int    `json:"limit,omitempty"`
	Text  string `json:"text"`
}

func policyOf(p *recovery.Policy) map[string][]jsonRule {
	var rules []jsonRule
	for _, r := range p.Rules() {
		rules = append(rules, jsonRule{r.Name, r.Limit, r.Text})
	}
	return map[string][]jsonRule{"rules": rules}
}

// A problem is an error of RFC 9457.
type problem struct {
	Type      string         `json:"type"`
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail"`
	Reasons   []jsonRule     `json:"reasons,omitempty"`   // of password
	Challenge *jsonChallenge `json:"challenge,omitempty"` // of challenge
}

type jsonChallenge struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// ServeHTTP implements [http.Handler].
func (j *jsonAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	j.Serve(w, r, func() exchange.Reply { return j.shared(r, j.answer(w, r)) }, func() exchange.Reply {
		return j.shared(r, problemReply(http.StatusInternalServerError, "internal", "internal error"))
	})
}

// shared adds the CORS headers.
func (j *jsonAPI) shared(r *http.Request, reply exchange.Reply) exchange.Reply {
	if len(j.Origins) == 0 {
		return reply
	}
	reply.Header.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); slices.Contains(j.Origins, origin) {
		reply.Header.Set("Access-Control-Allow-Origin", origin)
		reply.Header.Set("Access-Control-Expose-Headers", "Retry-After")
		if r.Method == http.MethodOptions {
			reply.Header.Set("Access-Control-Allow-Methods", "GET, POST")
			reply.Header.Set("Access-Control-Allow-Headers", "Content-Type")
			reply.Header.Set("Access-Control-Max-Age", "600")
		}
	}
	return reply
}

func (j *jsonAPI) answer(w http.ResponseWriter, r *http.Request) exchange.Reply {
	path := strings.TrimSuffix(r.URL.Path, "/")
	name := path[strings.LastIndexByte(path, '/')+1:]
	allow := "POST"
	var fields []field
	switch name {
	case "resets":
		fields = []field{{name: "username"}, {name: "email"}, {name: "portal"}, {name: "code", isBool: true}, {name: "ticket"}}
	case "usernames":
		fields = []field{{name: "email"}}
	case "completions":
		fields = []field{{name: "token"}, {name: "ticket"}, {name: "code"}, {name: "password"}, {name: "username"}, {name: "factor"}}
	case "policy", "openapi.yaml":
		allow = "GET, HEAD"
	default:
		return problemReply(http.StatusNotFound, "not-found", "there is nothing at this path")
	}
	if r.Method == http.MethodOptions {
		return exchange.Reply{Status: http.StatusNoContent, Header: http.Header{"Allow": {allow}}}
	}
	if !slices.Contains(strings.Split(allow, ", "), r.Method) {
		reply := problemReply(http.StatusMethodNotAllowed, "method", "the method must be "+strings.ReplaceAll(allow, ",", " or"))
		reply.Header.Set("Allow", allow)
		return reply
	}
	switch name {
	case "policy":
		return jsonReply(http.StatusOK, jsonType, j.policy)
	case "openapi.yaml":
		return jsonReply(http.StatusOK, "application/yaml", openAPI)
	}
	if j.IsForeign(r) {
		return problemReply(http.StatusForbidden, "cross-site", crossSite)
	}
	if exchange.ContentType(r.Header, jsonType) == "" {
		return problemReply(http.StatusUnsupportedMediaType, "media-type", "there must be one Content-Type, application/json with no parameter but charset=utf-8, and no Content-Encoding")
	}
	body, err := exchange.ReadBody(w, r)
	if errors.Is(err, exchange.ErrTooLarge) {
		return problemReply(http.StatusRequestEntityTooLarge, "too-large", err.Error())
	}
	if err == nil {
		err = decodeJSON(body, "", fields)
	}
	if err != nil {
		return malformed(err.Error())
	}
	switch name {
	case "resets":
		return j.requestReset(r, fields)
	case "usernames":
		return j.requestUsernames(r, fields)
	}
	return j.complete(r, fields)
}

func (j *jsonAPI) requestReset(r *http.Request, fields []field) exchange.Reply {
	username, email, portal, code, ticket := fields[0], fields[1], fields[2], fields[3], fields[4]
	switch {
	case username.set == email.set:
		return malformed("exactly one of username and email must be given")
	case username.set && username.value == "":
		return malformed("username must not be empty")
	case email.set && email.value == "":
		return malformed("email must not be empty")
	}
	receipt, err := j.Service.RequestReset(r.Context(), recovery.ResetRequest{
		Username: username.value, Email: email.value, Tenant: j.Tenant(r), Portal: portalNamed(j.portals, portal.value),
		Code: code.value == "true", Ticket: ticket.value, Locale: exchange.Locale(r.Header), Client: j.ClientAddr(r),
	})
	return j.reply(r, fields, err, http.StatusAccepted, map[string]string{"id": receipt.ID, "ticket": receipt.Ticket.Reveal()})
}

func (j *jsonAPI) requestUsernames(r *http.Request, fields []field) exchange.Reply {
	if !fields[0].set {
		return malformed("email must be given")
	}
	receipt, err := j.Service.RetrieveUsername(r.Context(), recovery.UsernameRequest{
		Email: fields[0].value, Tenant: j.Tenant(r), Locale: exchange.Locale(r.Header), Client: j.ClientAddr(r),
	})
	return j.reply(r, fields, err, http.StatusAccepted, map[string]string{"id": receipt.ID})
}

func (j *jsonAPI) complete(r *http.Request, fields []field) exchange.Reply {
	token, ticket, code, password, username, factor := fields[0], fields[1], fields[2], fields[3], fields[4], fields[5]
	switch {
	case !password.set:
		return malformed("password must be given")
	case ticket.set != code.set || token.set == ticket.set:
		return malformed("either token, or ticket and code must be given")
	}
	for _, f := range []field{token, ticket, code, username} {
		if f.set && f.value == "" {
			return malformed(f.name + " must not be empty")
		}
	}
	_, err := j.Service.CompleteReset(r.Context(), recovery.CompleteRequest{
		Token: token.value, Ticket: ticket.value, Code: code.value, Password: password.value,
		Username: username.value, Factor: factor.value, Locale: exchange.Locale(r.Header), Client: j.ClientAddr(r),
	})
	return j.reply(r, fields, err, http.StatusNoContent, nil)
}

// reply answers with what a call returned: the status and value, or a problem.
func (j *jsonAPI) reply(r *http.Request, fields []field, err error, status int, value any) exchange.Reply {
	class, wait := j.ClassifyAndLog(r.Context(), err, func(field string) bool { return isSet(fields, field) })
	text := explain(class, err)
	var reply exchange.Reply
	switch class {
	case exchange.OK:
		if value == nil {
			return exchange.Reply{Status: status, Header: http.Header{}}
		}
		return jsonReply(status, jsonType, mustMarshal(value))
	case exchange.BadField:
		return malformed(text)
	case exchange.BadPassword:
		e, _ := errors.AsType[*recovery.PasswordError](err)
		p := newProblem(http.StatusUnprocessableEntity, "password", text)
		for _, reason := range e.Reasons {
			p.Reasons = append(p.Reasons, jsonRule{Name: reason.Name, Text: reason.Text})
		}
		return p.reply()
	case exchange.BadToken:
		if isSet(fields, "code") {
			return problemReply(http.StatusGone, "code", "the code is wrong, or it is used, expired or replaced by a newer one: look at it again, and after five wrong codes ask for a new one")
		}
		return problemReply(http.StatusGone, "token", text)
	case exchange.Challenged:
		p := newProblem(http.StatusForbidden, "challenge", "a second factor is needed: send it as factor")
		if e, ok := errors.AsType[*recovery.ChallengeError](err); ok {
			p.Challenge = &jsonChallenge{e.Name, e.Text}
		}
		return p.reply()
	case exchange.Denied:
		return problemReply(http.StatusForbidden, "denied", text)
	case exchange.Limited:
		if e, _ := errors.AsType[*recovery.LimitError](err); e.Scope == recovery.ScopeTicket {
			// The code does not outlive the wait.
			return problemReply(http.StatusTooManyRequests, "ticket", "too many wrong codes: ask for a new one, without the ticket")
		}
		reply = problemReply(http.StatusTooManyRequests, "limit", text)
	case exchange.Unavailable:
		reply = problemReply(http.StatusServiceUnavailable, "unavailable", text)
	default:
		return problemReply(http.StatusInternalServerError, "internal", text)
	}
	reply.Header.Set("Retry-After", exchange.Seconds(wait))
	return reply
}

// titles are the titles of the problems by the ends of their types.
var titles = map[string]string{
	"malformed":   "The request is malformed",
	"challenge":   "A second factor is needed",
	"denied":      "The reset is denied",
	"cross-site":  "The request comes from another site",
	"not-found":   "There is nothing here",
	"method":      "The method is not allowed",
	"token":       "The token cannot be used",
	"code":        "The code cannot be used",
	"too-large":   "The body is too large",
	"media-type":  "The media type is not supported",
	"password":    "The password is rejected",
	"limit":       "Too many requests",
	"ticket":      "Too many wrong codes",
	"internal":    "Internal error",
	"unavailable": "The service is not available",
}

func newProblem(status int, kind, detail string) *problem {
	return &problem{Type: problemType + kind, Title: titles[kind], Status: status, Detail: detail}
}

func (p *problem) reply() exchange.Reply {
	return jsonReply(p.Status, "application/problem+json", mustMarshal(p))
}

func problemReply(status int, kind, detail string) exchange.Reply {
	return newProblem(status, kind, detail).reply()
}

func malformed(detail string) exchange.Reply {
	return problemReply(http.StatusBadRequest, "malformed", detail)
}

func jsonReply(status int, media string, body []byte) exchange.Reply {
	return exchange.Reply{Status: status, Header: http.Header{"Content-Type": {media}}, Body: body}
}
