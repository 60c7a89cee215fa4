package sqlstore

import (
	"database/sql/driver"
	"net/netip"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// What is claimed is what was added, in the order of the answer, with the lease and one attempt more.
func TestClaimedRequests(t *testing.T) {
	for _, d := range dialects {
		for _, which := range []string{"", request.ID} {
			t.Run(dialectNames[d]+"/"+which, func(t *testing.T) {
				is := is.New(t)
				s := newStub(d)
				due := now.Add(time.Minute)
				answer := func(client string, throttled int64) {
					attempts, lease := int64(4), "mine" // of the row as it is then
					if d == MySQL {
						attempts, lease = 3, "" // as it was before
					}
					row := []driver.Value{
						request.ID, string(request.Kind), string(request.By), request.Identifier, request.AccountID, request.Portal,
						request.Locale, client, now.UnixMicro(), due.UnixMicro(), throttled, attempts, lease,
					}
					s.rows[findsDue], s.rows[claims], s.rows[claimsCTE] = row, row, row
				}
				want := request
				want.DueAt, want.Attempts, want.LeaseID = due, 4, "mine"
				lease := recovery.Claim{LeaseID: "mine", At: now, Until: now.Add(time.Hour), Max: 2, JobID: which}
				store, _ := s.store(t, nil)

				answer("192.0.2.1", 0)
				claimed, err := store.Claim(t.Context(), lease)
				is.NoErr(err)
				rows := 1
				if d == MySQL {
					rows = 2 // of the stub's queue
				}
				is.Equal(len(claimed), rows)
				calls := claimOf(d, lease, claimed)
				is.Equal(s.calls[len(s.calls)-1-len(calls):len(s.calls)-1], calls) // and then the commit
				for _, r := range claimed {
					is.Equal(r, want)
				}

				answer("", 1)
				want.Client, want.Throttled = netip.Addr{}, true
				claimed, err = store.Claim(t.Context(), lease)
				is.NoErr(err)
				is.Equal(claimed[0], want)

				s.rows[findsDue], s.rows[claims], s.rows[claimsCTE] = nil, nil, nil
				s.calls = nil
				claimed, err = store.Claim(t.Context(), lease)
				is.NoErr(err)
				is.Equal(len(claimed), 0)
				is.Equal(s.calls[len(s.calls)-1], "commit")
			})
		}
	}
}

// claimOf returns what must be sent to claim requests.
func claimOf(d Dialect, l recovery.Claim, claimed []recovery.Job) (calls []string) {
	texts := statementsOf(d)
	id, until, at := l.LeaseID, l.Until.UnixMicro(), l.At.UnixMicro()
	claim, lock, which := texts.claim, texts.lockDue, []any{at, int64(l.Max)}
	if l.JobID != "" {
		claim, lock, which = texts.claimOne, texts.lockOne, []any{l.JobID, at}
	}
	if d != MySQL {
		return []string{sent(claim, append([]any{id, until}, which...)...)}
	}
	var ids rows
	for _, r := range claimed {
		ids.add(r.ID)
	}
	return []string{sent(lock, which...), sent(ids.expand(texts.lease), append([]any{id, until}, ids.values...)...)}
}

// sent is what a stub writes down of a statement.
func sent(query string, args ...any) string {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i].Value = a
	}
	return callText(query, named)
}

// Requests that nobody holds have the lease "", which is none.
func TestNoLeaseFinishesNothing(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			store, _ := s.store(t, nil)
			is.Equal(store.Finish(t.Context(), recovery.Outcome{JobID: request.ID, At: now}), recovery.ErrLeaseLost)
			is.Equal(s.kept, nil)
		})
	}
}
