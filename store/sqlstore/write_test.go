package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/groupcommit"
)

// together makes the calls in one batch, in their order, on SQLite, and returns what each caller
// gets; a panic is an error. It must be called in a bubble.
func together(t *testing.T, store *Store, calls ...func(context.Context) error) []error {
	t.Helper()
	release := make(chan struct{})
	var callers sync.WaitGroup
	callers.Go(func() {
		_ = store.write(t.Context(), func(context.Context, *writeTx) error {
			<-release
			return verdict{recovery.ErrLeaseLost} // nothing to keep
		})
	})
	results := make([]error, len(calls))
	for i, call := range calls {
		synctest.Wait()
		callers.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					results[i] = fmt.Errorf("panic: %v", v)
				}
			}()
			results[i] = call(t.Context())
		})
	}
	synctest.Wait()
	close(release)
	callers.Wait()
	time.Sleep(time.Second) // until the batch stops lingering
	return results
}

// onSQLite runs f in a bubble with a Store on a stub.
func onSQLite(t *testing.T, f func(t *testing.T, s *stub, store *Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStub(SQLite)
		store, _ := s.store(t, nil)
		f(t, s, store)
	})
}

// enqueues adds a job.
func enqueues(store *Store) func(context.Context) error {
	return func(ctx context.Context) error { return store.Enqueue(ctx, job, nil) }
}

// writes executes a statement, and then ends as end does.
func writes(store *Store, text string, end func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		return store.write(ctx, func(ctx context.Context, w *writeTx) error {
			if text != "" {
				if _, err := w.ExecContext(ctx, text); err != nil {
					return err
				}
			}
			return end(ctx)
		})
	}
}

func well(context.Context) error { return nil }

func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// shared is what the database saw of the second transaction, which the calls of together share.
func shared(s *stub) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls[slices.Index(s.calls, "rollback")+1:])
}

// A flood of requests does not hold up the mails.
func TestWritesOfSQLiteGoBeforeRequests(t *testing.T) {
	onSQLite(t, func(t *testing.T, s *stub, store *Store) {
		is := is.New(t)
		store.commits = groupcommit.New(1, maxBatchTime, store.runCalls)
		is.Equal(together(t, store, enqueues(store), writes(store, "UPDATE 1", well)), []error{nil, nil})
		last := s.kept[len(s.kept)-1]
		is.True(strings.HasPrefix(last, "INSERT INTO recovery_jobs"))
	})
}

// Only SQLite has one writer: elsewhere writes do not wait for each other.
func TestOtherDatabasesHaveManyWriters(t *testing.T) {
	for _, d := range []Dialect{PostgreSQL, MySQL} {
		is := is.New(t)
		store, _ := newStub(d).store(t, nil)
		is.NoErr(store.write(t.Context(), func(ctx context.Context, w *writeTx) error {
			return store.write(ctx, func(context.Context, *writeTx) error { return nil })
		}))
		is.True(store.limitCommits != store.commits)
	}
}

// A verdict on one call does not reach the others, and costs them nothing.
func TestVerdictsReachTheirCallersOnly(t *testing.T) {
	onSQLite(t, func(t *testing.T, s *stub, store *Store) {
		is := is.New(t)
		limited := &recovery.LimitError{Scope: recovery.ScopeMailbox, RetryAfter: time.Second}
		lost := writes(store, "", func(context.Context) error { return verdict{recovery.ErrLeaseLost} })
		results := together(t, store, enqueues(store), lost,
			writes(store, "", func(context.Context) error { return verdict{limited} }), writes(store, "UPDATE 2", well))
		is.Equal(results, []error{nil, recovery.ErrLeaseLost, limited, nil})
		is.Equal(count(shared(s), "begin"), 1)
		is.Equal(count(shared(s), "commit"), 1)
		is.Equal(lost(t.Context()), recovery.ErrLeaseLost)
		is.Equal(s.calls[len(s.calls)-1], "rollback") // there is nothing to keep
	})
}

// A verdict of a transaction that lost to another is forgotten.
func TestVerdictsOfLostAttemptsAreForgotten(t *testing.T) {
	onSQLite(t, func(t *testing.T, s *stub, store *Store) {
		is := is.New(t)
		tries := 0
		results := together(t, store, writes(store, "", func(context.Context) error {
			if tries++; tries == 1 {
				return verdict{recovery.ErrLeaseLost}
			}
			return nil
		}), writes(store, "", func(context.Context) error {
			if tries == 1 {
				return &numberError{5, secret}
			}
			return nil
		}))
		is.Equal(results, []error{nil, nil})
		is.Equal(tries, 2) // together again
		is.Equal(count(shared(s), "commit"), 1)
	})
}

// A call that fails, even in the application's code, does not fail the others, and nothing of it is
// kept. The same holds for a call that hangs for as long as a transaction may last, whatever its
// context says.
func TestCallsThatFailAreMadeAgainAlone(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(context.Context) error
		want string
	}{
		"error": {func(context.Context) error { return errors.New("broken") }, "sqlstore: broken"},
		"panic": {func(context.Context) error { panic("hot") }, "panic: hot"},
		// The application's code may return what looks like a verdict, after it has written.
		"error of the core": {func(context.Context) error { return recovery.ErrLimited }, "sqlstore: " + recovery.ErrLimited.Error()},
		"hangs":             {hangs, "sqlstore: context deadline exceeded"},
		"does not look": {func(context.Context) error {
			time.Sleep(maxBatchTime + time.Millisecond)
			return nil
		}, "sqlstore: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			onSQLite(t, func(t *testing.T, s *stub, store *Store) {
				is := is.New(t)
				results := together(t, store, enqueues(store), writes(store, "UPDATE 1", c.end), writes(store, "UPDATE 2", well))
				is.NoErr(results[0])
				is.Equal(errorText(results[1]), c.want)
				is.NoErr(results[2])
				is.Equal(count(s.kept, "UPDATE 1"), 0)
				is.Equal(count(s.kept, "UPDATE 2"), 1)
				is.Equal(count(s.kept, "INSERT INTO recovery_jobs"), 1)
				is.Equal(count(shared(s), "commit"), 1) // the others are together again
			})
		})
	}
}

// If the database refuses data of many rows, it does not say whose: each call is made again alone.
func TestDataThatIsRefused(t *testing.T) {
	onSQLite(t, func(t *testing.T, s *stub, store *Store) {
		is := is.New(t)
		s.fault = fault{call: 2, times: 2, err: &numberError{19, secret}} // the insert
		results := together(t, store, enqueues(store), enqueues(store), enqueues(store))
		is.Equal(code(results[0]), "19")
		is.Equal(results[1:], []error{nil, nil})
		is.Equal(count(shared(s), "commit"), 2)
	})
}

// A call has its own caller's context, with its values, and ends when that does.
func TestCallsHaveTheirOwnContexts(t *testing.T) {
	onSQLite(t, func(t *testing.T, s *stub, store *Store) {
		is := is.New(t)
		type key struct{}
		began := time.Now()
		var took time.Duration
		results := together(t, store, enqueues(store), func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(context.WithValue(ctx, key{}, "own"), time.Second)
			defer cancel()
			return writes(store, "", func(ctx context.Context) error {
				is.Equal(ctx.Value(key{}), "own")
				return hangs(ctx)
			})(ctx)
		}, func(ctx context.Context) error {
			defer func() { took = time.Since(began) }()
			return writes(store, "UPDATE 2", well)(ctx)
		})
		is.NoErr(results[0])
		is.True(errors.Is(results[1], context.DeadlineExceeded))
		is.NoErr(results[2])
		is.Equal(took, time.Second)
	})
}

// A batch that others may wait for does not hang for ever.
func TestBatchThatHangs(t *testing.T) {
	onEach(t, func(t *testing.T, d Dialect) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			s.fault = fault{call: 0, times: 1} // until its ctx ends
			store, _ := s.store(t, nil)
			began := time.Now()
			err := store.TakeLimits(t.Context(), now, recovery.Charges{free})
			is.True(errors.Is(err, context.DeadlineExceeded))
			is.Equal(time.Since(began), 30*time.Second)
			is.NoErr(store.TakeLimits(t.Context(), now, recovery.Charges{free}))
		})
	})
}

// A caller that leaves a batch of several does not know what happens to its call. The batch must
// not write to the caller's variables: -race checks that.
func TestCallersThatLeaveTheirBatch(t *testing.T) {
	for _, m := range methodsOf(SQLite) {
		t.Run(m.name, func(t *testing.T) {
			onSQLite(t, func(t *testing.T, s *stub, store *Store) {
				is := is.New(t)
				results := together(t, store, writes(store, "", func(context.Context) error {
					time.Sleep(2 * time.Second)
					return nil
				}), func(ctx context.Context) error {
					ctx, leave := context.WithCancel(ctx)
					time.AfterFunc(time.Second, leave)
					_, err := m.call(ctx, store)
					return err
				})
				is.NoErr(results[0])
				reads := strings.HasPrefix(m.name, "Find") || m.name == "Stats" // it shares nothing
				is.Equal(results[1] == nil, reads)
				is.True(reads || errors.Is(results[1], ErrUnknownOutcome) && errors.Is(results[1], context.Canceled))
				if m.name == "Enqueue" {
					is.Equal(count(s.kept, "INSERT INTO recovery_jobs"), 1) // here it comes through
				}
			})
		})
	}
}

// A caller may change its slices once it has its answer, even if the call was not made yet.
func TestCallersMayReuseTheirCharges(t *testing.T) {
	for _, make := range []func(context.Context, *Store, recovery.Charges) error{
		func(ctx context.Context, s *Store, c recovery.Charges) error { return s.Enqueue(ctx, job, c) },
		func(ctx context.Context, s *Store, c recovery.Charges) error { return s.TakeLimits(ctx, now, c) },
	} {
		is := is.New(t)
		s := newStub(MySQL)
		store, _ := s.store(t, nil)
		charges := recovery.Charges{free}
		group := groupcommit.New(1, maxBatchTime, func(ctx context.Context, calls []*call) error {
			charges[0] = full
			defer func() { charges[0] = free }()
			return store.runCalls(ctx, calls)
		})
		store.commits, store.limitCommits = group, group
		is.NoErr(make(t.Context(), store, charges))
	}
}

// Calls that share a transaction are counted in their order, and each has its own limit.
func TestLimitsWithinABatch(t *testing.T) {
	onSQLite(t, func(t *testing.T, s *stub, store *Store) {
		is := is.New(t)
		twice := recovery.Charge{Scope: recovery.ScopeClient, Key: recovery.Digest{9}, Limit: recovery.Limit{Burst: 2, Every: time.Hour}}
		add := func(id string, charges ...recovery.Charge) func(context.Context) error {
			j := job
			j.ID = id
			return func(ctx context.Context) error { return store.Enqueue(ctx, j, charges) }
		}
		results := together(t, store, add("passes", twice), add("passes too", twice, free), add("refused", twice),
			func(ctx context.Context) error { return store.TakeLimits(ctx, now, recovery.Charges{free}) })
		is.Equal([]error{results[0], results[1], results[3]}, []error{nil, nil, nil})
		is.True(errors.Is(results[2], recovery.ErrLimited))
		is.Equal(count(shared(s), "commit"), 1)

		// The jobs of a client queue one behind the other: each has its own Priority.
		passes, passesToo := job, job
		passes.ID, passesToo.ID = "passes", "passes too"
		passesToo.Priority = now.Add(-time.Hour)
		added := jobRows([]recovery.Job{passes, passesToo})
		is.Equal(s.kept[len(s.kept)-1], sent(added.expand(sqlite.insertJobs), added.args(SQLite)...))
	})
}

// count returns how many of the calls begin with a text.
func count(calls []string, beginning string) (n int) {
	for _, c := range calls {
		if strings.HasPrefix(c, beginning) {
			n++
		}
	}
	return n
}
