package httpadapter_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter"
	"example.com/recovery/httpadapter/internal/exchange"
	"example.com/recovery/httpadapter/internal/stage"
	"example.com/recovery/httpadapter/portal"
)

// A handler is one of this module's, with a request that it accepts.
type handler struct {
	name     string // of its package
	build    func(*recovery.Service, exchange.Options) (http.Handler, error)
	path     string
	media    string
	body     string // asks for alice's mail
	accepted int    // the status
}

func ofFormat(build func(*recovery.Service, *httpadapter.Options) (http.Handler, error)) func(*recovery.Service, exchange.Options) (http.Handler, error) {
	return func(svc *recovery.Service, o exchange.Options) (http.Handler, error) {
		return build(svc, &httpadapter.Options{ClientAddr: o.ClientAddr, Tenant: o.Tenant, Origins: o.Origins, BodyTimeout: o.BodyTimeout, Logger: o.Logger})
	}
}

var handlers = map[string]handler{
	"Xandr":     {"httpadapter", ofFormat(httpadapter.NewXandr), "/account-recovery", "application/x-www-form-urlencoded", `{"account-recovery":{"username":"alice"}}`, 200},
	"Rackspace": {"httpadapter", ofFormat(httpadapter.NewRackspace), "/v2.0/users/RAX-AUTH/forgot-pwd", "application/json", `{"RAX-AUTH:forgotPasswordCredentials":{"username":"alice"}}`, 204},
	"JSON":      {"httpadapter", ofFormat(httpadapter.NewJSON), "/resets", "application/json", `{"username":"alice"}`, 202},
	"portal": {"portal", func(svc *recovery.Service, o exchange.Options) (http.Handler, error) {
		return portal.New(svc, &portal.Options{ClientAddr: o.ClientAddr, Tenant: o.Tenant, Origins: o.Origins, BodyTimeout: o.BodyTimeout, Logger: o.Logger})
	}, "/password", "application/x-www-form-urlencoded", "by=username&username=alice&email=", 303},
}

// onEach runs a test with each handler.
func onEach(t *testing.T, test func(t *testing.T, h handler)) {
	for name, h := range handlers {
		t.Run(name, func(t *testing.T) { test(t, h) })
	}
}

// on returns the handler on a stage.
func (h handler) on(s *stage.Stage, o exchange.Options) http.Handler {
	o.Logger = s.Logger
	built, err := h.build(s.Service, o)
	is.New(s.T).NoErr(err)
	return built
}

// request is the accepted request with another body.
func (h handler) request(body io.Reader) *http.Request {
	r := httptest.NewRequest("POST", h.path, body)
	r.Header.Set("Content-Type", h.media)
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	response := httptest.NewRecorder()
	h.ServeHTTP(response, r)
	return response
}

// ask sends the accepted request, with headers if any, and returns the status.
func (h handler) ask(built http.Handler) int {
	return serve(built, h.request(strings.NewReader(h.body))).Code
}

// The constructors say everything that is wrong.
func TestMistakesAreTold(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		built, err := h.build(nil, exchange.Options{BodyTimeout: -1, Origins: []string{"https://a.example", "a.example", "https://a.example/x"}})
		is.Equal(built, nil)
		is.True(strings.HasPrefix(err.Error(), h.name+": the Service must not be nil\n"+h.name+": Options.BodyTimeout must not be negative, is -1ns\n"))
		is.Equal(strings.Count(err.Error(), h.name+`: Options.Origins must be like "https://app.example.com", one is "`), 2)
	})
}

func TestNilOptions(t *testing.T) {
	is := is.New(t)
	svc := stage.New(t, recovery.Options{}).Service
	for _, build := range []func(*recovery.Service, *httpadapter.Options) (http.Handler, error){httpadapter.NewXandr, httpadapter.NewRackspace, httpadapter.NewJSON} {
		built, err := build(svc, nil)
		is.NoErr(err)
		is.Equal(serve(built, httptest.NewRequest("GET", "/", nil)).Code, 404)
	}
}

// Each can stand below any prefix, with or without http.StripPrefix, and with a slash behind.
func TestMountedUnderAPrefix(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		s := stage.New(t, recovery.Options{})
		built := h.on(s, exchange.Options{})
		mux := http.NewServeMux()
		mux.Handle("/", built)
		mux.Handle("/api/v1/", built)
		mux.Handle("/strip/", http.StripPrefix("/strip", built))
		mux.Handle("/bare/", http.StripPrefix("/bare/", built))
		for _, prefix := range []string{"", "/api/v1", "/strip", "/bare"} {
			r := h.request(strings.NewReader(h.body))
			r.URL.Path = prefix + h.path
			is.Equal(serve(mux, r).Code, h.accepted)
			is.Equal(len(s.Mails()), 1)
			if h.name != "portal" { // whose links are relative
				r = h.request(strings.NewReader(h.body))
				r.URL.Path = prefix + h.path + "/"
				is.Equal(serve(mux, r).Code, h.accepted)
				is.Equal(len(s.Mails()), 1)
			}
		}
		r := h.request(strings.NewReader(h.body))
		r.URL.Path = "/x" + strings.TrimPrefix(h.path, "/") // another last segment
		if strings.Count(h.path, "/") == 1 {
			is.Equal(serve(built, r).Code, 404)
		}
	})
}

func TestClientAddr(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		s := stage.New(t, recovery.Options{})
		client := func(o exchange.Options, remote string) netip.Addr {
			r := h.request(strings.NewReader(h.body))
			r.RemoteAddr = remote
			r.Header.Set("X-Forwarded-For", "203.0.113.9")
			is.Equal(serve(h.on(s, o), r).Code, h.accepted)
			return s.Mails()[0].Client
		}
		is.Equal(client(exchange.Options{}, "192.0.2.1:1234"), netip.MustParseAddr("192.0.2.1"))
		is.Equal(client(exchange.Options{}, "[::ffff:192.0.2.1]:1234"), netip.MustParseAddr("192.0.2.1"))
		is.Equal(client(exchange.Options{}, "2001:db8::1"), netip.MustParseAddr("2001:db8::1")) // what a router's middleware leaves
		is.Equal(s.Log.String(), "")
		is.Equal(client(exchange.Options{}, "@"), netip.Addr{}) // a Unix socket
		is.Equal(client(exchange.Options{ClientAddr: func(r *http.Request) netip.Addr {
			return netip.MustParseAddr(r.Header.Get("X-Forwarded-For"))
		}}, "192.0.2.1:1234"), netip.MustParseAddr("203.0.113.9"))
	})
}

// Who cannot be told apart shares a limit, and the operator hears of it once.
func TestClientsWithoutAddressAreOne(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		s := stage.New(t, stage.OneRequest)
		built := h.on(s, exchange.Options{ClientAddr: httpadapter.TrustedProxies("X-Real-IP", netip.MustParsePrefix("192.0.2.0/24"))})
		for i, value := range []string{"unknown", "", "secret"} {
			r := h.request(strings.NewReader(h.body))
			r.Header.Set("X-Real-IP", value)
			code := serve(built, r).Code
			is.Equal(i == 0, code == h.accepted)
			is.Equal(i > 0, code == 429 || code == 413)
		}
		is.Equal(strings.Count(s.Log.String(), "without the address of its client"), 1)
		is.True(!strings.Contains(s.Log.String(), "secret"))
	})
}

// The languages of the caller go into the request, whatever the header holds.
func TestLocale(t *testing.T) {
	is := is.New(t)
	s := stage.New(t, recovery.Options{})
	h := handlers["Xandr"]
	built := h.on(s, exchange.Options{})
	for accept, want := range map[string]string{
		"":                                 "",
		"ja":                               "ja",
		"en;q=0.5, ja;q=0.9":               "ja,en",
		"ja-JP, *;q=0.1":                   "ja-JP",
		"not a language!":                  "",
		"fr" + strings.Repeat(",en", 100):  "fr" + strings.Repeat(",en", 20), // 62 bytes
		"ja,x;q=abc,c,de":                  "ja,de",
		"und,de":                           "de",
		"de\x00":                           "",
		strings.Repeat("en-x-abcdefgh", 9): "",
	} {
		r := h.request(strings.NewReader(h.body))
		r.Header.Set("Accept-Language", accept)
		is.Equal(serve(built, r).Code, 200)
		is.Equal(s.Mails()[0].Locale, want)
	}
}

// A panic is told to the log: where, and not what, which may be anything.
func TestPanicIsLogged(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		s := stage.New(t, recovery.Options{})
		s.Fail = func() error { panic("boom at alice@example.com") }
		is.Equal(h.ask(h.on(s, exchange.Options{})), 500)
		is.True(strings.Contains(s.Log.String(), `msg="`+h.name+`: panic" stack="goroutine`))
		is.True(strings.Contains(s.Log.String(), "handlers_test.go"))
		is.True(!strings.Contains(s.Log.String(), "alice@example.com"))
	})
}

func TestAbortIsPassedOn(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		s := stage.New(t, recovery.Options{})
		s.Fail = func() error { panic(http.ErrAbortHandler) }
		defer func() { is.Equal(recover(), http.ErrAbortHandler) }()
		h.ask(h.on(s, exchange.Options{}))
	})
}

// A client that leaves is not an error to log.
func TestClientLeaves(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		s := stage.New(t, recovery.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		s.Fail = func() error { cancel(); return errors.Join(ctx.Err(), stage.ErrStore) }
		is.Equal(serve(h.on(s, exchange.Options{}), h.request(strings.NewReader(h.body)).WithContext(ctx)).Code, 503)
		is.Equal(s.Log.String(), "")
	})
}

func TestStoreThatIsDownIsNotALineARequest(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			s := stage.New(t, recovery.Options{})
			built := h.on(s, exchange.Options{})
			s.Fail = func() error { return stage.ErrStore }
			for range 90 { // seconds
				is.Equal(h.ask(built), 503)
				time.Sleep(time.Second)
			}
			is.Equal(strings.Count(s.Log.String(), h.name+": the call failed"), 2)
			is.Equal(strings.Count(s.Log.String(), stage.ErrStore.Error()), 2)
			s.Fail = nil
			for range 2 {
				is.Equal(h.ask(built), h.accepted)
			}
			is.Equal(strings.Count(s.Log.String(), h.name+": calls succeed again"), 1)
		})
	})
}

// Somebody who may come back at once may not come back in no time.
func TestRetryAfterIsASecondAtLeast(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		s := stage.New(t, recovery.Options{})
		built := h.on(s, exchange.Options{})
		for wait, want := range map[time.Duration]string{0: "1", time.Nanosecond: "1", time.Second: "1", time.Second + 1: "2", time.Minute: "60"} {
			s.Fail = func() error { return &recovery.LimitError{Scope: recovery.ScopeClient, RetryAfter: wait} }
			is.Equal(serve(built, h.request(strings.NewReader(h.body))).Header().Get("Retry-After"), want)
		}
	})
}

// What a page of another origin makes a browser send is refused, and the operator hears of it, as a
// proxy may be at fault.
func TestPagesOfOtherOrigins(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		s := stage.New(t, recovery.Options{})
		ask := func(built http.Handler) int {
			r := h.request(strings.NewReader(h.body))
			r.Header.Set("Origin", "https://app.example.com")
			return serve(built, r).Code
		}
		built := h.on(s, exchange.Options{})
		is.Equal([]int{ask(built), ask(built)}, []int{403, 403})
		is.Equal(strings.Count(s.Log.String(), h.name+": a request from a page of another origin was refused"), 1)
		is.Equal(ask(h.on(s, exchange.Options{Origins: []string{"https://app.example.com"}})), h.accepted)
		is.Equal(len(s.Mails()), 1)
	})
}

// ofHeader takes the tenant from where a test can say it.
func ofHeader(r *http.Request) string { return r.Header.Get("X-Tenant") }

// Options.Tenant says whose account is meant, and the answer does not tell whether there is one.
func TestTenant(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		s := stage.New(t, recovery.Options{})
		s.Users.Put(recovery.Account{ID: "6", Tenant: "acme", Username: "alice", Email: "alice@acme.example", Active: true, HasPassword: true, EmailVerified: true}, "hash of old")
		built := h.on(s, exchange.Options{Tenant: ofHeader})
		for tenant, want := range map[string][]string{"": {":alice@example.com"}, "acme": {"acme:alice@acme.example"}, "other": nil} {
			r := h.request(strings.NewReader(h.body))
			r.Header.Set("X-Tenant", tenant)
			is.Equal(serve(built, r).Code, h.accepted)
			is.Equal(s.Recipients(), want)
		}
	})
}

// A tenant that cannot be is the application's fault, and the caller's answer the same for every
// name.
func TestTenantAtFault(t *testing.T) {
	const secret = "boom at billybob@example.com"
	for name, c := range map[string]struct {
		tenant func(*http.Request) string
		log    string
	}{
		"too long":  {func(*http.Request) string { return strings.Repeat("t", 65) }, `error="recovery: tenant must be at most 64 bytes of visible text"`},
		"invisible": {func(*http.Request) string { return secret + "\x00" }, `error="recovery: tenant must be at most 64 bytes of visible text"`},
		"panic":     {func(*http.Request) string { panic(secret) }, `: panic"`},
	} {
		onEach(t, func(t *testing.T, h handler) {
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				s := stage.New(t, recovery.Options{})
				built := h.on(s, exchange.Options{Tenant: c.tenant})
				first := serve(built, h.request(strings.NewReader(h.body)))
				is.Equal(first.Code, 500)
				is.True(!strings.Contains(first.Body.String(), "tenant") && !strings.Contains(first.Body.String(), "boom"))
				second := serve(built, h.request(strings.NewReader(strings.ReplaceAll(h.body, "alice", "nobody"))))
				is.Equal(second.Body.String(), first.Body.String())
				is.Equal(strings.Count(s.Log.String(), c.log), 2)
				is.True(!strings.Contains(s.Log.String(), "boom") && !strings.Contains(s.Log.String(), "ttt"))
				is.Equal(s.Recipients(), nil)
			})
		})
	}
	onEach(t, func(t *testing.T, h handler) { // the longest that can be
		is := is.New(t)
		s := stage.New(t, recovery.Options{})
		is.Equal(h.ask(h.on(s, exchange.Options{Tenant: func(*http.Request) string { return strings.Repeat("t", 64) }})), h.accepted)
		is.Equal(s.Log.String(), "")
	})
}

// Who names no portal cannot mend that the default one is for other tenants.
func TestDefaultPortalOfAnotherTenant(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		s := stage.New(t, recovery.Options{Portals: map[string]recovery.Portal{"": {URL: "https://portal.example/reset", Tenants: []string{"acme"}}}})
		built := h.on(s, exchange.Options{Tenant: ofHeader})
		for i, name := range []string{"alice", "nobody"} {
			response := serve(built, h.request(strings.NewReader(strings.ReplaceAll(h.body, "alice", name))))
			is.Equal(response.Code, 500)
			is.True(!strings.Contains(response.Body.String(), "tenant"))
			is.Equal(strings.Count(s.Log.String(), "recovery: portal must be one that the application configured"), i+1)
		}
		r := h.request(strings.NewReader(h.body))
		r.Header.Set("X-Tenant", "acme")
		is.Equal(serve(built, r).Code, h.accepted)
	})
}

// The defaults are those of the documentation.
func TestDefaults(t *testing.T) {
	is := is.New(t)
	h, err := exchange.New("x", stage.New(t, recovery.Options{}).Service, exchange.Options{})
	is.NoErr(err)
	is.Equal(h.BodyTimeout, 10*time.Second)
	is.Equal(h.Logger, slog.Default())
}
