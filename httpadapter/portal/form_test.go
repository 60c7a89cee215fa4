package portal

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"
)

func TestDecodeForm(t *testing.T) {
	is := is.New(t)
	for body, want := range map[string]map[string]string{
		"a=1&b=2":               {"a": "1", "b": "2"},
		"b=2&a=1":               {"a": "1", "b": "2"},
		"a=&b=":                 {"a": "", "b": ""},
		"%61=+x+&b=%2B%26%3d":   {"a": " x ", "b": "+&="},
		"a=x=y&b=;":             {"a": "x=y", "b": ";"},
		"a=%E3%81%82&b=\u3042":  {"a": "あ", "b": "あ"},
		"a=%0D%0a&b=%7F":        {"a": "\r\n", "b": "\x7f"},
		"a=%C3%AF&b=%c3%af%2f":  {"a": "ï", "b": "ï/"},
		"a=%09%39%30&b=%41%4a":  {"a": "\t90", "b": "AJ"},
		"a=%EF%BB%BF&b=%ef%bF%": nil,
		"":                      nil, // neither
		"a=1":                   nil, // no b
		"a=1&b":                 nil, // no "="
		"a=1&b=2&":              nil, // an empty pair
		"a=1&&b=2":              nil,
		"&a=1&b=2":              nil,
		"a=1&b=2&c=3":           nil, // unknown
		"a=1&c=2":               nil,
		"a=1&b=2&=":             nil, // no name
		"a=1&b=2&a=1":           nil, // twice
		"a=1&b=2&%61=3":         nil, // twice, once escaped
		"A=1&b=2":               nil, // another case
		"a=1;b=2":               nil,
		"a=%&b=2":               nil, // escapes that are none
		"a=%4&b=2":              nil,
		"a=%4g&b=2":             nil,
		"a=%g4&b=2":             nil,
		"a=%0 %9F%98%80&b=2":    nil, // beside the digits and letters of one
		"a=%4:&b=2":             nil,
		"a=%4@&b=2":             nil,
		"a=%4G&b=2":             nil,
		"a=%4`&b=2":             nil,
		"a=1&b=%4":              nil,
		"a=%00&b=2":             nil, // NUL
		"a=\x00&b=2":            nil,
		"a=%ff&b=2":             nil, // not UTF-8
		"a=\xff&b=2":            nil,
		"a=%C0%AF&b=2":          nil,
		"%ff=1&b=2":             nil,
		`{"a":"1","b":"2"}`:     nil,
	} {
		got, err := decodeForm(body, "a", "b")
		if want == nil {
			is.Equal(err, errForm) // refused
			is.Equal(got, nil)
			continue
		}
		is.NoErr(err)
		is.Equal(got, want)
	}
}

// Whatever is accepted is what net/url reads too, has exactly the fields, and survives being
// encoded again.
func FuzzDecodeForm(f *testing.F) {
	for _, body := range []string{"token=t&password=p&repeat=p", "token=%E3%81%82+&password=&repeat=%25", "token=1&token=2&password=&repeat=", "token=;&password=&repeat=\x00"} {
		f.Add(body)
	}
	names := formFields["reset"]
	f.Fuzz(func(t *testing.T, body string) {
		fields, err := decodeForm(body, names...)
		if err != nil {
			if fields != nil {
				t.Fatal("fields beside an error")
			}
			return
		}
		if got := slices.Sorted(maps.Keys(fields)); !slices.Equal(got, []string{"password", "repeat", "token"}) {
			t.Fatalf("fields %q", got)
		}
		again := url.Values{}
		for name, value := range fields {
			if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				t.Fatalf("%s has %q", name, value)
			}
			again.Set(name, value)
		}
		if repeated, err := decodeForm(again.Encode(), names...); err != nil || !maps.Equal(repeated, fields) {
			t.Fatalf("%q became %q, %v", fields, repeated, err)
		}
		if strings.Contains(body, ";") {
			return // net/url refuses what the standard takes as it is
		}
		if values, err := url.ParseQuery(body); err != nil || values.Encode() != again.Encode() {
			t.Fatalf("net/url reads %q, %v", values, err)
		}
	})
}
