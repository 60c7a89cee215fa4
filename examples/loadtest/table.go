package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A row is a line of the table. Its measure returns one run's figure; rows of one run are measured one
// after the other, so that a machine that becomes slower is slower for all.
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
	rows := append(m.httpRows(c), m.benchmarkRows()...)
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
		if !r.good(median) {
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
	with := func(change func(*config)) config {
		c := c
		c.target, c.mail, c.db, c.worker = "server", "shown", "sqlite", true
		change(&c)
		return c
	}
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
	onPostgres := func(change func(*config)) func(context.Context) (float64, error) {
		return func(ctx context.Context) (figure float64, err error) {
			against := with(func(c *config) { c.target = decodeOnly })
			err = withPostgres(ctx, c.postgres, func(url string) error {
				of := with(func(c *config) { c.db = url })
				change(&of)
				figure, err = speed(of, against)(ctx)
				return err
			})
			return figure, err
		}
	}
	decoder := with(func(c *config) { c.target = decodeOnly })
	noWorker := func(c *config) { c.worker = false }
	want, good := atLeast(0.40)
	add("POST, SQLite, of the decoder", want, good, speed(with(func(*config) {}), decoder))
	add("the same, mails sent by another process", want, good, speed(with(noWorker), decoder))
	want, good = atLeast(0.30)
	add("POST, PostgreSQL, of the decoder", want, good, onPostgres(func(*config) {}))
	add("the same, mails sent by another process", want, good, onPostgres(noWorker))
	for _, mail := range []string{"slow", "down"} {
		want, good = atMost(1.2, "")
		add("p99 of POST while the mail server is "+mail+", of fast", want, good, func(ctx context.Context) (float64, error) {
			fast, err := m.measure(ctx, with(func(c *config) { c.mail = "fast" }))
			if err != nil {
				return 0, err
			}
			other, err := m.measure(ctx, with(func(c *config) { c.mail = mail }))
			return other.P99 / fast.P99, errors.Join(err, failures(fast, other))
		})
	}
	want, good = atLeast(0.83) // 1 / 1.2
	add("speed of POST with 1,000,000 accounts, of 1,000", want, good, speed(
		with(func(c *config) { c.accounts = 1_000_000 }), with(func(c *config) { c.accounts = 1000 })))
	want, good = atMost(1.2, "")
	add("time of POST, 8 instances on PostgreSQL, of 1", want, good, func(ctx context.Context) (float64, error) { return m.instances(ctx, c, 8) })
	want, good = atMost(2, "ms")
	add("PUT beyond the bare hash, 1 caller", want, good, func(ctx context.Context) (float64, error) { return m.put(ctx, with(func(*config) {})) })
	want, good = atMost(20, "MiB")
	add("memory of the idle server, memory store", want, good, func(ctx context.Context) (float64, error) {
		t, err := m.start(ctx, with(func(c *config) { c.db, c.accounts = "memory", 0 }))
		if err != nil {
			return 0, err
		}
		defer t.stop()
		time.Sleep(5 * time.Second)
		return t.rss()
	})
	want, good = atMost(32, "MiB")
	add(fmt.Sprintf("memory that a burst of %d requests adds", c.burst), want, good, func(ctx context.Context) (float64, error) { return m.burst(ctx, with(func(*config) {})) })
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
type benchmark struct{ name, dir, pattern, metric string }

// benchmarkRows run the benchmarks of the packages, whose ratios are measured in one process.
func (m *machine) benchmarkRows() (rows []row) {
	add := func(b benchmark, want string, good func(float64) bool) {
		rows = append(rows, row{b.name, want, good, func(ctx context.Context) (float64, error) { return b.run(ctx) }})
	}
	const dbtest = "example.com/recovery/store/sqlstore/dbtest"
	for _, db := range []struct {
		name, pattern string
		many          float64
	}{{"SQLite", "^SQLite$", 2}, {"PostgreSQL", "^PostgreSQL_with_pgx$", 1}} {
		want, good := atLeast(db.many)
		add(benchmark{"RequestReset, " + db.name + ", 16 callers, of the bare insert", dbtest, "^BenchmarkRequestReset$/" + db.pattern + "/^callers=16$", "of-bare"}, want, good)
		want, good = atLeast(0.5)
		add(benchmark{"RequestReset, " + db.name + ", 1 caller, of the bare insert", dbtest, "^BenchmarkRequestReset$/" + db.pattern + "/^callers=1$", "of-bare"}, want, good)
	}
	want, good := atLeast(0.95)
	add(benchmark{"CompleteReset, all cores, of bare argon2id", "example.com/recovery", "^BenchmarkCompleteReset$", "of-bare"}, want, good)
	want, good = atLeast(0.8)
	add(benchmark{"mails to a server that takes 5 ms, of a bare loop", "example.com/recovery/mailer/smtpmailer/smtptest", "^BenchmarkSend$/^5ms$", "worker-of-bare"}, want, good)
	add(benchmark{"mails to a server that answers at once, of a bare loop", "example.com/recovery/mailer/smtpmailer/smtptest", "^BenchmarkSend$/^instant$", "worker-of-bare"}, want, good)
	want, good = atLeast(0.83) // 1 / 1.2
	for _, db := range []struct{ name, pattern string }{{"SQLite", "^SQLite$"}, {"PostgreSQL", "^PostgreSQL_with_pgx$"}} {
		add(benchmark{"speed with 100,000 rows of history, " + db.name + ", of 10 rows", dbtest, "^BenchmarkHistory$/" + db.pattern, "of-bare"}, want, good)
	}
	want, good = atMost(10, "")
	add(benchmark{"allocations of a request, memstore", "example.com/recovery", "^BenchmarkRequestReset$", "allocs/op"}, want, good)
	return rows
}

func (b benchmark) run(ctx context.Context) (float64, error) {
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", b.pattern, "-benchtime", "3x", "-count", "1", b.dir).CombinedOutput()
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
	ask := t.requests(c)
	ask.count, ask.callers = tokens, 1
	if _, _, failed, err := ask.send(ctx); err != nil || failed > 0 {
		return 0, errors.Join(err, fmt.Errorf("%d requests failed", failed))
	}
	mails, err := t.mails(ctx, tokens)
	if err != nil {
		return 0, err
	}
	hash := make([]time.Duration, 0, tokens)
	times := make([]time.Duration, 0, tokens)
	for i := range tokens { // in turns: both are as fast as the machine is then
		took, err := bareHash()
		if err != nil {
			return 0, err
		}
		hash = append(hash, took)
		one := t.requests(c)
		one.callers, one.count, one.method = 1, 1, "PUT"
		one.body = func(int) []byte { return mails[i] }
		took2, _, failed, err := one.send(ctx)
		if err != nil || failed > 0 {
			return 0, errors.Join(err, errors.New("a PUT failed"))
		}
		times = append(times, took2...)
	}
	slices.Sort(hash)
	slices.Sort(times)
	return quantile(times, 0.5) - quantile(hash, 0.5), nil
}

// mails waits for so many tokens and returns the bodies that redeem them.
func (t *target) mails(ctx context.Context, n int) (bodies [][]byte, err error) {
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
