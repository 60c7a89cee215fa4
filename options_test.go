package recovery_test

import (
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

// S85: New names every fault at once.
func TestAttack_S85_NewListsEveryFault(t *testing.T) {
	is := is.New(t)
	svc, err := recovery.New(nil, nil, &recovery.Options{
		Application:     "two\nlines",
		TokenTTL:        25 * time.Hour,
		CodeTTL:         16 * time.Minute,
		Hasher:          recovery.Hasher{MaxBytes: -1},
		Policy:          &recovery.Policy{MinLength: 4, MaxLength: 3, Require: 99, BreachTimeout: -1},
		HashConcurrency: -1,
		HashWait:        -1,
		Limits: recovery.Limits{
			PerClient: recovery.Limit{Burst: 1}, Global: recovery.Limit{Burst: 1, Every: 25 * time.Hour},
			CompletePerClient: recovery.Limit{Burst: 1e7, Every: 1}, PerAccount: recovery.Limit{Burst: -1, Every: time.Hour},
			PerRequester: recovery.Limit{Burst: 366, Every: 24 * time.Hour}, PerMailbox: recovery.Limit{Burst: 1, Every: -time.Hour},
		},
		Portals: map[string]recovery.Portal{
			"http":                  {URL: "http://public.example/reset", Allow: everybody},
			"relative":              {URL: "/reset", Allow: everybody},
			"scheme":                {URL: "javascript://x/alert(1)", Allow: everybody},
			"fragment":              {URL: "https://portal.example/#x", Allow: everybody},
			"user":                  {URL: "https://u:p@portal.example/", Allow: everybody},
			"unparsable":            {URL: "https://por tal/%zz", Allow: everybody},
			"unprintable":           {URL: "https://portal.example/\u202e", Allow: everybody},
			"empty":                 {Allow: everybody},
			strings.Repeat("n", 65): {URL: "https://portal.example/", Allow: everybody},
			"for-whom":              {URL: "https://portal.example/"},
			"tenant":                {URL: "https://portal.example/", Tenants: []string{"a\nb"}},
			"ok":                    {URL: "https://portal.example/reset?lang=en", Allow: everybody},
			"ok-local":              {URL: "http://localhost:8080/reset", Allow: everybody},
			"ok-loopback":           {URL: "http://127.0.0.1:8080/reset", Allow: everybody},
			"ok-insecure":           {URL: "http://public.example/reset", InsecureHTTP: true, Allow: everybody},
		},
		Tick: time.Millisecond, StoreTimeout: time.Minute, Workers: 257, SendTimeout: time.Hour, MaxRequestAge: 25 * time.Hour,
	})
	is.True(svc == nil)
	is.True(err != nil)
	want := []string{
		"recovery: Options.TokenTTL must be from 1m0s to 24h0m0s, is 25h0m0s",
		"recovery: Options.CodeTTL must be from 1m0s to 15m0s, is 16m0s",
		"recovery: Options.HashWait must be from 1ms to 10m0s, is -1ns",
		"recovery: Options.Tick must be from 10ms to 1m0s, is 1ms",
		"recovery: Options.StoreTimeout must be from 100ms to 10s, is 1m0s",
		"recovery: Options.SendTimeout must be from 1s to 10m0s, is 1h0m0s",
		"recovery: Options.MaxRequestAge must be from 1m0s to 24h0m0s, is 25h0m0s",
		"recovery: Options.HashConcurrency must be from 1 to 1024, is -1",
		"recovery: Options.Hasher.MaxBytes must not be negative, is -1",
		"recovery: Options.Workers must be from 1 to 256, is 257",
		"recovery: Options.Application must be one line of visible text",
		"recovery: Options.Policy.MinLength must be at least 8, is 4",
		"recovery: Options.Policy.MaxLength must be from MinLength to 1024, is 3",
		"recovery: Options.Policy.Require must be NoClasses alone or a set of Upper, Lower, Digit and Special",
		"recovery: Options.Policy.BreachTimeout must not be negative",
		"recovery: Options.Limits.PerClient must have a Burst from 1 to 1000000 and an Every from 1µs to 24h in whole microseconds, is 1 and 0s",
		"recovery: Options.Limits.Global must have a Burst from 1 to 1000000 and an Every from 1µs to 24h in whole microseconds, is 1 and 25h0m0s",
		"recovery: Options.Limits.CompletePerClient must have a Burst from 1 to 1000000 and an Every from 1µs to 24h in whole microseconds, is 10000000 and 1ns",
		"recovery: Options.Limits.PerAccount must have a Burst from 1 to 1000000 and an Every from 1µs to 24h in whole microseconds, is -1 and 1h0m0s",
		"recovery: Options.Limits.PerRequester must have a Burst × Every of at most 365 days, is 366 and 24h0m0s",
		"recovery: Options.Limits.PerMailbox must have a Burst from 1 to 1000000 and an Every from 1µs to 24h in whole microseconds, is 1 and -1h0m0s",
		`recovery: Options.Portals["empty"] must have an absolute https URL`,
		`recovery: Options.Portals["for-whom"] must have Tenants or Allow, as there are several: a caller may name any of them for any account, and these say which accounts it is for; Tenants of []string{""} are all accounts without a tenant`,
		`recovery: Options.Portals["fragment"] must have a URL without a fragment: that is where the token goes`,
		`recovery: Options.Portals["http"] must have an https URL; http is for localhost, or where InsecureHTTP is set`,
		`recovery: Options.Portals["` + strings.Repeat("n", 65) + `"] must have a name of at most 64 bytes`,
		`recovery: Options.Portals["relative"] must have an absolute https URL`,
		`recovery: Options.Portals["scheme"] must have an absolute https URL`,
		`recovery: Options.Portals["tenant"] must have Tenants of at most 64 bytes of visible text`,
		`recovery: Options.Portals["unparsable"] must have an absolute https URL`,
		`recovery: Options.Portals["unprintable"] must have a URL of visible ASCII characters`,
		`recovery: Options.Portals["user"] must have a URL without a user name or password`,
		"recovery: New needs a Store",
		"recovery: New needs a Mailer",
	}
	is.Equal(strings.Split(err.Error(), "\n"), want)
}

// Who changes the options that New got, or those that Options returns, changes none of the
// Service's.
func TestOptionsAreCopied(t *testing.T) {
	is := is.New(t)
	opts := &recovery.Options{
		Application: "Example", Policy: &recovery.Policy{Words: []string{"Contoso"}},
		Portals: map[string]recovery.Portal{"a": {URL: "https://portal.example/"}},
	}
	w := newWorld(t, opts)
	for _, o := range []recovery.Options{*opts, w.Options()} {
		o.Policy.MinLength, o.Policy.Words[0] = 8, "Fabrikam"
		o.Portals["b"] = recovery.Portal{URL: "http://evil.example/"}
		is.Equal(w.Options().Application, "Example")
		is.Equal(w.Options().Policy.MinLength, 10) // the default
		is.Equal(w.Options().Policy.Words, []string{"Contoso"})
		is.Equal(len(w.Options().Portals), 1)
	}
	is.Equal(reasons(w.complete(tokenText, "Abcdefx-1")), "too_short")
	is.True(errors.Is(errOf(w.RequestReset(w.ctx, recovery.ResetRequest{Username: "alice", Portal: "b"})), recovery.ErrInvalidRequest))
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
	is.Equal(o.StoreTimeout, 5*time.Second)
	is.Equal(o.Workers, 36)
	is.Equal(o.SendTimeout, 30*time.Second)
	is.Equal(o.MaxRequestAge, time.Hour)
	is.Equal(o.Logger, slog.Default())
	is.True(time.Since(o.Now()).Abs() < time.Minute)
	is.Equal(o.Limits, recovery.Limits{
		PerClient:           recovery.Limit{Burst: 20, Every: 30 * time.Second},
		Global:              recovery.Limit{Burst: 500, Every: 50 * time.Millisecond},
		CompletePerClient:   recovery.Limit{Burst: 20, Every: 30 * time.Second},
		PerAccount:          recovery.Limit{Burst: 1, Every: time.Minute},
		PerRequester:        recovery.Limit{Burst: 6, Every: time.Hour},
		PerMailbox:          recovery.Limit{Burst: 10, Every: 6 * time.Minute},
		UsernamesPerMailbox: recovery.Limit{Burst: 1, Every: time.Hour},
	})
}

// The least and the most that an option may be pass; one less or more does not.
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
		"StoreTimeout":  {100 * time.Millisecond, 10 * time.Second, func(o *recovery.Options, d time.Duration) { o.StoreTimeout = d }},
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
	for n, ok := range map[int]bool{-1: false, 1: true, 256: true, 257: false} {
		try(t, recovery.Options{Workers: n}, ok)
	}
	try(t, recovery.Options{Hasher: recovery.Hasher{MaxBytes: 1}}, false) // less than Policy.MinLength
	for limit, ok := range map[recovery.Limit]bool{
		{Burst: 0, Every: time.Hour}: false, {Burst: 1, Every: time.Hour}: true, {Burst: 1e6, Every: time.Second}: true, {Burst: 1e6 + 1, Every: time.Second}: false,
		{Burst: 1, Every: 0}: false, {Burst: 1, Every: time.Microsecond}: true, {Burst: 1, Every: 24 * time.Hour}: true,
		{Burst: 365, Every: 24 * time.Hour}: true, {Burst: 366, Every: 24 * time.Hour}: false, {Burst: 1e6, Every: 24 * time.Hour}: false,
		{Burst: 1, Every: 24*time.Hour + time.Microsecond}: false, {Burst: 1, Every: -time.Microsecond}: false,
		{Burst: 1, Every: time.Microsecond + 1}: false, // states are stored in microseconds
	} {
		try(t, recovery.Options{Limits: recovery.Limits{Global: limit}}, ok)
		try(t, recovery.Options{Limits: recovery.Limits{PerMailbox: limit}}, ok)
		try(t, recovery.Options{Limits: recovery.Limits{UsernamesPerMailbox: limit}}, ok)
	}
	for name, ok := range map[string]bool{"アカウント": true, "a\xffb": false, "a\u200bb": false} {
		try(t, recovery.Options{Application: name}, ok)
	}
	for name, ok := range map[string]bool{strings.Repeat("n", 64): true, strings.Repeat("n", 65): false} {
		try(t, recovery.Options{Portals: map[string]recovery.Portal{name: {URL: "https://portal.example/", Tenants: []string{name}}}}, ok)
	}
	try(t, recovery.Options{Portals: map[string]recovery.Portal{"p": {URL: "https://p.example/", Allow: everybody}, "q": {URL: "https://q.example/"}}}, false)
	for url, ok := range map[string]bool{
		"https://portal.example/~!": true, "https://portal.example/a b": false, "https://portal.example/\x7f": false, "https://portal.example/#": false,
		"ftp://localhost/": false, "http://[::1]/": true, "http://[::2]/": false, "http://localhost.example/": false, "https:///": false,
	} {
		try(t, recovery.Options{Portals: map[string]recovery.Portal{"p": {URL: url}}}, ok)
	}
}
