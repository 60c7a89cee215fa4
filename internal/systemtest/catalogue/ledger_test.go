package catalogue

import (
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The ledger says what the tests did, whatever they are named.
var ledger = struct {
	sync.Mutex
	attacks map[string]int  // by test, its subtests included
	tried   map[string]bool // vectors, by file and line
}{attacks: map[string]int{}, tried: map[string]bool{}}

// notYet lists the rows of the catalogue that have no test, or lack the named part, because what
// they attack is not built yet. What gets built must leave this list.
var notYet = []struct{ row, part, why string }{
	{"S57", "an external engine at work", "there is none among the examples to try it with"},
	{"S67", "", "smtpmailer signs for ever (no x=), and does not cover every header that is absent"},
	{"S68", "", "smtpmailer takes replies about the sender's quota or reputation for final, but for 5.3, 5.5 and 5.7"},
}

// attacked enters attacks of a test into the ledger.
func attacked(t *testing.T, attacks int) {
	test, _, _ := strings.Cut(t.Name(), "/")
	ledger.Lock()
	defer ledger.Unlock()
	ledger.attacks[test] += attacks
}

// tried enters into the ledger that an attack was made with the vector.
func (v vector) tried() {
	ledger.Lock()
	defer ledger.Unlock()
	ledger.tried[v.at] = true
}

// reckon ends a site. An attack is any answer of the site, except those to the honest requests of
// lives and works. A test of a row must have made some, and have called sound after the last.
func (s *site) reckon() {
	if !strings.HasPrefix(s.t.Name(), "TestAttack_") || s.t.Failed() || s.t.Skipped() {
		return
	}
	attacks := s.attacks.Load()
	switch {
	case attacks == 0:
		s.t.Error("nothing was attacked")
	case s.judged != attacks:
		s.t.Errorf("%d attacks were not followed by sound", attacks-s.judged)
	}
	attacked(s.t, int(attacks))
}

// missed returns what the ledger has no entry for, after all tests ran: tests of rows, and vectors.
func missed() (all []string, err error) {
	tests, err := attackTests(".")
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil {
		return nil, err
	}
	ledger.Lock()
	defer ledger.Unlock()
	for _, test := range tests {
		if ledger.attacks[test.name] == 0 {
			all = append(all, test.name+" attacked nothing")
		}
	}
	for _, path := range files {
		rows, err := load(path)
		if err != nil {
			return nil, err
		}
		for _, v := range slices.Concat(slices.Collect(maps.Values(rows))...) {
			if !ledger.tried[v.at] {
				all = append(all, fmt.Sprintf("%s: %s, %s: nothing was attacked with it", v.at, v.Row, v.What))
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

// everythingRan reports whether no flag left tests out.
func everythingRan() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if flag.Lookup(name).Value.String() != "" {
			return false
		}
	}
	return flag.Lookup("test.count").Value.String() != "0"
}
