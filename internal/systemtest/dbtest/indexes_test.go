package dbtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// A tape is a driver.Connector that records the statements that pass, with the arguments of the
// first time.
type tape struct {
	under driver.Driver
	dsn   string

	mu         sync.Mutex
	statements []string
	args       map[string][]any
}

func (t *tape) Driver() driver.Driver { return t.under }

func (t *tape) Connect(context.Context) (driver.Conn, error) {
	c, err := t.under.Open(t.dsn)
	if err != nil {
		return nil, err
	}
	return &taped{c, t}, nil
}

func (t *tape) note(query string, args []driver.NamedValue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.args[query]; ok {
		return
	}
	values := make([]any, len(args))
	for i, a := range args {
		values[i] = a.Value
	}
	t.statements, t.args[query] = append(t.statements, query), values
}

type taped struct {
	driver.Conn
	tape *tape
}

func (c *taped) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.tape.note(query, args)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *taped) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.tape.note(query, args)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *taped) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *taped) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c *taped) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// numbers is a query for the numbers below n, as its column n, in every dialect.
func numbers(n int) string {
	var sum, from []string
	for i, factor := 0, 1; factor < n; i, factor = i+1, factor*10 {
		sum = append(sum, fmt.Sprintf("d%d.d * %d", i, factor))
		from = append(from, fmt.Sprintf(`(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
			UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9) d%d`, i))
	}
	return fmt.Sprintf("(SELECT n FROM (SELECT %s AS n FROM %s) many WHERE n < %d) numbers",
		strings.Join(sum, " + "), strings.Join(from, " CROSS JOIN "), n)
}

// addUsers makes n active accounts: name0, name1, …
func addUsers(t testing.TB, db *sql.DB, d sqlstore.Dialect, n int) {
	t.Helper()
	execute(t, db,
		`INSERT INTO users (id, username, email, password_hash, locale, status, local_password, verified_at)
			SELECT CONCAT(n, ''), CONCAT('name', n), CONCAT('name', n, '@example.com'), 'hash-0', '', 'active', 1, 1 FROM `+numbers(n),
		"CREATE INDEX users_tenant_username ON users (tenant, username)",
		"CREATE INDEX users_tenant_email ON users (tenant, email)",
	)
	analyze(t, db, d, "users")
}

// analyze tells the planner about the tables, as databases do some time after these were filled.
func analyze(t testing.TB, db *sql.DB, d sqlstore.Dialect, tables ...string) {
	t.Helper()
	for _, table := range tables {
		statement := "ANALYZE " + table
		if d == sqlstore.MySQL {
			statement = "ANALYZE TABLE " + table
		}
		execute(t, db, statement)
	}
}

// fill makes n rows in each table of the store.
func fill(t testing.TB, db *sql.DB, d sqlstore.Dialect, at time.Time, rows int) {
	t.Helper()
	later := at.Add(24 * time.Hour).UnixMicro()
	bytes := map[sqlstore.Dialect]string{
		sqlstore.PostgreSQL: "sha256(CAST(CONCAT('x', n) AS bytea))",
		sqlstore.MySQL:      "UNHEX(SHA2(CONCAT('x', n), 256))",
		sqlstore.SQLite:     "randomblob(32)",
	}[d]
	execute(t, db,
		fmt.Sprintf(`INSERT INTO recovery_resets (digest, account_id, version, job_id, requester, requested_at, expires_at)
			SELECT %[1]s, CONCAT(n, ''), %[1]s, CONCAT('r', n), %[1]s, %[2]d + n, %[2]d + n FROM %[3]s`, bytes, later, numbers(rows)),
		fmt.Sprintf(`INSERT INTO recovery_limits (id, tat, slot) SELECT %s, %d + n, %d FROM %s`, bytes, later, later/60_000_000, numbers(rows)),
		// Most jobs of the mail lane have waited since yesterday; the others are due again
		// tomorrow.
		fmt.Sprintf(`INSERT INTO recovery_jobs (id, lane, kind, by_kind, identifier, account_id, portal, locale, client,
			requested_at, priority, fresh, order_at)
			SELECT CONCAT('r', n), CASE WHEN n %% 10 = 0 THEN 'notice' ELSE 'mail' END, 'reset', 'username', '', '', '', '', '', %[1]d + n, %[1]d + n,
			CASE WHEN n %% 3 > 0 THEN 1 ELSE 0 END, CASE WHEN n %% 3 > 0 THEN %[1]d ELSE %[2]d END + n FROM %[3]s`,
			at.Add(-24*time.Hour).UnixMicro(), later, numbers(rows)),
	)
	analyze(t, db, d, "recovery_resets", "recovery_limits", "recovery_jobs")
}

// putAccount adds the account that exercise needs.
func putAccount(t *testing.T, db *sql.DB, d sqlstore.Dialect) {
	t.Helper()
	is.New(t).NoErr(databases.Put(db, d, recovery.Account{
		ID: "77", Username: "name77", Email: "name77@example.com", Active: true, HasPassword: true, EmailVerified: true,
	}, "hash-0"))
}

// exercise calls every method in every way that has a statement of its own.
func exercise(t *testing.T, store *sqlstore.Store) {
	t.Helper()
	is := is.New(t)
	for _, q := range []recovery.AccountQuery{
		{By: recovery.ByUsername, Typed: "NAME77", Canonical: "name77", Max: 1001},
		{By: recovery.ByEmail, Typed: "Name77@example.com", Canonical: "name77@example.com", Max: 1001},
		{By: recovery.ByID, Typed: "77", Canonical: "77", Max: 1},
	} {
		accounts, err := store.FindAccounts(t.Context(), q)
		is.NoErr(err)
		is.Equal(len(accounts), 1)
	}
	mailbox := recovery.Charge{Scope: recovery.ScopeMailbox, Limit: recovery.Limit{Burst: 1, Every: time.Hour}}
	claim := func(max int) []recovery.Job {
		claimed, err := store.Claim(t.Context(), recovery.Claim{
			LeaseID: newID(), Lane: recovery.LaneMail, At: t0, Until: t0.Add(time.Minute), Max: max, Again: 1,
		})
		is.NoErr(err)
		is.Equal(len(claimed), max)
		return claimed
	}
	for range 2 {
		is.NoErr(store.Enqueue(t.Context(), request(t0), recovery.Charges{{Scope: recovery.ScopeClient, Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 2, Every: time.Hour}}}))
	}
	err := store.Enqueue(t.Context(), request(t0), recovery.Charges{{Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 2, Every: time.Hour}}})
	is.True(errors.Is(err, recovery.ErrLimited))
	claimed := claim(2)
	a := found(t, store, "77")
	reset := resetOf(a, t0)
	reset.JobID = claimed[0].ID
	m := mintOf(claimed[0], reset)
	m.Charges = recovery.Charges{mailbox}
	is.NoErr(spy.Err(store.CreateResets(t.Context(), m)))
	m = mintOf(claimed[1], resetOf(a, t0))
	m.Charges = recovery.Charges{mailbox}
	is.True(errors.Is(spy.Err(store.CreateResets(t.Context(), m)), recovery.ErrLimited))
	is.NoErr(store.Finish(t.Context(), recovery.Outcome{
		JobID: claimed[0].ID, LeaseID: claimed[0].LeaseID, At: t0, MailedAccountIDs: []string{a.ID}, Discard: []recovery.Digest{{7}},
	}))
	is.NoErr(store.Finish(t.Context(), recovery.Outcome{JobID: claimed[1].ID, LeaseID: claimed[1].LeaseID, At: t0, RetryAt: t0}))
	again := claim(1)[0]
	is.Equal(again.Attempts, 2)
	is.NoErr(store.Finish(t.Context(), recovery.Outcome{JobID: again.ID, LeaseID: again.LeaseID, At: t0}))
	lease(t, store, request(t0))
	is.NoErr(store.RefundLimits(t.Context(), recovery.Charges{mailbox}))
	_, _, err = store.FindReset(t.Context(), reset.Digest, t0)
	is.NoErr(err)
	notice := request(t0)
	notice.Kind, notice.AccountID = recovery.JobNotice, strings.Repeat("i", 255) // the longest
	is.NoErr(spy.Err(store.Redeem(t.Context(), recovery.Redemption{Digest: reset.Digest, At: t0, PasswordHash: "hash-1", Add: []recovery.Job{notice}})))
	is.NoErr(spy.Err(store.Purge(t.Context(), t0, t0.Add(72*time.Hour), 500)))
	is.NoErr(spy.Err(store.Stats(t.Context())))
	is.NoErr(spy.Err(store.Now(t.Context())))
}

// How many accounts there are is set by RECOVERY_ACCOUNTS: 100,000 if it is not, which is enough
// for every planner to prefer an index; the full run is of 1,000,000.
func TestEveryStatementUsesAnIndex(t *testing.T) {
	databases.OnEachOnce(t, everyStatementUsesAnIndex)
}

func everyStatementUsesAnIndex(t *testing.T, s databases.Server) {
	accounts := fromEnv(t, "RECOVERY_ACCOUNTS", 100_000)
	is := is.New(t)
	p, db := databases.Prepared(t, s)
	addUsers(t, db, s.Dialect, accounts)
	fill(t, db, s.Dialect, t0, 20_000)

	seen := &tape{under: db.Driver(), dsn: p.DSN, args: map[string][]any{}}
	spied := sql.OpenDB(seen)
	defer spied.Close()
	exercise(t, databases.StoreOn(t, s.Dialect, spied, ""))

	searches, claims := 0, 0
	for _, statement := range seen.statements {
		if !strings.Contains(statement, "WHERE") {
			continue
		}
		searches++
		plan, ok := usesIndex(t, db, s.Dialect, statement, seen.args[statement])
		if !ok {
			t.Errorf("a table is read from end to end by\n%s\n%s", statement, plan)
		}
		if strings.Contains(statement, "ORDER BY order_at") {
			claims++
			if !strings.Contains(plan, "recovery_jobs_order") || sorts.MatchString(plan) {
				t.Errorf("the index is not read in its order by\n%s\n%s", statement, plan)
			}
		}
	}
	is.Equal(claims, 2)     // of jobs that were claimed before, and of others
	is.True(searches >= 15) // the statements of the accounts, the tokens, the limits and the queue

	// The check must find a missing index.
	_, ok := usesIndex(t, db, s.Dialect, "SELECT id FROM users WHERE LOWER(username) = 'name77'", nil)
	is.True(!ok)
}

// sorts is what plans say if rows are sorted after they were found.
var sorts = regexp.MustCompile(`filesort|Sort|TEMP B-TREE`)

// usesIndex returns the database's plan for a statement and whether it searches every table.
func usesIndex(t *testing.T, db *sql.DB, d sqlstore.Dialect, statement string, args []any) (plan string, ok bool) {
	t.Helper()
	explain := "EXPLAIN "
	if d == sqlstore.SQLite {
		explain = "EXPLAIN QUERY PLAN "
	}
	columns, rows, err := databases.Rows(db, explain+statement, args...)
	is.New(t).NoErr(err)
	ok = true
	for _, values := range rows {
		row := map[string]sql.NullString{}
		for i, v := range values {
			row[columns[i]] = v
			plan += v.String + "\t"
		}
		plan += "\n"
		switch d {
		case sqlstore.PostgreSQL:
			ok = ok && !strings.Contains(row["QUERY PLAN"].String, "Seq Scan")
		case sqlstore.SQLite:
			detail := row["detail"].String
			ok = ok && (!strings.HasPrefix(detail, "SCAN ") || detail == "SCAN CONSTANT ROW")
			ok = ok && !strings.HasSuffix(detail, "(tenant=?)") // it would read the whole tenant
		case sqlstore.MySQL:
			if n, err := strconv.Atoi(row["rows"].String); err == nil { // NULL where no table is read
				kind, sorted := row["type"].String, strings.Contains(row["Extra"].String, "filesort")
				first := strings.HasSuffix(strings.TrimRight(statement, ")"), "LIMIT 1") && !sorted // n is how many there are beyond the first
				some := strings.Contains(statement, "LIMIT ?") && !sorted && (kind == "ref" || kind == "range")
				ok = ok && row["key"].Valid && (n <= 100 || first || some)
			}
		}
	}
	return plan, ok
}

// The rows that all requests count against change with each request. With an index on the state,
// PostgreSQL would add an index entry every time, and later look-ups would have to skip the old
// ones.
func TestPostgresUpdatesHotLimitsInPlace(t *testing.T) {
	const requests = 200
	is := is.New(t)
	db := databases.NewPostgres(t, "pgx", nil).Open(t)
	store := databases.OpenOn(t, sqlstore.PostgreSQL, db, "VARCHAR(36)")
	charges := benchCharges()
	for range requests {
		is.NoErr(store.Enqueue(t.Context(), benchRequest(), charges))
	}
	updates, inPlace := 0, 0
	deadline := time.Now().Add(10 * time.Second) // a session tells its figures about once a second
	for updates < len(charges)*(requests-1) {
		is.True(time.Now().Before(deadline)) // all updates were counted
		is.NoErr(db.QueryRow(`SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'recovery_limits'`).Scan(&updates, &inPlace))
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d of %d in place", inPlace, updates)
	is.True(inPlace >= updates*9/10) // not all: two minutes, a full page
}
