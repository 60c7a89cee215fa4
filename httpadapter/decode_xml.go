package httpadapter

import (
	"bytes"
	"encoding/xml"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// decodeXML reads <root xmlns="space" name="value" …/>: exactly one empty element of that
// namespace, with any prefix, whose attributes are the fields. On an error no field is set.
//
// encoding/xml finds the tokens. decodeXML refuses what encoding/xml accepts but XML 1.0 or
// Namespaces in XML 1.0 does not: anything beside the root element, a sloppy XML declaration,
// duplicate attributes, attributes without space between them, undeclared prefixes, end tags of
// another name, references outside the root element, and references to surrogates, which
// encoding/xml turns into U+FFFD. Comments, processing instructions, CDATA sections and DOCTYPE are
// XML, but no client of this API needs them, and each has been used to show two parsers different
// documents.
func decodeXML(body []byte, root, space string, fields []field) error {
	clearFields(fields)
	if err := checkText(body); err != nil {
		return err
	}
	s := xmlScanner{body: body, root: root, space: space}
	if err := s.document(fields); err != nil {
		clearFields(fields)
		return err
	}
	return nil
}

// xmlDeclaration is XMLDecl of XML 1.0 section 2.8, but only with version 1.0 and encoding UTF-8.
var xmlDeclaration = regexp.MustCompile(`^<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?:"1\.0"|'1\.0')` +
	`(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*(?i:"utf-8"|'utf-8'))?` +
	`(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?:"yes"|"no"|'yes'|'no'))?[ \t\r\n]*\?>`)

// Namespaces that a document must not bind, by Namespaces in XML 1.0 section 3.
const (
	xmlNamespace   = "http://www.w3.org/XML/1998/namespace"
	xmlnsNamespace = "http://www.w3.org/2000/xmlns/"
)

type xmlScanner struct {
	body        []byte
	root, space string
}

func (s *xmlScanner) document(fields []field) error {
	if i := bytes.IndexFunc(s.body, isNotXML); i >= 0 {
		return refuse("the character at offset %d is not allowed in XML", i)
	}
	prolog := 0
	if bytes.HasPrefix(s.body, byteOrderMark) { // XML 1.0 section 4.3.3
		prolog = len(byteOrderMark)
	}
	if text := bytes.TrimLeft(s.body[prolog:], white); len(text) > 0 && text[0] != '<' {
		return refuse("the body is not XML, as it does not begin with <")
	}
	if rest := s.body[prolog:]; bytes.HasPrefix(rest, []byte("<?xml")) {
		declaration := xmlDeclaration.Find(rest)
		if declaration == nil {
			return refuse("the XML declaration must have version 1.0 and, if any, encoding UTF-8")
		}
		prolog += len(declaration)
	}

	var open, closed bool
	var name xml.Name
	d := xml.NewDecoder(bytes.NewReader(s.body[prolog:]))
	for {
		start := prolog + int(d.InputOffset())
		token, err := d.RawToken()
		end := prolog + int(d.InputOffset())
		if err == io.EOF {
			break
		}
		if err != nil { // its text quotes the body
			return s.malformed(end)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if open || closed {
				return s.notEmpty()
			}
			if err := s.element(t, s.body[start:end], fields); err != nil {
				return err
			}
			open, name = true, t.Name
		case xml.EndElement:
			if !open || t.Name != name {
				return s.malformed(start)
			}
			open, closed = false, true
		case xml.CharData:
			// Look at the raw bytes: a reference to a space or a CDATA section is not white space.
			if len(bytes.Trim(s.body[start:end], white)) > 0 {
				return s.notEmpty()
			}
		default:
			return refuse("comments, processing instructions and DOCTYPE are not allowed")
		}
	}
	if !closed {
		return s.malformed(len(s.body))
	}
	return nil
}

// element reads the start tag of the root element, given as a token and as it was written.
func (s *xmlScanner) element(t xml.StartElement, tag []byte, fields []field) error {
	if t.Name.Local != s.root {
		return s.wrongRoot()
	}
	if err := s.checkTag(tag); err != nil {
		return err
	}
	spaces := make(map[string]string) // by prefix
	for _, a := range t.Attr {
		switch {
		case a.Name.Space == "" && a.Name.Local == "xmlns":
			if err := declare(spaces, "", a.Value); err != nil {
				return err
			}
		case a.Name.Space == "xmlns":
			if err := declare(spaces, a.Name.Local, a.Value); err != nil {
				return err
			}
		case a.Name.Space != "":
			return refuse("attributes must not have a prefix")
		default:
			f, err := claim(fields, a.Name.Local, "attribute", s.root)
			if err != nil {
				return err
			}
			f.value = a.Value
		}
	}
	space, ok := spaces[t.Name.Space]
	if !ok && t.Name.Space != "" {
		return refuse("the prefix of the root element is not declared")
	}
	if space != s.space {
		return s.wrongRoot()
	}
	return nil
}

// checkTag refuses faults that only the tag as it was written shows.
//
// XML 1.0 section 3.3.3 turns a tab or line break in an attribute value into a space; encoding/xml
// keeps it. Nobody wants either in a name or a password, so it is refused rather than changed. Both
// keep a character written as a reference.
func (s *xmlScanner) checkTag(tag []byte) error {
	rest := string(tag)
	for {
		i := strings.IndexAny(rest, `"'`)
		if i < 0 {
			return nil
		}
		var value string
		value, rest, _ = strings.Cut(rest[i+1:], rest[i:i+1])
		if strings.ContainsAny(value, "\t\r\n") {
			return refuse("tabs and line breaks in attributes must be written &#9; &#10; &#13;")
		}
		for {
			var number string
			var ok bool
			if _, value, ok = strings.Cut(value, "&#"); !ok {
				break
			}
			number, value, _ = strings.Cut(value, ";")
			if !isScalar(number) {
				return refuse("a reference must not be to a surrogate")
			}
		}
		if !strings.ContainsAny(rest[:1], white+"/>") {
			return refuse("there must be white space between attributes")
		}
	}
}

// isScalar reports whether a character reference, without its "&#" and ";", stands for a Unicode
// scalar value. encoding/xml has checked its form.
func isScalar(number string) bool {
	base := 10
	if strings.HasPrefix(number, "x") {
		number, base = number[1:], 16
	}
	n, err := strconv.ParseInt(number, base, 32)
	return err == nil && utf8.ValidRune(rune(n))
}

// declare binds a prefix, or the default namespace if prefix is empty.
func declare(spaces map[string]string, prefix, space string) error {
	if _, ok := spaces[prefix]; ok {
		return refuse("a namespace declaration appears twice")
	}
	first, _ := utf8.DecodeRuneInString(prefix)
	switch {
	case prefix == "xml" && space == xmlNamespace:
		// the one binding of a reserved prefix that is allowed
	case prefix == "xml", prefix == "xmlns", space == xmlNamespace, space == xmlnsNamespace,
		prefix != "" && space == "",
		prefix != "" && first != '_' && !unicode.In(first, unicode.L, unicode.Nl):
		return refuse("a namespace declaration binds something reserved, nothing, or no prefix")
	}
	spaces[prefix] = space
	return nil
}

// isNotXML reports whether r is outside Char of XML 1.0 section 2.2. UTF-8 has no surrogates.
func isNotXML(r rune) bool {
	return r < ' ' && r != '\t' && r != '\r' && r != '\n' || r == 0xfffe || r == 0xffff
}

func (s *xmlScanner) wrongRoot() error {
	return refuse("the root element must be %q in the namespace %q", s.root, s.space)
}

func (s *xmlScanner) notEmpty() error {
	return refuse("there must be nothing in and beside the root element %q; fields are attributes", s.root)
}

func (s *xmlScanner) malformed(offset int) error {
	return refuse("not well-formed XML near offset %d", offset)
}
