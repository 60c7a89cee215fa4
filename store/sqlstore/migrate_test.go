package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

func TestMigrate(t *testing.T) {
	for _, d := range dialects {
		for _, f := range []fault{{call: -1}, {call: 0, times: 3, on: true, err: missing[d]}} { // neither versions nor a table
			t.Run(fmt.Sprint(d, f), func(t *testing.T) {
				is := is.New(t)
				s := newStub(d)
				s.fault = f
				store, db := s.store(t, &Options{TablePrefix: "app_"})
				is.NoErr(store.makeTables(t.Context()))
				is.NoErr(db.PingContext(t.Context()))
				is.Equal(s.dirty, 0)                                        // the lock is free
				is.True(!strings.Contains(fmt.Sprint(s.calls), "recovery")) // a name with the default prefix
				calls := slices.DeleteFunc(slices.Clone(s.calls), isCheck)
				is.Equal(calls[0], "SELECT MAX(version) FROM app_migrations")
				frame := map[Dialect][2]string{
					PostgreSQL: {"BEGIN ISOLATION LEVEL READ COMMITTED", "COMMIT"},
					MySQL:      {"SELECT GET_LOCK('app_migrations', 60)", "DO RELEASE_LOCK('app_migrations')"},
					SQLite:     {"BEGIN IMMEDIATE", "COMMIT"},
				}[d]
				is.Equal(frame, [2]string{calls[1], calls[len(calls)-1]})
				is.Equal(calls[2] == "SELECT pg_advisory_xact_lock(hashtext('app_migrations'))", d == PostgreSQL)
				for _, table := range []string{"app_migrations", "app_jobs", "app_resets", "app_limits"} {
					is.Equal(count(s.kept, "CREATE TABLE IF NOT EXISTS "+table+" "), 1)
				}
				is.Equal(s.kept[len(s.kept)-1], "INSERT INTO app_migrations (version) VALUES (1)")
			})
		}
	}
}

// isCheck reports whether a call checks that a table is complete.
func isCheck(call string) bool { return strings.HasSuffix(call, " WHERE 1 = 0") }

var checksJobs = "SELECT " + strings.Join(tablesOf(SQLite)[0].columns, ", ") + " FROM recovery_jobs WHERE 1 = 0"

// A newer version's tables are usable, and a tool has no recovery_migrations.
func TestMigrateLeavesCompleteTablesAlone(t *testing.T) {
	for _, d := range dialects {
		for _, version := range []int64{1, 2, 1000, 0} {
			t.Run(fmt.Sprint(d, version), func(t *testing.T) {
				is := is.New(t)
				s := newStub(d)
				s.rows[findsVersion] = []driver.Value{version}
				looks := 1
				if version == 0 {
					s.fault = fault{call: 0, times: 1, err: missing[d]}
					looks = 2
				}
				store, _ := s.store(t, nil)
				is.NoErr(store.makeTables(t.Context()))
				is.Equal(s.calls[:2], []string{"SELECT MAX(version) FROM recovery_migrations", checksJobs})
				is.Equal(len(s.calls), 1+looks*3) // each table
				is.Equal(s.kept, nil)
			})
		}
	}
}

// missing is a database's error for a table that it does not have.
var missing = map[Dialect]error{
	PostgreSQL: &stateError{"42P01", "no such table"}, MySQL: errors.New("Error 1146 (42S02): no such table"), SQLite: &numberError{1, "no such table"},
}

func TestMigrateNamesWhatIsMissing(t *testing.T) {
	for _, d := range dialects {
		for from, want := range map[int]string{
			1: "sqlstore: migrate: the table recovery_jobs has no column id: " + hide(missing[d]).Error() + "\n" +
				"sqlstore: the table recovery_jobs has no column kind: " + hide(missing[d]).Error() + "\n" +
				"sqlstore: the tables are those of another version: run the newer files of WriteMigrations. If an unreleased build made them, " +
				"drop them and migrate again, and the requests and tokens in them are lost: DROP TABLE IF EXISTS recovery_jobs; " +
				"DROP TABLE IF EXISTS recovery_resets; DROP TABLE IF EXISTS recovery_limits; DROP TABLE IF EXISTS recovery_migrations",
			2: "sqlstore: migrate: the table recovery_jobs is missing: Migrate made it once: run the files of WriteMigrations, or " +
				"DELETE FROM recovery_migrations and start again; both skip tables that exist: " + hide(missing[d]).Error(),
		} {
			t.Run(fmt.Sprint(d, from), func(t *testing.T) {
				is := is.New(t)
				s := newStub(d)
				s.rows[findsVersion] = []driver.Value{int64(1)}
				s.refuses = []string{checksJobs, "SELECT id FROM recovery_jobs WHERE 1 = 0", "SELECT kind FROM recovery_jobs WHERE 1 = 0"}
				if from == 2 {
					s.refuses = append(s.refuses, "SELECT 1 FROM recovery_jobs WHERE 1 = 0")
				}
				store, _ := s.store(t, nil)
				err := store.Migrate(t.Context())
				is.Equal(errorText(err), want)
				is.Equal(s.kept, nil)
			})
		}
	}
}

func TestMigrateWaitsAMinuteForAnother(t *testing.T) {
	for name, answer := range map[string]driver.Value{"timeout": int64(0), "error": nil} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			s := newStub(MySQL)
			s.rows[getsLock] = []driver.Value{answer}
			store, _ := s.store(t, nil)
			is.Equal(errorText(store.makeTables(t.Context())), "sqlstore: migrate: another instance has been migrating for a minute")
			is.Equal(s.kept, nil)
		})
	}
}

func TestMigrateWithoutAConnection(t *testing.T) {
	is := is.New(t)
	store, db := newStub(SQLite).store(t, nil)
	is.NoErr(db.Close())
	is.Equal(errorText(store.makeTables(t.Context())), "sqlstore: migrate: no connection to the database")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	is.Equal(errorText(store.makeTables(ctx)), "sqlstore: migrate: context canceled")
}

// Whatever fails, no connection keeps the lock that the other instances wait for.
func TestEveryFaultOfMigrate(t *testing.T) {
	no := errors.New("no")
	combinations := 0
	for _, d := range dialects {
		clean, _ := migrate(t, d, fault{call: -1})
		for index, text := range clean.calls {
			for _, f := range []fault{
				{err: no}, {err: no, when: after}, {err: no, when: inRows},
				{err: no, on: true}, {err: no, on: true, when: after}, {err: driver.ErrBadConn},
				{}, {when: after}, // these hang
			} {
				switch {
				case f.when == inRows && (!isLookUp(text) || strings.HasPrefix(text, "SELECT pg_")):
					continue // there are no rows, or they are not read
				case f.err == nil && strings.HasPrefix(text, "DO RELEASE_LOCK"):
					continue // it has no ctx that ends
				}
				f.call, f.times = index, 1
				if f.on {
					f.times = 1000
				}
				combinations++
				t.Run(fmt.Sprintf("%v/%d %v", d, index, f), func(t *testing.T) {
					is := is.New(t)
					s, err := migrate(t, d, f)
					switch {
					case isCheck(text) && f.err == driver.ErrBadConn:
						is.NoErr(err) // the pool has another
					case strings.HasPrefix(text, "DO RELEASE_LOCK") && !f.on:
						is.NoErr(err) // all was done; the connection is closed instead
					case f.err == nil:
						is.True(errors.Is(err, errInterrupted) || errors.Is(err, context.DeadlineExceeded))
					default:
						is.True(errors.Is(err, f.err))
					}
					if index > 0 && !isCheck(text) && f.err != driver.ErrBadConn && !f.on { // the connection can be cleaned
						calls := slices.DeleteFunc(slices.Clone(s.calls), isCheck)
						last := calls[len(calls)-1]
						is.True(last == "ROLLBACK" || strings.HasPrefix(last, "DO RELEASE_LOCK"))
					}
					if d != MySQL && !(text == "COMMIT" && f.when == after) && !isCheck(text) { // its DDL cannot be taken back
						is.Equal(s.kept, nil) // nothing half done
					}
				})
			}
		}
	}
	t.Logf("%d combinations of dialect, call and fault", combinations)
}

// Another transaction may win at any call.
func TestMigrateIsTriedAgain(t *testing.T) {
	for d, lost := range map[Dialect]error{
		PostgreSQL: &stateError{"40P01", "no"}, MySQL: errors.New("Error 1213 (40001): no"), SQLite: &numberError{5, "no"},
	} {
		clean, _ := migrate(t, d, fault{call: -1})
		for index, text := range clean.calls {
			t.Run(fmt.Sprintf("%v/%d", d, index), func(t *testing.T) {
				is := is.New(t)
				s, err := migrate(t, d, fault{call: index, times: 1, err: lost})
				is.NoErr(err)
				if d != MySQL && !isCheck(text) { // its DDL cannot be taken back
					is.Equal(s.kept, clean.kept)
				}
				again := len(s.calls) > len(clean.calls)
				is.Equal(again, !strings.HasPrefix(text, "DO RELEASE_LOCK")) // its failure changes nothing
			})
		}
	}
}

// SQLite is busy when another connection turns WAL on.
func TestMigrateConnectsAgain(t *testing.T) {
	for _, c := range []struct {
		busy, tried int
		leaves      bool // the caller, at the first try
	}{{0, 1, false}, {2, 3, false}, {3, 3, false}, {1000, 3, false}, {1000, 1, true}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				s := newStub(SQLite)
				store, _ := s.store(t, &Options{Attempts: 3})
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				tried := 0
				s.connecting = func() error {
					if c.leaves {
						leave()
					}
					if tried++; tried <= c.busy {
						return &numberError{261, "no"} // SQLITE_BUSY_RECOVERY
					}
					return nil
				}
				start := time.Now()
				err := store.makeTables(ctx)
				is.Equal(code(err) == "5", c.busy >= 3) // what the last try failed with
				is.Equal(err == nil, c.busy < 3)
				is.Equal(tried, c.tried)
				is.True(time.Since(start) >= time.Duration(c.tried-1)*firstPause)
			})
		})
	}
}

func migrate(t *testing.T, d Dialect, f fault) (s *stub, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s = newStub(d)
		s.fault = f
		store, db := s.store(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = store.makeTables(ctx)
		synctest.Wait()
		is.Equal(db.Stats().InUse, 0) // connections in use afterwards
		is.NoErr(db.PingContext(t.Context()))
		is.Equal(s.dirty, 0) // connections given back with a lock or in a transaction
	})
	return s, err
}
