package dbtest

import (
	"slices"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// The time is that of the database's clock, here the same as ours, and it does not depend on the
// time zone of the session.
func TestNowIsTheDatabasesTime(t *testing.T) {
	zone := func(name string, d sqlstore.Dialect, place func(testing.TB) databases.Place) databases.Server {
		return databases.Server{Name: name, Dialect: d, Place: place}
	}
	for _, s := range append(slices.Clone(databases.Servers),
		zone("PostgreSQL in Chatham time", sqlstore.PostgreSQL, func(t testing.TB) databases.Place {
			return databases.NewPostgres(t, "pgx", map[string]string{"TimeZone": "Pacific/Chatham"})
		}),
		zone("PostgreSQL in Pago Pago time", sqlstore.PostgreSQL, func(t testing.TB) databases.Place {
			return databases.NewPostgres(t, "postgres", map[string]string{"TimeZone": "Pacific/Pago_Pago"})
		}),
		zone("MariaDB in Chatham time", sqlstore.MySQL, with("time_zone", "'+12:45'")),
		zone("MariaDB in Pago Pago time", sqlstore.MySQL, with("time_zone", "'-11:00'")),
	) {
		t.Run(s.Name, func(t *testing.T) {
			is := is.New(t)
			store, _ := databases.Open(t, s)
			var last time.Time
			for range 3 {
				before := time.Now()
				now, err := store.Now(t.Context())
				after := time.Now()
				is.NoErr(err)
				is.True(now.After(before.Add(-time.Second)) && now.Before(after.Add(time.Second)))
				is.Equal(now.Location(), time.UTC)
				is.Equal(now, now.Truncate(time.Microsecond))
				is.True(now.After(last)) // it goes on
				last = now
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// The clock is read, not that of the transaction's begin or of this process: a database whose clock
// is set tells what is set.
func TestNowFollowsTheDatabasesClock(t *testing.T) {
	is := is.New(t)
	p := with("timestamp", "1900000000.25") // MariaDB lets a session set its clock
	place := p(t)
	store := databases.StoreOn(t, sqlstore.MySQL, place.Open(t), "")
	now, err := store.Now(t.Context())
	is.NoErr(err)
	is.Equal(now, time.Unix(1_900_000_000, 250_000_000).UTC())
}
