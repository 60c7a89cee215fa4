package dbtest

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/memstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// columnsOf returns the columns of a table.
func columnsOf(t *testing.T, db *sql.DB, table string) []string {
	t.Helper()
	is := is.New(t)
	rows, err := db.Query("SELECT * FROM " + table + " LIMIT 0")
	is.NoErr(err)
	defer rows.Close()
	columns, err := rows.Columns()
	is.NoErr(err)
	is.NoErr(rows.Err())
	return columns
}

// The tables have one layout on all databases.
func TestTablesHaveOneLayout(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		_, db := databases.Open(t, s)
		is.Equal(strings.Join(columnsOf(t, db, "recovery_jobs"), " "), "id lane kind by_kind identifier account_id tenant ticket portal locale client "+
			"requested_at turn fresh order_at charged attempts lease_id")
		is.Equal(strings.Join(columnsOf(t, db, "recovery_resets"), " "), "digest account_id version job_id requester "+
			"requested_at expires_at ended mailed")
		is.Equal(strings.Join(columnsOf(t, db, "recovery_limits"), " "), "id tat slot")
	})
}

// Limits count as those in memory: with keys that other calls
// share, clocks that go back, limits that change, and states that a wrong clock left far ahead.
func TestLimitsCountAsInMemory(t *testing.T) {
	databases.OnEachOnce(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		db.SetMaxOpenConns(1)
		forgetful(t, db, s.Dialect)
		oracle := memstore.New()
		random := rand.New(rand.NewPCG(1, 2))
		at, seen := t0, map[string]int{}
		for range 1500 {
			at = at.Add(time.Duration(random.IntN(5)-1) * time.Second)
			if random.IntN(200) == 0 {
				at = at.Add(time.Duration(random.IntN(3)-1) * 24 * time.Hour)
			}
			var charges recovery.Charges
			for _, i := range random.Perm(9)[:1+random.IntN(3)] {
				c := recovery.Charge{
					Scope: []recovery.Scope{recovery.ScopeClient, recovery.ScopeGlobal}[i%2], Key: recovery.Digest{31: byte(i)},
					Limit: recovery.Limit{Burst: 1 + i%3, Every: time.Duration(3*i+3) * time.Second},
				}
				if random.IntN(20) == 0 {
					c.Limit.Every /= 2
				}
				if random.IntN(20) == 0 {
					c.Repeat, c.Share = 1, recovery.Digest{31: byte(random.IntN(9))}
				}
				charges = append(charges, c)
			}
			var err, want error
			if random.IntN(2) == 0 {
				want, err = oracle.TakeLimits(t.Context(), at, charges), store.TakeLimits(t.Context(), at, charges)
			} else {
				j := request(at)
				want, err = oracle.Enqueue(t.Context(), j, charges), store.Enqueue(t.Context(), j, charges)
			}
			if outcome(err) != outcome(want) {
				t.Fatalf("%v: %v, in memory %v", charges, err, want)
			}
			seen[fmt.Sprint(err == nil)]++
		}
		t.Log(seen)
		is.True(seen["true"] > 200 && seen["false"] > 200)
		rest, err := atRest(db)
		is.NoErr(err)
		is.Equal(rest, oracle.Dump())
	})
}
