package dbtest

import (
	"cmp"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/uuid"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// How many tokens are raced for is set by RECOVERY_RACE_TOKENS, 200 if it is not: so many on
// PostgreSQL and MariaDB as they come, a tenth at every other isolation level, with the second driver
// and on SQLite. Where nothing guards the redeem, one of the first few has two winners. The full run is
//
//	RECOVERY_RACE_TOKENS=10000 go test -timeout 0 -run S40_OneTokenManyRacers .
const (
	defaultRaceTokens = 200
	racers            = 64
)

var t0 = time.Date(2026, 2, 28, 23, 59, 59, 123456000, time.UTC)

// fromEnv returns a number from the environment.
func fromEnv(t testing.TB, name string, otherwise int) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(otherwise)))
	if err != nil || n < 1 {
		t.Fatalf("%s must be a number above 0", name)
	}
	return n
}

// atEachLevel runs f for every server at every isolation level that its sessions can begin with.
func atEachLevel(t *testing.T, f func(t *testing.T, s databases.Server)) {
	levels := []string{"read committed", "repeatable read", "serializable"}
	databases.OnEach(t, f)
	for _, level := range levels {
		t.Run("PostgreSQL at "+level, func(t *testing.T) {
			f(t, databases.Server{Dialect: sqlstore.PostgreSQL, Place: func(t testing.TB) databases.Place {
				return databases.NewPostgres(t, "pgx", map[string]string{"default_transaction_isolation": level})
			}})
		})
	}
	for _, level := range levels {
		t.Run("MariaDB at "+level, func(t *testing.T) {
			f(t, databases.Server{Dialect: sqlstore.MySQL, Place: func(t testing.TB) databases.Place {
				return databases.NewMySQL(t, func(c *mysql.Config) {
					name := "tx_isolation"
					if !isMariaDB(t, c) {
						name = "transaction_isolation"
					}
					c.Params[name] = "'" + strings.ToUpper(strings.ReplaceAll(level, " ", "-")) + "'"
				})
			}})
		})
	}
	// The default of MariaDB 11.6.2 and later: a locking read fails when its row has changed since the
	// transaction's snapshot.
	t.Run("MariaDB with innodb_snapshot_isolation", func(t *testing.T) {
		f(t, databases.Server{Dialect: sqlstore.MySQL, Place: func(t testing.TB) databases.Place {
			return databases.NewMySQL(t, func(c *mysql.Config) {
				if !isMariaDB(t, c) {
					t.Skip("MySQL has no such setting")
				}
				c.Params["innodb_snapshot_isolation"] = "ON"
			})
		}})
	})
}

func isMariaDB(t testing.TB, c *mysql.Config) bool {
	t.Helper()
	is := is.New(t)
	db, err := sql.Open("mysql", c.FormatDSN())
	is.NoErr(err)
	defer db.Close()
	var version string
	is.NoErr(db.QueryRow("SELECT VERSION()").Scan(&version))
	return strings.Contains(version, "MariaDB")
}

func account(i int) recovery.Account {
	name := fmt.Sprint("user", i)
	return recovery.Account{
		ID: strconv.Itoa(1000 + i), Username: name, Email: name + "@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}
}

// stored puts an account and returns it as the store has it.
func stored(t *testing.T, store *sqlstore.Store, db *sql.DB, d sqlstore.Dialect, i int) recovery.Account {
	t.Helper()
	is := is.New(t)
	is.NoErr(databases.Put(db, d, account(i), "hash-0"))
	return found(t, store, account(i).ID)
}

func found(t *testing.T, store *sqlstore.Store, id string) recovery.Account {
	t.Helper()
	is := is.New(t)
	accounts, err := store.FindAccounts(t.Context(), recovery.AccountQuery{By: recovery.ByID, Typed: id, Canonical: id, Max: 2})
	is.NoErr(err)
	is.Equal(len(accounts), 1) // there is one account with the ID
	return accounts[0]
}

// resetOf returns a reset, not yet stored, of a request made at the given time.
func resetOf(a recovery.Account, at time.Time) recovery.Reset {
	r := recovery.Reset{
		AccountID: a.ID, Version: a.Version, JobID: newID(), RequestedAt: at, ExpiresAt: at.Add(16 * time.Hour),
	}
	_, _ = rand.Read(r.Digest[:])
	return r
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func request(at time.Time) recovery.Job {
	return recovery.Job{
		ID: newID(), Kind: recovery.JobReset, By: recovery.ByUsername, Identifier: "alice", RequestedAt: at, DueAt: at,
	}
}

// together calls f(0) … f(n-1) at once and returns their errors.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// texts returns the only column of a query.
func texts(t *testing.T, db *sql.DB, query string, args ...any) (all []string) {
	t.Helper()
	is := is.New(t)
	rows, err := db.Query(query, args...)
	is.NoErr(err)
	defer rows.Close()
	for rows.Next() {
		var text string
		is.NoErr(rows.Scan(&text))
		all = append(all, text)
	}
	is.NoErr(rows.Err())
	return all
}

func TestAttack_S40_OneTokenManyRacersOneWinner(t *testing.T) {
	tokens := fromEnv(t, "RECOVERY_RACE_TOKENS", defaultRaceTokens)
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		t.Parallel() // who waits for a lock leaves the processor to others
		store, db := databases.Open(t, s)
		if s.Name == "PostgreSQL with pgx" || s.Name == "MariaDB" {
			race(t, s.Dialect, db, tokens, store)
		} else {
			race(t, s.Dialect, db, max(1, tokens/10), store)
		}
	})
}

// race has many racers redeem one token after another, spread over the stores; db is how the test
// looks at what they did.
func race(t *testing.T, d sqlstore.Dialect, db *sql.DB, tokens int, stores ...*sqlstore.Store) {
	t.Helper()
	is := is.New(t)
	for i := range tokens {
		a := stored(t, stores[0], db, d, i)
		reset := resetOf(a, t0)
		is.NoErr(stores[0].CreateReset(t.Context(), reset))
		notices := make([]recovery.Job, racers)
		for j := range notices {
			notices[j] = request(t0)
			notices[j].Kind, notices[j].AccountID = recovery.JobNotice, a.ID
		}
		errs := together(racers, func(j int) error {
			_, err := stores[j%len(stores)].Redeem(t.Context(), recovery.Redemption{
				Digest: reset.Digest, At: t0, PasswordHash: fmt.Sprint("hash of ", j), Add: notices[j : j+1],
			})
			return err
		})
		winner := -1
		for j, err := range errs {
			switch {
			case err != nil:
				if !errors.Is(err, recovery.ErrInvalidToken) {
					t.Fatalf("a loser is not told that the token is not valid, but: %v", err)
				}
			case winner >= 0:
				t.Fatalf("racers %d and %d both won", winner, j)
			default:
				winner = j
			}
		}
		is.True(winner >= 0) // somebody wins
		hash, err := databases.PasswordHash(db, d, a.ID)
		is.NoErr(err)
		is.Equal(hash, fmt.Sprint("hash of ", winner))                                       // the winner's hash is stored
		is.Equal(texts(t, db, "SELECT id FROM recovery_jobs"), []string{notices[winner].ID}) // only the winner's notice is queued
		_, err = db.Exec("DELETE FROM recovery_jobs")
		is.NoErr(err)
	}
}

// The address changes in a transaction that is open when the completion begins: whether it waits or
// comes later, the token belongs to the address before.
func TestAddressChangeUnderWayKillsTheToken(t *testing.T) {
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		for i := range 5 {
			a := stored(t, store, db, s.Dialect, i)
			reset := resetOf(a, t0)
			is.NoErr(store.CreateReset(t.Context(), reset))
			tx, err := db.BeginTx(t.Context(), nil)
			is.NoErr(err)
			_, err = tx.Exec(databases.Bind(s.Dialect, "UPDATE users SET email = ? WHERE id = ?"), "new@example.com", a.ID)
			is.NoErr(err)
			done := make(chan error)
			go func() {
				_, err := store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: "hash-1"})
				done <- err
			}()
			time.Sleep(10 * time.Millisecond) // only so that it is likely to wait
			is.NoErr(tx.Commit())
			is.True(errors.Is(<-done, recovery.ErrInvalidToken)) // the token was mailed to the address before
			hash, err := databases.PasswordHash(db, s.Dialect, a.ID)
			is.NoErr(err)
			is.Equal(hash, "hash-0") // the password is as it was
		}
	})
}

func TestCompletionRacesAddressChange(t *testing.T) {
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		for i := range 30 {
			a := stored(t, store, db, s.Dialect, i)
			reset := resetOf(a, t0)
			is.NoErr(store.CreateReset(t.Context(), reset))
			var after recovery.Account
			errs := together(2, func(j int) (err error) {
				if j == 0 {
					// The application has its own losses at the higher levels, and tries again.
					for range 10 {
						_, err = db.Exec(databases.Bind(s.Dialect, "UPDATE users SET email = ? WHERE id = ?"), "new@example.com", a.ID)
						if err == nil {
							break
						}
					}
				} else {
					after, err = store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: "hash-1"})
				}
				return err
			})
			is.NoErr(errs[0])
			hash, err := databases.PasswordHash(db, s.Dialect, a.ID)
			is.NoErr(err)
			if errs[1] == nil {
				is.Equal(after.Email, a.Email) // who won came before the change
				is.Equal(hash, "hash-1")
			} else {
				is.True(errors.Is(errs[1], recovery.ErrInvalidToken)) // who lost is told that the token is not valid
				is.Equal(hash, "hash-0")
			}
			is.Equal(found(t, store, a.ID).Email, "new@example.com") // the change is not undone
		}
	})
}

func TestAttack_S42_SoftLimitIsExactUnderParallelRequests(t *testing.T) {
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		_, db := databases.Open(t, s)
		store := newManyStores(t, s.Dialect, db)
		charges := recovery.Charges{
			Hard: []recovery.Charge{{Scope: recovery.ScopeGlobal, Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 1000, Every: time.Second}}},
			Soft: []recovery.Charge{{Scope: recovery.ScopeIdentifier, Key: recovery.Digest{2}, Limit: recovery.Limit{Burst: 3, Every: time.Hour}}},
		}
		for _, err := range together(500, func(int) error { return store.Enqueue(t.Context(), request(t0), charges) }) {
			is.NoErr(err) // the answer is the same for all
		}
		is.Equal(texts(t, db, "SELECT COUNT(*) FROM recovery_jobs"), []string{"500"})
		is.Equal(texts(t, db, "SELECT COUNT(*) FROM recovery_jobs WHERE throttled = 0"), []string{"3"}) // three are mailed
	})
}

func TestOlderTokenNeverOutlivesMailOfANewerRequest(t *testing.T) {
	const older = 4
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		for i := range 25 {
			a := stored(t, store, db, s.Dialect, i)
			newer := request(t0)
			is.NoErr(store.Enqueue(t.Context(), newer, recovery.Charges{}))
			claimed, err := store.Claim(t.Context(), recovery.Claim{LeaseID: newID(), At: t0, Until: t0.Add(time.Minute), Max: 1})
			is.NoErr(err)
			mailed := resetOf(a, t0)
			mailed.JobID = newer.ID
			is.NoErr(store.CreateReset(t.Context(), mailed))
			resets := make([]recovery.Reset, older)
			for j := range resets {
				resets[j] = resetOf(a, t0.Add(-time.Minute))
			}
			errs := together(older+1, func(j int) error {
				if j == older/2 {
					return store.Finish(t.Context(), recovery.Outcome{JobID: newer.ID, LeaseID: claimed[0].LeaseID, At: t0, Mailed: a.ID})
				}
				if j > older/2 {
					j--
				}
				return store.CreateReset(t.Context(), resets[j])
			})
			for j, err := range errs {
				is.True(err == nil || j != older/2 && errors.Is(err, recovery.ErrSuperseded)) // stored, or superseded already
			}
			for _, r := range resets {
				_, _, err := store.FindReset(t.Context(), r.Digest, t0)
				is.True(errors.Is(err, recovery.ErrInvalidToken)) // the token of an older request is dead
			}
			_, _, err = store.FindReset(t.Context(), mailed.Digest, t0)
			is.NoErr(err) // the one that was mailed last lives
		}
	})
}
