package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// collections returns how often the collector ran while passwords were hashed one after the other,
// and afterwards until it ran as often as wanted.
func collections(t *testing.T, hashes int, before func(), want uint32) uint32 {
	t.Helper()
	is := is.New(t)
	w := newWorld(t, nil)
	svc, err := recovery.New(w.users, w.mail, &recovery.Options{Now: w.time, HashConcurrency: 1, Limits: recovery.Limits{InsecureOff: true}})
	is.NoErr(err)
	var tokens []string
	for range hashes {
		name := fmt.Sprintf("user%d", len(tokens))
		w.put(name, name, name+"@example.com")
		tokens = append(tokens, w.token(name))
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nothing else collects
	time.Sleep(100 * time.Millisecond)               // for what earlier tests left to be freed
	before()
	var start, end runtime.MemStats
	runtime.ReadMemStats(&start)
	for _, token := range tokens {
		_, err = svc.CompleteReset(t.Context(), recovery.CompleteRequest{Token: token, Password: goodPassword})
		is.NoErr(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		runtime.ReadMemStats(&end)
		if n := end.NumGC - start.NumGC; n >= want || time.Now().After(deadline) {
			return n
		}
	}
}

// The blocks of hashes are freed after every second one: by the next hash, or soon if there is
// none.
func TestBlocksOfHashesAreFreedByTwo(t *testing.T) {
	for hashes, want := range map[int]uint32{3: 1, 4: 2, 5: 2} {
		is.New(t).Equal(collections(t, hashes, runtime.GC, want), want)
	}
}

// In a heap of 256 MiB beside the block of a hash that is made, they are left to the collector.
func TestBlocksOfHashesInALargeHeap(t *testing.T) {
	const large = 256<<20 + 19<<20
	for beyond, want := range map[int]uint32{-256 << 10: 1, 256 << 10: 0} {
		is := is.New(t)
		var ballast []byte
		n := collections(t, 3, func() {
			live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
			off := large
			for tries := 0; (off < -128<<10 || off > 128<<10) && tries < 50; tries++ { // earlier tests leave timers
				ballast = nil
				runtime.GC()
				metrics.Read(live)
				ballast = make([]byte, large+beyond-int(live[0].Value.Uint64()))
				runtime.GC()
				metrics.Read(live)
				off = int(live[0].Value.Uint64()) - large - beyond
			}
			is.True(-128<<10 <= off && off <= 128<<10)
		}, want)
		runtime.KeepAlive(ballast)
		is.Equal(n, want)
	}
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		hashing, release := make(chan struct{}), make(chan struct{})
		w := newWorld(t, &recovery.Options{
			HashConcurrency: 1, HashWait: 20 * time.Millisecond,
			Hasher: recovery.Hasher{Hash: func(password string) (string, error) { hashing <- struct{}{}; <-release; return "new", nil }},
		})
		first, second := w.token("alice"), w.token("billybob")
		done := make(chan error)
		go func() { done <- w.complete(first, goodPassword) }()
		<-hashing
		is.True(errors.Is(w.complete(second, goodPassword), recovery.ErrBusy))
		ctx, cancel := context.WithTimeout(w.ctx, time.Millisecond)
		defer cancel()
		is.Equal(errOf(w.CompleteReset(ctx, recovery.CompleteRequest{Token: second, Password: goodPassword})), context.DeadlineExceeded)
		close(release)
		is.NoErr(<-done)
		is.NoErr(w.deadOrAlive(second, true)) // who got ErrBusy keeps the token
		go func() { <-hashing }()
		is.NoErr(w.complete(second, goodPassword)) // the slot is free again
	})
}

func TestHashSlotSurvivesAPanic(t *testing.T) {
	is := is.New(t)
	var once sync.Once
	w := newWorld(t, &recovery.Options{HashConcurrency: 1, Hasher: recovery.Hasher{Hash: func(string) (string, error) {
		once.Do(func() { panic("boom") })
		return "new", nil
	}}})
	token := w.token("alice")
	func() {
		defer func() { is.True(recover() != nil) }()
		_ = w.complete(token, goodPassword)
	}()
	is.NoErr(w.complete(token, goodPassword))
}
