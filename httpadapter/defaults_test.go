package httpadapter

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// The documented defaults hold without options, and for values that make no sense.
func TestDefaults(t *testing.T) {
	for name, opts := range map[string]*Options{"nil": nil, "zero": {}, "negative": {BodyTimeout: -1}} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, NewXandr, recovery.Options{}, Options{})
			a := newAdapter(w.Service, opts, func(*Options) format { return xandr{} })
			is.Equal(a.opts.BodyTimeout, 10*time.Second)
			is.Equal(a.opts.Logger, slog.Default())
			is.True(time.Since(a.opts.Now()).Abs() < time.Minute) // the clock
		})
	}
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	is.Equal(newAdapter(w.Service, &Options{BodyTimeout: 1}, func(*Options) format { return xandr{} }).opts.BodyTimeout, time.Duration(1))
}

// A body may have 16 KiB, and not a byte more: S75.
func TestLargestBody(t *testing.T) {
	for name, length := range map[string]int64{"announced": 0, "not announced": -1} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, NewXandr, recovery.Options{}, Options{})
			send := func(size int) int {
				body := fmt.Sprintf("%-*s", size, `{"account-recovery":{"username":"alice"}}`)
				r := httptest.NewRequest("POST", "/account-recovery", strings.NewReader(body))
				if length < 0 {
					r.ContentLength = length
				}
				response := httptest.NewRecorder()
				w.handler.ServeHTTP(response, r)
				return response.Code
			}
			is.Equal(send(16*1024), 200)
			is.Equal(send(16*1024+1), 413)
		})
	}
}

// What is left of a body that did not arrive must not be taken for the next request.
func TestBodyThatFailsClosesTheConnection(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	r := httptest.NewRequest("POST", "/account-recovery", iotest.ErrReader(errors.New("gone")))
	response := httptest.NewRecorder()
	w.handler.ServeHTTP(response, r)
	is.Equal(response.Code, 400)
	is.Equal(response.Header().Get("Connection"), "close")
}

// A panic is told to the log: where, and not what, which may be anything.
func TestPanicIsLogged(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	w.fail = func() error { panic("alice@example.com") }
	response := w.send("POST", "/account-recovery", nil, `{"account-recovery":{"username":"alice"}}`)
	is.True(strings.HasPrefix(response, "HTTP/1.1 500 "))
	is.True(strings.Contains(w.log.String(), "httpadapter: panic"))
	is.True(strings.Contains(w.log.String(), "defaults_test.go")) // the stack
	is.True(!strings.Contains(w.log.String(), "alice@example.com"))
}

// What is announced as too large is not read at all.
func TestAnnouncedBodyIsNotRead(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	r := httptest.NewRequest("POST", "/account-recovery", iotest.ErrReader(errors.New("read")))
	r.ContentLength = 16*1024 + 1
	response := httptest.NewRecorder()
	w.handler.ServeHTTP(response, r)
	is.Equal(response.Code, 413)
	is.Equal(response.Header().Get("Connection"), "close")
}

func TestStoreThatIsDownIsNotALineARequest(t *testing.T) {
	for name, c := range map[string]struct {
		format       func(*recovery.Service, *Options) http.Handler
		path, body   string
		header       []string
		down, normal string
	}{
		"Xandr":     {NewXandr, "/account-recovery", `{"account-recovery":{"username":"alice"}}`, nil, "503", "200"},
		"Rackspace": {NewRackspace, forgotPath, forgotJSON, []string{isJSON}, "503", "204"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				w := newWorld(t, c.format, recovery.Options{}, Options{})
				storeDown(w)
				for range 90 { // seconds
					is.True(strings.HasPrefix(w.send("POST", c.path, c.header, c.body), "HTTP/1.1 "+c.down))
					time.Sleep(time.Second)
				}
				is.Equal(strings.Count(w.log.String(), "httpadapter: the call failed"), 2)
				is.Equal(strings.Count(w.log.String(), errStore.Error()), 2)
				w.fail = nil
				for range 2 {
					is.True(strings.HasPrefix(w.send("POST", c.path, c.header, c.body), "HTTP/1.1 "+c.normal))
				}
				is.Equal(strings.Count(w.log.String(), "httpadapter: calls succeed again"), 1)
			})
		})
	}
}

// An empty body of a type that is not read is refused for its type.
func TestEmptyBodyOfAnotherType(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewRackspace, recovery.Options{}, Options{})
	is.True(strings.HasPrefix(w.send("POST", forgotPath, []string{"Content-Type: text/plain"}, ""), "HTTP/1.1 415 "))
}
