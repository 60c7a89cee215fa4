package dbtest

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"pgregory.net/rapid"

	"example.com/recovery"
	"example.com/recovery/store/memstore"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// A random walk of about this many steps begins on empty tables.
const walk = 50

// Every call on a SQL store gives what it gives on memstore, and leaves the same behind.
//
// RECOVERY_MODEL_STEPS is about how many calls are compared with each database (a quarter with the
// second driver of one): 5,000 if it is not set, 100,000 for a thorough run. What fails is printed
// with its seed, which -rapid.seed takes.
func TestModel(t *testing.T) {
	is := is.New(t)
	total := countFromEnv(t, "RECOVERY_MODEL_STEPS", 5_000)
	for name, value := range map[string]string{
		"rapid.steps": strconv.Itoa(walk), "rapid.nofailfile": "true", "rapid.shrinktime": "5s",
	} {
		is.NoErr(flag.Set(name, value))
	}
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		checks := max(total/walk, 1)
		if s.Name == "PostgreSQL with lib_pq" { // the statements are those of pgx
			checks = max(checks/4, 1)
		}
		is.NoErr(flag.Set("rapid.checks", strconv.Itoa(checks)))
		store, db := databases.Open(t, s)
		db.SetMaxOpenConns(1) // so that a setting of the connection is one of all
		forgetful(t, db, s.Dialect)
		seen := map[string]int{}
		rapid.Check(t, func(rt *rapid.T) {
			m := &model{oracle: memstore.New(), store: store, db: db, dialect: s.Dialect, now: time.UnixMicro(1_800_000_000_000_000).UTC(), free: map[string]time.Time{}, seen: seen}
			m.begin(rt)
			rt.Repeat(map[string]func(*rapid.T){
				"":              m.compare,
				"Put":           m.put,
				"Remove":        m.remove,
				"Time":          m.time,
				"FindAccounts":  m.findAccounts,
				"CreateReset":   m.createReset,
				"CreateReset 2": m.createReset, // more often than the rest
				"FindReset":     m.findReset,
				"Redeem":        m.completeReset,
				"Redeem 2":      m.completeReset,
				"Enqueue":       m.addRequest,
				"Enqueue 2":     m.addRequest,
				"TakeLimits":    m.takeLimits,
				"Claim":         m.claimRequests,
				"Claim 2":       m.claimRequests,
				"Finish":        m.finishRequest,
				"Finish 2":      m.finishRequest,
				"Purge":         m.purge,
			})
		})
		t.Log(seen)
		if seen["steps"] > 2000 {
			for _, outcome := range []string{"limit", "redeemed", "lease lost", "superseded", "token superseded", "token used", "token expired", "token unknown"} {
				if seen[outcome] == 0 {
					t.Errorf("no call came to %q, so the walk does not get where it should", outcome)
				}
			}
		}
	})
}

func countFromEnv(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s must be a positive number, is %q", name, text)
	}
	return n
}

// forgetful spares the disk: nothing is pulled out from under this test.
func forgetful(t *testing.T, db *sql.DB, d sqlstore.Dialect) {
	t.Helper()
	statement := map[sqlstore.Dialect]string{
		sqlstore.SQLite: "PRAGMA synchronous = OFF", sqlstore.PostgreSQL: "SET synchronous_commit = off", sqlstore.MySQL: "DO 0",
	}[d]
	_, err := db.Exec(statement)
	is.New(t).NoErr(err)
}

// A model makes every call twice, on the oracle and on the store. All instants that decide an order
// are different, because among equals the interface leaves the choice open.
type model struct {
	oracle  *memstore.Store
	store   *sqlstore.Store
	db      *sql.DB
	dialect sqlstore.Dialect

	now      time.Time // whole and half seconds; unique adds the microseconds
	serial   int
	resets   []recovery.Reset
	requests []recovery.Job       // all that were ever added
	free     map[string]time.Time // when a waiting request may be claimed
	claims   []recovery.Job
	instants []time.Time // at which something begins or ends

	seen map[string]int // outcomes
}

var (
	accountIDs = []string{"a1", "a2", "a3"}
	names      = []string{"alice", "bob", "carol", "Dave"}
	addresses  = []string{"alice@example.com", "bob@example.com", "x@example.net"}
	limits     = []recovery.Limit{{Burst: 1, Every: time.Second}, {Burst: 2, Every: time.Second}, {Burst: 3, Every: 5 * time.Second}, {Burst: 1, Every: time.Minute}}
	anyText    = []string{"alice", "Alice ", "ünï\\cødé", `'; DROP TABLE users; --`, "", "😀 %_"}
)

func (m *model) begin(rt *rapid.T) {
	for _, table := range []string{"recovery_jobs", "recovery_resets", "recovery_limits", "users"} {
		if _, err := m.db.Exec("DELETE FROM " + table); err != nil {
			rt.Fatal(err)
		}
	}
	for _, id := range accountIDs[:2] {
		a := recovery.Account{ID: id, Username: "user " + id, Email: id + "@example.com", Active: true, HasPassword: true, EmailVerified: true}
		m.oracle.Put(a, "h1")
		if err := databases.Put(m.db, m.dialect, a, "h1"); err != nil {
			rt.Fatal(err)
		}
	}
}

func (m *model) unique(t time.Time) time.Time {
	m.serial++
	t = t.Add(time.Duration(m.serial) * time.Microsecond)
	m.instants = append(m.instants, t)
	return t
}

func (m *model) id(rt *rapid.T) string {
	m.serial++ // the order of IDs is not that of their making
	return fmt.Sprintf("%02x-%d", rapid.Byte().Draw(rt, "id"), m.serial)
}

func one[T any](rt *rapid.T, label string, of []T) T {
	return rapid.SampledFrom(of).Draw(rt, label)
}

// recent prefers what came last.
func recent[T any](rt *rapid.T, label string, of []T) T {
	if len(of) > 3 && rapid.Bool().Draw(rt, "recent") {
		of = of[len(of)-3:]
	}
	return one(rt, label, of)
}

func seldom(rt *rapid.T, label string) bool { return rapid.IntRange(0, 7).Draw(rt, label) == 0 }

func seconds(rt *rapid.T, label string, least, most int) time.Duration {
	return time.Duration(rapid.IntRange(2*least, 2*most).Draw(rt, label)) * 500 * time.Millisecond
}

// at is now, or exactly when something begins or ends, or a microsecond beside it.
func (m *model) at(rt *rapid.T) time.Time {
	if len(m.instants) == 0 || rapid.Bool().Draw(rt, "at now") {
		return m.now
	}
	return recent(rt, "instant", m.instants).Add(time.Duration(rapid.IntRange(-1, 1).Draw(rt, "beside")) * time.Microsecond)
}

// outcome is all of an error that a caller may rely on.
func outcome(err error) string {
	var refused *recovery.TokenError
	var limited *recovery.LimitError
	switch {
	case err == nil:
		return "nil"
	case errors.As(err, &refused):
		return "token " + string(refused.Reason)
	case errors.As(err, &limited):
		return fmt.Sprintf("limit %s %v", limited.Scope, limited.RetryAfter)
	case errors.Is(err, recovery.ErrSuperseded):
		return "superseded"
	case errors.Is(err, recovery.ErrLeaseLost):
		return "lease lost"
	}
	return "failure: " + err.Error()
}

func same(rt *rapid.T, what string, oracle, store any) {
	rt.Helper()
	if oracle != store {
		rt.Fatalf("%s: memstore says\n\t%+v\nthe SQL store\n\t%+v", what, oracle, store)
	}
}

func (m *model) sameOutcome(rt *rapid.T, oracle, store error) bool {
	rt.Helper()
	word := outcome(oracle)
	if strings.HasPrefix(word, "limit") {
		word = "limit"
	}
	m.seen[word]++
	same(rt, "the error", outcome(oracle), outcome(store))
	if strings.HasPrefix(outcome(store), "failure") {
		rt.Fatalf("the store failed: %v", store)
	}
	return store == nil
}

// compare looks at everything that is at rest.
func (m *model) compare(rt *rapid.T) {
	m.seen["steps"]++
	rest, err := atRest(m.db, m.dialect)
	if err != nil {
		rt.Fatal(err)
	}
	if want := m.oracle.Dump(); rest != want {
		rt.Fatalf("memstore holds\n%s\nthe SQL store\n%s", want, rest)
	}
	hashes, err := passwordHashes(m.db)
	if err != nil {
		rt.Fatal(err)
	}
	for _, id := range accountIDs {
		want, known := m.oracle.PasswordHash(id)
		got, found := hashes[id]
		same(rt, "whether account "+id+" exists", known, found)
		same(rt, "password hash of "+id, want, got)
	}
}

func (m *model) time(rt *rapid.T) {
	if seldom(rt, "back") {
		m.now = m.now.Add(-seconds(rt, "by", 1, 120))
		return
	}
	m.now = m.now.Add(seconds(rt, "by", 0, 10))
}

func (m *model) put(rt *rapid.T) {
	if !seldom(rt, "put") {
		m.addRequest(rt)
		return
	}
	a := recovery.Account{
		ID: one(rt, "account", accountIDs), Username: one(rt, "name", names), Email: one(rt, "address", addresses),
		Locale: one(rt, "locale", []string{"", "ja"}),
		Active: !seldom(rt, "inactive"), HasPassword: !seldom(rt, "no password"), EmailVerified: !seldom(rt, "unverified"),
	}
	hash := one(rt, "hash", []string{"h1", "h2"}) // an old one may come back
	m.oracle.Put(a, hash)
	if err := databases.Put(m.db, m.dialect, a, hash); err != nil {
		rt.Fatal(err)
	}
}

func (m *model) remove(rt *rapid.T) {
	if !seldom(rt, "remove") {
		m.claimRequests(rt)
		return
	}
	id := one(rt, "account", accountIDs)
	m.oracle.Remove(id)
	if _, err := m.db.Exec(databases.Bind(m.dialect, "DELETE FROM users WHERE id = ?"), id); err != nil {
		rt.Fatal(err)
	}
}

func (m *model) findAccounts(rt *rapid.T) {
	q := recovery.AccountQuery{By: one(rt, "by", []recovery.IdentifierKind{recovery.ByID, recovery.ByUsername, recovery.ByEmail}), Max: 10}
	stored := func(a recovery.Account) string { return a.ID }
	switch q.By {
	case recovery.ByID:
		q.Canonical = one(rt, "account", append(accountIDs, "a", "a1 "))
		q.Typed = q.Canonical
	case recovery.ByUsername:
		q.Typed = one(rt, "typed", append(names, "ALICE", "dave", "alice@example.com", "nobody"))
		q.Canonical, _ = recovery.CanonicalUsername(q.Typed)
		stored = func(a recovery.Account) string { return a.Username }
	case recovery.ByEmail:
		q.Typed = one(rt, "typed", append(addresses, "Alice@Example.com", "nobody@example.com"))
		q.Canonical, _ = recovery.CanonicalEmail(q.Typed)
		stored = func(a recovery.Account) string { return a.Email }
	}
	first, err1 := m.oracle.FindAccounts(rt.Context(), q)
	second, err2 := m.store.FindAccounts(rt.Context(), q)
	if !m.sameOutcome(rt, err1, err2) {
		return
	}
	// A store may return more than what was asked for.
	extra := func(a recovery.Account) bool { return stored(a) != q.Typed && stored(a) != q.Canonical }
	first, second = slices.DeleteFunc(first, extra), slices.DeleteFunc(second, extra)
	if !slices.Equal(first, second) {
		rt.Fatalf("memstore found %d accounts, the SQL store %d, or others", len(first), len(second))
	}
	if q.Max = rapid.IntRange(1, 3).Draw(rt, "max"); len(first) > 0 {
		second, err2 = m.store.FindAccounts(rt.Context(), q)
		m.sameOutcome(rt, nil, err2)
		if want := first[:min(len(first), q.Max)]; !slices.Equal(second, want) {
			rt.Fatalf("with a Max of %d the SQL store found others than the first", q.Max)
		}
	}
}

func (m *model) createReset(rt *rapid.T) {
	if len(m.requests) == 0 {
		rt.Skip("there is no request yet")
	}
	request := recent(rt, "request", m.requests)
	if len(m.claims) > 0 && !seldom(rt, "not claimed") {
		request = recent(rt, "claim", m.claims)
	}
	if seldom(rt, "old") {
		request = m.requests[0]
	}
	m.serial++
	r := recovery.Reset{
		Digest:    recovery.Digest{rapid.Byte().Draw(rt, "digest"), byte(m.serial >> 8), byte(m.serial)},
		AccountID: one(rt, "account", accountIDs), JobID: request.ID, RequestedAt: request.RequestedAt,
		ExpiresAt: m.unique(m.now.Add(seconds(rt, "lifetime", 1, 300))),
		Version:   recovery.NewVersion("h1", one(rt, "address", addresses)),
	}
	if a, _ := m.oracle.FindAccounts(rt.Context(), recovery.AccountQuery{By: recovery.ByID, Canonical: r.AccountID, Max: 1}); len(a) == 1 && !seldom(rt, "stale") {
		r.Version = a[0].Version
	}
	if m.sameOutcome(rt, m.oracle.CreateReset(rt.Context(), r), m.store.CreateReset(rt.Context(), r)) {
		m.resets = append(m.resets, r)
	}
}

func (m *model) digest(rt *rapid.T) recovery.Digest {
	if len(m.resets) == 0 || seldom(rt, "unknown") {
		return recovery.Digest{1, 2, 3, 4}
	}
	return recent(rt, "reset", m.resets).Digest
}

func (m *model) findReset(rt *rapid.T) {
	digest, at := m.digest(rt), m.at(rt)
	r1, a1, err1 := m.oracle.FindReset(rt.Context(), digest, at)
	r2, a2, err2 := m.store.FindReset(rt.Context(), digest, at)
	m.sameOutcome(rt, err1, err2)
	same(rt, "the reset", r1, r2)
	sameAccount(rt, a1, a2)
}

// An Account prints as "[redacted]", so it is said which field differs.
func sameAccount(rt *rapid.T, a, b recovery.Account) {
	rt.Helper()
	same(rt, "ID", a.ID, b.ID)
	same(rt, "Version", a.Version, b.Version)
	same(rt, "the account", a, b)
}

func (m *model) completeReset(rt *rapid.T) {
	m.serial++
	c := recovery.Redemption{Digest: m.digest(rt), At: m.at(rt), PasswordHash: "new " + strconv.Itoa(m.serial), Add: m.more(rt)}
	a1, err1 := m.oracle.Redeem(rt.Context(), c)
	a2, err2 := m.store.Redeem(rt.Context(), c)
	if m.sameOutcome(rt, err1, err2) {
		m.seen["redeemed"]++
		m.added(c.Add...)
	}
	sameAccount(rt, a1, a2)
}

func (m *model) request(rt *rapid.T) recovery.Job {
	r := recovery.Job{
		ID: m.id(rt), Kind: one(rt, "kind", []recovery.JobKind{recovery.JobReset, recovery.JobNotice}),
		By: one(rt, "by", []recovery.IdentifierKind{recovery.ByUsername, recovery.ByEmail}), Identifier: one(rt, "identifier", anyText),
		AccountID: one(rt, "account", append(accountIDs, "")), Portal: one(rt, "portal", anyText), Locale: one(rt, "locale", []string{"", "en-GB"}),
		Client:      one(rt, "client", []netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}),
		RequestedAt: m.now, DueAt: m.unique(m.now.Add(seconds(rt, "due", -5, 10))), Throttled: seldom(rt, "throttled"),
	}
	if seldom(rt, "claimed before") { // nobody should, and it must not matter
		r.Attempts, r.LeaseID = 7, "left over"
	}
	return r
}

// more are the requests that a call adds on its way.
func (m *model) more(rt *rapid.T) []recovery.Job {
	add := make([]recovery.Job, rapid.IntRange(0, 2).Draw(rt, "more"))
	for i := range add {
		add[i] = m.request(rt)
	}
	return add
}

func (m *model) added(requests ...recovery.Job) {
	for _, r := range requests {
		m.requests = append(m.requests, r)
		m.free[r.ID] = r.DueAt
	}
}

// charges are for keys of their own, as a limit must have.
func (m *model) charges(rt *rapid.T, label string, least int) []recovery.Charge {
	keys := rapid.SliceOfNDistinct(rapid.IntRange(0, len(limits)-1), least, 3, rapid.ID).Draw(rt, label)
	charges := make([]recovery.Charge, len(keys))
	for i, k := range keys {
		limit := limits[k]
		if seldom(rt, "reconfigured") {
			limit = one(rt, "limit", limits)
		}
		charges[i] = recovery.Charge{Scope: recovery.Scope(fmt.Sprint(label, k)), Key: recovery.Digest{label[0], byte(k)}, Limit: limit}
	}
	return charges
}

func (m *model) addRequest(rt *rapid.T) {
	r := m.request(rt)
	charges := recovery.Charges{Hard: m.charges(rt, "hard", 0), Soft: m.charges(rt, "soft", 0)}
	if m.sameOutcome(rt, m.oracle.Enqueue(rt.Context(), r, charges), m.store.Enqueue(rt.Context(), r, charges)) {
		m.added(r)
	}
}

func (m *model) takeLimits(rt *rapid.T) {
	at, charges := m.at(rt), m.charges(rt, "hard", 1)
	m.sameOutcome(rt, m.oracle.TakeLimits(rt.Context(), at, charges), m.store.TakeLimits(rt.Context(), at, charges))
}

func (m *model) claimRequests(rt *rapid.T) {
	l := recovery.Claim{LeaseID: m.id(rt), At: m.at(rt), Max: rapid.IntRange(1, 4).Draw(rt, "max")}
	l.Until = m.unique(l.At.Add(seconds(rt, "lease", 1, 30)))
	// Requests that were leased together are free together, and any of them may come first.
	var due []time.Time
	for _, free := range m.free {
		if !free.After(l.At) {
			due = append(due, free)
		}
	}
	slices.SortFunc(due, time.Time.Compare)
	for l.Max < len(due) && due[l.Max].Equal(due[l.Max-1]) {
		l.Max++
	}
	first, err1 := m.oracle.Claim(rt.Context(), l)
	second, err2 := m.store.Claim(rt.Context(), l)
	m.sameOutcome(rt, err1, err2)
	byID := func(a, b recovery.Job) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(first, byID)
	slices.SortFunc(second, byID)
	if !slices.Equal(first, second) {
		rt.Fatalf("memstore gave %d requests, the SQL store %d, or others", len(first), len(second))
	}
	for _, r := range first {
		m.free[r.ID] = l.Until
	}
	m.claims = append(m.claims, first...)
}

func (m *model) finishRequest(rt *rapid.T) {
	if len(m.claims) == 0 {
		rt.Skip("nothing was claimed yet")
	}
	claim := recent(rt, "claim", m.claims)
	o := recovery.Outcome{JobID: claim.ID, LeaseID: claim.LeaseID, At: m.now, Add: m.more(rt)}
	if seldom(rt, "wrong lease") {
		o.LeaseID = one(rt, "lease", []string{"", "another", recent(rt, "claim", m.claims).LeaseID})
	}
	if seldom(rt, "retry") {
		o.RetryAt = m.unique(m.now.Add(seconds(rt, "in", 0, 10)))
	}
	if !seldom(rt, "not mailed") {
		o.Mailed = one(rt, "account", accountIDs)
		i := slices.IndexFunc(m.resets, func(r recovery.Reset) bool { return r.JobID == o.JobID })
		if i >= 0 && !seldom(rt, "another's") {
			o.Mailed = m.resets[i].AccountID
		}
	}
	if !m.sameOutcome(rt, m.oracle.Finish(rt.Context(), o), m.store.Finish(rt.Context(), o)) {
		return
	}
	delete(m.free, o.JobID)
	if !o.RetryAt.IsZero() {
		m.free[o.JobID] = o.RetryAt
	}
	m.added(o.Add...)
}

// Which rows go first is open, so all go.
func (m *model) purge(rt *rapid.T) {
	before, most := m.at(rt), rapid.IntRange(1, 4).Draw(rt, "max")
	if _, err := m.db.Exec("DELETE FROM recovery_limits WHERE tat = 0"); err != nil {
		rt.Fatal(err) // MySQL makes rows that it locks and does not count
	}
	for n := most; n >= most; {
		first, err1 := m.oracle.Purge(rt.Context(), before, most)
		second, err2 := m.store.Purge(rt.Context(), before, most)
		m.sameOutcome(rt, err1, err2)
		same(rt, "how many rows were purged", first, second)
		n = second
	}
}

// atRest returns what [memstore.Store.Dump] does.
func atRest(db *sql.DB, d sqlstore.Dialect) (string, error) {
	var b strings.Builder
	micros := func(n int64) time.Time { return time.UnixMicro(n).UTC() }
	state := "tat"
	if d == sqlstore.SQLite {
		state = "tats"
	}
	err := errors.Join(
		each(db, `SELECT digest, account_id, version, job_id, requested_at, expires_at, ended, mailed FROM recovery_resets ORDER BY digest`, func(rows *sql.Rows) error {
			var digest, version []byte
			var account, request, ended string
			var requestedAt, expiresAt int64
			var mailed int
			err := rows.Scan(&digest, &account, &version, &request, &requestedAt, &expiresAt, &ended, &mailed)
			fmt.Fprintf(&b, "reset %x %s %x %s %v %v %s %v\n", digest, account, version, request, micros(requestedAt), micros(expiresAt), ended, mailed == 1)
			return err
		}),
		each(db, "SELECT id, "+state+" FROM recovery_limits WHERE tat > 0 ORDER BY id", func(rows *sql.Rows) error {
			var key []byte
			var tat int64
			if d != sqlstore.SQLite {
				err := rows.Scan(&key, &tat)
				fmt.Fprintf(&b, "limit %x %v\n", key, micros(tat))
				return err
			}
			var tats []byte
			err := rows.Scan(&key, &tats)
			for entry := range slices.Chunk(tats, 16) {
				fmt.Fprintf(&b, "limit %x%x %v\n", key, entry[:8], micros(int64(binary.BigEndian.Uint64(entry[8:]))))
			}
			return err
		}),
		each(db, `SELECT id, kind, by_kind, identifier, account_id, portal, locale, client, requested_at, due_at, throttled, attempts, lease
			FROM recovery_jobs ORDER BY id`, func(rows *sql.Rows) error {
			var id, kind, by, identifier, account, portal, locale, client, lease string
			var requestedAt, dueAt int64
			var throttled, attempts int
			err := rows.Scan(&id, &kind, &by, &identifier, &account, &portal, &locale, &client, &requestedAt, &dueAt, &throttled, &attempts, &lease)
			if client == "" {
				client = netip.Addr{}.String()
			}
			fmt.Fprintln(&b, "request", id, kind, by, identifier, account, portal, locale, client, micros(requestedAt), micros(dueAt), throttled == 1, attempts, lease)
			return err
		}),
	)
	return b.String(), err
}

func passwordHashes(db *sql.DB) (map[string]string, error) {
	hashes := map[string]string{}
	err := each(db, "SELECT id, password_hash FROM users", func(rows *sql.Rows) error {
		var id, hash string
		err := rows.Scan(&id, &hash)
		hashes[id] = hash
		return err
	})
	return hashes, err
}

// each calls f for every row of a query on a database or in a transaction.
func each(q interface {
	Query(string, ...any) (*sql.Rows, error)
}, query string, f func(*sql.Rows) error) error {
	rows, err := q.Query(query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
