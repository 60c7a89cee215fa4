package openapitest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/matryer/is"
)

// A document is openapi.yaml, as the handler serves it.
type document struct {
	*openapi3.T
	text []byte
}

func load(t *testing.T) *document {
	t.Helper()
	is := is.New(t)
	response := httptest.NewRecorder()
	newSite(t).format.ServeHTTP(response, httptest.NewRequest("GET", "/openapi.yaml", nil))
	text := response.Body.Bytes()
	parsed, err := parse(text)
	is.NoErr(err)
	// The document's own schema calls it a string. kin-openapi would parse it.
	openapi3filter.RegisterBodyDecoder("application/yaml", openapi3filter.FileBodyDecoder)
	d := &document{parsed, text}
	for _, operation := range d.operations() {
		if operation.RequestBody != nil {
			seal(operation.RequestBody.Value.Content)
		}
		for _, response := range operation.Responses.Map() {
			seal(response.Value.Content)
		}
	}
	return d
}

// parse returns an error for a faulty document.
func parse(text []byte) (*openapi3.T, error) {
	d, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	return d, errors.Join(
		d.Validate(context.Background(), openapi3.EnableExamplesValidation()),
		d.WalkSchemas(strict),
	)
}

// strict refuses schemas that let a validator pass what they do not describe: a format that nobody
// checks, a value of any type, an inner object with any keys.
func strict(at string, schema *openapi3.SchemaRef) error {
	s := schema.Value
	if _, checked := formats[s.Format]; s.Format != "" && !checked {
		return fmt.Errorf("%s: the format %q is not checked", at, s.Format)
	}
	inner := map[string]*openapi3.SchemaRef{}
	maps.Copy(inner, s.Properties)
	if s.Items != nil {
		inner["items"] = s.Items
	}
	for name, ref := range inner {
		value := ref.Value
		if value.Type == nil {
			return fmt.Errorf("%s: %s has no type", at, name)
		}
		if value.Type.Includes(openapi3.TypeObject) && !closed(value.AdditionalProperties) && !closed(value.UnevaluatedProperties) {
			return fmt.Errorf("%s: %s may have any keys", at, name)
		}
	}
	return nil
}

func closed(b openapi3.BoolSchema) bool { return b.Has != nil && !*b.Has }

// seal forbids keys that the document does not name in the outermost object of a body. The inner
// objects do so themselves, see strict.
func seal(content openapi3.Content) {
	for mime, media := range content {
		if strings.HasSuffix(mime, "json") && !closed(media.Schema.Value.UnevaluatedProperties) {
			media.Schema = openapi3.NewSchemaRef("", &openapi3.Schema{
				AllOf:                 openapi3.SchemaRefs{media.Schema},
				UnevaluatedProperties: openapi3.BoolSchema{Has: openapi3.Ptr(false)},
			})
		}
	}
}

// operations returns the operations by method and path.
func (d *document) operations() map[string]*openapi3.Operation {
	operations := map[string]*openapi3.Operation{}
	for path, item := range d.Paths.Map() {
		for method, operation := range item.Operations() {
			operations[method+" "+path] = operation
		}
	}
	return operations
}

var formats = map[string]openapi3.StringFormatValidator{
	"uuid": openapi3.NewRegexpFormatValidator(openapi3.FormatOfStringForUUIDOfRFC9562),
	"uri": openapi3.NewCallbackValidator(func(text string) error {
		u, err := url.Parse(text)
		if err == nil && !u.IsAbs() {
			err = errors.New("the URI is relative")
		}
		return err
	}),
}

// These headers need no declaration: those of every exchange, those of browsers, and those for
// pages of other origins, which the document describes in words.
var (
	requestHeaders = []string{"Accept", "Accept-Encoding", "Accept-Language", "Connection", "Content-Length", "Content-Type",
		"Origin", "Sec-Fetch-Mode", "Sec-Fetch-Site", "User-Agent"}
	answerHeaders = []string{"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Connection", "Content-Length",
		"Content-Type", "Date", "Vary", "X-Content-Type-Options"}
)

// faults returns what an exchange has against the document: in its request, and in its answer.
func (d *document) faults(e exchange) (request, answer error) {
	operation := d.operations()[e.method+" "+e.path]
	if operation == nil {
		err := fmt.Errorf("there is no %s %s", e.method, e.path)
		return err, err
	}
	options := &openapi3filter.Options{
		RejectWhenRequestBodyNotSpecified: true,
		SchemaValidationOptions:           []openapi3.SchemaValidationOption{openapi3.WithStringFormatValidators(formats)},
	}
	input := &openapi3filter.RequestValidationInput{
		Request: e.request(), Options: options,
		Route: &routers.Route{Spec: d.T, Path: e.path, PathItem: d.Paths.Value(e.path), Method: e.method, Operation: operation},
	}
	request = errors.Join(
		openapi3filter.ValidateRequest(input.Request.Context(), input),
		undeclared(e.header, requestHeaders, nil),
		oneValue(e.header, e.body),
	)
	declared := operation.Responses.Status(e.status)
	if declared == nil {
		return request, fmt.Errorf("the status %d is not declared", e.status)
	}
	response := e.response()
	answer = errors.Join(
		openapi3filter.ValidateResponse(input.Request.Context(), &openapi3filter.ResponseValidationInput{
			RequestValidationInput: input, Status: e.status, Header: response.Header, Body: response.Body, Options: options,
		}),
		undeclared(e.answerHeader, answerHeaders, declared.Value.Headers),
		oneValue(e.answerHeader, e.answer),
	)
	if (e.status == 204) != (e.answer == "") { // kin-openapi does not check this
		answer = errors.Join(answer, errors.New("204 has no body, everything else has one"))
	}
	return request, answer
}

func undeclared(header http.Header, known []string, declared openapi3.Headers) (err error) {
	for name, values := range header {
		switch {
		case len(values) != 1:
			err = errors.Join(err, fmt.Errorf("the header %s has %d values", name, len(values)))
		case declared[name] == nil && !slices.Contains(known, name):
			err = errors.Join(err, fmt.Errorf("the header %s is not declared", name))
		}
	}
	return err
}

// oneValue refuses what follows the value of a JSON body. kin-openapi does not read on.
func oneValue(header http.Header, body string) error {
	if strings.HasSuffix(header.Get("Content-Type"), "json") && body != "" && !json.Valid([]byte(body)) {
		return errors.New("the body is not one JSON value")
	}
	return nil
}
