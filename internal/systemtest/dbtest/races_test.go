package dbtest

import (
	"cmp"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/uuid"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// RECOVERY_RACE_TOKENS sets how many tokens are raced for: 200 by default. PostgreSQL and MariaDB
// get that many at their default isolation level, and a tenth at every other one; so does SQLite.
// If nothing guarded the redeem, one of the first few would have two winners. The full run is
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

// atEachLevel runs f for every server, with one driver, and at every isolation level that its
// sessions can begin with. The defaults are read committed on PostgreSQL, and repeatable read on
// MariaDB.
func atEachLevel(t *testing.T, f func(t *testing.T, s databases.Server)) {
	databases.OnEachOnce(t, f)
	run := func(name string, d sqlstore.Dialect, place func(t testing.TB) databases.Place) {
		t.Run(name, func(t *testing.T) { f(t, databases.Server{Dialect: d, Place: place}) })
	}
	for _, level := range []string{"repeatable read", "serializable"} {
		run("PostgreSQL at "+level, sqlstore.PostgreSQL, func(t testing.TB) databases.Place {
			return databases.NewPostgres(t, "pgx", map[string]string{"default_transaction_isolation": level})
		})
	}
	for _, level := range []string{"READ-COMMITTED", "SERIALIZABLE"} {
		run("MariaDB at "+level, sqlstore.MySQL, mySQL(func(c *mysql.Config) { // each server reads the name that it has
			c.Params["autocommit"] = "1, /*M! tx_isolation *//*!80000 transaction_isolation */ = '" + level + "'"
		}))
	}
	// The default of MariaDB 11.6.2 and later: a locking read fails when its row has changed since the
	// transaction's snapshot.
	run("MariaDB with innodb_snapshot_isolation", sqlstore.MySQL, mySQL(func(c *mysql.Config) {
		c.Params["autocommit"] = "1 /*M! , innodb_snapshot_isolation = ON */" // MySQL has no such setting
	}))
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
		ID: newID(), Kind: recovery.JobReset, By: recovery.ByUsername, Identifier: "alice", RequestedAt: at, Priority: at,
	}
}

// lease adds a job and claims it.
func lease(t testing.TB, store recovery.Store, j recovery.Job) recovery.Job {
	t.Helper()
	is := is.New(t)
	is.NoErr(store.Enqueue(t.Context(), j, nil))
	claimed, err := store.Claim(t.Context(), recovery.Claim{
		LeaseID: newID(), At: j.RequestedAt, Until: j.RequestedAt.Add(time.Minute), Max: 1, JobID: j.ID,
	})
	is.NoErr(err)
	is.Equal(len(claimed), 1) // the job is leased
	return claimed[0]
}

// leaseFor leases a job for the mail of a reset.
func leaseFor(t testing.TB, store recovery.Store, r recovery.Reset) recovery.Job {
	t.Helper()
	j := request(r.RequestedAt)
	j.ID = r.JobID
	return lease(t, store, j)
}

func mintOf(j recovery.Job, resets ...recovery.Reset) recovery.ResetBatch {
	return recovery.ResetBatch{JobID: j.ID, LeaseID: j.LeaseID, At: j.RequestedAt, Resets: resets}
}

// mint stores a reset by a job of its own, and ends the job.
func mint(t testing.TB, store recovery.Store, r recovery.Reset) {
	t.Helper()
	is := is.New(t)
	j := leaseFor(t, store, r)
	superseded, err := store.CreateResets(t.Context(), mintOf(j, r))
	is.NoErr(err)
	is.Equal(len(superseded), 0)
	is.NoErr(store.Finish(t.Context(), recovery.Outcome{JobID: j.ID, LeaseID: j.LeaseID, At: j.RequestedAt}))
}

// execute executes statements, which must not fail, on a database or in a transaction.
func execute(t testing.TB, db interface {
	Exec(string, ...any) (sql.Result, error)
}, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		is.New(t).NoErr(spy.Err(db.Exec(statement)))
	}
}

// texts returns the only column of a query.
func texts(t *testing.T, db *sql.DB, query string, args ...any) (all []string) {
	t.Helper()
	_, rows, err := databases.Rows(db, query, args...)
	is.New(t).NoErr(err)
	for _, row := range rows {
		all = append(all, row[0].String)
	}
	return all
}

func TestAttack_S40_OneTokenManyRacersOneWinner(t *testing.T) {
	tokens := fromEnv(t, "RECOVERY_RACE_TOKENS", defaultRaceTokens)
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		store, db := databases.Open(t, s)
		if s.Name == "PostgreSQL with pgx" || s.Name == "MariaDB" {
			race(t, s.Dialect, db, tokens, store)
		} else {
			race(t, s.Dialect, db, max(1, tokens/10), store)
		}
	})
}

// race makes many racers redeem one token after another, spread over the stores. The test looks at
// the result through db.
func race(t *testing.T, d sqlstore.Dialect, db *sql.DB, tokens int, stores ...*sqlstore.Store) {
	t.Helper()
	is := is.New(t)
	for i := range tokens {
		a := stored(t, stores[0], db, d, i)
		reset := resetOf(a, t0)
		mint(t, stores[0], reset)
		notices := make([]recovery.Job, racers)
		for j := range notices {
			notices[j] = request(t0)
			notices[j].Kind, notices[j].AccountID = recovery.JobNotice, a.ID
		}
		errs := spy.Together(racers, func(j int) error {
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
		execute(t, db, "DELETE FROM recovery_jobs")
	}
}

// The address changes in a transaction that is open when the completion begins. Whether the
// completion waits or comes later, the token belongs to the old address.
func TestAddressChangeUnderWayKillsTheToken(t *testing.T) {
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		for i := range 2 {
			a := stored(t, store, db, s.Dialect, i)
			reset := resetOf(a, t0)
			mint(t, store, reset)
			tx, err := db.BeginTx(t.Context(), nil)
			is.NoErr(err)
			is.NoErr(spy.Err(tx.Exec(databases.Bind(s.Dialect, "UPDATE users SET email = ? WHERE id = ?"), "new@example.com", a.ID)))
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

// However many mails to one mailbox are about to leave at once, exactly as many leave as the limit
// allows, and the resets of the others are not stored.
func TestAttack_S42_MailboxLimitIsExactUnderParallelMails(t *testing.T) {
	const mails, burst = 60, 3
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		many := newManyStores(t, s.Dialect, db)
		var accounts []recovery.Account // one would make them wait for each other at its row
		for i := range 10 {
			accounts = append(accounts, stored(t, store, db, s.Dialect, i))
		}
		mints := make([]recovery.ResetBatch, mails)
		for i := range mints {
			r := resetOf(accounts[i%len(accounts)], t0)
			r.Requester = recovery.Digest{byte(i % 20)} // three of each
			mints[i] = mintOf(leaseFor(t, store, r), r)
			share := recovery.Digest{1, byte(i % 20)}
			mints[i].Charges = recovery.Charges{
				{Scope: recovery.ScopeMailbox, Key: share, Limit: recovery.Limit{Burst: 100, Every: time.Hour}},
				{Scope: recovery.ScopeMailbox, Key: recovery.Digest{2}, Limit: recovery.Limit{Burst: burst, Every: time.Hour}, Repeat: 1, Share: share},
				{Scope: recovery.ScopeAccount, Key: recovery.Digest{3}, Limit: recovery.Limit{Burst: 1000, Every: time.Second}},
			}
		}
		var passed []string
		for i, err := range spy.Together(mails, func(i int) error {
			_, err := many.CreateResets(t.Context(), mints[i])
			return err
		}) {
			var limited *recovery.LimitError
			if errors.As(err, &limited) {
				is.Equal(limited.Scope, recovery.ScopeMailbox)
				continue
			}
			is.NoErr(err)
			passed = append(passed, mints[i].JobID)
		}
		is.Equal(len(passed), burst)
		is.Equal(len(texts(t, db, "SELECT DISTINCT requester FROM recovery_resets")), burst) // a network that had a mail goes after the others
		slices.Sort(passed)
		is.Equal(texts(t, db, "SELECT job_id FROM recovery_resets ORDER BY job_id"), passed) // nothing is stored for a mail that does not leave
		is.Equal(texts(t, db, "SELECT id FROM recovery_jobs WHERE charged = 1 ORDER BY id"), passed)
	})
}

// passed returns how many calls no limit refused. None may have failed.
func passed(t *testing.T, errs []error) (n int) {
	t.Helper()
	for _, err := range errs {
		if !errors.Is(err, recovery.ErrLimited) {
			is.New(t).NoErr(err)
			n++
		}
	}
	return n
}

// The limits at the door are as exact, and whoever comes too late is told.
func TestAttack_S42_DoorLimitIsExactUnderParallelRequests(t *testing.T) {
	const calls, burst = 300, 40
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		_, db := databases.Open(t, s)
		store := newManyStores(t, s.Dialect, db)
		charges := recovery.Charges{
			{Scope: recovery.ScopeClient, Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: burst, Every: time.Hour}},
			{Scope: recovery.ScopeGlobal, Key: recovery.Digest{2}, Limit: recovery.Limit{Burst: burst + 1, Every: time.Hour}},
		}
		is.Equal(passed(t, spy.Together(calls, func(int) error { return store.Enqueue(t.Context(), request(t0), charges) })), burst)
		is.Equal(texts(t, db, "SELECT COUNT(*) FROM recovery_jobs"), []string{fmt.Sprint(burst)})
		is.NoErr(store.TakeLimits(t.Context(), t0, charges[1:])) // what was refused used up nothing of the other limit
		is.True(errors.Is(store.TakeLimits(t.Context(), t0, charges[1:]), recovery.ErrLimited))
	})
}

// Tries are counted exactly, however many come at once: MaxTries pass, and one more for each that
// is given back.
func TestTriesAreCountedExactly(t *testing.T) {
	const racers, givenBack = 64, 3
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		_, db := databases.Open(t, s)
		store := newManyStores(t, s.Dialect, db)
		charges := recovery.Charges{
			{Scope: recovery.ScopeToken, Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: recovery.MaxTries, Every: 24 * time.Hour}},
		}
		take := func(int) error { return store.TakeLimits(t.Context(), t0, charges) }
		is.Equal(passed(t, spy.Together(racers, take)), recovery.MaxTries)
		more := passed(t, spy.Together(racers, func(i int) error { // some are given back while others try
			if i%(racers/givenBack) == 0 && i > 0 {
				return store.RefundLimits(t.Context(), charges)
			}
			return take(i)
		})) - givenBack
		for take(0) == nil { // what nobody came for in time
			more++
		}
		is.Equal(more, givenBack)
		for _, err := range spy.Together(recovery.MaxTries, func(int) error { return store.RefundLimits(t.Context(), charges) }) {
			is.NoErr(err)
		}
		is.Equal(texts(t, db, "SELECT tat FROM recovery_limits"), []string{fmt.Sprint(t0.UnixMicro())}) // as if nobody had tried
	})
}

// While the mail of a newer request is recorded, older requests of the same client network and of
// another are about to be mailed. Whichever comes first, the older tokens of the same network are
// dead afterwards, and the others live.
func TestOlderTokenNeverOutlivesMailOfANewerRequest(t *testing.T) {
	const older = 4
	atEachLevel(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		store, db := databases.Open(t, s)
		many := newManyStores(t, s.Dialect, db)
		for i := range 25 {
			a := stored(t, store, db, s.Dialect, i)
			mailed := resetOf(a, t0)
			newer := leaseFor(t, store, mailed)
			_, err := store.CreateResets(t.Context(), mintOf(newer, mailed))
			is.NoErr(err)
			mints := make([]recovery.ResetBatch, older)
			for j := range mints {
				r := resetOf(a, t0.Add(-time.Minute))
				r.Requester[0] = byte(j % 2)
				mints[j] = mintOf(leaseFor(t, store, r), r)
			}
			superseded := make([][]string, older)
			errs := spy.Together(older+1, func(j int) (err error) {
				if j == older/2 {
					return many.Finish(t.Context(), recovery.Outcome{
						JobID: newer.ID, LeaseID: newer.LeaseID, At: t0, MailedAccountIDs: []string{a.ID}, Requester: mailed.Requester,
					})
				}
				if j > older/2 {
					j--
				}
				superseded[j], err = many.CreateResets(t.Context(), mints[j])
				return err
			})
			for _, err := range errs {
				is.NoErr(err)
			}
			for j, m := range mints {
				_, _, err := store.FindReset(t.Context(), m.Resets[0].Digest, t0)
				if j%2 == 0 {
					is.True(errors.Is(err, recovery.ErrInvalidToken)) // the token of an older request is dead
				} else {
					is.NoErr(err) // that of another client network lives
					is.Equal(len(superseded[j]), 0)
				}
			}
			_, _, err = store.FindReset(t.Context(), mailed.Digest, t0)
			is.NoErr(err) // the one that was mailed last lives
		}
	})
}
