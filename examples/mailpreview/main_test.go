package main

import (
	"bytes"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// mailpreview runs the program and returns the path of the page that it names.
func mailpreview(t *testing.T, args ...string) string {
	is := is.New(t)
	is.Helper()
	var stdout bytes.Buffer
	is.NoErr(run(args, &stdout, io.Discard)) // the program succeeds
	address, ok := strings.CutPrefix(strings.TrimSpace(stdout.String()), "open ")
	is.True(ok) // says what to open
	u, err := url.Parse(address)
	is.NoErr(err)
	is.Equal(u.Scheme, "file") // in a browser
	return filepath.FromSlash(u.Path)
}

func TestEveryKindIsThereInEveryLanguage(t *testing.T) {
	is := is.New(t)
	dir := filepath.Join(t.TempDir(), "new", "folder with a space")
	index := mailpreview(t, "-out", dir)
	is.Equal(index, filepath.Join(dir, "index.html")) // where it was told

	want := []string{"index.html"}
	for _, locale := range []string{"en", "ja"} {
		for _, kind := range []string{
			"reset_token", "reset_token.several", "reset_token.code", "reset_token.several.code",
			"reset_link", "reset_link.several", "reset_link.code", "reset_link.several.code",
			"password_changed", "usernames", "usernames.sign_ins", "sign_in", "sign_in.several",
		} {
			want = append(want, locale+"."+kind+".html", locale+"."+kind+".txt")
		}
	}
	slices.Sort(want)
	is.Equal(files(t, dir), want) // each mail as HTML and as text

	is.True(strings.Contains(read(t, dir, "en.reset_link.html"), "Choose a new password"))     // HTML
	is.True(strings.HasPrefix(read(t, dir, "ja.usernames.txt"), "To: billybob@example.com\n")) // text
}

func TestThePageRefersToWhatIsThere(t *testing.T) {
	is := is.New(t)
	index := mailpreview(t, "-out", t.TempDir())
	dir := filepath.Dir(index)
	var frames, ids, anchors, targets []string
	for _, a := range regexp.MustCompile(` (id|href|src)="([^"]*)"`).FindAllStringSubmatch(read(t, dir, "index.html"), -1) {
		switch name, value := a[1], a[2]; {
		case name == "id":
			ids = append(ids, value)
		case name == "src":
			frames = append(frames, value)
		case strings.HasPrefix(value, "#"):
			anchors = append(anchors, value[1:])
		default:
			targets = append(targets, value)
		}
	}
	is.Equal(len(targets), 52) // 26 mails, each as HTML and as text
	is.Equal(len(frames), 52)  // 26 mails, each on a phone and on a desktop
	is.Equal(anchors, ids)     // the list of contents
	for _, name := range slices.Concat(targets, frames) {
		is.Equal(filepath.Base(name), name) // next to the page
		read(t, dir, name)                  // and there
	}
}

func TestOwnTemplatesAreShown(t *testing.T) {
	is := is.New(t)
	templates := t.TempDir()
	is.NoErr(os.Mkdir(filepath.Join(templates, "en"), 0o755))
	is.NoErr(os.WriteFile(filepath.Join(templates, "en", "usernames.subject.txt"), []byte("Who you are"), 0o644))
	dir := filepath.Dir(mailpreview(t, "-out", t.TempDir(), "-templates", templates,
		"-application", "Acme & Co", "-support", "mailto:help@acme.example"))
	is.True(strings.Contains(read(t, dir, "en.usernames.txt"), "Subject: Who you are\n"))         // the own one
	is.True(strings.Contains(read(t, dir, "en.reset_link.txt"), "Reset your Acme & Co password")) // the built-in ones
	is.True(strings.HasSuffix(read(t, dir, "en.reset_link.txt"), "Help: help@acme.example\n"))    // with the address
	is.True(strings.Contains(read(t, dir, "index.html"), "Who you are"))                          // on the page
	is.True(strings.Contains(read(t, dir, "index.html"), "Acme &amp; Co"))                        // escaped
}

func TestFaultsAreReported(t *testing.T) {
	templates := t.TempDir()
	file := filepath.Join(templates, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"a template":         {[]string{"-out", t.TempDir(), "-templates", templates}, "mailer: file: unknown file"},
		"no templates":       {[]string{"-out", t.TempDir(), "-templates", filepath.Join(templates, "none")}, "-templates must be a folder"},
		"a support URL":      {[]string{"-out", t.TempDir(), "-support", "x"}, "Options.SupportURL"},
		"an argument":        {[]string{"en"}, `unexpected argument "en"`},
		"an unknown flag":    {[]string{"-to", "me"}, "flag provided but not defined"},
		"a folder of a file": {[]string{"-out", filepath.Join(file, "sub")}, "file"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			var stdout bytes.Buffer
			err := run(test.args, &stdout, io.Discard)
			is.True(err != nil)                               // refused
			is.True(strings.Contains(err.Error(), test.want)) // with the reason
			is.Equal(stdout.String(), "")                     // nothing to open
		})
	}
}

func TestWithoutAFolderATemporaryOneIsMade(t *testing.T) {
	is := is.New(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp) // on Windows
	index := mailpreview(t)
	is.Equal(filepath.Dir(filepath.Dir(index)), temp) // below the folder for temporary files
	is.Equal(len(files(t, filepath.Dir(index))), 53)  // whole
}

func files(t *testing.T, dir string) (names []string) {
	is := is.New(t)
	is.Helper()
	entries, err := os.ReadDir(dir)
	is.NoErr(err) // the folder is there
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func read(t *testing.T, dir, name string) string {
	is := is.New(t)
	is.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	is.NoErr(err) // the file is there
	is.True(len(text) > 0)
	return string(text)
}
