package dbtest

import (
	"context"
	"database/sql"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/matryer/is"
	gormpostgres "gorm.io/driver/postgres"
	gormsqlite "gorm.io/driver/sqlite"
	"gorm.io/gorm"

	"example.com/recovery/internal/systemtest/dbtest/databases"
)

// The store works on the application's own pool, or on its ORM's, and the application sees there
// what the store did.
func TestPoolOfTheApplication(t *testing.T) {
	const hashOf77 = "SELECT password_hash FROM users WHERE id = '77'"
	postgres, mattn := databases.Servers[1], databases.Servers[4]
	for _, c := range []struct {
		name   string
		server databases.Server
		open   func(t *testing.T, p databases.Place) (db *sql.DB, ask func(query string) (string, error))
	}{
		{"pgxpool", postgres, openPgxPool},
		{"GORM on PostgreSQL", postgres, openGORM},
		{"GORM on SQLite", mattn, openGORM},
		{"ent on PostgreSQL", postgres, openEnt},
		{"ent on SQLite", mattn, openEnt},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			db, ask := c.open(t, c.server.Place(t))
			store := databases.OpenOn(t, c.server.Dialect, db, databases.TextType(c.server.Dialect))
			putAccount(t, db, c.server.Dialect)
			before, err := ask(hashOf77)
			is.NoErr(err)
			is.Equal(before, "hash-0")
			exercise(t, store)
			after, err := ask(hashOf77)
			is.NoErr(err)
			is.True(after != "hash-0") // the store set it
			is.Equal(db.Stats().InUse, 0)
		})
	}
}

func openPgxPool(t *testing.T, p databases.Place) (*sql.DB, func(string) (string, error)) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), p.DSN)
	is.New(t).NoErr(err)
	t.Cleanup(pool.Close)
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { _ = db.Close() })
	return db, func(query string) (found string, err error) {
		err = pool.QueryRow(context.Background(), query).Scan(&found)
		return found, err
	}
}

func openGORM(t *testing.T, p databases.Place) (*sql.DB, func(string) (string, error)) {
	t.Helper()
	is := is.New(t)
	dialector := gormpostgres.Open(p.DSN)
	if p.Driver == "sqlite3" {
		dialector = gormsqlite.Open(p.DSN)
	}
	orm, err := gorm.Open(dialector, &gorm.Config{PrepareStmt: true})
	is.NoErr(err)
	db, err := orm.DB()
	is.NoErr(err)
	t.Cleanup(func() { _ = db.Close() })
	return db, func(query string) (found string, err error) {
		err = orm.Raw(query).Scan(&found).Error
		return found, err
	}
}

func openEnt(t *testing.T, p databases.Place) (*sql.DB, func(string) (string, error)) {
	t.Helper()
	name := map[string]string{"pgx": dialect.Postgres, "sqlite3": dialect.SQLite}[p.Driver]
	driver := entsql.OpenDB(name, p.Open(t))
	return driver.DB(), func(query string) (found string, err error) {
		var rows entsql.Rows
		if err := driver.Query(context.Background(), query, []any{}, &rows); err != nil {
			return "", err
		}
		defer rows.Close()
		return entsql.ScanString(rows)
	}
}
