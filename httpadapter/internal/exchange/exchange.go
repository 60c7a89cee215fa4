// Package exchange is what the formats and the portal do alike around a call of the Service: the
// size and the deadline of a body, panics, the client's address, the languages that the client
// reads, and what an error means to the client.
package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	"example.com/recovery"
	"example.com/recovery/internal/outage"
)

const (
	maxBody        = 16 << 10
	defaultTimeout = 10 * time.Second
	retryWhenBusy  = time.Second
)

// Options are those that all handlers have.
type Options struct {
	ClientAddr  func(*http.Request) netip.Addr
	Tenant      func(*http.Request) string
	Origins     []string // of pages that may call from elsewhere
	BodyTimeout time.Duration
	Logger      *slog.Logger
}

// A Base is what the handlers of this module embed.
type Base struct {
	Service *recovery.Service
	Options
	name        string
	crossOrigin *http.CrossOriginProtection
	calls       outage.Log
	foreign     outage.Log // requests of other origins
}

// New fills in the defaults of o. The name is that of the handler's package, for errors and the
// log. The error joins all faults.
func New(name string, svc *recovery.Service, o Options) (*Base, error) {
	var faults []error
	if svc == nil {
		faults = append(faults, errors.New(name+": the Service must not be nil"))
	}
	if o.BodyTimeout < 0 {
		faults = append(faults, fmt.Errorf("%s: Options.BodyTimeout must not be negative, is %v", name, o.BodyTimeout))
	}
	crossOrigin := http.NewCrossOriginProtection()
	for _, origin := range o.Origins {
		if err := crossOrigin.AddTrustedOrigin(origin); err != nil {
			faults = append(faults, fmt.Errorf(`%s: Options.Origins must be like "https://app.example.com", one is %q: %w`, name, origin, err))
		}
	}
	if o.BodyTimeout == 0 {
		o.BodyTimeout = defaultTimeout
	}
	if o.ClientAddr == nil {
		o.ClientAddr = RemoteAddr
	}
	if o.Tenant == nil {
		o.Tenant = func(*http.Request) string { return "" }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Base{Service: svc, Options: o, name: name, crossOrigin: crossOrigin}, errors.Join(faults...)
}

// IsForeign reports whether a page of another origin made a browser send the request, and tells the
// log.
func (b *Base) IsForeign(r *http.Request) bool {
	if b.crossOrigin.Check(r) == nil {
		return false
	}
	b.foreign.Failed(b.Logger.Warn, b.name+": a request from a page of another origin was refused; "+
		"if the page is yours, add the origin that browsers show to Options.Origins: a proxy may have changed Host")
	return true
}

// A Reply is a whole response, so that nothing is written before everything is decided.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Serve writes the reply of answer. If answer panics, the log says where, and the reply is that of
// onPanic.
func (b *Base) Serve(w http.ResponseWriter, r *http.Request, answer, onPanic func() Reply) {
	if r.Body != http.NoBody {
		// Set it always: net/http drains the unread body after an early answer, and resets the
		// deadline itself. Not every ResponseWriter has one.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(b.BodyTimeout))
	}
	reply := b.catch(answer, onPanic)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	for name, values := range reply.Header {
		header[name] = values
	}
	w.WriteHeader(reply.Status)
	_, _ = w.Write(reply.Body) // the client may be gone
}

func (b *Base) catch(answer, onPanic func() Reply) (reply Reply) {
	defer func() {
		switch v := recover(); {
		case v == http.ErrAbortHandler:
			panic(v)
		case v != nil:
			// The value may hold anything, even a secret; the stack says where.
			b.Logger.Error(b.name+": panic", "stack", string(debug.Stack()))
			reply = onPanic()
		}
	}()
	return answer()
}

// The errors of ReadBody.
var (
	ErrTooLarge = errors.New("the body must be at most 16384 bytes long")
	ErrCutOff   = errors.New("the body did not arrive whole and in time")
)

// ReadBody returns the body, ErrTooLarge or ErrCutOff.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBody {
		w.Header().Set("Connection", "close") // instead of reading the announced body
		return nil, ErrTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, ErrTooLarge
	}
	if err != nil {
		w.Header().Set("Connection", "close")
		return nil, ErrCutOff
	}
	return body, nil
}

// A Class is what an error of the Service means to the client.
type Class int

const (
	OK          Class = iota
	BadField          // a *recovery.FieldError about what the client sent
	BadPassword       // a *recovery.PasswordError
	BadToken
	Challenged // maybe a *recovery.ChallengeError
	Denied
	Limited     // later, the same request may be allowed
	Unavailable // later, the same request may work
	AppFault    // a fault of the application
)

// ClassifyAndLog returns what err means, and how long to wait before the next try. isInput reports
// whether the client sent the field of that name. Errors that the client cannot mend are logged.
func (b *Base) ClassifyAndLog(ctx context.Context, err error, isInput func(field string) bool) (Class, time.Duration) {
	if err == nil {
		b.calls.Works(b.Logger.Info, b.name+": calls succeed again")
		return OK, 0
	}
	// First, because these wrap errors of the application.
	switch {
	case errors.Is(err, recovery.ErrDenied):
		return Denied, 0
	case errors.Is(err, recovery.ErrChallenged):
		return Challenged, 0
	}
	if e, ok := errors.AsType[*recovery.FieldError](err); ok {
		if isInput(e.Field) {
			return BadField, 0
		}
		b.Logger.Error(b.name+": the application's part of a request is not valid; see Options.Tenant and the portal's Tenants", "error", err.Error())
		return AppFault, 0
	}
	if e, ok := errors.AsType[*recovery.LimitError](err); ok {
		return Limited, e.RetryAfter
	}
	if _, ok := errors.AsType[*recovery.PasswordError](err); ok {
		return BadPassword, 0
	}
	if errors.Is(err, recovery.ErrInvalidToken) {
		return BadToken, 0
	}
	if !errors.Is(err, recovery.ErrBusy) && ctx.Err() == nil {
		b.calls.Failed(b.Logger.Error, b.name+": the call failed", "error", err.Error())
	}
	return Unavailable, retryWhenBusy
}

// Seconds formats a Retry-After header: whole seconds, at least one, rounded up.
func Seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}
