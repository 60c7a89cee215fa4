package dbtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// orders are the instructions of a child process, as JSON in its environment.
type orders struct {
	Driver, DSN string
	Dialect     sqlstore.Dialect
	Run         int           // the children of one test are counted; each one's clock is a minute later
	Point       string        // where it kills itself, "" for nowhere
	Pass        int           // and at which time that it gets there
	Life        time.Duration // after which it kills itself, 0 for never
	Drain       bool          // only empty the queue, then end
	Ledger      ledger
}

// later is how far the child's clock is ahead. When the queue is emptied, all retries are due.
func (o orders) later() time.Duration {
	d := time.Duration(o.Run) * time.Minute
	if o.Drain {
		d += 30 * time.Minute
	}
	return d
}

const childEnv = "RECOVERY_CHILD"

// TestChild is not a test of its own: the crash test runs it and kills it.
func TestChild(t *testing.T) {
	text := os.Getenv(childEnv)
	if text == "" {
		t.Skip("TestAttack_S43_Crash runs it")
	}
	is := is.New(t)
	var o orders
	is.NoErr(json.Unmarshal([]byte(text), &o))
	go func() { // standard input ends with the parent
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(2)
	}()
	d := &doom{point: o.Point, pass: o.Pass}
	w := newWorkload(t, databases.OpenDB(t, o.Driver, o.DSN), workOptions{
		Dialect: o.Dialect, Ledger: o.Ledger, At: d.at,
		Run:    func() int { return o.Run },
		Now:    func() time.Time { return time.Now().Add(o.later()) },
		Refuse: func() bool { return !o.Drain && rand.IntN(8) == 0 },
	})
	if o.Life > 0 {
		time.AfterFunc(o.Life, kill)
	}
	if o.Drain {
		is.NoErr(w.drain(t.Context(), func() {}))
		fmt.Println("done")
		return
	}
	var wg sync.WaitGroup
	for _, work := range []func(context.Context) error{w.ask, w.complete, w.deliver} {
		wg.Go(func() {
			for {
				if err := work(t.Context()); err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
			}
		})
	}
	wg.Wait()
}

// A doom is where a process kills itself, and at which time that it gets there.
type doom struct {
	point string
	pass  int

	mu     sync.Mutex
	passes int
}

func (d *doom) at(point string) {
	if point != d.point {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passes++; d.passes >= d.pass {
		kill()
	}
}

// kill kills this process.
func kill() {
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {}
}

// runChild runs a child until it is dead.
func runChild(t *testing.T, o orders) {
	t.Helper()
	is := is.New(t)
	text, err := json.Marshal(o)
	is.NoErr(err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestChild$")
	c.Env = append(os.Environ(), childEnv+"="+string(text))
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGQUIT) } // the child tells what it was doing
	c.WaitDelay = 5 * time.Second
	stdin, err := c.StdinPipe()
	is.NoErr(err)
	defer stdin.Close()
	said, err := c.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		t.Fatalf("the child of run %d did not end in time; it was to die %q, pass %d\n%s", o.Run, o.Point, o.Pass, said)
	case o.Drain:
		is.NoErr(err)
		is.True(bytes.HasPrefix(said, []byte("done\n"))) // the child emptied the queue
	default:
		is.Equal(string(said), "")              // no call failed in the child
		is.Equal(c.ProcessState.ExitCode(), -1) // it was killed
	}
}
