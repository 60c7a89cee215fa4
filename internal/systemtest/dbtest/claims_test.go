package dbtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
)

// Some places go to jobs that were claimed before, the longest due first, and the rest to the
// latest others. With a thousand rows due, MariaDB prefers to read the whole table to the index
// that has this order.
func TestLatestAndLongestDueComeFirst(t *testing.T) {
	const each, max, share = 1000, 16, 4
	databases.OnEachOnce(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		for fresh, prefix := range []string{"again", "fresh"} { // one a second, the first is the latest
			execute(t, db, fmt.Sprintf(`INSERT INTO recovery_jobs (id, lane, kind, by_kind, identifier, account_id, portal, locale, client,
				requested_at, priority, fresh, order_at) SELECT CONCAT('%s', n), 'mail', 'reset', 'username', '', '', '', '', '',
				%[2]d - n * 1000000, %[2]d - n * 1000000, %[3]d, %[2]d - n * 1000000 FROM %[4]s`, prefix, t0.UnixMicro(), fresh, numbers(each)))
		}
		for round := range 3 {
			claimed, err := store.Claim(t.Context(), recovery.Claim{
				LeaseID: newID(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Hour), Max: max, Again: share,
			})
			is.NoErr(err)
			is.Equal(len(claimed), max)
			got, want := map[string]bool{}, map[string]bool{}
			for i := range max {
				got[claimed[i].ID] = true
				if i < share {
					want[fmt.Sprint("again", each-1-share*round-i)] = true
				} else {
					want[fmt.Sprint("fresh", (max-share)*round+i-share)] = true
				}
			}
			is.Equal(got, want)
		}
	})
}
