package main

import (
	"database/sql"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/matryer/is"
)

// wants asks both /healthz and /readyz.
func (p *process) wants(ready int, word string) {
	p.t.Helper()
	is := is.New(p.t)
	status, body := p.do("GET", "/healthz", "")
	is.Equal(status, http.StatusOK) // the process is alive, whatever the database does
	is.Equal(body, "ok\n")
	status, body = p.do("GET", "/readyz", "")
	is.Equal(status, ready)
	is.Equal(body, word)
}

func TestReadyInMemory(t *testing.T) {
	p := start(t)
	p.wants(http.StatusOK, "ok\n")
	p.stop(syscall.SIGTERM)
}

func TestNotReadyWhenATableIsGone(t *testing.T) {
	for _, table := range []string{"recovery_jobs", "recovery_resets", "recovery_limits", "example_users"} {
		t.Run(table, func(t *testing.T) {
			is := is.New(t)
			path := filepath.Join(t.TempDir(), "server.db")
			p := start(t, "-db", "sqlite:"+path, "-worker=false")
			p.wants(http.StatusOK, "ok\n")
			db, err := sql.Open("sqlite", path)
			is.NoErr(err)
			defer db.Close()
			_, err = db.Exec("ALTER TABLE " + table + " RENAME TO gone")
			is.NoErr(err)
			p.wants(http.StatusServiceUnavailable, "the table "+table+" cannot be read\n")
			_, err = db.Exec("ALTER TABLE gone RENAME TO " + table)
			is.NoErr(err)
			p.wants(http.StatusOK, "ok\n")
			p.stop(syscall.SIGTERM)
		})
	}
}

// A server that is started on it says what is wrong and what to do, and ends.
func TestNoStartWhenATableIsGone(t *testing.T) {
	is := is.New(t)
	where := "sqlite:" + filepath.Join(t.TempDir(), "server.db")
	db, _, err := open(t.Context(), where)
	is.NoErr(err)
	_, err = db.(*relational).db.Exec("DROP TABLE recovery_jobs")
	is.NoErr(err)
	is.NoErr(db.close())
	err = run(t.Context(), []string{"-addr", "127.0.0.1:0", "-db", where}, io.Discard, io.Discard)
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "the table recovery_jobs is missing"))
	is.True(strings.Contains(err.Error(), "DELETE FROM recovery_migrations and start again"))
}

func TestNotReadyWhileTheDatabaseHangs(t *testing.T) {
	is := is.New(t)
	u, err := url.Parse(newDatabase(t, postgresServer))
	is.NoErr(err)
	between := newProxy(t, u.Host)
	u.Host = between.Addr().String()
	p := start(t, "-db", u.String(), "-worker=false")
	p.wants(http.StatusOK, "ok\n")
	between.hang(true)
	for range 2 { // on a connection that was cut, and on a new one
		p.wants(http.StatusServiceUnavailable, "the database does not answer\n")
	}
	between.hang(false)
	p.wants(http.StatusOK, "ok\n")
	p.stop(syscall.SIGTERM)
}

// A proxy stands before a database. While it hangs, it cuts connections, takes new ones and says
// nothing.
type proxy struct {
	net.Listener
	mu    sync.Mutex
	hangs bool
	conns []net.Conn
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.New(t).NoErr(err)
	p := &proxy{Listener: l}
	t.Cleanup(func() {
		_ = l.Close()
		p.hang(true)
	})
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			if !p.hangs {
				go func() { _, _ = io.Copy(client, server) }()
				go func() { _, _ = io.Copy(server, client) }()
			}
			p.mu.Unlock()
		}
	}()
	return p
}

func (p *proxy) hang(hangs bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hangs = hangs
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}
