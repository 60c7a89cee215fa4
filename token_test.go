package recovery_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

func TestParseToken(t *testing.T) {
	is := is.New(t)
	token, err := recovery.ParseToken(tokenText)
	is.NoErr(err)
	is.Equal(token.Reveal(), tokenText)
	is.True(!token.IsZero())
	for _, space := range []string{" ", "\n", "\r\n", "\t", "  \r\n\t"} {
		trimmed, err := recovery.ParseToken(space + tokenText + space)
		is.NoErr(err) // ASCII white space around a token is dropped
		is.Equal(trimmed.Digest(), token.Digest())
	}
}

func TestParseTokenRefuses(t *testing.T) {
	changed := func(i int, c string) string { return tokenText[:i] + c + tokenText[i+1:] }
	for name, text := range map[string]string{
		"empty":             "",
		"white space":       " \t\r\n",
		"null":              "null",
		"truncated":         tokenText[:51],
		"one more":          tokenText + "a",
		"padded":            tokenText + "====",
		"upper case":        strings.ToUpper(tokenText),
		"one upper case":    changed(3, "D"),
		"foreign digit":     changed(3, "1"),
		"trailing bits":     changed(51, "b"), // decodes to the same 32 bytes
		"space within":      tokenText[:20] + " " + tokenText[20:],
		"newline within":    tokenText[:20] + "\n" + tokenText[20:],
		"newline instead":   changed(20, "\n"),
		"no-break space":    tokenText + "\u00a0",
		"zero-width space":  tokenText + "\u200b",
		"NUL":               tokenText + "\x00",
		"vertical tab":      "\v" + tokenText,
		"percent encoded":   "%61" + tokenText[1:],
		"full width":        "ａ" + tokenText[1:],
		"base64":            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
		"the digest":        "6d7f1b1a9c1e2d3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f",
		"megabyte":          strings.Repeat("a", 1<<20),
		"invalid UTF-8":     changed(3, "\xff"),
		"two tokens":        tokenText + "," + tokenText,
		"quoted":            `"` + tokenText + `"`,
		"fragment":          "#token=" + tokenText,
		"carriage in front": "\r\n" + tokenText[:51],
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			token, err := recovery.ParseToken(text)
			is.True(errors.Is(err, recovery.ErrInvalidToken)) // must be refused
			is.True(token.IsZero())
		})
	}
}

func TestZeroToken(t *testing.T) {
	is := is.New(t)
	var zero recovery.Token
	is.True(zero.IsZero())
	is.Equal(zero.Reveal(), "")
	is.Equal(zero.Digest(), recovery.Digest{})
}

func TestTokensDiffer(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	seen := map[string]bool{}
	for i := range 1000 { // of so many networks: none supersedes another
		w.from(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String(), "alice")
	}
	mails := w.deliver()
	is.Equal(len(mails), 1000)
	for _, m := range mails {
		seen[tokenOf(m)] = true
		again, err := recovery.ParseToken(tokenOf(m))
		is.NoErr(err)
		is.Equal(again.Digest(), m.Resets[0].Token.Digest())
	}
	is.Equal(len(seen), len(mails)) // no token may come twice
}

// People paste the token as their mail program shows it, or the whole link as a filter rewrote it.
func TestTokensAsTheyArePasted(t *testing.T) {
	w := newWorld(t, nil)
	token := w.token("alice")
	const link = "https://portal.example/recover/reset#token="
	check := func(text string) error {
		return errOf(w.CheckReset(w.ctx, recovery.CompleteRequest{Token: strings.NewReplacer("TOKEN", token, "TO-", token[:26], "-KEN", token[26:]).Replace(text)}))
	}
	for _, text := range []string{
		"TOKEN", " \t\r\nTOKEN\r\n\t ", "TOKEN\u00a0", "\u3000TOKEN\u3000", "\u200bTOKEN", "\ufeffTOKEN\u2028", "<TOKEN>", " < TOKEN > ",
		"TO--KEN", "TO- \r\n-KEN", link + "TO-\r\n-KEN",
		link + "TOKEN", "<" + link + "TOKEN>", "\u200b<" + link + "TOKEN\u00a0>\u3000", link + tokenText + " " + link + "TOKEN", "Reset: " + link + "TOKEN.", link + " TOKEN",
		"https://portal.example/recover/reset%23token%3DTOKEN",
		"https://eur01.safelinks.protection.outlook.com/?url=https%3A%2F%2Fportal.example%2Frecover%2Freset%23token%3DTOKEN&data=05%7C02%7C&sdata=abc%3D&reserved=0",
		"https://www.google.com/url?q=https://portal.example/recover/reset%2523token%253DTOKEN&source=gmail&ust=1",
		"https://urldefense.proofpoint.com/v2/url?u=https-3A__portal.example_recover_reset-23token-3DTOKEN&d=DwMFaQ&c=x",
		"https://urldefense.com/v3/__https://portal.example/recover/reset*token=TOKEN__;Iw!!abc$",
	} {
		t.Run(text, func(t *testing.T) { is.New(t).NoErr(check(text)) })
	}
	for _, text := range []string{
		"<TOKEN", "TOKEN>", "<<TOKEN>>", "\"TOKEN\"", "<>", "TO-\u00ad-KEN", "TOKENTOKEN", "token=TOKEN", "https://portal.example/recover/reset?token=TOKEN", link + "TOKENa", link + "aTOKEN", "TO-", link, link + "TOKEN#token=" + tokenText,
	} {
		t.Run(text, func(t *testing.T) { is.New(t).Equal(check(text), recovery.ErrInvalidToken) })
	}
}
