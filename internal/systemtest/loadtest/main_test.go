package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

// The targets are processes: the test binary stands for the program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == decodeOnly {
		if err := serveDecoder(os.Stdout); err != nil {
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func TestBothTargets(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory and processor time are read from /proc, which only Linux has")
	}
	for _, flags := range []string{
		"-target decode-only",
		"-target server -db memory",
		"-target server -db sqlite -mail fast",
		"-target server -db sqlite -mail down",
	} {
		t.Run(flags, func(t *testing.T) {
			is := is.New(t)
			var stdout, stderr bytes.Buffer
			args := append(strings.Fields(flags), "-time", "300ms", "-callers", "3", "-accounts", "50")
			is.NoErr(run(t.Context(), args, &stdout, &stderr))
			var r result
			is.NoErr(json.Unmarshal(stdout.Bytes(), &r)) // one line of JSON
			is.Equal(r.FirstError, "")
			is.Equal(r.Errors, 0)
			is.True(r.Requests > 0 && r.PerSecond > 0)
			is.True(r.P50 <= r.P90 && r.P90 <= r.P99 && r.P99 <= r.Max)
			is.True(r.RSS > 1) // MiB
		})
	}
}

// An answer other than 200 is an error, not a fast answer.
func TestErrorsAreCounted(t *testing.T) {
	is := is.New(t)
	m := &machine{dir: t.TempDir(), stderr: &bytes.Buffer{}}
	c := config{target: decodeOnly, callers: 2, time: 200 * time.Millisecond, accounts: 1}
	target, err := m.start(t.Context(), c)
	is.NoErr(err)
	defer target.stop()
	l := target.requests(c)
	l.body = func(int) []byte { return []byte(`{}`) }
	times, _, failed, first := l.send(t.Context())
	is.Equal(len(times), 0)
	is.True(failed > 0)
	is.True(strings.Contains(first.Error(), "400 Bad Request: bad request"))
}

func TestQuantile(t *testing.T) {
	is := is.New(t)
	var times []time.Duration
	for i := range 100 {
		times = append(times, time.Duration(i+1)*time.Millisecond)
	}
	is.Equal(quantile(times, 0.5), 51.0)
	is.Equal(quantile(times, 0.99), 100.0)
	is.Equal(quantile(times, 1), 100.0)
	is.Equal(quantile(nil, 0.5), 0.0)
}

func TestSpread(t *testing.T) {
	is := is.New(t)
	_, good := atLeast(2)
	for _, c := range []struct {
		figures                 []float64
		median, lowest, highest float64
		verdict                 string
	}{
		{[]float64{3, 2, 5}, 3, 2, 5, "reached"},
		{[]float64{3, 1, 5, 2}, 2.5, 1, 5, "reached, not by every run"},
		{[]float64{1}, 1, 1, 1, "missed"},
	} {
		median, lowest, highest, verdict := row{good: good}.spread(c.figures)
		is.Equal([]float64{median, lowest, highest}, []float64{c.median, c.lowest, c.highest})
		is.Equal(verdict, c.verdict)
	}
	_, _, _, verdict := row{}.spread([]float64{1})
	is.Equal(verdict, "")
}

// A request has waited if no caller was free to send it, but not if the timer was late.
func TestWait(t *testing.T) {
	is := is.New(t)
	start := time.Now()
	l := load{rate: 100}
	begin := l.wait(start.Add(-time.Second), 50)
	is.True(begin.Equal(start.Add(-500 * time.Millisecond)))
	begin = l.wait(start, 3)
	is.True(!begin.Before(start.Add(30*time.Millisecond)) && !begin.After(time.Now()))
	is.True(time.Since(load{}.wait(start, 50)) < 10*time.Millisecond)
}

func TestWrongFlags(t *testing.T) {
	for args, want := range map[string]string{
		"more":                         `unexpected argument "more": there are only flags`,
		"-target other":                `-target must be server or decode-only, is "other"`,
		"-mail pigeon":                 `-mail must be shown, fast, slow or down, is "pigeon"`,
		"-callers 0":                   "-callers, -accounts, -runs, -burst, -many, -rows and -time must be more than zero",
		"-target a -h":                 "flag: help requested",
		"-time -1s":                    "-callers, -accounts, -runs, -burst, -many, -rows and -time must be more than zero",
		"-db oracle:xe":                "server: -db must be sqlite:FILE",
		"-table -only (":               "-only must be a regexp",
		"-table -only xx":              `no row of the table matches "xx"`,
		"-accounts twice":              "invalid value",
		"-many 5":                      "-many needs -table",
		"-table -db memory -callers 1": "-callers cannot be used with -table, whose rows set it; -db cannot be used with -table, whose rows set it",
	} {
		t.Run(args, func(t *testing.T) {
			is := is.New(t)
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), strings.Fields(args), &stdout, &stderr)
			is.True(err != nil && strings.Contains(err.Error(), want))
			is.Equal(stdout.String(), "")
		})
	}
}
