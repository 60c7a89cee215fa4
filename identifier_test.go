package recovery_test

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"
	"golang.org/x/text/unicode/norm"

	"example.com/recovery"
)

func TestCanonicalUsername(t *testing.T) {
	for typed, want := range map[string]string{
		"alice":                  "alice",
		"ALICE":                  "alice",
		"a b":                    "a b",
		"İstanbul":               "İstanbul", // strings.ToLower would make it start with i
		"ＡLICE":                  "Ａlice",
		"ß":                      "ß",
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

// White space of any script is trimmed at both ends, and only there.
func TestWhiteSpaceIsTrimmed(t *testing.T) {
	for _, space := range []string{
		" ", "\t", "\n", "\v", "\f", "\r", "\u0085", "\u00a0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004",
		"\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", " \u3000\t",
	} {
		t.Run(strconv.QuoteToASCII(space), func(t *testing.T) {
			is := is.New(t)
			name, err := recovery.CanonicalUsername(space + "Alice" + space)
			is.NoErr(err)
			is.Equal(name, "alice")
			address, err := recovery.CanonicalEmail(space + "alice@example.com" + space)
			is.NoErr(err)
			is.Equal(address, "alice@example.com")
			name, _ = recovery.CanonicalUsername("al" + space + "ice")
			is.True(name != "alice") // inside it is part of the name, or refused
			_, err = recovery.CanonicalEmail("al" + space + "ice@example.com")
			is.True(errors.Is(err, recovery.ErrInvalidRequest))
			_, err = recovery.CanonicalUsername(space)
			is.Equal(err, &recovery.FieldError{Field: "username", Rule: "must not be empty"})
			_, err = recovery.CanonicalEmail(space)
			is.Equal(err, &recovery.FieldError{Field: "email", Rule: "must not be empty"})
		})
	}
}

// User names and local parts are put into NFC, but nothing becomes ASCII: S04.
func TestIdentifiersAreComposed(t *testing.T) {
	for typed, want := range map[string]string{
		"mi\u0301ke":                 "m\u00edke",
		"m\u00edke":                  "m\u00edke",
		"Zoe\u0308":                  "zo\u00eb",
		"E\u0301":                    "\u00c9", // as the composed letter, which is not folded
		"H\u0331":                    "\u1e96", // there is no such capital
		"h\u0331":                    "\u1e96",
		"q\u0307\u0323":              "q\u0323\u0307", // marks in their order
		"\u1112\u1161\u11ab":         "\ud55c",
		"\u304b\u3099":               "\u304c",
		"\u212b":                     "\u00c5",
		"\u2126":                     "\u03a9",
		"\uf900":                     "\u8c48",
		"\u212aelvin":                "\u212aelvin", // Kelvin sign
		"a\u037eb":                   "a\u037eb",    // Greek question mark
		"a\u1fefb":                   "a\u1fefb",    // varia
		"\u212a\u030ce\u0301":        "\u212a\u030c\u00e9",
		"e\u0301\u1fef\u037eE\u0308": "\u00e9\u1fef\u037e\u00cb",
		"ﬁ\uff21\u2460":              "ﬁ\uff21\u2460", // compatibility is another thing
	} {
		t.Run(strconv.QuoteToASCII(typed), func(t *testing.T) {
			is := is.New(t)
			got, err := recovery.CanonicalUsername(typed)
			is.NoErr(err)
			is.Equal(got, want)
			got, err = recovery.CanonicalEmail(typed + "@example.com")
			is.NoErr(err)
			is.Equal(got, want+"@example.com")
			got, err = recovery.CanonicalUsername(want)
			is.NoErr(err)
			is.Equal(got, want) // what is canonical stays as it is
		})
	}
}

// Invisible characters are refused in both kinds of identifiers, but where a script needs them:
// S06.
var invisible = []string{
	"\x00", "\t", "\n", "\r", "\x1b", "\x7f", "\u0085", // control
	"\u00ad", "\u200b", "\u200c", "\u200d", "\u200e", "\u202e", "\u2060", "\u2066", "\ufeff", "\U000e0041", // format
	"\u2028", "\u2029", // line and paragraph separator
	"\u034f", "\u115f", "\u3164", "\uffa0", "\ufe0f", "\u180b", "\u180e", "\U000e0100", // ignorable though letters or marks
	"\ufffe", // noncharacter
}

// Names have invisible characters where their script needs them, and without them are other names.
func TestNeededInvisibleCharacters(t *testing.T) {
	for what, name := range map[string]string{
		"Persian":                                "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
		"Persian, after a short vowel":           "\u0646\u0627\u0645\u0647\u0650\u200c\u0627\u06cc",
		"Persian, after a final letter":          "\u06a9\u0627\u0631\u200c\u0647\u0627",
		"Syriac":                                 "\u0712\u200c\u0712",
		"Mongolian":                              "\u1828\u200c\u1820",
		"N'Ko":                                   "\u07ca\u200c\u07cb",
		"Adlam":                                  "\U0001e900\u200c\U0001e901",
		"Rohingya":                               "\U00010d00\u200c\U00010d01",
		"Hindi, joiner":                          "\u0915\u094d\u200d\u0937",
		"Hindi, non-joiner":                      "\u0915\u094d\u200c\u0937",
		"Sinhala":                                "\u0dc1\u0dca\u200d\u0dbb\u0dd3",
		"Malayalam, old chillu":                  "\u0d05\u0d35\u0d28\u0d4d\u200d",
		"Bengali ya-phalaa":                      "\u09b0\u200d\u09cd\u09af\u09be\u09ac",
		"Kannada":                                "\u0cb0\u200d\u0ccd\u0c95",
		"heart":                                  "\u2764\ufe0f",
		"heart as text":                          "\u2764\ufe0e",
		"arrow":                                  "\u2194\ufe0f",
		"exclamation marks":                      "\u203c\ufe0f",
		"keycap":                                 "7\ufe0f\u20e3",
		"hash keycap":                            "#\ufe0f\u20e3",
		"family":                                 "\U0001f468\u200d\U0001f469\u200d\U0001f466",
		"couple":                                 "\U0001f469\u200d\u2764\ufe0f\u200d\U0001f468",
		"the first and last skin, neighbours":    "\U0001f3fa\u200d\U0001f469\U0001f3fb\u200d\U0001f400\u200d\U0001f469\U0001f3ff\u200d\U0001f680",
		"shaking head":                           "\U0001f642\u200d\u2194\ufe0f",
		"empty set with a vertical line":         "\u2229\ufe00",
		"Han, as in the Hanyo-Denshi collection": "\u8fbb\U000e0100",
		"Han, standardised":                      "\u4fae\ufe00",
		"Mongolian form":                         "\u182d\u180b\u1820",
	} {
		t.Run(what, func(t *testing.T) {
			is := is.New(t)
			for _, name := range []string{name, "x" + name + "y"} {
				got, err := recovery.CanonicalUsername(name)
				is.NoErr(err)
				is.Equal(got, name)
				got, err = recovery.CanonicalEmail(name + "@example.com")
				is.NoErr(err)
				is.Equal(got, name+"@example.com")
			}
			without, err := recovery.CanonicalUsername(strings.NewReplacer("\u200c", "", "\u200d", "", "\ufe0f", "", "\u180b", "").Replace(name))
			is.NoErr(err)
			is.True(without == name || !strings.ContainsAny(without, "\u200c\u200d\ufe0f\u180b"))
		})
	}
}

func TestInvisibleCharactersThatNobodyNeeds(t *testing.T) {
	for what, name := range map[string]string{
		"non-joiner at the end":              "\u0645\u06cc\u200c",
		"non-joiner at the start":            "\u200c\u0645\u06cc",
		"two non-joiners":                    "\u0645\u06cc\u200c\u200c\u062e",
		"non-joiner before Latin":            "\u06cc\u200cx",
		"non-joiner behind Latin":            "x\u200c\u06cc",
		"non-joiner behind a Latin accent":   "m\u0301\u200c\u06cc",
		"non-joiner before a digit":          "\u06cc\u200c\u06f1",
		"non-joiner in Greek":                "\u03b1\u200c\u03b2",
		"non-joiner behind a nukta":          "\u0915\u093c\u200c\u0937",
		"joiner in Persian":                  "\u0645\u06cc\u200d\u062e",
		"joiner behind a lone virama's mark": "\u0dda\u200d\u0dbb", // U+0DCA is part of the vowel sign
		"the same in parts":                  "\u0dd9\u0dca\u200d\u0dbb",
		"joiner before a vowel sign":         "\u09b0\u200d\u09be",
		"joiner before a virama, alone":      "\u200d\u09cd\u09af",
		"non-joiner before a virama":         "\u09b0\u200c\u09cd\u09af",
		"joiner behind an emoji":             "\U0001f468\u200d",
		"joiner before an emoji":             "\u200d\U0001f468",
		"joiner between emoji and letter":    "\U0001f468\u200dx",
		"joiner between skin and emoji":      "\U0001f3fd\u200d\U0001f680",
		"two joiners":                        "\U0001f468\u200d\u200d\U0001f469",
		"joiner between ASCII symbols":       "+\u200d+",
		"selector at the start":              "\ufe0fx",
		"selector behind a letter":           "x\ufe0f",
		"selector behind a space":            "x \ufe0fx",
		"selector behind an ASCII symbol":    "a=\ufe00b",
		"two selectors":                      "\u2764\ufe0f\ufe0f",
		"selector behind a digit":            "7\ufe0f",
		"text selector of a keycap":          "7\ufe0e\u20e3",
		"keycap of a letter":                 "x\ufe0f\u20e3",
		"Han selector behind an emoji":       "\u2764\U000e0100",
		"no selector behind Han":             "\u4fae\u200b",
		"Han selector behind kana":           "\u304b\U000e0100",
		"Mongolian selector behind Latin":    "x\u180b",
		"Mongolian selector behind an emoji": "\u2764\u180b",
		"Mongolian selector behind a digit":  "\u1811\u180b",
		"selector behind a Mongolian letter": "\u182d\ufe00",
		"flag in tags":                       "\U0001f3f4\U000e0067\U000e0062\U000e007f",
	} {
		t.Run(what, func(t *testing.T) {
			is := is.New(t)
			const rule = "must not contain control, format or other invisible characters"
			_, err := recovery.CanonicalUsername(name)
			is.Equal(err, &recovery.FieldError{Field: "username", Rule: rule})
			_, err = recovery.CanonicalEmail(name + "@example.com")
			is.Equal(err, &recovery.FieldError{Field: "email", Rule: rule})
		})
	}
}

func TestIdentifierRules(t *testing.T) {
	rules := map[string]string{
		"":                                 "must not be empty",
		"   ":                              "must not be empty",
		strings.Repeat("\u0958", 43):       "must be at most 254 bytes long", // 258 in NFC, which takes it apart
		"x" + strings.Repeat("\u0316", 31): "must not have more than 30 combining marks in a row",
		strings.Repeat("x", 255):           "must be at most 254 bytes long",
		strings.Repeat("ß", 128):           "must be at most 254 bytes long",
		strings.Repeat("e\u0301", 85):      "must be at most 254 bytes long",
		"al\xffice":                        "must be valid UTF-8",
		"\xed\xa0\x80":                     "must be valid UTF-8", // a surrogate
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

// What is canonical stays so, is short, trimmed and in NFC, and has no letters left to fold.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{
		"alice", "Alice@Example.com", "x@BÜCHER.example", "x@xn--bcher-kva.example", "İ@\u212A", " a ", "a\u00adb",
		"\u3000H\u0331\u00a0", "q\u0307\u0323@b", "\u212a\u0331\u037e\u1fef\u0301@b", `"da..me."@b`, `".A"@b`, "\u0958\u1112\u1161\u11ab",
		"\u0dd9\u0dca\u200d", "\u0645\u200c\u06cc", "\u09b0\u200d\u09cd", "\u2764\ufe0f\u200d\U0001f468", "x" + strings.Repeat("\u0316", 30), "\U0001d160",
	} {
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
			if len(c) > 254 || strings.ContainsAny(c, "\x00\r\n\tABCXYZ") || strings.TrimSpace(c) != c {
				t.Fatalf("%q became %q", s, c)
			}
			for part := range strings.FieldsFuncSeq(c, func(r rune) bool { return r == '\u212a' || r == '\u037e' || r == '\u1fef' }) {
				if !norm.NFC.IsNormalString(part) {
					t.Fatalf("%q became %q, which is not in NFC", s, c)
				}
			}
		}
	})
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
		is.NoErr(errOf(recovery.CanonicalEmail(typed)))
	}
	long := "x@" + strings.Repeat("日本語.", 16) // 240 bytes of A-labels
	for typed, rule := range map[string]string{
		long + strings.Repeat("y", 13): "must be at most 254 bytes long",
		long + strings.Repeat("y", 14): "must have a domain name after the @", // which has at most 253
		"a@b.0":                        "must have a domain name after the @",
		"a@b.9":                        "must have a domain name after the @",
		"a@日本語。example":                "must have a domain name after the @", // that stop becomes another label
	} {
		is.Equal(errOf(recovery.CanonicalEmail(typed)), &recovery.FieldError{Field: "email", Rule: rule})
	}
	for _, typed := range []string{strings.Repeat("x", 65) + "@b", "a@" + strings.Repeat("b", 64) + ".c", "a@xn--a.example"} {
		_, err := recovery.CanonicalEmail(typed)
		is.True(errors.Is(err, recovery.ErrInvalidRequest)) // too long, or no A-label
	}
}

// An application's own folding gets a clean name, and takes the place of ours everywhere.
func TestOwnCanonicalUsername(t *testing.T) {
	is := is.New(t)
	special := map[string]string{"longest": strings.Repeat("x", 254), "long": strings.Repeat("x", 255), "invalid": "\xff", "invisible": "\u200b"}
	var mu sync.Mutex // the worker folds, too
	var seen []string
	fold := func(s string) string {
		mu.Lock()
		seen = append(seen, s)
		mu.Unlock()
		if name, ok := special[s]; ok {
			return name
		}
		return strings.NewReplacer("\u00eb", "e", "Z", "z", ".", "").Replace(s)
	}
	w := newWorld(t, &recovery.Options{CanonicalUsername: fold})
	w.users.CanonicalUsername = fold
	w.put("9", "z.o\u00eb", "zoe@example.com")
	const none = "must be one that the application accepts"
	seen = nil
	for _, c := range []struct{ typed, rule string }{
		{"\u3000Zoe\u0308 ", ""}, {"...", none}, {"longest", ""}, {"long", none}, {"invalid", none}, {"invisible", none},
		{"al\u200bice", "must not contain control, format or other invisible characters"}, {"\u3000\t", "must not be empty"},
	} {
		_, err := w.RequestReset(w.ctx, recovery.ResetRequest{Username: c.typed, Client: client})
		if c.rule == "" {
			is.NoErr(err)
		} else {
			is.Equal(err, &recovery.FieldError{Field: "username", Rule: c.rule})
		}
	}
	is.Equal(seen, []string{"Zo\u00eb", "...", "longest", "long", "invalid", "invisible"}) // no name that is malformed
	mails := w.deliver()
	is.Equal(len(mails), 1)
	_, err := w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: tokenOf(mails[0]), Username: "zO\u00eb", Password: goodPassword})
	is.Equal(err, recovery.ErrInvalidToken) // this folding tells O from o
	_, err = w.CompleteReset(w.ctx, recovery.CompleteRequest{Token: tokenOf(mails[0]), Username: "zoe", Password: goodPassword})
	is.NoErr(err)
}

// A mail isolates a name that is written from right to left, and people copy it so.
func TestIsolatesAroundANameAreTrimmed(t *testing.T) {
	is := is.New(t)
	for _, typed := range []string{"\u2068سارا\u2069", " \u2068 سارا\u2069\n"} {
		canonical, err := recovery.CanonicalUsername(typed)
		is.NoErr(err)
		is.Equal(canonical, "سارا")
	}
	for _, typed := range []string{"\u2068سارا", "سارا\u2069", "\u2068\u2068سارا\u2069\u2069", "\u2069سارا\u2068", "سا\u2068\u2069را"} {
		is.True(errors.Is(errOf(recovery.CanonicalUsername(typed)), recovery.ErrInvalidRequest))
	}
}
