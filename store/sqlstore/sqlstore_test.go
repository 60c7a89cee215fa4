package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

func TestNewSaysEverythingThatIsWrong(t *testing.T) {
	is := is.New(t)
	store, err := New(nil, 4, nil, &Options{TablePrefix: "Robert'); DROP", Attempts: 101})
	is.Equal(store, nil)
	is.Equal(errorText(err), strings.Join([]string{
		"sqlstore: New needs a database",
		"sqlstore: the Dialect must be PostgreSQL, MySQL or SQLite",
		"sqlstore: Options.TablePrefix must be up to 32 lower-case letters, digits and underscores, and begin with a letter",
		"sqlstore: Options.Attempts must be from 1 to 100, is 101",
		"sqlstore: New needs Accounts",
	}, "\n"))
}

func TestOptions(t *testing.T) {
	s := newStub(SQLite)
	accounts, _ := stubUsers.Accounts(SQLite)
	for _, c := range []struct {
		name    string
		dialect Dialect
		opts    *Options
		fault   string
	}{
		{"none", SQLite, nil, ""},
		{"zero", SQLite, &Options{}, ""},
		{"one attempt", SQLite, &Options{Attempts: 1}, ""},
		{"a hundred attempts", SQLite, &Options{Attempts: 100}, ""},
		{"negative attempts", SQLite, &Options{Attempts: -1}, "is -1"},
		{"shortest prefix", SQLite, &Options{TablePrefix: "a"}, ""},
		{"longest prefix", SQLite, &Options{TablePrefix: strings.Repeat("a", 32)}, ""},
		{"too long a prefix", SQLite, &Options{TablePrefix: strings.Repeat("a", 33)}, "TablePrefix"},
		{"a digit first", SQLite, &Options{TablePrefix: "1a"}, "TablePrefix"},
		{"upper case", SQLite, &Options{TablePrefix: "App_"}, "TablePrefix"},
		{"a schema", SQLite, &Options{TablePrefix: "app."}, "TablePrefix"},
		{"a quote", SQLite, &Options{TablePrefix: "a'"}, "TablePrefix"},
		{"a line end", SQLite, &Options{TablePrefix: "a\n"}, "TablePrefix"},
		{"a hash of one character", SQLite, &Options{HashLength: 1}, ""},
		{"a hash of less than none", SQLite, &Options{HashLength: -1}, "HashLength must be at least 1, is -1"},
		{"no dialect", 0, nil, "Dialect"},
		{"a negative dialect", -1, nil, "Dialect"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			store, err := New(s.db(t), c.dialect, accounts, c.opts)
			is.Equal(store != nil, c.fault == "")
			is.Equal(err == nil, c.fault == "")
			is.True(strings.Contains(errorText(err), c.fault)) // says what is wrong
		})
	}
	is := is.New(t)
	is.Equal(s.open, 0) // New opens no connection
	logger := slog.New(slog.DiscardHandler)
	store, err := New(s.db(t), SQLite, accounts, &Options{Logger: logger})
	is.NoErr(err)
	is.Equal(store.attempts, 10)
	is.Equal(store.hashLength, 97)
	is.Equal(store.logger, logger)
}

// What a method returns if the database does not have exactly one matching row.
func TestAnswers(t *testing.T) {
	another := slices.Clone(stubRows()[findsAccount])
	another[0] = "07"
	next := slices.Clone(stubRows()[findsReset])
	next[0] = bytes.Repeat([]byte{2}, 32)
	const gone, lost = "recovery: the token is not valid: account_gone", "recovery: the lease is not held"
	for _, c := range []struct {
		method string
		finds  string // look-up that finds something else: row
		row    []driver.Value
		writes string // statement that changes no row
		want   string
	}{
		{"FindReset", findsAccount, another, "-", gone},
		{"Redeem", findsAccount, another, "-", gone},
		{"Redeem", findsReset, nil, "-", "recovery: the token is not valid: unknown"},
		{"Redeem", findsReset, next, "-", "recovery: the token is not valid: unknown"},
		{"Redeem", "", nil, "SET ended = 'used'", "recovery: the token is not valid: used"},
		{"Redeem", findsHash, nil, "password", "sqlstore: no row of the user table has the account's ID"},
		{"CreateResets", findsLeased, nil, "-", lost},
		{"Finish for good", "", nil, "DELETE FROM recovery_jobs", lost}, // it was lost meanwhile
		{"Finish to retry", "", nil, "UPDATE recovery_jobs", lost},
	} {
		for _, d := range dialects {
			is := is.New(t)
			s := newStub(d)
			s.rows[c.finds] = c.row
			s.changed = func(query string, _ []driver.NamedValue) int64 {
				if strings.Contains(query, c.writes) {
					return 0
				}
				return 1
			}
			store, _ := s.store(t, nil)
			result, err := methodNamed(c.method).call(t.Context(), store)
			is.Equal(errorText(err), c.want)
			is.True(isZero(result))
			is.Equal(s.calls[len(s.calls)-1], "rollback")
			is.Equal(s.kept, nil) // nothing was changed
		}
	}
}

// If two rows share an ID, neither password is set, even if the second row came after the account
// was locked.
func TestPasswordIsSetInOneRow(t *testing.T) {
	is := is.New(t)
	s := newStub(PostgreSQL)
	s.changed = func(query string, _ []driver.NamedValue) int64 {
		return int64(1 + strings.Count(query, `UPDATE "users"`))
	}
	_, err := onlyWithID("7", []recovery.Account{alice, alice}, nil)
	is.Equal(err, errSharedID)
	_, err = methodNamed("Redeem").call(t.Context(), storeOn(t, s, stubUsers))
	is.Equal(errorText(err), "sqlstore: several rows of the user table share an ID: it must be unique, also across tenants")
	is.Equal(s.kept, nil)
}

// The account may be deleted by the application's own SetPassword.
func TestAccountThatVanishes(t *testing.T) {
	is := is.New(t)
	s := newStub(SQLite)
	s.changed = func(query string, _ []driver.NamedValue) int64 {
		if strings.Contains(query, `UPDATE "users"`) {
			s.rows[findsAccount] = nil
		}
		return 1
	}
	store, _ := s.store(t, nil)
	_, err := store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: now, PasswordHash: "new hash"})
	is.Equal(errorText(err), "sqlstore: the account is gone after its password was set")
	is.Equal(s.kept, nil)
}

// MySQL cuts a text that is too long for its column, unless its sql_mode is strict.
func TestHashThatIsCut(t *testing.T) {
	is := is.New(t)
	s := newStub(MySQL)
	s.rows[findsHash] = []driver.Value{"7", "new ha"}
	store, _ := s.store(t, nil)
	_, err := store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: now, PasswordHash: "new hash"})
	is.Equal(errorText(err), "sqlstore: the column does not hold the whole password hash")
	is.Equal(s.kept, nil)
	s.rows[findsHash] = []driver.Value{"7", "new hash  "} // a CHAR may be padded
	account, err := store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: now, PasswordHash: "new hash"})
	is.NoErr(err)
	is.Equal(account, alice)
	s.rows[findsHash] = []driver.Value{"7 and more", "new hash"}
	_, err = store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: now, PasswordHash: "new hash"})
	is.Equal(errorText(err), "sqlstore: no row of the user table has the account's ID")
	s.rows[findsHash] = []driver.Value{"7"} // fewer columns than are read
	_, err = store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: now, PasswordHash: "new hash"})
	is.True(!strings.Contains(errorText(err), "no row"))
}

func TestTextsThatAreTooLong(t *testing.T) {
	is := is.New(t)
	s := newStub(MySQL)
	store, _ := s.store(t, nil)
	text := func(n int) string { return strings.Repeat("a", n) }
	tooLong := func(err error, n, most int) {
		is.Helper()
		is.Equal(errorText(err), fmt.Sprintf("sqlstore: a text of %d bytes is longer than %d", n, most))
	}
	for _, c := range []struct {
		most int
		set  func(*recovery.Job, string)
	}{
		{254, func(j *recovery.Job, v string) { j.Identifier = v }}, {255, func(j *recovery.Job, v string) { j.AccountID = v }},
		{64, func(j *recovery.Job, v string) { j.ID = v }}, {64, func(j *recovery.Job, v string) { j.Tenant = v }},
		{64, func(j *recovery.Job, v string) { j.Portal = v }}, {64, func(j *recovery.Job, v string) { j.Locale = v }},
	} {
		j := job
		c.set(&j, text(c.most+1))
		tooLong(store.Enqueue(t.Context(), j, recovery.Charges{free}), c.most+1, c.most)
		_, err := store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: now, PasswordHash: "new hash", Add: []recovery.Job{notice, j}})
		tooLong(err, c.most+1, c.most)
	}
	long := mint()
	long.Resets[1].AccountID = text(256)
	_, err := store.CreateResets(t.Context(), long)
	tooLong(err, 256, 255)
	long = mint()
	long.Resets[0].JobID = text(65)
	_, err = store.CreateResets(t.Context(), long)
	tooLong(err, 65, 64)
	is.Equal(s.kept, nil)
}

// An account with newer mail is looked up once and left out once, for its token and its code.
func TestSupersededAccounts(t *testing.T) {
	is := is.New(t)
	s := newStub(SQLite)
	s.rows[findsNewer] = []driver.Value{int64(1)}
	store, _ := s.store(t, nil)
	withCode := mint()
	withCode.Resets = append(withCode.Resets, withCode.Resets[0])
	superseded, err := store.CreateResets(t.Context(), withCode)
	is.NoErr(err)
	is.Equal(superseded, []string{"7", "3"})
	is.Equal(count(s.calls, findsNewer), 2)
}

// Accounts are locked in the order of their IDs, each once.
func TestAccountsAreLockedInOrder(t *testing.T) {
	is := is.New(t)
	s := newStub(MySQL)
	store, _ := s.store(t, nil)
	is.NoErr(store.Finish(t.Context(), recovery.Outcome{
		JobID: job.ID, LeaseID: "lease", At: now, MailedAccountIDs: []string{"b", "c", "a", "b"},
	}))
	var locked []string
	for _, call := range s.calls {
		if strings.HasPrefix(call, findsAccount) && strings.Contains(call, " FOR UPDATE | ") {
			_, id, _ := strings.Cut(call, " | ")
			locked = append(locked, id)
		}
	}
	is.Equal(locked, []string{"61", "62", "63"})
}

// A refund takes one event back. A limit that was not stored has nothing to give back.
func TestRefundLimits(t *testing.T) {
	is := is.New(t)
	s := newStub(SQLite)
	s.limits[free.Key] = time.UnixMicro(0) // was made to be locked
	store, _ := s.store(t, nil)
	unknown := free
	unknown.Key = recovery.Digest{99}
	is.NoErr(store.RefundLimits(t.Context(), recovery.Charges{unknown, free, full}))
	text := strings.NewReplacer("{", "", "}", "").Replace(sqlite.setLimits) // of one row
	is.Equal(s.kept[len(s.kept)-1], sent(text, full.Key[:], now.UnixMicro(), now.Unix()/60))
}

// A claim keeps places for jobs that were claimed before only if it says so, and asks for nothing
// more when all places are taken.
func TestSharesOfAClaim(t *testing.T) {
	for _, again := range []int{0, 1} {
		is := is.New(t)
		s := newStub(SQLite)
		store, _ := s.store(t, nil)
		claim := recovery.Claim{LeaseID: "mine", Lane: recovery.LaneNotice, At: now, Until: now, Max: 1, Again: again}
		claimed, err := store.Claim(t.Context(), claim)
		is.NoErr(err)
		is.Equal(len(claimed), 1)
		s.rows[claims], s.calls = nil, nil
		_, err = store.Claim(t.Context(), claim)
		is.NoErr(err)
		at := now.UnixMicro()
		want := []string{sent(sqlite.claimAgain, "mine", at, "notice", at, int64(1)), sent(sqlite.claimFresh, "mine", at, "notice", int64(1))}
		if again == 0 {
			slices.Reverse(want)
		}
		is.Equal(s.calls[2:len(s.calls)-1], want)
	}
}

// SQLite's clock is that of the machine.
func TestNowOfSQLite(t *testing.T) {
	is := is.New(t)
	store, _ := newStub(SQLite).store(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	at, err := store.Now(ctx)
	is.NoErr(err)
	is.True(time.Since(at).Abs() < time.Minute)
	cancel()
	_, err = store.Now(ctx)
	is.True(errors.Is(err, context.Canceled))
}

// Jobs that nobody holds have the lease "", which is not a lease.
func TestEmptyLeaseHoldsNothing(t *testing.T) {
	is := is.New(t)
	s := newStub(SQLite)
	store, _ := s.store(t, nil)
	is.Equal(store.Finish(t.Context(), recovery.Outcome{JobID: job.ID, At: now}), recovery.ErrLeaseLost)
	none := mint()
	none.LeaseID = ""
	_, err := store.CreateResets(t.Context(), none)
	is.Equal(err, recovery.ErrLeaseLost)
	is.Equal(s.kept, nil)
}

// At PostgreSQL's higher isolation levels, a statement does not see what was committed while it
// waited for a lock.
func TestIsolation(t *testing.T) {
	for d, level := range map[Dialect]sql.IsolationLevel{
		PostgreSQL: sql.LevelReadCommitted, MySQL: sql.LevelDefault, SQLite: sql.LevelDefault,
	} {
		t.Run(d.String(), func(t *testing.T) {
			for _, m := range methods {
				is := is.New(t)
				s := newStub(d)
				store, _ := s.store(t, nil)
				_, err := m.call(t.Context(), store)
				is.True(err == nil || errors.Is(err, recovery.ErrLimited))
				want := level
				if d == PostgreSQL && (strings.HasPrefix(m.name, "Find") || m.name == "Stats" || m.name == "Now") {
					want = sql.LevelRepeatableRead // what is read is of one instant
				}
				is.Equal(s.isolation, want)
				is.Equal(s.readOnly, want == sql.LevelRepeatableRead)
			}
		})
	}
}

// SQLite's columns hold values of any type.
func TestRowsOfAnotherType(t *testing.T) {
	for _, c := range []struct {
		method string
		finds  string
		column int
	}{{"FindAccounts by user name", findsAccount, 7}, {"Claim", claims, 13}, {"TakeLimits", findsLimits, 1}, {"Stats", findsStats, 1}} {
		m := methodNamed(c.method)
		t.Run(m.name, func(t *testing.T) {
			is := is.New(t)
			s := newStub(SQLite)
			s.rows[findsLimits] = []driver.Value{free.Key[:], int64(0)}
			s.rows[c.finds][c.column] = "many"
			store, _ := s.store(t, nil)
			result, err := m.call(t.Context(), store)
			is.True(err != nil)
			is.True(isZero(result))
			is.Equal(s.calls[len(s.calls)-1], "rollback")
		})
	}
}

// A driver may not know how many rows a statement changed.
func TestRowsAffectedFails(t *testing.T) {
	is := is.New(t)
	no := errors.New("no")
	n, err := affected(driver.ResultNoRows, no)
	is.Equal(n, int64(0))
	is.Equal(err, no)
	_, err = affected(driver.ResultNoRows, nil)
	is.True(err != nil)
	is.True(one(no)(driver.ResultNoRows, nil) != no)
	is.Equal(one(no)(driver.RowsAffected(0), nil), no)
	is.Equal(one(no)(driver.RowsAffected(2), nil), no)
	is.NoErr(one(no)(driver.RowsAffected(1), nil))
}

// The store asks the application only for IDs that the application gave. An unknown token costs as
// many statements as a live one.
func TestUnknownTokensAskForNothingMadeUp(t *testing.T) {
	onEach(t, func(t *testing.T, d Dialect) {
		is := is.New(t)
		look := func(s *stub, digest recovery.Digest) (asked []string) {
			store, _ := s.store(t, nil)
			_, _, err := store.FindReset(t.Context(), digest, now)
			is.Equal(err == nil, digest == reset.Digest && s.rows[findsReset] != nil)
			is.True(err == nil || errorText(err) == "recovery: the token is not valid: unknown")
			is.Equal(len(s.calls), 4) // begin, two statements, and the end
			for _, call := range s.calls {
				if strings.HasPrefix(call, findsAccount) {
					asked = append(asked, call[strings.LastIndex(call, "| "):])
				}
			}
			return asked
		}
		id := fmt.Sprintf("| %x", reset.AccountID)
		is.Equal(look(newStub(d), reset.Digest), []string{id})
		is.Equal(look(newStub(d), recovery.Digest{99}), []string{id}) // of the next token
		broken := newStub(d)
		broken.fault = fault{call: 2, times: 1, err: errors.New("no")} // another's account cannot be read
		is.Equal(look(broken, recovery.Digest{99}), []string{id})
		empty := newStub(d)
		empty.rows[findsReset] = nil
		is.Equal(look(empty, reset.Digest), nil)
	})
}
