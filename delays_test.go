package recovery_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// Once a minute the log says how many requests began late, and how long the longest waited.
func TestWorkerThatIsBehindIsTold(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		lines := func() []string {
			synctest.Wait()
			var lines []string
			for line := range strings.Lines(w.log.String()) {
				if _, counts, ok := strings.Cut(strings.TrimSpace(line), "the worker is behind\" "); ok {
					lines = append(lines, counts)
				}
			}
			return lines
		}
		w.ask("alice")
		time.Sleep(2 * time.Hour)
		w.ask("alice")
		time.Sleep(30 * time.Second)
		w.ask("nobody")
		time.Sleep(61 * time.Second)
		w.ask("billybob")
		w.deliver()
		want := []string{`late=3 longest=2h1m31s "dropped as too old"=1`}
		is.Equal(lines(), want)
		for range 3 { // more of it within the minute
			time.Sleep(15 * time.Second)
			is.NoErr(w.users.Enqueue(w.ctx, recovery.Job{
				ID: time.Now().String(), Kind: recovery.JobReset, By: recovery.ByUsername, Identifier: "alice",
				RequestedAt: time.Now().Add(-2 * time.Minute), Priority: time.Now(),
			}, nil))
			w.deliver()
		}
		is.Equal(lines(), want)
		time.Sleep(15 * time.Second)
		w.deliver()
		want = append(want, `late=3 longest=2m0s "dropped as too old"=0`)
		is.Equal(lines(), want)
		time.Sleep(time.Hour)
		w.deliver()
		is.Equal(lines(), want) // there is nothing more to tell
	})
}

// Run tells it too.
func TestRunTellsThatItIsBehind(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.ask("alice")
		time.Sleep(2 * time.Hour)
		stop := w.run()
		time.Sleep(time.Second)
		stop()
		is.Equal(strings.Count(w.log.String(), "behind"), 1)
	})
}

// A wait of a minute is not worth a line.
func TestWorkerThatIsNotBehind(t *testing.T) {
	inBubble(t, recovery.Options{}, func(_ *testing.T, is *is.I, w *world) {
		w.ask("alice")
		time.Sleep(time.Minute)
		w.deliver()
		is.True(!strings.Contains(w.log.String(), "behind"))
		w.ask("alice")
		time.Sleep(time.Minute + time.Microsecond)
		w.deliver()
		is.True(strings.Contains(w.log.String(), "behind"))
	})
}
