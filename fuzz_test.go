package recovery_test

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"example.com/recovery"
)

// phcForm is the form of a stored argon2id hash, written down once more.
var phcForm = regexp.MustCompile(`\A\$argon2id\$v=19\$m=([1-9][0-9]*),t=([1-9][0-9]*),p=([1-9][0-9]*)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)\z`)

// readPHC returns the parameters of a hash that VerifyPassword must compute, and false for one that
// it must refuse.
func readPHC(text string) (memory, passes, lanes int, salt, key []byte, ok bool) {
	parts := phcForm.FindStringSubmatch(text)
	if parts == nil {
		return 0, 0, 0, nil, nil, false
	}
	numbers := [3]int{}
	for i := range numbers {
		n, err := strconv.ParseUint(parts[i+1], 10, 32)
		if err != nil {
			return 0, 0, 0, nil, nil, false
		}
		numbers[i] = int(n)
	}
	memory, passes, lanes = numbers[0], numbers[1], numbers[2]
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	oneText := base64.RawStdEncoding.EncodeToString(salt) == parts[4] && base64.RawStdEncoding.EncodeToString(key) == parts[5]
	ok = err1 == nil && err2 == nil && oneText && len(salt) >= 8 && len(salt) <= 64 && len(key) >= 16 && len(key) <= 64 &&
		lanes <= 16 && passes <= 16 && memory >= 8*lanes && memory <= 256<<10 && memory*passes <= 1<<20
	return memory, passes, lanes, salt, key, ok
}

func writePHC(memory, passes, lanes int, salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, passes, lanes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// A hash is computed exactly if it is in its one form and within the documented bounds; and then it
// matches its own password alone.
func FuzzVerifyArgon2id(f *testing.F) {
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", "password", []byte("somesalt"), uint8(0), uint8(0), uint8(0), uint8(16), uint8(3), byte('x'))
	f.Add("$argon2id$v=19$m=262145,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "", []byte("0123456789abcdef"), uint8(40), uint8(1), uint8(3), uint8(32), uint8(25), byte('9'))
	f.Add("$argon2id$v=19$m=65536,t=16,p=4$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAB", "\x00", []byte(strings.Repeat("s", 64)), uint8(1), uint8(2), uint8(15), uint8(64), uint8(19), byte('0'))
	for _, parameters := range []string{"m=08,t=1,p=1", "m=+8,t=1,p=1", "m=8,t=01,p=1", "m=8,t=1", "m=15,t=1,p=2", "m=8,t=1,p=0", "t=1,m=8,p=1"} {
		f.Add("$argon2id$v=19$"+parameters+"$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "password", []byte("somesalt"), uint8(0), uint8(0), uint8(0), uint8(0), uint8(0), byte(0))
	}
	f.Fuzz(func(t *testing.T, text, password string, salt []byte, memory, passes, lanes, size, at uint8, c byte) {
		check := func(text string) {
			t.Helper()
			m, n, p, salt, key, ok := readPHC(text)
			if !strings.HasPrefix(text, "$argon2id$") || ok && m*n > 4096 {
				return // bcrypt, and what would take the fuzzer too long
			}
			var want error
			switch {
			case !ok:
				want = recovery.ErrUnsupportedHash
			case string(argon2.IDKey([]byte(password), salt, uint32(n), uint32(m), uint8(p), uint32(len(key)))) != string(key):
				want = recovery.ErrPasswordMismatch
			}
			if err := recovery.VerifyPassword(text, password); !errors.Is(err, want) {
				t.Fatalf("%q is answered %v, want %v", text, err, want)
			}
		}
		check(text)

		if len(salt) < 8 || len(salt) > 64 {
			return
		}
		p := 1 + int(lanes)%16
		m, n, keyLen := 8*p+int(memory), 1+int(passes)%4, 16+int(size)%49
		text = writePHC(m, n, p, salt, argon2.IDKey([]byte(password), salt, uint32(n), uint32(m), uint8(p), uint32(keyLen)))
		if err := recovery.VerifyPassword(text, password); err != nil {
			t.Fatalf("%q is refused: %v", text, err)
		}
		if err := recovery.VerifyPassword(text, password+"\x00"); err != recovery.ErrPasswordMismatch {
			t.Fatalf("%q has two passwords: %v", text, err)
		}
		i := int(at) % len(text)
		check(text[:i] + string(c) + text[i+1:])
		check(text[:i] + string(c) + text[i:])
		check(text[:i] + text[i+1:])
		check(text[:i])
	})
}

// What HashPassword makes has the documented form and cost, and is verified.
func FuzzHashPassword(f *testing.F) {
	f.Fuzz(func(t *testing.T, password string) {
		hash, err := recovery.HashPassword(password)
		if err != nil {
			t.Fatal(err)
		}
		m, n, p, salt, key, ok := readPHC(hash)
		if !ok || m != 19456 || n != 2 || p != 1 || len(salt) != 16 || len(key) != 32 {
			t.Fatalf("%q", hash)
		}
		if err := recovery.VerifyPassword(hash, password); err != nil {
			t.Fatalf("%q does not have %q: %v", hash, password, err)
		}
		if err := recovery.VerifyPassword(hash, password+" "); err != recovery.ErrPasswordMismatch {
			t.Fatalf("%q: %v", hash, err)
		}
	})
}

// A token has one text. Whatever differs from it is refused, or is another token.
func FuzzTokenText(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789ABCDEF"), uint8(51), "b")
	f.Add([]byte(strings.Repeat("\x00", 32)), uint8(0), "A")
	f.Add([]byte(strings.Repeat("\xff", 32)), uint8(20), "\n")
	f.Add([]byte(strings.Repeat("\xff", 32)), uint8(52), "====")
	encoding := base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
	f.Fuzz(func(t *testing.T, raw []byte, at uint8, insert string) {
		raw = append(raw, make([]byte, 32)...)[:32]
		text := encoding.EncodeToString(raw)
		token, err := recovery.ParseToken(text)
		if err != nil || token.Reveal() != text || token.Digest() != sha256.Sum256(raw) {
			t.Fatalf("%q is read as %q, %v", text, token.Reveal(), err)
		}
		i := int(at) % (len(text) + 1)
		variants := []string{text[:i] + insert + text[i:], strings.ToUpper(text), text + text, text[1:] + text[:1]}
		if i < len(text) {
			variants = append(variants, text[:i]+insert+text[i+1:], text[:i]+text[i+1:])
		}
		last := 0
		for c := range 256 {
			changed := text[:51] + string([]byte{byte(c)})
			if _, err := recovery.ParseToken(changed); err == nil {
				last++
			}
			variants = append(variants, changed)
		}
		if last != 2 { // the last character has one bit of the token
			t.Fatalf("%d texts differ from %q in the last character alone", last, text)
		}
		for _, variant := range variants {
			other, err := recovery.ParseToken(variant)
			switch trimmed := strings.Trim(variant, " \t\r\n"); {
			case err != nil && (err != recovery.ErrInvalidToken || !other.IsZero()):
				t.Fatalf("%q: %v", variant, err)
			case (err == nil) != (len(trimmed) == 52 && isTokenText(trimmed)):
				t.Fatalf("%q: %v", variant, err)
			case err == nil && (other.Digest() == token.Digest()) != (trimmed == text):
				t.Fatalf("%q and %q", variant, text)
			}
		}
	})
}

// isTokenText reports whether 52 bytes are the text of 32: the last stands for one bit.
func isTokenText(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == "" && strings.HasSuffix(strings.Replace(s[51:], "q", "a", 1), "a")
}

// Two identifiers are one only if they differ in ASCII case, outer white space, NFC and quotes that
// mean nothing, or in how a label of the domain is written; and nothing else ever becomes ASCII.
func FuzzIdentifiersDiffer(f *testing.F) {
	for _, pair := range [][2]string{
		{"alice", " ALICE "}, {"mike", "mıke"}, {"kelvin", "\u212aelvin"}, {"ss", "ß"}, {"a@bücher.example", "A@xn--bcher-kva.example"},
		{"a@b\u00fccher.example", "a@bu\u0308cher.example"}, {"a@faß.example", "a@fass.example"}, {"a@ｅxample.com", "a@example.com"}, {"a@xn--fa-hia.example", "a@fa\u00df.example"},
		{"x@" + strings.Repeat("ü", 40) + ".example", "x@" + strings.Repeat("ü.", 26) + "example"}, {"a@b.c", "a@b。c"}, {"ａ@b.c", "a@b.c"},
		{strings.Repeat("a", 60) + "@" + strings.Repeat("ü.", 80) + "example", "a@\u2488com"},
		{"\u3000zoe\u0308", "ZO\u00eb\t"}, {"H\u0331", "\u1e96"}, {"K\u030c", "\u212a\u030c"}, {"a;", "a\u037e"}, {"`", "\u1fef"},
		{`"da..me."@b.c`, "da..me.@b.c"}, {`".a"@b.c`, "a@b.c"}, {"zoe\u0308@b.c", "zo\u00eb@B.c"}, {"x=\u0338@b.c", "x\u2260@b.c"},
	} {
		f.Add(pair[0], pair[1])
	}
	// Characters for private use stand for those that NFC must leave alone.
	away := strings.NewReplacer("\u212a", "\ue000", "\u037e", "\ue001", "\u1fef", "\ue002")
	back := strings.NewReplacer("\ue000", "\u212a", "\ue001", "\u037e", "\ue002", "\u1fef")
	fold := func(s string) string {
		s = norm.NFC.String(away.Replace(strings.TrimFunc(s, unicode.IsSpace)))
		return back.Replace(norm.NFC.String(strings.Map(func(r rune) rune {
			if 'A' <= r && r <= 'Z' {
				return r + 'a' - 'A'
			}
			return r
		}, s)))
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsAny(a+b, "\ue000\ue001\ue002") {
			return
		}
		nameA, errA := recovery.CanonicalUsername(a)
		nameB, errB := recovery.CanonicalUsername(b)
		if errA == nil && nameA != fold(a) {
			t.Fatalf("%q became %q", a, nameA)
		}
		if errA == nil && errB == nil && (nameA == nameB) != (fold(a) == fold(b)) {
			t.Fatalf("%q and %q became %q and %q", a, b, nameA, nameB)
		}
		for _, s := range []string{a, b} {
			address, err := recovery.CanonicalEmail(s)
			if err != nil {
				continue
			}
			local, domain, _ := strings.Cut(fold(s), "@")
			gotLocal, gotDomain, _ := strings.Cut(address, "@")
			if text := strings.TrimSuffix(strings.TrimPrefix(local, `"`), `"`); !strings.HasPrefix(text, ".") {
				local = text
			}
			if local != gotLocal || len(strings.Split(domain, ".")) != len(strings.Split(gotDomain, ".")) {
				t.Fatalf("%q became %q", s, address)
			}
			got := strings.Split(gotDomain, ".")
			for i, label := range strings.Split(domain, ".") {
				switch isASCII := !strings.ContainsFunc(label, func(r rune) bool { return r >= utf8.RuneSelf }); {
				case isASCII && label != got[i], !isASCII && !strings.HasPrefix(got[i], "xn--"):
					t.Fatalf("%q became %q", s, address)
				}
			}
			for _, again := range []string{strings.ToUpper(address[:len(local)]) + address[len(local):], " " + address + "\u3000 ", local + "@" + gotDomain} {
				if c, err := recovery.CanonicalEmail(again); fold(again) == fold(address) && (err != nil || c != address) {
					t.Fatalf("%q became %q, and %q became %q, %v", s, address, again, c, err)
				}
			}
			quoted := `"` + local + `"@` + gotDomain
			if c, err := recovery.CanonicalEmail(quoted); len(quoted) <= 254 && local[0] != '"' && (err != nil || c != address) {
				t.Fatalf("%q became %q, and %q became %q, %v", s, address, quoted, c, err)
			}
		}
	})
}

// An identifier with an invisible character and the one without are never the same, in a domain
// either.
func FuzzNothingInvisibleIsFolded(f *testing.F) {
	for i, s := range []string{
		"alice", "Alice@Example.com", "\u0645\u06cc\u062e", "x@\u0645\u06cc\u062e.example", "\u0915\u094d\u0937", "\u09b0\u09cd\u09af", "\u0dd9\u0dca\u200d\u0dbb",
		"\U0001f468\u200d\U0001f469", "\u2764\ufe0f", "7\ufe0f\u20e3", "\u8fbb\U000e0100", "x@\u8fbb.example", "\u182d\u180b", "x@\u182d\u1820.example", "x@xn--a\u00ad",
	} {
		for c := range 20 {
			f.Add(s, uint8(i), uint8(c))
		}
	}
	hidden := []rune("\x00\t\n\u0085\u00ad\u034f\u061c\u115f\u180b\u180e\u180f\u200b\u200c\u200d\u200e\u2028\u2060\u2064\u3164\ufe00\ufe0e\ufe0f\ufeff\uffa0\U000e0041\U000e0100")
	isHidden := func(r rune) bool {
		return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
	}
	f.Fuzz(func(t *testing.T, s string, at, which uint8) {
		s = strings.TrimSpace(s)
		i := min(int(at), len(s))
		for i > 0 && i < len(s) && !utf8.RuneStart(s[i]) {
			i--
		}
		without := strings.Map(func(r rune) rune {
			if isHidden(r) {
				return -1
			}
			return r
		}, s)
		for _, canonical := range []func(string) (string, error){recovery.CanonicalUsername, recovery.CanonicalEmail} {
			got, err := canonical(s)
			if err != nil {
				continue
			}
			for _, other := range []string{without, s[:i] + string(hidden[int(which)%len(hidden)]) + s[i:]} {
				if c, err := canonical(other); err == nil && c == got && strings.TrimSpace(other) != s {
					t.Fatalf("%q and %q are both %q", s, other, c)
				}
			}
			if strings.ContainsFunc(got, func(r rune) bool {
				return isHidden(r) && !unicode.Is(unicode.Join_Control, r) && !unicode.Is(unicode.Variation_Selector, r)
			}) {
				t.Fatalf("%q became %q", s, got)
			}
		}
	})
}

// A password that passes meets the documented rule; one that does not is told why, each reason once
// and in the order of the rules.
func FuzzPolicy(f *testing.F) {
	for _, s := range []string{goodPassword, "Ch0c0l@te-2026!", "P@ssw0rd-2026!", "Aa1!", "Zigzag-h0rse", "qUality-h0rzA", strings.Repeat("Aa1!", 16) + "x", strings.Repeat("Aa1!", 300), "Correct-h0rse\x00", "\xffCorrect-h0rse", "Corréct-h0rse", "CORRECT-H0RSE"} {
		f.Add(s, "alice@example.com")
	}
	f.Add("Liddell-h0rse", "liddell@example.com")
	f.Fuzz(func(t *testing.T, password, address string) {
		var order []string
		for _, rule := range (*recovery.Policy)(nil).Rules() {
			order = append(order, rule.Name)
		}
		reasons := func(p *recovery.Policy) (names []string) {
			err := p.Validate(password, address)
			if err == nil {
				return nil
			}
			e, ok := errors.AsType[*recovery.PasswordError](err)
			if !ok || len(e.Reasons) == 0 || !errors.Is(err, recovery.ErrInvalidPassword) {
				t.Fatalf("%q: %v", password, err)
			}
			for _, r := range e.Reasons {
				names = append(names, r.Name)
			}
			return names
		}
		got := reasons(nil)
		if again := slices.Compact(slices.Clone(got)); !slices.Equal(again, got) || !slices.IsSortedFunc(got, func(a, b string) int {
			return slices.Index(order, a) - slices.Index(order, b)
		}) {
			t.Fatalf("%q: %q", password, got)
		}
		if weaker := reasons(&recovery.Policy{AllowCommon: true, AllowOwnWords: true}); len(weaker) > len(got) {
			t.Fatalf("%q: %q, and by a weaker rule %q", password, got, weaker)
		}
		n := utf8.RuneCountInString(password)
		documented := utf8.ValidString(password) && n >= 10 && n <= 64 && len(password) <= 1024 && !strings.ContainsFunc(password, unicode.IsControl) &&
			strings.ContainsAny(password, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && strings.ContainsAny(password, "abcdefghijklmnopqrstuvwxyz") &&
			strings.ContainsAny(password, "0123456789") && strings.ContainsFunc(password, func(r rune) bool { return unicode.IsPunct(r) || unicode.IsSymbol(r) })
		blocked := slices.Contains(got, "common") || slices.Contains(got, "own_word")
		if (len(got) == 0) != (documented && !blocked) {
			t.Fatalf("%q: %q", password, got)
		}
		if len(password) <= 1024 && utf8.RuneCountInString(strings.TrimSpace(address)) >= 4 && strings.Contains(password, strings.TrimSpace(address)) && !slices.Contains(got, "own_word") {
			t.Fatalf("%q contains %q: %q", password, address, got)
		}
	})
}
