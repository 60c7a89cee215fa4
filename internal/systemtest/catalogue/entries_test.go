package catalogue

import (
	"bufio"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/formats"
)

// An answer is what a caller gets: its outcome, and all of it but the date.
type answer struct {
	outcome string // one of the words below
	text    string
}

// The outcomes of an answer.
const (
	accepted    = "accepted"
	challenged  = "challenged"
	malformed   = "malformed"
	weak        = "weak password"
	badToken    = "bad token"
	denied      = "denied"
	limited     = "limited"
	unavailable = "unavailable"
	tooLarge    = "too large"
	mediaType   = "media type"
	crossSite   = "cross-site"
	method      = "method"
	broken      = "broken"
)

var entryNames = []string{"direct", formats.Xandr, formats.RackspaceJSON, formats.RackspaceXML, formats.Own, formats.Portal}

// An entry is a way into the Service. What its format cannot say is nil.
type entry struct {
	name       string
	byName     func(username string) answer // asks for a reset
	byEmail    func(address string) answer
	names      func(address string) answer // asks for the user names
	complete   func(token, password string) answer
	completeAs func(username, token, password string) answer
	// send sends a body for "reset", "names" or "complete" as the format's clients do, with further
	// header lines.
	send func(call, body string, header ...string) answer
}

// An ask is one way in which an entry can be asked for something, by an identifier of one kind.
type ask struct {
	name string // "reset by name", "reset by address", "names"
	kind string // "username" or "email"
	ask  func(identifier string) answer
}

// asks returns the ways in which the entry can be asked.
func (e *entry) asks() (all []ask) {
	for _, a := range []ask{{"reset by name", "username", e.byName}, {"reset by address", "email", e.byEmail}, {"names", "email", e.names}} {
		if a.ask != nil {
			all = append(all, a)
		}
	}
	return all
}

func (s *site) entry(name string) *entry {
	switch name {
	case "direct":
		return s.direct()
	case "code":
		return s.byCode()
	}
	return s.over(name)
}

// direct is the Service itself. Its mails have codes, too.
func (s *site) direct() *entry {
	e := &entry{name: "direct"}
	e.byName = func(name string) answer { return s.called(spy.Err(s.request(recovery.ResetRequest{Username: name}))) }
	e.byEmail = func(email string) answer { return s.called(spy.Err(s.request(recovery.ResetRequest{Email: email}))) }
	e.names = func(email string) answer {
		return s.called(spy.Err(s.RetrieveUsername(s.ctx, recovery.UsernameRequest{Email: email, Tenant: s.tenant, Client: s.client})))
	}
	e.completeAs = func(username, token, password string) answer {
		return s.completes(recovery.CompleteRequest{Username: username, Token: token, Password: password})
	}
	e.complete = func(token, password string) answer { return e.completeAs("", token, password) }
	return e
}

// byCode is direct, but a token is completed by the code that its mail had, too, and the ticket.
// For any other token it sends a wrong code with a ticket of its own.
func (s *site) byCode() *entry {
	e := s.direct()
	e.name = "code"
	e.completeAs = func(username, token, password string) answer {
		t, ok := s.typed[token]
		if !ok {
			t = typed{randomTicket(), "BBBB-BBBB"}
		}
		return s.completes(recovery.CompleteRequest{Username: username, Ticket: t.ticket, Code: t.code, Password: password})
	}
	e.complete = func(token, password string) answer { return e.completeAs("", token, password) }
	return e
}

// completes is the answer of a completion, of the site's client.
func (s *site) completes(r recovery.CompleteRequest) answer {
	r.Client = s.client
	_, err := s.CompleteReset(s.ctx, r)
	return s.called(err)
}

// randomTicket returns a ticket that nobody was given.
func randomTicket() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
}

// called is the answer of a call.
func (s *site) called(err error) answer {
	s.attacks.Add(1)
	fmt.Fprintln(s.seen, errorText(err))
	a := answer{unavailable, errorText(err)}
	var limit *recovery.LimitError
	switch {
	case err == nil:
		a.outcome = accepted
	case errors.Is(err, recovery.ErrInvalidRequest):
		a.outcome = malformed
	case errors.Is(err, recovery.ErrInvalidPassword):
		a.outcome = weak
	case errors.Is(err, recovery.ErrInvalidToken):
		a.outcome = badToken
	case errors.Is(err, recovery.ErrDenied):
		a.outcome = denied
	case errors.Is(err, recovery.ErrChallenged):
		a.outcome = challenged
	case errors.As(err, &limit):
		a.outcome = limited
	}
	return a
}

// over is an entry over HTTP.
func (s *site) over(format string) *entry {
	e := &entry{name: format}
	e.send = func(call, body string, header ...string) answer {
		r := formats.New(format, call)
		return s.do(r.Method, r.Path, body, withDefaults(header, r.Header...)...)
	}
	send := func(call string, pairs ...string) answer { return e.send(call, formats.Body(format, call, pairs...)) }
	switch format {
	case formats.Xandr, formats.Own:
		e.byName = func(name string) answer { return send("reset", "username", name) }
		if format == formats.Own {
			e.byEmail = func(email string) answer { return send("reset", "email", email) }
		}
		e.names = func(email string) answer { return send("names", "email", email) }
		e.complete = func(token, password string) answer { return send("complete", "token", token, "password", password) }
		e.completeAs = func(username, token, password string) answer {
			return send("complete", "username", username, "token", token, "password", password)
		}
	case formats.Portal:
		e.byName = func(name string) answer { return send("reset", "by", "username", "username", name, "email", "") }
		e.byEmail = func(email string) answer { return send("reset", "by", "email", "username", "", "email", email) }
		e.names = func(email string) answer { return send("names", "email", email) }
		e.complete = func(token, password string) answer {
			return send("complete", "token", token, "password", password, "repeat", password)
		}
	default:
		e.byName = func(name string) answer {
			a := send("reset", "username", name)
			// The format has the name that was sent come back; what is compared is the rest.
			a.text = strings.ReplaceAll(a.text, "\nX-User-Name: "+strings.TrimSpace(name)+"\n", "\nX-User-Name: (as sent)\n")
			return a
		}
		e.complete = func(token, password string) answer {
			return e.send("complete", formats.Body(format, "complete", "password", password), "X-Auth-Token: "+token)
		}
	}
	return e
}

// do has a request served. Lines are "Name: value"; a Name alone is for a header that is left out.
func (s *site) do(method, target, body string, lines ...string) answer {
	if s.overWire {
		r := formats.Request{Method: method, Path: target, Body: body}
		for _, line := range lines {
			if strings.Contains(line, ": ") {
				r.Header = append(r.Header, line)
			}
		}
		return s.raw(string(r.Bytes()))
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	}
	r.RemoteAddr = netip.AddrPortFrom(s.client, 1234).String()
	if s.remote != nil {
		r.RemoteAddr = *s.remote
	}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ": ")
		if name = http.CanonicalHeaderKey(name); ok {
			r.Header[name] = append(r.Header[name], value)
		}
	}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return s.answered(target, w.Code, w.Header(), w.Body.String())
}

// withDefaults adds the lines whose headers are not there.
func withDefaults(lines []string, defaults ...string) []string {
	for _, line := range defaults {
		name, _, _ := strings.Cut(line, ":")
		if !slices.ContainsFunc(lines, func(l string) bool { return l == name || strings.HasPrefix(l, name+":") }) {
			lines = append(lines[:len(lines):len(lines)], line)
		}
	}
	return lines
}

// madeUp is what JSON makes up for every request, in the length that it always has.
var madeUp = regexp.MustCompile(`"(id|ticket)":"([0-9a-f-]{36}|[a-z2-7]{52})"`)

// answered is the answer of a response.
func (s *site) answered(target string, status int, header http.Header, body string) answer {
	var lines []string
	for name, values := range header {
		if name == "Date" {
			continue
		}
		for _, v := range values {
			lines = append(lines, name+": "+v+"\n")
		}
	}
	slices.Sort(lines)
	body = madeUp.ReplaceAllString(body, `"$1":"(made up)"`)
	a := answer{text: fmt.Sprintf("%d\n%s\n%s", status, strings.Join(lines, ""), body)}
	s.attacks.Add(1)
	fmt.Fprintln(s.seen, a.text)
	switch status {
	case 200, 202, 204, 303:
		a.outcome = accepted
	case 400:
		a.outcome = malformed
		if strings.Contains(body, "INVALID_PASSWORD") || strings.Contains(target, "pwd-reset") && strings.Contains(body, "the password ") {
			a.outcome = weak
		}
		if strings.Contains(body, `"INVALID_TOKEN"`) {
			a.outcome = badToken
		}
	case 401, 410:
		a.outcome = badToken
	case 403:
		a.outcome = denied
		if strings.Contains(body, "problems/challenge") {
			a.outcome = challenged
		}
		if strings.Contains(body, "sent from another website") || strings.Contains(body, "a page of an origin that the operator") {
			a.outcome = crossSite
		}
	case 405:
		a.outcome = method
	case 413:
		a.outcome = tooLarge
		if header.Get("Retry-After") != "" {
			a.outcome = limited
		}
	case 415:
		a.outcome = mediaType
	case 422: // of JSON and the portal
		switch {
		case strings.Contains(body, "problems/password"):
			a.outcome = weak
		case !strings.Contains(body, "<form"):
			a.outcome = badToken
		case strings.Contains(target, "/reset"):
			a.outcome = weak
		default:
			a.outcome = malformed
		}
	case 429:
		a.outcome = limited
	case 500:
		a.outcome = broken
	case 503:
		a.outcome = unavailable
	default:
		a.outcome = fmt.Sprint(status)
	}
	return a
}

// raw sends bytes over a connection and returns the first answer.
func (s *site) raw(request string) answer {
	s.is.Helper()
	conn, err := net.Dial("tcp", s.serve().Listener.Addr().String())
	s.is.NoErr(err)
	defer conn.Close()
	s.is.NoErr(conn.SetDeadline(time.Now().Add(30 * time.Second)))
	_, err = io.WriteString(conn, request)
	s.is.NoErr(err)
	return s.readAnswer(bufio.NewReader(conn), request)
}

// readAnswer reads the answer to a request from its connection.
func (s *site) readAnswer(from *bufio.Reader, request string) answer {
	s.is.Helper()
	verb, rest, _ := strings.Cut(request, " ")
	target, _, _ := strings.Cut(rest, " ")
	response, err := http.ReadResponse(from, &http.Request{Method: verb})
	s.is.NoErr(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	s.is.NoErr(err)
	return s.answered(target, response.StatusCode, response.Header, string(body))
}
