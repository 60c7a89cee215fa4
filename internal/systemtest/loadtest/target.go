package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// newPostgres is the -db of a row that creates a PostgreSQL database of its own.
const newPostgres = "new"

const listensOn = "listening on "

// A machine is what runs share: a directory, and the server that was built.
type machine struct {
	dir    string
	stderr io.Writer
	server string
	files  int
}

// A target is a process that is measured.
type target struct {
	cmd   *exec.Cmd
	base  string
	mails *mailServer // that it sends to; accepts nothing if it was not started
}

func (m *machine) start(ctx context.Context, c config, flags ...string) (*target, error) {
	if c.target == decodeOnly {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return m.launch(exec.CommandContext(ctx, self, decodeOnly))
	}
	if m.server == "" {
		path := filepath.Join(m.dir, "server")
		build := exec.CommandContext(ctx, "go", "build", "-o", path, "example.com/recovery/examples/server")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the server: %w: %s", err, out)
		}
		m.server = path
	}
	db := c.db
	if db == "sqlite" {
		m.files++
		db = "sqlite:" + filepath.Join(m.dir, fmt.Sprintf("%d.db", m.files))
	}
	flags = append([]string{"-addr", "127.0.0.1:0", "-db", db, "-accounts", strconv.Itoa(c.accounts), "-limits", cmp.Or(c.limits, "high"), "-worker=" + strconv.FormatBool(c.worker)}, flags...)
	return m.launch(exec.CommandContext(ctx, m.server, flags...))
}

// launch starts a process, and waits until it says where it listens.
func (m *machine) launch(cmd *exec.Cmd) (*target, error) {
	said := &beginning{}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t := &target{cmd: cmd}
	lines := bufio.NewScanner(out)
	for t.base == "" && lines.Scan() {
		for _, mark := range []string{listensOn, "to try out, on "} {
			if _, base, ok := strings.Cut(lines.Text(), mark); ok {
				t.base = base
			}
		}
	}
	if t.base == "" {
		t.stop()
		return nil, fmt.Errorf("the target ended before it listened: %s", said.text)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return t, nil
}

// A beginning keeps the first 4 KiB that are written. There a target says why it does not start;
// what it says later is only about the load.
type beginning struct{ text []byte }

func (b *beginning) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), 4096-len(b.text))]...)
	return len(p), nil
}

func (t *target) addr() string { return strings.TrimPrefix(t.base, "http://") }

func (t *target) stop() {
	_ = t.cmd.Process.Kill()
	_ = t.cmd.Wait()
}

// memory returns a figure of the process in MiB: VmRSS, what is resident, or VmHWM, the peak.
func (t *target) memory(figure string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", t.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("memory is known on Linux only: %w", err)
	}
	_, rest, _ := strings.Cut(string(status), figure+":")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	return float64(kib) / 1024, err
}

// cpu returns the processor time that was used so far.
func (t *target) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", t.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("processor time is known on Linux only: %w", err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err, err2) // Linux counts in 1/100 s
}

// measure starts a target, sends it requests for user names, and stops it.
func (m *machine) measure(ctx context.Context, c config) (r result, err error) {
	if c.db == newPostgres {
		err = withPostgres(ctx, c.postgres, func(url string) error {
			c.db = url
			r, err = m.measure(ctx, c)
			return err
		})
		return r, err
	}
	r = result{Target: c.target, Callers: c.callers}
	var flags []string
	mails := &mailServer{delay: mailDelays[c.mail]}
	if c.target == "server" {
		r.Mail = c.mail
		r.DB, _, _ = strings.Cut(c.db, ":")
		var stop func()
		var err error
		if flags, stop, err = mails.flags(c.mail); err != nil {
			return r, err
		}
		defer stop()
	}
	t, err := m.start(ctx, c, flags...)
	if err != nil {
		return r, err
	}
	defer t.stop()
	t.mails = mails
	return r, t.fill(ctx, &r, t.requests(c))
}

// requests asks for every account in turn.
func (t *target) requests(c config) load {
	return load{
		addr: t.addr(), callers: c.callers, time: c.time, method: "POST", path: "/account-recovery",
		body: func(i int) []byte {
			return fmt.Appendf(nil, `{"account-recovery":{"username":"`+cmp.Or(c.names, "user%06d")+`"}}`, 1+i%c.accounts)
		},
	}
}

// fill sends the load and fills in r.
func (t *target) fill(ctx context.Context, r *result, l load) error {
	warm := l
	warm.time = l.time / 5
	if _, _, _, err := warm.send(ctx); err != nil {
		return err
	}
	before, err := t.cpu()
	if err != nil {
		return err
	}
	mails := t.mails.accepted.Load()
	times, took, failed, first := l.send(ctx)
	mails = t.mails.accepted.Load() - mails
	after, err := t.cpu()
	if err != nil {
		return err
	}
	if r.RSS, err = t.memory("VmRSS"); err != nil {
		return err
	}
	r.Requests, r.Errors = len(times), failed
	if first != nil {
		r.FirstError = first.Error()
	}
	if len(times) == 0 {
		return fmt.Errorf("no request was answered: %w", first)
	}
	r.PerSecond, r.Mails = float64(len(times))/took.Seconds(), float64(mails)/took.Seconds()
	r.P50, r.P90, r.P99, r.Max = quantile(times, 0.5), quantile(times, 0.9), quantile(times, 0.99), quantile(times, 1)
	r.CPU = float64((after - before).Microseconds()) / float64(len(times))
	return nil
}
