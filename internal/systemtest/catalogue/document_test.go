package catalogue

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/matryer/is"
)

// SECURITY.md names the tests that prove each promise: they must exist.
func TestSecurityNamesTestsThatExist(t *testing.T) {
	is := is.New(t)
	root := filepath.Join("..", "..", "..")
	text, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	is.NoErr(err)
	names := map[string]bool{}
	is.NoErr(filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !regexp.MustCompile(`_test\.go$`).MatchString(path) {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(source, -1) {
			names[string(m[1])] = true
		}
		return err
	}))
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllSubmatch(text, -1)
	is.True(len(named) > 20)
	for _, m := range named {
		if !names[string(m[1])] {
			t.Errorf("SECURITY.md names %s, which is no test", m[1])
		}
	}
}
