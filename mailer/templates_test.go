package mailer_test

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer"
)

func TestOneFileIsReplacedAndTheOthersStay(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, &mailer.Options{Templates: fstest.MapFS{
		"en/reset_token.txt":         file("Dear {{range .Resets}}{{.Username}}, {{.Token}}{{.Code}}{{end}}!{{range .SignIns}}{{.Username}} {{.Provider}}{{end}}\r\n"),
		"ja/usernames.subject.txt":   file("\ufeff{{.Application}}\n  さんから\n"),
		".git/config":                file("ignored"),
		".DS_Store":                  file("ignored"),
		"en/.reset_token.txt.swp":    file("ignored"),
		"en/reset_token.subject.txt": file("Token{{.Username}}{{.Token}}{{.Link}}{{.Code}}{{range .Usernames}}x{{end}}{{.MoreNames}}{{range .Resets}}x{{end}}{{.MoreResets}}{{range .SignIns}}x{{end}}{{.MoreSignIns}}"),
	}})
	plain := newRenderer(t, nil)

	m := spy.Message(recovery.MessageResetToken)
	is.Equal(render(t, r, m).Text, "Dear billybob, "+spy.TokenText+"!\n") // the new one, with LF
	is.Equal(render(t, r, m).Subject, "Token000")                         // a subject gets no secret
	html := strings.Replace(render(t, plain, m).HTML, "Your Example password reset token", "Token000", 1)
	is.Equal(render(t, r, m).HTML, html) // the built-in one
	m.Locale = "ja"
	is.Equal(render(t, r, m), render(t, plain, m)) // the other language stays

	m = spy.Message(recovery.MessageUsernames)
	m.Locale = "ja"
	is.Equal(render(t, r, m).Subject, "Example さんから")        // one line, no byte order mark
	is.Equal(render(t, r, m).Text, render(t, plain, m).Text) // the built-in one
}

func TestLayoutPiecesAndWordsCanBeReplaced(t *testing.T) {
	is := is.New(t)
	layout, pieces := builtIn(t, "layout.html"), builtIn(t, "pieces.html")
	words := builtIn(t, "en/words.txt")
	words = strings.Replace(words, `"2 January 2006, 15:04 MST"`, `"Jan 2, 2006 3:04 PM MST"`, 1)
	r := newRenderer(t, &mailer.Options{Templates: fstest.MapFS{
		"layout.html":  file(strings.Replace(layout, "<body ", `<body class="brand" `, 1)),
		"pieces.html":  file(strings.ReplaceAll(pieces, "#8c8c8c", "#c026d3")),
		"en/words.txt": file(words),
	}})
	m := spy.Message(recovery.MessageResetToken)
	mail := render(t, r, m)
	is.True(strings.Contains(mail.HTML, `<body class="brand" `))                // the new frame
	is.True(strings.Contains(mail.HTML, "border:1px solid #c026d3"))            // the new pieces
	is.True(strings.Contains(mail.HTML, "Nov 21, 2026 6:30 PM UTC (16 hours)")) // the new date
	is.True(strings.Contains(mail.Text, "Nov 21, 2026 6:30 PM UTC (16 hours)")) // the new date
	m.Locale = "ja"
	mail = render(t, r, m)
	is.True(strings.Contains(mail.HTML, `<body class="brand" `)) // one frame for all languages
	is.True(strings.Contains(mail.HTML, "2026年11月21日"))          // the words are a language's own
}

func TestADirectoryAddsALocale(t *testing.T) {
	is := is.New(t)
	templates := fstest.MapFS{}
	for name, f := range localeFiles(t, "en") {
		templates["ar/"+name] = f
		templates["pt-BR/"+name] = f
	}
	r := newRenderer(t, &mailer.Options{Templates: templates})
	is.Equal(r.Locales(), []string{"en", "ar", "ja", "pt-BR"}) // those that there are, English first
	m := spy.Message(recovery.MessageResetToken)
	m.Locale = "ar-EG"
	mail := render(t, r, m)
	is.Equal(mail.Locale, "ar")                                        // the new language
	is.True(strings.Contains(mail.HTML, `<html lang="ar" dir="rtl">`)) // with its direction
	m.Locale = "pt"
	is.Equal(render(t, r, m).Locale, "pt-BR") // the nearest
	for _, m.Locale = range []string{"", "fr", "fi", "not a tag"} {
		is.Equal(render(t, r, m).Locale, "en") // English stays the fallback
	}
}

func TestFaultyTemplatesAreReported(t *testing.T) {
	for _, test := range []struct {
		name      string
		templates fs.FS
		want      []string
	}{
		{"syntax", fstest.MapFS{
			"en/reset_token.txt": file("{{.Token"), "ja/reset_link.html": file("{{end}}"),
		}, []string{"mailer: en/reset_token.txt: ", "mailer: ja/reset_link.html: "}},
		{"syntax of the words", fstest.MapFS{"en/words.txt": file("{{define}}")},
			[]string{"mailer: en/words.txt: "}},
		{"syntax of the layout", fstest.MapFS{"layout.html": file("{{if}}")},
			[]string{"mailer: layout.html: "}},
		{"syntax of the pieces", fstest.MapFS{"pieces.html": file("{{define}}")},
			[]string{"mailer: pieces.html: "}},
		{"pieces without a definition", fstest.MapFS{"pieces.html": file("")},
			[]string{"mailer: en/reset_token.html: ", "mailer: ja/reset_link.html: "}},
		{"unknown field", fstest.MapFS{"ja/usernames.txt": file("{{.Password}}")},
			[]string{"mailer: ja/usernames.txt: ", "Password"}},
		{"unknown field in a branch that bare messages take", fstest.MapFS{
			"en/password_changed.html": file("{{if not .Username}}{{.Nobody}}{{end}}x")},
			[]string{"mailer: en/password_changed.html: ", "Nobody"}},
		{"unknown field in a subject", fstest.MapFS{"en/usernames.subject.txt": file("{{.Nobody}}")},
			[]string{"mailer: en/usernames.subject.txt: ", "Nobody"}},
		{"two templates of one name", fstest.MapFS{"en/words.txt": file(`{{define "date"}}a{{end}}{{define "date"}}b{{end}}`)},
			[]string{"mailer: en/words.txt: "}},
		{"words without a definition", fstest.MapFS{"en/words.txt": file("")},
			[]string{"mailer: en/reset_token.txt: ", "mailer: en/usernames.html: "}},
		{"HTML that cannot be escaped", fstest.MapFS{"en/reset_link.html": file(`<a href="{{if .Link}}{{.Link}}">`)},
			[]string{"mailer: en/reset_link.html: "}},
		{"HTML that ends in an attribute", fstest.MapFS{"en/reset_link.html": file(`<a href="{{.Link}}`)},
			[]string{"mailer: en/reset_link.html: "}},
		{"empty parts", fstest.MapFS{
			"en/password_changed.txt": file(" \n"), "en/password_changed.subject.txt": file(""), "layout.html": file(""),
		}, []string{
			"mailer: en/password_changed.txt: renders nothing", "mailer: en/password_changed.subject.txt: renders nothing",
			"mailer: ja/password_changed.html: renders nothing",
		}},
		{"what the mail is for is missing", fstest.MapFS{
			"en/reset_token.txt": file("Hello"), "en/reset_link.html": file("Hello"), "en/usernames.txt": file("{{.Username}}"),
		}, []string{
			"mailer: en/reset_token.txt: does not show .Token", "mailer: en/reset_link.html: does not show .Link",
			"mailer: en/usernames.txt: does not show .Usernames",
		}},
		{"several accounts are forgotten", fstest.MapFS{
			"en/reset_token.txt": file("It is {{.Token}}"), "en/reset_link.txt": file("Open {{.Link}}"),
			"ja/reset_token.txt": file("{{range .Resets}}{{.Token}}{{end}}"), "ja/reset_link.html": file("{{range .Resets}}{{.Link}}{{end}}"),
		}, []string{
			"mailer: en/reset_token.txt: does not show .Token of each of .Resets",
			"mailer: en/reset_link.txt: does not show .Link of each of .Resets",
			"mailer: ja/reset_token.txt: does not show .Username of each of .Resets",
			"mailer: ja/reset_link.html: does not show .Username of each of .Resets",
		}},
		{"codes are forgotten", fstest.MapFS{
			"en/reset_token.txt": file("{{range .Resets}}{{.Username}} {{.Token}}{{end}}"),
			"en/reset_link.html": file("{{if .Code}}{{.Code}}{{end}}{{range .Resets}}{{.Username}} {{.Link}}{{end}}"),
		}, []string{
			"mailer: en/reset_token.txt: does not show .Code",
			"mailer: en/reset_link.html: does not show .Code of each of .Resets",
		}},
		{"sign-ins are forgotten", fstest.MapFS{
			"en/sign_in.txt": file("Log in elsewhere"), "ja/sign_in.html": file("{{range .SignIns}}{{.Provider}}{{end}}"),
			"en/usernames.html":  file("{{range .Usernames}}{{.}} {{end}}"),
			"ja/reset_token.txt": file("{{range .Resets}}{{.Username}} {{.Token}} {{.Code}}{{end}}{{range .SignIns}}{{.Username}}{{end}}"),
		}, []string{
			"mailer: en/sign_in.txt: does not show .Username of each of .SignIns",
			"mailer: ja/sign_in.html: does not show .Username of each of .SignIns",
			"mailer: en/usernames.html: does not show .Username of each of .SignIns",
			"mailer: ja/reset_token.txt: does not show .Provider of each of .SignIns",
		}},
		{"a username that is escaped twice", fstest.MapFS{
			"en/usernames.html": file(`{{range .Usernames}}{{printf "%s" .}} {{end}}{{range .SignIns}}{{.Username}} {{.Provider}}{{end}}`),
		}, []string{"mailer: en/usernames.html: does not show .Usernames"}},
		{"unknown files", fstest.MapFS{
			"en/reset-token.txt": file(""), "README.md": file(""), "en/old/reset_token.txt": file(""),
		}, []string{
			"mailer: en/reset-token.txt: unknown file; allowed here are words.txt, reset_token.subject.txt, reset_token.txt, ",
			"mailer: README.md: unknown file; allowed here are layout.html, pieces.html and a directory for each locale",
			"mailer: en/old: unknown directory; allowed here are the files words.txt, ",
		}},
		{"names that are no locale", fstest.MapFS{"english/words.txt": file(""), "pt_br/words.txt": file("")}, []string{
			"mailer: english: a directory must be named by a BCP 47 tag",
			`mailer: pt_br: the directory must be named "pt-BR"`,
		}},
		{"an incomplete locale", fstest.MapFS{"fr/words.txt": file(""), "fr/usernames.txt": file("")}, []string{
			`mailer: locale "fr" has no fr/reset_token.subject.txt, fr/reset_token.txt, fr/reset_token.html, fr/reset_link`,
			"fr/usernames.subject.txt, fr/usernames.html",
		}},
		{"an empty locale", fstest.MapFS{"fr": &fstest.MapFile{Mode: fs.ModeDir}}, []string{
			`mailer: locale "fr" has no fr/words.txt, `,
		}},
		{"not UTF-8", fstest.MapFS{"en/usernames.txt": file("\xff")}, []string{"mailer: en/usernames.txt: must be UTF-8"}},
		{"unreadable files", brokenFS{fstest.MapFS{"en/usernames.txt": file("")}}, []string{"mailer: en/usernames.txt: ", "disk"}},
		{"an unreadable directory", os.DirFS(path.Join(t.TempDir(), "none")), []string{"mailer: .: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			r, err := mailer.New(&mailer.Options{Templates: test.templates})
			is.True(err != nil) // refused
			is.True(r == nil)   // whole
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not contain %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestEveryFaultIsInOneError(t *testing.T) {
	is := is.New(t)
	_, err := mailer.New(&mailer.Options{
		SupportURL: "ftp://example.com",
		Templates: fstest.MapFS{
			"en/usernames.txt": file("{{.Nobody}}"), "ja/usernames.txt": file("{{"), "x.txt": file(""),
		},
	})
	is.True(err != nil) // refused
	for _, want := range []string{"SupportURL", "en/usernames.txt", "ja/usernames.txt", "x.txt"} {
		is.True(strings.Contains(err.Error(), want)) // all in one error
	}
	is.Equal(strings.Count(err.Error(), "ja/usernames.txt: "), 1) // but each once
}

func TestATemplateThatFailsLaterShowsNoInput(t *testing.T) {
	is := is.New(t)
	for _, p := range []string{"en/reset_token.subject.txt", "en/reset_token.txt", "en/reset_token.html"} {
		r := newRenderer(t, &mailer.Options{Templates: fstest.MapFS{
			// Fails for an application's name that New has not tried.
			p: file(`{{range .Resets}}{{.Username}} {{.Token}} {{.Code}}{{end}}{{range .SignIns}}{{.Username}} {{.Provider}}{{end}}{{if eq .Application "Odd"}}{{slice .Application 9}}{{end}}x`),
		}})
		m := spy.Message(recovery.MessageResetToken)
		_, err := r.Render(m)
		is.NoErr(err) // a name that does not fail
		m.Application = "Odd"
		mail, err := r.Render(m)
		is.True(errors.Is(err, recovery.ErrPermanent))          // pointless to try again
		is.True(strings.Contains(err.Error(), p))               // names the file
		is.True(!strings.Contains(err.Error(), "out of range")) // without the template's own words
		is.Equal(mail.Text, "")                                 // no half mail
	}
}

func TestOwnTemplatesShowNamesSafely(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, &mailer.Options{Templates: fstest.MapFS{
		"en/password_changed.txt":  file(`Dear {{.Username}}!`),
		"en/password_changed.html": file(`<p title="{{.Username}}">Dear {{.Username}}!</p>`),
		"layout.html":              file(`{{template "content" .}}`),
	}})
	m := spy.Message(recovery.MessagePasswordChanged)
	m.Usernames = []string{`evil.com "x"`}
	mail := render(t, r, m)
	is.Equal(mail.Text, "Dear evil[.]com \"x\"!\n")                                                            // no link
	is.Equal(mail.HTML, `<p title="evil.com &#34;x&#34;">Dear <bdi>evil<wbr>.com &#34;x&#34;</bdi>!</p>`+"\n") // the name, and no link
	m.Usernames = nil
	mail = render(t, r, m)
	is.Equal(mail.Text+mail.HTML, "Dear !\n<p title=\"\">Dear !</p>\n") // no name
}

func TestTenantsCanHaveWordsOfTheirOwn(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, &mailer.Options{Templates: fstest.MapFS{
		"en/password_changed.subject.txt": file(`{{if eq .Tenant "acme"}}Acme{{else}}{{.Tenant}}x{{end}}`),
		"en/password_changed.txt":         file(`{{.Tenant}}!`),
	}})
	m := spy.Message(recovery.MessagePasswordChanged)
	mail := render(t, r, m)
	is.Equal(mail.Subject, "Acme") // by its key
	is.Equal(mail.Text, "acme!\n") // which is there
	m.Tenant = "a\r\nb"
	is.Equal(render(t, r, m).Subject, "a\ufffd\ufffdbx") // in one line
}

func TestDataCannotBePrinted(t *testing.T) {
	is := is.New(t)
	r := newRenderer(t, &mailer.Options{Templates: fstest.MapFS{
		"en/password_changed.txt":  file(`{{.}} {{printf "%+v" .}}`),
		"en/password_changed.html": file(`{{.}} <script>var x = {{.}}</script>`),
	}})
	mail := render(t, r, spy.Message(recovery.MessagePasswordChanged))
	is.Equal(mail.Text, "[redacted] [redacted]\n")    // as a whole
	is.True(!strings.Contains(mail.HTML, "billybob")) // in no context
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), Mode: 0o644} }

func builtIn(t *testing.T, name string) string {
	is := is.New(t)
	is.Helper()
	text, err := os.ReadFile(path.Join("templates", name))
	is.NoErr(err) // the built-in template is there
	return string(text)
}

func localeFiles(t *testing.T, locale string) fstest.MapFS {
	is := is.New(t)
	is.Helper()
	files := fstest.MapFS{}
	entries, err := os.ReadDir(path.Join("templates", locale))
	is.NoErr(err) // the locale is there
	for _, entry := range entries {
		files[entry.Name()] = file(builtIn(t, path.Join(locale, entry.Name())))
	}
	return files
}

// A brokenFS lists its files but cannot read them.
type brokenFS struct{ fstest.MapFS }

func (b brokenFS) ReadFile(string) ([]byte, error) { return nil, errors.New("disk on fire") }
