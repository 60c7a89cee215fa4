// Package httpadapter serves account recovery over HTTP, in three wire formats.
//
// [NewJSON] is for a front end of your own, a single-page or a mobile application. openapi.yaml
// beside the source describes it, and the handler serves that document:
//
//	POST resets, usernames, completions
//	GET  policy, openapi.yaml
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
// Each constructor returns a handler that looks at the end of the path only. Mount it below any
// prefix, with or without [http.StripPrefix]. docs/wire-formats.md shows the formats on the wire,
// and docs/formats.md explains how to add another one.
//
// # What the caller can learn
//
// A caller learns what package recovery reveals, and nothing more. A request for a reset or for
// user names gets the same answer, byte for byte, whoever it names, even an account of another
// tenant. No answer repeats a value of the request, except the ticket in NewJSON and the user name
// in Rackspace's X-User-Name header, which that format requires. A panic or an error of the store
// becomes a generic answer. The log has the details, without tokens, passwords and addresses.
//
// Status 429 depends on the callers only: on the client's networks, or on all clients together. No
// answer reveals that a person was mailed too often.
//
// # When something fails
//
// Status 503 with Retry-After means that the same request may work later: the store failed or took
// longer than Options.StoreTimeout of package recovery, too many passwords are being hashed, or
// Options.Approve, Policy.Check or the breach service failed. Status 403 means that Approve denied
// the reset (recovery.ErrDenied), or asks for a second factor (*recovery.ChallengeError). The two
// old formats have no field for one, so their answers say only that one is needed. A
// *recovery.PasswordError of Approve, Policy.Check or Hasher.Hash is told as one of the policy is.
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
// The handlers neither read nor set cookies, so another site's page can only use up its visitors'
// limits. Pages of other origins are refused with 403 all the same, except for those of
// Options.Origins.
package httpadapter

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/exchange"
)

// Options configure a handler. The zero value of every field is its documented default, and nil
// Options are the zero Options.
type Options struct {
	// ClientAddr returns the client's address, by which limits are counted. The default is
	// Request.RemoteAddr, with or without a port. Behind a proxy that is the proxy's address: use
	// [TrustedProxies]. Requests without an address, the zero Addr, count as one client.
	ClientAddr func(*http.Request) netip.Addr

	// Tenant returns the tenant of a request, see recovery.ResetRequest; the default is "". It may
	// use the request's host or path, because the tenant only selects where accounts are looked up.
	// It is not called for a completion, because a token belongs to one account.
	//
	// A tenant that package recovery refuses is the application's fault. It is also at fault if a
	// request names no portal, and the portal with the empty name does not serve the tenant. The
	// answer is then 500, whoever is named, and the log has a line for it.
	Tenant func(*http.Request) string

	// BodyTimeout is how long a body may take to arrive: default 10 seconds. It replaces the
	// server's ReadTimeout, even a shorter one. It needs a ResponseWriter whose deadlines
	// http.ResponseController can set; a middleware's ResponseWriter must have Unwrap.
	BodyTimeout time.Duration

	// Logger gets panics, faults of Tenant and, at most once a minute each, errors of the store and
	// requests refused as another site's: default slog.Default().
	Logger *slog.Logger

	// Origins are those of the pages that may call from elsewhere, such as
	// "https://app.example.com"; default none. Only NewJSON lets them read the answers (CORS).
	Origins []string

	// XandrAlways200 makes NewXandr answer every request with status 200, for clients that were
	// written when the API did so; the body says what happened. The other formats ignore it.
	XandrAlways200 bool
}

// handler returns what all formats share. The error joins every fault of o.
func (o *Options) handler(svc *recovery.Service) (*exchange.Base, error) {
	if o == nil {
		o = &Options{}
	}
	return exchange.New("httpadapter", svc, exchange.Options{
		ClientAddr: o.ClientAddr, Tenant: o.Tenant, Origins: o.Origins, BodyTimeout: o.BodyTimeout, Logger: o.Logger,
	})
}

// isAt reports whether the path ends in the segments of end, with or without a slash behind them.
// What stands before them is where the handler is mounted.
func isAt(path, end string) bool {
	return strings.HasSuffix("/"+strings.TrimSuffix(path, "/"), end)
}

// portalNamed returns the configured spelling of the portal that the client means.
func portalNamed(portals map[string]recovery.Portal, name string) string {
	if _, ok := portals[name]; ok {
		return name
	}
	for _, configured := range slices.Sorted(maps.Keys(portals)) {
		if strings.EqualFold(configured, name) {
			return configured
		}
	}
	return name
}

// explain returns what a client is told about err.
func explain(class exchange.Class, err error) string {
	switch class {
	case exchange.BadField:
		e, _ := errors.AsType[*recovery.FieldError](err)
		return e.Field + " " + e.Rule
	case exchange.BadPassword:
		e, _ := errors.AsType[*recovery.PasswordError](err)
		return strings.TrimPrefix(e.Error(), "recovery: ")
	case exchange.BadToken:
		return "the token cannot be used: it is wrong, used, expired, replaced by a newer one, or another user's"
	case exchange.Challenged:
		return "a second factor is needed, which cannot be given here"
	case exchange.Denied:
		return "the request is not allowed"
	case exchange.Limited:
		return "too many requests"
	case exchange.Unavailable:
		return "the service is not available, try again later"
	}
	return "internal error"
}

const crossSite = "the request comes from a page of an origin that the operator of this server has not allowed"

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
