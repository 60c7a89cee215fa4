package dbtest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// oddSessions begin with other settings than usual.
var oddSessions = []databases.Server{
	{Name: "PostgreSQL in Chatham time", Dialect: sqlstore.PostgreSQL, Place: func(t testing.TB) databases.Place {
		return databases.NewPostgres(t, "pgx", map[string]string{"TimeZone": "Pacific/Chatham"})
	}},
	{Name: "MariaDB in Chatham time, not strict, counting found rows", Dialect: sqlstore.MySQL, Place: mySQL(func(c *mysql.Config) {
		c.Params["time_zone"], c.Params["sql_mode"], c.ClientFoundRows = "'+12:45'", "''", true // MariaDB has no zone beyond +13:00
	})},
	{Name: "MariaDB interpolating parameters", Dialect: sqlstore.MySQL, Place: mySQL(func(c *mysql.Config) { c.InterpolateParams = true })},
}

func mySQL(configure func(*mysql.Config)) func(t testing.TB) databases.Place {
	return func(t testing.TB) databases.Place { return databases.NewMySQL(t, configure) }
}

// Now reads the database's clock, not this process's: MariaDB lets a session set it.
func TestNowFollowsTheDatabasesClock(t *testing.T) {
	is := is.New(t)
	place := databases.NewMySQL(t, func(c *mysql.Config) { c.Params["timestamp"] = "1900000000.25" })
	now, err := databases.StoreOn(t, sqlstore.MySQL, place.Open(t), "").Now(t.Context())
	is.NoErr(err)
	is.Equal(now, time.Unix(1_900_000_000, 250_000_000).UTC())
}

// A column that is too short for the hash is the application's mistake. It must show before half a
// hash locks the owner out.
func TestHashThatTheColumnCutsIsRefused(t *testing.T) {
	for _, s := range append(oddSessions[:2:2], databases.Servers[3]) { // that MariaDB is strict
		t.Run(s.Name, func(t *testing.T) {
			is := is.New(t)
			store, db := databases.Open(t, s)
			change := "ALTER TABLE users MODIFY password_hash VARCHAR(60) NOT NULL"
			if s.Dialect == sqlstore.PostgreSQL {
				change = "ALTER TABLE users ALTER password_hash TYPE VARCHAR(60)"
			}
			execute(t, db, change)
			a := stored(t, store, db, s.Dialect, 1)
			reset := resetOf(a, t0)
			mint(t, store, reset)
			_, err := store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: strings.Repeat("h", 61)})
			is.True(err != nil && !errors.Is(err, recovery.ErrInvalidToken)) // the mistake shows
			hash, err := databases.PasswordHash(db, s.Dialect, a.ID)
			is.NoErr(err)
			is.Equal(hash, "hash-0") // the old password still works
			_, _, err = store.FindReset(t.Context(), reset.Digest, t0)
			is.NoErr(err) // and the token too
			_, err = store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: "hash-0"})
			is.NoErr(err) // MySQL counts a row that an update leaves as it was for none
		})
	}
}
