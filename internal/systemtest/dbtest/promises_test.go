package dbtest

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
)

// promises compares the tables, as they are at one instant, with the records of a workload.
type promises struct {
	db      *sql.DB
	dialect sqlstore.Dialect
	ledger  ledger

	acks              []ack
	mailed            map[string]map[int]bool // the runs that mailed a message, by its ID
	latest            map[string]mail         // that has a token, by address and client
	accepted, refused map[string]bool         // digests, by what became of their mails
	noticed           map[string]map[string]bool
	seen              sight
}

// A sight counts what was found so far.
type sight struct {
	mails, repeated, refused int
	used, superseded, left   int // of the tokens; left are live ones of refused mails
	waiting                  int
}

// read reads the records.
func (p *promises) read(t *testing.T) {
	t.Helper()
	is := is.New(t)
	p.mailed, p.latest, p.noticed = map[string]map[int]bool{}, map[string]mail{}, map[string]map[string]bool{}
	p.accepted, p.refused, p.seen = map[string]bool{}, map[string]bool{}, sight{}
	mails, err := readLines[mail](p.ledger.Mails)
	is.NoErr(err)
	p.acks, err = readLines[ack](p.ledger.Acks)
	is.NoErr(err)
	for _, m := range mails {
		digest := ""
		if m.Token != "" {
			token, err := recovery.ParseToken(m.Token)
			is.NoErr(err)
			digest = token.Digest().String()
		}
		if m.Refused {
			p.seen.refused++
			p.refused[digest] = true
			continue
		}
		p.accepted[digest] = true
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
		if m.Token != "" && newer(m.RequestedAt, m.ID, p.latest[m.To+m.Client].RequestedAt, p.latest[m.To+m.Client].ID) {
			p.latest[m.To+m.Client] = m
		}
		if m.Kind == recovery.MessagePasswordChanged {
			add(p.noticed, m.To, m.ID)
		}
	}
}

func newer(at int64, id string, than int64, thanID string) bool {
	return at > than || at == than && id > thanID
}

// check fails the test if a promise is broken. The workload must rest meanwhile.
func (p *promises) check(t *testing.T) sight {
	t.Helper()
	is := is.NewRelaxed(t)
	p.read(t)
	resets, changes, hashes, waiting := p.tables(t)
	used := p.judge(t, resets)
	p.seen.waiting = len(waiting)
	for i := range workAccounts {
		id, address := workName(i), workAddress(i)
		if len(used[id]) != changes[id] {
			t.Errorf("%s: %d tokens are redeemed and the password was changed %d times", id, len(used[id]), changes[id])
		}
		if notices := p.noticed[address]; len(used[id]) != len(notices) {
			t.Errorf("%s: %d tokens are redeemed and %d notices are queued or mailed", id, len(used[id]), len(notices))
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
		latest := p.latest[a.To+a.Client]
		switch {
		case a.Digest != "":
			is.True(!redeemed[a.Digest]) // no token is redeemed twice
			redeemed[a.Digest] = true
			is.True(used[strings.TrimSuffix(a.To, "@example.com")][a.Digest]) // what was told to be redeemed is
		case p.mailed[a.Request] == nil && !waiting[a.Request] && !newer(latest.RequestedAt, latest.ID, a.RequestedAt, a.Request):
			t.Errorf("request %s was accepted, and is neither mailed nor in the queue, nor was there mail of a newer one of its client", a.Request)
		}
	}
	return p.seen
}

// A storedReset is a row of the resets.
type storedReset struct {
	digest, account, job, requester, ended string
	requestedAt                            int64
	mailed                                 bool
}

// judge checks that tokens die by the mail of a newer request of their own client network, and by
// no other, and returns the digests that are used, by account.
func (p *promises) judge(t *testing.T, resets []storedReset) (used map[string]map[string]bool) {
	t.Helper()
	used = map[string]map[string]bool{}
	for _, r := range resets {
		var byMailed, byAccepted bool
		for _, other := range resets {
			if other.account == r.account && other.requester == r.requester && newer(other.requestedAt, other.job, r.requestedAt, r.job) {
				byMailed = byMailed || other.mailed
				byAccepted = byAccepted || p.accepted[other.digest]
			}
		}
		switch r.ended {
		case string(recovery.TokenUsed):
			add(used, r.account, r.digest)
		case string(recovery.TokenSuperseded):
			p.seen.superseded++
			if !byAccepted {
				t.Errorf("a token of %s is superseded, but no newer mail of the same client was accepted", r.account)
			}
		case "":
			if p.refused[r.digest] {
				p.seen.left++
			}
			if byMailed {
				t.Errorf("a token of %s is live after the mail of a newer request of the same client", r.account)
			}
		}
		if r.mailed && p.refused[r.digest] && !p.acceptedOf(resets, r.job) {
			t.Errorf("a token of %s counts as mailed, but its mail was refused", r.account)
		}
	}
	return used
}

// acceptedOf reports whether a mail of the job was accepted at a later try.
func (p *promises) acceptedOf(resets []storedReset, job string) bool {
	return slices.ContainsFunc(resets, func(r storedReset) bool { return r.job == job && p.accepted[r.digest] })
}

func add(to map[string]map[string]bool, key, value string) {
	if to[key] == nil {
		to[key] = map[string]bool{}
	}
	to[key][value] = true
}

// tables reads what is needed in one transaction: the resets; by account ID how often the password
// was changed, and its hash; the IDs in the queue. Notices in it count as those that were mailed.
func (p *promises) tables(t *testing.T) (resets []storedReset, changes map[string]int, hashes map[string]string, waiting map[string]bool) {
	t.Helper()
	is := is.New(t)
	changes, hashes, waiting = map[string]int{}, map[string]string{}, map[string]bool{}
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
	is.NoErr(each(tx, "SELECT digest, account_id, job_id, requester, ended, requested_at, mailed FROM recovery_resets", func(rows *sql.Rows) error {
		var r storedReset
		var digest recovery.Digest
		var raw, requester []byte
		var mailed int
		err := rows.Scan(&raw, &r.account, &r.job, &requester, &r.ended, &r.requestedAt, &mailed)
		copy(digest[:], raw)
		r.digest, r.requester, r.mailed = digest.String(), string(requester), mailed == 1
		resets = append(resets, r)
		return err
	}))
	is.NoErr(each(tx, "SELECT id, kind, identifier FROM recovery_jobs", func(rows *sql.Rows) error {
		var id, kind, identifier string
		err := rows.Scan(&id, &kind, &identifier)
		waiting[id] = true
		if kind == string(recovery.JobNotice) {
			add(p.noticed, identifier, id)
		}
		return err
	}))
	return resets, changes, hashes, waiting
}
