package openapitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

// metaSchema returns OpenAPI's own schema of documents, from a package of npm.
func metaSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	is := is.New(t)
	text, err := os.ReadFile(filepath.Join(modules(t), "@seriousme", "openapi-schema-validator", "schemas", "v3.1", "schema.json"))
	is.NoErr(err)
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	is.NoErr(err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	is.NoErr(compiler.AddResource("schema.json", schema))
	compiled, err := compiler.Compile("schema.json")
	is.NoErr(err)
	return compiled
}

// OpenAPI's schema and kin-openapi both accept the document. The first knows each key of OpenAPI,
// but not those of the schemas inside, and follows no reference. The second misses some keys.
func TestDocumentIsOpenAPI(t *testing.T) {
	is := is.New(t)
	schema, text := metaSchema(t), string(load(t).text)
	check := func(text string) error {
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			return err
		}
		if err := schema.Validate(value); err != nil {
			return err
		}
		_, err := parse([]byte(text))
		return err
	}
	is.NoErr(check(text))

	// Together they find what is wrong.
	for _, c := range []struct{ fault, old, new string }{
		{"a key at the root", "servers:", "servrs: []\nservers:"},
		{"a key of an operation", "summary: This document", "sumary: This document"},
		{"a key of a header", "required: true\n      schema: {type: string, const: no-store}", "requird: true\n      schema: {type: string, const: no-store}"},
		{"a key of a response", "description: Over a limit.", "description: Over a limit.\n      heders: {}"},
		{"a key of a path", "get:\n      operationId: getPolicy", "gett:\n      operationId: getPolicy"},
		{"a key of a schema", "required: [id, ticket]", "requird: [id, ticket]"},
		{"a key twice", "title: Account recovery", "title: Account recovery\n  title: Account recovery"},
		{"no description", "description: Over a limit.\n", "\n"},
		{"no version", `version: "1.0"`, ""},
		{"another version", "openapi: 3.1.1", "openapi: 3.0.3"},
		{"no such schema", `schemas/ResetRequest"`, `schemas/ResetReqest"`},
		{"no such response", `responses/Malformed"`, `responses/Malforme"`},
		{"a schema as a header", `Cache-Control: {$ref: "#/components/headers/NoStore"}`, `Cache-Control: {$ref: "#/components/schemas/Email"}`},
		{"no such type", "type: boolean", "type: bool"},
		{"no such status", `"413": {$ref`, `"4133": {$ref`},
		{"no list", "required: [id, ticket]", "required: id"},
		{"no truth", "required: true\n        content:", "required: 'yes'\n        content:"},
		{"no pattern", "^[a-z2-7]{52}$", "^[a-z2-7{52}$"},
		{"no path", "  /policy:", "  policy:"},
		{"a name twice", "operationId: requestUsernames", "operationId: requestReset"},
		{"an example that does not fit", "{value: {username: alice}}", "{value: {usernam: alice}}"},
		{"a format that is not checked", "format: uuid", "format: guid"},
		{"an open object inside", "additionalProperties: false\n            required: [name, text]", "required: [name, text]"},
		{"no type", "status: {type: integer}", "status: {}"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			is := is.New(t)
			faulty := strings.Replace(text, c.old, c.new, 1)
			is.True(faulty != text)
			is.True(check(faulty) != nil)
		})
	}
}

func TestExamples(t *testing.T) {
	is := is.New(t)
	d := load(t)
	count := 0
	for call, operation := range d.operations() {
		if operation.RequestBody == nil {
			continue
		}
		for name, example := range operation.RequestBody.Value.Content["application/json"].Examples {
			body, err := json.Marshal(example.Value.Value)
			is.NoErr(err)
			e := exchange{body: string(body), header: http.Header{"Content-Type": {"application/json"}}}
			e.method, e.path, _ = strings.Cut(call, " ")
			if fault, _ := d.faults(e); fault != nil {
				t.Error(call, name, fault)
			}
			count++
		}
	}
	is.Equal(count, 4)
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
	operations := d.operations()
	seen := map[string]bool{"GET /openapi.yaml 200": true} // by load
	for _, e := range recorded(t) {
		t.Run(e.name, func(t *testing.T) {
			is := is.New(t)
			call := e.method + " " + e.path
			if operations[call] == nil {
				undocumented(t, d, e)
				return
			}
			seen[fmt.Sprint(call, " ", e.status)] = true
			request, answer := d.faults(e)
			is.NoErr(answer)
			switch e.status {
			case 413: // the document has no size
			case 400:
				is.Equal(request == nil, looser[e.name]) // the document and the handler must refuse the same
			case 415:
				is.True(request != nil) // the document must refuse this too
			default:
				is.NoErr(request)
			}
		})
	}
	for _, call := range slices.Sorted(maps.Keys(operations)) {
		for _, status := range operations[call].Responses.Keys() {
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
	path := d.Paths.Value(e.path)
	switch {
	case path == nil:
		is.Equal(e.status, 404)
		is.True(strings.Contains(e.answer, `/problems/not-found"`))
	case e.method == http.MethodHead:
		is.True(path.Get != nil)
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
		{"a status without rules in kin-openapi", "reset by user name", func(e *exchange) { e.status = 307 }},
		{"two bodies", "reset by user name", func(e *exchange) { e.answer += "{}" }},
		{"a header twice", "completion", func(e *exchange) {
			e.answerHeader = e.answerHeader.Clone()
			e.answerHeader.Add("Cache-Control", "no-store")
		}},
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
		{"a request with a header too many", "completion", func(e *exchange) { e.header = http.Header{"Content-Type": {"application/json"}, "X-Account": {"3"}} }},
	} {
		t.Run(c.fault, func(t *testing.T) {
			is := is.New(t)
			e, ok := exchanges[c.in]
			is.True(ok)
			request, answer := d.faults(e)
			is.NoErr(errors.Join(request, answer))
			c.change(&e)
			request, answer = d.faults(e)
			is.True(request != nil || answer != nil)
		})
	}
}
