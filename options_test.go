package recovery_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

func TestNewNilOptions(t *testing.T) {
	is := is.New(t)
	_, err := recovery.New(memstore.New(), &mailertest.Recorder{}, nil)
	is.NoErr(err)
}

// S85: New says everything that is wrong at once.
func TestAttack_S85_NewListsEveryFault(t *testing.T) {
	is := is.New(t)
	svc, err := recovery.New(nil, nil, &recovery.Options{
		Application:     "two\nlines",
		TokenTTL:        25 * time.Hour,
		Policy:          &recovery.Policy{MinLength: 4, MaxLength: 3, Require: 99, BreachTimeout: -1},
		HashConcurrency: -1,
		HashWait:        -1,
		Limits: recovery.Limits{
			PerIdentifier: []recovery.Limit{{Burst: -1, Every: time.Hour}}, PerClient: recovery.Limit{Burst: 1},
			Global: recovery.Limit{Burst: 1, Every: 25 * time.Hour}, CompletePerClient: recovery.Limit{Burst: 1e7, Every: 1},
		},
		Portals: map[string]recovery.Portal{
			"http":                  {URL: "http://public.example/reset"},
			"relative":              {URL: "/reset"},
			"scheme":                {URL: "javascript://x/alert(1)"},
			"fragment":              {URL: "https://portal.example/#x"},
			"user":                  {URL: "https://u:p@portal.example/"},
			"unparsable":            {URL: "https://por tal/%zz"},
			"unprintable":           {URL: "https://portal.example/\u202e"},
			"empty":                 {},
			strings.Repeat("n", 65): {URL: "https://portal.example/"},
			"ok":                    {URL: "https://portal.example/reset?lang=en"},
			"ok-local":              {URL: "http://localhost:8080/reset"},
			"ok-loopback":           {URL: "http://127.0.0.1:8080/reset"},
			"ok-insecure":           {URL: "http://public.example/reset", InsecureHTTP: true},
		},
		Tick: time.Millisecond, Workers: 65, SendTimeout: time.Hour, MaxRequestAge: 25 * time.Hour,
	})
	is.True(svc == nil)
	is.True(err != nil)
	want := []string{
		"recovery: Options.TokenTTL must be from 1m0s to 24h0m0s, is 25h0m0s",
		"recovery: Options.HashWait must be from 1ms to 10m0s, is -1ns",
		"recovery: Options.Tick must be from 10ms to 1m0s, is 1ms",
		"recovery: Options.SendTimeout must be from 1s to 10m0s, is 1h0m0s",
		"recovery: Options.MaxRequestAge must be from 1m0s to 24h0m0s, is 25h0m0s",
		"recovery: Options.HashConcurrency must be from 1 to 1024, is -1",
		"recovery: Options.Workers must be from 1 to 64, is 65",
		"recovery: Options.Application must be one line of visible text",
		"recovery: Options.Policy.MinLength must be at least 8, is 4",
		"recovery: Options.Policy.MaxLength must be from MinLength to 1024, is 3",
		"recovery: Options.Policy.Require must be NoClasses alone or a set of Upper, Lower, Digit and Special",
		"recovery: Options.Policy.BreachTimeout must not be negative",
		"recovery: Options.Limits.PerIdentifier[0] must have a Burst from 1 to 1000000 and an Every from 1µs to 24h in whole microseconds, is -1 and 1h0m0s",
		"recovery: Options.Limits.PerClient must have a Burst from 1 to 1000000 and an Every from 1µs to 24h in whole microseconds, is 1 and 0s",
		"recovery: Options.Limits.Global must have a Burst from 1 to 1000000 and an Every from 1µs to 24h in whole microseconds, is 1 and 25h0m0s",
		"recovery: Options.Limits.CompletePerClient must have a Burst from 1 to 1000000 and an Every from 1µs to 24h in whole microseconds, is 10000000 and 1ns",
		`recovery: Options.Portals["empty"] must have an absolute https URL`,
		`recovery: Options.Portals["fragment"] must have a URL without a fragment: that is where the token goes`,
		`recovery: Options.Portals["http"] must have an https URL; http is for localhost, or where InsecureHTTP is set`,
		`recovery: Options.Portals["` + strings.Repeat("n", 65) + `"] must have a name of at most 64 bytes`,
		`recovery: Options.Portals["relative"] must have an absolute https URL`,
		`recovery: Options.Portals["scheme"] must have an absolute https URL`,
		`recovery: Options.Portals["unparsable"] must have an absolute https URL`,
		`recovery: Options.Portals["unprintable"] must have a URL of visible ASCII characters`,
		`recovery: Options.Portals["user"] must have a URL without a user name or password`,
		"recovery: New needs a Store",
		"recovery: New needs a Mailer",
	}
	is.Equal(strings.Split(err.Error(), "\n"), want)
}

func TestNewLimitLists(t *testing.T) {
	is := is.New(t)
	for _, list := range [][]recovery.Limit{{}, make([]recovery.Limit, 9)} {
		for i := range list {
			list[i] = recovery.Limit{Burst: 1, Every: time.Minute}
		}
		_, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{Limits: recovery.Limits{PerIdentifier: list}})
		is.True(err != nil && strings.Contains(err.Error(), "Limits.PerIdentifier must have from 1 to 8 limits"))
	}
}

func TestNewDoesNotKeepTheOptions(t *testing.T) {
	is := is.New(t)
	opts := &recovery.Options{
		Policy:  &recovery.Policy{MinLength: 12, Words: []string{"Contoso"}},
		Portals: map[string]recovery.Portal{"a": {URL: "https://portal.example/"}},
		Limits:  recovery.Limits{PerIdentifier: []recovery.Limit{{Burst: 2, Every: time.Minute}}},
	}
	w := newWorld(t, opts)
	opts.Policy.MinLength, opts.Policy.Words[0] = 8, "Fabrikam"
	is.Equal(w.Options().Policy.Words, []string{"Contoso"})
	opts.Portals["b"] = recovery.Portal{URL: "http://evil.example/"}
	opts.Limits.PerIdentifier[0].Burst = 1
	is.Equal(reasons(w.complete(tokenText, "Abcdefx-12")), "too_short")
	is.True(errors.Is(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Portal: "b"}), recovery.ErrInvalidRequest))
	w.ask("billybob")
	w.ask("billybob")
	is.Equal(len(w.deliver()) > 0, true)
	w.hooks.wait(t, "MailSent")
	is.True(!w.hooks.seen("JobThrottled"))
}

func TestErrorsDoNotOverlap(t *testing.T) {
	is := is.New(t)
	all := []error{
		recovery.ErrInvalidToken, recovery.ErrInvalidRequest, recovery.ErrInvalidPassword, recovery.ErrLimited,
		recovery.ErrDenied, recovery.ErrBusy, recovery.ErrPermanent, recovery.ErrPasswordMismatch,
		recovery.ErrUnsupportedHash, recovery.ErrSuperseded, recovery.ErrLeaseLost, context.Canceled,
	}
	for typed, matches := range map[error]error{
		&recovery.FieldError{}:    recovery.ErrInvalidRequest,
		&recovery.PasswordError{}: recovery.ErrInvalidPassword,
		&recovery.LimitError{}:    recovery.ErrLimited,
		&recovery.TokenError{}:    recovery.ErrInvalidToken,
	} {
		for _, target := range all {
			is.Equal(errors.Is(typed, target), target == matches)
		}
		is.True(strings.HasPrefix(typed.Error(), "recovery: "))
	}
}

func TestOptionsInForce(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, &recovery.Options{
		Application: "Example", Policy: &recovery.Policy{Words: []string{"word"}},
		Portals: map[string]recovery.Portal{"page": {URL: "https://example.com/"}},
	})
	o := w.Options()
	is.Equal(o.Application, "Example")
	is.Equal(o.TokenTTL, 16*time.Hour)
	is.Equal(o.Policy.MinLength, 10)
	o.Policy.MinLength, o.Policy.Words[0], o.Limits.PerIdentifier[0].Burst = 99, "other", 99
	delete(o.Portals, "page")
	again := w.Options()
	is.Equal(again.Policy.MinLength, 10) // what is returned is a copy
	is.Equal(again.Policy.Words, []string{"word"})
	is.Equal(again.Limits.PerIdentifier[0].Burst, 1)
	is.Equal(len(again.Portals), 1)
}

// The defaults are those that the documentation names.
func TestDefaultOptions(t *testing.T) {
	is := is.New(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, nil)
	is.NoErr(err)
	o := svc.Options()
	is.Equal(o.TokenTTL, 16*time.Hour)
	is.Equal(o.HashConcurrency, 3)
	is.Equal(runtime.GOMAXPROCS(0), 3) // it is only asked for
	is.Equal(o.HashWait, 5*time.Second)
	is.Equal(o.Tick, 250*time.Millisecond)
	is.Equal(o.Workers, 2)
	is.Equal(o.SendTimeout, 30*time.Second)
	is.Equal(o.MaxRequestAge, time.Hour)
	is.Equal(o.Logger, slog.Default())
	is.True(time.Since(o.Now()).Abs() < time.Minute)
	is.Equal(o.Limits, recovery.Limits{
		PerIdentifier:     []recovery.Limit{{Burst: 1, Every: time.Minute}, {Burst: 3, Every: time.Hour}},
		PerClient:         recovery.Limit{Burst: 20, Every: 30 * time.Second},
		Global:            recovery.Limit{Burst: 1000, Every: 20 * time.Millisecond},
		CompletePerClient: recovery.Limit{Burst: 20, Every: 30 * time.Second},
	})
}

// What an option may be at the least and at the most, and one less or more.
func TestBoundsOfOptions(t *testing.T) {
	try := func(t *testing.T, o recovery.Options, ok bool) {
		t.Helper()
		is := is.New(t)
		is.Helper()
		_, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &o)
		is.Equal(err == nil, ok)
	}
	for name, c := range map[string]struct {
		least, most time.Duration
		set         func(*recovery.Options, time.Duration)
	}{
		"TokenTTL":      {time.Minute, 24 * time.Hour, func(o *recovery.Options, d time.Duration) { o.TokenTTL = d }},
		"HashWait":      {time.Millisecond, 10 * time.Minute, func(o *recovery.Options, d time.Duration) { o.HashWait = d }},
		"Tick":          {10 * time.Millisecond, time.Minute, func(o *recovery.Options, d time.Duration) { o.Tick = d }},
		"SendTimeout":   {time.Second, 10 * time.Minute, func(o *recovery.Options, d time.Duration) { o.SendTimeout = d }},
		"MaxRequestAge": {time.Minute, 24 * time.Hour, func(o *recovery.Options, d time.Duration) { o.MaxRequestAge = d }},
	} {
		t.Run(name, func(t *testing.T) {
			for d, ok := range map[time.Duration]bool{c.least - 1: false, c.least: true, c.most: true, c.most + 1: false} {
				var o recovery.Options
				c.set(&o, d)
				try(t, o, ok)
			}
		})
	}
	for n, ok := range map[int]bool{-1: false, 1: true, 1024: true, 1025: false} {
		try(t, recovery.Options{HashConcurrency: n}, ok)
	}
	for n, ok := range map[int]bool{-1: false, 1: true, 64: true, 65: false} {
		try(t, recovery.Options{Workers: n}, ok)
	}
	for n, ok := range map[int]bool{1: true, 8: true, 9: false} {
		list := make([]recovery.Limit, n)
		for i := range list {
			list[i] = recovery.Limit{Burst: 1, Every: time.Minute}
		}
		try(t, recovery.Options{Limits: recovery.Limits{PerIdentifier: list}}, ok)
	}
	for limit, ok := range map[recovery.Limit]bool{
		{Burst: 0, Every: time.Hour}: false, {Burst: 1, Every: time.Hour}: true, {Burst: 1e6, Every: time.Hour}: true, {Burst: 1e6 + 1, Every: time.Hour}: false,
		{Burst: 1, Every: 0}: false, {Burst: 1, Every: time.Microsecond}: true, {Burst: 1, Every: 24 * time.Hour}: true,
		{Burst: 1, Every: 24*time.Hour + time.Microsecond}: false, {Burst: 1, Every: -time.Microsecond}: false,
	} {
		try(t, recovery.Options{Limits: recovery.Limits{Global: limit}}, ok)
	}
	for name, ok := range map[string]bool{"アカウント": true, "a\xffb": false, "a\u200bb": false} {
		try(t, recovery.Options{Application: name}, ok)
	}
	for name, ok := range map[string]bool{strings.Repeat("n", 64): true, strings.Repeat("n", 65): false} {
		try(t, recovery.Options{Portals: map[string]recovery.Portal{name: {URL: "https://portal.example/"}}}, ok)
	}
	for url, ok := range map[string]bool{
		"https://portal.example/~!": true, "https://portal.example/a b": false, "https://portal.example/\x7f": false, "https://portal.example/#": false,
		"ftp://localhost/": false, "http://[::1]/": true, "http://[::2]/": false, "http://localhost.example/": false, "https:///": false,
	} {
		try(t, recovery.Options{Portals: map[string]recovery.Portal{"p": {URL: url}}}, ok)
	}
	is := is.New(t)
	w := newWorld(t, nil)
	is.NoErr(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Locale: strings.Repeat("x", 35)})) // one more is tried in TestFieldErrors
}

// States are stored in microseconds.
func TestLimitsOfPartsOfAMicrosecond(t *testing.T) {
	is := is.New(t)
	_, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Limits: recovery.Limits{PerClient: recovery.Limit{Burst: 1, Every: 1001}},
	})
	is.True(err != nil && strings.Contains(err.Error(), "Limits.PerClient must have a Burst from 1 to 1000000 and an Every from 1µs to 24h in whole microseconds, is 1 and 1.001µs"))
}
