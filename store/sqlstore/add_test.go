package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// What others may wait for does not hang for ever.
func TestAdditionThatHangs(t *testing.T) {
	for _, where := range targets {
		t.Run(where.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newStub(where.dialect)
				s.fault = fault{call: 0, times: 1} // until its ctx ends
				store, _ := s.store(t, nil)
				where.prepare(store)
				began := time.Now()
				err := store.TakeLimits(t.Context(), now, recovery.Charges{free})
				is.True(errors.Is(err, context.DeadlineExceeded))
				is.Equal(time.Since(began), 30*time.Second)
				is.NoErr(store.TakeLimits(t.Context(), now, recovery.Charges{free}))
			})
		})
	}
}

// What a caller does with its slices when it has its answer, be it before the call was made,
// changes nothing.
func TestChargesAreTheCallersAgain(t *testing.T) {
	is := is.New(t)
	store, _ := newStub(SQLite).store(t, nil)
	charges := recovery.Charges{{Scope: recovery.ScopeGlobal}}
	for _, made := range []*together{&store.adding, &store.taking} {
		made.make = func(_ context.Context, calls []*addition) error {
			charges[0].Scope = "changed"
			is.Equal(calls[0].charges[0].Scope, recovery.ScopeGlobal)
			charges[0].Scope = recovery.ScopeGlobal
			return nil
		}
	}
	is.NoErr(store.Enqueue(t.Context(), job, charges))
	is.NoErr(store.TakeLimits(t.Context(), now, charges))
}

// One transaction has some that are refused and some that pass.
func TestAddTogether(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			store, _ := s.store(t, nil)
			add := func(id string, charges ...recovery.Charge) *addition {
				j := job
				j.ID = id
				return &addition{ctx: t.Context(), at: now, job: &j, charges: charges}
			}
			twice := recovery.Charge{Scope: recovery.ScopeClient, Key: recovery.Digest{9}, Limit: recovery.Limit{Burst: 2, Every: time.Hour}}
			calls := []*addition{
				add("passes", twice),
				add("passes too", twice, free),
				add("refused", twice),
				{ctx: t.Context(), at: now, charges: recovery.Charges{free}},
			}
			is.NoErr(store.add(t.Context(), calls))
			is.NoErr(calls[0].err)
			is.NoErr(calls[1].err)
			is.True(errors.Is(calls[2].err, recovery.ErrLimited)) // counted in their order
			is.NoErr(calls[3].err)
			kept := ""
			for _, text := range s.kept {
				kept += plain(text) + "\n"
			}
			for id, want := range map[string]bool{"passes": true, "passes too": true, "refused": false} {
				hexed := strings.Trim(strings.ToLower(callText("", []driver.NamedValue{{Value: id}})), " |")
				is.Equal(strings.Contains(kept, hexed) || strings.Contains(kept, `"`+id+`"`), want)
			}
		})
	}
}

// The jobs of a client go one behind the other: each has its own Turn.
func TestTurnsInTurn(t *testing.T) {
	for _, where := range targets {
		if where.atOnce() {
			continue // the statement does it
		}
		t.Run(where.name, func(t *testing.T) {
			is := is.New(t)
			s := newStub(where.dialect)
			store, _ := s.store(t, nil)
			where.prepare(store)
			add := func(charges ...recovery.Charge) *addition {
				j := job
				return &addition{ctx: t.Context(), at: now, job: &j, charges: charges}
			}
			is.NoErr(store.add(t.Context(), []*addition{add(free, other), add(other), add(free), add()}))
			jobs := make([]recovery.Job, 4)
			for i, used := range []time.Duration{0, time.Hour, 0, 0} {
				jobs[i] = job
				jobs[i].Turn = now.Add(-used)
			}
			var want []string
			for _, some := range rowsOf(jobs).pieces(where.dialect) {
				want = append(want, sent(some.expand(statementsOf(where.dialect).insertJobs), some.args(where.dialect)...))
			}
			is.Equal(s.kept[len(s.kept)-len(want):], want)
		})
	}
}

func rowsOf(jobs []recovery.Job) *rows {
	r := jobRows(jobs)
	return &r
}

// A job is stored as it came, in its lane and at its Turn.
func TestJobRows(t *testing.T) {
	is := is.New(t)
	late := notice
	late.Turn = now.Add(-time.Minute)
	at, turn := now.UnixMicro(), now.Add(-time.Minute).UnixMicro()
	rows := jobRows([]recovery.Job{job, late})
	is.Equal(rows.args(SQLite), []any{
		"job 1", "mail", "reset", "username", "alice", "7", "acme", job.Ticket[:], "shop", "en", "192.0.2.1", at, at, at,
		"job 2", "notice", "notice", "", "alice@example.com", "", "", nil, "", "", "", at, turn, turn,
	})
	is.Equal(rows.columns, jobValues)
}

// What was refused when it was tried together may pass alone.
func TestErrorsOfEarlierTriesAreForgotten(t *testing.T) {
	is := is.New(t)
	store, _ := newStub(PostgreSQL).store(t, nil)
	j := job
	a := &addition{ctx: t.Context(), at: now, job: &j, err: recovery.ErrLimited}
	is.NoErr(store.add(t.Context(), []*addition{a}))
	is.NoErr(a.err)
}

func TestArrays(t *testing.T) {
	is := is.New(t)
	var r rows
	r.add(`a"b\c,{}`, []byte{0, 255}, int64(-7))
	r.add("", []byte{}, int64(0))
	r.add("NULL", nil, int64(1))
	is.Equal(r.args(PostgreSQL), []any{`{"a\"b\\c,{}","","NULL"}`, `{"\\x00ff","\\x",NULL}`, `{-7,0,1}`})
	is.Equal(r.args(SQLite), []any{`a"b\c,{}`, []byte{0, 255}, int64(-7), "", []byte{}, int64(0), "NULL", nil, int64(1)})
	is.Equal(r.expand("VALUES {(?, ?, ?)} END"), "VALUES (?, ?, ?), (?, ?, ?), (?, ?, ?) END")
	is.Equal(r.expand("no braces"), "no braces")
	is.Equal((&rows{}).arrays(2), []any{"{}", "{}"}) // no row
}
