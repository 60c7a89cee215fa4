package recovery_test

import (
	"errors"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/race"
)

// heap returns the bytes of live and not yet swept objects.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// 1,000 completions at once hold no more memory than the slots for hashing, 19 MiB each, and
// 32 MiB: with random tokens, and with live ones, of which some are hashed and the others get
// ErrBusy. S82.
func TestAttack_S82_MemoryOfManyCompletions(t *testing.T) {
	const completions, slot, slack = 1000, 19 << 20, 32 << 20
	w := newWorld(t, nil)
	slots := 0
	var hashing *recovery.Service
	use := func(n int) {
		slots = n
		var err error
		hashing, err = recovery.New(w.store, w.mail, &recovery.Options{
			Now: w.time, HashConcurrency: n, HashWait: time.Second, Limits: recovery.Limits{InsecureOff: true},
		})
		w.is.NoErr(err)
	}
	tokens := make([]string, completions)
	for i := range tokens {
		id := "many-" + time.Duration(i).String()
		w.put(id, id, id+"@example.com")
		tokens[i] = w.token(id)
	}

	for name, token := range map[string]func(i int) string{
		"live tokens":            func(i int) string { return tokens[i] },
		"live tokens on 8 slots": func(i int) string { return tokens[completions-1-i] },
		"random tokens":          func(int) string { return tokenText },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			use(runtime.GOMAXPROCS(0))
			if strings.HasSuffix(name, "8 slots") {
				use(8)
			}
			runtime.GC()
			idle, peak := heap(), uint64(0)
			stop := make(chan struct{})
			var sampler, wg sync.WaitGroup
			sampler.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						peak = max(peak, heap())
						time.Sleep(200 * time.Microsecond)
					}
				}
			})
			errs := make([]error, completions)
			for i := range errs {
				wg.Go(func() {
					_, errs[i] = hashing.CompleteReset(w.ctx, recovery.CompleteRequest{Token: token(i), Password: goodPassword})
				})
			}
			wg.Wait()
			close(stop)
			sampler.Wait()
			counts := map[string]int{}
			for _, err := range errs {
				switch {
				case err == nil:
					counts["done"]++
				case errors.Is(err, recovery.ErrBusy):
					counts["busy"]++
				case errors.Is(err, recovery.ErrInvalidToken):
					counts["invalid"]++
				}
			}
			is.Equal(counts["done"]+counts["busy"]+counts["invalid"], completions)
			is.Equal(counts["done"] > 0, name != "random tokens")
			limit := uint64(slots*slot + slack)
			t.Logf("%v; %d MiB over idle at the peak, allowed are %d", counts, (max(peak, idle)-idle)>>20, limit>>20)
			is.True(max(peak, idle)-idle <= limit || race.Enabled) // whose own memory counts, too
		})
	}
}
