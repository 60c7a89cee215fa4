package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"net/netip"
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
				err := store.TakeLimits(t.Context(), now, []recovery.Charge{free})
				is.True(errors.Is(err, context.DeadlineExceeded))
				is.Equal(time.Since(began), 30*time.Second)
				is.NoErr(store.TakeLimits(t.Context(), now, []recovery.Charge{free}))
			})
		})
	}
}

// What a caller does with its slices when it has its answer, be it before the call was made, changes nothing.
func TestChargesAreTheCallersAgain(t *testing.T) {
	is := is.New(t)
	store, _ := newStub(SQLite).store(t, nil)
	charges := recovery.Charges{Hard: []recovery.Charge{{Scope: recovery.ScopeGlobal}}, Soft: []recovery.Charge{{Scope: recovery.ScopeIdentifier}}}
	for _, made := range []*together{&store.adding, &store.taking} {
		made.make = func(_ context.Context, calls []*addition) error {
			charges.Hard[0].Scope, charges.Soft[0].Scope = "changed", "changed"
			is.Equal(calls[0].charges.Hard[0].Scope, recovery.ScopeGlobal)
			for _, c := range calls[0].charges.Soft {
				is.Equal(c.Scope, recovery.ScopeIdentifier)
			}
			charges.Hard[0].Scope, charges.Soft[0].Scope = recovery.ScopeGlobal, recovery.ScopeIdentifier
			return nil
		}
	}
	is.NoErr(store.Enqueue(t.Context(), request, charges))
	is.NoErr(store.TakeLimits(t.Context(), now, charges.Hard))
}

// One transaction has some that are refused, some throttled, and some that pass.
func TestAddTogether(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			store, _ := s.store(t, nil)
			add := func(id string, hard, soft []recovery.Charge) *addition {
				r := request
				r.ID = id
				return &addition{ctx: t.Context(), at: now, request: &r, charges: recovery.Charges{Hard: hard, Soft: soft}}
			}
			twice := recovery.Charge{Scope: recovery.ScopeClient, Key: recovery.Digest{9}, Limit: recovery.Limit{Burst: 2, Every: time.Hour}}
			calls := []*addition{
				add("passes", []recovery.Charge{twice}, nil),
				add("throttled", []recovery.Charge{twice}, []recovery.Charge{full}),
				add("refused", []recovery.Charge{twice}, nil),
				{ctx: t.Context(), at: now, charges: recovery.Charges{Hard: []recovery.Charge{free}}},
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
			for id, want := range map[string]bool{"passes": true, "throttled": true, "refused": false} {
				hexed := strings.Trim(strings.ToLower(callText("", []driver.NamedValue{{Value: id}})), " |")
				is.Equal(strings.Contains(kept, hexed) || strings.Contains(kept, `"`+id+`"`), want)
			}
		})
	}
}

// A request is stored as it came.
func TestRequestRows(t *testing.T) {
	is := is.New(t)
	throttled := request
	throttled.Client, throttled.Throttled, throttled.DueAt = netip.Addr{}, true, now.Add(time.Minute)
	at, due := now.UnixMicro(), now.Add(time.Minute).UnixMicro()
	rows := requestRows([]recovery.Job{request, throttled})
	is.Equal(rows.args(SQLite), []any{
		"request 1", "reset", "username", "alice", "7", "shop", "en", "192.0.2.1", at, at, at, int64(0),
		"request 1", "reset", "username", "alice", "7", "shop", "en", "", at, due, due, int64(1),
	})
}

// What was refused when it was tried together may pass alone.
func TestErrorsOfEarlierTriesAreForgotten(t *testing.T) {
	is := is.New(t)
	store, _ := newStub(PostgreSQL).store(t, nil)
	r := request
	a := &addition{ctx: t.Context(), at: now, request: &r, err: recovery.ErrLimited}
	is.NoErr(store.add(t.Context(), []*addition{a}))
	is.NoErr(a.err)
}

func TestArrays(t *testing.T) {
	is := is.New(t)
	var r rows
	r.add(`a"b\c,{}`, []byte{0, 255}, int64(-7))
	r.add("", []byte{}, int64(0))
	is.Equal(r.args(PostgreSQL), []any{`{"a\"b\\c,{}",""}`, `{"\\x00ff","\\x"}`, `{-7,0}`})
	is.Equal(r.args(SQLite), []any{`a"b\c,{}`, []byte{0, 255}, int64(-7), "", []byte{}, int64(0)})
	is.Equal(r.expand("VALUES {(?, ?, ?)} END"), "VALUES (?, ?, ?), (?, ?, ?) END")
	is.Equal(r.expand("no braces"), "no braces")
	is.Equal((&rows{}).arrays(2), []any{"{}", "{}"}) // no row
}
