package openapitest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"
)

// A document is openapi.yaml, as the handler serves it.
type document struct {
	validator.Validator
	statuses map[string][]string // by method and path
	examples []exchange          // requests only
}

func load(t *testing.T) *document {
	t.Helper()
	is := is.New(t)
	response := httptest.NewRecorder()
	newSite(t).format.ServeHTTP(response, httptest.NewRequest("GET", "/openapi.yaml", nil))
	parsed, err := libopenapi.NewDocument(response.Body.Bytes())
	is.NoErr(err)
	model, err := parsed.BuildV3Model()
	is.NoErr(err)
	d := &document{statuses: map[string][]string{}}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			call := strings.ToUpper(method) + " " + path
			for status := range operation.Responses.Codes.FromOldest() {
				d.statuses[call] = append(d.statuses[call], status)
			}
			if operation.RequestBody == nil {
				continue
			}
			media := operation.RequestBody.Content.GetOrZero("application/json")
			for name, example := range media.Examples.FromOldest() {
				var value any
				is.NoErr(example.Value.Decode(&value))
				body, err := json.Marshal(value)
				is.NoErr(err)
				d.examples = append(d.examples, exchange{
					name: call + " " + name, method: strings.ToUpper(method), path: path, body: string(body),
					header: http.Header{"Content-Type": {"application/json"}},
				})
			}
		}
	}
	var faults []error
	// Strict: keys and headers that the document does not name are faults. These are about pages of
	// other origins, which the document describes in words, and about browsers.
	d.Validator, faults = validator.NewValidator(parsed, config.WithStrictMode(), config.WithFormatAssertions(),
		config.WithStrictIgnoredHeadersExtra("x-content-type-options", "sec-fetch-site", "sec-fetch-mode",
			"access-control-allow-origin", "access-control-expose-headers", "keep-alive"))
	is.Equal(len(faults), 0)
	return d
}

// faults returns what an exchange has against the document: in its request, and in its answer.
func (d *document) faults(e exchange) (request, answer []*errors.ValidationError) {
	_, request = d.ValidateHttpRequest(e.request())
	_, answer = d.ValidateHttpResponse(e.request(), e.response())
	if (e.status == 204) != (e.answer == "") { // the validator does not look there
		answer = append(answer, &errors.ValidationError{Message: "the body", Reason: "204 has none, everything else has one"})
	}
	return request, answer
}

func explain(faults []*errors.ValidationError) string {
	var text strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&text, "\n%s: %s", f.Message, f.Reason)
		for _, s := range f.SchemaValidationErrors {
			fmt.Fprintf(&text, "\n\t%s", s.Reason)
		}
	}
	return text.String()
}

func TestDocumentIsOpenAPI(t *testing.T) {
	_, faults := load(t).ValidateDocument()
	if len(faults) > 0 {
		t.Error(explain(faults))
	}
}

func TestExamples(t *testing.T) {
	is := is.New(t)
	d := load(t)
	is.Equal(len(d.examples), 4)
	for _, e := range d.examples {
		if _, faults := d.ValidateHttpRequest(e.request()); len(faults) > 0 {
			t.Error(e.name, explain(faults))
		}
	}
}

// looser are the recorded requests that the document allows and the handler refuses with 400,
// because their fields break rules that a schema does not know.
var looser = map[string]bool{
	"reset, unknown portal": true,
	"reset, no address":     true,
}

// What the handler answered, and what it accepted, is what the document says. Each documented
// status of each operation occurs.
func TestRecordedExchanges(t *testing.T) {
	d := load(t)
	seen := map[string]bool{"GET /openapi.yaml 200": true} // by load
	for _, e := range recorded(t) {
		t.Run(e.name, func(t *testing.T) {
			is := is.New(t)
			call := e.method + " " + e.path
			if d.statuses[call] == nil {
				undocumented(t, d, e)
				return
			}
			seen[fmt.Sprint(call, " ", e.status)] = true
			request, answer := d.faults(e)
			if len(answer) > 0 {
				t.Errorf("the answer: %s", explain(answer))
			}
			switch e.status {
			case 413: // the document has no size
			case 400:
				is.Equal(len(request) == 0, looser[e.name]) // the document and the handler must refuse the same
			case 415:
				is.True(len(request) > 0) // the document must refuse this too
			default:
				if len(request) > 0 {
					t.Errorf("the request: %s", explain(request))
				}
			}
		})
	}
	for _, call := range slices.Sorted(maps.Keys(d.statuses)) {
		for _, status := range d.statuses[call] {
			if !seen[call+" "+status] {
				t.Errorf("%s is never answered with %s", call, status)
			}
		}
	}
}

// undocumented checks an exchange that is no operation. The document describes these in words.
func undocumented(t *testing.T, d *document, e exchange) {
	t.Helper()
	is := is.New(t)
	known := slices.ContainsFunc(slices.Collect(maps.Keys(d.statuses)), func(call string) bool { return strings.HasSuffix(call, " "+e.path) })
	switch {
	case !known:
		is.Equal(e.status, 404)
		is.True(strings.Contains(e.answer, `/problems/not-found"`))
	case e.method == http.MethodHead:
		is.True(d.statuses["GET "+e.path] != nil)
		is.Equal(e.status, 200)
	case e.method == http.MethodOptions:
		is.Equal(e.status, 204)
	default:
		is.Equal(e.status, 405)
		is.True(strings.Contains(e.answer, `/problems/method"`))
	}
}

// The validator finds what is wrong.
func TestFaultsAreFound(t *testing.T) {
	d := load(t)
	exchanges := map[string]exchange{}
	for _, e := range recorded(t) {
		exchanges[e.name] = e
	}
	answer := func(old, new string) func(*exchange) {
		return func(e *exchange) { e.answer = strings.Replace(e.answer, old, new, 1) }
	}
	header := func(name, value string) func(*exchange) {
		return func(e *exchange) {
			e.answerHeader = e.answerHeader.Clone()
			e.answerHeader.Del(name)
			if value != "" {
				e.answerHeader.Set(name, value)
			}
		}
	}
	body := func(body string) func(*exchange) { return func(e *exchange) { e.body = body } }
	for _, c := range []struct {
		fault  string
		in     string // an exchange without faults
		change func(*exchange)
	}{
		{"a key too many", "reset by user name", answer(`{"id"`, `{"account":"3","id"`)},
		{"a key too many, usernames", "user names", answer(`{"id"`, `{"ticket":"x","id"`)},
		{"a key too few", "reset by user name", answer(`"ticket"`, `"Ticket"`)},
		{"a ticket of another form", "reset by user name", answer(`"ticket":"`, `"ticket":"0`)},
		{"an ID of another form", "user names", answer(`"id":"`, `"id":"x`)},
		{"no body", "reset by user name", func(e *exchange) { e.answer = "" }},
		{"a body where none belongs", "completion", func(e *exchange) { e.answer = "{}" }},
		{"another status", "reset by user name", func(e *exchange) { e.status = 200 }},
		{"another media type", "reset by user name", header("Content-Type", "text/plain")},
		{"an answer that may be kept", "completion", header("Cache-Control", "")},
		{"an error that may be kept", "rejected password", header("Cache-Control", "public")},
		{"a header too many", "completion", header("X-Account", "3")},
		{"no Retry-After, 429", "over the limit, /resets", header("Retry-After", "")},
		{"no Retry-After, 503", "store down, /completions", header("Retry-After", "")},
		{"Retry-After as a date", "over the limit, /resets", header("Retry-After", "Sat, 21 Nov 2026 18:31:30 GMT")},
		{"an error that is plain JSON", "completion, unknown token", header("Content-Type", "application/json")},
		{"an error of another type", "completion, unknown token", answer("problems/token", "problems/expired")},
		{"an error that repeats another status", "completion, unknown token", answer("410", "404")},
		{"an error with a key too many", "completion, unknown token", answer(`{"type"`, `{"account":"3","type"`)},
		{"wrong codes of a request", "over the limit, /resets", answer("problems/limit", "problems/ticket")},
		{"a denied request", "from another site, /resets", answer("problems/cross-site", "problems/denied")},
		{"no reasons", "rejected password", answer(`"reasons"`, `"why"`)},
		{"no challenge", "challenged by the application", answer(`"challenge":{`, `"factor":{`)},
		{"no rules", "policy", func(e *exchange) { e.answer = `{"rules":[]}` }},

		{"a request with a key too many", "reset by user name", body(`{"username":"billybob","admin":true}`)},
		{"a request with both names", "reset by user name", body(`{"username":"billybob","email":"a@example.com"}`)},
		{"a completion with a token and a code", "completion", body(`{"token":"t","ticket":"k","code":"c","password":"p"}`)},
		{"a completion with a token and a ticket", "completion", body(`{"token":"t","ticket":"k","password":"p"}`)},
		{"a completion without a ticket", "completion", body(`{"code":"c","password":"p"}`)},
		{"a completion without a password", "completion", body(`{"token":"t"}`)},
	} {
		t.Run(c.fault, func(t *testing.T) {
			is := is.New(t)
			e, ok := exchanges[c.in]
			is.True(ok)
			request, answer := d.faults(e)
			is.Equal(len(request)+len(answer), 0)
			c.change(&e)
			request, answer = d.faults(e)
			is.True(len(request)+len(answer) > 0)
		})
	}
}
