package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
)

const instances = 4

// startInstances starts servers that share a database.
func startInstances(t *testing.T, flags ...string) []*process {
	var all []*process
	for range instances {
		all = append(all, start(t, flags...))
	}
	return all
}

// post asks for a reset from a client's own address of the loopback network, and returns the
// status, 0 if no answer came.
func post(ctx context.Context, c *http.Client, base, username string) int {
	r, err := http.NewRequestWithContext(ctx, "POST", base+"/account-recovery", strings.NewReader(fmt.Sprintf(`{"account-recovery":{"username":%q}}`, username)))
	if err != nil {
		return 0
	}
	response, err := c.Do(r)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}

// clientAt returns a client with the address 127.0.1.n. It has no more connections to a server than
// it uses: the server closes one that has asked nothing for five seconds.
func clientAt(n, connections int) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(n))}}
	return &http.Client{Transport: &http.Transport{
		DialContext: dialer.DialContext, MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections,
	}}
}

// Four servers share a PostgreSQL database, and one dies in the middle of its work.
func TestInstancesShareTheWork(t *testing.T) {
	const requests, callers = 10_000, 16
	is := is.New(t)
	database := newDatabase(t, postgresServer)
	mails := newMailServer(t)
	flags := []string{"-db", database, "-smtp", mails.flag(), "-accounts", fmt.Sprint(requests), "-limits=off", "-send-timeout=3s"}
	servers := startInstances(t, flags...)

	// It dies with a mail that the mail server has taken.
	const victim = 2
	var mailed atomic.Int32
	killed := make(chan struct{})
	mails.beforeAccept(func() {
		if mailed.Add(1) == 300 {
			_ = servers[victim].cmd.Process.Kill()
			close(killed)
		}
	})
	var accepted [requests]bool
	var next atomic.Int32
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			c := clientAt(1, instances)
			for {
				i := int(next.Add(1)) - 1
				if i >= requests {
					return
				}
				accepted[i] = post(t.Context(), c, servers[i%instances].base, username(i)) == http.StatusOK
			}
		})
	}
	wg.Wait()
	<-killed
	_ = servers[victim].cmd.Wait()
	answered := 0
	for _, ok := range accepted {
		if ok {
			answered++
		}
	}
	is.True(answered > requests/2) // three of the four, and what the victim answered before
	end := time.Now().Add(2 * time.Minute)
	missing := answered
	for missing > 0 && time.Now().Before(end) {
		time.Sleep(200 * time.Millisecond)
		got := counts(mails.all())
		missing = 0
		for i, ok := range accepted {
			if ok && got[username(i)+"@example.com"] == 0 {
				missing++
			}
		}
	}
	is.Equal(missing, 0) // every accepted request is mailed
	for i, p := range servers {
		if i != victim {
			p.stop(syscall.SIGTERM)
		}
	}
	repeated := 0
	for _, n := range counts(mails.all()) {
		is.True(n <= 2)
		repeated += n - 1
	}
	is.True(repeated <= 32) // one for each place of the worker that was killed
	t.Logf("%d of %d requests were accepted, all were mailed, %d twice", answered, requests, repeated)
}

// Limits are counted in the database, so four servers together grant no more than one.
func TestInstancesShareTheLimits(t *testing.T) {
	const clients, each = 20, 60
	is := is.New(t)
	mails := newMailServer(t)
	servers := startInstances(t, "-db", newDatabase(t, postgresServer), "-smtp", mails.flag(), "-accounts", fmt.Sprint(clients))
	var passed, refused [clients]atomic.Int32
	start := time.Now()
	var wg sync.WaitGroup
	for n := range clients {
		c := clientAt(n+1, instances)
		for i := range each {
			wg.Go(func() {
				switch post(t.Context(), c, servers[i%instances].base, username(n)) {
				case http.StatusOK:
					passed[n].Add(1)
				case http.StatusTooManyRequests:
					refused[n].Add(1)
				}
			})
		}
	}
	wg.Wait()
	is.True(time.Since(start) < 30*time.Second) // else the limit grants one more
	for n := range clients {
		is.Equal(passed[n].Load(), int32(20)) // the limit of a client
		is.Equal(refused[n].Load(), int32(each-20))
	}
	mails.wait(clients)
	for _, p := range servers {
		p.stop(syscall.SIGTERM)
	}
	is.Equal(len(mails.all()), clients) // a name is mailed once a minute
	is.Equal(len(counts(mails.all())), clients)
}
