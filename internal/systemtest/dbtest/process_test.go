//go:build unix

package dbtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/recovery/internal/systemtest/dbtest/databases"
	"github.com/matryer/is"
)

// program returns the first installed one of some programs, given by path, pattern or name. If
// there is none, the test is skipped or fails.
func program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		found, _ := filepath.Glob(name)
		slices.Reverse(found) // the latest version first
		for _, candidate := range append(found, name) {
			if path, err := exec.LookPath(candidate); err == nil {
				return path
			}
		}
	}
	databases.Missing(t, filepath.Base(names[0]), exec.ErrNotFound)
	return ""
}

// freeAddr returns an address that nothing listens on.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.New(t).NoErr(err)
	defer l.Close()
	return l.Addr().String()
}

func portOf(t testing.TB, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	is.New(t).NoErr(err)
	return port
}

// eventually waits until a condition holds, and fails the test after a minute.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// An identity is a user that servers run as, because most refuse to run as root. It is the first of
// the names that exists, or the test's own user if that is not root.
type identity struct{ credential *syscall.Credential }

func identityOf(t testing.TB, names ...string) identity {
	t.Helper()
	if os.Geteuid() != 0 {
		return identity{}
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		is.New(t).NoErr(err)
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		is.New(t).NoErr(err)
		return identity{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	databases.Missing(t, "a user for the server", fmt.Errorf("there is none of %q", names))
	return identity{}
}

// dir makes a directory of the user, which is removed when the test is over.
func (id identity) dir(t testing.TB) string {
	t.Helper()
	is := is.New(t)
	dir, err := os.MkdirTemp("", "recovery-server-")
	is.NoErr(err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	if id.credential != nil {
		is.NoErr(os.Chown(dir, int(id.credential.Uid), int(id.credential.Gid)))
	}
	return dir
}

// command is exec.Command as that user, with a directory of the user's as the current one.
func (id identity) command(dir, program string, args ...string) *exec.Cmd {
	c := exec.Command(program, args...)
	c.Dir = dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: id.credential}
	return c
}

// run runs a program of the user's to its end.
func (id identity) run(t testing.TB, dir, program string, args ...string) {
	t.Helper()
	if out, err := id.command(dir, program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// A process is a server that runs until it is killed, at the latest at the end of the test.
type process struct {
	command *exec.Cmd
	output  bytes.Buffer // is complete when it has ended, with its children: they write here too
	ended   chan struct{}
}

// start starts a command that an identity has made.
func start(t testing.TB, c *exec.Cmd) *process {
	t.Helper()
	p := &process{command: c, ended: make(chan struct{})}
	c.Stdout, c.Stderr = &p.output, &p.output
	dieWithParent(c.SysProcAttr)
	is.New(t).NoErr(c.Start())
	go func() {
		defer close(p.ended)
		_ = c.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said: %s", c.Path, &p.output)
		}
	})
	return p
}

// running reports whether the process has not ended.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill kills the process and its children as nearly at one instant as possible. It stops the
// process first, so that this notices nothing and starts no more.
func (p *process) kill() {
	pid := p.command.Process.Pid
	if p.running() && syscall.Kill(pid, syscall.SIGSTOP) == nil {
		for _, child := range children(pid) {
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.ended
}

// children returns the child processes, where the system lists them. Elsewhere PostgreSQL's end
// when they notice that it is dead.
func children(pid int) (pids []int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}
