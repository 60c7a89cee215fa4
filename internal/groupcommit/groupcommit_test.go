package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

var errBroken = errors.New("broken")

// A disk runs batches, a second for each.
type disk struct {
	mu      sync.Mutex
	batches [][]string
	ctxs    []context.Context
	fails   func(calls []string) error
}

func (d *disk) run(ctx context.Context, calls []string) error {
	d.mu.Lock()
	d.batches, d.ctxs = append(d.batches, calls), append(d.ctxs, ctx)
	d.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	d.mu.Lock()
	fails := d.fails
	d.mu.Unlock()
	if fails != nil {
		return fails(calls)
	}
	return nil
}

// breaks makes the batches that have not ended return the error of fails; nil ends that.
func (d *disk) breaks(fails func(calls []string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = fails
}

// onDisk runs f in a bubble of fake time, with a Group whose batches have at most four calls.
func onDisk(t *testing.T, f func(t *testing.T, d *disk, g *Group[string])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		f(t, d, New(4, time.Minute, d.run))
		time.Sleep(time.Minute) // until no goroutine is left
	})
}

// begin makes a call on a goroutine, an urgent one if it says so. Its result comes through the
// channel; a panic is an error.
func begin(ctx context.Context, g *Group[string], call string) <-chan error {
	result := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				result <- fmt.Errorf("panic: %v", v)
			}
		}()
		result <- g.Do(ctx, call, strings.HasPrefix(call, "urgent"))
	}()
	synctest.Wait()
	return result
}

// beginAll makes the calls one after the other, all in one batch or after it.
func beginAll(ctx context.Context, g *Group[string], calls ...string) (results []<-chan error) {
	for _, call := range calls {
		results = append(results, begin(ctx, g, call))
	}
	return results
}

func succeed(t *testing.T, results ...<-chan error) {
	t.Helper()
	for _, result := range results {
		is.New(t).NoErr(<-result)
	}
}

func TestCallAloneBeginsAtOnce(t *testing.T) {
	onDisk(t, func(t *testing.T, d *disk, g *Group[string]) {
		is := is.New(t)
		began := time.Now()
		for range 3 {
			is.NoErr(g.Do(t.Context(), "a", false))
		}
		is.Equal(time.Since(began), 3*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		is.NoErr(g.Do(ctx, "a", false))
		want, _ := ctx.Deadline()
		got, _ := d.ctxs[3].Deadline()
		is.Equal(got, want)
	})
}

func TestCallsThatArriveMeanwhileShareABatch(t *testing.T) {
	onDisk(t, func(t *testing.T, d *disk, g *Group[string]) {
		is := is.New(t)
		succeed(t, beginAll(t.Context(), g, "a", "b", "c", "d", "e", "f")...)
		is.Equal(d.batches, [][]string{{"a"}, {"b", "c", "d", "e"}, {"f"}}) // in their order, four at most
		is.Equal(d.ctxs[1].Err(), context.Canceled)                         // it ended with its batch
	})
}

func TestUrgentCallsGoFirst(t *testing.T) {
	onDisk(t, func(t *testing.T, d *disk, g *Group[string]) {
		is := is.New(t)
		succeed(t, beginAll(t.Context(), g, "a", "b", "c", "d", "e", "urgent")...)
		is.Equal(d.batches, [][]string{{"a"}, {"urgent", "b", "c", "d"}, {"e"}})
	})
}

// The callers of a batch come again together: the first of them does not run alone.
func TestBatchLingersForCallersThatComeAgain(t *testing.T) {
	onDisk(t, func(t *testing.T, d *disk, g *Group[string]) {
		is := is.New(t)
		lone := begin(t.Context(), g, "lone")
		round := func(n int) (took time.Duration) {
			began := time.Now()
			succeed(t, beginAll(t.Context(), g, slices.Repeat([]string{"again"}, n)...)...)
			return time.Since(began)
		}
		is.Equal(round(3), 2*time.Second)
		is.NoErr(<-lone)
		is.Equal(round(3), time.Second)        // as many as before: nobody else is waited for
		is.Equal(round(2), time.Second+linger) // the third may have come
		time.Sleep(2 * linger)
		is.Equal(round(1), time.Second) // the batches are over
		sizes := []int{}
		for _, calls := range d.batches {
			sizes = append(sizes, len(calls))
		}
		is.Equal(sizes, []int{1, 3, 3, 2, 1})
	})
}

func TestCallerThatLeaves(t *testing.T) {
	onDisk(t, func(t *testing.T, d *disk, g *Group[string]) {
		is := is.New(t)
		ended, end := context.WithCancel(t.Context())
		end()
		is.Equal(g.Do(ended, "never", false), context.Canceled)

		ctx, leave := context.WithCancel(t.Context())
		a := begin(t.Context(), g, "a")
		early := begin(ctx, g, "early")
		b := begin(t.Context(), g, "b")
		leave()
		is.Equal(<-early, context.Canceled) // it was not begun, and will not be
		is.NoErr(<-a)

		ctx, leave = context.WithCancel(t.Context())
		c := begin(t.Context(), g, "c")
		late := begin(ctx, g, "late")
		is.NoErr(<-b)
		synctest.Wait() // now the next batch runs
		leave()
		err := <-late
		is.True(errors.Is(err, ErrLeft)) // it may come through
		is.True(errors.Is(err, context.Canceled))
		is.NoErr(<-c) // and the others do

		ctx, leave = context.WithCancel(t.Context())
		alone := begin(ctx, g, "alone")
		time.Sleep(2 * linger)
		synctest.Wait()
		leave()
		is.Equal(<-alone, context.Canceled) // what its batch says: it knows
		is.Equal(d.batches, [][]string{{"a"}, {"b"}, {"c", "late"}, {"alone"}})
	})
}

// A caller's context does not end the work of others. When all have left, the batch ends.
func TestBatchEndsWhenAllCallersHaveLeft(t *testing.T) {
	onDisk(t, func(t *testing.T, d *disk, g *Group[string]) {
		is := is.New(t)
		a := begin(t.Context(), g, "a")
		var leaves []context.CancelFunc
		var results []<-chan error
		for _, call := range []string{"b", "c"} {
			ctx, leave := context.WithCancel(t.Context())
			leaves, results = append(leaves, leave), append(results, begin(ctx, g, call))
		}
		is.NoErr(<-a)
		synctest.Wait()
		for i, leave := range leaves {
			is.NoErr(d.ctxs[1].Err()) // somebody wants it
			leave()
			is.True(errors.Is(<-results[i], context.Canceled))
		}
		synctest.Wait()
		is.Equal(d.ctxs[1].Err(), context.Canceled)
		is.NoErr(g.Do(t.Context(), "d", false))
	})
}

func TestFailures(t *testing.T) {
	ofOne := func(end func() error) func(calls []string) error {
		return func(calls []string) error {
			i := slices.Index(calls, "bad")
			return Call(i, func() error {
				if i < 0 {
					return nil
				}
				return end()
			})
		}
	}
	together := [][]string{{"good", "bad", "fine"}}
	apart := [][]string{{"good", "bad", "fine"}, {"good", "fine"}, {"bad"}}
	for name, c := range map[string]struct {
		fails   func(calls []string) error
		want    []string // of the calls good, bad, fine
		batches [][]string
	}{
		"of all":       {func([]string) error { return errBroken }, slices.Repeat([]string{"broken"}, 3), together},
		"of one":       {ofOne(func() error { return errBroken }), []string{"<nil>", "broken", "<nil>"}, apart},
		"panic of one": {ofOne(func() error { panic("hot") }), []string{"<nil>", "panic: hot", "<nil>"}, apart},
		"panic of all": {func([]string) error { panic("hot") }, slices.Repeat([]string{"panic: hot"}, 3), together},
		"of one that nobody knows": {
			func(calls []string) error {
				if slices.Contains(calls, "bad") {
					return fmt.Errorf("%w: %w", errBroken, ErrApart)
				}
				return nil
			},
			[]string{"<nil>", "broken: " + ErrApart.Error(), "<nil>"},
			[][]string{{"good", "bad", "fine"}, {"good"}, {"bad"}, {"fine"}},
		},
		"goroutine that ends": {
			func([]string) error { runtime.Goexit(); return nil },
			slices.Repeat([]string{"panic: groupcommit: a call ended its goroutine"}, 3), together,
		},
	} {
		t.Run(name, func(t *testing.T) {
			onDisk(t, func(t *testing.T, d *disk, g *Group[string]) {
				is := is.New(t)
				first := begin(t.Context(), g, "first")
				results := beginAll(t.Context(), g, "good", "bad", "fine")
				is.NoErr(<-first)
				d.breaks(c.fails)
				for i, result := range results {
					is.Equal(fmt.Sprint(<-result), c.want[i])
				}
				is.Equal(d.batches[1:], c.batches)
				d.breaks(nil)
				is.NoErr(g.Do(t.Context(), "next", false)) // the Group lives on
			})
		})
	}
}

// A batch lingers for urgent callers too, and no waiting call is kept back for one that may come.
func TestUrgentCallersCount(t *testing.T) {
	onDisk(t, func(t *testing.T, d *disk, g *Group[string]) {
		is := is.New(t)
		begin(t.Context(), g, "first")
		round := func() (took time.Duration) {
			began := time.Now()
			succeed(t, beginAll(t.Context(), g, "urgent 1", "urgent 2", "urgent 3")...)
			return time.Since(began)
		}
		is.Equal(round(), 2*time.Second) // after the first
		is.Equal(round(), time.Second)   // they come while the batch lingers, and are all that it wants
	})
}

// A batch does not end with its context, as with a driver that waits for a silent server.
func TestBatchThatHangsIsAbandoned(t *testing.T) {
	for name, c := range map[string]struct {
		timeout time.Duration // of the callers
		calls   []string
		left    time.Duration // when they leave
		next    time.Duration // when the next batch begins
	}{
		"caller alone":           {5 * time.Second, []string{"a"}, 5*time.Second + grace, 5*time.Second + grace},
		"all callers":            {5 * time.Second, []string{"a", "b"}, 5 * time.Second, 5*time.Second + grace},
		"callers without an end": {time.Hour, []string{"a", "b"}, time.Minute + grace, time.Minute + grace},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				stuck, gate := make(chan struct{}), make(chan struct{})
				g := New(4, time.Minute, func(_ context.Context, calls []string) error {
					switch calls[0] {
					case "gate":
						<-gate
					case "a":
						<-stuck
					}
					return nil
				})
				began := time.Now()
				begin(t.Context(), g, "gate")
				ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
				defer cancel()
				results := beginAll(ctx, g, c.calls...)
				close(gate)
				synctest.Wait()
				next := begin(t.Context(), g, "next")
				for _, result := range results {
					err := <-result
					is.True(errors.Is(err, ErrLeft))
					is.True(errors.Is(err, context.DeadlineExceeded))
				}
				is.Equal(time.Since(began), c.left)
				is.NoErr(<-next) // beside the batch that hangs
				is.Equal(time.Since(began).Truncate(time.Millisecond), c.next)
				close(stuck)
			})
		})
	}
}

// A call that ends its goroutine does not harm one that was set apart.
func TestGoexitDoesNotHarmACallSetApart(t *testing.T) {
	onDisk(t, func(t *testing.T, d *disk, g *Group[string]) {
		is := is.New(t)
		first, bad, exits := begin(t.Context(), g, "first"), begin(t.Context(), g, "bad"), begin(t.Context(), g, "exits")
		is.NoErr(<-first)
		d.breaks(func(calls []string) error {
			switch {
			case len(calls) == 2:
				return Call(0, func() error { return errBroken })
			case calls[0] == "exits":
				runtime.Goexit()
			}
			return nil
		})
		is.Equal(fmt.Sprint(<-exits), "panic: groupcommit: a call ended its goroutine")
		is.NoErr(<-bad) // alone it comes through
	})
}

// One batch runs at a time, and every call is made once.
func TestCallsRace(t *testing.T) {
	is := is.New(t)
	var running, made atomic.Int64
	g := New(8, time.Minute, func(_ context.Context, calls []string) error {
		is.Equal(running.Add(1), int64(1))
		runtime.Gosched()
		made.Add(int64(len(calls)))
		running.Add(-1)
		return nil
	})
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for i := range 100 {
				is.NoErr(g.Do(t.Context(), "a", i%7 == 0))
			}
		})
	}
	callers.Wait()
	is.Equal(made.Load(), int64(1600))
}
