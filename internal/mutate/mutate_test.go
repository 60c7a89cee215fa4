package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

const root = "../.."

// found returns what the operators make of a function, as "operator: old → new".
func found(t *testing.T, file, code string) []string {
	t.Helper()
	is := is.New(t)
	is.Helper()
	s, err := mutantsOf(file, []byte("package p\n\n"+code))
	is.NoErr(err)
	var all []string
	for _, m := range s.found {
		all = append(all, m.operator+": "+m.old+" → "+m.new)
	}
	slices.Sort(all)
	return all
}

func TestOperators(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		want []string
	}{
		"statements are dropped": {
			"func f() { g(); defer h(); go h(); x = y; c <- d; return }",
			[]string{"drop: c <- d → nothing", "drop: defer h() → nothing", "drop: g() → nothing", "drop: go h() → nothing", "drop: return → nothing", "drop: x = y → nothing"},
		},
		"a declaration and the step of a loop are not": {"func f() { a := b; for ; ; i++ { g(a) } }", []string{"drop: g(a) → nothing"}},
		"a condition is left out and negated":          {"func f() { if ok { } }", []string{"drop: if ok → nothing", "negate: ok → !(ok)"}},
		"else is left out": {"func f() { if !ok { } else { } }", []string{
			"drop: else of if !ok → nothing", "drop: if !ok → nothing", "negate: !ok → ok"}},
		"cases":       {"func f() { switch { case ok: } }", []string{"drop: case ok → nothing", "negate: ok → !(ok)"}},
		"comparisons": {"func f() bool { return a < b }", []string{"comparison: a < b → a <= b", "comparison: a < b → a >= b"}},
		"equality":    {"func f() bool { return a == b }", []string{"comparison: a == b → a != b"}},
		"and": {"func f() bool { return a && b }", []string{
			"and-or: a && b → a || b", "operand: a && b → a && …", "operand: a && b → … && b"}},
		"errors":                         {"func f() (int, error) { return x, err }", []string{"nil error: return err → nil"}},
		"errors of functions inside":     {"func f() int { return g(func() error { return err }) }", []string{"nil error: return err → nil"}},
		"arithmetic":                     {"func f() int { return a + max(b, c) }", []string{"arithmetic: a + max(b, c) → a - max(b, c)", "arithmetic: max(b, c) → min(…)"}},
		"constants":                      {"const c = 7", []string{"constant: 7 → 6", "constant: 7 → 8"}},
		"a capacity is none":             {"var v = make([]byte, n, 512)", nil},
		"texts elsewhere are left alone": {"var v = `SELECT x FROM t WHERE a = ?`", nil},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(found(t, "p.go", c.code), c.want)
		})
	}
}

func TestStatementsOfSQL(t *testing.T) {
	is := is.New(t)
	is.Equal(found(t, "store/sqlstore/p.go", "var v = `UPDATE t SET a = 1 WHERE b = $1 AND c > $2 FOR UPDATE SKIP LOCKED`"), []string{
		"sql: AND b = $1 → nothing",
		"sql: AND c > $2 → nothing",
		"sql: FOR UPDATE SKIP LOCKED → FOR UPDATE",
		"sql: FOR UPDATE SKIP LOCKED → nothing",
		"sql: c > $2 → c < $2",
		"sql: c > $2 → c >= $2",
	})
	var texts []string
	for _, c := range sqlChanges("SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE b = ? AND (c = 1 OR d <= ?)) ORDER BY a") {
		texts = append(texts, c.text)
	}
	for _, want := range []string{
		"SELECT a FROM t WHERE (NOT EXISTS (SELECT 1 FROM u WHERE b = ? AND (c = 1 OR d <= ?)) OR 1 = 1) ORDER BY a",
		"SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE (b = ? OR 1 = 1) AND (c = 1 OR d <= ?)) ORDER BY a",
		"SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE b = ? AND ((c = 1 OR d <= ?) OR 1 = 1)) ORDER BY a",
		"SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE b = ? AND ((c = 1 AND 1 = 0) OR d <= ?)) ORDER BY a",
		"SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE b = ? AND (c = 1 OR (d <= ? AND 1 = 0))) ORDER BY a",
		"SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE b = ? AND (c = 1 OR d < ?)) ORDER BY a",
		"SELECT a FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE b = ? AND (c = 1 OR d <= ?))",
	} {
		is.True(slices.Contains(texts, want)) // the statement with one predicate less
	}
}

// The same change twice in a function has two names.
func TestNamesDiffer(t *testing.T) {
	is := is.New(t)
	s, err := mutantsOf("p.go", []byte("package p\n\nfunc (x *T) f() { g(); g() }"))
	is.NoErr(err)
	is.Equal(s.found[0].key(), "p.go | *T.f | drop | g() → nothing")
	is.Equal(s.found[1].key(), "p.go | *T.f | drop | g() → nothing #2")
}

// A copy of its function, or of its variable, for every mutant, and a choice between them.
func TestSwitched(t *testing.T) {
	is := is.New(t)
	s, err := mutantsOf("p.go", []byte("package p\n\nfunc (x *T) f(a int, b ...string) error {\n\treturn err\n}\n\nvar v = 1\n"))
	is.NoErr(err)
	numbers := map[*mutant]int{}
	for _, m := range s.found {
		numbers[m] = len(numbers) + 1
	}
	is.Equal(len(numbers), 3)
	is.Equal(string(s.switched(numbers)), `package p

func (x *T) f(a int, b ...string) error { switch mutantSwitch { case 1: return x.f_mutant1(a, b...); };
	return err
}

var v = 1

//line m1:1
func (x *T) f_mutant1(a int, b ...string) error {
	return nil
}

//line m2:1
var v_mutant2 = 2
func init() { if mutantSwitch == 2 { v = v_mutant2 } }

//line m3:1
var v_mutant3 = 0
func init() { if mutantSwitch == 3 { v = v_mutant3 } }
`)
}

// The list of equivalent mutants can be read, and each of them exists.
func TestEquivalents(t *testing.T) {
	is := is.New(t)
	reasons, err := equivalents("equivalent.txt")
	is.NoErr(err)
	sources, err := sourcesOf(root, nil)
	is.NoErr(err)
	for _, s := range sources {
		for _, m := range s.found {
			delete(reasons, m.key())
		}
	}
	for key := range reasons {
		t.Errorf("no longer exists: %s", key)
	}
}

func TestEquivalentsThatCannotBeRead(t *testing.T) {
	for name, text := range map[string]string{
		"no reason":           "a | b | c | d → e\n",
		"no reason before":    "a | b | c | d → e\nf | b | c | d → e\n\treason\n",
		"twice":               "a | b | c | d → e\n\treason\na | b | c | d → e\n\treason\n",
		"not a name":          "a\n\treason\n",
		"a reason without it": "\treason\n",
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			file := filepath.Join(t.TempDir(), "equivalent.txt")
			is.NoErr(os.WriteFile(file, []byte(text), 0o666))
			_, err := equivalents(file)
			is.True(err != nil)
		})
	}
}

// Every mutant by hand can still be made, in one way, and the tests that must kill it exist.
func TestMutantsByHandApply(t *testing.T) {
	mutants, err := handMutants("hand.txt")
	is.New(t).NoErr(err)
	is.New(t).True(len(mutants) > 50)
	names := map[string]bool{}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			is := is.New(t)
			is.True(!names[m.name]) // a name of its own
			names[m.name] = true
			text, err := m.apply(root)
			is.NoErr(err)
			is.True(!strings.Contains(text, m.old) || strings.Contains(m.new, m.old)) // it is gone
			is.True(len(m.kills) > 0)
			for _, s := range m.kills {
				is.True(hasTest(t, s)) // the tests that must kill it
			}
		})
	}
}

// If a test no longer exists, every mutant survives it, and nobody notices.
func TestStagesHaveTests(t *testing.T) {
	sources, err := sourcesOf(root, nil)
	is.New(t).NoErr(err)
	for _, source := range sources {
		for _, s := range stages(source.file) {
			run, _, _ := strings.Cut(s.run, "/")
			for _, list := range []string{run, s.skip} {
				for name := range strings.SplitSeq(strings.Trim(list, "()"), "|") {
					t.Log(s.dir, name)
					is.New(t).True(hasTest(t, stage{dir: s.dir, run: name}))
				}
			}
		}
	}
}

var testName = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

func hasTest(t *testing.T, s stage) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(s.dir), "*_test.go"))
	is.New(t).NoErr(err)
	name, _, _ := strings.Cut(s.run, "/")
	for _, file := range files {
		text, err := os.ReadFile(file)
		is.New(t).NoErr(err)
		for _, match := range testName.FindAllSubmatch(text, -1) {
			if regexp.MustCompile(name).Match(match[1]) {
				return true
			}
		}
	}
	return false
}
