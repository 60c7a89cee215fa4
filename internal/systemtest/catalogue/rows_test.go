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

// An attackTest is the source of a test that is named for a row.
type attackTest struct {
	name, path string
	source     *ast.FuncDecl
}

// attackTests returns those in and under a directory.
func attackTests(root string) (all []attackTest, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "TestAttack") {
				all = append(all, attackTest{f.Name.Name, path, f})
			}
		}
		return nil
	})
	return all, err
}

var failing = []string{"True", "Equal", "NoErr", "Fail", "FailNow", "Error", "Errorf", "Fatal", "Fatalf"}

// canFail reports whether the test has a check in its body, or hands its t on to what may have one.
func (a attackTest) canFail() bool {
	t := a.source.Type.Params.List[0].Names[0].Name
	found := false
	ast.Inspect(a.source.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		found = found || ok && slices.Contains(failing, method.Sel.Name)
		if ok && method.Sel.Name == "New" {
			return true // a new is.I has not checked anything
		}
		for _, arg := range call.Args {
			name, ok := arg.(*ast.Ident)
			found = found || ok && name.Name == t
		}
		return true
	})
	return found
}

// Every row of the list has a test somewhere in the repository, and every such test has its row.
// The ledger, which TestMain checks, says what the tests of this package did. This test checks that
// the others can fail, and logs the rows that are missing.
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
	tests, err := attackTests(root)
	is.NoErr(err)
	for _, test := range tests {
		m := attackName.FindStringSubmatch(test.name)
		if m == nil || titles[m[1]] == "" {
			t.Errorf("%s: %s names no row", test.path, test.name)
			continue
		}
		if !test.canFail() {
			t.Errorf("%s: %s checks nothing", test.path, test.name)
		}
		dir, err := filepath.Rel(root, filepath.Dir(test.path))
		is.NoErr(err)
		if !slices.Contains(packages[m[1]], dir) {
			packages[m[1]] = append(packages[m[1]], dir)
		}
	}
	for _, missing := range notYet {
		if (titles[missing.row] != "") != (missing.part != "") {
			t.Errorf("%s is in the list of rows as a whole, or not at all", missing.row)
		}
		t.Logf("%s %-55s not yet: %s", missing.row, missing.part, missing.why)
	}
	for _, row := range rows {
		if len(packages[row]) == 0 {
			t.Errorf("%s, %s: no test", row, titles[row])
		}
		t.Logf("%s %-55s %s", row, titles[row], strings.Join(packages[row], " "))
	}
}
