package sqlstore

import (
	"context"
	"database/sql/driver"
	"net/netip"
	"slices"
	"testing"
	"time"

	"example.com/recovery"
)

var dialects = []Dialect{PostgreSQL, MySQL, SQLite}

// methodsOf returns the methods that are one transaction. On SQLite, Now is none.
func methodsOf(d Dialect) []method {
	return slices.DeleteFunc(slices.Clone(methods), func(m method) bool { return d == SQLite && m.name == "Now" })
}

const overLimit = "Enqueue over a limit"

func onEach(t *testing.T, f func(t *testing.T, d Dialect)) {
	for _, d := range dialects {
		t.Run(d.String(), func(t *testing.T) { f(t, d) })
	}
}

var stubUsers = Table{
	Name: "users", ID: "id", Username: "name", Email: "email", PasswordHash: "password",
	CanonicalUsername: Exact, CanonicalEmail: Exact, Active: Always, EmailVerified: Always,
}

// The account, the reset and the job that the stub knows.
var (
	now   = time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC)
	alice = recovery.Account{
		ID: "7", Username: "alice", Email: "alice@example.com", Locale: "en",
		Active: true, HasPassword: true, EmailVerified: true,
		Version: recovery.NewVersion("old hash", "alice@example.com"),
	}
	reset = recovery.Reset{
		Digest: recovery.Digest{1}, AccountID: "7", Version: alice.Version, JobID: "job 1", Requester: recovery.Digest{9, 8},
		RequestedAt: now, ExpiresAt: now.Add(time.Hour),
	}
	job = recovery.Job{
		ID: "job 1", Kind: recovery.JobReset, By: recovery.ByUsername, Identifier: "alice", AccountID: "7",
		Tenant: "acme", Ticket: recovery.Digest{7, 31: 7}, Portal: "shop", Locale: "en", Client: netip.MustParseAddr("192.0.2.1"), RequestedAt: now, Priority: now,
	}
	notice = recovery.Job{ID: "job 2", Kind: recovery.JobNotice, Identifier: alice.Email, RequestedAt: now, Priority: now}
)

// The results of the look-ups, by the beginnings of their texts.
const (
	findsAccount = "SELECT COALESCE"
	findsHash    = "SELECT COALESCE(CAST(`users`.`id` AS CHAR CHARACTER SET utf8mb4), ''), COALESCE(CAST(`users`.`password` AS CHAR CHARACTER SET utf8mb4), '') FROM"
	findsReset   = "SELECT digest"
	findsLimits  = "SELECT id, tat" // those of stub.limits
	findsLeased  = "SELECT requested_at"
	findsNewer   = "SELECT EXISTS"
	findsDue     = "SELECT id"
	locksLimits  = "INSERT INTO recovery_limits AS l" // PostgreSQL
	claimsCTE    = "WITH due"
	claims       = "UPDATE recovery_jobs"
	getsLock     = "SELECT GET_LOCK"
	findsVersion = "SELECT MAX(version)"
	findsStats   = "SELECT lane"
	findsNow     = "SELECT (extract"
	findsNowToo  = "SELECT TIMESTAMPDIFF"
)

func stubRows() map[string][]driver.Value {
	due := []driver.Value{
		job.ID, string(job.Kind), string(job.By), job.Identifier, job.AccountID, job.Tenant, job.Ticket[:],
		job.Portal, job.Locale, job.Client.String(), now.UnixMicro(), now.UnixMicro(), int64(0), int64(1), "lease",
	}
	queued := slices.Clone(due)
	queued[13], queued[14] = int64(0), ""
	return map[string][]driver.Value{
		findsAccount: {"7", "", alice.Username, alice.Email, "old hash", "en", "", int64(1), int64(1), int64(1)},
		findsHash:    {"7", "new hash"},
		findsReset:   {reset.Digest[:], "7", alice.Version[:], reset.JobID, reset.Requester[:], now.UnixMicro(), reset.ExpiresAt.UnixMicro(), ""},
		findsLeased:  {now.UnixMicro(), int64(0)},
		findsNewer:   {int64(0)},
		findsDue:     queued,
		claimsCTE:    due,
		claims:       due,
		getsLock:     {int64(1)},
		findsVersion: {nil},
		findsStats:   {string(recovery.LaneMail), int64(3), now.UnixMicro()},
		findsNow:     {now.UnixMicro()},
		findsNowToo:  {now.UnixMicro()},
	}
}

// Two limits that let a call pass and one that does not, and the charges of a mail.
var (
	free  = recovery.Charge{Scope: recovery.ScopeGlobal, Key: recovery.Digest{2}, Limit: recovery.Limit{Burst: 2, Every: time.Hour}}
	other = recovery.Charge{Scope: recovery.ScopeClient, Key: recovery.Digest{3}, Limit: recovery.Limit{Burst: 2, Every: time.Hour}}
	full  = recovery.Charge{Scope: recovery.ScopeClient, Key: recovery.Digest{4}, Limit: recovery.Limit{Burst: 1, Every: time.Hour}}
)

// mint is the mail of the job, for the reset and one of another account.
func mint(charges ...recovery.Charge) recovery.ResetBatch {
	second := reset
	second.Digest, second.AccountID = recovery.Digest{2}, "3"
	return recovery.ResetBatch{JobID: job.ID, LeaseID: "lease", At: now, Resets: []recovery.Reset{reset, second}, Charges: charges}
}

// A method is a call of a method of the store, chosen to reach as many statements as possible.
type method struct {
	name string
	call func(context.Context, *Store) (any, error)
}

func methodNamed(name string) method {
	return methods[slices.IndexFunc(methods, func(m method) bool { return m.name == name })]
}

var methods = []method{
	{"FindAccounts by user name", func(ctx context.Context, s *Store) (any, error) {
		return s.FindAccounts(ctx, recovery.AccountQuery{By: recovery.ByUsername, Typed: "Alice", Canonical: "alice", Max: 9})
	}},
	{"FindAccounts by ID", func(ctx context.Context, s *Store) (any, error) {
		return s.FindAccounts(ctx, recovery.AccountQuery{By: recovery.ByID, Typed: "7", Canonical: "7", Max: 1})
	}},
	{"CreateResets", func(ctx context.Context, s *Store) (any, error) {
		return s.CreateResets(ctx, mint(free, other))
	}},
	{"CreateResets over a limit", func(ctx context.Context, s *Store) (any, error) {
		return s.CreateResets(ctx, mint(free, full))
	}},
	{"FindReset", func(ctx context.Context, s *Store) (any, error) {
		r, a, err := s.FindReset(ctx, reset.Digest, now)
		return []any{r, a}, err
	}},
	{"Redeem", func(ctx context.Context, s *Store) (any, error) {
		return s.Redeem(ctx, recovery.Redemption{
			Digest: reset.Digest, At: now, PasswordHash: "new hash", Add: []recovery.Job{notice, job},
		})
	}},
	{"Enqueue", func(ctx context.Context, s *Store) (any, error) {
		return nil, s.Enqueue(ctx, job, recovery.Charges{free, other})
	}},
	{"Enqueue without limits", func(ctx context.Context, s *Store) (any, error) {
		return nil, s.Enqueue(ctx, job, nil)
	}},
	{overLimit, func(ctx context.Context, s *Store) (any, error) {
		return nil, s.Enqueue(ctx, job, recovery.Charges{free, full})
	}},
	{"TakeLimits", func(ctx context.Context, s *Store) (any, error) {
		return nil, s.TakeLimits(ctx, now, recovery.Charges{free, other})
	}},
	{"RefundLimits", func(ctx context.Context, s *Store) (any, error) {
		return nil, s.RefundLimits(ctx, recovery.Charges{full, other})
	}},
	{"Claim", func(ctx context.Context, s *Store) (any, error) {
		return s.Claim(ctx, recovery.Claim{LeaseID: "lease", Lane: recovery.LaneMail, At: now, Until: now.Add(time.Minute), Max: 4, Again: 1})
	}},
	{"Claim of one", func(ctx context.Context, s *Store) (any, error) {
		return s.Claim(ctx, recovery.Claim{LeaseID: "lease", At: now, Until: now.Add(time.Minute), Max: 1, JobID: job.ID})
	}},
	{"Finish for good", func(ctx context.Context, s *Store) (any, error) {
		return nil, s.Finish(ctx, recovery.Outcome{
			JobID: job.ID, LeaseID: "lease", At: now,
			MailedAccountIDs: []string{"7"}, Requester: reset.Requester, Discard: []recovery.Digest{{5}, {6}},
		})
	}},
	{"Finish to retry", func(ctx context.Context, s *Store) (any, error) {
		return nil, s.Finish(ctx, recovery.Outcome{JobID: job.ID, LeaseID: "lease", At: now, RetryAt: now.Add(time.Minute)})
	}},
	{"Purge", func(ctx context.Context, s *Store) (any, error) {
		return s.Purge(ctx, now, now.Add(time.Hour), 100)
	}},
	{"Stats", func(ctx context.Context, s *Store) (any, error) {
		return s.Stats(ctx)
	}},
	{"Now", func(ctx context.Context, s *Store) (any, error) {
		return s.Now(ctx)
	}},
}
