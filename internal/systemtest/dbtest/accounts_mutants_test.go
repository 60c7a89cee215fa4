package dbtest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/accountstest"
)

// A mutant is an Accounts with one fault: it overrides methods of a correct one.
type mutant struct {
	sqlstore.Accounts
	find func(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error)
	byID func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error)
	set  func(ctx context.Context, tx *sql.Tx, id, hash string) error
}

func (m mutant) FindAccounts(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
	if m.find != nil {
		return m.find(ctx, tx, q)
	}
	return m.Accounts.FindAccounts(ctx, tx, q)
}

func (m mutant) AccountByID(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
	if m.byID != nil {
		return m.byID(ctx, tx, id, lock)
	}
	return m.Accounts.AccountByID(ctx, tx, id, lock)
}

func (m mutant) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
	if m.set != nil {
		return m.set(ctx, tx, id, hash)
	}
	return m.Accounts.SetPassword(ctx, tx, id, hash)
}

// asks makes FindAccounts answer a changed query.
func asks(change func(*recovery.AccountQuery)) func(*mutant, *sql.DB) {
	return func(m *mutant, _ *sql.DB) {
		m.find = func(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
			change(&q)
			return m.Accounts.FindAccounts(ctx, tx, q)
		}
	}
}

// answers makes both look-ups change their result.
func answers(change func([]recovery.Account) []recovery.Account) func(*mutant, *sql.DB) {
	return func(m *mutant, _ *sql.DB) {
		m.find = func(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
			found, err := m.Accounts.FindAccounts(ctx, tx, q)
			return change(found), err
		}
		m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
			found, err := m.Accounts.AccountByID(ctx, tx, id, lock)
			return change(found), err
		}
	}
}

// changes makes both look-ups change every account that they found.
func changes(change func(*recovery.Account)) func(*mutant, *sql.DB) {
	return answers(func(found []recovery.Account) []recovery.Account {
		for i := range found {
			change(&found[i])
		}
		return found
	})
}

// hashed makes both look-ups change every account that they found, depending on its password hash.
func hashed(change func(hash string, a *recovery.Account)) func(*mutant, *sql.DB) {
	return func(m *mutant, _ *sql.DB) {
		all := func(ctx context.Context, tx *sql.Tx, found []recovery.Account, err error) ([]recovery.Account, error) {
			for i := range found {
				var hash string
				if err := tx.QueryRowContext(ctx, "SELECT password_hash FROM users WHERE id = ?", found[i].ID).Scan(&hash); err != nil {
					return nil, err
				}
				change(hash, &found[i])
			}
			return found, err
		}
		m.find = func(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
			found, err := m.Accounts.FindAccounts(ctx, tx, q)
			return all(ctx, tx, found, err)
		}
		m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
			found, err := m.Accounts.AccountByID(ctx, tx, id, lock)
			return all(ctx, tx, found, err)
		}
	}
}

// versions makes both look-ups return the Version that f makes.
func versions(f func(hash string, a recovery.Account) string) func(*mutant, *sql.DB) {
	return hashed(func(hash string, a *recovery.Account) { a.Version = sha256.Sum256([]byte(f(hash, *a))) })
}

// executes has SetPassword execute something else.
func executes(query string) func(*mutant, *sql.DB) {
	return func(m *mutant, _ *sql.DB) {
		m.set = func(ctx context.Context, tx *sql.Tx, id, hash string) error {
			result, err := tx.ExecContext(ctx, query, hash, id)
			if err != nil {
				return err
			}
			if n, err := result.RowsAffected(); err != nil || n == 0 {
				return errors.New("no such account")
			}
			return nil
		}
	}
}

const (
	saysEvery   = "It must return every account of query.Tenant whose stored identifier is byte for byte query.Typed or query.Canonical, and none of another tenant."
	saysStatus  = "It must return accounts whatever their status, with the status in their fields."
	saysOrder   = "Those that are Eligible come first, so that no number of others keeps them out, and each part is ordered by ID."
	saysUnknown = "For an ID that nobody has, in whatever form, a method must find no account, or return an error that wraps ErrNotAnID."
	saysVersion = "The Version of an account must change whenever its password or its address does."
	saysSets    = "SetPassword must set the whole password hash of the account with the ID, and change nothing else of it and no other account."
	saysInTx    = "All methods must work in tx."
	saysEnd     = "All methods must neither commit tx nor roll it back."
)

type accountsMutant struct {
	name     string
	make     func(*mutant, *sql.DB)
	caughtBy string // the case
	sentence string
}

// mutants are tested on SQLite.
var mutants = []accountsMutant{
	{"only as typed", asks(func(q *recovery.AccountQuery) {
		if q.By != recovery.ByID {
			q.Canonical = q.Typed
		}
	}), "FindAccounts/Canonical", saysEvery},
	{"only canonical", asks(func(q *recovery.AccountQuery) { q.Typed = q.Canonical }), "FindAccounts/Typed", saysEvery},
	{"no tenant", asks(func(q *recovery.AccountQuery) { q.Tenant = "" }), "FindAccounts/AnotherTenant", saysEvery},
	{"tenants without case", asks(func(q *recovery.AccountQuery) { q.Tenant = strings.ToLower(q.Tenant) }), "FindAccounts/LookAlikeTenants", saysEvery},
	{"tenants trimmed", asks(func(q *recovery.AccountQuery) { q.Tenant = strings.TrimSpace(q.Tenant) }), "FindAccounts/LookAlikeTenants", saysEvery},
	{"the tenant after the limit", func(m *mutant, _ *sql.DB) {
		m.find = func(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) (found []recovery.Account, err error) {
			for _, tenant := range []string{"", "ácme", "acme", "Acme", "acme "} {
				of := q
				of.Tenant = tenant
				some, err := m.Accounts.FindAccounts(ctx, tx, of)
				if err != nil {
					return nil, err
				}
				found = append(found, some...)
			}
			found = found[:min(len(found), q.Max)]
			return slices.DeleteFunc(found, func(a recovery.Account) bool { return a.Tenant != q.Tenant }), nil
		}
	}, "FindAccounts/LookAlikeTenants", saysEvery},
	{"a name is an address", asks(func(q *recovery.AccountQuery) {
		if q.By == recovery.ByUsername && strings.Contains(q.Typed, "@") {
			q.By = recovery.ByEmail
		}
	}), "FindAccounts/Kind", "A query by user name must not match an address, nor the other way round."},
	{"a name is an ID", asks(func(q *recovery.AccountQuery) {
		if q.By == recovery.ByUsername && len(q.Typed) == 1 {
			q.By = recovery.ByID
		}
	}), "FindAccounts/KindOfID", "A query by user name must not match an address, nor the other way round."},
	{"only active accounts", answers(func(found []recovery.Account) []recovery.Account {
		return slices.DeleteFunc(found, func(a recovery.Account) bool { return !a.Active })
	}), "FindAccounts/Status", saysStatus},
	{"all verified", changes(func(a *recovery.Account) { a.EmailVerified = true }), "FindAccounts/Status", saysStatus},
	{"no sign-in", changes(func(a *recovery.Account) { a.SignIn = "" }), "FindAccounts/Fields", saysStatus},
	{"no tenant told", changes(func(a *recovery.Account) { a.Tenant = "" }), "AccountByID/Fields", "AccountByID must return the account with the ID, of any tenant."},
	{"a password without hash", changes(func(a *recovery.Account) { a.HasPassword = true }), "FindAccounts/NoPassword",
		"Account.HasPassword: logs in with a password of this application."},
	{"a mark is a password", hashed(func(hash string, a *recovery.Account) { a.HasPassword = a.HasPassword || hash != "" }), "FindAccounts/NoPassword",
		"Account.HasPassword: logs in with a password of this application."},
	{"nobody is an error", func(m *mutant, _ *sql.DB) {
		m.find = func(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
			found, err := m.Accounts.FindAccounts(ctx, tx, q)
			if len(found) == 0 {
				return nil, sql.ErrNoRows
			}
			return found, err
		}
	}, "FindAccounts/Nobody", "An empty result is not an error."},
	{"wildcards", func(m *mutant, _ *sql.DB) {
		m.find = func(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
			if q.By == recovery.ByUsername {
				err := tx.QueryRowContext(ctx, "SELECT username FROM users WHERE username LIKE ?", q.Canonical).Scan(&q.Canonical)
				if err != nil && !errors.Is(err, sql.ErrNoRows) {
					return nil, err
				}
			}
			return m.Accounts.FindAccounts(ctx, tx, q)
		}
	}, "FindAccounts/Nobody", "An empty result is not an error."},
	{"no limit", asks(func(q *recovery.AccountQuery) { q.Max = 1000 }), "FindAccounts/Max",
		"FindAccounts returns the accounts that the query may mean, at most query.Max."},
	{"by ID alone", answers(func(found []recovery.Account) []recovery.Account {
		slices.SortFunc(found, func(a, b recovery.Account) int { return strings.Compare(a.ID, b.ID) })
		return found
	}), "FindAccounts/Order", saysOrder},
	{"from the last ID", answers(func(found []recovery.Account) []recovery.Account {
		slices.SortStableFunc(found, func(a, b recovery.Account) int {
			if a.Eligible() != b.Eligible() {
				return 0
			}
			return -strings.Compare(a.ID, b.ID)
		})
		return found
	}), "FindAccounts/Order", saysOrder},
	{"eligible last", answers(func(found []recovery.Account) []recovery.Account {
		slices.SortStableFunc(found, func(a, b recovery.Account) int {
			switch {
			case a.Eligible() == b.Eligible():
				return 0
			case a.Eligible():
				return 1
			}
			return -1
		})
		return found
	}), "FindAccounts/Order", saysOrder},
	{"a strange ID fails", func(m *mutant, _ *sql.DB) {
		m.find = func(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
			if q.By == recovery.ByID && len(q.Canonical) > 200 {
				return nil, errors.New("too long")
			}
			return m.Accounts.FindAccounts(ctx, tx, q)
		}
	}, "FindAccounts/UnknownID", saysUnknown},
	{"no ID is the first", func(m *mutant, _ *sql.DB) {
		m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
			if id == "" || id == "0" {
				id = "1"
			}
			return m.Accounts.AccountByID(ctx, tx, id, lock)
		}
	}, "AccountByID/UnknownID", saysUnknown},
	{"IDs are numbers", func(m *mutant, _ *sql.DB) {
		m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
			return m.Accounts.AccountByID(ctx, tx, strings.TrimLeft(id, "0"), lock)
		}
	}, "AccountByID/UnknownID", saysUnknown},
	{"a strange ID ends tx", func(m *mutant, _ *sql.DB) {
		m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
			if len(id) > 200 {
				return nil, tx.Rollback()
			}
			return m.Accounts.AccountByID(ctx, tx, id, lock)
		}
	}, "AccountByID/UnknownID", saysUnknown},
	{"IDs trimmed", func(m *mutant, _ *sql.DB) {
		m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
			found, err := m.Accounts.AccountByID(ctx, tx, strings.TrimSpace(id), lock)
			for i := range found {
				found[i].ID = id
			}
			return found, err
		}
	}, "AccountByID/LookAlikeIDs", "IDs that differ in one byte must be different IDs."},
	{"the Version forgets the address", versions(func(hash string, a recovery.Account) string { return hash }), "FindAccounts/Version", saysVersion},
	{"the Version forgets the password", versions(func(_ string, a recovery.Account) string { return a.Email }), "FindAccounts/Version", saysVersion},
	{"the Version joins the two", versions(func(hash string, a recovery.Account) string { return hash + a.Email }), "FindAccounts/Version", saysVersion},
	{"the Version ignores case", versions(func(hash string, a recovery.Account) string {
		return strings.ToLower(hash) + " " + a.Email
	}), "FindAccounts/Version", saysVersion},
	{"no Version", changes(func(a *recovery.Account) { a.Version = recovery.Version{} }), "FindAccounts/Version", saysVersion},
	{"the Version knows the name", versions(func(hash string, a recovery.Account) string {
		return hash + " " + a.Email + " " + a.Username
	}), "FindAccounts/VersionOfNothingElse", "The Version must not change with anything else, or tokens die that should live."},
	{"a memory", func(m *mutant, _ *sql.DB) {
		var mu sync.Mutex
		known := map[string][]recovery.Account{}
		m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) (found []recovery.Account, err error) {
			mu.Lock()
			defer mu.Unlock()
			if found = known[id]; found == nil {
				found, err = m.Accounts.AccountByID(ctx, tx, id, lock)
				known[id] = found
			}
			return found, err
		}
	}, "AccountByID/AsItIs", "AccountByID must return the account as it is at that moment."},
	{"writes when it looks", func(m *mutant, _ *sql.DB) {
		m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
			if _, err := tx.ExecContext(ctx, "UPDATE users SET locale = locale WHERE id = ?", id); err != nil {
				return nil, err
			}
			return m.Accounts.AccountByID(ctx, tx, id, lock)
		}
	}, "AccountByID/ReadsOnly", "Without lock, it must only read."},
	{"everybody's password", executes("UPDATE users SET password_hash = ?1 WHERE ?2 <> ''"), "SetPassword/OnlyTheOne", saysSets},
	{"the tenant's passwords", executes("UPDATE users SET password_hash = ?1 WHERE tenant = (SELECT tenant FROM users WHERE id = ?2)"),
		"SetPassword/OnlyTheOne", saysSets},
	{"the namesakes' passwords", executes("UPDATE users SET password_hash = ?1 WHERE username = (SELECT username FROM users WHERE id = ?2)"),
		"SetPassword/OnlyTheOne", saysSets},
	{"the password by an ID without case", executes("UPDATE users SET password_hash = ?1 WHERE id = ?2 COLLATE NOCASE"), "SetPassword/LookAlikeIDs", saysSets},
	{"sets the locale too", executes("UPDATE users SET password_hash = ?1, locale = 'en' WHERE id = ?2"), "SetPassword/Sets", saysSets},
	{"cuts the hash", executes("UPDATE users SET password_hash = substr(?1, 1, 60) WHERE id = ?2"), "SetPassword/LongestHash", saysSets},
	{"cuts a long hash", executes("UPDATE users SET password_hash = substr(?1, 1, 255) WHERE id = ?2"), "SetPassword/NeverCut",
		"SetPassword must set the whole password hash, or fail."},
	{"only another hash", executes("UPDATE users SET password_hash = ?1 WHERE id = ?2 AND password_hash <> ?1"), "SetPassword/SameHash", saysSets},
	{"sets nobody's", func(m *mutant, _ *sql.DB) {
		m.set = func(ctx context.Context, tx *sql.Tx, id, hash string) error {
			_, err := tx.ExecContext(ctx, "UPDATE users SET password_hash = ? WHERE id = ?", hash, id)
			return err
		}
	}, "SetPassword/NoAccount", "SetPassword must fail unless exactly one account has the ID."},
	{"sets without tx", func(m *mutant, db *sql.DB) {
		m.set = func(ctx context.Context, _ *sql.Tx, id, hash string) error {
			_, err := db.ExecContext(ctx, "UPDATE users SET password_hash = ? WHERE id = ?", hash, id)
			return err
		}
	}, "Transactions/RolledBack", saysInTx},
	{"looks without tx", func(m *mutant, db *sql.DB) {
		m.byID = func(ctx context.Context, _ *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
			other, err := db.BeginTx(ctx, nil)
			if err != nil {
				return nil, err
			}
			defer func() { _ = other.Rollback() }()
			return m.Accounts.AccountByID(ctx, other, id, lock)
		}
	}, "AccountByID/AfterSetPassword", saysInTx},
	{"sets once", func(m *mutant, _ *sql.DB) {
		var mu sync.Mutex
		done := map[string]bool{}
		m.set = func(ctx context.Context, tx *sql.Tx, id, hash string) error {
			mu.Lock()
			defer mu.Unlock()
			if done[id+hash] {
				return nil
			}
			done[id+hash] = true
			return m.Accounts.SetPassword(ctx, tx, id, hash)
		}
	}, "Transactions/Again", "If a transaction loses to another, the store calls the methods again in a new one."},
	{"commits", func(m *mutant, _ *sql.DB) {
		m.set = func(ctx context.Context, tx *sql.Tx, id, hash string) error {
			if err := m.Accounts.SetPassword(ctx, tx, id, hash); err != nil {
				return err
			}
			return tx.Commit()
		}
	}, "Transactions/LeftOpen", saysEnd},
	{"commits in SQL", func(m *mutant, _ *sql.DB) {
		m.find = func(ctx context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
			found, err := m.Accounts.FindAccounts(ctx, tx, q)
			_, _ = tx.ExecContext(ctx, "COMMIT; BEGIN")
			return found, err
		}
	}, "Transactions/LeftOpen", saysEnd},
	{"rolls back where it fails", func(m *mutant, _ *sql.DB) {
		m.set = func(ctx context.Context, tx *sql.Tx, id, hash string) error {
			err := m.Accounts.SetPassword(ctx, tx, id, hash)
			if err != nil {
				_ = tx.Rollback()
			}
			return err
		}
	}, "Transactions/LeftOpen", saysEnd},
	{"without ctx", func(m *mutant, _ *sql.DB) {
		m.find = func(_ context.Context, tx *sql.Tx, q recovery.AccountQuery) ([]recovery.Account, error) {
			return m.Accounts.FindAccounts(context.Background(), tx, q)
		}
	}, "Transactions/Context", "All methods must return ctx's error soon after ctx ends."},
	{"one answer for all", func(m *mutant, _ *sql.DB) {
		var mu sync.Mutex
		var last []recovery.Account
		m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
			found, err := m.Accounts.AccountByID(ctx, tx, id, lock)
			mu.Lock()
			last = found
			mu.Unlock()
			time.Sleep(time.Millisecond) // others come between
			mu.Lock()
			defer mu.Unlock()
			return last, err
		}
	}, "Transactions/Concurrent", "Many goroutines may call the methods at once."},
}

// locking makes AccountByID lock as f says.
func locking(f func(lock bool) bool) func(*mutant, *sql.DB) {
	return func(m *mutant, _ *sql.DB) {
		m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
			return m.Accounts.AccountByID(ctx, tx, id, f(lock))
		}
	}
}

func never(bool) bool  { return false }
func always(bool) bool { return true }

// serverMutants are faults that SQLite cannot have.
var serverMutants = map[string][]accountsMutant{
	"PostgreSQL with pgx": {
		{"no lock", locking(never), "AccountByID/Lock", "With lock it must keep others from changing the account until tx ends."},
		{"locks always", locking(always), "AccountByID/ReadsOnly", "Without lock, it must only read."},
		{"an ID of another type fails", func(m *mutant, _ *sql.DB) {
			m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
				found, err := m.Accounts.AccountByID(ctx, tx, id, lock)
				if errors.Is(err, sqlstore.ErrNotAnID) {
					err = errors.New("invalid input syntax")
				}
				return found, err
			}
		}, "AccountByID/UnknownID", saysUnknown},
		{"an ID of another type ends tx", func(m *mutant, _ *sql.DB) {
			m.byID = func(ctx context.Context, tx *sql.Tx, id string, lock bool) ([]recovery.Account, error) {
				found, err := m.Accounts.AccountByID(ctx, tx, id, lock)
				if errors.Is(err, sqlstore.ErrNotAnID) {
					err = nil
				}
				return found, err
			}
		}, "AccountByID/UnknownID", saysUnknown},
	},
	"MariaDB": {
		{"no lock", locking(never), "AccountByID/Lock", "With lock it must keep others from changing the account until tx ends."},
		{"locks always", locking(always), "AccountByID/NoLock", "Without lock, it must only read."},
		{"reads what was before", locking(never), "AccountByID/AsItIs", "AccountByID must return the account as it is at that moment."},
	},
}

const (
	mutantEnv       = "RECOVERY_MUTANT"
	mutantServerEnv = "RECOVERY_MUTANT_SERVER"
)

// TestMutantOfAccounts is not a test of its own: TestSuiteFindsFaults runs it, and it fails.
func TestMutantOfAccounts(t *testing.T) {
	name, ok := os.LookupEnv(mutantEnv)
	if !ok {
		t.Skip("TestSuiteFindsFaults runs it")
	}
	s := databases.Servers[slices.IndexFunc(databases.Servers, func(s databases.Server) bool { return s.Name == os.Getenv(mutantServerEnv) })]
	key := keyTypes(s.Dialect)[0]
	if s.Dialect == sqlstore.PostgreSQL {
		key = keyType{"bigint", "bigint", strconv.Itoa}
	}
	db := s.Create(t)
	databases.OpenOn(t, s.Dialect, db, key.column)
	m := mutant{Accounts: tableOf(t, s.Dialect)}
	for _, c := range append(mutants, serverMutants[s.Name]...) {
		if c.name == name {
			c.make(&m, db)
		}
	}
	accountstest.Run(t, func(t *testing.T) accountstest.Fixture {
		f := fixture(t, db, s.Dialect, m)
		f.ID = key.id
		return f
	})
}

// runMutant returns what the test prints, and whether it passes.
func runMutant(t *testing.T, server, name, pattern string) (string, bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run", "^TestMutantOfAccounts$"+pattern)
	cmd.Env = append(os.Environ(), mutantServerEnv+"="+server, mutantEnv+"="+name)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// The case that is meant for a fault must find it, and print the sentence.
func TestSuiteFindsFaults(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		of := serverMutants[s.Name]
		if s.Dialect == sqlstore.SQLite {
			of = mutants
		}
		if len(of) == 0 {
			t.Skip("all are tested with another driver")
		}
		is := is.New(t)
		s.Create(t) // or the test is skipped
		out, passed := runMutant(t, s.Name, "", "")
		is.True(passed) // without a fault
		is.True(strings.Contains(out, "--- PASS: TestMutantOfAccounts"))
		for _, m := range of {
			t.Run(m.name, func(t *testing.T) {
				is := is.New(t)
				group, name, _ := strings.Cut(m.caughtBy, "/")
				out, passed := runMutant(t, s.Name, m.name, "/^"+group+"$/^"+name+"$")
				is.True(!passed)
				is.True(strings.Contains(out, "--- FAIL: TestMutantOfAccounts/"+m.caughtBy+" ")) // the case must fail
				is.True(strings.Contains(out, "the interface says: "+m.sentence+"\n"))           // and say why
			})
		}
	})
}
