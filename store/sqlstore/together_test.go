package sqlstore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A maker makes additions, in the time that it is given.
type maker struct {
	mu    sync.Mutex
	takes time.Duration
	err   func(calls []*addition) error
	made  [][]*addition
	ctxs  []context.Context
}

// fails sets what becomes of the calls that have not ended.
func (m *maker) fails(err func(calls []*addition) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *maker) make(ctx context.Context, calls []*addition) error {
	m.mu.Lock()
	m.made = append(m.made, calls)
	m.ctxs = append(m.ctxs, ctx)
	timer := time.NewTimer(m.takes)
	m.mu.Unlock()
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	m.mu.Lock()
	fails := m.err
	m.mu.Unlock()
	if fails != nil {
		return fails(calls)
	}
	return nil
}

// start makes an addition on a goroutine and returns what waits for its error.
func start(t *together, ctx context.Context) (a *addition, wait func() error) {
	a = &addition{ctx: ctx}
	result := make(chan error, 1)
	go func() { result <- t.do(a) }()
	synctest.Wait()
	return a, func() error { return <-result }
}

func TestLoneAdditionIsMadeByItsCaller(t *testing.T) {
	is := is.New(t)
	m := &maker{}
	all := &together{make: m.make}
	for range 2 {
		a := &addition{ctx: t.Context()}
		is.NoErr(all.do(a))
		is.Equal(a.done, nil) // no goroutine
	}
	is.Equal(len(m.made), 2)
	is.Equal(m.ctxs[0], t.Context())
	m.fails(func(calls []*addition) error { calls[0].err = recovery.ErrLimited; return nil })
	is.Equal(all.do(&addition{ctx: t.Context()}), recovery.ErrLimited)
	no := errors.New("no")
	m.fails(func([]*addition) error { return no })
	is.Equal(all.do(&addition{ctx: t.Context()}), no)
}

func TestAdditionsThatComeMeanwhileAreMadeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until nobody is waited for
		is := is.New(t)
		m := &maker{takes: time.Second}
		all := &together{make: m.make}
		first, firstDone := start(all, t.Context())
		var want []*addition
		var waits []func() error
		for range 64 + 10 {
			a, wait := start(all, t.Context())
			want, waits = append(want, a), append(waits, wait)
		}
		m.fails(func(calls []*addition) error {
			for i, a := range calls {
				if i == 3 {
					a.err = recovery.ErrLimited
				}
			}
			return nil
		})
		began := time.Now()
		is.NoErr(firstDone())
		for i, wait := range waits {
			is.Equal(wait() != nil, i == 3 || i == 64+3) // each has its own error
		}
		is.Equal(time.Since(began), 3*time.Second+250*time.Microsecond) // the last ones are waited for by nobody who comes again
		is.Equal(m.made, [][]*addition{{first}, want[:64], want[64:]})  // in their order
		time.Sleep(2 * maxMoment)
		is.Equal(m.ctxs[1].Err(), context.Canceled)   // what was begun for them has ended
		is.NoErr(all.do(&addition{ctx: t.Context()})) // and then alone again
		is.Equal(m.ctxs[3], t.Context())
	})
}

// Those who were answered together come again together: the first of them does not begin alone.
func TestAdditionsThatComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until nobody is waited for
		is := is.New(t)
		m := &maker{takes: time.Second}
		all := &together{make: m.make}
		_, lone := start(all, t.Context())
		round := func(n int) (waits []func() error) {
			for range n {
				_, wait := start(all, t.Context())
				waits = append(waits, wait)
			}
			return waits
		}
		first := round(3)
		is.NoErr(lone())
		for _, wait := range first {
			is.NoErr(wait())
		}
		began := time.Now()
		for _, wait := range round(3) { // as many as before: nobody else is waited for
			is.NoErr(wait())
		}
		is.Equal(time.Since(began), time.Second)
		began = time.Now()
		for _, wait := range round(2) {
			is.NoErr(wait())
		}
		is.Equal(time.Since(began), time.Second+maxMoment) // the third may have come
		began = time.Now()
		for _, wait := range round(1) {
			is.NoErr(wait())
		}
		is.Equal(time.Since(began), time.Second+maxMoment) // the second may have come
		time.Sleep(2 * maxMoment)
		sizes := []int{}
		for _, calls := range m.made {
			sizes = append(sizes, len(calls))
		}
		is.Equal(sizes, []int{1, 3, 3, 2, 1})
	})
}

// Nobody waits for more where one was alone before, or where as many are there already.
func TestAdditionsThatDoNotWaitForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until nobody is waited for
		is := is.New(t)
		m := &maker{takes: time.Second}
		all := &together{make: m.make}
		_, first := start(all, t.Context())
		_, second := start(all, t.Context())
		is.NoErr(first())
		is.NoErr(second())
		is.Equal(m.ctxs[1], t.Context()) // with its deadline
		synctest.Wait()
		alone := &addition{ctx: t.Context()}
		is.NoErr(all.do(alone))
		is.Equal(alone.done, nil) // made by its caller

		began := time.Now()
		var waits []func() error
		come := func(n int) {
			for range n {
				_, wait := start(all, t.Context())
				waits = append(waits, wait)
			}
		}
		come(3) // one alone, and two
		time.Sleep(time.Second + time.Second/2)
		come(2) // while the two are made
		for _, wait := range waits {
			is.NoErr(wait())
		}
		is.Equal(time.Since(began), 3*time.Second)
	})
}

// More may come before the one that waits for enough has seen that they are.
func TestMoreThanEnoughAdditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		enough := make(chan struct{})
		all := &together{busy: true, enough: enough, wanted: 2}
		ctx, leave := context.WithCancel(t.Context())
		var waits []func() error
		for i := range 4 {
			_, wait := start(all, ctx)
			waits = append(waits, wait)
			select {
			case <-enough:
				is.True(i >= 1)
			default:
				is.True(i < 1)
			}
		}
		leave()
		for _, wait := range waits {
			is.True(errors.Is(wait(), context.Canceled))
		}
	})
}

func TestAdditionLeavesWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until nobody is waited for
		is := is.New(t)
		m := &maker{takes: time.Second}
		all := &together{make: m.make}
		_, first := start(all, t.Context())
		waiting, leave := context.WithCancel(t.Context())
		left, wait := start(all, waiting)
		_, stays := start(all, t.Context())
		leave()
		err := wait()
		is.True(errors.Is(err, context.Canceled))
		is.True(!errors.Is(err, ErrUnknownOutcome)) // it was not begun
		is.Equal(errorText(err), "sqlstore: context canceled")
		is.NoErr(first())
		synctest.Wait()

		// The next ones are being made now.
		running, leave := context.WithCancel(t.Context())
		_, wait = start(all, running)
		_, other := start(all, t.Context())
		is.NoErr(stays())
		time.Sleep(time.Second / 2)
		leave()
		err = wait()
		is.True(errors.Is(err, context.Canceled))
		is.True(errors.Is(err, ErrUnknownOutcome)) // it may come through
		is.NoErr(other())
		for _, calls := range m.made {
			for _, a := range calls {
				is.True(a != left) // what left before it began was not made
			}
		}
		time.Sleep(2 * maxMoment) // until nobody is at it
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		made := len(m.made)
		is.True(errors.Is(all.do(&addition{ctx: ended}), context.Canceled))
		is.Equal(len(m.made), made)
	})
}

// Nobody's context ends the work of others; when all have left, it ends.
func TestAdditionsEndWhenAllHaveLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until nobody is waited for
		is := is.New(t)
		m := &maker{takes: time.Second}
		all := &together{make: m.make}
		_, first := start(all, t.Context())
		m.mu.Lock()
		m.takes = time.Hour
		m.mu.Unlock()
		var leaves []context.CancelFunc
		var waits []func() error
		for range 3 {
			ctx, leave := context.WithCancel(t.Context())
			_, wait := start(all, ctx)
			leaves, waits = append(leaves, leave), append(waits, wait)
		}
		is.NoErr(first())
		synctest.Wait()
		is.Equal(len(m.made), 2)
		for i := range leaves {
			synctest.Wait()
			is.NoErr(m.ctxs[1].Err()) // others want it
			leaves[i]()
			is.True(errors.Is(waits[i](), context.Canceled))
		}
		synctest.Wait()
		is.Equal(m.ctxs[1].Err(), context.Canceled)
		m.mu.Lock()
		m.takes = 0
		m.mu.Unlock()
		is.NoErr(all.do(&addition{ctx: t.Context()}))
	})
}

// What the database refuses of one is not held against the others; what is not known of one is not
// known of any, and is not done again.
func TestAdditionsThatFailTogether(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		apart bool
	}{
		"refused":          {hide(&stateError{"22021", secret}), true},
		"no connection":    {errors.New("dial"), false},
		"lost to another":  {hide(&stateError{"40001", secret}), false},
		"unknown outcome":  {ErrUnknownOutcome, false},
		"unknown and code": {errors.Join(ErrUnknownOutcome, &stateError{"08006", secret}), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer time.Sleep(time.Second) // until nobody is waited for
				is := is.New(t)
				m := &maker{takes: time.Second}
				all := &together{make: m.make}
				_, first := start(all, t.Context())
				bad, badDone := start(all, t.Context())
				_, goodDone := start(all, t.Context())
				m.fails(func(calls []*addition) error {
					for _, a := range calls {
						if a == bad {
							return c.err
						}
					}
					return nil
				})
				is.NoErr(first())
				is.Equal(badDone(), c.err)
				is.Equal(goodDone() == nil, c.apart)
				is.Equal(len(m.made) > 2, c.apart)
			})
		})
	}
}

// What the database refuses of one call is not asked again.
func TestRefusedAdditionIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until nobody is waited for
		is := is.New(t)
		m := &maker{takes: time.Second}
		all := &together{make: m.make}
		_, first := start(all, t.Context())
		bad, badDone := start(all, t.Context())
		refused := hide(&stateError{"22021", secret})
		m.fails(func(calls []*addition) error {
			if calls[0] == bad {
				return refused
			}
			return nil
		})
		is.NoErr(first())
		is.Equal(badDone(), refused)
		is.Equal(len(m.made), 2)
	})
}

func TestPanicWhileAdditionsAreMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Second) // until nobody is waited for
		is := is.New(t)
		m := &maker{takes: time.Second}
		all := &together{make: m.make}
		_, first := start(all, t.Context())
		bad, second := start(all, t.Context())
		m.fails(func(calls []*addition) error {
			if calls[0] == bad {
				panic(secret)
			}
			return nil
		})
		is.NoErr(first())
		err := second()
		is.True(errors.Is(err, ErrUnknownOutcome)) // it may have been in the commit
		is.True(!strings.Contains(err.Error(), secret))
		m.fails(nil)
		is.NoErr(all.do(&addition{ctx: t.Context()}))
	})
}
