package dbtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/mailer/mailertest"
)

// S16: if the key is tenant and ID, two rows may share an ID. The application is refused at start.
// If it starts nonetheless nobody's password is set, and the error says why.
func TestAttack_S16_OneIDInTwoTenants(t *testing.T) {
	databases.OnEach(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		db := s.Place(t).Open(t)
		text := databases.TextType(s.Dialect)
		execute(t, db, strings.Replace(fmt.Sprintf(databases.CreateUsers, text, text), "PRIMARY KEY", "NOT NULL", 1))
		store := databases.StoreOn(t, s.Dialect, db, "")
		err := store.Migrate(t.Context())
		is.True(err != nil && strings.Contains(err.Error(), `Table.ID: the column "id" is not unique by itself`))
		add := func(tenant string) {
			is.NoErr(spy.Err(db.Exec(databases.Bind(s.Dialect, `INSERT INTO users
				(id, tenant, username, email, password_hash, locale, status, local_password, verified_at)
				VALUES ('1', ?, 'alice', 'alice@example.com', ?, '', 'active', 1, 1)`), tenant, "hash of "+tenant)))
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
		is.True(strings.Contains(fmt.Sprint(err), "several rows of the user table share an ID"))
		var untouched int
		is.NoErr(db.QueryRow("SELECT COUNT(*) FROM users WHERE password_hash = CONCAT('hash of ', tenant)").Scan(&untouched))
		is.Equal(untouched, 2)
	})
}
