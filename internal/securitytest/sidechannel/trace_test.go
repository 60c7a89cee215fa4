package sidechannel

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/recovery"
)

// A traced Store writes down the shape of each call: the method and all of its arguments but chance and
// what the caller chose, of which it takes the lengths.
type traced struct {
	recovery.Store

	mu    sync.Mutex
	calls []string
	fail  func(method string) error // if set, may fail a call before it is made
}

func (s *traced) call(method, format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, method+" "+fmt.Sprintf(format, args...))
	if s.fail != nil {
		return s.fail(method)
	}
	return nil
}

// take returns and forgets what was written down.
func (s *traced) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	trace := instants.ReplaceAllString(strings.Join(s.calls, "\n"), "now")
	s.calls = nil
	return trace
}

func (s *traced) FindAccounts(ctx context.Context, q recovery.AccountQuery) ([]recovery.Account, error) {
	if err := s.call("FindAccounts", "tenant:%s by:%s typed:%d canonical:%d max:%d", q.Tenant, q.By, len(q.Typed), len(q.Canonical), q.Max); err != nil {
		return nil, err
	}
	return s.Store.FindAccounts(ctx, q)
}

func (s *traced) CreateResets(ctx context.Context, m recovery.Mint) ([]string, error) {
	if err := s.call("CreateResets", "resets:%d %s", len(m.Resets), shapes(m.Charges)); err != nil {
		return nil, err
	}
	return s.Store.CreateResets(ctx, m)
}

func (s *traced) FindReset(ctx context.Context, d recovery.Digest, at time.Time) (recovery.Reset, recovery.Account, error) {
	if err := s.call("FindReset", "at:%v", at); err != nil {
		return recovery.Reset{}, recovery.Account{}, err
	}
	return s.Store.FindReset(ctx, d, at)
}

func (s *traced) Redeem(ctx context.Context, c recovery.Redemption) (recovery.Account, error) {
	if err := s.call("Redeem", "at:%v hash:%d add:%d", c.At, len(c.PasswordHash), len(c.Add)); err != nil {
		return recovery.Account{}, err
	}
	return s.Store.Redeem(ctx, c)
}

func (s *traced) Enqueue(ctx context.Context, r recovery.Job, c recovery.Charges) error {
	if err := s.call("Enqueue", "%s %s", shape(r), shapes(c)); err != nil {
		return err
	}
	return s.Store.Enqueue(ctx, r, c)
}

func (s *traced) TakeLimits(ctx context.Context, at time.Time, c recovery.Charges) error {
	if err := s.call("TakeLimits", "at:%v %s", at, shapes(c)); err != nil {
		return err
	}
	return s.Store.TakeLimits(ctx, at, c)
}

func (s *traced) RefundLimits(ctx context.Context, c recovery.Charges) error {
	if err := s.call("RefundLimits", "%s", shapes(c)); err != nil {
		return err
	}
	return s.Store.RefundLimits(ctx, c)
}

func (s *traced) Claim(ctx context.Context, l recovery.Claim) ([]recovery.Job, error) {
	if err := s.call("Claim", "lane:%s max:%d id:%d", l.Lane, l.Max, len(l.JobID)); err != nil {
		return nil, err
	}
	return s.Store.Claim(ctx, l)
}

func (s *traced) Finish(ctx context.Context, o recovery.Outcome) error {
	if err := s.call("Finish", "mailed:%d discard:%d", len(o.MailedAccountIDs), len(o.Discard)); err != nil {
		return err
	}
	return s.Store.Finish(ctx, o)
}

// Now is called at most once a minute, before anything else.
func (s *traced) Now(ctx context.Context) (time.Time, error) {
	if err := s.call("Now", ""); err != nil {
		return time.Time{}, err
	}
	return s.Store.Now(ctx)
}

func shape(r recovery.Job) string {
	return fmt.Sprintf("id:%d %s by:%s identifier:%d account:%d tenant:%s code:%v portal:%s locale:%s client:%v at:%v turn:%v charged:%v attempts:%d lease:%d",
		len(r.ID), r.Kind, r.By, len(r.Identifier), len(r.AccountID), r.Tenant, r.Ticket != recovery.Digest{}, r.Portal, r.Locale, r.Client,
		r.RequestedAt, r.Turn, r.Charged, r.Attempts, len(r.LeaseID))
}

func shapes(charges recovery.Charges) string {
	all := make([]string, len(charges))
	for i, c := range charges {
		all[i] = fmt.Sprintf("%s:%d/%v", c.Scope, c.Limit.Burst, c.Limit.Every)
	}
	return strings.Join(all, ",")
}

// written returns the shape of the rows that are in the second dump of a store and not in the first: the
// table and the length of every value, one row a line.
func written(before, after string) string {
	old := map[string]bool{}
	for line := range strings.Lines(before) {
		old[line] = true
	}
	var rows []string
	for line := range strings.Lines(after) {
		if old[line] {
			continue
		}
		table, values, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		// A flag has a length of its own where it is written as a word.
		values = strings.NewReplacer(" false ", " 0 ", " true ", " 1 ").Replace(values + " ")
		var b strings.Builder
		b.WriteString(table)
		for value := range strings.SplitSeq(values, " ") {
			fmt.Fprintf(&b, " %d", len(value))
		}
		rows = append(rows, b.String())
	}
	slices.Sort(rows)
	return strings.Join(rows, "\n")
}

// queued returns how many of the rows are of the queue.
func queued(rows string) (n int) {
	for line := range strings.Lines(rows) {
		table, _, _ := strings.Cut(line, " ")
		if strings.Contains(table, "job") {
			n++
		}
	}
	return n
}

// instants are what tells times apart that only the clock of the test does.
var instants = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( \+0000 UTC|Z)`)
