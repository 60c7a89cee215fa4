package catalogue

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

// sound ends every row. It checks that no password changed except those of the named accounts, and
// that nothing stored, answered or logged holds a part of a token or a password.
func (s *site) sound(changed ...string) {
	s.is.Helper()
	s.judged = s.attacks.Load()
	stored := s.stored()
	for id, want := range s.hashes {
		if !slices.Contains(changed, id) && stored[id] != want {
			s.t.Errorf("the password of %s is not the old one", id)
		}
	}
	s.flush()
	dump, err := s.Dump()
	s.is.NoErr(err)
	leak := finder(s.secrets)
	for place, text := range map[string]string{
		"the log": s.log.String(), "the hooks": s.events.String(), "the answers": s.seen.String(), "the tables": dump,
	} {
		if part := leak(text); part != "" {
			s.t.Errorf("%s: %q of a secret", place, part)
		}
	}
}

const window = 8 // bytes of a secret that may not be seen

// finder returns a function that returns the first part of a secret that a text holds, in any of
// the usual forms.
func finder(secrets []string) func(text string) string {
	long := map[string][]string{} // parts by how they begin
	var begins [1 << 16]bool      // the first two bytes of these, which most of a text are not
	var short []string
	for _, secret := range secrets {
		for _, part := range parts(secret) {
			if len(part) < window {
				short = append(short, part)
				continue
			}
			long[part[:window]] = append(long[part[:window]], part)
			begins[int(part[0])<<8|int(part[1])] = true
		}
	}
	return func(text string) string {
		for _, part := range short {
			if strings.Contains(text, part) {
				return part
			}
		}
		for i := 0; i+window <= len(text); i++ {
			if !begins[int(text[i])<<8|int(text[i+1])] {
				continue
			}
			for _, part := range long[text[i:i+window]] {
				if strings.HasPrefix(text[i:], part) {
					return part
				}
			}
		}
		return ""
	}
}

func leak(text string, secrets []string) string { return finder(secrets)(text) }

// parts are all runs of eight bytes of a secret, as they are and encoded; of a token those of its
// raw bytes too. A short secret is one part.
func parts(secret string) (all []string) {
	raws := [][]byte{[]byte(secret)}
	if _, err := recovery.ParseToken(secret); err == nil {
		raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(secret))
		if err != nil {
			panic(err)
		}
		raws = append(raws, raw)
	}
	for _, raw := range raws {
		for i := 0; i+window <= max(len(raw), window); i++ {
			b := raw[i:min(i+window, len(raw))]
			all = append(all, string(b), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)))
			if len(b) < window {
				continue
			}
			for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				all = append(all, e.EncodeToString(b[:6])) // what is sure to be aligned in eight bytes
			}
		}
	}
	return all
}

func TestLeaksAreFound(t *testing.T) {
	is := is.New(t)
	site := newSite(t, onMemory(), nil)
	token := site.token("billybob")
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(token))
	is.NoErr(err)
	for name, text := range map[string]string{
		"text": token, "part": "x" + token[20:28] + "x", "bytes": string(raw), "part of the bytes": string(raw[24:]),
		"hex": hex.EncodeToString(raw), "HEX": fmt.Sprintf("%X", raw), "base64": base64.StdEncoding.EncodeToString(raw), "URL": base64.RawURLEncoding.EncodeToString(raw),
		"base64 of the text": base64.StdEncoding.EncodeToString([]byte("token=" + token)), "hex of the text": hex.EncodeToString([]byte(token)),
	} {
		if leak("before "+text+" after", []string{token}) == "" {
			t.Errorf("%s: not found", name)
		}
	}
	is.Equal(leak("nothing of "+token[:7]+" "+token[8:15], []string{token}), "")
	is.Equal(leak("pass", []string{"pass"}), "pass") // a short one
	site.sound()
}
