package dbtest

import (
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"pgregory.net/rapid"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/memstore"
	"example.com/recovery/store/sqlstore"
)

// A random walk of about this many steps begins on empty tables.
const walk = 50

// Every call on a SQL store returns what it returns on memstore, and leaves the same rows behind.
//
// RECOVERY_MODEL_STEPS is about how many calls are compared with each database: 5,000 if it is not
// set, 100,000 for a thorough run. What fails is printed with its seed, which -rapid.seed takes.
func TestModel(t *testing.T) {
	is := is.New(t)
	for name, value := range map[string]string{
		"rapid.steps": strconv.Itoa(walk), "rapid.checks": strconv.Itoa(max(fromEnv(t, "RECOVERY_MODEL_STEPS", 5_000)/walk, 1)),
		"rapid.nofailfile": "true", "rapid.shrinktime": "5s",
	} {
		is.NoErr(flag.Set(name, value))
	}
	databases.OnEachOnce(t, func(t *testing.T, s databases.Server) {
		store, db := databases.Open(t, s)
		db.SetMaxOpenConns(1)                       // so that a setting of the connection is one of all
		execute(t, db, map[sqlstore.Dialect]string{ // nothing is pulled out from under this test
			sqlstore.SQLite: "PRAGMA synchronous = OFF", sqlstore.PostgreSQL: "SET synchronous_commit = off", sqlstore.MySQL: "DO 0",
		}[s.Dialect])
		seen := map[string]int{}
		rapid.Check(t, func(rt *rapid.T) {
			m := &model{oracle: memstore.New(), store: store, db: db, dialect: s.Dialect, now: time.UnixMicro(1_800_000_000_000_000).UTC(),
				codes: map[recovery.Digest]bool{}, seen: seen}
			m.begin(rt)
			actions := map[string]func(*rapid.T){"": m.compare}
			often := func(times int, name string, action func(*rapid.T)) {
				for i := range times {
					actions[fmt.Sprint(name, " ", i)] = action
				}
			}
			often(1, "Put", m.put)
			often(1, "Remove", m.remove)
			often(1, "Time", m.time)
			often(3, "CreateResets", m.createResets)
			often(3, "Mail", m.mail)
			often(1, "FindReset", m.findReset)
			often(2, "Redeem", m.redeem)
			often(2, "Enqueue", m.enqueue)
			often(1, "TakeLimits", m.takeLimits)
			often(1, "RefundLimits", m.refundLimits)
			often(2, "Claim", m.claim)
			often(2, "Finish", m.finish)
			often(1, "Purge", m.purge)
			rt.Repeat(actions)
		})
		t.Log(seen)
		if seen["steps"] > 2000 {
			for _, outcome := range []string{
				"limit", "redeemed", "lease lost", "superseded", "partly superseded", "discarded", "purged",
				"token superseded", "token used", "token voided", "token expired", "token unknown",
				"code redeemed", "code superseded",
			} {
				if seen[outcome] == 0 {
					t.Errorf("no call came to %q, so the walk misses a case", outcome)
				}
			}
		}
	})
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
	codes    map[recovery.Digest]bool
	claims   []recovery.Job // of jobs that are not finished
	finished []recovery.Job
	instants []time.Time // at which something begins or ends

	seen map[string]int // outcomes
}

var (
	accountIDs = []string{"a1", "a2", "a3"}
	tenants    = []string{"", "", "acme", "Acme", "acme "}
	names      = []string{"alice", "bob", "carol", "Dave"}
	addresses  = []string{"alice@example.com", "bob@example.com", "x@example.net"}
	limits     = []recovery.Limit{{Burst: 1, Every: time.Second}, {Burst: 2, Every: time.Second}, {Burst: 3, Every: 5 * time.Second}, {Burst: 1, Every: time.Minute}}
	requesters = []recovery.Digest{{1}, {1}, {1}, {2}}
	lanes      = []recovery.Lane{recovery.LaneMail, recovery.LaneMail, recovery.LaneMail, recovery.LaneNotice, recovery.LaneOnReset}
	anyText    = []string{"alice", "Alice ", "ünï\\cødé", `'; DROP TABLE users; --`, "", "😀 %_"}
)

func (m *model) begin(rt *rapid.T) {
	for _, table := range []string{"recovery_jobs", "recovery_resets", "recovery_limits", "users"} {
		must(rt, spy.Err(m.db.Exec("DELETE FROM "+table)))
	}
	for i, tenant := range []string{"", "acme"} {
		a := recovery.Account{
			ID: accountIDs[i], Tenant: tenant, Username: names[0], Email: addresses[0], Active: true, HasPassword: true, EmailVerified: true,
		}
		m.oracle.Put(a, "h1")
		must(rt, databases.Put(m.db, m.dialect, a, "h1"))
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

// recent prefers the last elements.
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

// outcome is the part of an error that a caller may rely on.
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
	case errors.Is(err, recovery.ErrLeaseLost):
		return "lease lost"
	}
	return "failure: " + err.Error()
}

func must(rt *rapid.T, err error) {
	rt.Helper()
	if err != nil {
		rt.Fatal(err)
	}
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

// compare compares everything that is stored.
func (m *model) compare(rt *rapid.T) {
	m.seen["steps"]++
	rest, err := atRest(m.db)
	must(rt, err)
	same(rt, "what is at rest", m.oracle.Dump(), rest)
	want, hashes := map[string]string{}, map[string]string{}
	for _, id := range accountIDs {
		if hash, known := m.oracle.PasswordHash(id); known {
			want[id] = hash
		}
	}
	must(rt, each(m.db, "SELECT id, password_hash FROM users", func(rows *sql.Rows) error {
		var id, hash string
		err := rows.Scan(&id, &hash)
		hashes[id] = hash
		return err
	}))
	same(rt, "the password hashes", fmt.Sprint(want), fmt.Sprint(hashes))
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
		m.enqueue(rt)
		return
	}
	a := recovery.Account{
		ID: one(rt, "account", accountIDs), Tenant: one(rt, "tenant", tenants), Username: one(rt, "name", names), Email: one(rt, "address", addresses),
		Locale: one(rt, "locale", []string{"", "ja"}), SignIn: one(rt, "sign-in", []string{"", "Google"}),
		Active: !seldom(rt, "inactive"), HasPassword: !seldom(rt, "no password"), EmailVerified: !seldom(rt, "unverified"),
	}
	hash := one(rt, "hash", []string{"h1", "h2"}) // an old one may come back
	m.oracle.Put(a, hash)
	must(rt, databases.Put(m.db, m.dialect, a, hash))
}

func (m *model) remove(rt *rapid.T) {
	if !seldom(rt, "remove") {
		m.claim(rt)
		return
	}
	id := one(rt, "account", accountIDs)
	m.oracle.Remove(id)
	must(rt, spy.Err(m.db.Exec(databases.Bind(m.dialect, "DELETE FROM users WHERE id = ?"), id)))
}

// claimed returns a job that was claimed and, but seldom, is not finished.
func (m *model) claimed(rt *rapid.T) recovery.Job {
	of := m.claims
	if len(of) == 0 || len(m.finished) > 0 && seldom(rt, "finished") {
		of = m.finished
	}
	if len(of) == 0 {
		rt.Skip("nothing was claimed yet")
	}
	return recent(rt, "claim", of)
}

func (m *model) createResets(rt *rapid.T) { m.mint(rt, m.claimed(rt)) }

func (m *model) mint(rt *rapid.T, j recovery.Job) {
	mint := recovery.ResetBatch{JobID: j.ID, LeaseID: j.LeaseID, At: m.at(rt)}
	if seldom(rt, "wrong lease") {
		mint.LeaseID = one(rt, "lease", []string{"", "another", m.claimed(rt).LeaseID})
	}
	if seldom(rt, "charged") {
		mint.Charges = m.charges(rt, "desk", 1)
	}
	requester, withCodes := one(rt, "requester", requesters), rapid.Bool().Draw(rt, "codes")
	for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(accountIDs), 0, 3, rapid.ID).Draw(rt, "accounts") {
		token := recovery.Reset{
			Digest: m.newDigest(rt), AccountID: id, JobID: j.ID, Requester: requester, RequestedAt: j.RequestedAt,
			ExpiresAt: m.unique(m.now.Add(seconds(rt, "lifetime", 1, 300))),
			Version:   recovery.NewVersion("h1", one(rt, "address", addresses)),
		}
		if a, ok := m.byID(rt, id); ok && !seldom(rt, "stale") {
			token.Version = a.Version
		}
		mint.Resets = append(mint.Resets, token)
		if withCodes {
			code := token
			code.Digest, code.ExpiresAt = m.newDigest(rt), m.unique(m.now.Add(seconds(rt, "code's lifetime", 1, 60)))
			mint.Resets = append(mint.Resets, code)
			m.codes[code.Digest] = true
		}
	}
	superseded1, err1 := m.oracle.CreateResets(rt.Context(), mint)
	superseded2, err2 := m.store.CreateResets(rt.Context(), mint)
	same(rt, "who is superseded", fmt.Sprint(superseded1), fmt.Sprint(superseded2))
	if !m.sameOutcome(rt, err1, err2) {
		return
	}
	left := 0
	for _, r := range mint.Resets {
		switch {
		case !slices.Contains(superseded1, r.AccountID):
			m.resets = append(m.resets, r)
			left++
		case m.codes[r.Digest]:
			m.seen["code superseded"]++
		}
	}
	switch {
	case len(superseded1) > 0 && left == 0:
		m.seen["superseded"]++
	case len(superseded1) > 0:
		m.seen["partly superseded"]++
	}
}

func (m *model) newDigest(rt *rapid.T) recovery.Digest {
	m.serial++ // the order of digests is not that of their making
	return recovery.Digest{rapid.Byte().Draw(rt, "digest"), byte(m.serial >> 8), byte(m.serial)}
}

// byID returns an account of whatever tenant.
func (m *model) byID(rt *rapid.T, id string) (recovery.Account, bool) {
	for _, tenant := range tenants {
		found, _ := m.oracle.FindAccounts(rt.Context(), recovery.AccountQuery{Tenant: tenant, By: recovery.ByID, Canonical: id, Max: 1})
		if len(found) == 1 {
			return found[0], true
		}
	}
	return recovery.Account{}, false
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

// An Account prints as "[redacted]", so this says which field differs.
func sameAccount(rt *rapid.T, a, b recovery.Account) {
	rt.Helper()
	same(rt, "ID", a.ID, b.ID)
	same(rt, "Version", a.Version, b.Version)
	same(rt, "the account", a, b)
}

func (m *model) redeem(rt *rapid.T) {
	m.serial++
	r := recovery.Redemption{Digest: m.digest(rt), At: m.at(rt), PasswordHash: "new " + strconv.Itoa(m.serial)}
	for range rapid.IntRange(0, 2).Draw(rt, "more") {
		r.Add = append(r.Add, m.job(rt))
	}
	a1, err1 := m.oracle.Redeem(rt.Context(), r)
	a2, err2 := m.store.Redeem(rt.Context(), r)
	if m.sameOutcome(rt, err1, err2) {
		m.seen["redeemed"]++
		if m.codes[r.Digest] {
			m.seen["code redeemed"]++
		}
	}
	sameAccount(rt, a1, a2)
}

func (m *model) job(rt *rapid.T) recovery.Job {
	at := m.unique(m.now.Add(seconds(rt, "asked", -5, 5)))
	j := recovery.Job{
		ID: m.id(rt), Kind: one(rt, "kind", []recovery.JobKind{
			recovery.JobReset, recovery.JobReset, recovery.JobReset, recovery.JobUsernames, recovery.JobNotice, recovery.JobOnReset,
		}),
		By: one(rt, "by", []recovery.IdentifierKind{recovery.ByUsername, recovery.ByEmail}), Identifier: one(rt, "identifier", anyText),
		AccountID: one(rt, "account", append(accountIDs, "")), Tenant: one(rt, "tenant", tenants), Portal: one(rt, "portal", anyText), Locale: one(rt, "locale", []string{"", "en-GB"}),
		Client:      one(rt, "client", []netip.Addr{{}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}),
		RequestedAt: at, Priority: at,
	}
	if rapid.Bool().Draw(rt, "asked for a code") {
		j.Ticket = recovery.Digest{rapid.Byte().Draw(rt, "ticket"), 31: 1}
	}
	if seldom(rt, "claimed before") { // nobody should, and it must not matter
		j.Charged, j.Attempts, j.LeaseID = true, 7, "left over"
	}
	return j
}

// charges are for keys of their own, as a limit must have.
func (m *model) charges(rt *rapid.T, label string, least int) recovery.Charges {
	keys := rapid.SliceOfNDistinct(rapid.IntRange(0, len(limits)-1), least, 3, rapid.ID).Draw(rt, label)
	charges := make(recovery.Charges, len(keys))
	for i, k := range keys {
		charges[i] = recovery.Charge{
			Scope: one(rt, "scope", []recovery.Scope{recovery.ScopeClient, recovery.ScopeGlobal}), Key: recovery.Digest{label[0], byte(k)}, Limit: limits[k],
		}
		if seldom(rt, "reconfigured") {
			charges[i].Limit = one(rt, "limit", limits)
		}
		if seldom(rt, "repeat") && i > 0 {
			charges[i].Repeat, charges[i].Share = 1, charges[0].Key
		}
	}
	return charges
}

func (m *model) enqueue(rt *rapid.T) {
	j, charges := m.job(rt), m.charges(rt, "door", 0)
	m.sameOutcome(rt, m.oracle.Enqueue(rt.Context(), j, charges), m.store.Enqueue(rt.Context(), j, charges))
}

func (m *model) takeLimits(rt *rapid.T) {
	at, charges := m.at(rt), m.charges(rt, "door", 1)
	m.sameOutcome(rt, m.oracle.TakeLimits(rt.Context(), at, charges), m.store.TakeLimits(rt.Context(), at, charges))
}

func (m *model) refundLimits(rt *rapid.T) {
	charges := m.charges(rt, one(rt, "of", []string{"door", "desk"}), 0)
	m.sameOutcome(rt, m.oracle.RefundLimits(rt.Context(), charges), m.store.RefundLimits(rt.Context(), charges))
}

// waiting returns the jobs of a lane that a claim may get: when they are due, or their turns.
func (m *model) waiting(rt *rapid.T, c recovery.Claim) (again, fresh []int64) {
	must(rt, each(m.db, fmt.Sprintf("SELECT fresh, order_at FROM recovery_jobs WHERE lane = '%s' ORDER BY order_at", c.Lane), func(rows *sql.Rows) error {
		var isFresh int
		var at int64
		err := rows.Scan(&isFresh, &at)
		switch {
		case isFresh == 1:
			fresh = append(fresh, at)
		case at <= c.At.UnixMicro():
			again = append(again, at)
		}
		return err
	}))
	slices.Reverse(fresh)
	return again, fresh
}

// leavesOpen reports whether it is open which jobs a claim gets: jobs that were leased together are
// due together, and any of them may come first.
func leavesOpen(again, fresh []int64, c recovery.Claim) bool {
	share := min(c.Again, len(again))
	some := min(c.Max-share, len(fresh))
	share = min(c.Max-some, len(again))
	tied := func(all []int64, n int) bool { return n > 0 && n < len(all) && all[n-1] == all[n] }
	return tied(again, share) || tied(fresh, some)
}

func (m *model) claim(rt *rapid.T) {
	c := recovery.Claim{LeaseID: m.id(rt), Lane: one(rt, "lane", lanes), At: m.at(rt), Max: rapid.IntRange(1, 6).Draw(rt, "max")}
	c.Again = rapid.IntRange(0, c.Max).Draw(rt, "again")
	c.Until = m.unique(c.At.Add(seconds(rt, "lease", 1, 30)))
	if len(m.claims) > 0 && seldom(rt, "by ID") {
		c.JobID = recent(rt, "claim", m.claims).ID
	}
	for again, fresh := m.waiting(rt, c); leavesOpen(again, fresh, c); {
		c.Max++
	}
	m.lease(rt, c)
}

func (m *model) lease(rt *rapid.T, c recovery.Claim) []recovery.Job {
	first, err1 := m.oracle.Claim(rt.Context(), c)
	second, err2 := m.store.Claim(rt.Context(), c)
	m.sameOutcome(rt, err1, err2)
	byID := func(a, b recovery.Job) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(first, byID)
	slices.SortFunc(second, byID)
	if !slices.Equal(first, second) {
		rt.Fatalf("memstore gave %d jobs, the SQL store %d, or others", len(first), len(second))
	}
	m.claims = append(m.claims, first...)
	return first
}

// mail takes one job all the way, as is usual. Without it a walk would seldom get far.
func (m *model) mail(rt *rapid.T) {
	j := m.job(rt)
	m.sameOutcome(rt, m.oracle.Enqueue(rt.Context(), j, nil), m.store.Enqueue(rt.Context(), j, nil))
	for _, leased := range m.lease(rt, recovery.Claim{LeaseID: m.id(rt), At: m.now, Until: m.unique(m.now.Add(time.Minute)), Max: 1, JobID: j.ID}) {
		m.mint(rt, leased)
		if !seldom(rt, "not finished") {
			m.end(rt, leased)
		}
	}
}

func (m *model) finish(rt *rapid.T) { m.end(rt, m.claimed(rt)) }

func (m *model) end(rt *rapid.T, j recovery.Job) {
	o := recovery.Outcome{JobID: j.ID, LeaseID: j.LeaseID, At: m.now, Requester: one(rt, "requester", requesters)}
	if seldom(rt, "wrong lease") {
		o.LeaseID = one(rt, "lease", []string{"", "another", m.claimed(rt).LeaseID})
	}
	if seldom(rt, "retry") {
		o.RetryAt = m.unique(m.now.Add(seconds(rt, "in", 0, 10)))
	}
	if seldom(rt, "refund") {
		o.Refund = m.charges(rt, "desk", 1)
	}
	for _, r := range m.resets {
		if r.JobID != j.ID {
			continue
		}
		switch {
		case seldom(rt, "discard"):
			o.Discard = append(o.Discard, r.Digest)
		case !seldom(rt, "not mailed") && !slices.Contains(o.MailedAccountIDs, r.AccountID):
			o.MailedAccountIDs, o.Requester = append(o.MailedAccountIDs, r.AccountID), r.Requester
		}
	}
	if seldom(rt, "another's") {
		o.MailedAccountIDs = []string{one(rt, "account", accountIDs)}
	}
	if !m.sameOutcome(rt, m.oracle.Finish(rt.Context(), o), m.store.Finish(rt.Context(), o)) {
		return
	}
	if len(o.Discard) > 0 {
		m.seen["discarded"]++
	}
	if o.RetryAt.IsZero() {
		m.claims = slices.DeleteFunc(m.claims, func(c recovery.Job) bool { return c.ID == j.ID })
		m.finished = append(m.finished, j)
	}
}

// The interface leaves open which rows go first, so all go.
func (m *model) purge(rt *rapid.T) {
	before, most := m.at(rt), rapid.IntRange(1, 4).Draw(rt, "max")
	ahead := before.Add(seconds(rt, "ahead", 5, 600))
	must(rt, spy.Err(m.db.Exec("DELETE FROM recovery_limits WHERE tat = 0"))) // MySQL makes rows that it locks and does not count
	for n := most; n >= most; {
		first, err1 := m.oracle.Purge(rt.Context(), before, ahead, most)
		second, err2 := m.store.Purge(rt.Context(), before, ahead, most)
		m.sameOutcome(rt, err1, err2)
		same(rt, "how many rows were purged", first, second)
		n = second
		m.seen["purged"] += n
	}
}

// atRest returns the same as [memstore.Store.Dump].
func atRest(db *sql.DB) (string, error) {
	var b strings.Builder
	for _, table := range []struct{ name, query, kinds string }{ // a digest, a time, a bit, a client, or what is printed as it is
		{"reset", `SELECT digest, account_id, version, job_id, requester, requested_at, expires_at, ended, mailed
			FROM recovery_resets ORDER BY digest`, "d.d.dtt.b"},
		{"limit", "SELECT id, tat FROM recovery_limits WHERE tat <> 0 ORDER BY id", "dt"},
		{"job", `SELECT id, kind, by_kind, identifier, account_id, tenant, ticket, portal, locale, client,
			requested_at, priority, charged, attempts, lease_id, fresh, order_at FROM recovery_jobs ORDER BY id`, "......d..cttb..bt"},
	} {
		_, rows, err := databases.Rows(db, table.query)
		if err != nil {
			return "", err
		}
		for _, row := range rows {
			line := []any{table.name}
			for i, text := range row {
				value := any(text.String)
				switch table.kinds[i] {
				case 'd':
					var d recovery.Digest
					copy(d[:], text.String)
					value = d
				case 't':
					micro, _ := strconv.ParseInt(text.String, 10, 64)
					value = time.UnixMicro(micro).UTC()
				case 'b':
					value = text.String == "1"
				case 'c':
					value, _ = netip.ParseAddr(text.String)
				}
				line = append(line, value)
			}
			fmt.Fprintln(&b, line...)
		}
	}
	return b.String(), nil
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
