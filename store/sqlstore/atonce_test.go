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

// What the statement is told of a limit lets the same events pass as Take does, one after the
// other, and leaves the same state.
func TestJudgementsAgreeWithTake(t *testing.T) {
	is := is.New(t)
	random := rand.New(rand.NewPCG(1, 2))
	passes, forgot := map[bool]int{}, 0
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
		floor, step, ceiling := row[1].(int64), row[2].(int64), row[3].(int64)
		tat := state.UnixMicro()
		judged := !stored || tat <= ceiling
		next := floor
		if stored {
			next = max(floor, tat+step)
		}

		want, wantNext, forgets := true, state, false
		for _, at := range j.times {
			next, wait := limit.Take(wantNext, at)
			want = want && wait == 0
			forgets = forgets || next.Before(wantNext.Add(limit.Every))
			wantNext = next
		}
		passes[want]++
		if want && !judged { // a state of a wrong clock, which Take forgets, is left to Take
			is.True(forgets)
			forgot++
			continue
		}
		if judged != want || want && next != wantNext.UnixMicro() {
			t.Fatalf("%v of %v at %v: %v and %v, Take says %v and %v", limit, state, j.times, judged, next, want, wantNext.UnixMicro())
		}
	}
	is.True(passes[true] > 5000 && passes[false] > 5000 && forgot > 1000) // all were tried
}

// What the statement cannot judge is judged in turn.
func TestWhatOnlyTakeCanJudge(t *testing.T) {
	hour := recovery.Limit{Burst: 2, Every: time.Hour}
	charge := func(key byte, l recovery.Limit) recovery.Charge {
		return recovery.Charge{Key: recovery.Digest{key}, Limit: l}
	}
	call := func(at time.Time, charges ...recovery.Charge) *addition { return &addition{at: at, charges: charges} }
	short := charge(3, recovery.Limit{Burst: 2, Every: time.Second})
	one, two := charge(1, hour), charge(2, hour)
	repeated := two
	repeated.Repeat, repeated.Share = 1, one.Key
	for name, c := range map[string]struct {
		calls []*addition
		ok    bool
	}{
		"nothing":                     {[]*addition{call(now)}, true},
		"one call":                    {[]*addition{call(now, one, two)}, true},
		"two of one client":           {[]*addition{call(now, one), call(now, one, two)}, true},
		"more than the limit":         {[]*addition{call(now, one), call(now, one), call(now, one)}, false},
		"who had a share":             {[]*addition{call(now, one, repeated)}, false},
		"one key with two limits":     {[]*addition{call(now, one), call(now, charge(1, recovery.Limit{Burst: 3, Every: time.Hour}))}, false},
		"parts of a microsecond":      {[]*addition{call(now, charge(1, recovery.Limit{Burst: 1, Every: 1500}))}, false},
		"a time between microseconds": {[]*addition{call(now.Add(1), one)}, false},
		"a clock set back":            {[]*addition{call(now, short), call(now.Add(-time.Minute), short)}, false},
		"a clock set back a little":   {[]*addition{call(now, one), call(now.Add(-time.Minute), one)}, false},
		"calls that overtook":         {[]*addition{call(now, one), call(now.Add(time.Second), one)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, _, ok := judgements(c.calls)
			is.Equal(ok, c.ok)
		})
	}
}

// What the statement needs for a job's Turn: its place among the jobs and the limits of its client.
func TestClientsOfJobs(t *testing.T) {
	is := is.New(t)
	wide := other
	wide.Key, wide.Limit.Every = recovery.Digest{7}, time.Minute
	j := job
	_, clients, ok := judgements([]*addition{
		{at: now, job: &j, charges: recovery.Charges{free, other}},
		{at: now, charges: recovery.Charges{other}}, // no job
		{at: now, job: &j},
		{at: now, job: &j, charges: recovery.Charges{wide, free}},
	})
	is.True(ok)
	hour, minute := time.Hour.Microseconds(), time.Minute.Microseconds()
	is.Equal(clients.values, []any{int64(1), other.Key[:], hour, int64(3), wide.Key[:], minute})
}

func TestAddAtOnceAddsEveryJob(t *testing.T) {
	is := is.New(t)
	s := newStub(PostgreSQL)
	store, _ := s.store(t, nil)
	one, two := job, job
	one.ID, two.ID = "one", "two"
	is.NoErr(store.add(t.Context(), []*addition{
		{ctx: t.Context(), at: now, job: &one},
		{ctx: t.Context(), at: now, charges: recovery.Charges{free}},
		{ctx: t.Context(), at: now, job: &two},
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
			is.True(store.Enqueue(t.Context(), job, nil) != nil)
			is.Equal(s.kept, nil)
		})
	}
	t.Run("undone", func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		s.fault = fault{call: 1, times: 1, err: &stateError{divisionByZero, secret}, when: afterRows}
		store, _ := s.store(t, nil)
		is.NoErr(store.Enqueue(t.Context(), job, nil))
		is.Equal(len(s.kept), 1)
		is.True(strings.HasPrefix(s.kept[0], "INSERT INTO recovery_jobs")) // in turn
	})
	t.Run("undone by the commit", func(t *testing.T) { // by what was deferred to it
		is := is.New(t)
		s := newStub(PostgreSQL)
		s.fault = fault{call: 2, times: 1, err: &stateError{divisionByZero, secret}}
		store, _ := s.store(t, nil)
		is.NoErr(store.Enqueue(t.Context(), job, nil))
		is.Equal(len(s.kept), 1)
		is.True(strings.HasPrefix(s.kept[0], "INSERT INTO recovery_jobs")) // in turn
	})
	t.Run("undone without a transaction", func(t *testing.T) {
		is := is.New(t)
		s := newStub(PostgreSQL)
		s.fault = fault{call: 0, times: 1, err: &stateError{divisionByZero, secret}, when: afterRows}
		store, _ := s.store(t, nil)
		store.autocommits.Store(true)
		is.NoErr(store.Enqueue(t.Context(), job, nil))
		is.True(slices.ContainsFunc(s.kept, func(text string) bool { return strings.HasPrefix(text, "INSERT INTO recovery_jobs") }))
	})
}

// The statement fails when a limit that it missed was made meanwhile, and does nothing at another
// isolation level than its own.
func TestAddAtOnceThatDoesNothing(t *testing.T) {
	add := func(s *stub, store *Store) (err error) {
		s.calls = nil
		return store.Enqueue(context.Background(), job, recovery.Charges{free})
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
		err := store.Enqueue(t.Context(), job, recovery.Charges{full})
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
