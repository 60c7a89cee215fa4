package dbtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

// The connection is cut after the n-th byte of a completion, in each direction. Whatever n is, the
// reset is done or not done, the error says which or that it is unknown, and repeating the call
// succeeds.
//
// RECOVERY_CUT_STEP is by how much n grows: 48 if it is not set, 1 for every byte and for the
// second driver of a server too. The last bytes, which have the COMMIT, are all tested.
func TestAttack_S45_CutConnection(t *testing.T) {
	step := fromEnv(t, "RECOVERY_CUT_STEP", 48)
	const last = 48
	databases.OnEachOf(t, big, func(t *testing.T, s databases.Server) {
		if s.Again && step > 1 {
			t.Skip("it is tested with RECOVERY_CUT_STEP=1")
		}
		is := is.New(t)
		p := s.Place(t)
		c := &cutter{t: t, dialect: s.Dialect, db: p.Open(t), proxy: newProxy(t)}
		c.direct = databases.OpenOn(t, s.Dialect, c.db, databases.TextType(s.Dialect))
		c.open = c.proxy.before(t, p)
		tried := 0
		for _, up := range []bool{true, false} {
			total := c.complete(up, -1)
			is.True(total > 500) // a completion has several statements
			for n := 0; n <= total; {
				c.complete(up, n)
				tried++
				if n += step; n > total-last {
					n += 1 - step
				}
			}
		}
		t.Logf("%d cuts: %d were told done, %d unknown (%d of them done), %d not done", tried, c.done, c.unknown, c.unknownDone, c.failed)
		is.True(c.unknown > 0 && c.failed > 0) // the cuts came before and within the COMMIT
	})
}

// The answer to a COMMIT never comes. Some drivers wait for it whatever their context says; the
// caller does not, and the requests of others go on.
func TestSilentConnectionStopsNobody(t *testing.T) {
	databases.OnEachOf(t, big, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		p := newProxy(t)
		place, _ := databases.Prepared(t, s)
		db, err := p.before(t, place)()
		is.NoErr(err)
		t.Cleanup(func() { _ = db.Close() })
		store := databases.StoreOn(t, s.Dialect, db, "")
		enqueue := func(timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			return store.Enqueue(ctx, request(t0), recovery.Charges{{Key: recovery.Digest{1}, Limit: recovery.Limit{Burst: 9, Every: time.Second}}})
		}
		is.NoErr(enqueue(time.Minute))
		silent := make(chan struct{})
		defer close(silent)
		p.mu.Lock()
		p.silent = silent
		p.mu.Unlock()
		began := time.Now()
		is.True(errors.Is(enqueue(time.Second), sqlstore.ErrUnknownOutcome))
		is.True(time.Since(began) < 10*time.Second)
		is.NoErr(enqueue(time.Minute))
	})
}

// A cutter completes one reset after another through the proxy.
type cutter struct {
	t       *testing.T
	dialect sqlstore.Dialect
	db      *sql.DB // past the proxy
	direct  *sqlstore.Store
	proxy   *proxy
	open    func() (*sql.DB, error) // through the proxy
	serial  byte
	round   byte

	done, unknown, unknownDone, failed int
}

// complete redeems a new token over a new connection that is cut after n bytes, or not at all if n
// is negative, and returns how many bytes went the given way.
func (c *cutter) complete(up bool, n int) int {
	c.t.Helper()
	is := is.New(c.t)
	ctx := c.t.Context()
	execute(c.t, c.db, "DELETE FROM recovery_jobs", "DELETE FROM recovery_resets")
	account := recovery.Account{ID: "1", Username: "alice", Email: "alice@example.com", Active: true, HasPassword: true, EmailVerified: true}
	is.NoErr(databases.Put(c.db, c.dialect, account, "old"))
	now := time.Now().Truncate(time.Microsecond).UTC()
	if c.serial++; c.serial == 0 {
		c.round++
	}
	digest := recovery.Digest{1, c.round, c.serial}
	mint(c.t, c.direct, recovery.Reset{
		Digest: digest, AccountID: "1", Version: recovery.NewVersion("old", account.Email),
		JobID: "request", RequestedAt: now, ExpiresAt: now.Add(time.Hour),
	})
	completion := func(hash string) recovery.Redemption {
		return recovery.Redemption{Digest: digest, At: now, PasswordHash: hash, Add: []recovery.Job{{
			ID: "notice of " + hash, Kind: recovery.JobNotice, By: recovery.ByEmail, Identifier: account.Email,
			AccountID: "1", RequestedAt: now, Priority: now,
		}}}
	}

	db, err := c.open()
	is.NoErr(err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	is.NoErr(db.Ping())
	store := databases.StoreOn(c.t, c.dialect, db, "")
	c.proxy.cutAfter(up, n)
	_, first := store.Redeem(ctx, completion("first"))
	passed := c.proxy.stop()
	seen := c.state(digest)

	_, second := store.Redeem(ctx, completion("second"))
	again := c.state(digest)
	const undone, done = "live, old, no notice", "used, first, notice of first"
	legal := seen == undone || seen == done
	switch {
	case second == nil:
		legal = legal && again == "used, second, notice of second"
	case errors.Is(second, recovery.ErrInvalidToken):
		legal = legal && again == done
	default:
		legal = false
	}
	switch {
	case first == nil:
		c.done++
		legal = legal && second != nil // it is not done twice
	case errors.Is(first, sqlstore.ErrUnknownOutcome):
		c.unknown++
		if second != nil {
			c.unknownDone++
		}
	default:
		c.failed++
		legal = legal && second == nil && !errors.Is(first, recovery.ErrInvalidToken) // it says that nothing was done
	}
	if !legal {
		c.t.Fatalf("The connection was cut after byte %d (to the server: %v).\n"+
			"\tThe first call: %v\n\tthen: %s\n\tthe second call: %v\n\tthen: %s", n, up, first, seen, second, again)
	}
	return passed
}

func (c *cutter) state(digest recovery.Digest) string {
	c.t.Helper()
	is := is.New(c.t)
	tx, err := c.db.BeginTx(c.t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	is.NoErr(err)
	defer func() { _ = tx.Rollback() }()
	var ended, hash string
	is.NoErr(tx.QueryRow(databases.Bind(c.dialect, "SELECT ended FROM recovery_resets WHERE digest = ?"), digest[:]).Scan(&ended))
	is.NoErr(tx.QueryRow("SELECT password_hash FROM users").Scan(&hash))
	notices := ""
	is.NoErr(each(tx, "SELECT id FROM recovery_jobs", func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		notices += ", " + id
		return err
	}))
	if ended == "" {
		ended = "live"
	}
	if notices == "" {
		notices = ", no notice"
	}
	return ended + ", " + hash + notices
}

// A proxy stands before a database server and cuts its connections when it is told to.
type proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	running sync.WaitGroup
	up      bool // which way is counted: to the server, or back
	armed   bool
	left    int // bytes until the cut; it never comes if this is negative
	passed  int
	last    bool          // which way the last bytes went
	silent  chan struct{} // if it is there, the answer to the next COMMIT waits until it is closed
	muted   bool
	turns   int // how often the client spoke after the server did
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	is.New(t).NoErr(err)
	p := &proxy{listener: l}
	t.Cleanup(func() {
		_ = l.Close()
		p.running.Wait()
	})
	return p
}

// before starts the proxy before a server and returns a function that connects through it.
func (p *proxy) before(t *testing.T, server databases.Place) (open func() (*sql.DB, error)) {
	t.Helper()
	is := is.New(t)
	if server.Driver == "mysql" {
		config, err := mysql.ParseDSN(server.DSN)
		is.NoErr(err)
		config.Logger = &mysql.NopLogger{} // it would tell of every cut
		p.target, config.Addr = config.Addr, p.listener.Addr().String()
		connector, err := mysql.NewConnector(config)
		is.NoErr(err)
		open = func() (*sql.DB, error) { return sql.OpenDB(connector), nil }
	} else {
		u, err := url.Parse(server.DSN)
		is.NoErr(err)
		p.target, u.Host = u.Host, p.listener.Addr().String()
		open = func() (*sql.DB, error) { return sql.Open(server.Driver, u.String()) }
	}
	p.running.Go(func() {
		for {
			client, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.serve(client) })
		}
	})
	return open
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client, true) })
	both.Go(func() { p.pass(client, server, false) })
	both.Wait()
}

// pass copies one way until either end is closed or the cut comes.
func (p *proxy) pass(to, from net.Conn, up bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err == io.EOF || n == 0 {
			return
		}
		if silent := p.mute(up, buf[:n]); silent != nil {
			<-silent
			return
		}
		n, cut := p.count(up, n)
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
		if cut {
			return
		}
	}
}

// mute returns what the answer to a COMMIT waits for, nil if it need not.
func (p *proxy) mute(up bool, text []byte) (silent chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up && bytes.Contains(bytes.ReplaceAll(bytes.ToUpper(text), []byte("COMMITTED"), nil), []byte("COMMIT")) {
		p.muted = p.silent != nil
	}
	if !up && p.muted {
		silent, p.silent, p.muted = p.silent, nil, false
	}
	return silent
}

// count returns how many of n bytes may pass, and whether the connection ends then.
func (p *proxy) count(up bool, n int) (pass int, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up && !p.last {
		p.turns++
	}
	p.last = up
	if !p.armed || up != p.up {
		return n, false
	}
	if p.left >= 0 && n > p.left {
		n, cut = p.left, true
		p.armed = false // the next connection is whole
	}
	if p.left >= 0 {
		p.left -= n
	}
	p.passed += n
	return n, cut
}

func (p *proxy) cutAfter(up bool, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up, p.armed, p.left, p.passed = up, true, n, 0
}

func (p *proxy) stop() (passed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	return p.passed
}
