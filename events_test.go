package recovery_test

import (
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
)

func withHooks(t *testing.T, log *spy.Log, hooks recovery.Hooks) (*recovery.Service, *mailertest.Recorder) {
	is := is.New(t)
	users, mail := memstore.New(), &mailertest.Recorder{}
	users.Put(recovery.Account{ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true}, "x")
	svc, err := recovery.New(users, mail, &recovery.Options{
		Hooks: hooks, Logger: slog.New(slog.NewTextHandler(log, nil)), Limits: recovery.Limits{InsecureOff: true},
	})
	is.NoErr(err)
	return svc, mail
}

// refuse has a token refused, which causes one event.
func refuse(t *testing.T, svc *recovery.Service) {
	t.Helper()
	_, err := svc.CompleteReset(t.Context(), recovery.CompleteRequest{Token: "x", Password: goodPassword})
	is.New(t).Equal(err, recovery.ErrInvalidToken)
}

// A flood of what a stranger can cause does not push out what matters, and does not go before it.
// No answer and no mail waits for a hook.
func TestFloodDoesNotPushOutWhatMatters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		log := &spy.Log{}
		release := make(chan struct{})
		var events []string
		svc, mail := withHooks(t, log, recovery.Hooks{
			TokenRefused:    func(recovery.ResetEvent) { <-release; events = append(events, "refused") },
			PasswordChanged: func(recovery.ResetEvent) { events = append(events, "changed") },
		})
		start := time.Now()
		for range 3000 {
			refuse(t, svc)
			synctest.Wait() // the first hook blocks
		}
		is.NoErr(errOf(svc.RequestReset(t.Context(), recovery.ResetRequest{Username: "alice"})))
		is.NoErr(errOf(svc.Deliver(t.Context())))
		m, _ := mail.Last()
		is.NoErr(errOf(svc.CompleteReset(t.Context(), recovery.CompleteRequest{Token: tokenOf(m), Password: goodPassword})))
		is.Equal(time.Since(start), time.Duration(0))
		const lost = 3000 - 1 - 1024
		stats, err := svc.Stats(t.Context())
		is.NoErr(err)
		is.Equal(stats.LostEvents, lost)
		close(release)
		synctest.Wait()
		is.Equal(len(events), 3000-lost+1)
		is.Equal(events[:2], []string{"refused", "changed"}) // the one that blocked, and what matters
		is.True(strings.Contains(log.String(), "events were dropped\" events="+strconv.Itoa(lost)))
	})
}

// Each time that a hook blocks, the log tells of the first event that is lost.
func TestLostEventsAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		log := &spy.Log{}
		release := make(chan struct{})
		svc, _ := withHooks(t, log, recovery.Hooks{TokenRefused: func(recovery.ResetEvent) { <-release }})
		told := func(refused int) int {
			for range refused {
				refuse(t, svc)
			}
			synctest.Wait()
			return strings.Count(log.String(), "events are being dropped")
		}
		for before := range 2 {
			is.Equal(told(1), before)    // it blocks
			is.Equal(told(1024), before) // these wait
			is.Equal(told(1), before+1)
			is.Equal(told(before), before+1) // one is lost, then two
			for range 1025 {
				release <- struct{}{}
			}
			synctest.Wait()
			is.Equal(strings.Count(log.String(), "events were dropped"), before+1)
		}
	})
}

// A hook that panics, or ends its goroutine, keeps nothing from the next one.
func TestHookThatDoesNotReturn(t *testing.T) {
	for name, c := range map[string]struct {
		end    func()
		logged int
	}{"a panic": {func() { panic("secret " + goodPassword) }, 3}, "the goroutine": {runtime.Goexit, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				log := &spy.Log{}
				calls := 0
				svc, _ := withHooks(t, log, recovery.Hooks{TokenRefused: func(recovery.ResetEvent) { calls++; c.end() }})
				for range 3 {
					refuse(t, svc)
				}
				synctest.Wait()
				is.Equal(calls, 3)
				is.Equal(strings.Count(log.String(), "a hook panicked"), c.logged)
				is.True(!strings.Contains(log.String(), goodPassword)) // what it panicked with is not logged
			})
		})
	}
}
