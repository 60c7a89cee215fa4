package recovery_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

func TestCanonicalUsername(t *testing.T) {
	for typed, want := range map[string]string{
		"alice":                  "alice",
		"ALICE":                  "alice",
		"  Alice ":               "alice",
		"a b":                    "a b",
		"İstanbul":               "İstanbul", // strings.ToLower would make it start with i
		"\u212Aelvin":            "\u212Aelvin",
		"ＡLICE":                  "Ａlice",
		"ß":                      "ß",
		"alice\u00a0":            "alice\u00a0", // a no-break space is not trimmed
		"alice@example.com":      "alice@example.com",
		strings.Repeat("x", 254): strings.Repeat("x", 254),
	} {
		t.Run(typed, func(t *testing.T) {
			is := is.New(t)
			got, err := recovery.CanonicalUsername(typed)
			is.NoErr(err)
			is.Equal(got, want)
		})
	}
}

// Invisible characters are refused in both kinds of identifiers: S06.
var invisible = []string{
	"\x00", "\t", "\n", "\r", "\x1b", "\x7f", "\u0085", // control
	"\u00ad", "\u200b", "\u200d", "\u200e", "\u202e", "\u2060", "\u2066", "\ufeff", "\U000e0041", // format
	"\u2028", "\u2029", // line and paragraph separator
	"\u034f", "\u115f", "\u3164", "\uffa0", "\ufe0f", "\u180b", // ignorable though letters or marks
	"\ufffe", // noncharacter
}

func TestIdentifierRules(t *testing.T) {
	rules := map[string]string{
		"":                       "must not be empty",
		"   ":                    "must not be empty",
		strings.Repeat("x", 255): "must be at most 254 bytes long",
		strings.Repeat("ß", 128): "must be at most 254 bytes long",
		strings.Repeat("x", 1e6): "must be at most 254 bytes long",
		"al\xffice":              "must be valid UTF-8",
		"\xed\xa0\x80":           "must be valid UTF-8", // a surrogate
	}
	for _, c := range invisible {
		rules["al"+c+"ice"] = "must not contain control, format or other invisible characters"
	}
	for typed, rule := range rules {
		for field, canonical := range map[string]func(string) (string, error){
			"username": recovery.CanonicalUsername, "email": recovery.CanonicalEmail,
		} {
			is := is.New(t)
			got, err := canonical(typed)
			var e *recovery.FieldError
			is.True(errors.As(err, &e)) // a *FieldError
			is.True(errors.Is(err, recovery.ErrInvalidRequest))
			is.Equal(*e, recovery.FieldError{Field: field, Rule: rule})
			is.Equal(err.Error(), "recovery: "+field+" "+rule)
			is.Equal(got, "")
		}
	}
}

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
		"Name <a@b.example>", "<a@b.example>", "a(comment)@b.example", "a@b.example(comment)", `"a"@b.example`,
		`"x> ORCPT=y"@b.example`, "group:a@b.example;", "=?utf-8?q?a?=@b.example>", "=?utf-8?q?a?=@b.example", "x=?utf-8?b?YQ?=x@b.example", "a@[192.0.2.1]", "a@192.0.2.1", // S09
		".a@example.com", "a.@example.com", "a..b@example.com", "a b@example.com", "a\u00a0b@example.com", "a\u3000b@example.com",
		"victim@xn--example-.com", "a@xn--n-", "a@b.xn--com-", // A-labels of what is ASCII
		"a@example..com", "a@.example.com", "a@example.com.", "a@-example.com", "a@example-.com", "a@exa_mple.com",
		"a@ｅxample.com", "a@example\u3002com", "a@\u212Aelvin.example", "a@ﬁ.example", // look-alikes of ASCII domains
		"a@xn--", "a@xn--\u00fc.example", "a@xn--a.example",
		"a@" + strings.Repeat("a", 64) + ".b", strings.Repeat("x", 65) + "@example.com",
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

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"alice", "Alice@Example.com", "x@BÜCHER.example", "x@xn--bcher-kva.example", "İ@\u212A", " a ", "a\u00adb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, canonical := range []func(string) (string, error){recovery.CanonicalUsername, recovery.CanonicalEmail} {
			c, err := canonical(s)
			if err != nil {
				if c != "" || !errors.Is(err, recovery.ErrInvalidRequest) {
					t.Fatalf("%q: %q, %v", s, c, err)
				}
				continue
			}
			again, err := canonical(c)
			if err != nil || again != c {
				t.Fatalf("%q became %q became %q, %v", s, c, again, err)
			}
			if len(c) > 254 || strings.ContainsAny(c, "\x00\r\n\t") || strings.Trim(c, " ") != c {
				t.Fatalf("%q became %q", s, c)
			}
		}
	})
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

// The characters at the ends of what is allowed, of what is folded, and of what is invisible.
func TestFirstAndLastCharacters(t *testing.T) {
	is := is.New(t)
	for typed, want := range map[string]string{"Z": "z", "AZ@[": "az@[", "09": "09", "~": "~"} {
		canonical, err := recovery.CanonicalUsername(typed)
		is.NoErr(err)
		is.Equal(canonical, want)
	}
	for typed, want := range map[string]string{
		"aAzZ09@a.zZ09.AZaz":                  "aazz09@a.zz09.azaz",
		"0@9.Z":                               "0@9.z",
		"a@r3---sn-x.example":                 "a@r3---sn-x.example", // hyphens in the third and fourth place are IDNA's matter only
		"a@xn--wgv71a119e.example":            "a@xn--wgv71a119e.example",
		"a@日本語.example":                       "a@xn--wgv71a119e.example",
		"=?a@b.example":                       "=?a@b.example", // no encoded word, as it has no end
		"a?=?b@b.example":                     "a?=?b@b.example",
		strings.Repeat("x", 64) + "@b":        strings.Repeat("x", 64) + "@b",
		"a@" + strings.Repeat("b", 63) + ".c": "a@" + strings.Repeat("b", 63) + ".c",
	} {
		canonical, err := recovery.CanonicalEmail(typed)
		is.NoErr(err)
		is.Equal(canonical, want)
	}
	for _, typed := range []string{"ali\x1fce", "ali\x7fce", "ali\u0080ce", "ali\u009fce"} {
		_, err := recovery.CanonicalUsername(typed)
		is.True(errors.Is(err, recovery.ErrInvalidRequest)) // a control character
	}
	for _, typed := range []string{"a@b.c1", "a@b.1-2", "a@1.2.3.4a"} { // not all digits at the end, so no IPv4 address
		_, err := recovery.CanonicalEmail(typed)
		is.NoErr(err)
	}
	long := "x@" + strings.Repeat("日本語.", 16) // 240 bytes of A-labels
	for typed, rule := range map[string]string{
		long + strings.Repeat("y", 13): "must be at most 254 bytes long",
		long + strings.Repeat("y", 14): "must have a domain name after the @", // which has at most 253
		"a@b.0":                        "must have a domain name after the @",
		"a@b.9":                        "must have a domain name after the @",
		"a@日本語。example":                "must have a domain name after the @", // that stop becomes another label
	} {
		_, err := recovery.CanonicalEmail(typed)
		is.Equal(err, &recovery.FieldError{Field: "email", Rule: rule})
	}
	for _, typed := range []string{strings.Repeat("x", 65) + "@b", "a@" + strings.Repeat("b", 64) + ".c", "a@xn--a.example"} {
		_, err := recovery.CanonicalEmail(typed)
		is.True(errors.Is(err, recovery.ErrInvalidRequest)) // too long, or no A-label
	}
}
