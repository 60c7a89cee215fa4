package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"example.com/recovery"
)

// withPostgres calls f with a new database, and drops it afterwards.
func withPostgres(ctx context.Context, server string, f func(url string) error) error {
	u, err := url.Parse(server)
	if err != nil {
		return errors.New("-postgres must be a URL")
	}
	admin, err := sql.Open("pgx", server)
	if err != nil {
		return err
	}
	defer admin.Close()
	name := fmt.Sprintf("recovery_loadtest_%d", os.Getpid())
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return err
	}
	u.Path = "/" + name
	err = f(u.String())
	_, dropped := admin.ExecContext(context.WithoutCancel(ctx), "DROP DATABASE "+name+" WITH (FORCE)")
	return errors.Join(err, dropped)
}

// fleet sends the load to n servers that share a database, and returns the times of all requests.
// It splits the callers among the servers, and spreads a rate evenly over time, whatever n is.
func (m *machine) fleet(ctx context.Context, c config, n, rate int) (times []time.Duration, err error) {
	err = withPostgres(ctx, c.postgres, func(url string) error {
		c.db = url
		var targets []*target
		defer func() {
			for _, t := range targets {
				t.stop()
			}
		}()
		for range n {
			t, err := m.start(ctx, c)
			if err != nil {
				return err
			}
			targets = append(targets, t)
		}
		for _, c.time = range []time.Duration{c.time / 5, c.time} { // the first is to warm up and does not count
			var mu sync.Mutex
			var wg sync.WaitGroup
			var failures []error
			times = nil
			for i, t := range targets {
				wg.Go(func() {
					l := t.requests(c)
					l.callers, l.rate = max(1, c.callers/n), rate/n
					if rate > 0 {
						time.Sleep(time.Duration(i) * time.Second / time.Duration(rate))
					}
					body := l.body
					l.body = func(k int) []byte { return body(k*n + i) }
					own, err := l.sendAll(ctx)
					mu.Lock()
					defer mu.Unlock()
					times, failures = append(times, own...), append(failures, err)
				})
			}
			wg.Wait()
			if err := errors.Join(failures...); err != nil {
				return err
			}
		}
		slices.Sort(times)
		return nil
	})
	return times, err
}

// instances returns how long n servers that share a database take for a request, relative to one
// server: at rate requests a second, or in a closed loop if rate is 0.
func (m *machine) instances(ctx context.Context, c config, n, rate int) (float64, error) {
	one, err := m.fleet(ctx, c, 1, rate)
	if err != nil {
		return 0, err
	}
	many, err := m.fleet(ctx, c, n, rate)
	if rate > 0 {
		return quantile(many, 0.5) / quantile(one, 0.5), err
	}
	return float64(len(one)) / float64(len(many)), err
}

// onFile calls prepare with a server, and f with a fresh one on the same database.
func (m *machine) onFile(ctx context.Context, c config, prepare, f func(*target) error) error {
	m.files++
	c.db = "sqlite:" + filepath.Join(m.dir, fmt.Sprintf("prepared%d.db", m.files))
	for _, use := range []func(*target) error{prepare, f} {
		t, err := m.start(ctx, c)
		if err != nil {
			return err
		}
		err = use(t)
		t.stop()
		if err != nil {
			return err
		}
		c.accounts = 0 // they exist now
	}
	return nil
}

// burst returns by how many MiB the server's memory grows while it answers c.burst requests as fast
// as it can.
func (m *machine) burst(ctx context.Context, c config) (grown float64, err error) {
	err = m.onFile(ctx, c, func(*target) error { return nil }, func(t *target) error {
		l := t.requests(c)
		l.count, l.time = c.burst, time.Hour
		grown, err = t.growth(func() error {
			_, err := l.sendAll(ctx)
			return err
		})
		return err
	})
	return grown, err
}

// completions returns by how many MiB the server's memory grows while n people set a password at
// once, beyond the 19 MiB that each processor needs for hashing. Most of them wait too long and are
// told to try again.
func (m *machine) completions(ctx context.Context, c config, n int) (grown float64, err error) {
	c.accounts = n
	var bodies [][]byte
	err = m.onFile(ctx, c, func(t *target) (err error) {
		bodies, err = t.tokens(ctx, c, n)
		return err
	}, func(t *target) error {
		l := t.requests(c)
		l.callers, l.count, l.time, l.method = n, n, time.Minute, http.MethodPut
		l.body = func(i int) []byte { return bodies[i] }
		grown, err = t.growth(func() error {
			times, _, failed, first := l.send(ctx)
			if len(times) == 0 {
				return fmt.Errorf("none of %d completions succeeded: %w", failed, first)
			}
			return nil
		})
		return err
	})
	const hashing = 19
	return grown - hashing*float64(runtime.NumCPU()), err
}

// connections returns by how many MiB the decoder's memory grows with n callers.
func (m *machine) connections(ctx context.Context, c config, n int) (float64, error) {
	t, err := m.start(ctx, c)
	if err != nil {
		return 0, err
	}
	defer t.stop()
	l := t.requests(c)
	l.callers = n
	return t.growth(func() error {
		_, err := l.sendAll(ctx)
		return err
	})
}

// growth waits until the server is idle, and returns by how many MiB its resident memory grows at
// most while f runs.
func (t *target) growth(f func() error) (float64, error) {
	time.Sleep(2 * time.Second)
	idle, err := t.memory("VmRSS")
	if err != nil {
		return 0, err
	}
	// This resets VmHWM.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", t.cmd.Process.Pid), []byte("5"), 0o600); err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	most, err := t.memory("VmHWM")
	return most - idle, err
}

// put returns how many milliseconds a PUT takes beyond a bare hash just before it: the median.
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
	longer := make([]time.Duration, 0, tokens)
	for i := range tokens {
		hash, err := bareHash()
		if err != nil {
			return 0, err
		}
		start := time.Now()
		if err := one.do(bodies[i]); err != nil {
			return 0, err
		}
		longer = append(longer, time.Since(start)-hash)
	}
	slices.Sort(longer)
	return quantile(longer, 0.5), nil
}

// tokens requests resets for the first n accounts, and returns the bodies that redeem their tokens.
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

func bareHash() (time.Duration, error) {
	start := time.Now()
	_, err := recovery.HashPassword("superSecurePassw0rd!")
	return time.Since(start), err
}

func getJSON(ctx context.Context, url string, v any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(v)
}
