package httpadapter

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/stage"
)

var update = flag.Bool("update", false, "write the golden files")

// A world is a handler with everything around it at hand.
type world struct {
	*stage.Stage
	handler http.Handler
}

type constructor func(*recovery.Service, *Options) (http.Handler, error)

func newWorld(t *testing.T, build constructor, core recovery.Options, opts Options) *world {
	t.Helper()
	w := &world{Stage: stage.New(t, core)}
	opts.Logger = w.Logger
	var err error
	w.handler, err = build(w.Service, &opts)
	is.New(t).NoErr(err)
	return w
}

// send sends a request over a connection and returns the raw response without its Date.
func (w *world) send(method, path string, header []string, body string) string {
	w.T.Helper()
	is := is.New(w.T)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	is.NoErr(err)
	defer conn.Close()
	var request strings.Builder
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: attacker.example\r\n", method, path)
	for _, line := range header {
		request.WriteString(line + "\r\n")
	}
	fmt.Fprintf(&request, "Content-Length: %d\r\n\r\n%s", len(body), body)
	_, err = io.WriteString(conn, request.String())
	is.NoErr(err)
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, &http.Request{Method: method})
	is.NoErr(err)
	content, err := io.ReadAll(response.Body)
	is.NoErr(err)
	var raw bytes.Buffer
	fmt.Fprintf(&raw, "HTTP/1.1 %s\n", response.Status)
	response.Header.Del("Date")
	if response.Close {
		response.Header.Set("Connection", "close")
	}
	if n := response.ContentLength; n >= 0 && response.StatusCode != http.StatusNoContent && method != http.MethodHead {
		response.Header.Set("Content-Length", fmt.Sprint(n))
	}
	is.NoErr(response.Header.Write(&raw))
	raw.WriteString("\n")
	raw.Write(content)
	return strings.ReplaceAll(raw.String(), "\r\n", "\n")
}

// madeUp is what differs from answer to answer.
var madeUp = regexp.MustCompile(`"(id|ticket)":"[0-9a-z-]+"`)

// A vector is one request and its golden response.
type vector struct {
	name   string
	core   recovery.Options
	opts   Options
	before func(w *world)
	method string
	path   string
	header []string
	body   string // TOKEN stands for billybob's token
	mails  string // kinds of the mails that must follow, each with its recipient
}

// golden compares the responses to the vectors with a file, which shows requests and responses.
func golden(t *testing.T, build constructor, file string, vectors []vector) {
	t.Helper()
	var out strings.Builder
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			is := is.New(t)
			w := newWorld(t, build, v.core, v.opts)
			token := ""
			if strings.Contains(v.body+strings.Join(v.header, ""), "TOKEN") {
				token = w.Token("billybob")
			}
			if v.before != nil {
				v.before(w)
			}
			withToken := func(s string) string { return strings.ReplaceAll(s, "TOKEN", token) }
			header := make([]string, len(v.header))
			for i, line := range v.header {
				header[i] = withToken(line)
			}
			response := w.send(v.method, v.path, header, withToken(v.body))
			w.Fail = nil
			var mails []string
			for _, m := range w.Mails() {
				mails = append(mails, string(m.Kind)+" "+m.To)
			}
			is.Equal(strings.Join(mails, ", "), v.mails)
			for _, s := range []string{token, "superSecure", "alice@example.com", "billybob@example.com"} {
				is.True(s == "" || !strings.Contains(response+w.Log.String(), s)) // neither answer nor log may show it
			}
			body := v.body
			if len(body) > 300 {
				body = fmt.Sprintf("(%d bytes)\n", len(body))
			}
			response = madeUp.ReplaceAllString(response, `"$1":"..."`)
			fmt.Fprintf(&out, "=== %s\n%s %s\n%s\n\n%s\n--- response\n%s\n\n", v.name, v.method, v.path, strings.Join(v.header, "\n"), body, response)
		})
	}
	path := "testdata/" + file
	if *update {
		is.New(t).NoErr(os.WriteFile(path, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(path)
	is.New(t).NoErr(err)
	if out.String() == string(want) {
		return
	}
	got, wanted := strings.Split(out.String(), "\n=== "), strings.Split(string(want), "\n=== ")
	for i := range min(len(got), len(wanted)) {
		if got[i] != wanted[i] {
			t.Fatalf("%s differs; run with -update if that is meant.\ngot:\n%s\nwant:\n%s", path, got[i], wanted[i])
		}
	}
	t.Fatalf("%s has %d vectors, the test %d; run with -update if that is meant", path, len(wanted), len(got))
}

var (
	noTenant   = Options{Tenant: func(*http.Request) string { return strings.Repeat("t", 65) }}
	storeDown  = func(w *world) { w.Fail = func() error { return stage.ErrStore } }
	storePanic = func(w *world) { w.Fail = func() error { panic("boom at billybob@example.com") } }
)

// askOnce uses up the limit of the test's own address.
func askOnce(w *world) {
	w.send("POST", "/account-recovery", nil, `{"account-recovery":{"username":"mallory"}}`)
	w.send("POST", "/v2.0/users/RAX-AUTH/forgot-pwd", []string{"Content-Type: application/json"},
		`{"RAX-AUTH:forgotPasswordCredentials":{"username":"mallory"}}`)
	w.send("POST", "/resets", []string{"Content-Type: application/json"}, `{"username":"mallory"}`)
	w.send("POST", "/completions", []string{"Content-Type: application/json"}, byCode)
}
