package dbtest

import (
	"context"
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
)

// promises compares the tables, as they are at one instant, with what a workload wrote down.
type promises struct {
	db      *sql.DB
	dialect sqlstore.Dialect
	ledger  ledger

	mailsRead, acksRead int64
	acks                []ack
	mailed              map[string]map[int]bool // the runs that mailed a message, by its ID
	latest              map[string]mail         // that has a token, by address
	noticed             map[string]map[string]bool
	seen                sight
}

// A sight is what was found so far.
type sight struct{ mails, repeated, used, waiting int }

func newPromises(db *sql.DB, d sqlstore.Dialect, l ledger) *promises {
	return &promises{
		db: db, dialect: d, ledger: l,
		mailed: map[string]map[int]bool{}, latest: map[string]mail{}, noticed: map[string]map[string]bool{},
	}
}

// read takes in what was written since the last time.
func (p *promises) read(t *testing.T) {
	t.Helper()
	mails, end := newLines[mail](t, p.ledger.Mails, p.mailsRead)
	p.mailsRead = end
	for _, m := range mails {
		p.seen.mails++
		switch {
		case p.mailed[m.ID] == nil:
			p.mailed[m.ID] = map[int]bool{}
		case p.mailed[m.ID][m.Run]:
			t.Errorf("%s %s was mailed twice without a kill between", m.Kind, m.ID)
		default:
			p.seen.repeated++
		}
		p.mailed[m.ID][m.Run] = true
		if m.Token != "" && newer(m.RequestedAt, m.ID, p.latest[m.To].RequestedAt, p.latest[m.To].ID) {
			p.latest[m.To] = m
		}
		if m.Kind == recovery.MessagePasswordChanged {
			add(p.noticed, m.To, m.ID)
		}
	}
	acks, end := newLines[ack](t, p.ledger.Acks, p.acksRead)
	p.acksRead = end
	p.acks = append(p.acks, acks...)
}

func newLines[T any](t *testing.T, path string, from int64) ([]T, int64) {
	t.Helper()
	is := is.New(t)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	is.NoErr(err)
	defer f.Close()
	lines, end, err := readLines[T](f, from)
	is.NoErr(err)
	return lines, end
}

func newer(at int64, id string, than int64, thanID string) bool {
	return at > than || at == than && id > thanID
}

// check fails the test if a promise is broken. The workload must rest meanwhile.
func (p *promises) check(t *testing.T) sight {
	t.Helper()
	is := is.NewRelaxed(t)
	p.read(t)
	used, changes, hashes, waiting, notices := p.tables(t)
	p.seen.used, p.seen.waiting = 0, len(waiting)
	for i := range workAccounts {
		id, address := workName(i), workAddress(i)
		for notice := range p.noticed[address] {
			add(notices, address, notice)
		}
		if len(used[id]) != changes[id] {
			t.Errorf("%s: %d tokens are redeemed and the password was changed %d times", id, len(used[id]), changes[id])
		}
		if len(used[id]) != len(notices[address]) {
			t.Errorf("%s: %d tokens are redeemed and %d notices are queued or mailed", id, len(used[id]), len(notices[address]))
		}
		set := hashes[id] == "first" && len(used[id]) == 0
		for digest := range used[id] {
			set = set || hashes[id] == "hash of "+workPassword(digest)
		}
		if !set {
			t.Errorf("%s: the password was set by no token that is redeemed", id)
		}
		p.seen.used += len(used[id])
	}

	redeemed := map[string]bool{}
	for _, a := range p.acks {
		latest := p.latest[a.To]
		switch {
		case a.Digest != "":
			is.True(!redeemed[a.Digest]) // no token is redeemed twice
			redeemed[a.Digest] = true
			is.True(used[strings.TrimSuffix(a.To, "@example.com")][a.Digest]) // what was told to be redeemed is
		case p.mailed[a.Request] == nil && !waiting[a.Request] && !newer(latest.RequestedAt, latest.ID, a.RequestedAt, a.Request):
			t.Errorf("request %s was accepted, and is neither mailed nor in the queue, nor was there mail of a newer one", a.Request)
		}
	}
	return p.seen
}

func add(to map[string]map[string]bool, key, value string) {
	if to[key] == nil {
		to[key] = map[string]bool{}
	}
	to[key][value] = true
}

// tables reads what is needed in one transaction. By account ID: the digests that are used, how often
// the password was changed, its hash; the IDs in the queue, and by address those of notices.
func (p *promises) tables(t *testing.T) (
	used map[string]map[string]bool, changes map[string]int, hashes map[string]string, waiting map[string]bool, notices map[string]map[string]bool,
) {
	t.Helper()
	is := is.New(t)
	used, changes, hashes = map[string]map[string]bool{}, map[string]int{}, map[string]string{}
	waiting, notices = map[string]bool{}, map[string]map[string]bool{}
	var opts *sql.TxOptions
	if p.dialect != sqlstore.SQLite { // there every transaction sees one instant
		opts = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	tx, err := p.db.BeginTx(context.Background(), opts)
	is.NoErr(err)
	defer func() { _ = tx.Rollback() }()
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
	is.NoErr(each(tx, "SELECT id, kind, identifier FROM recovery_jobs", func(rows *sql.Rows) error {
		var id, kind, identifier string
		err := rows.Scan(&id, &kind, &identifier)
		waiting[id] = true
		if kind == string(recovery.JobNotice) {
			add(notices, identifier, id)
		}
		return err
	}))
	return used, changes, hashes, waiting, notices
}
