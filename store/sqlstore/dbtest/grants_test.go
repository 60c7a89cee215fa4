package dbtest

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/matryer/is"

	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/storetest"
)

// The package comment of sqlstore lists what the store needs. The application migrates and keeps its
// accounts as the owner of the tables; the store runs as a user who has nothing but that list.
func TestStoreNeedsNoMoreThanTheDocumentedGrants(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		is := is.New(t)
		if s.dialect == sqlstore.SQLite {
			t.Skip("SQLite knows no users")
		}
		p := s.place(t)
		owner := p.open(t)
		openOn(t, s.dialect, owner, textType(s.dialect))

		user := databaseName()
		poor, create, drop := asUser(t, s.dialect, p, user)
		// The user is dropped after the database, and with it the grants.
		_, err := owner.Exec(create)
		is.NoErr(err)
		t.Cleanup(func() {
			for _, statement := range drop {
				if _, err := owner.Exec(statement); err != nil {
					t.Logf("%s: %v", statement, err)
				}
			}
		})
		grantee := user
		if s.dialect == sqlstore.MySQL {
			grantee += "@'%'"
		}
		for _, grant := range []string{
			"SELECT, INSERT, UPDATE, DELETE ON recovery_requests",
			"SELECT, INSERT, UPDATE, DELETE ON recovery_resets",
			"SELECT, INSERT, UPDATE, DELETE ON recovery_limits",
			"SELECT, UPDATE (password_hash) ON users",
		} {
			_, err := owner.Exec("GRANT " + grant + " TO " + grantee)
			is.NoErr(err)
		}

		db := poor.open(t)
		_, err = db.Exec("UPDATE users SET email = 'x'")
		is.True(err != nil) // the user is poor indeed
		_, err = db.Exec("DROP TABLE recovery_limits")
		is.True(err != nil)
		store := storeOn(t, s.dialect, db, "")
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			empty(t, owner)
			return harnessOn(s.dialect, store, owner)
		})
	})
}

// asUser returns the place as another user has it, and how to make and drop that user.
func asUser(t *testing.T, d sqlstore.Dialect, p place, name string) (_ place, create string, drop []string) {
	t.Helper()
	is := is.New(t)
	if d == sqlstore.PostgreSQL {
		u, err := url.Parse(p.dsn)
		is.NoErr(err)
		u.User = url.UserPassword(name, name)
		return place{p.driver, u.String()}, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", name, name),
			[]string{"DROP OWNED BY " + name, "DROP ROLE " + name}
	}
	config, err := mysql.ParseDSN(p.dsn)
	is.NoErr(err)
	config.User, config.Passwd = name, name
	return place{p.driver, config.FormatDSN()}, fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED BY '%s'", name, name),
		[]string{strings.ReplaceAll("DROP USER x@'%'", "x", name)}
}
