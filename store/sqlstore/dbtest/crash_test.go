package dbtest

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
)

// A process that works on the store is killed, again and again: at a named point in two of three runs
// and at a random instant in the others. What was promised holds whenever one looks.
//
// RECOVERY_CRASHES is how often it is killed per database: 30 if it is not set, 300 for a thorough run,
// 900 at the most.
func TestCrash(t *testing.T) {
	crashes := countFromEnv(t, "RECOVERY_CRASHES", 30)
	onEach(t, func(t *testing.T, s server) {
		if s.name == "PostgreSQL with lib_pq" {
			t.Skip("the server is that of pgx")
		}
		is := is.New(t)
		p := s.place(t)
		db := p.open(t)
		openOn(t, s.dialect, db, textType(s.dialect))
		_, err := db.Exec("ALTER TABLE users ADD COLUMN changes INTEGER NOT NULL DEFAULT 0")
		is.NoErr(err)
		for i := range childAccounts {
			is.NoErr(put(db, s.dialect, recovery.Account{
				ID: childName(i), Username: childName(i), Email: childAddress(i), Active: true, HasPassword: true, Verified: true,
			}, "first"))
		}
		dir := t.TempDir()
		o := orders{
			Driver: p.driver, DSN: p.dsn, Dialect: s.dialect,
			Mails: filepath.Join(dir, "mails"), Acks: filepath.Join(dir, "acks"),
		}
		named := rand.Perm(len(points))
		for ; o.Run < crashes; o.Run++ {
			o.Point, o.Pass = "", 0
			life := 20*time.Millisecond + rand.N(130*time.Millisecond)
			if o.Run%3 != 0 {
				o.Point, o.Pass, life = points[named[o.Run*2/3%len(points)]], 1+rand.IntN(6), 0
				if strings.HasSuffix(o.Point, "Purge") {
					o.Pass = 1 // it is seldom called
				}
			}
			runChild(t, o, life)
			checkPromises(t, db, o)
			if t.Failed() {
				t.Fatalf("after run %d, killed %q", o.Run, o.Point)
			}
		}
		o.Point, o.Drain = "", true
		runChild(t, o, 0)
		seen := checkPromises(t, db, o)
		is.Equal(seen.waiting, 0) // the queue is empty in the end
		t.Logf("%d kills: %d mails, %d of them repeated, %d tokens redeemed", crashes, seen.mails, seen.repeated, seen.used)
		is.True(crashes < 20 || seen.used > 0 && seen.mails > seen.used) // the children got to work
	})
}

// A sight is what a look at the database and the files found.
type sight struct{ mails, repeated, used, waiting int }

// checkPromises compares the tables, as they were at one instant, with what the children wrote.
func checkPromises(t *testing.T, db *sql.DB, o orders) (seen sight) {
	t.Helper()
	is := is.NewRelaxed(t)
	mails, err := readLines[mail](o.Mails)
	is.NoErr(err)
	acks, err := readLines[ack](o.Acks)
	is.NoErr(err)
	used, changes, hashes, waiting, notices := tables(t, db, o.Dialect)

	type sending struct {
		id  string
		run int
	}
	sent, mailed := map[sending]int{}, map[string]bool{}
	for _, m := range mails {
		if sent[sending{m.ID, m.Run}]++; sent[sending{m.ID, m.Run}] > 1 {
			t.Errorf("one process mailed %s %s twice", m.Kind, m.ID)
		}
		if mailed[m.ID] {
			seen.repeated++
		}
		mailed[m.ID] = true
		if m.Kind == recovery.MessagePasswordChanged {
			if notices[m.To] == nil {
				notices[m.To] = map[string]bool{}
			}
			notices[m.To][m.ID] = true
		}
	}
	is.True(seen.repeated <= (o.Run+1)*childWorkers) // at most one mail of each worker is repeated after a kill

	for i := range childAccounts {
		id, address := childName(i), childAddress(i)
		if len(used[id]) != changes[id] {
			t.Errorf("%s: %d tokens are redeemed and the password was changed %d times", id, len(used[id]), changes[id])
		}
		if len(used[id]) != len(notices[address]) {
			t.Errorf("%s: %d tokens are redeemed and %d notices are queued or mailed", id, len(used[id]), len(notices[address]))
		}
		set := hashes[id] == "first" && len(used[id]) == 0
		for digest := range used[id] {
			set = set || hashes[id] == "hash of "+childPassword(digest)
		}
		if !set {
			t.Errorf("%s: the password was set by no token that is redeemed", id)
		}
		seen.used += len(used[id])
	}

	redeemed := map[string]bool{}
	for _, a := range acks {
		switch {
		case a.Digest != "":
			is.True(!redeemed[a.Digest]) // no token is redeemed twice
			redeemed[a.Digest] = true
			is.True(used[strings.TrimSuffix(a.To, "@example.com")][a.Digest]) // what was told to be redeemed is
		case !mailed[a.Request] && !waiting[a.Request] && !supersededBy(mails, a):
			t.Errorf("request %s was accepted, and is neither mailed nor in the queue", a.Request)
		}
	}
	seen.mails, seen.waiting = len(mails), len(waiting)
	return seen
}

// supersededBy reports whether the mail of a newer request made that of an accepted one needless.
func supersededBy(mails []mail, a ack) bool {
	for _, m := range mails {
		newer := m.RequestedAt > a.RequestedAt || m.RequestedAt == a.RequestedAt && m.ID > a.Request
		if m.To == a.To && m.Token != "" && newer {
			return true
		}
	}
	return false
}

// tables reads what is needed in one transaction. By account ID: the digests that are used, how often
// the password was changed, its hash; the IDs in the queue, and by address those of notices.
func tables(t *testing.T, db *sql.DB, d sqlstore.Dialect) (
	used map[string]map[string]bool, changes map[string]int, hashes map[string]string, waiting map[string]bool, notices map[string]map[string]bool,
) {
	t.Helper()
	is := is.New(t)
	used, changes, hashes = map[string]map[string]bool{}, map[string]int{}, map[string]string{}
	waiting, notices = map[string]bool{}, map[string]map[string]bool{}
	var opts *sql.TxOptions
	if d != sqlstore.SQLite { // there every transaction sees one instant
		opts = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	tx, err := db.BeginTx(context.Background(), opts)
	is.NoErr(err)
	defer func() { _ = tx.Rollback() }()
	add := func(to map[string]map[string]bool, key, value string) {
		if to[key] == nil {
			to[key] = map[string]bool{}
		}
		to[key][value] = true
	}
	is.NoErr(each(tx, "SELECT id, password_hash, changes FROM users", func(rows *sql.Rows) error {
		var id, hash string
		var n int
		err := rows.Scan(&id, &hash, &n)
		hashes[id], changes[id] = hash, n
		return err
	}))
	is.NoErr(each(tx, "SELECT account_id, digest FROM recovery_resets WHERE ended = 'used'", func(rows *sql.Rows) error {
		var id string
		var digest recovery.Digest
		var raw []byte
		err := rows.Scan(&id, &raw)
		copy(digest[:], raw)
		add(used, id, digest.String())
		return err
	}))
	is.NoErr(each(tx, "SELECT id, kind, identifier FROM recovery_requests", func(rows *sql.Rows) error {
		var id, kind, identifier string
		err := rows.Scan(&id, &kind, &identifier)
		waiting[id] = true
		if kind == string(recovery.RequestKindNotice) {
			add(notices, identifier, id)
		}
		return err
	}))
	return used, changes, hashes, waiting, notices
}
