package httpadapter

import (
	"bytes"
	"encoding/hex"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// decodeJSON reads {"root":{"name":"value",…}}: exactly one object with exactly one key, root,
// whose value is an object with fields. Without a root the fields stand in the object itself. On
// an error no field is set.
//
// It is stricter than encoding/json, which matches keys regardless of case (and "paſſword" with
// "password"), lets the last of duplicate keys win and repairs what is not Unicode. Each lets an
// attacker show one request to a filter in front of us and another one to us. Keys are compared
// with their escapes decoded (RFC 8259 section 8.3), so an escaped duplicate is one too.
func decodeJSON(body []byte, root string, fields []field) error {
	clearFields(fields)
	if err := checkText(body); err != nil {
		return err
	}
	if bytes.HasPrefix(body, byteOrderMark) { // RFC 8259 section 8.1
		return refuse("the body must not begin with a byte order mark")
	}
	s := jsonScanner{body: body}
	if err := s.document(root, fields); err != nil {
		clearFields(fields)
		return err
	}
	return nil
}

// A jsonScanner goes once over a body of valid UTF-8. It needs no recursion for two levels.
type jsonScanner struct {
	body []byte
	pos  int
}

func (s *jsonScanner) document(root string, fields []field) error {
	if !s.skip('{') {
		if root == "" {
			return s.wrong(refuse("the body must be a JSON object"))
		}
		return s.wrong(refuse("the body must be a JSON object with the key %q", root))
	}
	read := s.root
	if root == "" {
		read = s.members
	}
	if err := read(root, fields); err != nil {
		return err
	}
	if s.space(); s.pos < len(s.body) {
		return refuse("nothing may follow the JSON object, something does at offset %d", s.pos)
	}
	return nil
}

// root reads the rest of the object that holds the root.
func (s *jsonScanner) root(root string, fields []field) error {
	found := false
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if string(key) != root {
			return refuse("unknown key; allowed is %q", root)
		}
		if found {
			return refuse("%q appears twice", root)
		}
		found = true
		if !s.skip('{') {
			return s.wrong(refuse("%q must be an object", root))
		}
		if err := s.members(root, fields); err != nil {
			return err
		}
	}
	if !found {
		return refuse("%q is missing", root)
	}
	return nil
}

// members reads the rest of the object that holds the fields.
func (s *jsonScanner) members(root string, fields []field) error {
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil || !more {
			return err
		}
		f, err := claim(fields, string(key), "key", root)
		if err != nil {
			return err
		}
		if err := s.value(f); err != nil {
			return err
		}
	}
}

func (s *jsonScanner) value(f *field) error {
	if f.isBool {
		s.space()
		for _, word := range []string{"true", "false"} {
			if bytes.HasPrefix(s.body[s.pos:], []byte(word)) {
				s.pos += len(word)
				f.value = word
				return nil
			}
		}
		return s.wrong(refuse("%q must be true or false", f.name))
	}
	if !s.skip('"') {
		return s.wrong(refuse("%q must be a string", f.name))
	}
	value, err := s.text()
	f.value = string(value)
	return err
}

// key reads the next key of an object with its colon, or the end of the object: then more is false.
func (s *jsonScanner) key(first bool) (key []byte, more bool, err error) {
	if s.skip('}') {
		return nil, false, nil
	}
	if !first && !s.skip(',') {
		return nil, false, s.expected(`"," or "}"`)
	}
	if !s.skip('"') {
		return nil, false, s.expected("a key in quotes")
	}
	if key, err = s.text(); err != nil {
		return nil, false, err
	}
	if !s.skip(':') {
		return nil, false, s.expected(`":"`)
	}
	return key, true, nil
}

// text reads a string after its opening quote. The result is a part of the body if the string has
// no escapes.
func (s *jsonScanner) text() ([]byte, error) {
	var unescaped []byte // up to start, if there was an escape
	start := s.pos
	for s.pos < len(s.body) {
		switch c := s.body[s.pos]; {
		case c == '"':
			part := s.body[start:s.pos]
			s.pos++
			if unescaped == nil {
				return part, nil
			}
			return append(unescaped, part...), nil
		case c == '\\':
			var err error
			if unescaped, err = s.escape(append(unescaped, s.body[start:s.pos]...)); err != nil {
				return nil, err
			}
			start = s.pos
		case c < ' ':
			return nil, refuse("control characters in strings must be escaped, the one at offset %d is not", s.pos)
		default:
			s.pos++
		}
	}
	return nil, s.expected("the rest of a string")
}

// escape reads an escape and appends what it stands for.
//
// U+0000 is refused, though RFC 8259 allows it. Nobody types it, PostgreSQL cannot store it, and
// code on C strings, such as many a bcrypt, ignores what follows it: "admin\u0000x" would be one
// name here and another one there.
func (s *jsonScanner) escape(text []byte) ([]byte, error) {
	start := s.pos
	if rest := s.body[start:]; len(rest) < 2 || rest[1] == 'u' && len(rest) < 6 {
		s.pos = len(s.body)
		return nil, s.expected("the rest of a string")
	}
	c := s.body[start+1]
	s.pos += 2
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		return append(text, "\"\\/\b\f\n\r\t"[i]), nil
	}
	r, ok := s.hex()
	if c != 'u' || !ok {
		return nil, refuse(`a backslash must begin one of \" \\ \/ \b \f \n \r \t \uXXXX, `+
			`the one at offset %d does not`, start)
	}
	if utf16.IsSurrogate(r) {
		var low rune
		if bytes.HasPrefix(s.body[s.pos:], []byte(`\u`)) {
			s.pos += 2
			low, _ = s.hex()
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return nil, refuse(`surrogates must come in pairs, the \u escape at offset %d does not`, start)
		}
	}
	if r == 0 {
		return nil, refuse(`\u0000 is not allowed, it stands at offset %d`, start)
	}
	return utf8.AppendRune(text, r), nil
}

// hex reads the four digits of a \u escape.
func (s *jsonScanner) hex() (r rune, ok bool) {
	var unit [2]byte
	if s.pos+4 > len(s.body) {
		return 0, false
	}
	if _, err := hex.Decode(unit[:], s.body[s.pos:s.pos+4]); err != nil {
		return 0, false
	}
	s.pos += 4
	return rune(unit[0])<<8 | rune(unit[1]), true
}

func (s *jsonScanner) space() {
	for s.pos < len(s.body) && isWhite(s.body[s.pos]) {
		s.pos++
	}
}

// skip goes past white space and then past c, if c comes next.
func (s *jsonScanner) skip(c byte) bool {
	s.space()
	if s.pos < len(s.body) && s.body[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *jsonScanner) expected(what string) error {
	return s.wrong(refuse("not JSON at offset %d: expected %s", s.pos, what))
}

// wrong returns err about what comes next, unless nothing does.
func (s *jsonScanner) wrong(err error) error {
	if s.pos == len(s.body) {
		return refuse("the body ends too early, at offset %d", s.pos)
	}
	return err
}
