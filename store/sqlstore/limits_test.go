package sqlstore

import (
	"database/sql/driver"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// A row of SQLite has the limits whose keys differ in their last eight bytes only, and the latest state.
func TestGroups(t *testing.T) {
	is := is.New(t)
	micro := func(n int64) time.Time { return time.UnixMicro(n) }
	limits := &tally{grouped: true, state: map[recovery.Digest]time.Time{
		{23: 2, 31: 1}: micro(0x20),
		{23: 1, 24: 9}: micro(-1),
		{23: 1, 31: 2}: micro(0x30),
		{23: 1, 31: 1}: micro(0x20),
		{23: 1, 31: 3}: {}, // nothing was counted
		{23: 2, 31: 2}: micro(0x30),
		{23: 3, 31: 1}: {},
	}}
	text := func(r rows) string {
		var values []driver.NamedValue
		for _, v := range r.values {
			values = append(values, driver.NamedValue{Value: v})
		}
		return strings.TrimPrefix(callText("", values), " | ")
	}
	id := strings.Repeat("00", 23)
	is.Equal(text(limits.ids()), id+"01 | "+id+"02 | "+id+"03")
	is.Equal(text(limits.changes()), id+"01 | 30 | "+
		"00000000000000010000000000000020"+"00000000000000020000000000000030"+"0900000000000000ffffffffffffffff"+
		" | "+id+"02 | 30 | "+"00000000000000010000000000000020"+"00000000000000020000000000000030")
}

// The limits of a row that nobody asked for stay as they are.
func TestOtherLimitsOfAGroupAreKept(t *testing.T) {
	is := is.New(t)
	s := newStub(SQLite)
	beside := free
	beside.Key[31] = 1
	s.limits[beside.Key], s.limits[recovery.Digest{2, 31: 2}] = now, now.Add(time.Minute)
	store, _ := s.store(t, nil)
	is.NoErr(store.TakeLimits(t.Context(), now, []recovery.Charge{beside}))
	g := group{id: free.Key[:groupSize]}
	g.add(beside.Key, now.Add(time.Hour).UnixMicro())
	g.add(recovery.Digest{2, 31: 2}, now.Add(time.Minute).UnixMicro())
	is.Equal(len(s.kept), 2) // the lock, and the one row
	is.True(strings.HasSuffix(s.kept[1], callText("", []driver.NamedValue{{Value: g.id}, {Value: g.tat}, {Value: g.tats}})))
	is.Equal(g.tat, now.Add(time.Hour).UnixMicro())
}

func TestMalformedGroup(t *testing.T) {
	for _, tats := range []any{nil, []byte{}, []byte{1}, make([]byte, 15), make([]byte, 17), "many", int64(7)} {
		is := is.New(t)
		s := newStub(SQLite)
		s.rows[findsLimits] = []driver.Value{free.Key[:groupSize], tats}
		store, _ := s.store(t, nil)
		err := store.TakeLimits(t.Context(), now, []recovery.Charge{free})
		t.Logf("%v: %v", tats, err)
		if b, ok := tats.([]byte); tats == nil || ok && len(b) == 0 { // no limit
			is.NoErr(err)
			continue
		}
		is.True(strings.Contains(errorText(err), "the states of limits in a row are "))
		is.Equal(s.kept, nil)
	}
}

func TestLimitsThatCannotBeRead(t *testing.T) {
	for _, d := range []Dialect{MySQL, SQLite} {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			s.rows[findsLimits] = []driver.Value{free.Key[:], int64(0), "one column more"}
			store, _ := s.store(t, nil)
			is.True(store.TakeLimits(t.Context(), now, []recovery.Charge{free}) != nil)
			is.Equal(s.calls[len(s.calls)-1], "rollback")
		})
	}
}
