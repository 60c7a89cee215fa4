package httpadapter

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"
)

const recoveryRoot = "account-recovery"

func recoveryFields() []field { return fieldsOf("username", "email", "password", "token") }

// curlForm is what curl -d @file makes of the documented file.
const curlForm = `{    "account-recovery": {        "username" : "USERNAME"    }}`

func TestDecodeJSONAccepts(t *testing.T) {
	tests := []struct {
		name string
		body string
		want map[string]string
	}{
		{"documented user name", "{\n    \"account-recovery\": {\n        \"username\" : \"USERNAME\"\n    }\n}\n",
			map[string]string{"username": "USERNAME"}},
		{"documented user name as curl sends it", curlForm,
			map[string]string{"username": "USERNAME"}},
		{"documented address", "{\n    \"account-recovery\": {\n        \"email\": \"EMAIL_ADDRESS\"\n    }\n}",
			map[string]string{"email": "EMAIL_ADDRESS"}},
		{"documented reset",
			"{\n    \"account-recovery\": {\n        \"username\": \"USERNAME\",\n        \"password\": \"NEW_PASSWORD\",\n" +
				"        \"token\": \"TOKEN_FROM_EMAIL\"\n    }\n}",
			map[string]string{"username": "USERNAME", "password": "NEW_PASSWORD", "token": "TOKEN_FROM_EMAIL"}},
		{"bidders' reset", `{"account-recovery":{"password":"P","token":"T"}}`,
			map[string]string{"password": "P", "token": "T"}},
		{"no fields", `{"account-recovery":{}}`, map[string]string{}},
		{"empty string", `{"account-recovery":{"username":""}}`, map[string]string{"username": ""}},
		{"all white space", " \t\r\n{ \t\r\n\"account-recovery\" \t\r\n: \t\r\n{ \t\r\n\"token\" \t\r\n: \t\r\n\"T\" \t\r\n} \t\r\n} \t\r\n",
			map[string]string{"token": "T"}},
		{"form characters", `{"account-recovery":{"password":"a&b=c%20d+e"}}`,
			map[string]string{"password": "a&b=c%20d+e"}},
		{"all escapes", `{"account-recovery":{"password":"\"\\\/\b\f\n\r\t\u00e9\u00E9\u20ac"}}`,
			map[string]string{"password": "\"\\/\b\f\n\r\téé€"}},
		{"escape between text", `{"account-recovery":{"password":"ab\u0063de\nf"}}`,
			map[string]string{"password": "abcde\nf"}},
		{"surrogate pair", `{"account-recovery":{"password":"\ud83d\uDE00"}}`,
			map[string]string{"password": "😀"}},
		{"characters unescaped", `{"account-recovery":{"password":"é€😀` + "\x7f\u2028\ufffd" + `"}}`,
			map[string]string{"password": "é€😀\x7f\u2028\ufffd"}},
		{"escaped replacement character", `{"account-recovery":{"password":"\ufffd"}}`,
			map[string]string{"password": "\ufffd"}},
		{"escaped keys", `{"\u0061ccount\u002drecovery":{"\u0075sername":"U"}}`,
			map[string]string{"username": "U"}},
		{"no escape in an escaped backslash", `{"account-recovery":{"password":"\\u0000"}}`,
			map[string]string{"password": `\u0000`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			fields := recoveryFields()
			is.NoErr(decodeJSON(exactly(tt.body), recoveryRoot, fields))
			is.Equal(values(fields), tt.want) // fields that are set
		})
	}
	is := is.New(t)
	is.Equal(len(curlForm), 63) // as measured
}

const (
	notObject   = `the body must be a JSON object with the key "account-recovery"`
	unknownRoot = `unknown key; allowed is "account-recovery"`
	rootType    = `"account-recovery" must be an object`
	rootTwice   = `"account-recovery" appears twice`
	unknownKey  = `unknown key in "account-recovery"; allowed are "username", "email", "password", "token"`
	lone        = `surrogates must come in pairs, the \u escape at offset 33 does not`
	badEscape   = `a backslash must begin one of \" \\ \/ \b \f \n \r \t \uXXXX, the one at offset 33 does not`
	rawControl  = "control characters in strings must be escaped, the one at offset 34 is not"
	notUTF8     = "the body must be UTF-8 and not compressed, the byte at offset 33 is not UTF-8"
)

var jsonRefusals = []refusal{
	{"empty", "", "the body is empty"},
	{"only white space", " \r\n\t", "the body is empty"},
	{"byte order mark", "\ufeff" + curlForm, "the body must not begin with a byte order mark"},
	{"UTF-16", "{\x00\"\x00", `not JSON at offset 1: expected a key in quotes`},
	{"UTF-16 with byte order mark", "\xff\xfe{\x00", "the body must be UTF-8 and not compressed, the byte at offset 0 is not UTF-8"},
	{"Latin 1", "{\"account-recovery\":{\"username\":\"é\xe9\"}}", "the body must be UTF-8 and not compressed, the byte at offset 35 is not UTF-8"},
	{"overlong UTF-8", "{\"account-recovery\":{\"username\":\"\xc0\xaf\"}}", notUTF8},
	{"surrogate in UTF-8", "{\"account-recovery\":{\"username\":\"\xed\xa0\x80\"}}", notUTF8},
	{"invalid UTF-8 at the end", curlForm + "\xff", "the body must be UTF-8 and not compressed, the byte at offset 63 is not UTF-8"},

	{"null", `null`, notObject},
	{"string", `"account-recovery"`, notObject},
	{"array", `[{"account-recovery":{"username":"U"}}]`, notObject},
	{"form", `username=U`, notObject},
	{"form feed before", "\f" + curlForm, notObject},
	{"no-break space before", "\u00a0" + curlForm, notObject},
	{"no root", `{}`, `"account-recovery" is missing`},
	{"fields without root", `{"username":"U"}`, unknownRoot},
	{"root in another case", `{"Account-Recovery":{"username":"U"}}`, unknownRoot},
	{"empty root key", `{"":{"username":"U"}}`, unknownRoot},
	{"key beside root", `{"account-recovery":{"username":"U"},"x":{}}`, unknownRoot},
	{"root twice", `{"account-recovery":{"username":"U"},"account-recovery":{"username":"V"}}`, rootTwice},
	{"root twice, once escaped", `{"account-recovery":{},"account\u002drecovery":{}}`, rootTwice},
	{"root null", `{"account-recovery":null}`, rootType},
	{"root string", `{"account-recovery":"U"}`, rootType},
	{"root array", `{"account-recovery":[{"username":"U"}]}`, rootType},
	{"root missing its value", `{"account-recovery":`, "the body ends too early, at offset 20"},

	{"unknown key", `{"account-recovery":{"login":"U"}}`, unknownKey},
	{"key in another case", `{"account-recovery":{"Username":"U"}}`, unknownKey},
	{"key with long s", `{"account-recovery":{"paſſword":"P"}}`, unknownKey},
	{"key with a space", `{"account-recovery":{"username ":"U"}}`, unknownKey},
	{"empty key", `{"account-recovery":{"":"U"}}`, unknownKey},
	{"key twice", `{"account-recovery":{"username":"U","token":"T","username":"U"}}`, `"username" appears twice`},
	{"key twice, once escaped", `{"account-recovery":{"username":"U","\u0075sername":"V"}}`, `"username" appears twice`},
	{"value null", `{"account-recovery":{"username":null}}`, `"username" must be a string`},
	{"value number", `{"account-recovery":{"username":1}}`, `"username" must be a string`},
	{"value boolean", `{"account-recovery":{"email":true}}`, `"email" must be a string`},
	{"value array", `{"account-recovery":{"email":["E","F"]}}`, `"email" must be a string`},
	{"value object", `{"account-recovery":{"password":{"$ne":""}}}`, `"password" must be a string`},
	{"value cut off", `{"account-recovery":{"token": `, "the body ends too early, at offset 30"},
	{"value missing", `{"account-recovery":{"token":}}`, `"token" must be a string`},
	{"value in single quotes", `{"account-recovery":{"token":'T'}}`, `"token" must be a string`},

	{"second value", curlForm + curlForm, "nothing may follow the JSON object, something does at offset 63"},
	{"comma after", curlForm + " ,", "nothing may follow the JSON object, something does at offset 64"},
	{"brace after", curlForm + "}", "nothing may follow the JSON object, something does at offset 63"},
	{"NUL after", curlForm + "\x00", "nothing may follow the JSON object, something does at offset 63"},
	{"comment after", curlForm + "//", "nothing may follow the JSON object, something does at offset 63"},

	{"ends after an escape", `{"account-recovery":{"username":"\u0041`, "the body ends too early, at offset 39"},
	{"ends after what is no escape", `{"account-recovery":{"username":"\q`,
		`a backslash must begin one of \" \\ \/ \b \f \n \r \t \uXXXX, the one at offset 33 does not`},
	{"invalid UTF-8 after a replacement character", "{\"\ufffd\xff", "the body must be UTF-8 and not compressed, the byte at offset 5 is not UTF-8"},
	{"only a brace", `{`, "the body ends too early, at offset 1"},
	{"comment before a key", `{/**/"account-recovery":{}}`, "not JSON at offset 1: expected a key in quotes"},
	{"key without quotes", `{account-recovery:{}}`, "not JSON at offset 1: expected a key in quotes"},
	{"leading comma", `{"account-recovery":{,"username":"U"}}`, "not JSON at offset 21: expected a key in quotes"},
	{"trailing comma", `{"account-recovery":{"username":"U",}}`, "not JSON at offset 36: expected a key in quotes"},
	{"trailing comma outside", `{"account-recovery":{},}`, "not JSON at offset 23: expected a key in quotes"},
	{"two commas", `{"account-recovery":{"username":"U",,"token":"T"}}`, "not JSON at offset 36: expected a key in quotes"},
	{"no comma", `{"account-recovery":{"username":"U" "token":"T"}}`, `not JSON at offset 36: expected "," or "}"`},
	{"unclosed object", `{"account-recovery":{"username":"U"`, "the body ends too early, at offset 35"},
	{"unclosed body", `{"account-recovery":{"username":"U"}`, "the body ends too early, at offset 36"},
	{"closed by a bracket", `{"account-recovery":{"username":"U"]}`, `not JSON at offset 35: expected "," or "}"`},
	{"no colon", `{"account-recovery" {}}`, `not JSON at offset 20: expected ":"`},
	{"no colon after a field", `{"account-recovery":{"username"}}`, `not JSON at offset 31: expected ":"`},
	{"unclosed value", `{"account-recovery":{"username":"U`, "the body ends too early, at offset 34"},
	{"unclosed key", `{"account-recovery":{"username`, "the body ends too early, at offset 30"},
	{"unclosed escape", `{"account-recovery":{"username":"\`, "the body ends too early, at offset 34"},

	{"line break in a string", "{\"account-recovery\":{\"username\":\"U\nV\"}}", rawControl},
	{"NUL in a string", "{\"account-recovery\":{\"username\":\"U\x00\"}}", rawControl},
	{"U+001F in a key", "{\"account-recovery\":{\"username\x1f\":\"U\"}}", "control characters in strings must be escaped, the one at offset 30 is not"},
	{"escaped NUL", `{"account-recovery":{"username":"admin\u0000x"}}`, `\u0000 is not allowed, it stands at offset 38`},
	{"escaped NUL in a key", `{"account-recovery":{"username\u0000":"U"}}`, `\u0000 is not allowed, it stands at offset 30`},
	{"lone high surrogate", `{"account-recovery":{"username":"\ud83d"}}`, lone},
	{"lone low surrogate", `{"account-recovery":{"username":"\ude00"}}`, lone},
	{"surrogates in the wrong order", `{"account-recovery":{"username":"\ude00\ud83d"}}`, lone},
	{"high surrogate and a letter", `{"account-recovery":{"username":"\ud83d\u0041"}}`, lone},
	{"high surrogate and a short escape", `{"account-recovery":{"username":"\ud83d\ude0"}}`, lone},
	{"high surrogate and another escape", `{"account-recovery":{"username":"\ud83d\n"}}`, lone},
	{"unclosed high surrogate", `{"account-recovery":{"username":"\ud83d\`, lone},
	{"unknown escape", `{"account-recovery":{"username":"\x41"}}`, badEscape},
	{"escape in another case", `{"account-recovery":{"username":"\U0041"}}`, badEscape},
	{"escape of an apostrophe", `{"account-recovery":{"username":"\'"}}`, badEscape},
	{"escape with a sign", `{"account-recovery":{"username":"\u+041"}}`, badEscape},
	{"escape too short", `{"account-recovery":{"username":"\u41"}}`, badEscape},
	{"escape cut off by a digit", `{"account-recovery":{"username":"\u004`, "the body ends too early, at offset 38"},
	{"escape cut off", `{"account-recovery":{"username":"\u00`, "the body ends too early, at offset 37"},
}

func TestDecodeJSONRefuses(t *testing.T) {
	for _, tt := range jsonRefusals {
		t.Run(tt.why, func(t *testing.T) {
			is := is.New(t)
			fields := recoveryFields()
			err := decodeJSON(exactly(tt.body), recoveryRoot, fields)
			is.True(err != nil)            // refused
			is.Equal(err.Error(), tt.text) // what is wrong
			is.True(untouched(fields))     // nothing half done
		})
	}
}

func TestDecodeJSONErrorNamesTheOnlyField(t *testing.T) {
	is := is.New(t)
	err := decodeJSON([]byte(`{"RAX-AUTH:passwordReset":{"Password":"P"}}`), "RAX-AUTH:passwordReset", fieldsOf("password"))
	is.True(err != nil)                                                                     // refused
	is.Equal(err.Error(), `unknown key in "RAX-AUTH:passwordReset"; allowed is "password"`) // one is allowed
}

func TestDecodeJSONReadsIdentityDocuments(t *testing.T) {
	is := is.New(t)
	fields := fieldsOf("username", "portal")
	is.NoErr(decodeJSON([]byte("{\n  \"RAX-AUTH:forgotPasswordCredentials\": {\n    \"username\": \"billybob\"\n  }\n}"),
		"RAX-AUTH:forgotPasswordCredentials", fields))
	is.Equal(values(fields), map[string]string{"username": "billybob"}) // documented without portal

	is.NoErr(decodeJSON([]byte(`{"RAX-AUTH:forgotPasswordCredentials": {"username": "billybob", "portal": "cloud_control"}}`),
		"RAX-AUTH:forgotPasswordCredentials", fields))
	is.Equal(values(fields), map[string]string{"username": "billybob", "portal": "cloud_control"}) // with portal

	fields = fieldsOf("password")
	is.NoErr(decodeJSON([]byte(`{"RAX-AUTH:passwordReset": {"password": "superSecurePassw0rd!"}}`), "RAX-AUTH:passwordReset", fields))
	is.Equal(values(fields), map[string]string{"password": "superSecurePassw0rd!"}) // reset
}

func TestDecodeJSONOfAnySizeAndDepth(t *testing.T) {
	is := is.New(t)
	const size = 1 << 18
	fields := recoveryFields()
	long := strings.Repeat("x", size)
	is.NoErr(decodeJSON([]byte(`{"account-recovery":{"password":"`+long+`"}}`), recoveryRoot, fields))
	is.True(fields[2].value == long) // a long value
	is.NoErr(decodeJSON([]byte(`{"account-recovery":{"password":"`+strings.Repeat(`\n`, size)+`"}}`), recoveryRoot, fields))
	is.Equal(len(fields[2].value), size) // a long value of escapes

	for _, deep := range []string{
		strings.Repeat("[", size), strings.Repeat("{", size),
		`{"account-recovery":{"username":` + strings.Repeat("[", size),
		strings.Repeat(`{"account-recovery":`, size/20),
		strings.Repeat(" ", size) + strings.Repeat("[", size),
	} {
		is.True(decodeJSON([]byte(deep), recoveryRoot, fields) != nil) // deep documents are refused
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, r := range jsonRefusals {
		f.Add([]byte(r.body))
	}
	f.Add([]byte(curlForm))
	f.Add([]byte(`{"account-recovery":{"username":"\u00e9\ud83d\ude00\\","password":"P\/","token":"\"","email":""}}`))
	texts := closedSet(jsonRefusals)
	f.Fuzz(func(t *testing.T, body []byte) {
		is := is.New(t)
		fields := recoveryFields()

		// Whatever can be said in JSON arrives, but for NUL.
		if s := string(body); utf8.ValidString(s) && !strings.Contains(s, "\x00") {
			document, err := json.Marshal(map[string]any{recoveryRoot: map[string]string{"password": s}})
			is.NoErr(err) // encoding a value
			is.NoErr(decodeJSON(document, recoveryRoot, fields))
			is.Equal(values(fields), map[string]string{"password": s}) // the value comes back
		}

		before := string(body)
		err := decodeJSON(body, recoveryRoot, fields)
		is.Equal(string(body), before) // the body is only read
		if err != nil {
			checkRefused(t, err, fields, texts)
			return
		}
		got := values(fields)

		var std map[string]map[string]string
		is.NoErr(json.Unmarshal(body, &std))        // encoding/json accepts it, too
		is.Equal(len(std), 1)                       // one root
		is.True(maps.Equal(std[recoveryRoot], got)) // and finds the same values

		document, err := json.Marshal(map[string]any{recoveryRoot: got})
		is.NoErr(err) // encoding what was read
		again := recoveryFields()
		is.NoErr(decodeJSON(document, recoveryRoot, again))
		is.Equal(again, fields) // round trip
	})
}

func BenchmarkDecodeJSON(b *testing.B) {
	body := []byte(`{"account-recovery":{"username":"billybob","password":"superSecurePassw0rd!","token":"TOKEN_FROM_EMAIL"}}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	fields := recoveryFields()
	for b.Loop() {
		if err := decodeJSON(body, recoveryRoot, fields); err != nil {
			b.Fatal(err)
		}
	}
}
