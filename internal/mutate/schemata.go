package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// switchFile reads from the environment which mutant to choose.
const switchFile = `

import (
	"os"
	"strconv"
)

var mutantSwitch = func() int { n, _ := strconv.Atoi(os.Getenv("MUTANT")); return n }()
`

// switched returns the file with a copy of the function or variable of every mutant, and with a
// choice between the copies. numbers has the mutants to include.
func (s *source) switched(numbers map[*mutant]int) []byte {
	var copies bytes.Buffer
	choices := map[int]string{} // by the offset in the file where they go
	for _, m := range s.found {
		n, ok := numbers[m]
		if !ok {
			continue
		}
		suffix := fmt.Sprintf("_mutant%d", n)
		start, end := s.offset(m.decl.Pos()), s.offset(m.decl.End())
		rest := func(from int) string { // of the declaration, changed
			return string(s.src[from:m.start]) + m.text + string(s.src[m.end:end])
		}
		fmt.Fprintf(&copies, "\n//line m%d:1\n", n)
		switch d := m.decl.(type) {
		case *ast.FuncDecl:
			name := s.offset(d.Name.End())
			fmt.Fprintf(&copies, "%s%s%s\n", s.src[s.offset(d.Type.Pos()):name], suffix, rest(name))
			call, _ := s.call(d, suffix)
			choices[s.offset(d.Body.Lbrace)+1] += fmt.Sprintf(" case %d: %s;", n, call)
		case *ast.ValueSpec:
			name := s.offset(d.Names[0].End())
			fmt.Fprintf(&copies, "var %s%s%s\nfunc init() { if mutantSwitch == %d { %[1]s = %[1]s%[2]s } }\n",
				s.src[start:name], suffix, rest(name), n)
		}
	}
	var out bytes.Buffer
	done := 0
	var places []int
	for at := range choices {
		places = append(places, at)
	}
	slices.Sort(places)
	for _, at := range places {
		out.Write(s.src[done:at])
		fmt.Fprintf(&out, " switch mutantSwitch {%s };", choices[at])
		done = at
	}
	out.Write(s.src[done:])
	out.Write(copies.Bytes())
	return out.Bytes()
}

// call returns a statement that calls the copy of a function with the arguments of the original, if
// they have names.
func (s *source) call(d *ast.FuncDecl, suffix string) (string, bool) {
	name := d.Name.Name + suffix
	if d.Recv != nil {
		if len(d.Recv.List[0].Names) == 0 {
			return "", false
		}
		name = d.Recv.List[0].Names[0].Name + "." + name
	}
	var args []string
	for _, field := range d.Type.Params.List {
		if len(field.Names) == 0 {
			return "", false
		}
		for _, p := range field.Names {
			arg := p.Name
			if arg == "_" {
				return "", false
			}
			if _, ok := field.Type.(*ast.Ellipsis); ok {
				arg += "..."
			}
			args = append(args, arg)
		}
	}
	call := name + "(" + strings.Join(args, ", ") + ")"
	if d.Type.Results == nil {
		return call + "; return", true
	}
	return "return " + call, true
}

// canSwitch reports whether one program can hold the mutant beside others.
func (s *source) canSwitch(m *mutant) bool {
	switch d := m.decl.(type) {
	case *ast.FuncDecl:
		_, ok := s.call(d, "")
		return ok
	case *ast.ValueSpec:
		return true
	}
	return false
}

var errorIn = regexp.MustCompile(`(?m)^\S*\bm(\d+):[\d:]+ `)

// compile writes a package's files with all their mutants, leaves out mutants that do not compile,
// and returns the overlay. numbers has the mutants that remain.
func (t *tool) compile(dir string, sources []*source) (overlay string, numbers map[*mutant]int, err error) {
	numbers = map[*mutant]int{}
	for _, s := range sources {
		for _, m := range s.found {
			if s.canSwitch(m) {
				numbers[m] = len(numbers) + 1
			}
		}
	}
	work, err := os.MkdirTemp(t.temp, "package")
	if err != nil {
		return "", nil, err
	}
	for {
		files := map[string]string{}
		for i, s := range sources {
			copied := filepath.Join(work, strconv.Itoa(i)+".go")
			files[filepath.FromSlash(s.file)] = copied
			if err := os.WriteFile(copied, s.switched(numbers), 0o666); err != nil {
				return "", nil, err
			}
		}
		name := regexp.MustCompile(`(?m)^package \w+`).Find(sources[0].src)
		files[filepath.Join(dir, "mutantswitch.go")] = filepath.Join(work, "switch.go")
		if err := os.WriteFile(filepath.Join(work, "switch.go"), append(name, switchFile...), 0o666); err != nil {
			return "", nil, err
		}
		if overlay, err = t.overlay(work, files); err != nil {
			return "", nil, err
		}
		out, err := t.command("go", "build", "-gcflags=-e", "-overlay", overlay, "./"+dir).CombinedOutput()
		if err == nil {
			return overlay, numbers, nil
		}
		bad := map[int]bool{}
		for _, match := range errorIn.FindAllSubmatch(out, -1) {
			n, _ := strconv.Atoi(string(match[1]))
			bad[n] = true
		}
		if len(bad) == 0 {
			return "", nil, fmt.Errorf("%s does not compile: %s", dir, out)
		}
		for m, n := range numbers {
			if bad[n] {
				delete(numbers, m)
			}
		}
	}
}

// overlay writes a file for go's -overlay.
func (t *tool) overlay(work string, files map[string]string) (string, error) {
	replace := map[string]string{}
	for file, by := range files {
		replace[filepath.Join(t.root, file)] = by
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(work, "overlay.json")
	return path, os.WriteFile(path, text, 0o666)
}
