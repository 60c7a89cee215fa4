package httpadapter

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A field is one string that a document may hold, or true or false.
type field struct {
	name   string
	isBool bool   // then value is "true" or "false"
	value  string // set by the decoder
	set    bool   // whether the document has it
}

// A decodeError says what is wrong with a body and what is allowed. Its text goes into the
// response, so it consists of our own words, names and numbers and never quotes the body, which may
// hold a password, or markup that attacks a reader of the answer.
type decodeError struct {
	text string
}

func (e *decodeError) Error() string { return e.text }

// refuse returns a decodeError. Its arguments must be offsets or names that this package gave to
// the decoder, never what was read.
func refuse(format string, args ...any) error {
	return &decodeError{fmt.Sprintf(format, args...)}
}

// white is the white space of both formats: RFC 8259 section 2 and XML 1.0 section 2.3.
const white = " \t\r\n"

var byteOrderMark = []byte("\ufeff")

func isWhite(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t'
}

// checkText refuses what is no document in either format. UTF-8 is checked here for the whole
// body, so that the decoders can go byte by byte.
func checkText(body []byte) error {
	switch {
	case len(bytes.TrimLeft(body, white)) == 0:
		return refuse("the body is empty")
	case !utf8.Valid(body):
		return refuse("the body must be UTF-8 and not compressed, the byte at offset %d is not UTF-8", invalidUTF8(body))
	}
	return nil
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or the length.
func invalidUTF8(body []byte) (offset int) {
	for {
		r, size := utf8.DecodeRune(body[offset:])
		if r == utf8.RuneError && size <= 1 {
			return offset
		}
		offset += size
	}
}

// claim returns the field of that exact name and marks it as set. For the error, kind is "key" or
// "attribute", and place is its parent, or "".
func claim(fields []field, name, kind, place string) (*field, error) {
	for i := range fields {
		f := &fields[i]
		if f.name != name {
			continue
		}
		if f.set {
			return nil, refuse("%q appears twice", f.name)
		}
		f.set = true
		return f, nil
	}
	if place != "" {
		kind += " in " + strconv.Quote(place)
	}
	return nil, refuse("unknown %s; allowed %s", kind, allowed(fields))
}

func allowed(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = strconv.Quote(f.name)
	}
	if len(names) == 1 {
		return "is " + names[0]
	}
	return "are " + strings.Join(names, ", ")
}

// isSet reports whether the document has the field of that name.
func isSet(fields []field, name string) bool {
	return slices.ContainsFunc(fields, func(f field) bool { return f.set && f.name == name })
}

// clearFields makes the fields unset, before a document is read and after one was refused.
func clearFields(fields []field) {
	for i := range fields {
		fields[i].value, fields[i].set = "", false
	}
}
