package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A row is a line of the table. One that only says what something costs has nothing wanted. Its measure
// returns one run's figure; rows of one run are measured one after the other, so that a machine that becomes
// slower is slower for all.
type row struct {
	name    string
	want    string
	good    func(figure float64) bool
	measure func(ctx context.Context) (float64, error)
}

func atLeast(want float64) (string, func(float64) bool) {
	return fmt.Sprintf("≥ %v", want), func(figure float64) bool { return figure >= want }
}

func atMost(want float64, unit string) (string, func(float64) bool) {
	return strings.TrimSpace(fmt.Sprintf("≤ %v %s", want, unit)), func(figure float64) bool { return figure <= want }
}

// writeTable measures all rows as often as asked, each beside what it is compared with.
func writeTable(ctx context.Context, m *machine, c config, stdout io.Writer) error {
	only, err := regexp.Compile(c.only)
	if err != nil {
		return fmt.Errorf("-only must be a regexp: %w", err)
	}
	rows := slices.DeleteFunc(append(m.httpRows(c), m.benchmarkRows(c.rows)...), func(r row) bool { return !only.MatchString(r.name) })
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
		f := slices.Sorted(slices.Values(figures[i]))
		median, verdict := f[len(f)/2], ""
		if r.good != nil && !r.good(median) {
			verdict = "missed"
		}
		fmt.Fprintf(w, "%s\t%s\t%.3g\t%.3g\t%.3g\t%s\n", r.name, r.want, median, f[0], f[len(f)-1], verdict)
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
	// speed is how many requests the first answers, as a part of the second's.
	speed := func(of, against config) func(context.Context) (float64, error) {
		return func(ctx context.Context) (float64, error) {
			b, err := m.measure(ctx, against)
			if err != nil {
				return 0, err
			}
			a, err := m.measure(ctx, of)
			return a.PerSecond / b.PerSecond, errors.Join(err, failures(a, b))
		}
	}
	noWorker := func(c config) config {
		c.worker = false
		return c
	}
	want, good := atLeast(0.40)
	add("POST, SQLite, of the decoder", want, good, speed(sqlite, decoder))
	add("the same on SQLite, mails sent by another process", want, good, speed(noWorker(sqlite), decoder))
	want, good = atLeast(0.30)
	add("POST, PostgreSQL, of the decoder", want, good, speed(postgres, decoder))
	add("the same on PostgreSQL, mails sent by another process", want, good, speed(noWorker(postgres), decoder))
	for _, mail := range []string{"slow", "down"} {
		want, good = atMost(1.2, "")
		add("p99 of POST while the mail server is "+mail+", of fast", want, good, func(ctx context.Context) (float64, error) {
			c := sqlite
			c.mail = "fast"
			fast, err := m.measure(ctx, c)
			if err != nil {
				return 0, err
			}
			c.mail = mail
			other, err := m.measure(ctx, c)
			return other.P99 / fast.P99, errors.Join(err, failures(fast, other))
		})
	}
	want, good = atLeast(0.83) // 1 / 1.2
	few, many := sqlite, sqlite
	few.accounts, many.accounts = 1000, c.many
	add(fmt.Sprintf("speed of POST with %d accounts, of 1,000", c.many), want, good, speed(many, few))
	want, good = atMost(1.2, "")
	const servers, rate = 8, 400
	add("time of POST, 8 instances on PostgreSQL, of 1", want, good, func(ctx context.Context) (float64, error) { return m.instances(ctx, c, servers, 0) })
	add(fmt.Sprintf("the same at %d requests a second", rate), want, good, func(ctx context.Context) (float64, error) { return m.instances(ctx, c, servers, rate) })
	want, good = atMost(2, "ms")
	add("PUT beyond the bare hash, 1 caller", want, good, func(ctx context.Context) (float64, error) { return m.put(ctx, sqlite) })
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
		return t.rss()
	})
	want, good = atMost(32, "MiB")
	add("memory that 1,000 completions at once add, beyond 19 MiB a processor and the connections", want, good, func(ctx context.Context) (float64, error) {
		return m.completions(ctx, sqlite, 1000)
	})
	add(fmt.Sprintf("memory that a burst of %d requests adds", c.burst), want, good, func(ctx context.Context) (float64, error) { return m.burst(ctx, sqlite) })

	for _, with := range []config{noWorker(sqlite), noWorker(postgres)} {
		name := map[string]string{sqlite.db: "SQLite", postgres.db: "PostgreSQL"}[with.db]
		without, unknown := with, with
		without.limits = "off"
		unknown.names = "nobody%06d"
		add("speed of POST without limits, of with, "+name, "", nil, speed(without, with))
		add("speed of POST for unknown names, of known, "+name, "", nil, speed(unknown, with))
	}
	lazy := noWorker(postgres)
	lazy.notDurable = true
	add("speed of POST that waits for no disk, of one that does, PostgreSQL", "", nil, speed(lazy, noWorker(postgres)))
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
	iterations                 string // "" is 3x: a round is long
	env                        string // one more variable
}

// benchmarkRows run the benchmarks of the packages, whose ratios are measured in one process.
func (m *machine) benchmarkRows(history int) (rows []row) {
	add := func(b benchmark, want string, good func(float64) bool) {
		rows = append(rows, row{b.name, want, good, func(ctx context.Context) (float64, error) { return b.run(ctx) }})
	}
	const dbtest = "example.com/recovery/store/sqlstore/dbtest"
	for _, db := range []struct {
		name, pattern string
		many          float64
	}{{"SQLite", "^SQLite$", 2}, {"PostgreSQL", "^PostgreSQL_with_pgx$", 1}} {
		want, good := atLeast(db.many)
		add(benchmark{name: "RequestReset, " + db.name + ", 16 callers, of the bare insert", dir: dbtest, pattern: "^BenchmarkRequestReset$/" + db.pattern + "/^callers=16$", metric: "of-bare"}, want, good)
		want, good = atLeast(0.5)
		add(benchmark{name: "RequestReset, " + db.name + ", 1 caller, of the bare insert", dir: dbtest, pattern: "^BenchmarkRequestReset$/" + db.pattern + "/^callers=1$", metric: "of-bare"}, want, good)
	}
	want, good := atLeast(0.95)
	add(benchmark{name: "CompleteReset, all cores, of bare argon2id", dir: "example.com/recovery", pattern: "^BenchmarkCompleteReset$", metric: "of-bare"}, want, good)
	want, good = atLeast(0.8)
	add(benchmark{name: "mails to a server that takes 5 ms, of a bare loop", dir: "example.com/recovery/mailer/smtpmailer/smtptest", pattern: "^BenchmarkSend$/^5ms$", metric: "worker-of-bare"}, want, good)
	add(benchmark{name: "mails to a server that answers at once, of a bare loop", dir: "example.com/recovery/mailer/smtpmailer/smtptest", pattern: "^BenchmarkSend$/^instant$", metric: "worker-of-bare"}, want, good)
	want, good = atLeast(0.83) // 1 / 1.2
	for _, db := range []struct{ name, pattern string }{{"SQLite", "^SQLite$"}, {"PostgreSQL", "^PostgreSQL_with_pgx$"}} {
		add(benchmark{name: fmt.Sprintf("speed with %d rows of history, %s, of 10 rows", history, db.name), dir: dbtest, pattern: "^BenchmarkHistory$/" + db.pattern, metric: "of-bare", env: fmt.Sprintf("RECOVERY_ROWS=%d", history)}, want, good)
	}
	want, good = atMost(10, "")
	add(benchmark{name: "allocations of a request, memstore", dir: "example.com/recovery", pattern: "^BenchmarkRequestReset$", metric: "allocs/op", iterations: "10000x"}, want, good)
	return rows
}

func (b benchmark) run(ctx context.Context) (float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", b.pattern, "-benchtime", cmp.Or(b.iterations, "3x"), "-count", "1", b.dir)
	cmd.Env = append(os.Environ(), b.env)
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
	return 0, fmt.Errorf("the benchmark said no %s: %s", b.metric, out)
}

// put returns by how many milliseconds the median PUT is longer than the median bare hash.
func (m *machine) put(ctx context.Context, c config) (float64, error) {
	const tokens = 100
	c.accounts = tokens
	t, err := m.start(ctx, c)
	if err != nil {
		return 0, err
	}
	defer t.stop()
	bodies, err := t.tokens(ctx, c, tokens)
	if err != nil {
		return 0, err
	}
	l := t.requests(c)
	l.method = http.MethodPut
	one := &caller{load: l}
	defer one.close()
	hash := make([]time.Duration, 0, tokens)
	times := make([]time.Duration, 0, tokens)
	for i := range tokens { // in turns: both are as fast as the machine is then
		took, err := bareHash()
		if err != nil {
			return 0, err
		}
		hash = append(hash, took)
		start := time.Now()
		if err := one.do(bodies[i]); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(hash)
	slices.Sort(times)
	return quantile(times, 0.5) - quantile(hash, 0.5), nil
}

// tokens asks for the first accounts, so many, and returns the bodies that redeem their tokens.
func (t *target) tokens(ctx context.Context, c config, n int) (bodies [][]byte, err error) {
	ask := t.requests(c)
	ask.count = n
	if _, err := ask.sendAll(ctx); err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		var list []struct{ To, Token string }
		if err := getJSON(ctx, t.base+"/mailbox.json", &list); err != nil {
			return nil, err
		}
		if len(list) < n {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		for _, mail := range list {
			name, _, _ := strings.Cut(mail.To, "@")
			body, err := json.Marshal(map[string]any{"account-recovery": map[string]string{
				"username": name, "password": "superSecurePassw0rd!", "token": mail.Token,
			}})
			if err != nil {
				return nil, err
			}
			bodies = append(bodies, body)
		}
		return bodies, nil
	}
	return nil, ctx.Err()
}
