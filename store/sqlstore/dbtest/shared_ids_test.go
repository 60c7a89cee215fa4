package dbtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/sqlstore/dbtest/databases"
)

// S16: where the key is of tenant and ID, two rows may have one ID. Nobody's password is set then,
// and the error says why.
func TestAttack_S16_OneIDInTwoTenants(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		db := s.Place(t).Open(t)
		text := databases.TextType(s.Dialect)
		_, err := db.Exec(strings.Replace(fmt.Sprintf(databases.CreateUsers, text, text), "PRIMARY KEY", "NOT NULL", 1))
		is.NoErr(err)
		store := databases.StoreOn(t, s.Dialect, db, "")
		is.NoErr(store.Migrate(t.Context()))
		add := func(tenant string) {
			_, err := db.Exec(databases.Bind(s.Dialect, `INSERT INTO users
				(id, tenant, username, email, password_hash, locale, status, local_password, verified_at)
				VALUES ('1', ?, 'alice', 'alice@example.com', ?, '', 'active', 1, 1)`), tenant, "hash of "+tenant)
			is.NoErr(err)
		}
		add("acme")
		mail := &mailertest.Recorder{}
		svc, err := recovery.New(store, mail, nil)
		is.NoErr(err)
		_, err = svc.RequestReset(t.Context(), recovery.ResetRequest{Tenant: "acme", Username: "alice"})
		is.NoErr(err)
		_, err = svc.Deliver(t.Context())
		is.NoErr(err)
		m, ok := mail.Last()
		is.True(ok)
		add("globex")
		_, err = svc.CompleteReset(t.Context(), recovery.CompleteRequest{Token: m.Resets[0].Token.Reveal(), Password: "New-passw0rd-2"})
		is.True(strings.Contains(fmt.Sprint(err), "several rows of the user table have one ID"))
		var untouched int
		is.NoErr(db.QueryRow("SELECT COUNT(*) FROM users WHERE password_hash = CONCAT('hash of ', tenant)").Scan(&untouched))
		is.Equal(untouched, 2)
	})
}

// A column that does not exist is an error, also on SQLite, which takes a quoted name that it does
// not know for a text.
func TestColumnsThatDoNotExist(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		db := s.Place(t).Open(t)
		databases.OpenOn(t, s.Dialect, db, databases.TextType(s.Dialect))
		for _, table := range []sqlstore.Table{
			{Name: "users", ID: "id", Tenant: "acme", Username: "username", Email: "email", PasswordHash: "password_hash"},
			{Name: "users", ID: "id", Username: "login", Email: "email", PasswordHash: "password_hash"},
			{Name: "users", ID: "id", Username: "username", Email: "email", PasswordHash: "password_hash", Locale: "language"},
		} {
			is := is.New(t)
			accounts, err := table.Accounts(s.Dialect)
			is.NoErr(err)
			store, err := sqlstore.New(db, s.Dialect, accounts, nil)
			is.NoErr(err)
			tenant := ""
			if table.Tenant != "" {
				tenant = "acme"
			}
			_, err = store.FindAccounts(t.Context(), recovery.AccountQuery{Tenant: tenant, By: recovery.ByUsername, Typed: "alice", Canonical: "alice", Max: 9})
			is.True(err != nil)
		}
	})
}
