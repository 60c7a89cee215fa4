package sqlstore

import (
	"database/sql/driver"
	"net/netip"
	"testing"
	"time"

	"github.com/matryer/is"

	"example.com/recovery"
)

// What is claimed is what was added, in the order of the answers, with the lease and one attempt
// more.
func TestClaimedJobs(t *testing.T) {
	for _, d := range dialects {
		for _, which := range []string{"", job.ID} {
			t.Run(dialectNames[d]+"/"+which, func(t *testing.T) {
				is := is.New(t)
				s := newStub(d)
				turn := now.Add(-time.Minute)
				answer := func(client string, ticket driver.Value, charged int64) {
					attempts, lease := int64(4), "mine" // of the row as it is then
					if d == MySQL {
						attempts, lease = 3, "" // as it was before
					}
					row := []driver.Value{
						job.ID, string(job.Kind), string(job.By), job.Identifier, job.AccountID, job.Tenant, ticket, job.Portal,
						job.Locale, client, now.UnixMicro(), turn.UnixMicro(), charged, attempts, lease,
					}
					s.rows[findsDue], s.rows[claims], s.rows[claimsCTE] = row, row, row
				}
				want := job
				want.Turn, want.Attempts, want.LeaseID = turn, 4, "mine"
				claim := recovery.Claim{LeaseID: "mine", Lane: recovery.LaneMail, At: now, Until: now.Add(time.Hour), Max: 4, Again: 1, JobID: which}
				store, _ := s.store(t, nil)

				answer("192.0.2.1", job.Ticket[:], 0)
				claimed, err := store.Claim(t.Context(), claim)
				is.NoErr(err)
				calls := claimOf(d, claim)
				is.Equal(s.calls[len(s.calls)-1-len(calls):len(s.calls)-1], calls) // and then the commit
				rows := 3                                                          // each answer has one
				if which != "" {
					rows = 1
				}
				is.Equal(len(claimed), rows)
				for _, j := range claimed {
					is.Equal(j, want)
				}

				answer("", nil, 1)
				want.Client, want.Ticket, want.Charged = netip.Addr{}, recovery.Digest{}, true
				claimed, err = store.Claim(t.Context(), claim)
				is.NoErr(err)
				is.Equal(claimed[0], want)

				s.rows[findsDue], s.rows[claims], s.rows[claimsCTE] = nil, nil, nil
				s.calls = nil
				claimed, err = store.Claim(t.Context(), claim)
				is.NoErr(err)
				is.Equal(len(claimed), 0)
				is.Equal(s.calls[len(s.calls)-1], "commit")
				is.True(len(s.calls) <= 5) // begin, on SQLite the lock, and at most two looks
			})
		}
	}
}

// claimOf returns what must be sent to claim one job, or up to four when each answer has one.
func claimOf(d Dialect, c recovery.Claim) (calls []string) {
	texts := statementsOf(d)
	until, at, lane := c.Until.UnixMicro(), c.At.UnixMicro(), string(c.Lane)
	send := func(text string, which ...any) {
		lease := []any{c.LeaseID, until}
		if d != MySQL {
			calls = append(calls, sent(text, append(lease, which...)...))
			return
		}
		var ids rows
		ids.add(job.ID)
		calls = append(calls, sent(text, which...), sent(ids.expand(texts.lease), append(lease, job.ID)...))
	}
	if c.JobID != "" {
		send(texts.claimOne, c.JobID, at)
		return calls
	}
	send(texts.claimAgain, lane, at, int64(1)) // a quarter
	send(texts.claimFresh, lane, int64(3))
	send(texts.claimAgain, lane, at, int64(2)) // the first was full
	return calls
}

// Nothing is left to jobs that were claimed before unless the claim says so.
func TestSharesOfAClaim(t *testing.T) {
	for _, c := range []struct{ max, again int }{{1, 0}, {1, 1}, {4, 1}, {32, 8}} {
		is := is.New(t)
		s := newStub(SQLite)
		s.rows[claims] = nil
		store, _ := s.store(t, nil)
		_, err := store.Claim(t.Context(), recovery.Claim{LeaseID: "mine", Lane: recovery.LaneNotice, At: now, Until: now, Max: c.max, Again: c.again})
		is.NoErr(err)
		at := now.UnixMicro()
		again := sent(sqlite.claimAgain, "mine", at, "notice", at, int64(c.again))
		fresh := sent(sqlite.claimFresh, "mine", at, "notice", int64(c.max))
		want := []string{again, fresh}
		if c.again == 0 {
			want = []string{fresh, sent(sqlite.claimAgain, "mine", at, "notice", at, int64(c.max))}
		}
		is.Equal(s.calls[2:len(s.calls)-1], want)
	}
}

// If those that were claimed before take all places, no other is asked for.
func TestClaimThatIsFull(t *testing.T) {
	for _, d := range dialects {
		is := is.New(t)
		s := newStub(d)
		store, _ := s.store(t, nil)
		claimed, err := store.Claim(t.Context(), recovery.Claim{LeaseID: "mine", Lane: recovery.LaneMail, At: now, Until: now, Max: 1})
		is.NoErr(err)
		is.Equal(len(claimed), 1)
	}
}

// sent is what a stub writes down of a statement.
func sent(query string, args ...any) string {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i].Value = a
	}
	return callText(query, named)
}

// Jobs that nobody holds have the lease "", which is none.
func TestNoLeaseHoldsNothing(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			s := newStub(d)
			store, _ := s.store(t, nil)
			is.Equal(store.Finish(t.Context(), recovery.Outcome{JobID: job.ID, At: now}), recovery.ErrLeaseLost)
			none := mint()
			none.LeaseID = ""
			_, err := store.CreateResets(t.Context(), none)
			is.Equal(err, recovery.ErrLeaseLost)
			is.Equal(s.kept, nil)
		})
	}
}
