//go:build unix

package dbtest

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/storetest"
)

// poolSize is how many sessions the pooler keeps: fewer than the connections that one test opens,
// so that the transactions of one connection run in many sessions and many connections share one.
const poolSize = 4

// A pooler is a pgbouncer in transaction mode before PostgreSQL.
type pooler struct{ addr string }

// startPooler starts a pgbouncer that passes on every connection to the server of the place, as its
// user.
func startPooler(t *testing.T, server databases.Place) *pooler {
	t.Helper()
	is := is.New(t)
	program := program(t, "pgbouncer", "/usr/sbin/pgbouncer")
	u, err := url.Parse(server.DSN)
	is.NoErr(err)
	target := fmt.Sprintf("* = host=%s port=%s user=%s",
		cmp.Or(u.Hostname(), "127.0.0.1"), cmp.Or(u.Port(), "5432"), cmp.Or(u.User.Username(), "postgres"))
	if password, ok := u.User.Password(); ok {
		target += " password='" + strings.ReplaceAll(password, "'", "''") + "'"
	}
	addr := freeAddr(t)
	id := identityOf(t, "nobody", "postgres")
	dir := id.dir(t)
	config := filepath.Join(dir, "pgbouncer.ini")
	is.NoErr(os.WriteFile(config, []byte(strings.Join([]string{
		"[databases]", target,
		"[pgbouncer]", "listen_addr = 127.0.0.1", "listen_port = " + portOf(t, addr), "unix_socket_dir =", "auth_type = any",
		"pool_mode = transaction", fmt.Sprint("default_pool_size = ", poolSize), "max_client_conn = 1000", "",
	}, "\n")), 0o644))
	start(t, id.command(dir, program, "-q", config))
	p := &pooler{addr}
	db := p.before(t, server).Open(t)
	eventually(t, "pgbouncer to answer", func() bool { return databases.Ping(db) == nil })
	return p
}

// before returns how to connect to the database of a place through the pooler, as the package
// comment of sqlstore says.
func (p *pooler) before(t *testing.T, server databases.Place) databases.Place {
	t.Helper()
	u, err := url.Parse(server.DSN)
	is.New(t).NoErr(err)
	u.Host = p.addr
	query := u.Query()
	if server.Driver == "pgx" {
		query.Set("default_query_exec_mode", "exec")
	}
	u.RawQuery = query.Encode()
	return databases.Place{Driver: server.Driver, DSN: u.String()}
}

func TestStoreBehindPgbouncer(t *testing.T) {
	for _, driver := range []string{"pgx", "postgres"} {
		t.Run(driver, func(t *testing.T) {
			direct := databases.NewPostgres(t, driver, nil)
			pooled := startPooler(t, direct).before(t, direct)
			db := direct.Open(t)
			t.Run("ten instances migrate", func(t *testing.T) { migrateAtOnce(t, sqlstore.PostgreSQL, db, pooled) })
			is.New(t).NoErr(databases.StoreOn(t, sqlstore.PostgreSQL, db, "").Migrate(t.Context()))
			store := databases.StoreOn(t, sqlstore.PostgreSQL, pooled.Open(t), "")
			t.Run("one token many racers", func(t *testing.T) {
				race(t, sqlstore.PostgreSQL, db, max(1, fromEnv(t, "RECOVERY_RACE_TOKENS", defaultRaceTokens)/50), store)
			})
			t.Run("suite", func(t *testing.T) {
				storetest.Run(t, func(t *testing.T) storetest.Harness {
					databases.Empty(t, db)
					return databases.HarnessOn(sqlstore.PostgreSQL, store, db)
				})
			})
		})
	}
}
