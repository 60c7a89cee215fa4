package sidechannel

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// A traced Store records the shape of each call: the method and its arguments. Of random and
// caller-chosen values it records only the lengths.
type traced struct {
	spy.Store

	mu    sync.Mutex
	calls []string
	fail  func(method string) error // if set, may fail a call before it is made
}

func newTraced(store recovery.Store) *traced {
	s := &traced{}
	s.Store = spy.On(store, s.around)
	return s
}

func (s *traced) around(ctx context.Context, method string, arg any, call func(context.Context) error) error {
	s.mu.Lock()
	s.calls = append(s.calls, method+" "+argument(arg))
	fail := s.fail
	s.mu.Unlock()
	if fail != nil {
		if err := fail(method); err != nil {
			return err
		}
	}
	return call(ctx)
}

func argument(arg any) string {
	switch a := arg.(type) {
	case recovery.AccountQuery:
		return fmt.Sprintf("tenant:%s by:%s typed:%d canonical:%d max:%d", a.Tenant, a.By, len(a.Typed), len(a.Canonical), a.Max)
	case recovery.ResetBatch:
		return fmt.Sprintf("resets:%d %s", len(a.Resets), shapes(a.Charges))
	case spy.FindReset:
		return fmt.Sprintf("at:%v", a.At)
	case recovery.Redemption:
		return fmt.Sprintf("at:%v hash:%d add:%d", a.At, len(a.PasswordHash), len(a.Add))
	case spy.Enqueue:
		return shape(a.Job) + " " + shapes(a.Charges)
	case spy.TakeLimits:
		return fmt.Sprintf("at:%v %s", a.At, shapes(a.Charges))
	case recovery.Charges:
		return shapes(a)
	case recovery.Claim:
		return fmt.Sprintf("lane:%s max:%d id:%d", a.Lane, a.Max, len(a.JobID))
	case recovery.Outcome:
		return fmt.Sprintf("mailed:%d discard:%d", len(a.MailedAccountIDs), len(a.Discard))
	case spy.Purge:
		return fmt.Sprintf("before:%v ahead:%v max:%d", a.Before, a.Ahead, a.Max)
	}
	return ""
}

// take returns and forgets the records.
func (s *traced) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	trace := instants.ReplaceAllString(strings.Join(s.calls, "\n"), "now")
	s.calls = nil
	return trace
}

func shape(r recovery.Job) string {
	return fmt.Sprintf("id:%d %s by:%s identifier:%d account:%d tenant:%s code:%v portal:%s locale:%s client:%v at:%v priority:%v charged:%v attempts:%d lease:%d",
		len(r.ID), r.Kind, r.By, len(r.Identifier), len(r.AccountID), r.Tenant, r.Ticket != recovery.Digest{}, r.Portal, r.Locale, r.Client,
		r.RequestedAt, r.Priority, r.Charged, r.Attempts, len(r.LeaseID))
}

func shapes(charges recovery.Charges) string {
	all := make([]string, len(charges))
	for i, c := range charges {
		all[i] = fmt.Sprintf("%s:%d/%v", c.Scope, c.Limit.Burst, c.Limit.Every)
	}
	return strings.Join(all, ",")
}

// written returns the shape of the rows that are in the second dump of a store and not in the
// first: the table and the length of every value, one row a line.
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
		// A flag that is written as a word has a length of its own.
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

// instants replaces times, which differ only by the test's clock.
var instants = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( \+0000 UTC|Z)`)
