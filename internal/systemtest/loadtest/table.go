package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A row is a line of the table. A row without a goal has no want. measure returns the figure of one
// run. Each run measures all rows, so that a machine that slows down slows down all of them.
type row struct {
	name    string
	want    string
	good    func(figure float64) bool
	measure func(ctx context.Context) (float64, error)
}

// spread returns the median, the lowest and the highest of the figures, and a verdict.
func (r row) spread(figures []float64) (median, lowest, highest float64, verdict string) {
	f := slices.Sorted(slices.Values(figures))
	lowest, highest = f[0], f[len(f)-1]
	median = (f[(len(f)-1)/2] + f[len(f)/2]) / 2
	switch {
	case r.good == nil:
	case !r.good(median):
		verdict = "missed"
	case !r.good(lowest) || !r.good(highest):
		verdict = "reached, not by every run"
	default:
		verdict = "reached"
	}
	return median, lowest, highest, verdict
}

// flat is the relative speed of a request that takes 1.2 times as long.
const flat = 1 / 1.2

func atLeast(want float64) (string, func(float64) bool) {
	return fmt.Sprintf("≥ %.3g", want), func(figure float64) bool { return figure >= want }
}

func atMost(want float64, unit string) (string, func(float64) bool) {
	return strings.TrimSpace(fmt.Sprintf("≤ %v %s", want, unit)), func(figure float64) bool { return figure <= want }
}

// writeTable measures every row c.runs times, and writes the table.
func writeTable(ctx context.Context, m *machine, c config, stdout io.Writer) error {
	only, err := regexp.Compile(c.only)
	if err != nil {
		return fmt.Errorf("-only must be a regexp: %w", err)
	}
	rows := slices.DeleteFunc(append(m.httpRows(c), benchmarkRows(c)...), func(r row) bool { return !only.MatchString(r.name) })
	if len(rows) == 0 {
		return fmt.Errorf("no row of the table matches %q", c.only)
	}
	figures := make([][]float64, len(rows))
	for run := range c.runs {
		for i, r := range rows {
			figure, err := r.measure(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			figures[i] = append(figures[i], figure)
			fmt.Fprintf(m.stderr, "run %d of %d: %s: %.3g\n", run+1, c.runs, r.name, figure)
		}
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "what\twanted\tmedian\tlowest\thighest\t\n")
	for i, r := range rows {
		median, lowest, highest, verdict := r.spread(figures[i])
		fmt.Fprintf(w, "%s\t%s\t%.3g\t%.3g\t%.3g\t%s\n", r.name, r.want, median, lowest, highest, verdict)
	}
	return w.Flush()
}

func (m *machine) httpRows(c config) []row {
	var rows []row
	add := func(name, want string, good func(float64) bool, measure func(context.Context) (float64, error)) {
		rows = append(rows, row{name, want, good, measure})
	}
	sqlite := c
	sqlite.target, sqlite.mail, sqlite.db, sqlite.worker = "server", "shown", "sqlite", true
	postgres, decoder := sqlite, sqlite
	postgres.db, decoder.target = newPostgres, decodeOnly
	// ratio measures both, and divides the figure of the first by that of the second.
	ratio := func(figure func(result) float64, of, against config) func(context.Context) (float64, error) {
		return func(ctx context.Context) (float64, error) {
			b, err := m.measure(ctx, against)
			if err != nil {
				return 0, err
			}
			a, err := m.measure(ctx, of)
			return figure(a) / figure(b), errors.Join(err, failures(a, b))
		}
	}
	speed := func(of, against config) func(context.Context) (float64, error) {
		return ratio(func(r result) float64 { return r.PerSecond }, of, against)
	}
	p99 := func(of, against config) func(context.Context) (float64, error) {
		return ratio(func(r result) float64 { return r.P99 }, of, against)
	}
	noWorker := func(c config) config {
		c.worker = false
		return c
	}
	want, good := atLeast(0.25)
	add("speed of POST, SQLite, relative to the decoder", want, good, speed(sqlite, decoder))
	add("speed of POST, SQLite, mails sent by another process, relative to the decoder", want, good, speed(noWorker(sqlite), decoder))
	want, good = atLeast(0.20)
	add("speed of POST, PostgreSQL, relative to the decoder", want, good, speed(postgres, decoder))
	add("speed of POST, PostgreSQL, mails sent by another process, relative to the decoder", want, good, speed(noWorker(postgres), decoder))
	want, good = atMost(110, "µs")
	add("processor time of the server for each POST, SQLite", want, good, func(ctx context.Context) (float64, error) {
		r, err := m.measure(ctx, sqlite)
		return r.CPU, errors.Join(err, failures(r))
	})
	fast, slow, down := sqlite, sqlite, sqlite
	fast.mail, slow.mail, down.mail = "fast", "slow", "down"
	want, good = atMost(1.2, "")
	add("p99 of POST while the mail server takes 50 ms, relative to a fast one", want, good, p99(slow, fast))
	add("p99 of POST while the mail server is down, relative to a fast one", want, good, p99(down, fast))
	add("p99 of POST while the mail server is fast, relative to no mails", "", nil, p99(fast, noWorker(sqlite)))
	add("mails a second to a fast mail server during POST", "", nil, func(ctx context.Context) (float64, error) {
		r, err := m.measure(ctx, fast)
		return r.Mails, errors.Join(err, failures(r))
	})
	const servers, rate = 8, 400
	add(fmt.Sprintf("time of POST at %d requests a second, 8 instances on PostgreSQL, relative to 1", rate), want, good, func(ctx context.Context) (float64, error) {
		return m.instances(ctx, postgres, servers, rate)
	})
	want, good = atMost(2.5, "")
	add("time of POST, 16 callers, mails sent by another process, 8 instances on PostgreSQL, relative to 1", want, good, func(ctx context.Context) (float64, error) {
		return m.instances(ctx, noWorker(postgres), servers, 0)
	})
	add("time of POST without limits, 16 callers, mails sent by another process, 8 instances on PostgreSQL, relative to 1", "", nil, func(ctx context.Context) (float64, error) {
		c := noWorker(postgres)
		c.limits = "off"
		return m.instances(ctx, c, servers, 0)
	})
	want, good = atMost(2, "ms")
	add("time of PUT beyond the bare hash, 1 caller", want, good, func(ctx context.Context) (float64, error) { return m.put(ctx, sqlite) })
	want, good = atMost(20, "MiB")
	add("memory of the idle server, memory store", want, good, func(ctx context.Context) (float64, error) {
		c := sqlite
		c.db, c.accounts = "memory", 0
		t, err := m.start(ctx, c)
		if err != nil {
			return 0, err
		}
		defer t.stop()
		time.Sleep(5 * time.Second)
		return t.memory("VmRSS")
	})
	want, good = atMost(32, "MiB")
	const many = 1000
	add(fmt.Sprintf("memory that %d completions at once add to the idle server, beyond 19 MiB a processor", many), want, good, func(ctx context.Context) (float64, error) {
		return m.completions(ctx, sqlite, many)
	})
	add(fmt.Sprintf("memory that %d connections add to the idle decoder", many), "", nil, func(ctx context.Context) (float64, error) {
		return m.connections(ctx, decoder, many)
	})
	add(fmt.Sprintf("memory that a burst of %d requests adds to the idle server", c.burst), want, good, func(ctx context.Context) (float64, error) { return m.burst(ctx, sqlite) })

	for _, with := range []config{noWorker(sqlite), noWorker(postgres)} {
		name := map[string]string{sqlite.db: "SQLite", postgres.db: "PostgreSQL"}[with.db]
		without, unknown := with, with
		without.limits = "off"
		unknown.names = "nobody%06d"
		add("speed of POST without limits, relative to with limits, "+name, "", nil, speed(without, with))
		add("speed of POST for unknown names, relative to known ones, "+name, "", nil, speed(unknown, with))
	}
	return rows
}

func failures(results ...result) error {
	for _, r := range results {
		if r.Errors > 0 {
			return fmt.Errorf("%d of %d requests failed: %s", r.Errors, r.Requests+r.Errors, r.FirstError)
		}
	}
	return nil
}

// A benchmark is a testing.B that reports a ratio.
type benchmark struct {
	name, dir, pattern, metric string
	iterations                 string   // "" is 3x: a round is long
	env                        []string // more variables
}

// benchmarkRows run the packages' benchmarks, which measure both sides of a ratio in one process.
func benchmarkRows(c config) (rows []row) {
	add := func(b benchmark, want string, good func(float64) bool) {
		b.env = append(b.env, "RECOVERY_POSTGRES="+c.postgres)
		rows = append(rows, row{b.name, want, good, func(ctx context.Context) (float64, error) { return b.run(ctx) }})
	}
	const dbtest = "example.com/recovery/internal/systemtest/dbtest"
	databases := []struct {
		name, pattern string
		many, one     float64
	}{{"SQLite", "^SQLite$", 4, 0.65}, {"PostgreSQL", "^PostgreSQL_with_pgx$", 1.2, 0.55}}
	for _, db := range databases {
		want, good := atLeast(db.many)
		add(benchmark{name: "speed of RequestReset, " + db.name + ", 16 callers, relative to the bare insert", dir: dbtest, pattern: "^BenchmarkRequestReset$/" + db.pattern + "/^callers=16$", metric: "of-bare", iterations: "10x"}, want, good)
		want, good = atLeast(db.one)
		add(benchmark{name: "speed of RequestReset, " + db.name + ", 1 caller, relative to the bare insert", dir: dbtest, pattern: "^BenchmarkRequestReset$/" + db.pattern + "/^callers=1$", metric: "of-bare", iterations: "6x"}, want, good)
		want, good = atLeast(0.9)
		add(benchmark{name: "speed of RequestReset, " + db.name + ", 16 callers beside a client over its limit, relative to them alone", dir: dbtest, pattern: "^BenchmarkFlood$/" + db.pattern, metric: "of-alone", iterations: "6x"}, want, good)
		add(benchmark{name: "speed of RequestReset, 16 callers, without waiting for the disk, relative to waiting, " + db.name, dir: dbtest, pattern: "^BenchmarkDurability$/" + db.pattern, metric: "of-bare", iterations: "10x"}, "", nil)
	}
	want, good := atLeast(0.95)
	add(benchmark{name: "speed of CompleteReset, memory store, all cores, relative to bare argon2id", dir: "example.com/recovery", pattern: "^BenchmarkCompleteReset$", metric: "of-bare"}, want, good)
	want, good = atLeast(0.8)
	add(benchmark{name: "speed of mails to a server that takes 5 ms, relative to a bare loop", dir: "example.com/recovery/internal/systemtest/smtptest", pattern: "^BenchmarkSend$/^5ms$", metric: "worker-of-bare"}, want, good)
	add(benchmark{name: "speed of mails to a server that answers at once, relative to a bare loop", dir: "example.com/recovery/internal/systemtest/smtptest", pattern: "^BenchmarkSend$/^instant$", metric: "worker-of-bare", iterations: "20x"}, want, good)
	want, good = atLeast(flat)
	for _, db := range databases {
		add(benchmark{name: fmt.Sprintf("speed of a request and its mail with %d accounts, %s, relative to 1,000", c.many, db.name), dir: dbtest, pattern: "^BenchmarkAccounts$/" + db.pattern, metric: "of-bare", env: []string{fmt.Sprintf("RECOVERY_ACCOUNTS=%d", c.many)}}, want, good)
		add(benchmark{name: fmt.Sprintf("speed of a request and its end with %d rows of history, %s, relative to 10 rows", c.rows, db.name), dir: dbtest, pattern: "^BenchmarkHistory$/" + db.pattern, metric: "of-bare", env: []string{fmt.Sprintf("RECOVERY_ROWS=%d", c.rows)}}, want, good)
	}
	want, good = atMost(10, "")
	add(benchmark{name: "allocations of a request, memstore", dir: "example.com/recovery", pattern: "^BenchmarkRequestReset$", metric: "allocs/op", iterations: "10000x"}, want, good)
	return rows
}

func (b benchmark) run(ctx context.Context) (float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", b.pattern, "-benchtime", cmp.Or(b.iterations, "3x"), "-count", "1", "-timeout", "1h", b.dir)
	cmd.Env = append(os.Environ(), b.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		for i, f := range fields {
			if f == b.metric && strings.HasPrefix(fields[0], "Benchmark") {
				return strconv.ParseFloat(fields[i-1], 64)
			}
		}
	}
	return 0, fmt.Errorf("the benchmark reported no %s: %s", b.metric, out)
}
