package catalogue

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

var attackName = regexp.MustCompile(`^TestAttack_(S[0-9]{2})_[A-Z][A-Za-z0-9]*$`)

// Every row of the catalogue has a test somewhere in the repository, and every such test has its row.
func TestEveryRowHasATest(t *testing.T) {
	is := is.New(t)
	list, err := os.ReadFile("testdata/rows.txt")
	is.NoErr(err)
	titles, packages := map[string]string{}, map[string][]string{}
	var rows []string
	for line := range strings.Lines(string(list)) {
		row, title, ok := strings.Cut(strings.TrimSpace(line), " ")
		is.True(ok && titles[row] == "") // a row and its title, once
		titles[row] = title
		rows = append(rows, row)
	}
	root := "../../.."
	_, err = os.Stat(filepath.Join(root, "recovery.go"))
	is.NoErr(err)
	is.NoErr(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			if d != nil && d.IsDir() && err == nil {
				return filepath.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "TestAttack") {
				continue
			}
			m := attackName.FindStringSubmatch(f.Name.Name)
			if m == nil || titles[m[1]] == "" {
				t.Errorf("%s: %s names no row", path, f.Name.Name)
				continue
			}
			dir, err := filepath.Rel(root, filepath.Dir(path))
			is.NoErr(err)
			if !slices.Contains(packages[m[1]], dir) {
				packages[m[1]] = append(packages[m[1]], dir)
			}
		}
		return nil
	}))
	for _, row := range rows {
		if len(packages[row]) == 0 {
			t.Errorf("%s, %s: no test", row, titles[row])
		}
		t.Logf("%s %-55s %s", row, titles[row], strings.Join(packages[row], " "))
	}
}
