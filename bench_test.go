package recovery_test

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

// BenchmarkRequestReset is the whole request path on memstore with all limits counted and none
// reached.
func BenchmarkRequestReset(b *testing.B) {
	svc, err := recovery.New(memstore.New(), &mailertest.Recorder{}, &recovery.Options{
		Logger: slog.New(slog.DiscardHandler),
		Limits: recovery.Limits{
			PerClient: recovery.Limit{Burst: 1_000_000, Every: 1000}, Global: recovery.Limit{Burst: 1_000_000, Every: 1000},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprint("user", i)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := errOf(svc.RequestReset(b.Context(), recovery.ResetRequest{Username: names[i%len(names)], Client: client})); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkCompleteReset compares completions by as many callers as there are processors with bare
// argon2id by as many. "of-bare" is their speed as a part of the bare hashes'.
func BenchmarkCompleteReset(b *testing.B) {
	const round = 40
	store, mails := memstore.New(), &mailertest.Recorder{}
	svc, err := recovery.New(store, mails, &recovery.Options{Logger: slog.New(slog.DiscardHandler), Limits: recovery.Limits{InsecureOff: true}})
	if err != nil {
		b.Fatal(err)
	}
	for i := range round {
		name := fmt.Sprint("user", i)
		store.Put(recovery.Account{ID: name, Username: name, Email: name + "@example.com", Active: true, HasPassword: true, EmailVerified: true}, "old")
	}
	fresh := func() (list []string) {
		for i := range round {
			if err := errOf(svc.RequestReset(b.Context(), recovery.ResetRequest{Username: fmt.Sprint("user", i)})); err != nil {
				b.Fatal(err)
			}
		}
		before := len(mails.Messages())
		if _, err := svc.Deliver(b.Context()); err != nil {
			b.Fatal(err)
		}
		for _, m := range mails.Messages()[before:] {
			if len(m.Resets) > 0 {
				list = append(list, tokenOf(m))
			}
		}
		return list
	}
	all := func(f func(i int) error) time.Duration {
		var next atomic.Int64
		var wg sync.WaitGroup
		start := time.Now()
		for range runtime.GOMAXPROCS(0) {
			wg.Go(func() {
				for i := int(next.Add(1)) - 1; i < round; i = int(next.Add(1)) - 1 {
					if err := f(i); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wg.Wait()
		return time.Since(start)
	}
	var bare, ours time.Duration
	for b.Loop() {
		list := fresh()
		bare += all(func(int) error {
			_, err := recovery.HashPassword(goodPassword)
			return err
		})
		ours += all(func(i int) error {
			_, err := svc.CompleteReset(b.Context(), recovery.CompleteRequest{Token: list[i], Password: goodPassword})
			return err
		})
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(bare)/float64(ours), "of-bare")
}
