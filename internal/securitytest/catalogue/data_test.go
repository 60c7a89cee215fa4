package catalogue

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// A vector that nothing reads, because of a slip of the pen, would be a test that cannot fail.
func TestEveryVectorIsUsed(t *testing.T) {
	is := is.New(t)
	sources, err := filepath.Glob("*_test.go")
	is.NoErr(err)
	var code strings.Builder
	for _, path := range sources {
		text, err := os.ReadFile(path)
		is.NoErr(err)
		code.Write(text)
	}
	list, err := os.ReadFile("testdata/rows.txt")
	is.NoErr(err)
	files, err := filepath.Glob("testdata/*.jsonl")
	is.NoErr(err)
	is.True(len(files) > 3)
	for _, path := range files {
		f, err := os.Open(path)
		is.NoErr(err)
		defer f.Close()
		name := strings.TrimSuffix(filepath.Base(path), ".jsonl")
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			var v vector
			is.NoErr(json.Unmarshal(lines.Bytes(), &v))
			ok := strings.Contains("\n"+string(list), "\n"+v.Row+" ") &&
				strings.Contains(code.String(), `"`+name+`"`) && strings.Contains(code.String(), `"`+v.Row+`"`) &&
				(v.Entry == "" || slices.Contains(entryNames, v.Entry)) &&
				slices.Contains([]string{"", "username", "email", "pasted"}, v.Kind) &&
				slices.Contains([]string{"", "reset", "names", "complete"}, v.Call)
			if !ok {
				t.Errorf("%s:%d: no test reads this: %.100s", path, n, lines.Text())
			}
		}
		is.NoErr(lines.Err())
	}
}
