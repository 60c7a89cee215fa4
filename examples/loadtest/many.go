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
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"example.com/recovery"
)

// withPostgres has f use a database that is dropped afterwards.
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

// instances returns how long a request takes n servers that share a database, as a part of how long it
// takes one. The callers are the same, spread over the servers.
func (m *machine) instances(ctx context.Context, c config, n int) (ratio float64, err error) {
	c.target, c.mail = "server", "shown"
	perSecond := func(servers int) (rate float64, err error) {
		err = withPostgres(ctx, c.postgres, func(url string) error {
			c.db = url
			var targets []*target
			defer func() {
				for _, t := range targets {
					t.stop()
				}
			}()
			for range servers {
				t, err := m.start(ctx, c)
				if err != nil {
					return err
				}
				targets = append(targets, t)
			}
			var mu sync.Mutex
			var wg sync.WaitGroup
			requests := 0
			for i, t := range targets {
				wg.Go(func() {
					l := t.requests(c)
					l.callers = max(1, c.callers/servers)
					body := l.body
					l.body = func(n int) []byte { return body(n*servers + i) }
					times, _, failed, e := l.send(ctx)
					mu.Lock()
					defer mu.Unlock()
					requests += len(times)
					if failed > 0 {
						e = errors.Join(e, fmt.Errorf("%d requests failed", failed))
					}
					err = errors.Join(err, e)
				})
			}
			wg.Wait()
			rate = float64(requests) / c.time.Seconds()
			return err
		})
		return rate, err
	}
	one, err := perSecond(1)
	if err != nil {
		return 0, err
	}
	many, err := perSecond(n)
	return one / many, err
}

// burst returns how many MiB the server takes more after so many requests as fast as they go.
func (m *machine) burst(ctx context.Context, c config) (float64, error) {
	t, err := m.start(ctx, c)
	if err != nil {
		return 0, err
	}
	defer t.stop()
	before, err := t.rss()
	if err != nil {
		return 0, err
	}
	l := t.requests(c)
	l.count, l.time = c.burst, time.Hour
	most := before
	done := make(chan error, 1)
	go func() {
		_, _, failed, err := l.send(ctx)
		if failed > 0 {
			err = errors.Join(err, fmt.Errorf("%d requests failed", failed))
		}
		done <- err
	}()
	for {
		select {
		case err := <-done:
			return most - before, err
		case <-time.After(100 * time.Millisecond):
		}
		now, err := t.rss()
		if err != nil {
			return 0, err
		}
		most = max(most, now)
	}
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
