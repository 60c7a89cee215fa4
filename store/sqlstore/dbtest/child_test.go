package dbtest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/store/sqlstore"
)

// orders are what a child process is told, as JSON in its environment.
type orders struct {
	Driver, DSN string
	Dialect     sqlstore.Dialect
	Run         int    // the children of one test are counted; each one's clock is a minute later
	Point       string // where it kills itself, "" for nowhere
	Pass        int    // and at which time that it gets there
	Drain       bool   // only empty the queue, then end
	Mails, Acks string // files
}

const (
	childEnv      = "RECOVERY_CHILD"
	childAccounts = 12
	childWorkers  = 2
)

// A mail is a line of the file of accepted mails.
type mail struct {
	Run         int
	ID          string
	Kind        recovery.MessageKind
	To, Token   string
	RequestedAt int64
}

// An ack is a line of the file of what callers were told: a request that was accepted, or a digest
// that was redeemed.
type ack struct {
	Request, To, Digest string
	RequestedAt         int64
}

// TestChild is no test of its own: it is what the crash test runs and kills.
func TestChild(t *testing.T) {
	text := os.Getenv(childEnv)
	if text == "" {
		t.Skip("it is run by TestCrash")
	}
	is := is.New(t)
	var o orders
	is.NoErr(json.Unmarshal([]byte(text), &o))
	go func() { // standard input ends with the parent
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(2)
	}()
	db := openDB(t, o.Driver, o.DSN)
	accounts, err := users.Accounts(o.Dialect)
	is.NoErr(err)
	c := &child{orders: o}
	c.Store, err = sqlstore.New(db, o.Dialect, changeCounter{accounts, o.Dialect, c}, nil)
	is.NoErr(err)
	c.mails, err = os.OpenFile(o.Mails, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	is.NoErr(err)
	c.acks, err = os.OpenFile(o.Acks, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	is.NoErr(err)
	c.service, err = recovery.New(c, c, &recovery.Options{
		Limits: recovery.Limits{InsecureOff: true}, Workers: childWorkers, SendTimeout: 5 * time.Second,
		Now:           func() time.Time { return time.Now().Add(time.Duration(o.Run) * time.Minute) },
		HashPassword:  func(password string) (string, error) { return "hash of " + password, nil },
		Logger:        slog.New(slog.DiscardHandler),
		MaxRequestAge: 24 * time.Hour,
	})
	is.NoErr(err)
	fmt.Println("ready")
	if o.Drain {
		for n := 1; n > 0; {
			n, err = c.service.Deliver(t.Context())
			is.NoErr(err)
		}
		fmt.Println("done")
		return
	}
	var wg sync.WaitGroup
	for _, work := range []func(context.Context) error{c.ask, c.complete, c.deliver} {
		wg.Go(func() {
			for {
				if err := work(t.Context()); err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
			}
		})
	}
	wg.Wait()
}

// A child is the Store and the Mailer of its Service, so that it can die between their calls.
type child struct {
	*sqlstore.Store
	orders  orders
	service *recovery.Service
	mails   *os.File
	acks    *os.File

	mu     sync.Mutex
	passes int
}

// at kills the process if it was told to die here.
func (c *child) at(point string) {
	if point != c.orders.Point {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.passes++; c.passes < c.orders.Pass {
		return
	}
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {}
}

// points are all places where a child can be told to die.
var points = []string{
	"before AddRequest", "after AddRequest", "before ClaimRequests", "after ClaimRequests",
	"before FindAccounts", "after FindAccounts", "before CreateReset", "after CreateReset",
	"before Send", "after Send", "before FinishRequest", "after FinishRequest",
	"before FindReset", "after FindReset", "before CompleteReset", "after CompleteReset",
	"before SetPassword", "after SetPassword", "before Purge", "after Purge",
}

type acceptedKey struct{}

func (c *child) ask(ctx context.Context) error {
	var accepted recovery.Request
	i := rand.IntN(childAccounts)
	if err := c.service.RequestReset(context.WithValue(ctx, acceptedKey{}, &accepted), recovery.ResetRequest{Username: childName(i)}); err != nil {
		return fmt.Errorf("RequestReset: %w", err)
	}
	time.Sleep(rand.N(4 * time.Millisecond))
	return writeLine(c.acks, ack{Request: accepted.ID, To: childAddress(i), RequestedAt: accepted.RequestedAt.UnixMicro()})
}

// complete redeems a token of the latest mails, or one that may be used already.
func (c *child) complete(ctx context.Context) error {
	time.Sleep(rand.N(2 * time.Millisecond))
	mails, err := readLines[mail](c.orders.Mails)
	if err != nil {
		return err
	}
	if len(mails) == 0 {
		return nil
	}
	m := mails[max(0, len(mails)-1-rand.IntN(8))]
	token, err := recovery.ParseToken(m.Token)
	if err != nil {
		return nil // a notice has none
	}
	// The password says which token set it.
	digest := token.Digest().String()
	_, err = c.service.CompleteReset(ctx, recovery.CompleteRequest{Token: m.Token, Password: childPassword(digest)})
	switch {
	case errors.Is(err, recovery.ErrInvalidToken):
		return nil
	case err != nil:
		return fmt.Errorf("CompleteReset: %w", err)
	}
	return writeLine(c.acks, ack{Digest: digest, To: m.To})
}

func (c *child) deliver(ctx context.Context) error {
	time.Sleep(rand.N(2 * time.Millisecond))
	_, err := c.service.Deliver(ctx)
	return err
}

func childName(i int) string             { return "user" + strconv.Itoa(i) }
func childAddress(i int) string          { return "user" + strconv.Itoa(i) + "@example.com" }
func childPassword(digest string) string { return "Pw1!" + digest[:40] }

// Send implements [recovery.Mailer].
func (c *child) Send(_ context.Context, m recovery.Message) error {
	c.at("before Send")
	line := mail{Run: c.orders.Run, ID: m.ID, Kind: m.Kind, To: m.To, RequestedAt: m.RequestedAt.UnixMicro()}
	if !m.Token.IsZero() {
		line.Token = m.Token.Reveal()
	}
	err := writeLine(c.mails, line)
	c.at("after Send")
	return err
}

// around calls f between two points at which the process may die.
func around[T any](c *child, method string, f func() (T, error)) (T, error) {
	c.at("before " + method)
	defer c.at("after " + method)
	return f()
}

func aroundOne(c *child, method string, f func() error) error {
	_, err := around(c, method, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

func (c *child) FindAccounts(ctx context.Context, q recovery.AccountQuery) ([]recovery.Account, error) {
	return around(c, "FindAccounts", func() ([]recovery.Account, error) { return c.Store.FindAccounts(ctx, q) })
}

func (c *child) CreateReset(ctx context.Context, r recovery.Reset) error {
	return aroundOne(c, "CreateReset", func() error { return c.Store.CreateReset(ctx, r) })
}

func (c *child) FindReset(ctx context.Context, d recovery.Digest, at time.Time) (recovery.Reset, recovery.Account, error) {
	c.at("before FindReset")
	defer c.at("after FindReset")
	return c.Store.FindReset(ctx, d, at)
}

func (c *child) CompleteReset(ctx context.Context, done recovery.Completion) (recovery.Account, error) {
	return around(c, "CompleteReset", func() (recovery.Account, error) { return c.Store.CompleteReset(ctx, done) })
}

func (c *child) AddRequest(ctx context.Context, r recovery.Request, charges recovery.Charges) error {
	if accepted, ok := ctx.Value(acceptedKey{}).(*recovery.Request); ok {
		*accepted = r
	}
	return aroundOne(c, "AddRequest", func() error { return c.Store.AddRequest(ctx, r, charges) })
}

func (c *child) ClaimRequests(ctx context.Context, l recovery.Lease) ([]recovery.Request, error) {
	return around(c, "ClaimRequests", func() ([]recovery.Request, error) { return c.Store.ClaimRequests(ctx, l) })
}

func (c *child) FinishRequest(ctx context.Context, o recovery.Outcome) error {
	return aroundOne(c, "FinishRequest", func() error { return c.Store.FinishRequest(ctx, o) })
}

func (c *child) Purge(ctx context.Context, before time.Time, most int) (int, error) {
	return around(c, "Purge", func() (int, error) { return c.Store.Purge(ctx, before, most) })
}

// A changeCounter counts how often a password was set, in the transaction that sets it.
type changeCounter struct {
	sqlstore.Accounts
	dialect sqlstore.Dialect
	child   *child
}

func (u changeCounter) SetPassword(ctx context.Context, tx *sql.Tx, id, hash string) error {
	u.child.at("before SetPassword")
	defer u.child.at("after SetPassword")
	if err := u.Accounts.SetPassword(ctx, tx, id, hash); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, bind(u.dialect, "UPDATE users SET changes = changes + 1 WHERE id = ?"), id)
	return err
}

// writeLine appends in one write, so that a line is there whole or not at all.
func writeLine(f *os.File, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return err
}

func readLines[T any](path string) ([]T, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var lines []T
	for line := range bytes.Lines(text) {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		lines = append(lines, v)
	}
	return lines, nil
}

// runChild starts a child and returns when it is dead. It lets the child live for the given time
// after it is ready, or, if that is zero, until it dies by itself.
func runChild(t *testing.T, o orders, life time.Duration) {
	t.Helper()
	is := is.New(t)
	text, err := json.Marshal(o)
	is.NoErr(err)
	patience := 30 * time.Second
	if o.Drain { // many kills leave a long queue
		patience = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestChild$")
	c.Env = append(os.Environ(), childEnv+"="+string(text))
	stdin, err := c.StdinPipe()
	is.NoErr(err)
	defer stdin.Close()
	stdout, err := c.StdoutPipe()
	is.NoErr(err)
	is.NoErr(c.Start())
	said := bufio.NewScanner(stdout)
	if !said.Scan() || said.Text() != "ready" {
		_ = c.Process.Kill()
		_ = c.Wait()
		t.Fatalf("the child of run %d did not start: %s", o.Run, said.Text())
	}
	if life > 0 {
		time.Sleep(life)
		is.NoErr(c.Process.Kill())
	}
	last := ""
	for said.Scan() {
		last = cmp.Or(last, said.Text())
	}
	_ = c.Wait()
	if ctx.Err() != nil {
		t.Fatalf("the child of run %d did not end in time; it was to die %q, pass %d", o.Run, o.Point, o.Pass)
	}
	if o.Drain {
		is.Equal(last, "done") // the child emptied the queue
		return
	}
	is.Equal(last, "")                      // no call failed in the child
	is.Equal(c.ProcessState.ExitCode(), -1) // it was killed
}
