package httpadapter

import (
	"encoding/xml"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"
)

const (
	notXML     = "the body is not XML, as it does not begin with <"
	forgotRoot = "forgotPasswordCredentials"
	raxAuth    = "http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0"
)

func forgotFields() []field { return fieldsOf("username", "portal") }

// documentedXML is the example of the Identity API's documentation.
const documentedXML = `<?xml version="1.0" encoding="UTF-8"?>
<forgotPasswordCredentials username="billybob"
     xmlns="http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0"
     xmlns:OS-KSADM="http://docs.openstack.org/identity/api/ext/OS-KSADM/v1.0"
     xmlns:OS-KSCATALOG="http://docs.openstack.org/identity/api/ext/OS-KSCATALOG/v1.0"
     xmlns:atom="http://www.w3.org/2005/Atom"
     xmlns:identity="http://docs.openstack.org/identity/api/v2.0"/>`

// tag is an unclosed start tag in the right namespace.
const tag = `<forgotPasswordCredentials xmlns="` + raxAuth + `"`

// forgot returns a document whose root element has more attributes than its namespace.
func forgot(attributes string) string {
	return tag + ` ` + attributes + `/>`
}

func TestDecodeXMLAccepts(t *testing.T) {
	billybob := map[string]string{"username": "billybob"}
	tests := []struct {
		name string
		body string
		want map[string]string
	}{
		{"documented", documentedXML, billybob},
		{"documented, with CRLF", strings.ReplaceAll(documentedXML, "\n", "\r\n") + "\r\n", billybob},
		{"documented, as curl sends it", strings.ReplaceAll(documentedXML, "\n", ""), billybob},
		{"with portal", forgot(`username="billybob" portal="cloud_control"`),
			map[string]string{"username": "billybob", "portal": "cloud_control"}},
		{"no fields", forgot(""), map[string]string{}},
		{"empty field", forgot(`username=""`), map[string]string{"username": ""}},
		{"start and end tag", `<forgotPasswordCredentials xmlns='` + raxAuth + `' username='billybob'></forgotPasswordCredentials >`, billybob},
		{"white space inside", `<forgotPasswordCredentials xmlns='` + raxAuth + "' username = 'billybob'\n>\r\n\t </forgotPasswordCredentials>", billybob},
		{"white space around", " \r\n\t" + forgot(`username="billybob"`) + " \r\n\t", billybob},
		{"prefix", `<r:forgotPasswordCredentials username="billybob" xmlns:r="` + raxAuth + `"></r:forgotPasswordCredentials>`, billybob},
		{"prefix beside another default", `<r:forgotPasswordCredentials xmlns="urn:x" username="billybob" xmlns:r="` + raxAuth + `"/>`, billybob},
		{"prefix without default", `<RAX-AUTH:forgotPasswordCredentials xmlns="" username="billybob" xmlns:RAX-AUTH="` + raxAuth + `"/>`, billybob},
		{"namespace bound twice", tag + ` username="billybob" xmlns:é="` + raxAuth + `"/>`, billybob},
		{"prefix with an underscore first", forgot(`username="billybob" xmlns:_x="urn:x"`), billybob},
		{"namespace with a reference", `<forgotPasswordCredentials xmlns="` + strings.Replace(raxAuth, ":", "&#58;", 1) + `" username="billybob"/>`, billybob},
		{"prefix xml declared as what it is", forgot(`username="billybob" xmlns:xml="http://www.w3.org/XML/1998/namespace"`), billybob},

		{"declaration in single quotes", `<?xml version='1.0' encoding='utf-8'?>` + forgot(`username="billybob"`), billybob},
		{"declaration with all there is", "<?xml\tversion = \"1.0\"\r\nencoding = 'Utf-8' standalone='no' ?>" + forgot(`username="billybob"`), billybob},
		{"declaration without encoding", `<?xml version="1.0"?>` + forgot(`username="billybob"`), billybob},

		{"predefined entities", forgot(`username="&quot;&apos;&amp;&lt;&gt;"`), map[string]string{"username": `"'&<>`}},
		{"character references", forgot(`username="&#65;&#x42;&#x0000e9;&#xE9;&#x1F600;&#x10FFFF;&#000067;"`),
			map[string]string{"username": "ABéé😀\U0010ffffC"}},
		{"references to white space", forgot(`username="a&#9;b&#10;c&#13;d&#xD;&#xA;e&#32;"`),
			map[string]string{"username": "a\tb\nc\rd\r\ne "}},
		{"references are read once", forgot(`username="&amp;#65;&amp;lt;&#38;amp;"`), map[string]string{"username": "&#65;&lt;&amp;"}},
		{"other quotes and brackets", forgot(`username='"' portal="'>]]>/"`), map[string]string{"username": `"`, "portal": `'>]]>/`}},
		{"comment in a value is text", forgot(`username="a--b?>"`), map[string]string{"username": "a--b?>"}},
		{"characters", forgot("username=\"é€😀\x7f\u2028\ufffd\""), map[string]string{"username": "é€😀\x7f\u2028\ufffd"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			fields := forgotFields()
			is.NoErr(decodeXML(exactly(tt.body), forgotRoot, raxAuth, fields))
			is.Equal(values(fields), tt.want) // fields that are set
		})
	}
}

const (
	wrongRoot   = `the root element must be "forgotPasswordCredentials" in the namespace "` + raxAuth + `"`
	notEmpty    = `there must be nothing in and beside the root element "forgotPasswordCredentials"; fields are attributes`
	unknownAttr = `unknown attribute in "forgotPasswordCredentials"; allowed are "username", "portal"`
	notAllowed  = `comments, processing instructions and DOCTYPE are not allowed`
	wrongDecl   = `the XML declaration must have version 1.0 and, if any, encoding UTF-8`
	wrongBind   = `a namespace declaration binds something reserved, nothing, or no prefix`
	bindTwice   = `a namespace declaration appears twice`
	lineBreak   = `tabs and line breaks in attributes must be written &#9; &#10; &#13;`
	surrogate   = `a reference must not be to a surrogate`
)

var xmlRefusals = []refusal{
	{"empty", "", "the body is empty"},
	{"only white space", "\n", "the body is empty"},
	{"only a byte order mark", "\ufeff", "not well-formed XML near offset 3"},
	{"one letter", "x", notXML},
	{"two byte order marks", "\ufeff\ufeff" + forgot(""), notXML},
	{"byte order mark after white space", " \ufeff" + forgot(""), notXML},
	{"UTF-16", "<\x00f\x00", "the character at offset 1 is not allowed in XML"},
	{"UTF-16 with byte order mark", "\xfe\xff\x00<", "the body must be UTF-8 and not compressed, the byte at offset 0 is not UTF-8"},
	{"Latin 1", "<\xe9/>", "the body must be UTF-8 and not compressed, the byte at offset 1 is not UTF-8"},
	{"NUL first", "\x00" + forgot(""), "the character at offset 0 is not allowed in XML"},
	{"NUL", "<a\x00/>", "the character at offset 2 is not allowed in XML"},
	{"U+001F", "<a b='\x1f'/>", "the character at offset 6 is not allowed in XML"},
	{"U+FFFE", "<a b='\ufffe'/>", "the character at offset 6 is not allowed in XML"},
	{"U+FFFF", "<a b='\uffff'/>", "the character at offset 6 is not allowed in XML"},
	{"JSON", `{"RAX-AUTH:forgotPasswordCredentials":{}}`, notXML},

	{"version 1.1", `<?xml version="1.1"?>` + forgot(""), wrongDecl},
	{"version 1.1 and a good declaration", `<?xml version="1.1"?><?xml version="1.0"?>` + forgot(""), wrongDecl},
	{"no version", `<?xml encoding="UTF-8"?>` + forgot(""), wrongDecl},
	{"empty declaration", `<?xml?>` + forgot(""), wrongDecl},
	{"unclosed declaration", `<?xml version="1.0"`, wrongDecl},
	{"Latin 1 declared", `<?xml version="1.0" encoding="ISO-8859-1"?>` + forgot(""), wrongDecl},
	{"UTF-16 declared", `<?xml version="1.0" encoding="UTF-16"?>` + forgot(""), wrongDecl},
	{"UTF-7 declared", `<?xml version="1.0" encoding="UTF-7"?>` + forgot(""), wrongDecl},
	{"empty encoding", `<?xml version="1.0" encoding=""?>` + forgot(""), wrongDecl},
	{"encoding twice", `<?xml version="1.0" encoding="UTF-8" encoding="UTF-16"?>` + forgot(""), wrongDecl},
	{"encoding before version", `<?xml encoding="UTF-8" version="1.0"?>` + forgot(""), wrongDecl},
	{"sloppy encoding", `<?xml version="1.0" xencoding="UTF-16"?>` + forgot(""), wrongDecl},
	{"declaration without space", `<?xml version="1.0"encoding="UTF-8"?>` + forgot(""), wrongDecl},
	{"declaration with mixed quotes", `<?xml version="1.0'?>` + forgot(""), wrongDecl},
	{"style sheet first", `<?xml-stylesheet href="x"?>` + forgot(""), wrongDecl},
	{"declaration after white space", ` <?xml version="1.0"?>` + forgot(""), notAllowed},
	{"second declaration", `<?xml version="1.0"?><?xml version="1.0"?>` + forgot(""), notAllowed},
	{"declaration at the end", forgot("") + `<?xml version="1.0"?>`, notAllowed},
	{"declaration with another case", `<?XML version="1.0"?>` + forgot(""), notAllowed},

	{"processing instruction before", `<?php echo ?>` + forgot(""), notAllowed},
	{"processing instruction after", forgot("") + `<?php echo ?>`, notAllowed},
	{"comment before", `<!-- -->` + forgot(""), notAllowed},
	{"comment after", forgot("") + `<!-- -->`, notAllowed},
	{"comment inside", tag + `><!-- --></forgotPasswordCredentials>`, notAllowed},
	{"DOCTYPE", `<!DOCTYPE forgotPasswordCredentials>` + forgot(""), notAllowed},
	{"DOCTYPE with entities", `<!DOCTYPE f [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>` + forgot(`username="&b;"`), notAllowed},
	{"DOCTYPE with an external entity", `<!DOCTYPE f [<!ENTITY a SYSTEM "file:///etc/passwd">]>` + forgot(`username="&a;"`), notAllowed},
	{"DOCTYPE after", forgot("") + `<!DOCTYPE f>`, notAllowed},
	{"unclosed DOCTYPE", `<!DOCTYPE f [`, "not well-formed XML near offset 13"},

	{"text before", "x" + forgot(""), notXML},
	{"text after", forgot("") + "x", notEmpty},
	{"no-break space after", forgot("") + "\u00a0", notEmpty},
	{"reference after", forgot("") + "&#32;", notEmpty},
	{"CDATA section before", "<![CDATA[]]>" + forgot(""), notEmpty},
	{"CDATA section after", forgot("") + "<![CDATA[ ]]>", notEmpty},
	{"second element", forgot("") + forgot(""), notEmpty},
	{"text inside", tag + `>billybob</forgotPasswordCredentials>`, notEmpty},
	{"reference inside", tag + `>&#32;</forgotPasswordCredentials>`, notEmpty},
	{"CDATA section inside", tag + `><![CDATA[]]></forgotPasswordCredentials>`, notEmpty},
	{"child", tag + `><username>billybob</username></forgotPasswordCredentials>`, notEmpty},

	{"other root", `<passwordReset xmlns="` + raxAuth + `"/>`, wrongRoot},
	{"root in another case", `<forgotpasswordcredentials xmlns="` + raxAuth + `"/>`, wrongRoot},
	{"no namespace", `<forgotPasswordCredentials username="billybob"/>`, wrongRoot},
	{"empty namespace", `<forgotPasswordCredentials xmlns=""/>`, wrongRoot},
	{"other namespace", `<forgotPasswordCredentials xmlns="http://docs.openstack.org/identity/api/v2.0"/>`, wrongRoot},
	{"namespace in another case", `<forgotPasswordCredentials xmlns="` + strings.ToUpper(raxAuth) + `"/>`, wrongRoot},
	{"namespace with a space", `<forgotPasswordCredentials xmlns="` + raxAuth + ` "/>`, wrongRoot},
	{"namespace bound to another prefix", `<forgotPasswordCredentials xmlns:r="` + raxAuth + `"/>`, wrongRoot},
	{"prefix of another namespace", `<r:forgotPasswordCredentials xmlns="` + raxAuth + `" xmlns:r="urn:x"/>`, wrongRoot},
	{"undeclared prefix", `<r:forgotPasswordCredentials xmlns="` + raxAuth + `"/>`, "the prefix of the root element is not declared"},
	{"prefix declared in another case", `<r:forgotPasswordCredentials xmlns:R="` + raxAuth + `"/>`, "the prefix of the root element is not declared"},
	{"prefix xml", `<xml:forgotPasswordCredentials xmlns="` + raxAuth + `"/>`, "the prefix of the root element is not declared"},
	{"prefix xmlns", `<xmlns:forgotPasswordCredentials xmlns="` + raxAuth + `"/>`, "the prefix of the root element is not declared"},
	{"empty prefix", `<:forgotPasswordCredentials xmlns="` + raxAuth + `"/>`, wrongRoot},
	{"prefix only", `<forgotPasswordCredentials: xmlns="` + raxAuth + `"/>`, wrongRoot},
	{"two prefixes", `<a:b:forgotPasswordCredentials xmlns:a="` + raxAuth + `"/>`, "not well-formed XML near offset 30"},

	{"default namespace twice", forgot(`xmlns="` + raxAuth + `"`), bindTwice},
	{"prefix twice", forgot(`xmlns:a="urn:x" xmlns:a="urn:y"`), bindTwice},
	{"xml redefined", forgot(`xmlns:xml="` + raxAuth + `"`), wrongBind},
	{"xmlns redefined", forgot(`xmlns:xmlns="urn:x"`), wrongBind},
	{"xmlns defined as what it is", forgot(`xmlns:xmlns="http://www.w3.org/2000/xmlns/"`), wrongBind},
	{"other prefix of xml", forgot(`xmlns:x="http://www.w3.org/XML/1998/namespace"`), wrongBind},
	{"other prefix of xmlns", forgot(`xmlns:x="http://www.w3.org/2000/xmlns/"`), wrongBind},
	{"xml as the default", `<forgotPasswordCredentials xmlns="http://www.w3.org/XML/1998/namespace"/>`, wrongBind},
	{"prefix of nothing", forgot(`xmlns:x=""`), wrongBind},
	{"prefix that is no name", forgot(`xmlns:1="urn:x"`), wrongBind},
	{"empty prefix declared", forgot(`xmlns:="urn:x"`), unknownAttr},

	{"unknown attribute", forgot(`login="billybob"`), unknownAttr},
	{"attribute in another case", forgot(`userName="billybob"`), unknownAttr},
	{"attribute with a Kelvin sign", forgot("\u212aey=\"billybob\""), unknownAttr},
	{"attribute with long s", forgot(`uſername="billybob"`), "not well-formed XML near offset 101"},
	{"attribute in full-width letters", forgot(`ｕｓｅｒｎａｍｅ="billybob"`), "not well-formed XML near offset 116"},
	{"attribute twice", forgot(`username="a" username="b"`), `"username" appears twice`},
	{"same attribute twice", forgot(`portal="a" username="" portal="a"`), `"portal" appears twice`},
	{"prefixed attribute", forgot(`xmlns:r="` + raxAuth + `" r:username="billybob"`), "attributes must not have a prefix"},
	{"undeclared attribute", forgot(`r:username="billybob"`), "attributes must not have a prefix"},
	{"xml:lang", forgot(`xml:lang="en"`), "attributes must not have a prefix"},
	{"attribute with an empty prefix", forgot(`:username="billybob"`), unknownAttr},
	{"attribute with two prefixes", forgot(`a:b:username="billybob"`), "not well-formed XML near offset 104"},

	{"no space between attributes", forgot(`username="a"portal="b"`), "there must be white space between attributes"},
	{"tab in a value", forgot("username=\"a\tb\""), lineBreak},
	{"line feed in a value", forgot("username=\"a\nb\""), lineBreak},
	{"carriage return in a value", forgot("username='a\rb'"), lineBreak},
	{"line break in a namespace", "<forgotPasswordCredentials xmlns='\n" + raxAuth + "'/>", lineBreak},
	{"reference to a high surrogate", forgot(`username="&#xD83D;&#xDE00;"`), surrogate},
	{"reference to a low surrogate", forgot(`username="a&lt;&#x41;&#57343;"`), surrogate},

	{"reference to NUL", forgot(`username="&#0;"`), "not well-formed XML near offset 107"},
	{"reference to U+0001", forgot(`username="&#x1;"`), "not well-formed XML near offset 108"},
	{"reference to U+FFFF", forgot(`username="&#xFFFF;"`), "not well-formed XML near offset 111"},
	{"reference beyond Unicode", forgot(`username="&#x110000;"`), "not well-formed XML near offset 112"},
	{"reference beyond 32 bits", forgot(`username="&#x100000041;"`), "not well-formed XML near offset 115"},
	{"reference beyond 64 bits", forgot(`username="&#x10000000000000041;"`), "not well-formed XML near offset 123"},
	{"reference with a capital X", forgot(`username="&#X41;"`), "not well-formed XML near offset 104"},
	{"reference without digits", forgot(`username="&#;"`), "not well-formed XML near offset 105"},
	{"reference with a sign", forgot(`username="&#+65;"`), "not well-formed XML near offset 104"},
	{"unknown entity", forgot(`username="&nbsp;"`), "not well-formed XML near offset 108"},
	{"entity in another case", forgot(`username="&AMP;"`), "not well-formed XML near offset 107"},
	{"entity without semicolon", forgot(`username="&amp"`), "not well-formed XML near offset 106"},
	{"bare ampersand", forgot(`username="a & b"`), "not well-formed XML near offset 105"},
	{"less-than in a value", forgot(`username="<"`), "not well-formed XML near offset 103"},
	{"value without quotes", forgot(`username=billybob`), "not well-formed XML near offset 102"},
	{"attribute without value", forgot(`username`), "not well-formed XML near offset 101"},
	{"attribute with a digit first", forgot(`1="a"`), "not well-formed XML near offset 93"},

	{"only a tag", tag + `>`, "not well-formed XML near offset 92"},
	{"unclosed tag", `<forgotPasswordCredentials `, "not well-formed XML near offset 27"},
	{"only an end tag", `</forgotPasswordCredentials>`, "not well-formed XML near offset 0"},
	{"only a declaration", `<?xml version="1.0"?>`, "not well-formed XML near offset 21"},
	{"second end tag", forgot("") + `</forgotPasswordCredentials>`, "not well-formed XML near offset 94"},
	{"end tag of another name", tag + `></forgot>`, "not well-formed XML near offset 92"},
	{"end tag with another prefix", `<a:forgotPasswordCredentials xmlns:a="` + raxAuth + `" xmlns:b="` + raxAuth + `"></b:forgotPasswordCredentials>`, "not well-formed XML near offset 163"},
	{"end tag with attributes", tag + `></forgotPasswordCredentials a="">`, "not well-formed XML near offset 121"},
	{"space before the name", `< forgotPasswordCredentials/>`, "not well-formed XML near offset 1"},
	{"NUL reference in white space", "&#0;", notXML},
}

func TestDecodeXMLRefuses(t *testing.T) {
	for _, tt := range xmlRefusals {
		t.Run(tt.why, func(t *testing.T) {
			is := is.New(t)
			fields := forgotFields()
			err := decodeXML(exactly(tt.body), forgotRoot, raxAuth, fields)
			is.True(err != nil)            // refused
			is.Equal(err.Error(), tt.text) // what is wrong
			is.True(untouched(fields))     // nothing half done
		})
	}
}

func TestDecodeXMLReadsPasswordReset(t *testing.T) {
	is := is.New(t)
	fields := fieldsOf("password")
	is.NoErr(decodeXML([]byte(`<passwordReset xmlns="`+raxAuth+`" password="superSecurePassw0rd!"/>`), "passwordReset", raxAuth, fields))
	is.Equal(values(fields), map[string]string{"password": "superSecurePassw0rd!"}) // documented
}

func TestDecodeXMLOfAnySizeAndDepth(t *testing.T) {
	is := is.New(t)
	const size = 1 << 18
	fields := forgotFields()
	long := strings.Repeat("x", size)
	is.NoErr(decodeXML([]byte(forgot(`username="`+long+`"`)), forgotRoot, raxAuth, fields))
	is.True(fields[0].value == long) // a long value
	is.NoErr(decodeXML([]byte(forgot(`username="`+strings.Repeat("&#65;", size)+`"`)), forgotRoot, raxAuth, fields))
	is.Equal(len(fields[0].value), size) // a long value of references
	is.NoErr(decodeXML([]byte(forgot(`username="&#`+strings.Repeat("0", size)+`65;"`)), forgotRoot, raxAuth, fields))
	is.Equal(fields[0].value, "A") // a long reference

	var declarations strings.Builder
	for i := range 20_000 {
		declarations.WriteString(" xmlns:" + strings.Repeat("a", 1+i%200) + string(rune('\u4e00'+i/200)) + "='urn:x'")
	}
	is.NoErr(decodeXML([]byte(forgot(declarations.String())), forgotRoot, raxAuth, fields)) // many declarations

	for _, deep := range []string{
		strings.Repeat("<a>", size), strings.Repeat("<forgotPasswordCredentials xmlns='"+raxAuth+"'>", size/50),
		"<!DOCTYPE " + strings.Repeat("<", size), strings.Repeat(" ", size) + "<a>", "<?xml" + strings.Repeat(" ", size),
		strings.Repeat("<!--", size), strings.Repeat("<![CDATA[", size), "<" + strings.Repeat("a:", size),
	} {
		is.True(decodeXML([]byte(deep), forgotRoot, raxAuth, fields) != nil) // deep documents are refused
	}
}

func FuzzDecodeXML(f *testing.F) {
	for _, r := range xmlRefusals {
		f.Add([]byte(r.body))
	}
	f.Add([]byte(documentedXML))
	f.Add([]byte(`<a:forgotPasswordCredentials xmlns:a="` + raxAuth + `" portal='&#x1F600;&#10;&quot;'> </a:forgotPasswordCredentials>`))
	texts := closedSet(xmlRefusals)
	escape := func(s string) string {
		var b strings.Builder
		if err := xml.EscapeText(&b, []byte(s)); err != nil {
			panic(err)
		}
		return b.String()
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		is := is.New(t)

		// Whatever can be said in XML arrives.
		fields := forgotFields()
		if s := string(body); utf8.ValidString(s) && strings.IndexFunc(s, isNotXML) < 0 {
			is.NoErr(decodeXML([]byte(forgot(`username="`+escape(s)+`"`)), forgotRoot, raxAuth, fields))
			is.Equal(values(fields), map[string]string{"username": s}) // the value comes back
		}

		before := string(body)
		err := decodeXML(body, forgotRoot, raxAuth, fields)
		is.Equal(string(body), before) // the body is only read
		if err != nil {
			checkRefused(t, err, fields, texts)
			return
		}
		got := values(fields)

		var std struct {
			XMLName    xml.Name
			Attributes []xml.Attr `xml:",any,attr"`
			Text       string     `xml:",chardata"`
		}
		is.NoErr(xml.Unmarshal(body, &std))                                // encoding/xml accepts it, too
		is.Equal(std.XMLName, xml.Name{Space: raxAuth, Local: forgotRoot}) // and finds the same element
		is.Equal(strings.Trim(std.Text, white), "")                        // which is empty
		attributes := make(map[string]string)
		for _, a := range std.Attributes {
			if a.Name.Space == "" && a.Name.Local != "xmlns" {
				attributes[a.Name.Local] = a.Value
			}
		}
		is.True(maps.Equal(attributes, got)) // with the same values

		document := `<x:` + forgotRoot + ` xmlns:x="` + raxAuth + `"`
		for name, value := range got {
			document += ` ` + name + `="` + escape(value) + `"`
		}
		again := forgotFields()
		is.NoErr(decodeXML([]byte(document+`/>`), forgotRoot, raxAuth, again))
		is.Equal(again, fields) // round trip
	})
}
