package catalogue

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/go-sql-driver/mysql"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// steps are what a template of testdata can do to a text; see doc.go. A step fails if its text
// cannot be decoded.
var steps = map[string]func(text string) (string, bool){
	"upper":    whole(strings.ToUpper),
	"lower":    whole(strings.ToLower),
	"capital":  whole(capital),
	"reverse":  whole(reversed),
	"percent":  whole(percent),
	"wide":     whole(func(s string) string { return shifted(s, '!', '~', 0xff01-'!') }),
	"sha256":   whole(func(s string) string { sum := sha256.Sum256([]byte(s)); return string(sum[:]) }),
	"fit":      whole(func(s string) string { return (s + strings.Repeat("\x00", 32))[:32] }),
	"fitright": whole(func(s string) string { s = strings.Repeat("\x00", 32) + s; return s[len(s)-32:] }),
	"nodash":   whole(func(s string) string { return strings.ReplaceAll(s, "-", "") }),

	"hex":       whole(func(s string) string { return hex.EncodeToString([]byte(s)) }),
	"base32":    whole(func(s string) string { return strings.ToLower(base32.StdEncoding.EncodeToString([]byte(s))) }),
	"base32hex": whole(func(s string) string { return strings.ToLower(base32.HexEncoding.EncodeToString([]byte(s))) }),
	"base64":    whole(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }),
	"base64url": whole(func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }),
	"nopad":     whole(func(s string) string { return strings.TrimRight(s, "=") }),

	"unhex": func(s string) (string, bool) {
		b, err := hex.DecodeString(s)
		return string(b), err == nil && len(b) > 0
	},
	"unbase32": func(s string) (string, bool) {
		b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.ToUpper(s))
		return string(b), err == nil && len(b) > 0
	},
	"unbase64": func(s string) (string, bool) {
		b, err := base64.RawStdEncoding.DecodeString(s)
		return string(b), err == nil && len(b) > 0
	},
}

func whole(f func(string) string) func(string) (string, bool) {
	return func(s string) (string, bool) { return f(s), true }
}

func reversed(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// capital has the first letter of s in capitals.
func capital(s string) string {
	i := strings.IndexFunc(s, unicode.IsLetter)
	if i < 0 {
		return s
	}
	return s[:i] + strings.ToUpper(s[i:i+1]) + s[i+1:]
}

func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

// shifted moves the characters from least to most by so much.
func shifted(s string, least, most, by rune) string {
	return strings.Map(func(r rune) rune {
		if r >= least && r <= most {
			return r + by
		}
		return r
	}, s)
}

// cut does the steps that have a number: "head:5" keeps the first five bytes, "tail:5" what follows
// them, "next:5" replaces the byte at 5 with the next one of the tokens' alphabet.
func cut(step, text string) (string, bool) {
	name, number, ok := strings.Cut(step, ":")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n >= len(text) {
		return "", false
	}
	switch name {
	case "head":
		return text[:n], true
	case "tail":
		return text[n:], true
	case "next":
		const alphabet = "abcdefghijklmnopqrstuvwxyz234567a"
		i := strings.IndexByte(alphabet, text[n])
		if i < 0 {
			return "", false
		}
		return text[:n] + alphabet[i+1:i+2] + text[n+1:], true
	}
	return "", false
}

var placeholder = regexp.MustCompile(`\{\|?[a-z0-9:|]*\}`)

// written is a template with text in its placeholders: "{}" is text itself, "{hex|upper}" text
// after these steps. It is false if a step cannot be done.
func written(template, text string) (result string, ok bool) {
	ok = true
	result = placeholder.ReplaceAllStringFunc(template, func(p string) string {
		value := text
		for _, step := range strings.FieldsFunc(strings.Trim(p, "{}"), func(r rune) bool { return r == '|' }) {
			do, known := steps[step]
			if !known {
				do = func(s string) (string, bool) { return cut(step, s) }
			}
			done := false
			if value, done = do(value); !done {
				ok = false
			}
		}
		return value
	})
	return result, ok
}

func TestTemplates(t *testing.T) {
	is := is.New(t)
	for template, want := range map[string]string{
		"{}": "abc", "<{}>": "<abc>", "{upper}{}": "ABCabc", "{head:2}": "ab", "{tail:1}": "bc", "{next:2}": "abd", "{reverse}": "cba", "{capital}": "Abc", "7{hex|unhex|capital}": "7Abc",
		"{hex}": "616263", "{hex|upper}": "616263", "{base64}": "YWJj", "{base32|nopad}": "mfrgg", "{percent}": "%61%62%63", "{wide}": "ａｂｃ",
		"{hex|unhex}": "abc", "{base32|nopad|unbase32}": "abc", "{fit|hex}": "616263" + strings.Repeat("00", 29), "null": "null",
	} {
		got, ok := written(template, "abc")
		is.True(ok)
		is.Equal(got, want)
	}
	for _, template := range []string{"{unhex}", "{head:3}", "{nonsense}"} {
		_, ok := written(template, "abc")
		is.True(!ok) // it must not pass for a vector
	}
}

// refused are the outcomes of a completion that came to nothing and did not fail.
func (a answer) refused() bool {
	return a.outcome == badToken || a.outcome == malformed || a.outcome == weak || a.outcome == mediaType || a.outcome == tooLarge
}

// meets checks an answer to a completion against what a vector wants.
func (s *site) meets(v vector, e *entry, got answer) {
	s.is.Helper()
	if v.Want == "refused" && got.refused() || v.Want == got.outcome {
		return
	}
	s.t.Errorf("%s, %s, %s: %q: %s, not %s", v.Row, v.What, e.name, clip(v.Value+v.Body), got.outcome, v.Want)
}

// is reports whether a vector is for the entry.
func (v vector) is(e *entry) bool { return v.Entry == "" || v.Entry == e.name }

// turn reports whether the i-th vector is for this entry. memstore gets every vector through every
// entry, a database gets each through one, because only the formats differ.
func (s *site) turn(e *entry, i int) bool {
	return s.db == nil || entryNames[i%len(entryNames)] == e.name
}

// throughEach runs a row on every store, through one entry after the other on the same site, and
// with codes instead of tokens.
func throughEach(t *testing.T, with func(*site, *recovery.Options), run func(s *site, e *entry)) {
	t.Helper()
	everywhere(t, with, func(s *site) {
		for _, name := range entryNames {
			run(s, s.entry(name))
		}
		run(s, s.byCode())
		s.is.True(!strings.Contains(s.events.String(), "TokenRefused tried_out ")) // or it would be for that
	})
}

// life is how long what the entry completes with is valid.
func (e *entry) life() time.Duration {
	if e.name == "code" {
		return 15 * time.Minute
	}
	return 16 * time.Hour
}

// lives checks that the token is good, by using it.
func (s *site) lives(e *entry, id, token string) {
	s.is.Helper()
	defer s.attacks.Store(s.attacks.Load())                      // this is no attack
	s.is.Equal(e.complete(token, newPassword).outcome, accepted) // the token must work
	s.is.True(s.verifies(id, newPassword))
}

// dies checks that a dead token gets the answer of a token that never existed.
func (s *site) dies(e *entry, token string) {
	s.is.Helper()
	got, never := e.complete(token, newPassword), e.complete(noToken, newPassword)
	s.is.Equal(got.outcome, badToken)
	s.is.Equal(got, never) // the answer must tell nothing
}

// billybob is the account that most rows use.
var billybob = eligible("3", "billybob", "billybob@example.com")

// again restores the account with the old password, and returns a new token for it.
func (s *site) again(a recovery.Account) string {
	s.is.Helper()
	s.put(a)
	s.deliver() // what is left of the last time
	return s.token(a.Username)
}

// Sessions of a database that are in an odd time zone.
var oddSessions = []kind{
	{"PostgreSQL in Chatham time", inSession(databases.Server{Dialect: sqlstore.PostgreSQL, Place: func(t testing.TB) databases.Place {
		return databases.NewPostgres(t, "pgx", map[string]string{"TimeZone": "Pacific/Chatham"})
	}})},
	{"MariaDB in Chatham time", inSession(databases.Server{Dialect: sqlstore.MySQL, Place: func(t testing.TB) databases.Place {
		return databases.NewMySQL(t, func(c *mysql.Config) { c.Params["time_zone"] = "'+12:45'" })
	}})},
}

func inSession(server databases.Server) func(t *testing.T) ground {
	return func(t *testing.T) ground {
		store, db := databases.Open(t, server)
		return ground{databases.HarnessOn(server.Dialect, store, db), db, server.Dialect}
	}
}

// digest is what the Store has of a token.
func digest(t *testing.T, token string) recovery.Digest {
	t.Helper()
	parsed, err := recovery.ParseToken(token)
	is.New(t).NoErr(err)
	return parsed.Digest()
}

// values returns every value of every table of the site's database, or of memstore's dump, as
// bytes.
func (s *site) values() (all []string) {
	s.is.Helper()
	seen := map[string]bool{}
	add := func(v string) {
		if v != "" && !seen[v] {
			seen[v] = true
			all = append(all, v)
		}
	}
	if s.db == nil {
		dump, err := s.Dump()
		s.is.NoErr(err)
		for _, field := range strings.Fields(dump) {
			add(field)
		}
		for id := range s.hashes {
			hash, err := s.PasswordHash(id)
			s.is.NoErr(err)
			add(hash)
		}
		return all
	}
	tables := databases.Tables(s.t, s.db, s.dialect)
	s.is.True(len(tables) >= 4) // the application's and three of the store
	for _, table := range tables {
		_, rows, err := databases.Rows(s.db, "SELECT * FROM "+table)
		s.is.NoErr(err)
		for _, v := range slices.Concat(rows...) {
			add(v.String)
		}
	}
	return all
}
