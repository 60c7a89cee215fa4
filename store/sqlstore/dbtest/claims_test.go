package dbtest

import (
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// enqueueAll fills the mail lane: so many jobs that nobody claimed, one a second, and so many to be
// tried again, due one a second. The first of each is the latest.
func enqueueAll(t testing.TB, db *sql.DB, d sqlstore.Dialect, fresh, again int) {
	t.Helper()
	is := is.New(t)
	insert := databases.Bind(d, insertJob)
	tx, err := db.Begin()
	is.NoErr(err)
	for i := range fresh {
		at := t0.Add(-time.Duration(i) * time.Second).UnixMicro()
		_, err := tx.Exec(insert, fmt.Sprintf("fresh-%08d", i), at, at, 1, at)
		is.NoErr(err)
	}
	for i := range again {
		at := t0.Add(-time.Duration(i) * time.Second).UnixMicro()
		_, err := tx.Exec(insert, fmt.Sprintf("again-%08d", i), at, at, 0, at)
		is.NoErr(err)
	}
	is.NoErr(tx.Commit())
}

func ids(prefix string, from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("%s-%08d", prefix, i))
	}
	return all
}

// Some places are for jobs that were claimed before, the longest due first; the rest for the latest
// of the others. With a thousand rows due, MariaDB would rather read the whole table than the index
// whose order it is.
func TestLatestAndLongestDueComeFirst(t *testing.T) {
	const each, max, share = 1000, 16, 4
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		enqueueAll(t, db, s.Dialect, each, each)
		for round := range 3 {
			claimed, err := store.Claim(t.Context(), recovery.Claim{
				LeaseID: newID(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Hour), Max: max, Again: share,
			})
			is.NoErr(err)
			var got []string
			for _, j := range claimed {
				got = append(got, j.ID)
			}
			slices.Sort(got)
			want := slices.Concat(ids("again", each-share*(round+1), each-share*round), ids("fresh", (max-share)*round, (max-share)*(round+1)))
			is.Equal(got, want)
		}
	})
}

// What one of the two does not use the other gets.
func TestNoPlaceStaysEmptyWhileJobsWait(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		store, db := databases.Open(t, s)
		for _, c := range []struct{ fresh, again, max, share, wantFresh, wantAgain int }{
			{20, 0, 16, 4, 16, 0}, {0, 20, 16, 4, 0, 16}, {5, 20, 16, 4, 5, 11}, {20, 2, 16, 4, 14, 2},
			{20, 20, 1, 1, 0, 1}, {20, 20, 1, 0, 1, 0}, {0, 20, 1, 0, 0, 1}, {20, 20, 5, 2, 3, 2}, {1, 1, 3, 1, 1, 1},
			{20, 20, 8, 8, 0, 8}, {20, 3, 8, 8, 5, 3},
		} {
			t.Run(fmt.Sprint(c), func(t *testing.T) {
				is := is.New(t)
				databases.Empty(t, db)
				enqueueAll(t, db, s.Dialect, c.fresh, c.again)
				claimed, err := store.Claim(t.Context(), recovery.Claim{
					LeaseID: newID(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Hour), Max: c.max, Again: c.share,
				})
				is.NoErr(err)
				fresh, again := 0, 0
				for _, j := range claimed {
					if j.ID[0] == 'f' {
						fresh++
					} else {
						again++
					}
				}
				is.Equal(fresh, c.wantFresh)
				is.Equal(again, c.wantAgain)
			})
		}
	})
}

// A flood of one lane is not seen in another.
func TestLanesWaitForThemselvesOnly(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		enqueueAll(t, db, s.Dialect, 500, 500)
		for _, kind := range []recovery.JobKind{recovery.JobNotice, recovery.JobOnReset, recovery.JobUsernames} {
			j := request(t0.Add(time.Second))
			j.Kind = kind
			is.NoErr(store.Enqueue(t.Context(), j, nil))
			claimed, err := store.Claim(t.Context(), recovery.Claim{
				LeaseID: newID(), Lane: kind.Lane(), At: t0.Add(-time.Hour), Until: t0.Add(time.Hour), Max: 1,
			})
			is.NoErr(err)
			is.Equal(len(claimed), 1)
			is.Equal(claimed[0].ID, j.ID)
		}
	})
}

// Ten instances empty the queue together, and no job is claimed twice.
func TestInstancesShareTheQueue(t *testing.T) {
	const each = 150
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		_, db := databases.Open(t, s)
		enqueueAll(t, db, s.Dialect, each, each)
		stores := newManyStores(t, s.Dialect, db)
		got := make([][]recovery.Job, instances)
		for _, err := range together(instances, func(i int) error {
			for {
				claimed, err := stores.Claim(t.Context(), recovery.Claim{
					LeaseID: newID(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Hour), Max: 8, Again: 2,
				})
				if len(claimed) == 0 || err != nil {
					return err
				}
				got[i] = append(got[i], claimed...)
			}
		}) {
			is.NoErr(err)
		}
		seen := map[string]bool{}
		for _, j := range slices.Concat(got...) {
			is.True(!seen[j.ID]) // it was claimed twice
			seen[j.ID] = true
		}
		is.Equal(len(seen), 2*each)
	})
}
