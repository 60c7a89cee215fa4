package storetest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// A mutant is memstore with one bug, built from its source at test time. The case that is meant for
// the bug must fail, and must pass without the bug.
type mutant struct {
	name     string
	caughtBy string // group/case
	old, new string // old occurs once in the source
}

func TestMutants(t *testing.T) {
	is := is.New(t)
	goTool, err := exec.LookPath("go")
	is.NoErr(err) // the go command builds the mutants
	dir, err := filepath.Abs("../memstore")
	is.NoErr(err)
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	is.NoErr(err)
	source := map[string]string{} // by path
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		is.NoErr(err)
		source[path] = string(text)
	}

	test := func(t *testing.T, path, text, name string) (string, error) {
		is := is.New(t)
		is.Helper()
		temp := t.TempDir()
		changed := filepath.Join(temp, "changed.go")
		is.NoErr(os.WriteFile(changed, []byte(text), 0o600))
		overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
		is.NoErr(err)
		file := filepath.Join(temp, "overlay.json")
		is.NoErr(os.WriteFile(file, overlay, 0o600))
		pattern := "^TestStore$"
		for _, part := range strings.Split(name, "/") {
			pattern += "/^" + part + "$"
		}
		cmd := exec.CommandContext(t.Context(), goTool, "test", "-vet=off", "-ldflags=-w", "-count=1", "-v", "-overlay", file, "-run", pattern, ".")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		is.True(strings.Contains(string(out), "=== RUN   TestStore/"+name)) // the case must exist and the mutant compile
		return string(out), err
	}

	mutants := slices.Concat(resetMutants, queueMutants)
	out, err := test(t, files[0], source[files[0]], mutants[0].caughtBy)
	is.NoErr(err) // without a bug the suite must pass
	is.True(strings.Contains(out, "--- PASS: TestStore"))

	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			var path string
			found := 0
			for p, text := range source {
				if n := strings.Count(text, m.old); n > 0 {
					path, found = p, found+n
				}
			}
			is.Equal(found, 1) // the text to replace must occur once
			out, err := test(t, path, strings.Replace(source[path], m.old, m.new, 1), m.caughtBy)
			is.True(err != nil)                                                   // the case must fail
			is.True(strings.Contains(out, "--- FAIL: TestStore/"+m.caughtBy+" ")) // and tell so
			is.True(strings.Contains(out, "the interface says: "))                // with the sentence of the interface
		})
	}
}
