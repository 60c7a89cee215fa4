package catalogue

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// A vector with a typing error would test something else. TestMain checks that each one is used.
func TestVectorsAreWellFormed(t *testing.T) {
	is := is.New(t)
	list, err := os.ReadFile("testdata/rows.txt")
	is.NoErr(err)
	files, err := filepath.Glob("testdata/*.jsonl")
	is.NoErr(err)
	is.True(len(files) > 3)
	for _, path := range files {
		rows, err := load(path)
		is.NoErr(err)
		for row, all := range rows {
			for _, v := range all {
				ok := strings.Contains("\n"+string(list), "\n"+row+" ") && v.What != "" &&
					(v.Entry == "" || slices.Contains(entryNames, v.Entry)) &&
					slices.Contains([]string{"", "username", "email"}, v.Kind) &&
					slices.Contains([]string{"", "reset", "names", "complete"}, v.Call)
				if !ok {
					t.Errorf("%s: %+v", v.at, v)
				}
			}
		}
	}
}
