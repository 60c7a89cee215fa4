package portal

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/recovery"
	"example.com/recovery/httpadapter/internal/stage"
)

// A world is the pages with everything around them at hand.
type world struct {
	*stage.Stage
	handler http.Handler
}

func newWorld(t *testing.T, core recovery.Options, opts Options) *world {
	t.Helper()
	core.Portals = map[string]recovery.Portal{"web": {URL: "https://portal.example/recover/reset"}}
	if core.Application == "" {
		core.Application = "Acme"
	}
	w := &world{Stage: stage.New(t, core)}
	opts.Portal, opts.Logger = "web", w.Logger
	w.handler = must(t)(New(w.Service, &opts))
	return w
}

// do sends a request. The header is of names and values in turn.
func (w *world) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	w.T.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	response := httptest.NewRecorder()
	w.handler.ServeHTTP(response, r)
	return response
}

// post sends a form as a browser would, with further headers.
func (w *world) post(path string, form url.Values, header ...string) *httptest.ResponseRecorder {
	w.T.Helper()
	return w.do("POST", path, form.Encode(), append([]string{"Content-Type", formType, "Sec-Fetch-Site", "same-origin"}, header...)...)
}

func byUsername(name string) url.Values {
	return url.Values{"by": {"username"}, "username": {name}, "email": {""}}
}

func byEmail(email string) url.Values {
	return url.Values{"by": {"email"}, "username": {""}, "email": {email}}
}

func newPassword(token, password string) url.Values {
	return url.Values{"token": {token}, "password": {password}, "repeat": {password}}
}

// dump is a whole response as text.
func dump(r *httptest.ResponseRecorder) string {
	var b strings.Builder
	b.WriteString(http.StatusText(r.Code) + "\n")
	_ = r.Header().Write(&b)
	b.WriteString("\n" + r.Body.String())
	return strings.ReplaceAll(b.String(), "\r\n", "\n")
}
