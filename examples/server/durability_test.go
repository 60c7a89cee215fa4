package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
)

// Tests of what must survive crashes and failing mail servers, with a SQLite file and SMTP:
//
//	go test -run Durable -v ./server

// A durable server can be started again on the data that it left.
type durable struct {
	t     *testing.T
	flags []string
	mails *mailServer
}

func newDurable(t *testing.T, flags ...string) *durable {
	mails := newMailServer(t)
	return &durable{t: t, mails: mails, flags: append([]string{
		"-db", "sqlite:" + filepath.Join(t.TempDir(), "server.db"), "-smtp", mails.flag(),
		"-limits", "off", "-accounts", "100", "-send-timeout", "2s",
	}, flags...)}
}

func (d *durable) start() *process {
	d.t.Helper()
	return start(d.t, d.flags...)
}

// kill ends the process without a chance to do anything.
func (p *process) kill() {
	p.t.Helper()
	is.New(p.t).NoErr(p.cmd.Process.Kill())
	_ = p.cmd.Wait() // says that it was killed
}

// username returns the name of the i-th account that -accounts adds.
func username(i int) string { return fmt.Sprintf("user%06d", i+1) }

// ask asks for a reset and returns when the answer is there.
func (p *process) ask(username string) {
	p.t.Helper()
	status, _ := p.do("POST", "/account-recovery", fmt.Sprintf(`{"account-recovery":{"username":%q}}`, username))
	is.New(p.t).Equal(status, http.StatusOK)
}

// complete sets a new password with a token and returns the status.
func (p *process) complete(token string) int {
	p.t.Helper()
	status, _ := p.do("PUT", "/account-recovery", fmt.Sprintf(`{"account-recovery":{"password":"New-passw0rd-2","token":%q}}`, token))
	return status
}

func TestDurableKilledAfterTheAnswer(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	d := newDurable(t)
	for i := range 20 {
		p := d.start()
		p.ask(username(i))
		p.kill()
	}
	p := d.start()
	d.mails.wait(20)
	p.stop(syscall.SIGTERM)
	to := counts(d.mails.all())
	is.Equal(len(to), 20) // every request that was answered is mailed
	for i := range 20 {
		is.True(to[username(i)+"@example.com"] <= 2) // at most one repeats: it may have been on its way
	}
}

func TestDurableMailServerDown(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	d := newDurable(t)
	p := d.start()
	d.mails.down()
	for i := range 10 {
		p.ask(username(i))
	}
	time.Sleep(30 * time.Second) // real time: this is what a restart of a mail server takes
	is.Equal(len(d.mails.all()), 0)
	d.mails.up()
	d.mails.wait(10)
	p.stop(syscall.SIGTERM)
	is.Equal(len(d.mails.all()), 10)
	is.Equal(len(counts(d.mails.all())), 10)
}

func TestDurableKilledInMidDelivery(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	d := newDurable(t)
	p := d.start()
	resume := d.mails.hangs()
	for i := range 10 {
		p.ask(username(i))
	}
	time.Sleep(time.Second) // all are claimed, and on their way
	p.kill()
	resume() // the mail server accepts what it has received, but nobody hears of it
	began := len(d.mails.wait(1))
	p = d.start()
	d.mails.wait(10 + began)
	p.stop(syscall.SIGTERM)
	to := counts(d.mails.all())
	is.Equal(len(to), 10)             // all arrived, and none is stuck
	is.True(len(d.mails.all()) <= 20) // what was on its way repeats, once
}

// The server is killed after the mail server accepted a mail and before it recorded that. The mail
// repeats once, and the reader may use either token.
func TestAttack_S44_DurableKilledAfterAcceptance(t *testing.T) {
	t.Parallel()
	for use, name := range []string{"first mail", "second mail"} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			d := newDurable(t)
			p := d.start()
			killed := make(chan struct{})
			d.mails.beforeAccept(sync.OnceFunc(func() {
				pid := p.cmd.Process.Pid
				_ = syscall.Kill(pid, syscall.SIGSTOP)
				_, _ = syscall.Wait4(pid, nil, syscall.WUNTRACED, nil) // it can read no more; then the server says 250
				time.AfterFunc(200*time.Millisecond, func() {
					_ = p.cmd.Process.Kill()
					close(killed)
				})
			}))
			p.ask("billybob")
			<-killed
			_ = p.cmd.Wait()
			is.Equal(len(d.mails.all()), 1)
			p = d.start()
			d.mails.wait(2)
			p.ask("alice") // a later request is mailed
			mails := d.mails.wait(3)[:2]
			is.Equal(mails[0].to, "billybob@example.com")
			is.Equal(mails[0].id, mails[1].id) // the same mail
			tokens := []string{mails[0].token(), mails[1].token()}
			is.True(tokens[0] != "" && tokens[1] != "" && tokens[0] != tokens[1]) // with a token of its own
			is.Equal(p.complete(tokens[use]), http.StatusOK)
			is.True(p.complete(tokens[1-use]) != http.StatusOK) // until one is used
			p.stop(syscall.SIGTERM)
		})
	}
}

// While the mail server hangs, requests are answered as before.
func TestDurableMailServerHangs(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	d := newDurable(t, "-send-timeout", "30s")
	p := d.start()
	defer p.stop(syscall.SIGTERM)
	median := func(first int) time.Duration {
		var took []time.Duration
		for i := range 40 {
			start := time.Now()
			p.ask(username(first + i))
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	fast := median(0)
	d.mails.wait(40)
	resume := d.mails.hangs()
	p.ask("billybob")
	time.Sleep(time.Second) // it hangs
	hanging := median(40)
	t.Logf("median answer: %v, and %v while the mail server hangs: ratio %.2f", fast, hanging, float64(hanging)/float64(fast))
	is.Equal(len(d.mails.all()), 40)              // they were answered while it was hanging,
	is.True(hanging < 3*fast+20*time.Millisecond) // with room for a noisy machine
	resume()
	d.mails.wait(81)
}

// Jobs in the file outlive the program, so it exits with status 0, and the next one mails them.
func TestDurableStoppedWithABacklog(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	d := newDurable(t, "-send-timeout", "6s")
	p := d.start()
	resume := d.mails.hangs()
	for i := range 100 {
		p.ask(username(i))
	}
	<-d.mails.hung
	p.stop(syscall.SIGTERM) // wants exit status 0
	resume()
	p = d.start()
	for range 6000 {
		if len(counts(d.mails.all())) == 100 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	is.Equal(len(counts(d.mails.all())), 100)
	p.stop(syscall.SIGTERM)
}

// The first signal waits for a mail that hangs.
func TestDurableSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	d := newDurable(t, "-send-timeout", "10m")
	p := d.start()
	defer d.mails.hangs()()
	p.ask("billybob")
	<-d.mails.hung
	ended := make(chan struct{})
	go func() {
		_ = p.cmd.Wait()
		close(ended)
	}()
	for tick := time.Tick(100 * time.Millisecond); ; {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // a second may come while the first is taken in
		select {
		case <-ended:
			status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
			is.True(status.Signaled())
			is.Equal(status.Signal(), syscall.SIGTERM)
			return
		case <-tick:
		}
	}
}
