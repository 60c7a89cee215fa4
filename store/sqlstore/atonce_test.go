package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// What the statement is told of a limit lets the same events pass as Take does, one after the other,
// and leaves the same state.
func TestJudgementsAgreeWithTake(t *testing.T) {
	is := is.New(t)
	random := rand.New(rand.NewPCG(1, 2))
	passes := map[bool]int{}
	for range 100_000 {
		limit := recovery.Limit{Burst: 1 + random.IntN(5), Every: time.Duration(1+random.IntN(20)) * time.Minute}
		j := judgement{limit: limit}
		for range 1 + random.IntN(3) {
			j.times = append(j.times, now.Add(time.Duration(random.IntN(8)-4)*time.Minute))
		}
		state, stored := now.Add(time.Duration(random.IntN(180)-60)*time.Minute), random.IntN(8) > 0
		if !stored {
			state = time.Time{}
		}
		row, ok := j.row(recovery.Digest{})
		if !ok { // more events than the limit lets pass at all
			continue
		}
		floor, step, ceiling, absurd := row[1].(int64), row[2].(int64), row[3].(int64), row[4].(int64)
		tat := state.UnixMicro()
		judged := !stored || tat <= ceiling || tat > absurd
		next := floor
		if stored && tat <= absurd {
			next = max(floor, tat+step)
		}

		want, wantNext := true, state
		for _, at := range j.times {
			var wait time.Duration
			if wantNext, wait = limit.Take(wantNext, at); wait > 0 {
				want = false
			}
		}
		passes[want]++
		if judged != want || want && next != wantNext.UnixMicro() {
			t.Fatalf("%v of %v at %v: %v and %v, Take says %v and %v", limit, state, j.times, judged, next, want, wantNext.UnixMicro())
		}
	}
	is.True(passes[true] > 5000 && passes[false] > 5000) // both were tried
}

// What the statement cannot judge is judged in turn.
func TestWhatOnlyTakeCanJudge(t *testing.T) {
	hour := recovery.Limit{Burst: 2, Every: time.Hour}
	charge := func(key byte, l recovery.Limit) recovery.Charge {
		return recovery.Charge{Key: recovery.Digest{key}, Limit: l}
	}
	call := func(at time.Time, hard, soft []recovery.Charge) *addition {
		return &addition{at: at, charges: recovery.Charges{Hard: hard, Soft: soft}}
	}
	wide := []recovery.Charge{charge(3, recovery.Limit{Burst: 3, Every: time.Hour})}
	one, two := []recovery.Charge{charge(1, hour)}, []recovery.Charge{charge(2, hour)}
	for name, c := range map[string]struct {
		calls []*addition
		ok    bool
	}{
		"nothing":                     {[]*addition{call(now, nil, nil)}, true},
		"one call":                    {[]*addition{call(now, one, two)}, true},
		"two of one client":           {[]*addition{call(now, one, nil), call(now, one, two)}, true},
		"more than the limit":         {[]*addition{call(now, one, nil), call(now, one, nil), call(now, one, nil)}, false},
		"two about one identifier":    {[]*addition{call(now, nil, two), call(now, nil, two)}, false},
		"a limit of both kinds":       {[]*addition{call(now, one, nil), call(now, nil, one)}, false},
		"the other way round":         {[]*addition{call(now, nil, one), call(now, one, nil)}, false},
		"an identifier twice":         {[]*addition{call(now, nil, append(two, two...))}, false},
		"one key with two limits":     {[]*addition{call(now, one, nil), call(now, []recovery.Charge{charge(1, recovery.Limit{Burst: 3, Every: time.Hour})}, nil)}, false},
		"parts of a microsecond":      {[]*addition{call(now, []recovery.Charge{charge(1, recovery.Limit{Burst: 1, Every: 1500})}, nil)}, false},
		"a time between microseconds": {[]*addition{call(now.Add(1), one, nil)}, false},
		"clocks far apart":            {[]*addition{call(now, wide, nil), call(now.Add(-recovery.MaxClockSkew-time.Microsecond), wide, nil)}, false},
		"clocks apart":                {[]*addition{call(now, wide, nil), call(now.Add(-recovery.MaxClockSkew), wide, nil)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, ok := judgements(c.calls)
			is.Equal(ok, c.ok)
		})
	}
}

// Each call throttles itself alone: its place among the requests is the owner of its soft limits.
func TestOwnersOfLimits(t *testing.T) {
	is := is.New(t)
	first, second := other, other
	first.Key, second.Key = recovery.Digest{7}, recovery.Digest{8}
	limits, ok := judgements([]*addition{
		{at: now, charges: recovery.Charges{Hard: []recovery.Charge{free}, Soft: []recovery.Charge{first}}},
		{at: now, charges: recovery.Charges{Hard: []recovery.Charge{free}, Soft: []recovery.Charge{second}}},
	})
	is.True(ok)
	is.Equal(limits.len(), 3)
	owners := map[byte]int64{}
	for row := range slices.Chunk(limits.values, 6) {
		owners[row[0].([]byte)[0]] = row[5].(int64)
	}
	is.Equal(owners, map[byte]int64{free.Key[0]: 0, 7: 1, 8: 2})
}

func TestAddAtOnceAddsEveryRequest(t *testing.T) {
	is := is.New(t)
	s := newStub(PostgreSQL)
	store, _ := s.store(t, nil)
	one, two := request, request
	one.ID, two.ID = "one", "two"
	is.NoErr(store.add(t.Context(), []*addition{
		{ctx: t.Context(), at: now, request: &one},
		{ctx: t.Context(), at: now, charges: recovery.Charges{Hard: []recovery.Charge{free}}},
		{ctx: t.Context(), at: now, request: &two},
	}))
	is.Equal(len(s.kept), 1)
	is.True(strings.Contains(plain(s.kept[0]), `"one","two" | `))
}

// What cannot be read is not an answer, and a statement that failed after one has done nothing.
func TestAnswersOfAddAtOnce(t *testing.T) {
	for _, where := range targets {
		if !where.atOnce() {
			continue
		}
		t.Run(where.name, func(t *testing.T) {
			is := is.New(t)
			s := newStub(PostgreSQL)
			s.rows[addsAtOnce] = []driver.Value{"many", "many"}
			store, _ := s.store(t, nil)
			where.prepare(store)
			is.True(store.Enqueue(t.Context(), request, recovery.Charges{}) != nil)
			is.Equal(s.kept, nil)
		})
	}
	t.Run("undone", func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		s.fault = fault{call: 1, times: 1, err: &stateError{divisionByZero, secret}, when: afterRows}
		store, _ := s.store(t, nil)
		is.NoErr(store.Enqueue(t.Context(), request, recovery.Charges{}))
		is.Equal(len(s.kept), 1)
		is.True(strings.HasPrefix(s.kept[0], "INSERT INTO recovery_jobs")) // in turn
	})
	t.Run("undone by the commit", func(t *testing.T) { // by what was deferred to it
		is := is.New(t)
		s := newStub(PostgreSQL)
		s.fault = fault{call: 2, times: 1, err: &stateError{divisionByZero, secret}}
		store, _ := s.store(t, nil)
		is.NoErr(store.Enqueue(t.Context(), request, recovery.Charges{}))
		is.Equal(len(s.kept), 1)
		is.True(strings.HasPrefix(s.kept[0], "INSERT INTO recovery_jobs")) // in turn
	})
	t.Run("undone without a transaction", func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		s.fault = fault{call: 0, times: 1, err: &stateError{divisionByZero, secret}, when: afterRows}
		store, _ := s.store(t, nil)
		store.autocommits.Store(true)
		is.NoErr(store.Enqueue(t.Context(), request, recovery.Charges{}))
		is.True(slices.ContainsFunc(s.kept, func(text string) bool { return strings.HasPrefix(text, "INSERT INTO recovery_jobs") }))
	})
}

// The statement fails when a limit that it missed was made meanwhile, and does nothing at another
// isolation level than its own.
func TestAddAtOnceThatDoesNothing(t *testing.T) {
	add := func(s *stub, store *Store) (err error) {
		s.calls = nil
		return store.Enqueue(context.Background(), request, recovery.Charges{Hard: []recovery.Charge{free}})
	}
	statements := func(s *stub) (calls []string) {
		for _, c := range s.calls {
			first, _, _ := strings.Cut(c, " ")
			calls = append(calls, first)
		}
		return calls
	}
	inTurn := []string{"begin", "INSERT", "SELECT", "INSERT", "INSERT", "commit"}
	t.Run("a limit was made", func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		store, _ := s.store(t, nil)
		store.autocommits.Store(true)
		s.fault = fault{call: 0, times: 1, err: &stateError{divisionByZero, secret}}
		is.NoErr(add(s, store))
		is.Equal(statements(s), append([]string{"WITH"}, inTurn...))
		is.NoErr(add(s, store))
		is.Equal(statements(s), []string{"WITH"}) // the next one is tried at once again
	})
	t.Run("another isolation level", func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		store, _ := s.store(t, nil)
		store.autocommits.Store(true)
		s.serializable = true
		is.NoErr(add(s, store))
		is.Equal(statements(s), []string{"WITH", "begin", "WITH", "commit"})
		is.Equal(s.isolation, sql.LevelReadCommitted)
		is.NoErr(add(s, store))
		is.Equal(statements(s), []string{"begin", "WITH", "commit"}) // it is remembered
	})
	t.Run("a limit is reached", func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		store, _ := s.store(t, nil)
		store.autocommits.Store(true)
		err := store.Enqueue(t.Context(), request, recovery.Charges{Hard: []recovery.Charge{full}})
		var limit *recovery.LimitError
		is.True(errors.As(err, &limit))
		is.Equal(limit.RetryAfter, time.Hour) // as Take says
		is.Equal(s.kept, nil)
	})
}

func TestOnlyPgxCommitsWithoutATransaction(t *testing.T) {
	is := is.New(t)
	is.True(!autocommits(nil, PostgreSQL))
	is.True(!autocommits(newStub(PostgreSQL).db(t), PostgreSQL)) // its driver is nil
	for _, another := range []driver.Driver{anotherDriver{}, &anotherDriver{}} {
		db := sql.OpenDB(anotherConnector{newStub(PostgreSQL), another})
		is.True(!autocommits(db, PostgreSQL))
		is.NoErr(db.Close())
	}
	for err, want := range map[error]bool{
		driver.ErrBadConn:   true,
		errors.New("broke"): false,
		&safeError{true}:    true,
		&safeError{false}:   false,
		&net.OpError{Op: "dial", Err: errors.New("refused")}: true,
		&net.OpError{Op: "read", Err: errors.New("reset")}:   false,
	} {
		is.Equal(unsent(err), want)
	}
}

type anotherDriver struct{ driver.Driver }

type anotherConnector struct {
	*stub
	driver driver.Driver
}

func (c anotherConnector) Driver() driver.Driver { return c.driver }

type safeError struct{ safe bool }

func (e *safeError) Error() string     { return "pgx" }
func (e *safeError) SafeToRetry() bool { return e.safe }
