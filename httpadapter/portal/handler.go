package portal

import (
	"errors"
	"html/template"
	"io"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/language"

	"example.com/recovery"
	"example.com/recovery/internal/acceptlanguage"
	"example.com/recovery/internal/outage"
)

const (
	maxBody       = 16 << 10
	retryWhenBusy = time.Second
)

type handler struct {
	svc     *recovery.Service
	opts    Options
	core    recovery.Options
	rules   []recovery.PasswordRule
	locales []*locale // English first
	matcher language.Matcher
	pages   map[string]*template.Template
	assets  map[string]asset
	policy  string      // Content-Security-Policy
	failed  outage.Line // calls
	foreign outage.Line // forms of other sites
}

// A reply is a whole response, so that nothing is written before everything is decided.
type reply struct {
	status int
	header http.Header
	page   *Page  // or else
	body   []byte // with its Content-Type in header
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body != http.NoBody {
		// Answers that do not wait for the body need a deadline too: net/http reads the rest of it.
		// net/http also lifts the deadline at the end. Not every ResponseWriter has one.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.opts.BodyTimeout))
	}
	l := h.locale(r)
	answer := h.answer(w, r, l)
	header := w.Header()
	setHeaders(header)
	if answer.body == nil { // a page or a redirection
		setPageHeaders(header, h.policy)
	}
	if answer.page != nil {
		body, err := h.render(answer.page)
		if err != nil {
			h.opts.Logger.Error("portal: a template failed", "page", answer.page.Name)
			answer = reply{status: http.StatusInternalServerError, body: []byte("internal error\n")}
			header.Set("Content-Type", "text/plain; charset=utf-8")
		} else {
			answer.body = body
			header.Set("Content-Type", "text/html; charset=utf-8")
			header.Set("Content-Language", answer.page.Lang)
			header.Set("Vary", "Accept-Language")
		}
	}
	for name, values := range answer.header {
		header[name] = values
	}
	header.Set("Content-Length", strconv.Itoa(len(answer.body)))
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body) // the client may be gone
}

// setHeaders sets what every answer has.
func setHeaders(header http.Header) {
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
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

func (h *handler) answer(w http.ResponseWriter, r *http.Request, l *locale) (answer reply) {
	defer func() {
		switch v := recover(); {
		case v == http.ErrAbortHandler:
			panic(v)
		case v != nil:
			// The value may hold anything, even a secret; the stack says where.
			h.opts.Logger.Error("portal: panic", "stack", string(debug.Stack()))
			answer = h.refuse(l, http.StatusInternalServerError, "internal")
		}
	}()
	return h.route(w, r, l)
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
	if h.opts.CrossOrigin.Check(r) != nil {
		h.foreign.Failed(h.opts.Logger.Warn,
			"portal: a form was refused as another site's; if it was yours, set portal.Options.CrossOrigin: a proxy may have changed Host")
		answer := h.refuse(l, http.StatusForbidden, "cross_site")
		answer.page.Retry = name
		return answer
	}
	if checkFormType(r.Header) != nil {
		return h.refuse(l, http.StatusUnsupportedMediaType, "request")
	}
	body, status := readBody(w, r)
	if status != http.StatusOK {
		return h.refuse(l, status, "request")
	}
	fields, err := decodeForm(body, formFields[name]...)
	if err != nil || name == "password" && fields["by"] != "email" && fields["by"] != "username" {
		h.opts.Logger.Debug("portal: a form does not have the fields of its page", "page", name, "fields", formFields[name])
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

// readBody returns the body, or the status of its refusal.
func readBody(w http.ResponseWriter, r *http.Request) (body string, status int) {
	if r.ContentLength > maxBody {
		w.Header().Set("Connection", "close") // instead of reading the announced body
		return "", http.StatusRequestEntityTooLarge
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return "", http.StatusRequestEntityTooLarge
	}
	if err != nil { // it did not arrive whole and in time, and net/http closes the connection
		return "", http.StatusBadRequest
	}
	return string(b), http.StatusOK
}

func (h *handler) requestReset(r *http.Request, l *locale, fields map[string]string) reply {
	p := h.page(l, "password")
	p.By, p.Email, p.Username = fields["by"], fields["email"], fields["username"]
	request := recovery.ResetRequest{
		Tenant: h.opts.Tenant(r), Portal: h.opts.Portal, Locale: l.name(), Client: h.opts.ClientAddr(r),
	}
	// Read only the chosen field. The other one may hold what was typed before the choice changed,
	// and one user's name may be another's address.
	if p.By == "email" {
		if request.Email = p.Email; isBlank(p.Email) {
			p.EmailError = l.must("email.empty")
		}
	} else if request.Username = p.Username; isBlank(p.Username) {
		p.UsernameError = l.must("username.empty")
	}
	if p.Failed() {
		return reply{status: http.StatusUnprocessableEntity, page: p}
	}
	_, err := h.svc.RequestReset(r.Context(), request)
	return h.reply(r, l, p, "password-sent", err)
}

func (h *handler) requestUsernames(r *http.Request, l *locale, fields map[string]string) reply {
	p := h.page(l, "username")
	if p.Email = fields["email"]; isBlank(p.Email) {
		p.EmailError = l.must("email.empty")
		return reply{status: http.StatusUnprocessableEntity, page: p}
	}
	_, err := h.svc.RetrieveUsername(r.Context(), recovery.UsernameRequest{
		Email: p.Email, Tenant: h.opts.Tenant(r), Locale: l.name(), Client: h.opts.ClientAddr(r),
	})
	return h.reply(r, l, p, "username-sent", err)
}

func (h *handler) completeReset(r *http.Request, l *locale, fields map[string]string) reply {
	p := h.page(l, "reset")
	password, token := fields["password"], tokenOf(fields["token"])
	if token == "" {
		p.TokenError = l.must("token.empty")
	}
	if password != fields["repeat"] {
		p.RepeatError = l.must("reset.differs")
	}
	if p.Failed() {
		h.reject(l, p, password, nil)
		return reply{status: http.StatusUnprocessableEntity, page: p}
	}
	_, err := h.svc.CompleteReset(r.Context(), recovery.CompleteRequest{
		Token: token, Password: password, Locale: l.name(), Client: h.opts.ClientAddr(r),
	})
	if e, ok := errors.AsType[*recovery.PasswordError](err); ok {
		h.reject(l, p, password, e.Reasons)
	}
	return h.reply(r, l, p, "done", err)
}

// tokenOf returns the token in what people paste: the token or the whole link. It removes what mail
// programs and input methods put around it: white space, U+200B and U+FEFF, which nobody sees, and
// one pair of angle brackets.
func tokenOf(s string) string {
	s = trimUnseen(s)
	if inner, ok := strings.CutPrefix(s, "<"); ok && strings.HasSuffix(inner, ">") {
		s = inner[:len(inner)-1]
	}
	if i := strings.LastIndex(s, "#token="); i >= 0 {
		s = s[i+len("#token="):]
	}
	return trimUnseen(s)
}

func trimUnseen(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '\u200b' || r == '\ufeff' })
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }

// reply answers a form after its call returned err: with next, the form p again, or a problem.
func (h *handler) reply(r *http.Request, l *locale, p *Page, next string, err error) reply {
	if err == nil {
		h.failed.Works(h.opts.Logger.Info, "portal: calls succeed again")
		return reply{status: http.StatusSeeOther, header: http.Header{"Location": {next}}}
	}
	// First, because these wrap errors of the application. There is no field for a second factor.
	if errors.Is(err, recovery.ErrDenied) || errors.Is(err, recovery.ErrChallenged) {
		return h.refuse(l, http.StatusForbidden, "denied")
	}
	if e, ok := errors.AsType[*recovery.LimitError](err); ok {
		answer := h.later(l, http.StatusTooManyRequests, "limit", e.RetryAfter)
		answer.page.Retry = p.Name
		return answer
	}
	if e, ok := errors.AsType[*recovery.FieldError](err); ok {
		switch e.Field {
		case "email":
			p.EmailError = l.must("email.wrong")
		case "username":
			p.UsernameError = l.must("username.wrong")
		default: // the tenant or the portal, which nobody typed
			h.opts.Logger.Error("portal: the application's part of a request is not valid", "error", err.Error())
			return h.refuse(l, http.StatusInternalServerError, "internal")
		}
	}
	switch {
	case p.Failed():
		return reply{status: http.StatusUnprocessableEntity, page: p}
	case errors.Is(err, recovery.ErrInvalidToken):
		return h.refuse(l, http.StatusUnprocessableEntity, "token")
	case errors.Is(err, recovery.ErrBusy) || r.Context().Err() != nil:
	default:
		h.failed.Failed(h.opts.Logger.Error, "portal: the call failed", "error", err.Error())
	}
	answer := h.later(l, http.StatusServiceUnavailable, "busy", retryWhenBusy)
	answer.page.Retry = p.Name
	return answer
}

func (h *handler) refuse(l *locale, status int, problem string) reply {
	return reply{status: status, header: http.Header{}, page: h.problem(l, problem)}
}

func (h *handler) later(l *locale, status int, problem string, wait time.Duration) reply {
	answer := h.refuse(l, status, problem)
	answer.page.Wait = l.duration(wait, true)
	answer.header.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	return answer
}

// locale returns the available language that the caller likes best.
func (h *handler) locale(r *http.Request) *locale {
	_, i, _ := h.matcher.Match(acceptlanguage.Tags(r.Header)...)
	return h.locales[i]
}
