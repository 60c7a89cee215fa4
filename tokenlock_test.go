package recovery_test

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// An approval is an Options.Approve that waits until it is released, and counts.
type approval struct {
	calls, atOnce, most atomic.Int32
	release             chan struct{}
}

func (a *approval) approve(ctx context.Context, _ recovery.Account, _ recovery.CompleteRequest) error {
	a.calls.Add(1)
	a.most.Store(max(a.most.Load(), a.atOnce.Add(1)))
	defer a.atOnce.Add(-1)
	select {
	case <-a.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Completions of one token go one after the other, so that it buys one hash.
func TestCompletionsOfOneTokenWaitForEachOther(t *testing.T) {
	a := &approval{}
	var hashed atomic.Int32
	inBubble(t, recovery.Options{Approve: a.approve, Hasher: recovery.Hasher{Hash: func(string) (string, error) { hashed.Add(1); return "new", nil }}},
		func(_ *testing.T, is *is.I, w *world) {
			a.release = make(chan struct{}) // of the bubble
			token := w.token("alice")
			var wg sync.WaitGroup
			var done atomic.Int32
			for range 20 {
				wg.Go(func() {
					if err := w.complete(token, goodPassword); err == nil {
						done.Add(1)
					} else {
						is.Equal(err, recovery.ErrInvalidToken)
					}
				})
			}
			synctest.Wait()
			is.Equal(a.calls.Load(), int32(1))
			close(a.release)
			wg.Wait()
			is.Equal(a.calls.Load(), int32(1)) // the others find the token used
			is.Equal(done.Load(), int32(1))
			is.Equal(hashed.Load(), int32(1))
		})
}

// So do completions with one ticket, whatever their codes are: guesses do not overtake each other.
func TestCompletionsOfOneTicketWaitForEachOther(t *testing.T) {
	a := &approval{}
	inBubble(t, recovery.Options{Approve: a.approve}, func(_ *testing.T, is *is.I, w *world) {
		a.release = make(chan struct{}) // of the bubble
		ticket, m := w.code("alice")
		var wg sync.WaitGroup
		wg.Go(func() { is.NoErr(w.completeByCode(ticket, m.Resets[0].Code, goodPassword)) })
		synctest.Wait()
		w.store.calls()
		wg.Go(func() { is.Equal(w.completeByCode(ticket, "BCDF-GHJK", goodPassword), recovery.ErrInvalidToken) })
		synctest.Wait()
		is.Equal(w.store.calls(), "") // the guess waits
		close(a.release)
		wg.Wait()
	})
}

// Completions of different tokens do not wait for each other.
func TestCompletionsOfOtherTokensGoOn(t *testing.T) {
	a := &approval{}
	inBubble(t, recovery.Options{Approve: a.approve}, func(_ *testing.T, is *is.I, w *world) {
		a.release = make(chan struct{}) // of the bubble
		tokens := []string{w.token("alice"), w.token("alicia"), w.token("billybob")}
		var wg sync.WaitGroup
		for _, token := range tokens {
			wg.Go(func() { is.NoErr(w.complete(token, goodPassword)) })
		}
		synctest.Wait()
		is.Equal(a.most.Load(), int32(3))
		close(a.release)
		wg.Wait()
	})
}

// A caller who waits for longer than HashWait gets ErrBusy and loses no try.
func TestCompletionThatWaitsTooLong(t *testing.T) {
	a := &approval{}
	inBubble(t, recovery.Options{Approve: a.approve, HashWait: 3 * time.Second}, func(_ *testing.T, is *is.I, w *world) {
		a.release = make(chan struct{}) // of the bubble
		token := w.token("alice")
		first := make(chan error, 1)
		go func() { first <- w.complete(token, goodPassword) }()
		synctest.Wait()
		start := time.Now()
		is.Equal(w.complete(token, otherPassword), recovery.ErrBusy)
		is.Equal(time.Since(start), 3*time.Second)
		is.Equal(a.calls.Load(), int32(1))
		close(a.release)
		is.NoErr(<-first)
		is.Equal(w.hash("1"), "hash of "+goodPassword)
	})
}

// A caller who leaves while waiting gets ctx's error and holds nobody up.
func TestCompletionThatLeavesWhileItWaits(t *testing.T) {
	a := &approval{}
	inBubble(t, recovery.Options{Approve: a.approve, HashWait: time.Minute}, func(_ *testing.T, is *is.I, w *world) {
		a.release = make(chan struct{}) // of the bubble
		token := w.token("alice")
		ctx, leave := context.WithCancel(w.ctx)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := w.CompleteReset(ctx, recovery.CompleteRequest{Token: token, Password: goodPassword})
			first <- err
		}()
		synctest.Wait()
		go func() { second <- w.complete(token, goodPassword) }()
		synctest.Wait()
		waiting, cancel := context.WithTimeout(w.ctx, time.Second)
		defer cancel()
		_, err := w.CompleteReset(waiting, recovery.CompleteRequest{Token: token, Password: goodPassword})
		is.Equal(err, context.DeadlineExceeded)
		leave() // the one that holds the lock
		is.Equal(<-first, context.Canceled)
		close(a.release)
		is.NoErr(<-second)
	})
}

// Nothing is kept of a token whose completions have ended, even if some waited in vain.
func TestTokenLocksAreForgotten(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		var complete func() error
		busy := 0
		store := spy.On(w.users, func(ctx context.Context, method string, _ any, call func(context.Context) error) error {
			if method == "FindReset" && complete() == recovery.ErrBusy { // one comes while another is under way
				busy++
			}
			return call(ctx)
		})
		svc, err := recovery.New(store, w.mail, &recovery.Options{HashWait: time.Second, Limits: recovery.Limits{InsecureOff: true}})
		is.NoErr(err)
		token := ""
		complete = func() error {
			return errOf(svc.CompleteReset(context.Background(), recovery.CompleteRequest{Token: token, Password: goodPassword}))
		}
		live := func() int64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := live()
		for i := range uint64(10_000) {
			var digits [32]byte
			binary.BigEndian.PutUint64(digits[:], i)
			token = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding).EncodeToString(digits[:])
			is.Equal(complete(), recovery.ErrInvalidToken)
		}
		is.Equal(busy, 10_000)
		is.True(live()-before < 1<<20) // bytes
		runtime.KeepAlive(svc)
	})
}
