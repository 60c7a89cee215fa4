package recovery_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

func TestCanonicalEmail(t *testing.T) {
	for typed, want := range map[string]string{
		"alice@example.com":                   "alice@example.com",
		" Alice@EXAMPLE.com ":                 "alice@example.com",
		"a.l.i.c.e+tag@example.com":           "a.l.i.c.e+tag@example.com", // nothing is folded for a provider
		"!#$%&'*+-/=?^_`{|}~@example.com":     "!#$%&'*+-/=?^_`{|}~@example.com",
		"m\u0131ke@example.com":               "m\u0131ke@example.com",
		"\u212A@example.com":                  "\u212A@example.com",
		"root@localhost":                      "root@localhost",
		"x@BÜCHER.example":                    "x@xn--bcher-kva.example",
		"x@xn--bcher-kva.example":             "x@xn--bcher-kva.example",
		"x@XN--BCHER-KVA.example":             "x@xn--bcher-kva.example",
		"x@straße.example":                    "x@xn--strae-oqa.example",
		"x@例え.テスト":                            "x@xn--r8jz45g.xn--zckzah",
		"日本@example.com":                      "日本@example.com",
		"da..me.@docomo.example":              "da..me.@docomo.example", // as providers issued them
		`"da..me."@docomo.example`:            "da..me.@docomo.example",
		`"Alice"@example.com`:                 "alice@example.com", // the quotes mean nothing
		`"日本."@example.com`:                   "日本.@example.com",
		`".alice"@example.com`:                `".alice"@example.com`, // they mean something
		`"."@example.com`:                     `"."@example.com`,
		"x=\u0338@example.com":                "x\u2260@example.com",
		"x@نامه\u200cای.example":              "x@xn--mgba3gch31f060k.example",
		strings.Repeat("x", 64) + "@e.com":    strings.Repeat("x", 64) + "@e.com",
		"x@" + strings.Repeat("a", 63) + ".b": "x@" + strings.Repeat("a", 63) + ".b",
	} {
		t.Run(typed, func(t *testing.T) {
			is := is.New(t)
			got, err := recovery.CanonicalEmail(typed)
			is.NoErr(err)
			is.Equal(got, want)
		})
	}
}

func TestCanonicalEmailRefuses(t *testing.T) {
	for _, typed := range []string{
		"alice", "@example.com", "alice@", "@", "a@b@c", "alice@@example.com",
		"a@x,evil@y", "a@x;evil@y", "a@x evil@y", "a@x%2cevil@y", "a@x%2cevil", "a@x, b", // S02
		"Name <a@b.example>", "<a@b.example>", "a(comment)@b.example", "a@b.example(comment)",
		`"x> ORCPT=y"@b.example`, "group:a@b.example;", "=?utf-8?q?a?=@b.example>", "=?utf-8?q?a?=@b.example", "x=?utf-8?b?YQ?=x@b.example", "a@[192.0.2.1]", "a@192.0.2.1", // S09
		`""@b.example`, `"@b.example`, `"ab@b.example`, `ab"@b.example`, `a"b"c@b.example`, `"a".b@b.example`, `"a"b"@b.example`, `""a""@b.example`,
		`"a b"@b.example`, `"a<b"@b.example`, `"a>b"@b.example`, `"a,b"@b.example`, `"a\b"@b.example`, `"a\"b"@b.example`, `"a@c"@b.example`,
		`"=?utf-8?q?a?="@b.example`, "\"a\u00a0b\"@b.example", "\"a\tb\"@b.example",
		"a>\u0338@b.example", "a<\u0338@b.example", "\"a>\u0338\"@b.example", // NFC has neither < nor >
		".a@example.com", ".@example.com", "..a@example.com", "a b@example.com", "a\u00a0b@example.com", "a\u3000b@example.com",
		"victim@xn--example-.com", "a@xn--n-", "a@b.xn--com-", // A-labels of what is ASCII
		"a@example..com", "a@.example.com", "a@example.com.", "a@-example.com", "a@example-.com", "a@exa_mple.com",
		"a@ｅxample.com", "a@example\u3002com", "a@\u212Aelvin.example", "a@ﬁ.example", // look-alikes of ASCII domains
		"a@\u2764\ufe0f.example", "a@\u8fbb\U000e0100.example", "a@\U0001f468\u200d\U0001f469.example", // IDNA would drop what nobody sees
		"a@xn--", "a@xn--\u00fc.example", "a@xn--a.example",
		"a@" + strings.Repeat("a", 64) + ".b", strings.Repeat("x", 65) + "@example.com",
		strings.Repeat("e\u0301", 22) + "@example.com", strings.Repeat("\u0958", 11) + "@example.com", // 66 bytes before NFC, or in it
		"x@" + strings.Repeat("ü.", 60) + "b", // too long as A-labels
	} {
		t.Run(typed, func(t *testing.T) {
			is := is.New(t)
			got, err := recovery.CanonicalEmail(typed)
			is.True(errors.Is(err, recovery.ErrInvalidRequest)) // must be refused
			is.Equal(got, "")
			is.True(len(typed) < 2 || !strings.Contains(err.Error(), typed)) // the error must not repeat the value
		})
	}
}

// An address may become longer by its A-labels: the canonical form too has at most 254 bytes.
func TestAddressThatBecomesTooLong(t *testing.T) {
	is := is.New(t)
	domain := strings.Repeat("日本語.", 13) + "example" // 202 bytes as A-labels
	canonical, err := recovery.CanonicalEmail(strings.Repeat("x", 51) + "@" + domain)
	is.NoErr(err)
	is.Equal(len(canonical), 254)
	canonical, err = recovery.CanonicalEmail(strings.Repeat("x", 52) + "@" + domain)
	is.Equal(canonical, "")
	is.Equal(err, &recovery.FieldError{Field: "email", Rule: "must be at most 254 bytes long"})
}

// The error of each rule for the part before the @.
func TestLocalPartRules(t *testing.T) {
	is := is.New(t)
	for typed, rule := range map[string]string{
		".a@b":                              "must have letters, digits, dots and !#$%&'*+-/=?^_`{|}~ only before the @, and no dot first",
		`"x> ORCPT=y"@b`:                    "must have letters, digits, dots and !#$%&'*+-/=?^_`{|}~ only before the @, and no dot first",
		`"a@c"@b`:                           "must be one address with exactly one @",
		strings.Repeat("x", 65) + "@b":      "must have at most 64 bytes before the @",
		strings.Repeat("\u0958", 11) + "@b": "must have at most 64 bytes before the @",
	} {
		is.Equal(errOf(recovery.CanonicalEmail(typed)), &recovery.FieldError{Field: "email", Rule: rule})
	}
	is.NoErr(errOf(recovery.CanonicalEmail(`"` + strings.Repeat("x", 64) + `"@b`))) // the quotes do not count
}
