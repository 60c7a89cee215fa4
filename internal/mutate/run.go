package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A stage is a run of a package's tests.
type stage struct {
	dir       string
	run, skip string // as of go test
}

// Slow tests of the core, which rarely kill a mutant that no other test kills, and tests that no
// mutant can break.
const (
	slowTests  = "MemoryOfManyCompletions|MailDownForADay|OutcomeIsTriedAgain"
	faultTests = "EveryFaultOfEveryCall" // of sqlstore
	otherTests = "^TestOnlySMTPMailerImportsGoMail$|^TestCoreImportsLittle$"

	migrateTests = "(^TestPrefixesLiveBesideEachOther$|^TestMigrationThatDiedHalfWayIsCompleted$|^TestMigrateSeesWhatWasDoneWhileItWaited$|" +
		"^TestStartNamesATableThatWasDropped$|^TestStartNamesAColumnThatIsMissing$|^TestStartNeedsNoRightToCreateTables$|" +
		"^TestStartWithoutTheRightToReadSaysWhatToGrant$|^TestStartWithoutTheRightToCreateSaysWhoMay$|^TestStartWithoutAServerNamesNobody$|" +
		"^TestMistakesAreRefusedAtStart$)"
	raceTests = "(^TestAttack_S40_OneTokenManyRacersOneWinner$|^TestAttack_S42_MailboxLimitIsExactUnderParallelMails$|^TestAttack_S42_DoorLimitIsExactUnderParallelRequests$|" +
		"^TestTriesAreCountedExactly$|^TestOlderTokenNeverOutlivesMailOfANewerRequest$|" +
		"^TestLatestAndLongestDueComeFirst$)"
)

// stages returns the tests that may kill the mutants of a file, the quickest first.
func stages(file string) []stage {
	const dbtest = "internal/systemtest/dbtest"
	core := stage{dir: ".", skip: slowTests + "|" + otherTests}
	unit := stage{dir: "store/sqlstore", skip: faultTests}
	onServer := func(name string) []stage {
		return []stage{unit, {dir: dbtest, run: "^TestStore$/^" + name + "$"}, {dir: dbtest, run: raceTests + "/^" + name + "$"}}
	}
	switch path.Dir(file) {
	case ".", "internal/redact":
		return []stage{core, {dir: ".", run: slowTests}, {dir: "internal/systemtest/faults"}, {dir: "store/memstore"}, {dir: "httpadapter"}}
	case "internal/invisible", "internal/normal":
		return []stage{{dir: "."}}
	case "httpadapter/internal/exchange":
		return []stage{{dir: path.Dir(file)}, {dir: "httpadapter"}, {dir: "httpadapter/portal"}}
	case "store/memstore":
		return []stage{{dir: "store/memstore"}, core}
	case "store/sqlstore":
		switch path.Base(file) {
		case "postgresql.go":
			return onServer("PostgreSQL_with_pgx")
		case "mysql.go":
			return onServer("MariaDB")
		case "sqlite.go":
			return onServer("SQLite")
		case "prepared.go":
			return []stage{unit, {dir: dbtest, run: "^TestTablesChangeWhileInUse$"}, {dir: dbtest, run: "^TestStore$/^SQLite$"}}
		case "migrate.go":
			return []stage{unit, {dir: dbtest, run: migrateTests}}
		}
		return []stage{
			unit, {dir: "store/sqlstore", run: faultTests},
			{dir: dbtest, run: "^TestRoundTrips$"}, {dir: dbtest, run: "^TestStore$/^SQLite$"},
			{dir: dbtest, run: "^TestStore$/^PostgreSQL_with_pgx$"}, {dir: dbtest, run: "^TestStore$/^MariaDB$"},
		}
	}
	return []stage{{dir: path.Dir(file)}}
}

// late is what kills a mutant that runs into the time limit.
const late = "the time limit"

// command returns a command that runs in the root of the module, with low priority.
func (t *tool) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("nice", append([]string{"-n", "10", name}, args...)...)
	cmd.Dir = t.root
	return cmd
}

// A program is the tests of packages, compiled with an overlay.
type program struct {
	tool     *tool
	overlay  string
	work     string
	binaries map[string]string
	took     map[stage]time.Duration // without a mutant
}

func (t *tool) program(overlay string) *program {
	return &program{tool: t, overlay: overlay, work: filepath.Dir(overlay), binaries: map[string]string{}, took: map[stage]time.Duration{}}
}

// build compiles the tests of a package.
func (p *program) build(dir string) error {
	if p.binaries[dir] != "" {
		return nil
	}
	binary := filepath.Join(p.work, strings.ReplaceAll(dir, "/", "_")+".test")
	out, err := p.tool.command("go", "test", "-c", "-vet=off", "-overlay", p.overlay, "-o", binary, "./"+dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %s", dir, out)
	}
	p.binaries[dir] = binary
	return nil
}

var failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// limitOf returns how long tests may take with a mutant, if they took so long without. The machine
// may stall meanwhile.
func limitOf(took time.Duration) time.Duration { return 4*took + 15*time.Second }

// running matches a test that was running at the time limit, and for how long.
var running = regexp.MustCompile(`(?m)^\s+\S+ \((\S+)\)$`)

// test runs a stage with a mutant, or with none, and returns which test failed, "" if none did. If
// no single test took most of the time limit, it runs again with more time: then the machine is
// slow, not the mutant.
func (p *program) test(s stage, number int, limit time.Duration) (by, output string) {
	by, output = p.testFor(s, number, limit)
	if by != late || !strings.Contains(output, "panic: test timed out") {
		return by, output
	}
	for _, match := range running.FindAllStringSubmatch(output, -1) {
		if took, err := time.ParseDuration(match[1]); err == nil && took > limit/2 {
			return by, output
		}
	}
	return p.testFor(s, number, 8*limit)
}

func (p *program) testFor(s stage, number int, limit time.Duration) (by, output string) {
	ctx, cancel := context.WithTimeout(context.Background(), limit+5*time.Second)
	defer cancel()
	// A mutant may want all the memory there is.
	cmd := exec.CommandContext(ctx, "sh", "-c", `ulimit -v 6000000; exec nice -n 10 "$@"`, "sh", p.binaries[s.dir],
		"-test.failfast", "-test.timeout="+limit.String(), "-test.run="+s.run, "-test.skip="+s.skip)
	cmd.Dir = filepath.Join(p.tool.root, filepath.FromSlash(s.dir))
	cmd.Env = append(os.Environ(), "MUTANT="+strconv.Itoa(number), "RECOVERY_REQUIRE_ALL=1", "RECOVERY_RACE_TOKENS=100")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	output = string(out)
	switch failed := failedTest.FindAllStringSubmatch(output, -1); {
	case err == nil:
		return "", output
	case ctx.Err() != nil || strings.Contains(output, "panic: test timed out"):
		return late, output
	case len(failed) > 0:
		return failed[0][1], output
	}
	return "a panic", output
}

// clean runs the stages without a mutant: a test that fails then cannot judge mutants.
func (p *program) clean(all []stage) error {
	for _, s := range all {
		if err := p.build(s.dir); err != nil {
			return err
		}
		begin := time.Now()
		if by, output := p.test(s, 0, 10*time.Minute); by != "" {
			return fmt.Errorf("without a mutant %s fails in %s: %s", by, s.dir, output)
		}
		p.took[s] = time.Since(begin)
	}
	return nil
}

// try runs the stages until one kills the mutant. First come the tests that killed others of its
// function, and of its file.
func (p *program) try(m *mutant, all []stage, number int, took map[stage]time.Duration) result {
	begin := time.Now()
	first := all[0]
	runs := slices.Clone(all)
	if !strings.Contains(first.run, "/") {
		for _, place := range []string{m.file, m.place()} {
			if quick := p.tool.killersOf(place); quick != "" {
				runs = slices.Insert(runs, 0, stage{first.dir, quick, first.skip})
			}
		}
	}
	by := ""
	for i, s := range runs {
		if by != "" {
			break
		}
		whole := s
		if i < len(runs)-len(all) { // a part of the first
			whole = first
		}
		by, _ = p.test(s, number, limitOf(took[whole]))
	}
	r := result{Status: survived, By: by, Took: time.Since(begin).Seconds()}
	if by != "" {
		r.Status = killed
		p.tool.killer(m, by)
	}
	return r
}

// killersOf returns a regexp of the tests that killed mutants of a file or a function, "" if there
// are none.
func (t *tool) killersOf(place string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.killers[place]) == 0 {
		return ""
	}
	return "^(" + strings.Join(t.killers[place], "|") + ")$"
}

func (t *tool) killer(m *mutant, test string) {
	test, _, _ = strings.Cut(test, "/")
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, place := range []string{m.file, m.place()} {
		if strings.HasPrefix(test, "Test") && !slices.Contains(t.killers[place], test) {
			t.killers[place] = append(t.killers[place], test)
		}
	}
}

// runAll tries the mutants that have no result yet, and those that survived before.
func (t *tool) runAll(sources []*source, chosen []*mutant) error {
	wanted := map[*mutant]bool{}
	for _, m := range chosen {
		if status := t.results[m.key()].Status; status == "" || status == survived {
			wanted[m] = true
		}
	}
	var dirs []string
	byDir := map[string][]*source{}
	for _, s := range sources {
		all := s.found
		s.found = nil
		for _, m := range all {
			if wanted[m] {
				s.found = append(s.found, m)
			}
		}
		if len(s.found) > 0 {
			dir := path.Dir(s.file)
			if byDir[dir] == nil {
				dirs = append(dirs, dir)
			}
			byDir[dir] = append(byDir[dir], s)
		}
	}
	for _, dir := range dirs {
		if err := t.runPackage(dir, byDir[dir]); err != nil {
			return err
		}
	}
	return nil
}

func (t *tool) runPackage(dir string, sources []*source) error {
	overlay, numbers, err := t.compile(dir, sources)
	if err != nil {
		return err
	}
	p := t.program(overlay)
	var all []stage
	seen := map[stage]bool{}
	for _, s := range sources {
		for _, stage := range stages(s.file) {
			if !seen[stage] {
				seen[stage] = true
				all = append(all, stage)
			}
		}
	}
	if err := p.clean(all); err != nil {
		return err
	}
	queue := make(chan func(), t.parallel)
	var wg sync.WaitGroup
	for range t.parallel {
		wg.Go(func() {
			for f := range queue {
				f()
			}
		})
	}
	for _, s := range sources {
		for _, m := range s.found {
			if n, ok := numbers[m]; ok {
				queue <- func() { t.note(m, p.try(m, stages(m.file), n, p.took)) }
			} else if s.canSwitch(m) {
				t.note(m, result{Status: invalid})
			} else {
				queue <- func() { t.note(m, t.tryAlone(s, m, p.took)) }
			}
		}
	}
	close(queue)
	wg.Wait()
	// If the machine or a server had failed meanwhile, that would have killed the mutants.
	return p.clean(all)
}

// tryAlone compiles a file with one mutant, and tries that.
func (t *tool) tryAlone(s *source, m *mutant, took map[stage]time.Duration) result {
	changed := string(s.src[:m.start]) + m.text + string(s.src[m.end:])
	p, err := t.changed(s.file, changed)
	if err != nil {
		return result{Status: invalid}
	}
	defer os.RemoveAll(p.work)
	all := stages(m.file)
	for i, stage := range all {
		if err := p.build(stage.dir); err != nil {
			return result{Status: invalid}
		}
		if r := p.try(m, all[i:i+1], 0, took); r.Status == killed {
			return r
		}
	}
	return result{Status: survived}
}

// changed returns the tests with another text of a file.
func (t *tool) changed(file, text string) (*program, error) {
	work, err := os.MkdirTemp(t.temp, "alone")
	if err != nil {
		return nil, err
	}
	copied := filepath.Join(work, "changed.go")
	if err := os.WriteFile(copied, []byte(text), 0o666); err != nil {
		return nil, err
	}
	overlay, err := t.overlay(work, map[string]string{filepath.FromSlash(file): copied})
	if err != nil {
		return nil, err
	}
	return t.program(overlay), nil
}
