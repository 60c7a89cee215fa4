package dbtest

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
	"example.com/recovery/store/storetest"
)

// with adds a setting to the sessions of a MySQL server.
func with(name, value string) func(t testing.TB) databases.Place {
	return func(t testing.TB) databases.Place {
		return databases.NewMySQL(t, func(c *mysql.Config) { c.Params[name] = value })
	}
}

// Sessions that begin with other settings than usual.
var oddSessions = []databases.Server{
	{Name: "PostgreSQL in Chatham time", Dialect: sqlstore.PostgreSQL, Place: func(t testing.TB) databases.Place {
		return databases.NewPostgres(t, "pgx", map[string]string{"TimeZone": "Pacific/Chatham"})
	}},
	{Name: "MariaDB in Chatham time", Dialect: sqlstore.MySQL, Place: with("time_zone", "'+12:45'")}, // MariaDB has none beyond +13:00
	{Name: "MariaDB with no sql_mode", Dialect: sqlstore.MySQL, Place: with("sql_mode", "''")},
	{Name: "MariaDB counting found rows", Dialect: sqlstore.MySQL, Place: func(t testing.TB) databases.Place {
		return databases.NewMySQL(t, func(c *mysql.Config) { c.ClientFoundRows = true })
	}},
	{Name: "MariaDB interpolating parameters", Dialect: sqlstore.MySQL, Place: func(t testing.TB) databases.Place {
		return databases.NewMySQL(t, func(c *mysql.Config) { c.InterpolateParams = true })
	}},
}

func TestStoreInOddSessions(t *testing.T) {
	for _, s := range oddSessions {
		t.Run(s.Name, func(t *testing.T) {
			store, db := databases.Open(t, s)
			storetest.Run(t, func(t *testing.T) storetest.Harness {
				databases.Empty(t, db)
				return databases.HarnessOn(s.Dialect, store, db)
			})
		})
	}
}

// onEachMode runs f for every server, and for MySQL without a strict sql_mode.
func onEachMode(t *testing.T, f func(t *testing.T, s databases.Server)) {
	databases.OnEach(t, f)
	t.Run("MariaDB with no sql_mode", func(t *testing.T) {
		f(t, databases.Server{Name: "", Dialect: sqlstore.MySQL, Place: with("sql_mode", "''")})
	})
}

func TestLongestTextsComeBackWhole(t *testing.T) {
	onEachMode(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		r := request(t0)
		r.Identifier, r.AccountID = strings.Repeat("é", 127), strings.Repeat("i", 254)+"x"
		r.Tenant, r.Ticket = strings.Repeat("日", 21)+" ", recovery.Digest(bytes.Repeat([]byte{0xff}, 32))
		r.Portal, r.Locale = strings.Repeat("p", 64), strings.Repeat("l", 35)
		is.NoErr(store.Enqueue(t.Context(), r, nil))
		claimed, err := store.Claim(t.Context(), recovery.Claim{LeaseID: newID(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Minute), Max: 1})
		is.NoErr(err)
		r.Attempts, r.LeaseID = 1, claimed[0].LeaseID
		is.True(claimed[0] == r) // every field is as it was

		for i, length := range []int{255, 256, 1024} {
			a := stored(t, store, db, s.Dialect, i)
			reset := resetOf(a, t0)
			mint(t, store, reset)
			hash := strings.Repeat("h", length-1) + "x"
			_, err := store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: hash})
			is.NoErr(err)
			got, err := databases.PasswordHash(db, s.Dialect, a.ID)
			is.NoErr(err)
			is.Equal(got, hash) // the hash is whole
		}
	})
}

func TestTooLongTextsAreRefusedAndNeverCut(t *testing.T) {
	onEachMode(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		for _, change := range []func(*recovery.Job){
			func(r *recovery.Job) { r.Identifier = strings.Repeat("i", 255) },
			func(r *recovery.Job) { r.AccountID = strings.Repeat("i", 256) },
			func(r *recovery.Job) { r.Tenant = strings.Repeat("i", 65) },
			func(r *recovery.Job) { r.Portal = strings.Repeat("i", 65) },
			func(r *recovery.Job) { r.Locale = strings.Repeat("i", 65) },
			func(r *recovery.Job) { r.ID = strings.Repeat("i", 65) },
		} {
			r := request(t0)
			change(&r)
			is.True(store.Enqueue(t.Context(), r, nil) != nil) // refused
		}
		j := lease(t, store, request(t0))
		reset := resetOf(recovery.Account{ID: strings.Repeat("i", 256)}, t0)
		_, err := store.CreateResets(t.Context(), mintOf(j, reset))
		is.True(err != nil) // a cut ID could be another account's
		is.NoErr(store.Finish(t.Context(), recovery.Outcome{JobID: j.ID, LeaseID: j.LeaseID, At: t0}))
		stored, err := databases.Dump(db)
		is.NoErr(err)
		is.Equal(stored, "") // nothing is stored
	})
}

// A column that is too short for the hash is the application's mistake. It must show before the
// account is locked out with half a hash.
func TestHashThatTheColumnCutsIsRefused(t *testing.T) {
	onEachMode(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		if s.Dialect == sqlstore.SQLite {
			t.Skip("SQLite does not cut")
		}
		store, db := databases.Open(t, s)
		change := "ALTER TABLE users MODIFY password_hash VARCHAR(60) NOT NULL"
		if s.Dialect == sqlstore.PostgreSQL {
			change = "ALTER TABLE users ALTER password_hash TYPE VARCHAR(60)"
		}
		_, err := db.Exec(change)
		is.NoErr(err)
		a := stored(t, store, db, s.Dialect, 1)
		reset := resetOf(a, t0)
		mint(t, store, reset)
		_, err = store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: strings.Repeat("h", 61)})
		is.True(err != nil && !errors.Is(err, recovery.ErrInvalidToken)) // the mistake shows
		hash, err := databases.PasswordHash(db, s.Dialect, a.ID)
		is.NoErr(err)
		is.Equal(hash, "hash-0") // the old password still works
		_, _, err = store.FindReset(t.Context(), reset.Digest, t0)
		is.NoErr(err) // and the token too
	})
}

// MySQL counts a row that an update leaves as it was for none.
func TestHashMayBeTheSameAsBefore(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		reset := resetOf(stored(t, store, db, s.Dialect, 1), t0)
		mint(t, store, reset)
		_, err := store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: "hash-0"})
		is.NoErr(err)
	})
}
