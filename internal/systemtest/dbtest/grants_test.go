package dbtest

import (
	"database/sql"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/matryer/is"

	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/storetest"
)

// The package comment of sqlstore lists what the store needs. The application migrates and keeps
// its accounts as the owner of the tables; the store runs as a user who has nothing but that list.
func TestStoreNeedsNoMoreThanTheDocumentedGrants(t *testing.T) {
	databases.OnEachOnce(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		if s.Dialect == sqlstore.SQLite {
			t.Skip("SQLite knows no users")
		}
		p, owner := databases.Prepared(t, s)

		poor, _ := asPoor(t, s.Dialect, p, owner, ownGrants)
		db := poor.Open(t)
		_, err := db.Exec("UPDATE users SET email = 'x'")
		is.True(err != nil) // the user really lacks the rights
		_, err = db.Exec("DROP TABLE recovery_limits")
		is.True(err != nil)
		store := databases.StoreOn(t, s.Dialect, db, "")
		is.NoErr(store.Check(t.Context()))

		poor, _ = asPoor(t, s.Dialect, p, owner, append(slices.Clone(ownGrants[:2]), "SELECT, INSERT, UPDATE ON recovery_limits", "SELECT ON users"))
		err = databases.StoreOn(t, s.Dialect, poor.Open(t), "").Check(t.Context()) // a right that is missing is found at start
		is.True(err != nil)
		is.True(strings.Contains(err.Error(), "table recovery_limits: "))
		is.True(strings.Contains(err.Error(), `Table.PasswordHash: the database refuses to set "password_hash": `))

		storetest.Run(t, func(t *testing.T) storetest.Harness {
			databases.Empty(t, owner)
			return databases.HarnessOn(s.Dialect, store, owner)
		})
	})
}

// ownGrants are what the package comment lists.
var ownGrants = []string{
	"SELECT, INSERT, UPDATE, DELETE ON recovery_jobs",
	"SELECT, INSERT, UPDATE, DELETE ON recovery_resets",
	"SELECT, INSERT, UPDATE, DELETE ON recovery_limits",
	"SELECT, UPDATE (password_hash) ON users",
}

// asPoor returns the place as it is for a new user who has nothing but the grants, and that user.
func asPoor(t *testing.T, d sqlstore.Dialect, p databases.Place, owner *sql.DB, grants []string) (_ databases.Place, user string) {
	t.Helper()
	name := databases.NewName()
	user, create, drop := name, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%[1]s'", name), []string{"DROP OWNED BY " + name, "DROP ROLE " + name}
	if d == sqlstore.MySQL {
		user = name + "@'%'"
		create, drop = fmt.Sprintf("CREATE USER %s IDENTIFIED BY '%s'", user, name), []string{"DROP USER " + user}
	}
	execute(t, owner, create)
	// The user is dropped after the database, and with it the grants.
	t.Cleanup(func() {
		for _, statement := range drop {
			if _, err := owner.Exec(statement); err != nil {
				t.Logf("%s: %v", statement, err)
			}
		}
	})
	for _, grant := range grants {
		execute(t, owner, "GRANT "+grant+" TO "+user)
	}
	return placeOf(t, p, name), user
}

// placeOf returns the place as it is for a user, whose password is the name.
func placeOf(t *testing.T, p databases.Place, name string) databases.Place {
	t.Helper()
	is := is.New(t)
	if p.Driver == "mysql" {
		config, err := mysql.ParseDSN(p.DSN)
		is.NoErr(err)
		config.User, config.Passwd = name, name
		return databases.Place{Driver: p.Driver, DSN: config.FormatDSN()}
	}
	u, err := url.Parse(p.DSN)
	is.NoErr(err)
	u.User = url.UserPassword(name, name)
	return databases.Place{Driver: p.Driver, DSN: u.String()}
}
