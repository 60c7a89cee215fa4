package portal

import (
	"errors"
	"strings"
	"unicode/utf8"
)

const formType = "application/x-www-form-urlencoded"

var errForm = errors.New("the body must be the form of this page")

// decodeForm reads "name=value&name=value" with each of names exactly once and nothing else, in any
// order, as the page's own form sends it. Names and values must be UTF-8 without U+0000. net/url is
// laxer: it takes the first of repeated names, and skips what it cannot read.
func decodeForm(body string, names ...string) (map[string]string, error) {
	fields := make(map[string]string, len(names))
	for pair := range strings.SplitSeq(body, "&") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, errForm
		}
		name, ok1 := unescape(name)
		value, ok2 := unescape(value)
		if _, twice := fields[name]; !ok1 || !ok2 || twice {
			return nil, errForm
		}
		fields[name] = value
		if len(fields) > len(names) {
			return nil, errForm
		}
	}
	for _, name := range names {
		if _, ok := fields[name]; !ok {
			return nil, errForm
		}
	}
	return fields, nil
}

// unescape decodes a name or a value.
func unescape(s string) (string, bool) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '+':
			b.WriteByte(' ')
		case '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", false
			}
			b.WriteByte(fromHex(s[i+1])<<4 | fromHex(s[i+2]))
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	text := b.String()
	return text, utf8.ValidString(text) && strings.IndexByte(text, 0) < 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func fromHex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
