package httpadapter

import (
	"errors"
	"regexp"
	"slices"
	"testing"

	"github.com/matryer/is"
)

// fieldsOf returns unset fields.
func fieldsOf(names ...string) []field {
	fields := make([]field, len(names))
	for i, name := range names {
		fields[i].name = name
	}
	return fields
}

// values returns the fields that are set.
func values(fields []field) map[string]string {
	m := make(map[string]string)
	for _, f := range fields {
		if f.set {
			m[f.name] = f.value
		}
	}
	return m
}

// untouched reports whether the fields look as if nothing had been read.
func untouched(fields []field) bool {
	for _, f := range fields {
		if f.set || f.value != "" {
			return false
		}
	}
	return true
}

// exactly returns the body without spare capacity, so that reading past its end panics.
func exactly(body string) []byte { return slices.Clip([]byte(body)) }

// A refusal is a document, what is wrong with it, and the error it must give.
type refusal struct {
	why  string
	body string
	text string
}

var (
	offset = regexp.MustCompile(`offset \d+`)
	plain  = regexp.MustCompile(`^[ -~]{1,200}$`)
)

// closedSet returns the texts of the refusals, less their offsets. The fuzz targets hold every
// error to be one of them, which makes the tables complete and proves that no error quotes its
// body.
func closedSet(refusals []refusal) map[string]bool {
	set := make(map[string]bool)
	for _, r := range refusals {
		set[offset.ReplaceAllString(r.text, "offset N")] = true
	}
	return set
}

// checkRefused fails the test unless err is one of the texts and nothing was read.
func checkRefused(t *testing.T, err error, fields []field, texts map[string]bool) {
	t.Helper()
	is := is.New(t)
	is.Helper()
	var refused *decodeError
	is.True(errors.As(err, &refused))                                    // the error is a decodeError
	is.True(texts[offset.ReplaceAllString(refused.Error(), "offset N")]) // the text is one of ours
	is.True(untouched(fields))                                           // nothing half done
	is.True(plain.MatchString(refused.text))                             // short and printable
}

func TestDecodersForgetWhatFieldsHeldBefore(t *testing.T) {
	is := is.New(t)
	fields := []field{{name: "username", value: "old", set: true}, {name: "portal", value: "old", set: true}}
	is.NoErr(decodeJSON([]byte(`{"r":{"username":"new"}}`), "r", fields))
	is.Equal(fields, []field{{name: "username", value: "new", set: true}, {name: "portal", value: "", set: false}}) // JSON

	fields = []field{{name: "username", value: "old", set: true}, {name: "portal", value: "old", set: true}}
	is.NoErr(decodeXML([]byte(`<r xmlns="s" username="new"/>`), "r", "s", fields))
	is.Equal(fields, []field{{name: "username", value: "new", set: true}, {name: "portal", value: "", set: false}}) // XML

	fields = []field{{name: "username", value: "old", set: true}}
	is.True(decodeJSON(nil, "r", fields) != nil) // nothing to read
	is.True(untouched(fields))                   // JSON
	fields = []field{{name: "username", value: "old", set: true}}
	is.True(decodeXML(nil, "r", "s", fields) != nil) // nothing to read
	is.True(untouched(fields))                       // XML
}
