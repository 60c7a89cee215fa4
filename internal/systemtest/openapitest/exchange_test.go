package openapitest

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// An exchange is a request and its answer. The path begins at the document's server.
type exchange struct {
	name         string
	method, path string
	header       http.Header
	body         string
	status       int
	answerHeader http.Header
	answer       string
}

func (e exchange) request() *http.Request {
	r := httptest.NewRequest(e.method, e.path, strings.NewReader(e.body))
	r.Header = e.header
	return r
}

func (e exchange) response() *http.Response {
	return &http.Response{
		StatusCode: e.status, Header: e.answerHeader, ContentLength: int64(len(e.answer)),
		Body: io.NopCloser(strings.NewReader(e.answer)), Request: e.request(),
	}
}

// unmask puts values in the place of those that the record leaves out.
var unmask = strings.NewReplacer(
	`"id":"..."`, `"id":"0198c0de-0000-7000-8000-000000000000"`,
	`"ticket":"..."`, `"ticket":"`+strings.Repeat("a", 52)+`"`,
)

// recorded returns the exchanges of httpadapter's test, which compares them with the handler.
func recorded(t *testing.T) (exchanges []exchange) {
	t.Helper()
	is := is.New(t)
	record, err := os.ReadFile("../../../httpadapter/testdata/json.txt")
	is.NoErr(err)
	for text := range strings.SplitSeq(strings.TrimPrefix(string(record), "=== "), "\n=== ") {
		name, text, _ := strings.Cut(text, "\n")
		request, answer, ok := strings.Cut(text, "\n--- response\n")
		is.True(ok)
		call, request, _ := strings.Cut(request, "\n")
		lines, body, ok := strings.Cut(request, "\n\n")
		is.True(ok)
		e := exchange{name: name, header: http.Header{}, body: body}
		e.method, e.path, _ = strings.Cut(call, " ")
		for line := range strings.SplitSeq(lines, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				e.header.Set(name, value)
			}
		}
		response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(unmask.Replace(answer))), &http.Request{Method: e.method})
		is.NoErr(err)
		content, err := io.ReadAll(response.Body)
		is.NoErr(err)
		e.status, e.answerHeader, e.answer = response.StatusCode, response.Header, string(content)
		exchanges = append(exchanges, e)
	}
	is.True(len(exchanges) > 50)
	return exchanges
}
