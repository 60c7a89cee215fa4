package dbtest

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/sqlstore"
)

// A hostile column type says that different texts are equal.
type hostile struct {
	name    string
	server  string // see servers
	text    string // type of the columns of user names and addresses
	id      string // type of the primary key
	ids     [3]string
	prepare string // statement before the table is made
}

var (
	textIDs = [3]string{"Id-1", "id 2'", "3"}
	uuidIDs = [3]string{
		"00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b", "00000000-0000-4000-8000-00000000000c",
	}
	// Two of these are equal as floating point numbers, and MySQL may compare them so.
	bigIDs = [3]string{"9007199254740992", "9007199254740993", "9007199254740994"}
)

var hostileColumns = []hostile{
	{"NOCASE and text IDs", "SQLite", "TEXT COLLATE NOCASE", "TEXT COLLATE NOCASE", textIDs, ""},
	{"RTRIM and integer IDs", "SQLite", "TEXT COLLATE RTRIM", "INTEGER", bigIDs, ""},
	{"citext and bigint IDs", "PostgreSQL with pgx", "citext", "bigint", bigIDs, "CREATE EXTENSION citext"},
	{"citext and uuid IDs", "PostgreSQL with lib_pq", "citext", "uuid", uuidIDs, "CREATE EXTENSION citext"},
	{"char and uuid IDs", "PostgreSQL with pgx", "char(64)", "uuid", uuidIDs, ""},
	{"char and text IDs", "PostgreSQL with lib_pq", "char(64)", "char(64)", textIDs, ""},
	{"utf8mb4_general_ci and bigint IDs", "MariaDB", "VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "BIGINT", bigIDs, ""},
	{"utf8mb4_unicode_ci and uuid IDs", "MariaDB", "VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci", "CHAR(36)", uuidIDs, ""},
	{"latin1_swedish_ci and text IDs", "MariaDB", "VARCHAR(254) CHARACTER SET latin1 COLLATE latin1_swedish_ci",
		"VARCHAR(64) CHARACTER SET latin1 COLLATE latin1_swedish_ci", textIDs, ""},
	{"latin1_swedish_ci, padded, and bigint IDs", "MariaDB", "CHAR(64) CHARACTER SET latin1 COLLATE latin1_swedish_ci", "BIGINT UNSIGNED", bigIDs, ""},
}

// A site is an application on a hostile user table, with three accounts: mike, weiss and BillyBob.
type site struct {
	db      *sql.DB
	store   *sqlstore.Store
	dialect sqlstore.Dialect
	service *recovery.Service
	mails   *mailertest.Recorder
}

func newSite(t *testing.T, h hostile) *site {
	t.Helper()
	is := is.New(t)
	i := slices.IndexFunc(databases.Servers, func(s databases.Server) bool { return s.Name == h.server })
	s := &site{db: databases.Servers[i].Create(t), dialect: databases.Servers[i].Dialect, mails: &mailertest.Recorder{}}
	if h.prepare != "" {
		if _, err := s.db.Exec(h.prepare); err != nil {
			databases.Missing(t, "what "+h.prepare+" needs", err)
		}
	}
	execute(t, s.db, fmt.Sprintf(databases.CreateUsers, h.id, h.text))
	s.store = databases.StoreOn(t, s.dialect, s.db, "")
	is.NoErr(s.store.Migrate(t.Context())) // which would refuse the last address below
	for i, name := range []string{"mike", "weiss", "BillyBob"} {
		is.NoErr(spy.Err(s.db.Exec(databases.Bind(s.dialect, `INSERT INTO users (id, username, email, password_hash, locale, status, local_password, verified_at)
			VALUES (?, ?, ?, 'hash-0', '', 'active', 1, 1)`), h.ids[i], name, name+"@Example.com")))
	}
	// Addresses are stored in canonical form, but for the last, which is stored as somebody typed it.
	execute(t, s.db, "UPDATE users SET email = LOWER(email) WHERE username IN ('mike', 'weiss')")
	var err error
	s.service, err = recovery.New(s.store, s.mails, &recovery.Options{
		Hasher: recovery.Hasher{Hash: func(password string) (string, error) { return "hash of " + password, nil }},
		Limits: recovery.Limits{InsecureOff: true},
		Tick:   10 * time.Millisecond,
	})
	is.NoErr(err)
	return s
}

// ask makes requests, works through them and returns what was mailed.
func (s *site) ask(t *testing.T, requests ...recovery.ResetRequest) []recovery.Message {
	t.Helper()
	is := is.New(t)
	s.mails.Reset()
	for _, r := range requests {
		is.NoErr(spy.Err(s.service.RequestReset(t.Context(), r)))
	}
	for range 10 {
		_, err := s.service.Deliver(t.Context())
		is.NoErr(err)
		stats, err := s.service.Stats(t.Context())
		is.NoErr(err)
		if stats.Lanes[0].Jobs+stats.Lanes[1].Jobs == 0 {
			break // else one was passed over: see workload.drain
		}
	}
	return s.mails.Messages()
}

func onHostileColumns(t *testing.T, f func(t *testing.T, h hostile)) {
	for _, h := range hostileColumns {
		t.Run(h.server+" "+h.name, func(t *testing.T) { f(t, h) })
	}
}

func TestExactAndCanonicalFormsAreRecovered(t *testing.T) {
	onHostileColumns(t, func(t *testing.T, h hostile) {
		is := is.New(t)
		s := newSite(t, h)
		for i, c := range []struct {
			request  recovery.ResetRequest
			name, to string
			id       string
		}{
			{recovery.ResetRequest{Username: "mike"}, "mike", "mike@example.com", h.ids[0]},
			{recovery.ResetRequest{Username: "  MIKE "}, "mike", "mike@example.com", h.ids[0]},
			{recovery.ResetRequest{Username: "weiss"}, "weiss", "weiss@example.com", h.ids[1]},
			{recovery.ResetRequest{Username: "BillyBob"}, "BillyBob", "BillyBob@Example.com", h.ids[2]},
			{recovery.ResetRequest{Email: "Mike@EXAMPLE.com"}, "mike", "mike@example.com", h.ids[0]},
			{recovery.ResetRequest{Email: "BillyBob@Example.com "}, "BillyBob", "BillyBob@Example.com", h.ids[2]},
		} {
			mails := s.ask(t, c.request)
			is.Equal(len(mails), 1)
			is.Equal(strings.TrimRight(mails[0].To, " "), c.to) // the address on file
			password := fmt.Sprintf("Correct-Horse-%d!", i)
			a, err := s.service.CompleteReset(t.Context(), recovery.CompleteRequest{Token: mails[0].Resets[0].Token.Reveal(), Password: password})
			is.NoErr(err)
			is.Equal(strings.TrimRight(a.ID, " "), c.id)
			set := texts(t, s.db, databases.Bind(s.dialect, "SELECT username FROM users WHERE password_hash = ?"), "hash of "+password)
			is.Equal(len(set), 1)
			is.Equal(strings.TrimRight(set[0], " "), c.name) // this account's password and no other's
			notices := s.ask(t)
			is.Equal(len(notices), 1)
			is.Equal(notices[0].Kind, recovery.MessagePasswordChanged)
		}

		// A text that the column cannot hold is no failure, and nobody's ID.
		for _, text := range []string{"1 OR 1=1", h.ids[0] + "x", "9" + strings.Repeat("0", 40), "ｍike", "á", "-", strings.ToUpper(h.ids[0]) + " "} {
			for _, by := range []recovery.IdentifierKind{recovery.ByID, recovery.ByUsername, recovery.ByEmail} {
				accounts, err := s.store.FindAccounts(t.Context(), recovery.AccountQuery{By: by, Typed: text, Canonical: text, Max: 2})
				is.NoErr(err)
				is.True(len(accounts) == 0 || by != recovery.ByID)
			}
		}
	})
}

// Tenants that differ in one byte are different, though the column says that they are equal. Each
// finds its own account, even with Max 1, and none finds another's.
func TestTenantsOfHostileColumnsAreApart(t *testing.T) {
	none := []string{"", "ACmE", "acme\u00a0", " acme", "ａcme", "acm\u212a", "acme\u200b", "acm", "acm_", "%", "acme.", "a'c\\me", "日本"}
	for _, stored := range [][3]string{{"acme", "Acme", "acm\u00e9"}, {"acme ", "acme", "ACME"}} {
		onHostileColumns(t, func(t *testing.T, h hostile) {
			if stored[0] == "acme " && strings.HasPrefix(strings.ToUpper(h.text), "CHAR") {
				t.Skip("the column keeps no space at the end")
			}
			is := is.New(t)
			s := newSite(t, h)
			for i, tenant := range stored {
				is.NoErr(spy.Err(s.db.Exec(databases.Bind(s.dialect, "UPDATE users SET tenant = ?, username = ?, email = ? WHERE id = ?"),
					tenant, "mike", "mike@example.com", h.ids[i])))
			}
			find := func(tenant, id string) (tenants []string) {
				for by, text := range map[recovery.IdentifierKind]string{
					recovery.ByUsername: "mike", recovery.ByEmail: "mike@example.com", recovery.ByID: id,
				} {
					found, err := s.store.FindAccounts(t.Context(), recovery.AccountQuery{Tenant: tenant, By: by, Typed: text, Canonical: text, Max: 1})
					is.NoErr(err)
					for _, a := range found {
						tenants = append(tenants, a.Tenant)
					}
				}
				return tenants
			}
			for i, tenant := range stored {
				is.Equal(find(tenant, h.ids[i]), []string{tenant, tenant, tenant})
				is.Equal(len(find(tenant, h.ids[(i+1)%3])), 2) // but another's ID is nobody's
			}
			for _, tenant := range none {
				is.Equal(len(find(tenant, h.ids[0])), 0)
			}
		})
	}
}
