// Command loadtest measures how fast the example server is, over HTTP, against a handler that only
// decodes the same requests.
//
//	go run ./internal/systemtest/loadtest                    # one target, a line of JSON
//	go run ./internal/systemtest/loadtest -table -runs 5     # a table of every figure, over an hour
//
// A target is a process of its own on this machine. Callers send it requests in a closed loop over
// kept connections: each sends its next request when it has the answer. Ratios of one run can be
// compared between machines; the figures themselves cannot.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if len(os.Args) > 1 && os.Args[1] == decodeOnly {
		err = serveDecoder(os.Stdout)
	} else {
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(1)
	}
}

type config struct {
	target   string
	db       string
	mail     string
	callers  int
	time     time.Duration
	accounts int
	runs     int
	table    bool
	worker   bool
	postgres string
	only     string
	many     int
	rows     int
	burst    int

	// Set by rows of the table alone:
	limits string // the server's, "" is high: counted and never reached
	names  string // the format of a user name that is asked for
}

func parse(args []string, stderr io.Writer) (c config, err error) {
	flags := flag.NewFlagSet("loadtest", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "Usage of loadtest (run it inside the source tree, from which it builds the server):")
		flags.PrintDefaults()
	}
	flags.StringVar(&c.target, "target", "server", "server, or "+decodeOnly+": the handler that only decodes")
	flags.StringVar(&c.db, "db", "sqlite", "the server's `database`: sqlite (a new file), memory, or a URL as the server takes it")
	flags.StringVar(&c.mail, "mail", "shown", "shown (in the server's mailbox), fast (a mail server that answers at once), slow (in 50 ms) or down")
	flags.IntVar(&c.callers, "callers", 16, "how many requests are under way at once")
	flags.DurationVar(&c.time, "time", 5*time.Second, "how long a run takes")
	flags.IntVar(&c.accounts, "accounts", 100_000, "how many accounts there are; each is asked for in turn")
	flags.IntVar(&c.runs, "runs", 1, "how many runs; the rows of the table take turns")
	flags.BoolVar(&c.worker, "worker", true, "whether the server sends mails meanwhile")
	flags.BoolVar(&c.table, "table", false, "measure everything and write a table; it goes with -runs, -time and the flags that say \"with -table\"")
	flags.StringVar(&c.only, "only", "", "with -table: measure only the rows whose names match this `regexp`")
	flags.IntVar(&c.many, "many", 10_000_000, "with -table: how many accounts the rows with many accounts have")
	flags.IntVar(&c.rows, "rows", 1_000_000, "with -table: how many rows a long history has")
	flags.IntVar(&c.burst, "burst", 1_000_000, "with -table: how many requests a burst has")
	flags.StringVar(&c.postgres, "postgres", cmp.Or(os.Getenv("RECOVERY_POSTGRES"), "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"), "with -table: the `URL` of PostgreSQL, where databases are created and dropped")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	var misplaced []string
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "table", "runs", "time":
		case "only", "many", "rows", "burst", "postgres":
			if !c.table {
				misplaced = append(misplaced, "-"+f.Name+" needs -table")
			}
		default:
			if c.table {
				misplaced = append(misplaced, "-"+f.Name+" cannot be used with -table, whose rows set it")
			}
		}
	})
	switch {
	case flags.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q: there are only flags", flags.Arg(0))
	case len(misplaced) > 0:
		return c, errors.New(strings.Join(misplaced, "; "))
	case c.target != "server" && c.target != decodeOnly:
		return c, fmt.Errorf("-target must be server or %s, is %q", decodeOnly, c.target)
	case mailDelays[c.mail] == 0:
		return c, fmt.Errorf("-mail must be shown, fast, slow or down, is %q", c.mail)
	case c.callers < 1 || c.accounts < 1 || c.runs < 1 || c.burst < 1 || c.many < 1 || c.rows < 1 || c.time <= 0:
		return c, errors.New("-callers, -accounts, -runs, -burst, -many, -rows and -time must be more than zero")
	}
	return c, nil
}

// A result is what a run prints as a line of JSON.
type result struct {
	Target     string  `json:"target"`
	DB         string  `json:"db,omitempty"`
	Mail       string  `json:"mail,omitempty"`
	Callers    int     `json:"callers"`
	Requests   int     `json:"requests"`
	PerSecond  float64 `json:"req_per_s"`
	P50        float64 `json:"p50_ms"`
	P90        float64 `json:"p90_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	Errors     int     `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	CPU        float64 `json:"cpu_us_per_req"` // of the target
	RSS        float64 `json:"rss_mib"`        // of the target, at the end
	Mails      float64 `json:"mails_per_s"`    // that arrived during the run, if -mail is fast or slow
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "recovery-loadtest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := &machine{dir: dir, stderr: stderr}
	if c.table {
		return writeTable(ctx, m, c, stdout)
	}
	for range c.runs {
		r, err := m.measure(ctx, c)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(stdout).Encode(r); err != nil {
			return err
		}
	}
	return nil
}
