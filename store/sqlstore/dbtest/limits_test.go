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
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

func onSQLite(t *testing.T) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	db := databases.NewSQLite(t).Open(t)
	return databases.OpenOn(t, sqlstore.SQLite, db, "TEXT"), db
}

func limitRows(t *testing.T, db *sql.DB) (n int) {
	t.Helper()
	is.New(t).NoErr(db.QueryRow("SELECT COUNT(*) FROM recovery_limits").Scan(&n))
	return n
}

// However many limits a name has, they are one row.
func TestSQLiteKeepsLimitsOfANameInARow(t *testing.T) {
	is := is.New(t)
	store, db := onSQLite(t)
	svc, err := recovery.New(store, &mailertest.Recorder{}, &recovery.Options{Limits: recovery.Limits{
		PerIdentifier: []recovery.Limit{{Burst: 1, Every: time.Minute}, {Burst: 3, Every: time.Hour}, {Burst: 9, Every: 24 * time.Hour}},
		Global:        recovery.Limit{Burst: 100, Every: time.Second},
	}})
	is.NoErr(err)
	for i, name := range []string{"alice", "bob", "alice", "carol"} {
		is.NoErr(svc.RequestReset(t.Context(), recovery.ResetRequest{Username: name}))
		is.Equal(limitRows(t, db), 1+[]int{1, 2, 2, 3}[i]) // one is that of all
	}
}

func TestSQLitePurgesLimitsThatAreAllOver(t *testing.T) {
	is := is.New(t)
	store, db := onSQLite(t)
	limit := recovery.Limit{Burst: 1, Every: time.Hour}
	one, two := recovery.Charge{Key: recovery.Digest{1}, Limit: limit}, recovery.Charge{Key: recovery.Digest{1, 31: 1}, Limit: limit}
	for _, first := range [][]recovery.Charge{{one, two}, {two, one}} {
		for i, c := range first {
			c.Limit.Every = time.Duration(i+1) * time.Hour
			is.NoErr(store.TakeLimits(t.Context(), t0, []recovery.Charge{c}))
		}
		for _, c := range []struct {
			after        time.Duration
			purged, left int
		}{{time.Hour, 0, 1}, {2*time.Hour - time.Microsecond, 0, 1}, {2 * time.Hour, 1, 0}} {
			n, err := store.Purge(t.Context(), t0.Add(c.after), 10)
			is.NoErr(err)
			is.Equal(n, c.purged)
			is.Equal(limitRows(t, db), c.left)
		}
	}
}

func TestSQLiteRefusesMalformedLimits(t *testing.T) {
	is := is.New(t)
	store, db := onSQLite(t)
	charges := []recovery.Charge{{Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 1, Every: time.Hour}}}
	is.NoErr(store.TakeLimits(t.Context(), t0, charges))
	for _, tats := range []string{"x'00'", "zeroblob(15)", "zeroblob(17)", "'many'", "7"} {
		_, err := db.Exec("UPDATE recovery_limits SET tats = " + tats)
		is.NoErr(err)
		err = store.Enqueue(t.Context(), request(t0), recovery.Charges{Soft: charges})
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), "the states of limits in a row are "))
	}
}

// Limits that share a row count as if each had its own.
func TestSQLiteCountsLimitsOfARowApart(t *testing.T) {
	is := is.New(t)
	store, db := onSQLite(t)
	oracle := memstore.New()
	random := rand.New(rand.NewPCG(1, 2))
	at, seen := t0, map[string]int{}
	for range 2000 {
		at = at.Add(time.Duration(random.IntN(5)-1) * time.Second)
		var charges []recovery.Charge
		for _, i := range random.Perm(9)[:1+random.IntN(3)] {
			charges = append(charges, recovery.Charge{
				Scope: recovery.Scope(fmt.Sprint(i)), Key: recovery.Digest{23: byte(i / 3), 24: byte(i % 3 / 2), 31: byte(i % 3)},
				Limit: recovery.Limit{Burst: 1 + i%2, Every: time.Duration(3*i+3) * time.Second},
			})
		}
		var err, want error
		if random.IntN(2) == 0 {
			want, err = oracle.TakeLimits(t.Context(), at, charges), store.TakeLimits(t.Context(), at, charges)
		} else {
			r, all := request(at), recovery.Charges{Hard: charges[:1], Soft: charges[1:]}
			want, err = oracle.Enqueue(t.Context(), r, all), store.Enqueue(t.Context(), r, all)
		}
		if outcome(err) != outcome(want) {
			t.Fatalf("%v: %v, in memory %v", charges, err, want)
		}
		seen[fmt.Sprint(err == nil)]++
	}
	t.Log(seen)
	is.True(seen["true"] > 200 && seen["false"] > 200)
	rest, err := atRest(db, sqlstore.SQLite)
	is.NoErr(err)
	is.Equal(rest, oracle.Dump())
}
