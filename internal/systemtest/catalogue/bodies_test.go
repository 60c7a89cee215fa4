package catalogue

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"
)

// Bodies without end are cut after 16 KiB or at the deadline, on a real server, and cost no memory.
func TestAttack_S75_BodiesWithoutEnd(t *testing.T) {
	s := newSite(t, onMemory(), nil) // no store is ever asked
	for _, name := range entryNames[1:] {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			path, media, form := s.forms(name)
			method := "POST"
			head := func(lines ...string) string {
				return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: app.example\r\nContent-Type: %s\r\nSec-Fetch-Site: same-origin\r\n%s\r\n\r\n", method, path, media, strings.Join(lines, "\r\n"))
			}
			chunk := "4000\r\n" + strings.Repeat(" ", 0x4000) + "\r\n"
			s.serve()
			before := allocated()
			for _, c := range []struct {
				what, head string
				body       io.Reader
				want       []string
			}{
				{"1 GiB that is announced", head("Content-Length: 1073741824"), io.LimitReader(endless{}, 1<<30), []string{tooLarge}},
				{"1 GiB that waits for leave", head("Content-Length: 1073741824", "Expect: 100-continue"), nil, []string{tooLarge}},
				{"chunks without end", head("Transfer-Encoding: chunked"), &repeated{text: chunk}, []string{tooLarge}},
				{"one byte too much", head("Content-Length: 16385"), strings.NewReader(strings.Repeat(" ", 16385)), []string{tooLarge}},
				{"a chunk that announces 2⁶⁰ bytes", head("Transfer-Encoding: chunked") + "1000000000000000\r\n", endless{}, []string{tooLarge}},
				{"a length of 2⁶³-1", head("Content-Length: 9223372036854775807"), endless{}, []string{tooLarge}},
				{"a length beyond 64 bits", head("Content-Length: 99999999999999999999"), nil, []string{malformed}},
				{"a negative length", head("Content-Length: -1"), nil, []string{malformed}},
				{"two lengths", head("Content-Length: 5", "Content-Length: 6"), nil, []string{malformed}},
				{"a gzip bomb", head("Content-Encoding: gzip", fmt.Sprint("Content-Length: ", len(bomb()))), bytes.NewReader(bomb()), []string{mediaType, malformed}},
				{"a gzip bomb as transfer encoding", head("Transfer-Encoding: gzip, chunked"), nil, []string{"501", malformed}},
				{"nested arrays", head("Content-Length: 16384"), strings.NewReader(strings.Repeat("[", 16384)), []string{malformed}},
				{"nothing at all, though 100 bytes were announced", head("Content-Length: 100"), nil, []string{malformed}},
				{"a byte now and then", head("Content-Length: 1000"), &dripping{text: form}, []string{malformed}},
				{"a chunk now and then", head("Transfer-Encoding: chunked"), &dripping{text: strings.Repeat("1\r\n \r\n", 1000)}, []string{malformed}},
				{"a chunk that does not end", head("Transfer-Encoding: chunked") + "ff\r\n{", nil, []string{malformed}},
				{"a chunk extension without end", head("Transfer-Encoding: chunked") + "1;x=", &repeated{text: "xxxxxxxxxxxxxxxx"}, []string{malformed}},
			} {
				got := s.send(t, c.head, c.body)
				if !slices.Contains(c.want, got) {
					t.Errorf("%s: %s, not %v", c.what, got, c.want)
				}
			}
			used := allocated() - before
			if used > 16<<20 {
				t.Errorf("%d bytes were allocated", used)
			}
			is.Equal(len(s.trace.calls()), 0)
			is.Equal(s.raw(head(fmt.Sprint("Content-Length: ", len(form)), "Connection: close")+form).outcome, accepted) // the server lives
			s.trace.calls()
		})
	}
	s.sound()
}

// send writes a body for as long as the server takes it, and returns the outcome.
func (s *site) send(t *testing.T, head string, body io.Reader) string {
	t.Helper()
	is := is.New(t)
	conn, err := net.Dial("tcp", s.serve().Listener.Addr().String())
	is.NoErr(err)
	defer conn.Close()
	is.NoErr(conn.SetDeadline(time.Now().Add(30 * time.Second)))
	_, err = io.WriteString(conn, head)
	is.NoErr(err)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if body != nil {
			_, _ = io.Copy(conn, body) // until the server hangs up
		}
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "no answer: " + err.Error()
	}
	text, err := io.ReadAll(response.Body)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "the answer does not end"
	}
	got := s.answered(strings.Fields(head)[1], response.StatusCode, response.Header, string(text))
	_ = conn.Close()
	<-sent
	return got.outcome
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// repeated is a text again and again.
type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// dripping is one byte every 20 milliseconds.
type dripping struct {
	text string
	at   int
}

func (d *dripping) Read(p []byte) (int, error) {
	time.Sleep(20 * time.Millisecond)
	if d.at == len(d.text) {
		d.at = 0
	}
	p[0] = d.text[d.at]
	d.at++
	return 1, nil
}

// bomb is 8 KiB of gzip that become 8 MiB.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.Copy(w, io.LimitReader(endless{}, 8<<20))
	_ = w.Close()
	return b.Bytes()
})
