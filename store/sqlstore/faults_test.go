package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// secret stands for the values that databases put into their messages.
const secret = "Key (email)=(alice@example.com) already exists"

type stateError struct{ state, text string }

func (e *stateError) Error() string    { return e.text }
func (e *stateError) SQLState() string { return e.state }

type numberError struct {
	number int
	text   string
}

func (e *numberError) Error() string { return e.text }
func (e *numberError) Code() int     { return e.number }

// What must happen to a call with a fault.
type fate string

const (
	retried fate = "tried again as a whole"
	failed  fate = "given up, with nothing done"
	unknown fate = "given up, with an unknown outcome"
)

// A mode is a way in which a call can fail. It says what must happen then to a begin or a
// statement, and what to a commit.
type mode struct {
	name     string
	err      error
	when     moment
	fate     fate
	atCommit fate
}

// fateOf returns what must happen to a call when this one fails.
func (m mode) fateOf(text string) fate {
	if text == "commit" {
		return m.atCommit
	}
	return m.fate
}

func modes() []mode {
	state := func(s string) error { return &stateError{s, "ERROR: " + secret + " (SQLSTATE " + s + ")"} }
	mysql := func(s string) error { return errors.New("Error " + s + ": " + secret) }
	number := func(n int) error { return &numberError{n, secret} }
	cut := &net.OpError{Op: "read", Net: "tcp", Err: io.ErrUnexpectedEOF}
	return []mode{
		{"an error", errors.New("no"), before, failed, unknown},
		{"an error after the effect", errors.New("no"), after, failed, unknown},
		{"an error in the rows", errors.New("no"), inRows, failed, ""},
		{"an error after the rows", errors.New("no"), afterRows, failed, ""},
		{"ErrBadConn", driver.ErrBadConn, before, failed, unknown},
		{"the network", cut, before, failed, unknown},
		{"the network after the effect", cut, after, failed, unknown},

		{"40001", state("40001"), before, retried, retried},
		{"40001 after the effect", state("40001"), after, retried, ""},
		{"40001 in the rows", state("40001"), inRows, retried, ""},
		{"1213", mysql("1213 (40001)"), before, retried, retried}, // Galera says so at the commit too
		{"1213 in the rows", mysql("1213 (40001)"), inRows, retried, ""},
		{"SQLITE_BUSY", number(5), before, retried, retried},

		{"unique_violation", state("23505"), before, failed, failed},
		{"unique_violation in the rows", state("23505"), inRows, failed, ""},
		{"duplicate entry", mysql("1062 (23000)"), before, failed, failed},
		{"SQLITE_CONSTRAINT", number(2067), before, failed, failed},

		{"pgbouncer lost the server", state("08P01"), before, failed, unknown},
		{"pgbouncer lost the server after the effect", state("08P01"), after, failed, unknown},
		{"statement_completion_unknown", state("40003"), before, failed, unknown},
		{"admin_shutdown", state("57P01"), before, failed, unknown},
		{"server shutdown", mysql("1053 (08S01)"), before, failed, unknown},
		{"error during commit", mysql("1180 (HY000)"), before, failed, unknown},
		{"connection killed", mysql("1927 (70100)"), before, failed, unknown},
		{"SQLITE_IOERR_FSYNC", number(1034), after, failed, unknown},
	}
}

const attempts = 2

// A run is what a call did and what the database saw of it.
type run struct {
	result any
	err    error
	stub   *stub
	took   time.Duration
}

// call makes a call on a new stub, in a bubble that ends only if no goroutine is left. It checks
// what must hold for every call, whatever fails.
func callFaulty(t *testing.T, d Dialect, m method, f fault, deadline time.Duration) (r run) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newStub(d)
		s.fault = f
		store, db := s.store(t, &Options{Attempts: attempts})
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		start := time.Now()
		result, err := m.call(ctx, store)
		r = run{result, err, s, time.Since(start)}
		synctest.Wait()
		is.Equal(db.Stats().InUse, 0)                      // connections in use after the call
		is.True(db.Stats().OpenConnections <= 1)           // connections in the pool
		is.Equal(s.maxOpen, 1)                             // connections at one time
		is.NoErr(db.PingContext(t.Context()))              // the pool still works
		is.Equal(s.dirty, 0)                               // connections given back in a transaction
		is.True(!strings.Contains(errorText(err), "@"))    // a value in the error
		is.True(!strings.Contains(errorText(err), "hash")) // a hash in the error
	})
	return r
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// sequence is what the database must see of a transaction whose call with the index fails.
func sequence(calls []string, index int) []string {
	sent := slices.Clone(calls[:index+1])
	if index > 0 && calls[index] != "commit" {
		sent = append(sent, "rollback")
	}
	return sent
}

// calls are those of a transaction that can fail.
func (r run) calls() []string {
	return slices.DeleteFunc(slices.Clone(r.stub.calls), func(c string) bool { return c == "rollback" })
}

func isLookUp(call string) bool {
	return strings.HasPrefix(call, "SELECT") || strings.HasPrefix(call, locksLimits) || strings.Contains(call, "RETURNING")
}

// Every call of every method fails in every way, in every dialect.
func TestAttack_S45_EveryFaultOfEveryCall(t *testing.T) {
	combinations := 0
	for _, d := range dialects {
		for _, m := range methodsOf(d) {
			t.Run(d.String()+"/"+m.name, func(t *testing.T) {
				is := is.New(t)
				clean := callFaulty(t, d, m, fault{call: -1}, time.Hour)
				is.True(clean.err == nil || errors.Is(clean.err, recovery.ErrLimited))
				for index, text := range clean.calls() {
					for _, mode := range modes() {
						want := mode.fateOf(text)
						if want == "" || mode.when >= inRows && !isLookUp(text) || mode.when == afterRows && readsOneRow(text) {
							continue
						}
						t.Run(fmt.Sprintf("%d %s", index, mode.name), func(t *testing.T) {
							testFault(t, d, m, clean, index, mode, want)
						})
						combinations++
					}
				}
			})
		}
	}
	t.Logf("%d combinations of dialect, method, call and fault", combinations)
}

func testFault(t *testing.T, d Dialect, m method, clean run, index int, mode mode, want fate) {
	is := is.New(t)
	sent := sequence(clean.calls(), index)

	// The fault stays.
	r := callFaulty(t, d, m, fault{call: index, times: 1000, err: mode.err, when: mode.when}, time.Hour)
	tries := 1
	switch {
	case want == retried:
		tries = attempts
	case index == 0 && errors.Is(mode.err, driver.ErrBadConn):
		tries = 3 // database/sql looks for a good connection itself
	}
	is.Equal(r.stub.calls, slices.Repeat(sent, tries))                               // what the database saw
	is.True(errors.Is(r.err, mode.err))                                              // the driver's error is found
	is.Equal(errors.Is(r.err, ErrUnknownOutcome), want == unknown)                   // only the commit's outcome is unknown
	is.True(!errors.Is(r.err, recovery.ErrLimited))                                  // a failure is not a limit
	is.True(strings.HasPrefix(r.err.Error(), "sqlstore: "))                          // the package's prefix
	is.Equal(strings.Count(r.err.Error(), "sqlstore: "), 1)                          // only once
	is.True(code(mode.err) == "" || strings.Contains(r.err.Error(), code(mode.err))) // the code helps
	is.True(r.took <= (attempts-1)*150*time.Millisecond)                             // the pauses are bounded
	is.Equal(want == retried, r.took > 0)                                            // there are pauses
	is.True(isZero(r.result))                                                        // no result beside an error
	kept := []string(nil)
	if want == unknown && mode.when != before {
		kept = clean.stub.kept
	}
	is.Equal(r.stub.kept, kept) // nothing half done

	// The fault passes.
	if want == retried {
		r := callFaulty(t, d, m, fault{call: index, times: 1, err: mode.err, when: mode.when}, time.Hour)
		is.Equal(r.err, clean.err)
		is.Equal(r.result, clean.result)
		is.Equal(r.stub.calls, append(sent, clean.stub.calls...)) // the whole transaction again
		is.Equal(r.stub.kept, clean.stub.kept)                    // once
	}
}

// isZero reports whether a method returned nothing beside its error.
func isZero(result any) bool {
	switch r := result.(type) {
	case nil:
		return true
	case []recovery.Account:
		return r == nil
	case []recovery.Job:
		return r == nil
	case []string:
		return r == nil
	case []recovery.LaneStats:
		return r == nil
	case time.Time:
		return r.IsZero()
	case recovery.Account:
		return r == recovery.Account{}
	case []any: // FindReset
		return r[0] == recovery.Reset{} && r[1] == recovery.Account{}
	}
	return result == 0
}

// Every call of every method hangs until its ctx ends.
func TestEveryCallEndsWithItsContext(t *testing.T) {
	combinations := 0
	for _, d := range dialects {
		for _, m := range methodsOf(d) {
			t.Run(d.String()+"/"+m.name, func(t *testing.T) {
				is := is.New(t)
				clean := callFaulty(t, d, m, fault{call: -1}, time.Hour)
				for index, text := range clean.calls() {
					for _, when := range []moment{before, after} {
						r := callFaulty(t, d, m, fault{call: index, times: 1000, when: when}, time.Second)
						commits := text == "commit"
						is.True(errors.Is(r.err, context.DeadlineExceeded))        // ctx's own error
						is.Equal(r.took, time.Second)                              // at once
						is.Equal(r.stub.calls, sequence(clean.calls(), index))     // no retry, one rollback
						is.Equal(errors.Is(r.err, ErrUnknownOutcome), commits)     // a commit may have come through
						is.True(isZero(r.result))                                  // no result beside an error
						is.True(commits && when == after || len(r.stub.kept) == 0) // nothing half done
						combinations++
					}
				}
			})
		}
	}
	t.Logf("%d combinations of dialect, method and hanging call", combinations)
}

// readsOneRow reports whether the store asks for one row and no more.
func readsOneRow(call string) bool {
	return slices.ContainsFunc([]string{findsHash, findsReset, findsLeased, findsNewer, findsNow, findsNowToo}, func(beginning string) bool {
		return strings.HasPrefix(call, beginning)
	})
}
