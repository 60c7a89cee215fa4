package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A load describes the requests that callers send. Each answer must have status 200.
type load struct {
	addr    string
	callers int
	time    time.Duration
	count   int // at most this many requests; 0 is no limit
	rate    int // requests a second, even if earlier ones are not answered; 0 is a closed loop
	body    func(i int) []byte
	method  string
	path    string
}

// send sends the requests. It speaks HTTP itself, because the standard client takes as much
// processor time as the server.
func (l load) send(ctx context.Context) (times []time.Duration, took time.Duration, failed int, first error) {
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	end := start.Add(l.time)
	for range l.callers {
		wg.Go(func() {
			own := make([]time.Duration, 0, 1<<12)
			c := &caller{load: l}
			defer c.close()
			errs, firstErr := 0, error(nil)
			for ctx.Err() == nil && time.Now().Before(end) {
				i := int(next.Add(1)) - 1
				if l.count > 0 && i >= l.count {
					break
				}
				begin := l.wait(start, i)
				if err := c.do(l.body(i)); err != nil {
					if errs++; firstErr == nil {
						firstErr = err
					}
					c.close()
					continue
				}
				own = append(own, time.Since(begin))
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, own...)
			failed += errs
			if first == nil {
				first = firstErr
			}
		})
	}
	wg.Wait()
	took = time.Since(start)
	slices.Sort(times)
	return times, took, failed, errors.Join(first, ctx.Err())
}

// sendAll sends the requests, and fails if one of them does.
func (l load) sendAll(ctx context.Context) (times []time.Duration, err error) {
	times, _, failed, err := l.send(ctx)
	if failed > 0 {
		err = errors.Join(err, fmt.Errorf("%d requests failed", failed))
	}
	return times, err
}

// wait waits until the i-th request is due, and returns when its time starts to count. If no caller
// was free in time, it counts from when the request was due; the delay of the timer does not count.
func (l load) wait(start time.Time, i int) time.Time {
	if l.rate == 0 {
		return time.Now()
	}
	due := start.Add(time.Duration(i) * time.Second / time.Duration(l.rate))
	early := time.Until(due)
	if early <= 0 {
		return due
	}
	time.Sleep(early)
	return time.Now()
}

// quantile returns the q-quantile of the sorted times, in milliseconds.
func quantile(times []time.Duration, q float64) float64 {
	if len(times) == 0 {
		return 0
	}
	i := min(int(q*float64(len(times))), len(times)-1)
	return float64(times[i].Microseconds()) / 1000
}

// A caller has one connection.
type caller struct {
	load
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

func (c *caller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *caller) do(body []byte) error {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.addr, 5*time.Second)
		if err != nil {
			return err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	c.out = fmt.Appendf(c.out[:0], "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		c.method, c.path, c.addr, len(body), body)
	if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	return c.answer()
}

// answer reads an answer, and fails unless its status is 200. Both targets send a Content-Length.
func (c *caller) answer() error {
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	answered := string(bytes.TrimSpace(status))
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if value, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("%s: the answer has no Content-Length", answered)
	}
	if ok {
		_, err = c.in.Discard(length)
		return err
	}
	text, err := io.ReadAll(io.LimitReader(c.in, int64(length)))
	return errors.Join(fmt.Errorf("%s: %s", answered, text), err)
}
