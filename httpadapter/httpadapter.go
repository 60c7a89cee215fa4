// Package httpadapter serves account recovery over HTTP, in two existing wire formats.
//
// [NewXandr] is the Account Recovery Service of the Xandr API:
//
//	POST /account-recovery   {"account-recovery":{"username":"U"}}   a token by mail
//	POST /account-recovery   {"account-recovery":{"email":"E"}}      the user names by mail
//	PUT  /account-recovery   {"account-recovery":{"username":"U","password":"P","token":"T"}}
//
// [NewRackspace] is the pair of calls of Rackspace Identity 2.0, in JSON and XML:
//
//	POST /v2.0/users/RAX-AUTH/forgot-pwd   user name and, if a link is wanted, portal
//	POST /v2.0/users/RAX-AUTH/pwd-reset    new password, the token in X-Auth-Token
//
// Both return a handler that answers only these paths. Mount it in your mux, below a prefix with
// [http.StripPrefix]. docs/wire-formats.md shows both on the wire, and docs/formats.md explains how
// to add another one.
//
// # What the caller can learn
//
// A caller learns what package recovery reveals, and nothing more. A request for a reset or for
// user names gets the same answer, byte for byte, whoever it names, even an account of another
// tenant. No answer repeats a value of the request, except the user name in Rackspace's X-User-Name
// header, which that format requires. A panic or an error of the store becomes a generic answer.
// The log has the details, without tokens, passwords and addresses.
//
// Status 429 depends on the callers only: on the client's networks, or on all clients together. No
// answer reveals that a person was mailed too often.
//
// # When something fails
//
// Status 503 with Retry-After means that the same request may work later: the store failed or took
// longer than Options.StoreTimeout of package recovery, too many passwords are being hashed, or
// Options.Approve failed. Status 403 means that Approve denied the reset (recovery.ErrDenied), or
// asks for a second factor (*recovery.ChallengeError). These formats have no field for one, so the
// answer says only that one is needed. A *recovery.PasswordError of Approve, Policy.Check or
// Hasher.Hash is answered with 400 and the texts of its reasons.
//
// Status 500 is a bug: a panic, or an Options.Tenant that returned what package recovery refuses.
// The log says which.
//
// # Bodies
//
// Bodies are decoded strictly: exact keys, none twice, none unknown, one value and nothing around
// it, UTF-8, no DOCTYPE. Any other body is refused with a text that names what is allowed. A body
// may have at most 16 KiB, and must arrive within 10 seconds (Options.BodyTimeout). The Xandr calls
// ignore Content-Type, because the client in their documentation (curl -d @file) sends a wrong one.
//
// # Cross-site requests
//
// The handlers neither read nor set cookies, so another site's page has nothing to abuse.
package httpadapter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"time"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/remote"
	"example.com/recovery/internal/acceptlanguage"
	"example.com/recovery/internal/outage"
)

// Options configure a handler. The zero value of every field is its documented default, and nil
// Options are the zero Options.
type Options struct {
	// ClientAddr returns the client's address, by which limits are counted. The default is
	// Request.RemoteAddr, with or without a port. Behind a proxy that is the proxy's address:
	// supply a function that reads the header that your proxy sets, and no other: a client can send
	// any. Requests without an address, the zero Addr, count as one client.
	ClientAddr func(*http.Request) netip.Addr

	// Tenant returns the tenant of a request, see recovery.ResetRequest; the default is "". It may
	// use the request's host or path, because the tenant only selects where accounts are looked up.
	// It is not called for a completion, because a token belongs to one account.
	//
	// A tenant that package recovery refuses is the application's fault. So is one that the portal
	// with the empty name does not serve, if the request names no portal. The answer is then 500,
	// whoever is named, and the log has a line for it.
	Tenant func(*http.Request) string

	// BodyTimeout is how long a body may take to arrive: default 10 seconds. It replaces the
	// server's ReadTimeout, even a shorter one. It needs a ResponseWriter whose deadlines
	// http.ResponseController can set; a middleware's ResponseWriter must have Unwrap.
	BodyTimeout time.Duration

	// Logger gets panics, faults of Tenant and, at most once a minute, errors of the store: default
	// slog.Default().
	Logger *slog.Logger

	// Now is the clock of Rackspace's retryAt: default time.Now.
	Now func() time.Time

	// XandrAlways200 makes NewXandr answer every request with status 200, for clients that were
	// written when the API did so; the body says what happened. NewRackspace ignores it.
	XandrAlways200 bool
}

const (
	maxBody        = 16 << 10
	retryWhenBusy  = time.Second
	defaultTimeout = 10 * time.Second
)

// An answer is a whole response, so that nothing is written before everything is decided.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// A format is one wire format.
type format interface {
	// serve answers a request.
	serve(a *adapter, w http.ResponseWriter, r *http.Request) answer
	// broken answers a request on which serve panicked.
	broken(r *http.Request) answer
}

// An adapter is what the formats share.
type adapter struct {
	svc    *recovery.Service
	opts   Options
	format format
	failed outage.Line // calls
}

func newAdapter(svc *recovery.Service, opts *Options, f func(*Options) format) *adapter {
	if svc == nil {
		panic("httpadapter: the Service is nil")
	}
	a := &adapter{svc: svc}
	if opts != nil {
		a.opts = *opts
	}
	if a.opts.ClientAddr == nil {
		a.opts.ClientAddr = remote.Addr
	}
	if a.opts.Tenant == nil {
		a.opts.Tenant = func(*http.Request) string { return "" }
	}
	if a.opts.BodyTimeout <= 0 {
		a.opts.BodyTimeout = defaultTimeout
	}
	if a.opts.Logger == nil {
		a.opts.Logger = slog.Default()
	}
	if a.opts.Now == nil {
		a.opts.Now = time.Now
	}
	a.format = f(&a.opts)
	return a
}

// ServeHTTP implements [http.Handler].
func (a *adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body != http.NoBody {
		// Answers that do not wait for the body need a deadline too: net/http reads the rest of it.
		// net/http also lifts the deadline at the end. Not every ResponseWriter has one.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(a.opts.BodyTimeout))
	}
	reply := a.answer(w, r)
	header := w.Header()
	for name, values := range reply.header {
		header[name] = values
	}
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(reply.status)
	_, _ = w.Write(reply.body) // the client may be gone
}

func (a *adapter) answer(w http.ResponseWriter, r *http.Request) (reply answer) {
	defer func() {
		switch v := recover(); {
		case v == http.ErrAbortHandler:
			panic(v)
		case v != nil:
			// The value may hold anything, even a secret; the stack says where.
			a.opts.Logger.Error("httpadapter: panic", "stack", string(debug.Stack()))
			reply = a.format.broken(r)
		}
	}()
	return a.format.serve(a, w, r)
}

var (
	errTooLarge = errors.New("the body must be at most 16384 bytes long")
	errCutOff   = errors.New("the body did not arrive whole and in time")
)

// readBody returns the body, errTooLarge or errCutOff.
func (a *adapter) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBody {
		w.Header().Set("Connection", "close") // instead of reading the announced body
		return nil, errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errTooLarge
	}
	if err != nil {
		w.Header().Set("Connection", "close")
		return nil, errCutOff
	}
	return body, nil
}

// locale returns the language that the caller likes best.
func locale(r *http.Request) string {
	tags := acceptlanguage.Tags(r.Header)
	if len(tags) == 0 {
		return ""
	}
	switch s := tags[0].String(); {
	case s == "und" || s == "mul" || len(s) > 35: // "mul" is how "*" is read
		return ""
	default:
		return s
	}
}

// A failure is the class of an error of package recovery, as far as formats care.
type failure int

const (
	failureRequest failure = iota
	failurePassword
	failureToken
	failureChallenge
	failureDenied
	failureLimit
	failureUnavailable
	failureBroken
)

// succeeded notes in the log that an outage has ended.
func (a *adapter) succeeded() {
	a.failed.Works(a.opts.Logger.Info, "httpadapter: calls succeed again")
}

// classify returns the class of err, a text for the answer, and how long to wait before a retry.
// The fields are those of the request. It logs the errors that the answer does not explain.
func (a *adapter) classify(ctx context.Context, fields []field, err error) (
	class failure, text string, retry time.Duration,
) {
	switch { // first, because these wrap errors of the application
	case errors.Is(err, recovery.ErrDenied):
		return failureDenied, "the request is not allowed", 0
	case errors.Is(err, recovery.ErrChallenged):
		return failureChallenge, "a second factor is needed, which cannot be given here", 0
	}
	if e, ok := errors.AsType[*recovery.FieldError](err); ok {
		if !isSet(fields, e.Field) {
			a.opts.Logger.Error("httpadapter: the application's part of a request is not valid", "error", err.Error())
			return failureBroken, "", 0
		}
		return failureRequest, e.Field + " " + e.Rule, 0
	}
	if e, ok := errors.AsType[*recovery.LimitError](err); ok {
		return failureLimit, "too many requests", e.RetryAfter
	}
	if e, ok := errors.AsType[*recovery.PasswordError](err); ok {
		return failurePassword, e.Error()[len("recovery: "):], 0
	}
	switch {
	case errors.Is(err, recovery.ErrInvalidToken):
		return failureToken, "the token is not valid", 0
	case errors.Is(err, recovery.ErrBusy) || ctx.Err() != nil:
	default:
		a.failed.Failed(a.opts.Logger.Error, "httpadapter: the call failed", "error", err.Error())
	}
	return failureUnavailable, "the service is not available, try again later", retryWhenBusy
}

// seconds formats a Retry-After header: whole seconds, at least one, rounded up.
func seconds(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}

// mustMarshal returns v as JSON. It leaves & unescaped, because the text does not go into HTML.
func mustMarshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
