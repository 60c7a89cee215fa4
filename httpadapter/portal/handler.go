package portal

import (
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/exchange"
	"example.com/recovery/internal/outage"
)

type handler struct {
	*exchange.Base
	opts       Options
	core       recovery.Options
	rules      []recovery.PasswordRule
	locales    []*locale // English first
	matcher    language.Matcher
	pages      map[string]*template.Template
	assets     map[string]asset
	policy     string // Content-Security-Policy
	challenged outage.Log
}

// A reply is a page, or else a body with its Content-Type in header.
type reply struct {
	status int
	header http.Header
	page   *Page
	body   []byte
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l := h.locale(r)
	h.Serve(w, r, func() exchange.Reply {
		return h.finish(h.route(w, r, l))
	}, func() exchange.Reply {
		return h.finish(h.refuse(l, http.StatusInternalServerError, "internal"))
	})
}

// finish renders the page of a reply, and sets what every reply has.
func (h *handler) finish(answer reply) exchange.Reply {
	header := answer.header
	if header == nil {
		header = http.Header{}
	}
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	if answer.body == nil { // a page or a redirection
		setPageHeaders(header, h.policy)
	}
	if answer.page != nil {
		body, err := h.render(answer.page)
		if err != nil {
			h.Logger.Error("portal: a template failed", "page", answer.page.Name)
			answer.status, body = http.StatusInternalServerError, []byte("internal error\n")
			header.Set("Content-Type", "text/plain; charset=utf-8")
		} else {
			header.Set("Content-Type", "text/html; charset=utf-8")
			header.Set("Content-Language", answer.page.Lang)
			header.Set("Vary", "Accept-Language")
		}
		answer.body = body
	}
	header.Set("Content-Length", strconv.Itoa(len(answer.body)))
	return exchange.Reply{Status: answer.status, Header: header, Body: answer.body}
}

// setPageHeaders sets what browsers enforce for a page. The Referrer-Policy is not no-referrer:
// browsers would then send "Origin: null" with a form, and on plain http only the Origin tells
// where a form is from.
func setPageHeaders(header http.Header, policy string) {
	header.Set("Content-Security-Policy", policy)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Referrer-Policy", "strict-origin")
	header.Set("X-Frame-Options", "DENY")
}

// route answers by the last segment of the path and the method.
func (h *handler) route(w http.ResponseWriter, r *http.Request, l *locale) reply {
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	a, isAsset := h.assets[name]
	_, isForm := formFields[name]
	var p *Page
	switch name {
	case "":
		p = h.page(l, "start")
	case "password", "username", "reset", "done":
		p = h.page(l, name)
	case "password-sent", "username-sent":
		p = h.page(l, "sent")
		p.For = strings.TrimSuffix(name, "-sent")
	default:
		// Some mail programs encode the "#" of the link. The token then stands in the path.
		if page, text, ok := strings.Cut(name, "#token="); ok && page == "reset" && r.Method != http.MethodPost {
			if token, err := recovery.ParseToken(text); err == nil {
				return reply{status: http.StatusSeeOther, header: http.Header{"Location": {"reset#token=" + token.Reveal()}}}
			}
		}
		if !isAsset {
			return h.refuse(l, http.StatusNotFound, "not_found")
		}
	}
	switch {
	case r.Method == http.MethodPost && isForm:
		return h.post(w, r, l, name)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		answer := h.refuse(l, http.StatusMethodNotAllowed, "request")
		answer.header.Set("Allow", "GET, HEAD")
		if isForm {
			answer.header.Set("Allow", "GET, HEAD, POST")
		}
		return answer
	case isAsset:
		return a.reply(r)
	}
	return reply{status: http.StatusOK, page: p}
}

// reply lets browsers keep an asset for as long as they like if the URL has its version. Pages of
// an older or newer instance name another version; then browsers do not keep it.
func (a asset) reply(r *http.Request) reply {
	header := http.Header{"Content-Type": {a.media}}
	if r.URL.RawQuery == "v="+a.version {
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	return reply{status: http.StatusOK, header: header, body: a.body}
}

// post reads a form and acts on it.
func (h *handler) post(w http.ResponseWriter, r *http.Request, l *locale, name string) reply {
	if h.IsForeign(r) {
		answer := h.refuse(l, http.StatusForbidden, "cross_site")
		answer.page.Retry = name
		return answer
	}
	if exchange.ContentType(r.Header, formType) == "" {
		return h.refuse(l, http.StatusUnsupportedMediaType, "request")
	}
	body, err := exchange.ReadBody(w, r)
	switch {
	case errors.Is(err, exchange.ErrTooLarge):
		return h.refuse(l, http.StatusRequestEntityTooLarge, "request")
	case err != nil:
		return h.refuse(l, http.StatusBadRequest, "request")
	}
	fields, err := decodeForm(string(body), formFields[name]...)
	if err != nil || name == "password" && fields["by"] != "email" && fields["by"] != "username" {
		h.Logger.Debug("portal: a form does not have the fields of its page", "page", name, "fields", formFields[name])
		return h.refuse(l, http.StatusBadRequest, "request")
	}
	switch name {
	case "password":
		return h.requestReset(r, l, fields)
	case "username":
		return h.requestUsernames(r, l, fields)
	}
	return h.completeReset(r, l, fields)
}

func (h *handler) requestReset(r *http.Request, l *locale, fields map[string]string) reply {
	p := h.page(l, "password")
	p.By, p.Email, p.Username = fields["by"], fields["email"], fields["username"]
	request := recovery.ResetRequest{
		Tenant: h.Tenant(r), Portal: h.opts.Portal, Locale: l.name(), Client: h.ClientAddr(r),
	}
	// Read only the chosen field. The other one may hold what was typed before the choice changed,
	// and one user's name may be another's address.
	if p.By == "email" {
		if request.Email = p.Email; isBlank(p.Email) {
			p.EmailError = l.known("email.empty")
		}
	} else if request.Username = p.Username; isBlank(p.Username) {
		p.UsernameError = l.known("username.empty")
	}
	if p.Failed() {
		return reply{status: http.StatusUnprocessableEntity, page: p}
	}
	_, err := h.Service.RequestReset(r.Context(), request)
	return h.reply(r, l, p, "password-sent", err)
}

func (h *handler) requestUsernames(r *http.Request, l *locale, fields map[string]string) reply {
	p := h.page(l, "username")
	if p.Email = fields["email"]; isBlank(p.Email) {
		p.EmailError = l.known("email.empty")
		return reply{status: http.StatusUnprocessableEntity, page: p}
	}
	_, err := h.Service.RetrieveUsername(r.Context(), recovery.UsernameRequest{
		Email: p.Email, Tenant: h.Tenant(r), Locale: l.name(), Client: h.ClientAddr(r),
	})
	return h.reply(r, l, p, "username-sent", err)
}

func (h *handler) completeReset(r *http.Request, l *locale, fields map[string]string) reply {
	p := h.page(l, "reset")
	password, token := fields["password"], fields["token"]
	if isBlank(token) {
		p.TokenError = l.known("token.empty")
	}
	if password != fields["repeat"] {
		p.RepeatError = l.known("reset.differs")
	}
	if p.Failed() {
		h.reject(l, p, password, nil)
		return reply{status: http.StatusUnprocessableEntity, page: p}
	}
	_, err := h.Service.CompleteReset(r.Context(), recovery.CompleteRequest{
		Token: token, Password: password, Locale: l.name(), Client: h.ClientAddr(r),
	})
	if e, ok := errors.AsType[*recovery.PasswordError](err); ok {
		h.reject(l, p, password, e.Reasons)
	}
	return h.reply(r, l, p, "done", err)
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }

// reply answers a form after its call returned err: with next, the form p again, or a problem.
func (h *handler) reply(r *http.Request, l *locale, p *Page, next string, err error) reply {
	class, wait := h.ClassifyAndLog(r.Context(), err, func(field string) bool { return field == "email" || field == "username" })
	switch class {
	case exchange.OK:
		return reply{status: http.StatusSeeOther, header: http.Header{"Location": {next}}}
	case exchange.BadField:
		if e, _ := errors.AsType[*recovery.FieldError](err); e.Field == "email" {
			p.EmailError = l.known("email.wrong")
		} else {
			p.UsernameError = l.known("username.wrong")
		}
		return reply{status: http.StatusUnprocessableEntity, page: p}
	case exchange.BadPassword:
		return reply{status: http.StatusUnprocessableEntity, page: p}
	case exchange.BadToken:
		return h.refuse(l, http.StatusUnprocessableEntity, "token")
	case exchange.Challenged:
		h.challenged.Failed(h.Logger.Warn, "portal: Options.Approve asks for a second factor, for which these pages have no field; "+
			"put a page of your own in the place of reset")
		return h.refuse(l, http.StatusForbidden, "denied")
	case exchange.Denied:
		return h.refuse(l, http.StatusForbidden, "denied")
	case exchange.Limited:
		return h.later(l, p, http.StatusTooManyRequests, "limit", wait)
	case exchange.Unavailable:
		return h.later(l, p, http.StatusServiceUnavailable, "busy", wait)
	}
	return h.refuse(l, http.StatusInternalServerError, "internal")
}

func (h *handler) refuse(l *locale, status int, problem string) reply {
	return reply{status: status, header: http.Header{}, page: h.problem(l, problem)}
}

// later asks for the form p again, after a while.
func (h *handler) later(l *locale, p *Page, status int, problem string, wait time.Duration) reply {
	answer := h.refuse(l, status, problem)
	answer.page.Wait, answer.page.Retry = l.duration(wait, true), p.Name
	answer.header.Set("Retry-After", exchange.Seconds(wait))
	return answer
}

// locale returns the available language that the caller likes best.
func (h *handler) locale(r *http.Request) *locale {
	_, i, _ := h.matcher.Match(exchange.Languages(r.Header)...)
	return h.locales[i]
}
