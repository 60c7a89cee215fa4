package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// equivalents reads equivalent.txt. A line has the name of a mutant, as -list prints it. Indented
// lines below it say why no test can tell it from the original. Lines that begin with # are
// comments.
func equivalents(file string) (reasons map[string]string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	reasons = map[string]string{}
	key := ""
	for i, line := range strings.Split(string(text), "\n") {
		fault := func(what string) error { return fmt.Errorf("%s:%d: %s", file, i+1, what) }
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "" || strings.HasPrefix(line, "#"):
		case line == trimmed:
			if key != "" && reasons[key] == "" {
				return nil, fault("the mutant before has no reason")
			}
			if _, ok := reasons[line]; ok || strings.Count(line, " | ") < 3 {
				return nil, fault("not the name of a mutant, or listed twice")
			}
			key = line
			reasons[key] = ""
		case key == "":
			return nil, fault("a reason without a mutant")
		default:
			reasons[key] = strings.TrimSpace(reasons[key] + " " + trimmed)
		}
	}
	if key != "" && reasons[key] == "" {
		return nil, fmt.Errorf("%s: the last mutant has no reason", file)
	}
	return reasons, nil
}

// A handMutant is a mutant of hand.txt.
type handMutant struct {
	name, file string
	kills      []stage // each must fail
	old, new   string
}

// handMutants reads hand.txt. A block begins with the name. Then come lines indented by a tab: "in"
// and a file; once or more often "kill", a package and a regexp of its tests; and lines with - and
// + as in a diff.
func handMutants(file string) (mutants []handMutant, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !strings.HasPrefix(line, "\t") {
			mutants = append(mutants, handMutant{name: line})
			continue
		}
		fault := fmt.Errorf("%s:%d: not understood", file, i+1)
		if len(mutants) == 0 {
			return nil, fault
		}
		m := &mutants[len(mutants)-1]
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "\t-"):
			m.old += strings.TrimPrefix(line, "\t-") + "\n"
		case strings.HasPrefix(line, "\t+"):
			m.new += strings.TrimPrefix(line, "\t+") + "\n"
		case words[0] == "in" && len(words) == 2:
			m.file = words[1]
		case words[0] == "kill" && len(words) == 3:
			m.kills = append(m.kills, stage{dir: words[1], run: words[2]})
		default:
			return nil, fault
		}
	}
	return mutants, nil
}

// apply returns the file with the change.
func (m *handMutant) apply(root string) (string, error) {
	src, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m.file)))
	if err != nil {
		return "", err
	}
	start, end, text, err := m.place(string(src))
	if err != nil {
		return "", err
	}
	return string(src[:start]) + text + string(src[end:]), nil
}

// place returns which bytes of the file are replaced, as few as possible, and by what. The old
// lines must be there exactly once.
func (m *handMutant) place(src string) (start, end int, text string, err error) {
	if n := strings.Count(src, m.old); m.old == "" || n != 1 {
		return 0, 0, "", fmt.Errorf("%s: the old lines occur %d times in %s, not once", m.name, n, m.file)
	}
	start = strings.Index(src, m.old)
	end, text = start+len(m.old), m.new
	for start < end && text != "" && src[start] == text[0] {
		start, text = start+1, text[1:]
	}
	for start < end && text != "" && src[end-1] == text[len(text)-1] {
		end, text = end-1, text[:len(text)-1]
	}
	return start, end, text, nil
}
