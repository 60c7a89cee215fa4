// Mutate changes one thing of the library at a time and checks whether a test notices.
//
//	go run ./internal/mutate                    every mutant of the security-relevant files
//	go run ./internal/mutate token.go limit.go  those of some files
//	go run ./internal/mutate -list              names them, and runs none
//	go run ./internal/mutate -run 'take.*wait'  those with such a name; -n 17 is the 17th of the list
//	go run ./internal/mutate -hand              the mutants of hand.txt
//
// It runs in the root of the module, on Unix, with PostgreSQL and MariaDB where package dbtest
// looks for them. All of it takes nearly an hour on two processors. With -out results.jsonl it
// notes killed mutants in that file, and the next call with the same file does not try them again.
// Delete the file when the code has changed.
//
// # Operators
//
//	drop        leaves out a statement, or what an if, a case or an else guards
//	negate      negates a condition
//	comparison  moves a boundary (< and <=), or inverts a comparison (< and >=, == and !=)
//	and-or      replaces && by || and || by &&
//	operand     leaves out one side of && or ||
//	nil error   returns nil instead of an error
//	arithmetic  replaces + by -, * by /, << by >>, min by max and the like
//	constant    an integer one more or one less, true and false
//	sql         in the statements of sqlstore: leaves out a predicate, moves or inverts its
//	            comparison, drops FOR UPDATE, SKIP LOCKED or ORDER BY
//
// A mutant that does not compile is not counted. A mutant that makes a test hang is killed: the
// tests take several times as long as without it, and one of them most of that. A mutant that no
// test notices has survived. Then the exit status is 1, unless equivalent.txt says why no test can
// notice it. The exit status is also 1 if equivalent.txt has a mutant that no longer exists.
//
// Efficacy is the share of killed mutants among those that are not equivalent.
//
// # How
//
// The mutants of a package are compiled together, once: each is a copy of its function, and an
// environment variable chooses one. Mutants of constants are compiled alone. The tests that kill
// most run first; see stages.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// files are the security-relevant files.
var files = []string{
	"token.go", "ticket.go", "code.go", "policy.go", "password.go", "hashslots.go", "identifier.go", "limit.go", "counted.go", "network.go",
	"recovery.go", "complete.go", "tokenlock.go", "worker.go", "purge.go", "pace.go", "job.go", "lookup.go",
	"mails.go", "store.go", "clock.go", "stats.go", "delays.go", "options.go", "portal.go", "errors.go", "events.go",
	"redact.go", "internal/redact/*.go", "store/memstore/*.go",
	"store/sqlstore/accounts.go", "store/sqlstore/mapping.go", "store/sqlstore/table.go", "store/sqlstore/sqlstore.go",
	"store/sqlstore/resets.go", "store/sqlstore/queue.go", "store/sqlstore/statements.go",
	"store/sqlstore/write.go", "store/sqlstore/write_tx.go", "store/sqlstore/tx.go", "internal/groupcommit/*.go",
	"store/sqlstore/row_args.go", "store/sqlstore/prepared.go", "store/sqlstore/migrate.go", "store/sqlstore/check_own.go",
	"store/sqlstore/postgresql.go", "store/sqlstore/mysql.go", "store/sqlstore/sqlite.go",
	"httpadapter/*.go", "httpadapter/internal/exchange/*.go", "internal/invisible/*.go", "internal/normal/*.go",
	"httpadapter/portal/form.go", "httpadapter/portal/handler.go", "httpadapter/portal/options.go",
	"httpadapter/portal/portal.go", "httpadapter/portal/theme.go",
}

// The results of a mutant.
const (
	killed     = "killed"
	survived   = "survived"
	invalid    = "does not compile"
	equivalent = "equivalent"
)

// A result is a line of the file of -out.
type result struct {
	Mutant string  `json:"mutant"`
	Status string  `json:"status"`
	By     string  `json:"by,omitempty"` // the test that killed it
	Took   float64 `json:"seconds"`
}

type tool struct {
	root, temp string
	parallel   int

	mu      sync.Mutex
	results map[string]result   // by key
	killers map[string][]string // by file, and by function
	out     *os.File
}

func main() {
	log.SetFlags(0)
	list := flag.Bool("list", false, "name the mutants")
	number := flag.Int("n", 0, "only the mutant with this number in the list")
	match := flag.String("run", "", "only mutants whose names match")
	hand := flag.Bool("hand", false, "the mutants of hand.txt")
	out := flag.String("out", "", "file of results, read and appended to")
	parallel := flag.Int("p", 2, "how many at a time")
	flag.Parse()
	ok, err := run(*list, *number, *match, *hand, *out, *parallel, flag.Args())
	if err != nil {
		log.Fatal(err)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(list bool, number int, match string, hand bool, out string, parallel int, names []string) (ok bool, err error) {
	pattern, err := regexp.Compile(match)
	if err != nil {
		return false, err
	}
	t := &tool{parallel: parallel, results: map[string]result{}, killers: map[string][]string{}}
	if t.root, err = os.Getwd(); err != nil {
		return false, err
	}
	if t.temp, err = os.MkdirTemp("", "mutate"); err != nil {
		return false, err
	}
	defer os.RemoveAll(t.temp)
	if hand {
		return t.byHand(pattern)
	}
	sources, err := sourcesOf(t.root, names)
	if err != nil {
		return false, err
	}
	reasons, err := equivalents(filepath.Join(t.root, "internal", "mutate", "equivalent.txt"))
	if err != nil {
		return false, err
	}
	var chosen []*mutant
	n := 0
	ok = true
	for _, s := range sources {
		keys := map[string]bool{}
		for _, m := range s.found {
			keys[m.key()] = true
			if n++; (number == 0 || n == number) && pattern.MatchString(m.key()) {
				chosen = append(chosen, m)
				if list {
					fmt.Println(n, m.key())
				}
			}
		}
		for key := range reasons {
			if strings.HasPrefix(key, s.file+" ") && !keys[key] {
				fmt.Println("no longer exists:", key)
				ok = false
			}
		}
	}
	if list {
		return ok, nil
	}
	if out != "" {
		if err := t.resume(out); err != nil {
			return false, err
		}
		defer t.out.Close()
	}
	for _, m := range chosen {
		if r := t.results[m.key()]; r.Status == killed {
			t.killer(m, r.By)
		}
		if reasons[m.key()] != "" {
			t.results[m.key()] = result{Status: equivalent}
		}
	}
	if err := t.runAll(sources, chosen); err != nil {
		return false, err
	}
	return t.report(chosen) && ok, nil
}

// sourcesOf reads the files, by default all that are relevant, and finds their mutants.
func sourcesOf(root string, names []string) (sources []*source, err error) {
	if len(names) == 0 {
		for _, pattern := range files {
			found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
			if err != nil || len(found) == 0 {
				return nil, fmt.Errorf("no file is named %s (%v)", pattern, err)
			}
			for _, name := range found {
				if !strings.HasSuffix(name, "_test.go") {
					name, _ = filepath.Rel(root, name)
					names = append(names, filepath.ToSlash(name))
				}
			}
		}
	}
	for _, name := range names {
		name = path.Clean(filepath.ToSlash(name))
		src, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		s, err := mutantsOf(name, src)
		if err != nil {
			return nil, err
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// resume reads the results of earlier calls; the last line about a mutant counts.
func (t *tool) resume(name string) (err error) {
	if t.out, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o666); err != nil {
		return err
	}
	lines := bufio.NewScanner(t.out)
	for lines.Scan() {
		var r result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		t.results[r.Mutant] = r
	}
	return lines.Err()
}

// note keeps a result.
func (t *tool) note(m *mutant, r result) {
	r.Mutant = m.key()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.results[r.Mutant] = r
	if r.Status == survived {
		fmt.Println("survived:", r.Mutant)
	}
	if t.out != nil {
		if err := json.NewEncoder(t.out).Encode(r); err != nil {
			log.Fatal(err)
		}
	}
}

// report prints the table, and reports whether no mutant survived.
func (t *tool) report(mutants []*mutant) bool {
	type row struct{ all, killed, late, survived, equivalent int }
	rows := map[string]*row{}
	total := &row{}
	var names []string
	for _, m := range mutants {
		r := t.results[m.key()]
		if r.Status == invalid {
			continue
		}
		if rows[m.file] == nil {
			rows[m.file] = &row{}
			names = append(names, m.file)
		}
		for _, row := range []*row{rows[m.file], total} {
			row.all++
			switch r.Status {
			case killed:
				row.killed++
				if r.By == late {
					row.late++
				}
			case equivalent:
				row.equivalent++
			default:
				row.survived++
			}
		}
	}
	for _, m := range mutants {
		if r := t.results[m.key()]; r.Status == survived {
			fmt.Println("survived:", m.key())
		}
	}
	fmt.Printf("\n%-32s %8s %8s %8s %8s %10s %9s\n", "file", "mutants", "killed", "by time", "survived", "equivalent", "efficacy")
	rows["total"] = total
	for _, name := range append(slices.Compact(names), "total") {
		r := rows[name]
		efficacy := 100.0
		if r.all > r.equivalent {
			efficacy = 100 * float64(r.killed) / float64(r.all-r.equivalent)
		}
		fmt.Printf("%-32s %8d %8d %8d %8d %10d %8.1f%%\n", name, r.all, r.killed, r.late, r.survived, r.equivalent, efficacy)
	}
	return total.survived == 0
}
