package dbtest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// With a thousand rows due, MariaDB would rather read the whole table than the index whose order it is.
func TestLongestDueComesFirst(t *testing.T) {
	const due, max = 1000, 16
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		insert := databases.Bind(s.Dialect, insertBare)
		tx, err := db.Begin()
		is.NoErr(err)
		for i := range due {
			at := t0.Add(-time.Duration(i) * time.Second).UnixMicro() // the last is due longest
			_, err := tx.Exec(insert, fmt.Sprintf("%08d", i), at, at, at)
			is.NoErr(err)
		}
		is.NoErr(tx.Commit())
		claimed, err := store.Claim(t.Context(), recovery.Claim{LeaseID: "lease", At: t0, Until: t0.Add(time.Hour), Max: max})
		is.NoErr(err)
		var ids, want []string
		for i := range max {
			ids, want = append(ids, claimed[i].ID), append(want, fmt.Sprintf("%08d", due-max+i))
		}
		slices.Sort(ids)
		is.Equal(ids, want)
	})
}
