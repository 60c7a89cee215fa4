package recovery_test

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
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

// Who waits for longer than HashWait is told to try again, and loses no try.
func TestCompletionThatWaitsTooLongForItsTurn(t *testing.T) {
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

// Who leaves while he waits is told that he left, and holds nobody up.
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
		leave() // the one whose turn it is
		is.Equal(<-first, context.Canceled)
		close(a.release)
		is.NoErr(<-second)
	})
}

// The turn is passed on whatever becomes of a completion.
func TestTurnSurvivesAPanic(t *testing.T) {
	is := is.New(t)
	var once sync.Once
	w := newWorld(t, &recovery.Options{Approve: func(context.Context, recovery.Account, recovery.CompleteRequest) error {
		once.Do(func() { panic("boom") })
		return nil
	}})
	token := w.token("alice")
	func() {
		defer func() { is.True(recover() != nil) }()
		_ = w.complete(token, goodPassword)
	}()
	is.True(errors.Is(w.complete(token, "short"), recovery.ErrInvalidPassword))
	is.NoErr(w.complete(token, goodPassword))
}

// Nothing is kept of a token whose completions have ended, also of those that waited in vain.
func TestTurnsAreForgotten(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, _ *world) {
		twice := &twiceStore{Store: memstore.New()}
		svc, err := recovery.New(twice, &mailertest.Recorder{}, &recovery.Options{HashWait: time.Second, Limits: recovery.Limits{InsecureOff: true}})
		is.NoErr(err)
		twice.svc = svc
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
			twice.token = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding).EncodeToString(digits[:])
			_, err := svc.CompleteReset(context.Background(), recovery.CompleteRequest{Token: twice.token, Password: goodPassword})
			is.Equal(err, recovery.ErrInvalidToken)
		}
		is.Equal(twice.busy, 10_000)
		is.True(live()-before < 1<<20) // bytes
		runtime.KeepAlive(svc)
	})
}

// A twiceStore has a completion come while another with the same token is under way.
type twiceStore struct {
	recovery.Store
	svc   *recovery.Service
	token string
	busy  int
}

func (s *twiceStore) FindReset(ctx context.Context, d recovery.Digest, at time.Time) (recovery.Reset, recovery.Account, error) {
	if _, err := s.svc.CompleteReset(ctx, recovery.CompleteRequest{Token: s.token, Password: goodPassword}); errors.Is(err, recovery.ErrBusy) {
		s.busy++
	}
	return s.Store.FindReset(ctx, d, at)
}

// 64 completions of one token at once: one winner, whose hash is stored, and one notice.
func TestAttack_S40_OneWinner(t *testing.T) {
	is := is.New(t)
	w := newWorld(t, nil)
	token := w.token("alice")
	var wg sync.WaitGroup
	errs := make([]error, 64)
	start := make(chan struct{})
	for i := range errs {
		wg.Go(func() {
			<-start
			errs[i] = w.complete(token, fmt.Sprintf("Correct-h0rse-%d", i))
		})
	}
	close(start)
	wg.Wait()
	winners := 0
	for i, err := range errs {
		if err == nil {
			winners++
			is.Equal(w.hash("1"), fmt.Sprintf("hash of Correct-h0rse-%d", i))
		} else {
			is.Equal(err, recovery.ErrInvalidToken)
		}
	}
	is.Equal(winners, 1)
	is.Equal(len(w.deliver()), 1)
}
