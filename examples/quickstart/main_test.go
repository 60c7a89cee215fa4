package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestQuickstart(t *testing.T) {
	is := is.New(t)
	r, w, err := os.Pipe()
	is.NoErr(err)
	stdout := os.Stdout
	os.Stdout = w
	main()
	os.Stdout = stdout
	is.NoErr(w.Close())
	out, err := io.ReadAll(r)
	is.NoErr(err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	is.Equal(len(lines), 3)
	is.True(strings.HasPrefix(lines[0], "alice@example.com: a token, valid until "))
	is.Equal(lines[1], "alice@example.com: password_changed")
	is.Equal(lines[2], "log-in with the new password: true")
}

// The README shows this program, word for word.
func TestReadmeShowsThisProgram(t *testing.T) {
	is := is.New(t)
	readme, err := os.ReadFile("../../README.md")
	is.NoErr(err)
	source, err := os.ReadFile("main.go")
	is.NoErr(err)
	_, program, _ := strings.Cut(string(source), "package main\n")
	is.True(strings.Contains(string(readme), "```go\npackage main\n"+program+"```\n"))
}
