package httpadapter_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/exchange"
	"example.com/recovery/httpadapter/internal/stage"
)

// dial sends the start of a request, whose body may never come.
func dial(t *testing.T, built http.Handler, format string, args ...any) net.Conn {
	t.Helper()
	server := httptest.NewServer(built)
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	is.New(t).NoErr(err)
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, format, args...)
	return conn
}

// wantClosed goes on sending slowly until the server hangs up.
func wantClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	is := is.New(t)
	for start := time.Now(); time.Since(start) < 5*time.Second; {
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

// A body that drips is cut at the deadline: S75.
func TestSlowBody(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		t.Parallel()
		is := is.New(t)
		built := h.on(stage.New(t, recovery.Options{}), exchange.Options{BodyTimeout: 50 * time.Millisecond})
		conn := dial(t, built, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n{", h.path, h.media)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		is.NoErr(err)
		is.Equal(response.StatusCode, 400)
		is.True(response.Close)
		wantClosed(t, conn)
	})
}

// So is a body that nobody waits for.
func TestSlowBodyOfARefusedRequest(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		for name, head := range map[string]string{
			"another path":   "POST /elsewhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
			"another method": "DELETE " + h.path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
			"too large":      "POST " + h.path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n",
			"continue":       "POST " + h.path + " HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 20000\r\n\r\n",
			"chunked":        "POST /elsewhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n",
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				built := h.on(stage.New(t, recovery.Options{}), exchange.Options{BodyTimeout: 100 * time.Millisecond})
				wantClosed(t, dial(t, built, "%s", head))
			})
		}
	})
}

// The deadline of the body does not end the call: waiting for a hash takes longer.
func TestBodyTimeoutEndsWithTheBody(t *testing.T) {
	is := is.New(t)
	s := stage.New(t, recovery.Options{Hasher: recovery.Hasher{Hash: func(string) (string, error) {
		time.Sleep(150 * time.Millisecond)
		return "new", nil
	}}})
	token := s.Token("alice")
	server := httptest.NewServer(handlers["JSON"].on(s, exchange.Options{BodyTimeout: 50 * time.Millisecond}))
	defer server.Close()
	response, err := http.Post(server.URL+"/completions", "application/json", strings.NewReader(fmt.Sprintf(`{"token":%q,"password":%q}`, token, stage.Password)))
	is.NoErr(err)
	is.Equal(response.StatusCode, 204)
}

// A body may have 16 KiB, and not a byte more: S75. What is announced as larger is not read at all.
func TestLargestBody(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		built := h.on(stage.New(t, recovery.Options{}), exchange.Options{})
		for size, refused := range map[int]bool{16 * 1024: false, 16*1024 + 1: true} {
			for _, announced := range []int64{int64(size), -1} {
				r := h.request(strings.NewReader(strings.Repeat("x", size)))
				r.ContentLength = announced
				response := serve(built, r)
				is.Equal(response.Code == 413, refused)
				is.Equal(response.Code == 400, !refused)
				is.Equal(response.Header().Get("Connection") == "close", refused && announced > 0)
			}
		}
		r := h.request(iotest.ErrReader(errors.New("read")))
		r.ContentLength = 16*1024 + 1
		is.Equal(serve(built, r).Code, 413)
	})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, " "), nil }

// A body without end takes no memory: S75.
func TestEndlessBody(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		built := h.on(stage.New(t, recovery.Options{}), exchange.Options{})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := h.request(endless{})
		r.ContentLength = -1
		is.Equal(serve(built, r).Code, 413)
		runtime.ReadMemStats(&after)
		is.True(after.TotalAlloc-before.TotalAlloc < 1<<20)
	})
}

// A body that is whole as far as it came was meant to go on, and what is left of it must not be
// taken for the next request.
func TestBodyThatFails(t *testing.T) {
	onEach(t, func(t *testing.T, h handler) {
		is := is.New(t)
		s := stage.New(t, recovery.Options{})
		response := serve(h.on(s, exchange.Options{}), h.request(io.MultiReader(strings.NewReader(h.body), iotest.ErrReader(errors.New("gone")))))
		is.Equal(response.Code, 400)
		is.Equal(strings.Contains(response.Body.String(), "did not arrive whole and in time"), h.name != "portal")
		is.Equal(response.Header().Get("Connection"), "close")
		is.Equal(len(s.Mails()), 0)
	})
}
