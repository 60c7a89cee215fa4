//go:build unix

package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// A database server is killed in the middle of its work and started again, many times. The
// processes that use it live on. While it is down their calls fail with an error; afterwards they
// go on by themselves, and the promises hold.
//
// RECOVERY_SERVER_KILLS is how often it is killed: 5 times if it is not set.
func TestDatabaseServerKilled(t *testing.T) {
	kills := fromEnv(t, "RECOVERY_SERVER_KILLS", 5)
	for _, s := range []struct {
		name    string
		dialect sqlstore.Dialect
		install func(t *testing.T) *ownServer
	}{
		{"PostgreSQL", sqlstore.PostgreSQL, installPostgres},
		{"MariaDB", sqlstore.MySQL, installMariaDB},
	} {
		t.Run(s.name, func(t *testing.T) {
			own := s.install(t)
			own.start(t)
			killAndRestart(t, s.dialect, own, kills)
		})
	}
}

func killAndRestart(t *testing.T, d sqlstore.Dialect, own *ownServer, kills int) {
	t.Helper()
	is := is.New(t)
	db := own.open(t)
	prepareWork(t, d, db)
	dir := t.TempDir()
	l := ledger{Mails: filepath.Join(dir, "mails"), Acks: filepath.Join(dir, "acks")}
	var run, later atomic.Int64
	w := newWorkload(t, db, workOptions{
		Dialect: d, Ledger: l,
		Run:    func() int { return int(run.Load()) },
		Refuse: func() bool { return later.Load() == 0 && rand.IntN(8) == 0 },
		Now:    func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
	})
	promised := &promises{db: own.open(t), dialect: d, ledger: l}

	work := startWork(t, w)
	for range kills {
		work.progress(t)
		time.Sleep(rand.N(300 * time.Millisecond)) // any instant will do
		own.process.kill()
		run.Add(1)
		w.forget()
		is.True(w.ask(t.Context()) != nil) // nothing is accepted while the database is away
		for _, m := range w.latest() {
			err := w.redeem(t.Context(), m)
			is.True(err != nil && !errors.Is(err, recovery.ErrInvalidToken)) // no token is refused for it
		}
		run.Add(1)
		own.start(t)
		w.forget()
		work.progress(t) // everything works again

		work.pause.Lock()
		seen := promised.check(t)
		work.pause.Unlock()
		is.True(seen.repeated <= kills*workPlaces) // at most the leased jobs are mailed again
		if t.Failed() {
			return
		}
	}
	work.stop()
	run.Add(1)
	later.Store(int64(time.Hour)) // leased jobs and retries are due
	// Requests without a mail come back like those that were refused before.
	is.NoErr(w.drain(t.Context(), func() { later.Add(int64(5 * time.Minute)) }))
	seen := promised.check(t)
	is.Equal(seen.waiting, 0) // the queue is empty in the end
	is.True(work.failed.Load() > 0)
	is.True(seen.left <= kills*workPlaces)
	t.Logf("%d kills: %d calls failed, %+v", kills, work.failed.Load(), seen)
}

// A shift runs a workload, whatever fails.
type shift struct {
	pause  sync.RWMutex // is held for reading by every piece of work
	failed atomic.Int64
	work   *workload
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

func startWork(t *testing.T, w *workload) *shift {
	ctx, cancel := context.WithCancel(t.Context())
	s := &shift{work: w, cancel: cancel}
	for _, work := range []func(context.Context) error{w.ask, w.complete, w.deliver} {
		s.ended.Go(func() {
			for ctx.Err() == nil {
				s.pause.RLock()
				if work(context.WithoutCancel(ctx)) != nil {
					s.failed.Add(1)
					time.Sleep(time.Millisecond)
				}
				s.pause.RUnlock()
			}
		})
	}
	t.Cleanup(s.stop)
	return s
}

func (s *shift) stop() {
	s.cancel()
	s.ended.Wait()
}

// progress waits until a request is accepted and a token redeemed, and so mailed, from now on.
func (s *shift) progress(t *testing.T) {
	t.Helper()
	asked, redeemed := s.work.asked.Load(), s.work.redeemed.Load()
	eventually(t, "the work to go on", func() bool { return s.work.asked.Load() > asked && s.work.redeemed.Load() > redeemed })
}

// An ownServer is a database server of the test's own, which can be killed and started again.
type ownServer struct {
	name    string
	url     string // PostgreSQL's
	open    func(t *testing.T) *sql.DB
	command func() *exec.Cmd
	process *process
}

// start returns when the server answers.
func (s *ownServer) start(t *testing.T) {
	t.Helper()
	db := s.open(t)
	defer db.Close()
	s.process = start(t, s.command())
	eventually(t, s.name+" to answer", func() bool {
		if !s.process.running() {
			t.Fatalf("%s ended: %s", s.name, &s.process.output)
		}
		return databases.Ping(db) == nil
	})
}

// installPostgres makes a server of the installed version.
func installPostgres(t *testing.T) *ownServer {
	t.Helper()
	const binaries = "/usr/lib/postgresql/*/bin/"
	return newPostgres(t, program(t, binaries+"initdb", "initdb"), program(t, binaries+"postgres", "postgres"))
}

// newPostgres makes a server of the given programs.
func newPostgres(t *testing.T, initdb, postgres string) *ownServer {
	t.Helper()
	id := identityOf(t, "postgres", "nobody")
	dir := id.dir(t)
	id.run(t, dir, initdb, "-D", dir, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
	addr := freeAddr(t)
	url := "postgres://postgres@" + addr + "/postgres?sslmode=disable"
	return &ownServer{
		name: "PostgreSQL",
		url:  url,
		open: func(t *testing.T) *sql.DB { return databases.OpenDB(t, "pgx", url) },
		command: func() *exec.Cmd {
			return id.command(dir, postgres, "-D", dir, "-p", portOf(t, addr), "-c", "listen_addresses=127.0.0.1",
				"-c", "unix_socket_directories=", "-c", "fsync=on", "-c", "synchronous_commit=on")
		},
	}
}

func installMariaDB(t *testing.T) *ownServer {
	t.Helper()
	m := newMariaDB(t)
	m.install(t)
	create := filepath.Join(m.dir, "create.sql")
	is.New(t).NoErr(os.WriteFile(create, []byte("CREATE DATABASE IF NOT EXISTS work;\n"), 0o644))
	return &ownServer{
		name:    "MariaDB",
		open:    func(t *testing.T) *sql.DB { return openConfig(t, m.config("work")) },
		command: func() *exec.Cmd { return m.command(t, "--init-file="+create) },
	}
}

// A mariaDB is a place for a server of MariaDB.
type mariaDB struct {
	id        identity
	dir, addr string
	program   string
}

func newMariaDB(t *testing.T) *mariaDB {
	t.Helper()
	m := &mariaDB{id: identityOf(t, "mysql", "nobody"), addr: freeAddr(t), program: program(t, "mariadbd", "/usr/sbin/mariadbd")}
	m.dir = m.id.dir(t)
	m.id.run(t, m.dir, "mkdir", m.data())
	return m
}

func (m *mariaDB) data() string { return filepath.Join(m.dir, "data") }

// install fills the data directory.
func (m *mariaDB) install(t *testing.T) {
	t.Helper()
	m.id.run(t, m.dir, program(t, "mariadb-install-db"), "--no-defaults", "--datadir="+m.data(),
		"--auth-root-authentication-method=normal", "--skip-test-db")
}

func (m *mariaDB) command(t *testing.T, options ...string) *exec.Cmd {
	return m.id.command(m.dir, m.program, append([]string{
		"--no-defaults", "--datadir=" + m.data(), "--bind-address=127.0.0.1", "--port=" + portOf(t, m.addr),
		"--socket=" + filepath.Join(m.dir, "socket"), "--pid-file=" + filepath.Join(m.dir, "pid"), "--skip-name-resolve",
		"--innodb-flush-log-at-trx-commit=1",
	}, options...)...)
}

// config is how to connect to a database of the server. The driver says nothing of lost
// connections.
func (m *mariaDB) config(database string) *mysql.Config {
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr, config.DBName = "root", "tcp", m.addr, database
	config.Logger = &mysql.NopLogger{}
	return config
}

func openConfig(t *testing.T, config *mysql.Config) *sql.DB {
	t.Helper()
	connector, err := mysql.NewConnector(config)
	is.New(t).NoErr(err)
	return databases.Limited(t, sql.OpenDB(connector))
}
