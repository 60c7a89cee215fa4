package httpadapter

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"

	"example.com/recovery/internal/race"
)

// pieces are what bodies are made of: what may stand in a document, and what looks like it.
var pieces = []string{
	"{", "}", ":", ",", "[", "]", " ", "\n", "\t", "\r", "\v", "\u00a0", "\ufeff", "null", "true", "false", "tru", "1", "-0.5e3", `""`, `"`, `\`,
	`"username"`, `"email"`, `"code"`, `"Username"`, `"user\u006eame"`, `"username "`, `"paſſword"`, `"other"`,
	`"billybob"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00\ud83d"`, `"\u0000"`, `"\u00e9é"`, `"\n\/\"\\"`, `"\x"`, `"\u12"`, "\"a\nb\"", "\"\xff\"", "\"\xed\xa0\x80\"", "\x00", "//", "/**/",
	`{"username":"a"}`, `"username":"a"`, `"code":true`, `,"email":"b"`,
}

// generate returns a body: a document with up to three changes, or pieces at random.
func generate(r *rand.Rand) string {
	pick := func() string { return pieces[r.IntN(len(pieces))] }
	if r.IntN(8) == 0 {
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteString(pick())
		}
		return b.String()
	}
	keys, values := []string{`"username"`, `"email"`, `"\u0065mail"`, `"code"`}, []string{`"billybob"`, `""`, `"\ud83d\ude00\t"`, `"ビリー"`, "true", "false"}
	var members []string
	for range r.IntN(4) {
		members = append(members, keys[r.IntN(len(keys))]+[]string{":", " : "}[r.IntN(2)]+values[r.IntN(len(values))])
	}
	body := "{" + strings.Join(members, []string{",", " ,\n"}[r.IntN(2)]) + "}"
	for range r.IntN(4) {
		i := r.IntN(len(body) + 1)
		switch j := min(len(body), i+r.IntN(3)); r.IntN(3) {
		case 0:
			body = body[:i] + pick() + body[i:]
		case 1:
			body = body[:i] + body[j:]
		default:
			body = body[:i] + pick() + body[j:]
		}
	}
	return body
}

// strict reads a body with encoding/json, and refuses what [decodeJSON] promises to refuse but
// encoding/json does not: unknown and repeated keys, keys in another case, null, a second value,
// U+0000 and what is not Unicode.
func strict(body string) (map[string]any, bool) {
	if !utf8.ValidString(body) {
		return nil, false
	}
	d := json.NewDecoder(strings.NewReader(body))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, false
	}
	read := map[string]any{}
	for d.More() {
		var raw json.RawMessage
		key, err := d.Token()
		if err != nil || d.Decode(&raw) != nil {
			return nil, false
		}
		name, _ := key.(string)
		if _, twice := read[name]; twice || bytes.Equal(raw, []byte("null")) {
			return nil, false
		}
		var err2 error
		switch name {
		case "code":
			var value bool
			err2 = json.Unmarshal(raw, &value)
			read[name] = value
		case "username", "email":
			var value string
			err2 = json.Unmarshal(raw, &value)
			read[name] = value
		default:
			return nil, false
		}
		if err2 != nil {
			return nil, false
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, false
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false
	}
	// encoding/json turns half a surrogate pair into U+FFFD.
	again, _ := json.Marshal(read)
	whole := !strings.Contains(string(again), "\ufffd") && !strings.Contains(string(again), `\u0000`)
	return read, whole
}

// The scanner accepts what encoding/json accepts when it is made strict, and reads the same values.
func TestDecodeJSONLikeTheStandardLibrary(t *testing.T) {
	is := is.New(t)
	count, accepted := 1_000_000, 0
	if race.Enabled {
		count = 50_000
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range count {
		body := generate(r)
		fields := []field{{name: "username"}, {name: "email"}, {name: "code", isBool: true}}
		err := decodeJSON([]byte(body), "", fields)
		read := map[string]any{}
		for _, f := range fields {
			switch {
			case f.set && f.isBool:
				read[f.name] = f.value == "true"
			case f.set:
				read[f.name] = f.value
			}
		}
		want, ok := strict(body)
		if (err == nil) != ok || ok && !maps.Equal(read, want) {
			t.Fatalf("%q: %v, %v; encoding/json: %v, %v", body, read, err, want, ok)
		}
		if ok {
			accepted++
		}
	}
	is.True(accepted > count/10 && accepted < count/2) // both kinds are tried
}
