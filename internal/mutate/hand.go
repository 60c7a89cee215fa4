package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
)

// byHand runs the mutants of hand.txt, and reports whether all tests that must kill a mutant did.
func (t *tool) byHand(pattern *regexp.Regexp) (ok bool, err error) {
	all, err := handMutants(filepath.Join(t.root, "internal", "mutate", "hand.txt"))
	if err != nil {
		return false, err
	}
	var dirs []string
	byDir := map[string][]handMutant{}
	tried, failed := 0, 0
	for _, m := range all {
		if !pattern.MatchString(m.name) {
			continue
		}
		dir := path.Dir(m.file)
		if byDir[dir] == nil {
			dirs = append(dirs, dir)
		}
		byDir[dir] = append(byDir[dir], m)
		tried++
	}
	for _, dir := range dirs {
		n, err := t.byHandIn(dir, byDir[dir])
		if err != nil {
			return false, err
		}
		failed += n
	}
	fmt.Printf("%d mutants by hand, %d survived a test that must kill them\n", tried, failed)
	return failed == 0 && tried > 0, nil
}

// byHandIn runs those of one package and returns how often a test did not notice. Mutants within
// one function are compiled together, the others alone.
func (t *tool) byHandIn(dir string, mutants []handMutant) (failed int, err error) {
	var sources []*source
	byFile := map[string]*source{}
	made := make([]*mutant, len(mutants))
	for i, h := range mutants {
		s := byFile[h.file]
		if s == nil {
			if s, err = t.read(h.file); err != nil {
				return 0, err
			}
			byFile[h.file] = s
			sources = append(sources, s)
		}
		if made[i], err = s.byHand(&h); err != nil {
			return 0, err
		}
		if s.canSwitch(made[i]) {
			s.found = append(s.found, made[i])
		}
	}
	overlay, numbers, err := t.compile(dir, sources)
	if err != nil {
		return 0, err
	}
	together := t.program(overlay)
	for i, h := range mutants {
		p, number := together, numbers[made[i]]
		if number == 0 {
			text, err := h.apply(t.root)
			if err != nil {
				return 0, err
			}
			if p, err = t.changed(h.file, text); err != nil {
				return 0, err
			}
		}
		for _, s := range h.kills {
			if together.took[s] == 0 {
				if err := together.clean([]stage{s}); err != nil {
					fmt.Println(err)
					failed++
					continue
				}
			}
			if err := p.build(s.dir); err != nil {
				fmt.Printf("%s: %v\n", h.name, err)
				failed++
				break
			}
			by, _ := p.test(s, number, limitOf(together.took[s]))
			if by == "" {
				by = "SURVIVED"
				failed++
			}
			fmt.Printf("%-60s %-22s %s\n", h.name, s.dir, by)
		}
		if p != together {
			_ = os.RemoveAll(p.work)
		}
	}
	return failed, nil
}

// read returns a file without its mutants.
func (t *tool) read(file string) (*source, error) {
	src, err := os.ReadFile(filepath.Join(t.root, filepath.FromSlash(file)))
	return &source{file: file, src: src, fset: token.NewFileSet()}, err
}

// byHand returns the mutant, with the function or variable around it, if there is one.
func (s *source) byHand(h *handMutant) (m *mutant, err error) {
	m = &mutant{file: s.file, scope: h.name}
	if m.start, m.end, m.text, err = h.place(string(s.src)); err != nil {
		return nil, err
	}
	f, err := parser.ParseFile(s.fset, s.file, s.src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	within := func(from token.Pos, n ast.Node) bool {
		return s.offset(from) <= m.start && m.end < s.offset(n.End())
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if within(d.Body.Lbrace+1, d) {
				m.decl = d
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.VAR && len(v.Names) == 1 && within(v.Names[0].End(), v) {
					m.decl = v
				}
			}
		}
	}
	return m, nil
}
