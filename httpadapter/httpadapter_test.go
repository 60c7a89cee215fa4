package httpadapter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

func TestMountedUnderAPrefix(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	mux := http.NewServeMux()
	mux.Handle("/api/", http.StripPrefix("/api", w.handler))
	w.handler = mux
	is.True(strings.HasPrefix(w.send("POST", "/api/account-recovery", nil, `{"account-recovery":{"username":"alice"}}`), "HTTP/1.1 200 "))
	is.Equal(len(w.deliver()), 1)
}

func TestNilServicePanics(t *testing.T) {
	defer func() { is.New(t).Equal(recover(), "httpadapter: the Service is nil") }()
	NewXandr(nil, nil)
}

func TestNilOptions(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	for _, build := range []constructor{NewXandr, NewRackspace} {
		response := httptest.NewRecorder()
		build(w.Service, nil).ServeHTTP(response, httptest.NewRequest("GET", "/account-recovery", nil))
		is.True(response.Code == 405 || response.Code == 404)
	}
}

func TestClientAddr(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	ask := func(remote string) netip.Addr {
		r := httptest.NewRequest("POST", "/account-recovery", strings.NewReader(`{"account-recovery":{"username":"alice"}}`))
		r.RemoteAddr = remote
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		response := httptest.NewRecorder()
		w.handler.ServeHTTP(response, r)
		is.Equal(response.Code, 200)
		return w.deliver()[0].Client
	}
	is.Equal(ask("192.0.2.1:1234"), netip.MustParseAddr("192.0.2.1"))
	is.Equal(ask("[2001:db8::1]:1234"), netip.MustParseAddr("2001:db8::1"))
	is.Equal(ask("[::ffff:192.0.2.1]:1234"), netip.MustParseAddr("192.0.2.1"))
	is.Equal(ask("192.0.2.1"), netip.MustParseAddr("192.0.2.1")) // what a router's middleware leaves
	is.Equal(ask("2001:db8::1"), netip.MustParseAddr("2001:db8::1"))
	is.Equal(ask("@"), netip.Addr{}) // a Unix socket
	w.handler = NewXandr(w.Service, &Options{ClientAddr: func(r *http.Request) netip.Addr {
		return netip.MustParseAddr(r.Header.Get("X-Forwarded-For"))
	}})
	is.Equal(ask("192.0.2.1:1234"), netip.MustParseAddr("203.0.113.9"))
}

func TestLocale(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	for accept, want := range map[string]string{
		"":                                      "",
		"ja":                                    "ja",
		"en;q=0.5, ja;q=0.9":                    "ja",
		"ja-JP, en":                             "ja-JP",
		"*":                                     "",
		"not a language!":                       "",
		strings.Repeat("x", 99):                 "",
		"ja" + strings.Repeat(",en;q=0.1", 100): "ja",
		"ja,x;q=abc,c":                          "ja",
		"en-x-" + strings.Repeat("abcdefgh-", 6) + "a": "",
		"ja\x00":                               "",
		",":                                    "",
		"und":                                  "",
		"en-x-abcdefgh-abcdefgh-abcdefgh-abc":  "en-x-abcdefgh-abcdefgh-abcdefgh-abc", // 35 bytes
		"en-x-abcdefgh-abcdefgh-abcdefgh-abcd": "",
		"ja" + strings.Repeat(" ", 254):        "ja", // 256 bytes
		"ja" + strings.Repeat(" ", 255):        "",
		"en-u-ca-gregory-nu-latn-x-" + strings.Repeat("abcdefgh-", 3) + "abcdefgh": "",
	} {
		r := httptest.NewRequest("POST", "/account-recovery", strings.NewReader(`{"account-recovery":{"username":"alice"}}`))
		r.Header.Set("Accept-Language", accept)
		response := httptest.NewRecorder()
		w.handler.ServeHTTP(response, r)
		is.Equal(response.Code, 200) // whatever the header holds
		is.Equal(w.deliver()[0].Locale, want)
	}
}

// A body that drips is cut at the deadline: S75.
func TestSlowBody(t *testing.T) {
	for name, build := range map[string]constructor{"xandr": NewXandr, "rackspace": NewRackspace} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, build, recovery.Options{}, Options{BodyTimeout: 50 * time.Millisecond})
			server := httptest.NewServer(w.handler)
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			is.NoErr(err)
			defer conn.Close()
			path := map[string]string{"xandr": "/account-recovery", "rackspace": forgotPath}[name]
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: 100\r\n\r\n{", path, isJSON)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			is.NoErr(err)
			body, err := io.ReadAll(response.Body)
			is.NoErr(err)
			is.Equal(response.StatusCode, 400)
			is.True(response.Close)
			is.True(strings.Contains(string(body), "the body did not arrive whole and in time"))
			wantClosed(t, conn)
		})
	}
}

// wantClosed goes on sending slowly until the server hangs up.
func wantClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	is := is.New(t)
	start := time.Now()
	for time.Since(start) < 5*time.Second {
		if _, err := conn.Write([]byte(" ")); err != nil {
			return
		}
		is.NoErr(conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)))
		if _, err := io.Copy(io.Discard, conn); !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
	t.Error("the connection is still open")
}

// A body that nobody waits for is cut at the deadline too.
func TestSlowBodyOfARefusedRequest(t *testing.T) {
	for name, head := range map[string]string{
		"another path":   "POST /elsewhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"another method": "DELETE /account-recovery HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
		"too large":      "POST /account-recovery HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n",
		"continue":       "POST /account-recovery HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 20000\r\n\r\n",
		"chunked":        "POST /elsewhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			w := newWorld(t, NewXandr, recovery.Options{}, Options{BodyTimeout: 100 * time.Millisecond})
			server := httptest.NewServer(w.handler)
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			is.NoErr(err)
			defer conn.Close()
			_, err = io.WriteString(conn, head)
			is.NoErr(err)
			wantClosed(t, conn)
		})
	}
}

// The deadline of the body does not end the call: waiting for a hash takes longer.
func TestBodyTimeoutEndsWithTheBody(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{Hasher: recovery.Hasher{Hash: func(string) (string, error) {
		time.Sleep(150 * time.Millisecond)
		return "new", nil
	}}}, Options{BodyTimeout: 50 * time.Millisecond})
	token := w.token("alice")
	response := w.send("PUT", "/account-recovery", nil, fmt.Sprintf(`{"account-recovery":{"password":%q,"token":%q}}`, goodPassword, token))
	is.True(strings.HasPrefix(response, "HTTP/1.1 200 "))
}

// A body without end is refused after 16 KiB, and memory stays flat: S75.
func TestEndlessBody(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := httptest.NewRequest("POST", "/account-recovery", endless{})
	r.ContentLength = -1
	response := httptest.NewRecorder()
	w.handler.ServeHTTP(response, r)
	runtime.ReadMemStats(&after)
	is.Equal(response.Code, 413)
	is.True(after.TotalAlloc-before.TotalAlloc < 1<<20)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestAbortIsPassedOn(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	w.fail = func() error { panic(http.ErrAbortHandler) }
	defer func() { is.Equal(recover(), http.ErrAbortHandler) }()
	r := httptest.NewRequest("POST", "/account-recovery", strings.NewReader(`{"account-recovery":{"username":"alice"}}`))
	w.handler.ServeHTTP(httptest.NewRecorder(), r)
}

func TestRackspacePanicWithoutAcceptableType(t *testing.T) {
	is := is.New(t)
	r := httptest.NewRequest("POST", forgotPath, nil)
	r.Header.Set("Accept", "text/html")
	reply := rackspace{now: time.Now}.broken(r)
	is.Equal(string(reply.body), `{"identityFault":{"code":500,"message":"internal error"}}`)
	is.Equal(reply.header.Get("Content-Type"), jsonType)
}

// A client that leaves is not an error to log.
func TestClientLeaves(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, NewXandr, recovery.Options{}, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	w.fail = func() error { cancel(); return errors.Join(ctx.Err(), errStore) }
	r := httptest.NewRequestWithContext(ctx, "POST", "/account-recovery", strings.NewReader(`{"account-recovery":{"username":"alice"}}`))
	response := httptest.NewRecorder()
	w.handler.ServeHTTP(response, r)
	is.Equal(response.Code, 503)
	is.Equal(w.log.String(), "")
}

func TestBusyIsUnavailable(t *testing.T) {
	is := is.New(t)
	hashing, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t, NewXandr, recovery.Options{HashConcurrency: 1, HashWait: time.Millisecond, Hasher: recovery.Hasher{Hash: func(string) (string, error) {
		close(hashing)
		<-release
		return "new", nil
	}}}, Options{})
	first, second := w.token("alice"), w.token("billybob")
	body := `{"account-recovery":{"password":"superSecurePassw0rd!","token":"%s"}}`
	go func() {
		_, _ = w.CompleteReset(t.Context(), recovery.CompleteRequest{Token: first, Password: goodPassword})
	}()
	<-hashing
	response := w.send("PUT", "/account-recovery", nil, fmt.Sprintf(body, second))
	close(release)
	is.True(strings.HasPrefix(response, "HTTP/1.1 503 "))
	is.True(strings.Contains(response, "\nRetry-After: 1\n"))
	is.Equal(w.log.String(), "")
}

func TestSeconds(t *testing.T) {
	is := is.New(t)
	for d, want := range map[time.Duration]string{0: "1", 1: "1", time.Second: "1", time.Second + 1: "2", time.Minute: "60"} {
		is.Equal(seconds(d), want)
	}
}

// errOf is for calls of which a test wants the error alone.
func errOf[T any](_ T, err error) error { return err }
