package dbtest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
	"example.com/recovery/internal/systemtest/dbtest/databases"
	"example.com/recovery/store/sqlstore"
)

const (
	workAccounts = 12
	workWorkers  = 2
	workPlaces   = workWorkers + 1 // one is for notices
)

// workClients are two client networks that ask for everybody.
var workClients = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

// A ledger is two files of JSON lines: the mails that were accepted or refused, and the answers
// that callers got.
type ledger struct{ Mails, Acks string }

// A mail is a line of the file of mails.
type mail struct {
	Run         int
	ID          string
	Kind        recovery.MessageKind
	To, Token   string
	Client      string
	RequestedAt int64
	Refused     bool // certainly not accepted
}

// An ack is a line of the file of answers: an accepted request, or a redeemed digest.
type ack struct {
	Request, To, Client, Digest string
	RequestedAt                 int64
}

// A workload asks for resets, delivers them and redeems them. It stands around the Store of its
// Service, and is its Mailer, so that a test can act between their calls.
type workload struct {
	store   recovery.Store
	service *recovery.Service
	options workOptions
	mails   *os.File
	acks    *os.File

	mu              sync.Mutex
	pending         map[string]bool // what was asked for and is not finished
	behind          bool            // until nothing is pending
	tokens          []mail          // those that have one and were not refused
	asked, redeemed atomic.Int64
}

type workOptions struct {
	Dialect sqlstore.Dialect
	Ledger  ledger
	Run     func() int         // is written with every mail
	Refuse  func() bool        // whether the next mail is refused; nil refuses none
	Now     func() time.Time   // nil is time.Now
	At      func(point string) // is called at every one of points; nil does nothing
}

// points are the places between the writes of the Store and the mails.
var points = []string{
	"before Enqueue", "after Enqueue", "before Claim", "after Claim", "before CreateResets", "after CreateResets",
	"before Send", "after Send", "before Finish", "after Finish",
	"before Redeem", "after Redeem", "before SetPassword", "after SetPassword",
}

// prepareWork makes the tables and the accounts of a workload.
func prepareWork(t *testing.T, d sqlstore.Dialect, db *sql.DB) {
	t.Helper()
	is := is.New(t)
	databases.OpenOn(t, d, db, databases.TextType(d))
	execute(t, db, "ALTER TABLE users ADD COLUMN changes INTEGER NOT NULL DEFAULT 0")
	for i := range workAccounts {
		is.NoErr(databases.Put(db, d, recovery.Account{
			ID: workName(i), Username: workName(i), Email: workAddress(i), Active: true, HasPassword: true, EmailVerified: true,
		}, "first"))
	}
}

func newWorkload(t *testing.T, db *sql.DB, opts workOptions) *workload {
	t.Helper()
	is := is.New(t)
	w := &workload{options: opts, pending: map[string]bool{}}
	if opts.At == nil {
		w.options.At = func(string) {}
	}
	if opts.Refuse == nil {
		w.options.Refuse = func() bool { return false }
	}
	accounts, err := databases.Users.Accounts(opts.Dialect)
	is.NoErr(err)
	store, err := sqlstore.New(db, opts.Dialect, changeCounter{accounts, w}, nil)
	is.NoErr(err)
	w.store = spy.On(store, w.around)
	for path, file := range map[string]**os.File{opts.Ledger.Mails: &w.mails, opts.Ledger.Acks: &w.acks} {
		*file, err = appendTo(path)
		is.NoErr(err)
		t.Cleanup(func() { _ = (*file).Close() })
	}
	mails, err := readLines[mail](opts.Ledger.Mails)
	is.NoErr(err)
	for _, m := range mails {
		w.mailed(m)
	}
	w.service, err = recovery.New(w.store, w, &recovery.Options{
		Limits: recovery.Limits{InsecureOff: true}, Workers: workWorkers, Tick: 10 * time.Millisecond,
		SendTimeout: 10 * time.Second, Now: opts.Now,
		Approve:       func(context.Context, recovery.Account, recovery.CompleteRequest) error { return nil }, // a try is counted and given back
		Hasher:        recovery.Hasher{Hash: func(password string) (string, error) { return "hash of " + password, nil }},
		Logger:        slog.New(slog.DiscardHandler),
		MaxRequestAge: 24 * time.Hour,
	})
	is.NoErr(err)
	return w
}

type acceptedKey struct{}

// ask makes a request and, if it was accepted, records it. Now and then it waits until the worker
// is done. Otherwise the queue would grow on a busy machine, and the steps after the queue would
// not be reached.
func (w *workload) ask(ctx context.Context) error {
	time.Sleep(rand.N(4 * time.Millisecond))
	w.mu.Lock()
	w.behind = len(w.pending) >= 8 || w.behind && len(w.pending) > 0
	behind := w.behind
	w.mu.Unlock()
	if behind {
		return nil
	}
	var accepted recovery.Job
	i, client := rand.IntN(workAccounts), workClients[rand.IntN(len(workClients))]
	err := spy.Err(w.service.RequestReset(context.WithValue(ctx, acceptedKey{}, &accepted), recovery.ResetRequest{Username: workName(i), Client: client}))
	if err != nil {
		w.ended(accepted.ID)
		return fmt.Errorf("RequestReset: %w", err)
	}
	w.asked.Add(1)
	return writeLine(w.acks, ack{Request: accepted.ID, To: workAddress(i), Client: client.String(), RequestedAt: accepted.RequestedAt.UnixMicro()})
}

// complete redeems a token of the latest mails, or one that may be used already.
func (w *workload) complete(ctx context.Context) error {
	time.Sleep(rand.N(2 * time.Millisecond))
	tokens := w.latest()
	if len(tokens) == 0 {
		return nil
	}
	err := w.redeem(ctx, tokens[rand.IntN(len(tokens))])
	if errors.Is(err, recovery.ErrInvalidToken) {
		return nil
	}
	return err
}

func (w *workload) mailed(m mail) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.Token != "" && !m.Refused {
		w.tokens = append(w.tokens, m)
	}
}

// latest returns the latest mails with tokens, of which some live.
func (w *workload) latest() []mail {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.tokens[max(0, len(w.tokens)-6):])
}

// redeem redeems the token of a mail and records it. The password says which token set it.
func (w *workload) redeem(ctx context.Context, m mail) error {
	token, err := recovery.ParseToken(m.Token)
	if err != nil {
		return err
	}
	digest := token.Digest().String()
	_, err = w.service.CompleteReset(ctx, recovery.CompleteRequest{Token: m.Token, Password: workPassword(digest)})
	if err != nil {
		return fmt.Errorf("CompleteReset: %w", err)
	}
	w.redeemed.Add(1)
	return writeLine(w.acks, ack{Digest: digest, To: m.To})
}

func (w *workload) deliver(ctx context.Context) error {
	time.Sleep(rand.N(2 * time.Millisecond))
	_, err := w.service.Deliver(ctx)
	return err
}

// drain delivers until nothing waits, and calls wait while something does. On MariaDB a claim may
// skip a job next to those that another lane is claiming, so Deliver may have to be called again.
func (w *workload) drain(ctx context.Context, wait func()) error {
	for range 50 {
		if _, err := w.service.Deliver(ctx); err != nil {
			return err
		}
		if stats, err := w.store.Stats(ctx); err != nil || len(stats) == 0 {
			return err
		}
		wait()
	}
	return errors.New("jobs wait that are not due")
}

// forget makes ask stop waiting for earlier requests.
func (w *workload) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.pending)
}

func workName(i int) string             { return "user" + strconv.Itoa(i) }
func workAddress(i int) string          { return "user" + strconv.Itoa(i) + "@example.com" }
func workPassword(digest string) string { return "Pw1!" + digest[:40] }

// Send implements [recovery.Mailer].
func (w *workload) Send(_ context.Context, m recovery.Message) error {
	w.options.At("before Send")
	line := mail{
		Run: w.options.Run(), ID: m.ID, Kind: m.Kind, To: m.To, Client: m.Client.String(), RequestedAt: m.RequestedAt.UnixMicro(),
		Refused: w.options.Refuse(),
	}
	for _, r := range m.Resets {
		line.Token = r.Token.Reveal()
	}
	err := writeLine(w.mails, line)
	w.mailed(line)
	w.options.At("after Send")
	if line.Refused && err == nil {
		err = errors.New("the mail system is busy")
	}
	return err
}

// around makes a call of the Store between two points.
func (w *workload) around(ctx context.Context, method string, arg any, call func(context.Context) error) error {
	switch arg := arg.(type) {
	case spy.Enqueue:
		if accepted, ok := ctx.Value(acceptedKey{}).(*recovery.Job); ok {
			*accepted = arg.Job
			w.mu.Lock()
			w.pending[arg.Job.ID] = true
			w.mu.Unlock()
		}
	case recovery.Outcome:
		w.ended(arg.JobID)
	}
	if method == "Now" { // it says that there is no clock, because the test sets that of the Service
		return nil
	}
	w.options.At("before " + method)
	defer w.options.At("after " + method)
	return call(ctx)
}

// ended has ask wait for the job no more.
func (w *workload) ended(job string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pending, job)
}

// A changeCounter counts how often a password was set, in the transaction that sets it.
type changeCounter struct {
	sqlstore.Accounts
	work *workload
}

func (u changeCounter) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
	u.work.options.At("before SetPassword")
	defer u.work.options.At("after SetPassword")
	if err := u.Accounts.SetPassword(ctx, tx, id, hash); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, databases.Bind(u.work.options.Dialect, "UPDATE users SET changes = changes + 1 WHERE id = ?"), id)
	return err
}

// writeLine appends in one write; see readLines for a line that is not whole.
func writeLine(f *os.File, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return err
}

// readLines reads the lines of a file. It does not read a line without its end.
func readLines[T any](path string) (lines []T, _ error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text[:bytes.LastIndexByte(text, '\n')+1]) {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		lines = append(lines, v)
	}
	return lines, nil
}

// appendTo opens a file for more lines. A kill may have cut its last line short: it was not
// written.
func appendTo(path string) (*os.File, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return f, f.Truncate(int64(bytes.LastIndexByte(text, '\n') + 1))
}
