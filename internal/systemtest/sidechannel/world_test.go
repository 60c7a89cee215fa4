package sidechannel

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/mailer/mailertest"
	"example.com/recovery/store/memstore"
	"example.com/recovery/store/sqlstore"
)

// A backend is a kind of store.
type backend struct {
	name string
	open func(t testing.TB) opened
}

// opened is an empty store, and the application's access to its accounts.
type opened struct {
	store   recovery.Store
	put     func(recovery.Account, string) error
	drop    func(id string) error
	dump    func() (string, error)
	db      *sql.DB // nil for memstore
	dialect sqlstore.Dialect
}

func openMemory(testing.TB) opened {
	s := memstore.New()
	return opened{
		store: s,
		put:   func(a recovery.Account, hash string) error { s.Put(a, hash); return nil },
		drop:  func(id string) error { s.Remove(id); return nil },
		dump:  func() (string, error) { return s.Dump(), nil },
	}
}

// backends are all stores, with every driver. Their writes need not reach the disk to be compared.
// That saves time, and in measurements keeps noise from hiding differences.
func backends() []backend {
	sqlite := func(t testing.TB) databases.Place {
		place := databases.NewSQLite(t)
		place.DSN = strings.Replace(place.DSN, "synchronous(FULL)", "synchronous(OFF)", 1)
		return place
	}
	postgres := func(driver string) func(testing.TB) databases.Place {
		return func(t testing.TB) databases.Place {
			return databases.NewPostgres(t, driver, map[string]string{"synchronous_commit": "off"})
		}
	}
	all := []backend{{"memstore", openMemory}}
	for _, server := range []databases.Server{
		{Name: "SQLite", Dialect: sqlstore.SQLite, Place: sqlite},
		{Name: "PostgreSQL", Dialect: sqlstore.PostgreSQL, Place: postgres("pgx")},
		{Name: "PostgreSQL with lib_pq", Dialect: sqlstore.PostgreSQL, Place: postgres("postgres")},
		{Name: "MariaDB", Dialect: sqlstore.MySQL, Place: func(t testing.TB) databases.Place { return databases.NewMySQL(t, nil) }},
	} {
		all = append(all, backend{server.Name, func(t testing.TB) opened {
			store, db := databases.Open(t, server)
			h := databases.HarnessOn(server.Dialect, store, db)
			return opened{h.Store, h.Put, h.Remove, h.Dump, db, server.Dialect}
		}})
	}
	return all
}

func onEach(t *testing.T, f func(t *testing.T, b backend)) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel() // most of it is waiting for a disk
			f(t, b)
		})
	}
}

const (
	goodPassword = "Correct-h0rse"
	oldHash      = "hash of old"
)

var quiet = slog.New(slog.DiscardHandler)

// A world is a Service on a store, with a clock and a client that stand still until they are moved.
type world struct {
	opened
	t              testing.TB
	is             *is.I
	trace          *traced
	mails          *mailertest.Recorder
	svc            *recovery.Service
	idle           func() // returns when nothing goes on behind the caller's back
	now            time.Time
	who            netip.Addr
	ids            int
	names, clients int // that were used
	handlers       map[string]http.Handler
}

// A leaky wraps a store in one that leaks. It also returns a function that waits for background
// work.
type leaky func(store recovery.Store, mailer recovery.Mailer) (recovery.Store, func())

// newWorld makes a Service. A leak, if there is one, is between the Service and the trace.
func newWorld(t testing.TB, b backend, limits recovery.Limits, l leaky) *world {
	t.Helper()
	w := &world{
		opened: b.open(t), t: t, is: is.New(t), mails: &mailertest.Recorder{}, idle: func() {}, handlers: map[string]http.Handler{},
		now: time.Date(2046, 11, 21, 18, 30, 0, 0, time.UTC), who: netip.MustParseAddr("192.0.2.10"),
	}
	w.trace = newTraced(w.store)
	var store recovery.Store = w.trace
	if l != nil {
		store, w.idle = l(store, w.mails)
	}
	var err error
	w.svc, err = recovery.New(store, w.mails, &recovery.Options{
		Application: "Acme", Limits: limits, Logger: quiet,
		Workers: 1, Tick: 10 * time.Millisecond, // in order, and without much waiting
		Now:     func() time.Time { return w.now },
		Hasher:  recovery.Hasher{Hash: func(password string) (string, error) { return "hash of " + password, nil }},
		Portals: portals,
	})
	w.is.NoErr(err)
	return w
}

// add adds an account as change makes it and returns its ID.
func (w *world) add(username, email string, change func(*recovery.Account)) recovery.Account {
	w.is.Helper()
	w.ids++
	a := recovery.Account{
		ID: fmt.Sprintf("%06d", w.ids), Tenant: tenant, Username: username, Email: email,
		Active: true, HasPassword: true, EmailVerified: true,
	}
	if change != nil {
		change(&a)
	}
	w.is.NoErr(w.put(a, oldHash))
	a.Version = recovery.NewVersion(oldHash, a.Email)
	return a
}

// deliver empties the queue and returns the mails.
func (w *world) deliver() []recovery.Message {
	w.is.Helper()
	w.mails.Reset()
	_, err := w.svc.Deliver(context.Background())
	w.is.NoErr(err)
	return w.mails.Messages()
}

// An observation is everything that could be seen of one call, and everything that it did.
type observation struct {
	answer string // as sent, but the Date and the identifier
	calls  string
	rows   string
}

// observe makes a call and records what can be seen.
func (w *world) observe(call func() string) (o observation) {
	w.is.Helper()
	w.idle()
	before, err := w.dump()
	w.is.NoErr(err)
	w.trace.take()
	o.answer = call()
	w.idle()
	o.calls = w.trace.take()
	after, err := w.dump()
	w.is.NoErr(err)
	o.rows = written(before, after)
	return o
}

// differences names what differs between observations, with both, "" if nothing does.
func (o observation) differences(from observation) (text string) {
	for _, part := range []struct{ name, got, want string }{
		{"answer", o.answer, from.answer}, {"calls", o.calls, from.calls}, {"rows", o.rows, from.rows},
	} {
		if part.got != part.want {
			text += fmt.Sprintf("%s:\n%s\nwant:\n%s\n", part.name, part.got, part.want)
		}
	}
	return text
}

// client is the caller where it does not matter who calls.
var client = netip.MustParseAddr("192.0.2.10")
