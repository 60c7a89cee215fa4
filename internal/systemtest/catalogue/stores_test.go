package catalogue

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/memstore"
	"example.com/recovery/store/sqlstore"
	"example.com/recovery/store/storetest"
)

// A ground is an empty store, with the application's access to its accounts.
type ground struct {
	storetest.Harness
	db      *sql.DB // nil for memstore
	dialect sqlstore.Dialect
}

// A kind is a kind of store.
type kind struct {
	name  string
	empty func(t *testing.T) ground // returns a store without any rows
}

var kinds = []kind{
	{"memstore", func(*testing.T) ground { return onMemory() }},
	{"SQLite", onServer(sqlstore.SQLite)},
	{"PostgreSQL", onServer(sqlstore.PostgreSQL)},
	{"MariaDB", onServer(sqlstore.MySQL)},
}

func onMemory() ground {
	users := memstore.New()
	return ground{Harness: storetest.Harness{
		Store:        users,
		Put:          func(a recovery.Account, hash string) error { users.Put(a, hash); return nil },
		Remove:       func(id string) error { users.Remove(id); return nil },
		PasswordHash: func(id string) (string, error) { hash, _ := users.PasswordHash(id); return hash, nil },
		Dump:         func() (string, error) { return users.Dump(), nil },
	}}
}

var opened sync.Map // of grounds by their dialect

// onServer has one database for all tests, and empties it for each. Commits need not reach the
// disk, because no test of this package cuts the power.
func onServer(d sqlstore.Dialect) func(t *testing.T) ground {
	return func(t *testing.T) ground {
		t.Helper()
		if g, ok := opened.Load(d); ok {
			g := g.(ground)
			databases.Empty(t, g.db)
			return g
		}
		server := serverOf(d)
		place := server.Place
		server.Place = func(t testing.TB) databases.Place {
			if d == sqlstore.PostgreSQL {
				return databases.NewPostgres(t, "pgx", map[string]string{"synchronous_commit": "off"})
			}
			p := place(t)
			p.DSN = strings.NewReplacer("synchronous(FULL)", "synchronous(OFF)", "_synchronous=FULL", "_synchronous=OFF").Replace(p.DSN)
			return p
		}
		store, db := databases.Open(lasting{t}, server)
		g := ground{databases.HarnessOn(d, store, db), db, d}
		opened.Store(d, g)
		return g
	}
}

func serverOf(d sqlstore.Dialect) databases.Server {
	i := slices.IndexFunc(databases.Servers, func(s databases.Server) bool { return s.Dialect == d && !s.Again })
	return databases.Servers[i]
}

// A lasting is a testing.TB whose cleanups wait for the end of the package, for what all tests
// share.
type lasting struct{ testing.TB }

var atEnd struct {
	sync.Mutex
	do []func()
}

func (lasting) Cleanup(f func()) {
	atEnd.Lock()
	defer atEnd.Unlock()
	atEnd.do = append(atEnd.do, f)
}

func (lasting) Context() context.Context         { return context.Background() }
func (lasting) Logf(format string, args ...any)  { log.Printf(format, args...) }
func (l lasting) Errorf(format string, a ...any) { l.TB.Errorf(format, a...) }

func (l lasting) TempDir() string {
	dir, err := os.MkdirTemp("", "recovery")
	is.New(l).NoErr(err)
	l.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", strconv.Itoa(len(kinds))) // who waits for a database leaves the processor to others
	code := m.Run()
	for _, f := range slices.Backward(atEnd.do) {
		f()
	}
	if code == 0 && everythingRan() {
		all, err := missed()
		if len(all) > 0 || err != nil {
			fmt.Fprintln(os.Stderr, strings.Join(all, "\n"), err)
			code = 1
		}
	}
	os.Exit(code)
}

// A traceStore records the calls that it passes on, except Now and Stats, which are called now and
// then whoever is meant. An error of before is the call's.
type traceStore struct {
	spy.Store

	mu     sync.Mutex
	trace  []string
	last   string // ID of the request that was added last
	before func(method string) error
}

func newTraceStore(store recovery.Store) *traceStore {
	s := &traceStore{}
	s.Store = spy.On(store, s.around)
	return s
}

// around records a call, except what the caller typed and what is random.
func (s *traceStore) around(ctx context.Context, method string, arg any, call func(context.Context) error) error {
	if method == "Now" || method == "Stats" {
		return call(ctx)
	}
	detail, id := "", ""
	if e, ok := arg.(spy.Enqueue); ok {
		j := e.Job
		id = j.ID
		detail = fmt.Sprintf(" id:%d kind:%s by:%s identifier:%d account:%q tenant:%q code:%v portal:%q charges:%d",
			len(j.ID), j.Kind, j.By, len(j.Identifier), j.AccountID, j.Tenant, j.Ticket != recovery.Digest{}, j.Portal, len(e.Charges))
	}
	s.mu.Lock()
	s.trace = append(s.trace, method+detail)
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(method); err != nil {
			return err
		}
	}
	if id != "" {
		s.mu.Lock()
		s.last = id
		s.mu.Unlock()
	}
	return call(ctx)
}

// added returns the ID of the request that was added last.
func (s *traceStore) added() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// fail makes each call return the error of f from now on, if there is one; nil ends that.
func (s *traceStore) fail(f func(method string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// calls returns and forgets what was recorded.
func (s *traceStore) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	trace := s.trace
	s.trace = nil
	return trace
}
