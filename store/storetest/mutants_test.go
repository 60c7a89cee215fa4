package storetest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"
)

// Each mutant is memstore with one bug, built from its source at test time. The case that is meant
// for the bug must fail, and only mutants make it fail.
var mutants = []struct {
	name     string
	old, new string // old occurs once in memstore.go
	caughtBy string // group/case
}{
	{
		"redeem is not atomic",
		"\ta.hash = c.PasswordHash\n",
		"\ts.mu.Unlock()\n\ttime.Sleep(time.Millisecond)\n\ts.mu.Lock()\n\ta.hash = c.PasswordHash\n",
		"Redeem/RaceOneToken",
	},
	{
		"the verdict is not asked for",
		"\tif !known {\n\t\terr = errUnknown",
		"\tif err = nil; !known {\n\t\terr = errUnknown",
		"Resets/Expiry",
	},
	{
		"the account's status is not looked at",
		"r.Judge(at, a.current())",
		"r.Judge(at, func() recovery.Account { c := a.current(); c.Active, c.HasPassword, c.EmailVerified = exists, exists, exists; return c }())",
		"Resets/AccountGone",
	},
	{
		"the version is not looked at",
		"r.Judge(at, a.current())",
		"r.Judge(at, func() recovery.Account { c := a.current(); c.Version = r.Version; return c }())",
		"Resets/Stale",
	},
	{
		"a token is judged by its own time",
		"r.Judge(at, a.current())",
		"r.Judge(r.RequestedAt, a.current())",
		"Resets/Expiry",
	},
	{
		"an expiry far ahead counts",
		"r.Judge(at, a.current())",
		"r.Judge(at.Add(max(0, r.RequestedAt.Sub(at))), a.current())",
		"Resets/FarAhead",
	},
	{
		"limits are counted outside the lock",
		"\tfor key, tat := range s.states {\n",
		"\tstates := maps.Clone(s.states)\n\ts.mu.Unlock()\n\ttime.Sleep(time.Millisecond)\n\ts.mu.Lock()\n\tfor key, tat := range states {\n",
		"Limits/RaceTake",
	},
	{
		"a refused call counts",
		"\tif err := charges.Take(at, s.states); err != nil {\n",
		"\tif err := charges.Take(at, s.states); err != nil && len(charges) < 2 {\n",
		"Limits/AllOrNone",
	},
	{
		"the mail is counted outside of its transaction",
		"\t\tj.Charged = true\n",
		"\t\tj.Charged = true\n\t\tif err := ctx.Err(); err == nil && len(m.Charges) > 0 {\n\t\t\tfor _, c := range m.Charges {\n\t\t\t\ts.limits[c.Key] = limit{}\n\t\t\t}\n\t\t}\n",
		"CreateResets/RaceLimit",
	},
	{
		"a mail over its limit counts elsewhere",
		"\t\tif err := s.take(m.At, m.Charges); err != nil {\n",
		"\t\tif err := s.take(m.At, m.Charges); err != nil {\n\t\t\t_ = s.take(m.At, m.Charges[:1])\n",
		"CreateResets/Limited",
	},
	{
		"a mail over its limit is stored",
		"\t\t\treturn nil, err\n\t\t}\n\t\tj.Charged = true\n",
		"\t\t\tdefer func() { superseded, err = nil, err }()\n\t\t}\n\t\tj.Charged = true\n",
		"CreateResets/Limited",
	},
	{
		"a retry is charged again",
		"\tif !j.Charged {\n",
		"\tif true {\n",
		"CreateResets/ChargedOnce",
	},
	{
		"a mail without tokens is not charged",
		"\tif !j.Charged {\n",
		"\tif !j.Charged && len(kept) > 0 {\n",
		"CreateResets/NoResets",
	},
	{
		"a superseded mail is charged",
		"\t\treturn superseded, nil\n\t}\n\tif !j.Charged",
		"\t\treturn superseded, s.take(m.At, m.Charges)\n\t}\n\tif !j.Charged",
		"CreateResets/Superseded",
	},
	{
		"a mail supersedes across networks",
		"case r.Ended == \"\" && r.Requester == by.Requester && older(r.Reset, by):",
		"case r.Ended == \"\" && older(r.Reset, by):",
		"Finish/Supersedes",
	},
	{
		"a late mail is superseded across networks",
		"other.Requester == r.Requester && ",
		"",
		"CreateResets/Superseded",
	},
	{
		"a request far ahead supersedes",
		"\t\t\t!other.RequestedAt.After(at.Add(recovery.MaxClockSkew))\n",
		"\t\t\ttrue\n",
		"CreateResets/NotSupersededFromFarAhead",
	},
	{
		"one superseded account stops the mail",
		"\tif len(m.Resets) > 0 && len(kept) == 0 {\n",
		"\tif len(superseded) > 0 {\n",
		"CreateResets/PartlySuperseded",
	},
	{
		"the lease is ignored by CreateResets",
		"\tj, err := s.leased(m.JobID, m.LeaseID)\n\tif err != nil {\n\t\treturn nil, err\n\t}\n",
		"\tj, ok := s.jobs[m.JobID]\n\tif !ok {\n\t\treturn nil, recovery.ErrLeaseLost\n\t}\n",
		"Finish/LeaseLost",
	},
	{
		"other tokens are not voided",
		"\t\t\tother.Ended = recovery.TokenVoided\n",
		"\t\t\t_ = other\n",
		"Redeem/VoidsTheRest",
	},
	{
		"tries are not bounded",
		"\tcase by > 0 && r.Tries >= recovery.MaxTries:\n",
		"\tcase false:\n",
		"CountTry/Counts",
	},
	{
		"tries are bounded one too late",
		"r.Tries >= recovery.MaxTries",
		"r.Tries > recovery.MaxTries",
		"CountTry/Counts",
	},
	{
		"a try is never given back",
		"\tr.Tries = max(0, r.Tries+by)\n",
		"\tr.Tries = max(0, r.Tries+max(by, 0))\n",
		"CountTry/Counts",
	},
	{
		"tries are counted outside the lock",
		"\tr.Tries = max(0, r.Tries+by)\n",
		"\ttries := r.Tries\n\ts.mu.Unlock()\n\ttime.Sleep(time.Millisecond)\n\ts.mu.Lock()\n\tr.Tries = max(0, tries+by)\n",
		"CountTry/Race",
	},
	{
		"the lease is ignored by other claims",
		"\t\ts.queue.add(j, c.Until)\n",
		"\t\ts.queue.add(j, c.At)\n",
		"Queue/Leased",
	},
	{
		"the lease is ignored by a claim of one job",
		"ok && (j.LeaseID == \"\" || !j.at.After(c.At))",
		"ok",
		"Queue/OneJob",
	},
	{
		"one job is claimed only when it is due",
		"ok && (j.LeaseID == \"\" || !j.at.After(c.At))",
		"ok && !j.at.After(c.At)",
		"Queue/OneJob",
	},
	{
		"the lane is ignored",
		"s.queue.take(c.Lane, c.At, c.Max, c.Again)",
		"s.queue.take(recovery.LaneMail, c.At, c.Max, c.Again)",
		"Queue/LanesAreApart",
	},
	{
		"nothing is left to those that were claimed before",
		"s.queue.take(c.Lane, c.At, c.Max, c.Again)",
		"s.queue.take(c.Lane, c.At, c.Max, 0)",
		"Queue/LeavesSomeAgain",
	},
	{
		"what was claimed before is fresh",
		"\t\tj.fresh = false\n",
		"",
		"Queue/Leased",
	},
	{
		"the Turn is the time of the request",
		"\tj.Turn = charges.Turn(j.RequestedAt, s.states)\n",
		"",
		"Queue/LatestTurnFirst",
	},
	{
		"the lease is ignored by Finish",
		"\tj, err := s.leased(o.JobID, o.LeaseID)\n\tif err != nil {\n\t\treturn err\n\t}\n",
		"\tj, ok := s.jobs[o.JobID]\n\tif !ok {\n\t\treturn recovery.ErrLeaseLost\n\t}\n",
		"Finish/LeaseLost",
	},
	{
		"the identifier is kept after Finish",
		"\t\tdelete(s.jobs, j.ID)\n",
		"",
		"Finish/KeepsNoIdentifier",
	},
	{
		"a used token works again",
		"\tr.Ended = recovery.TokenUsed\n",
		"\tr.Ended = \"\"\n",
		"Redeem/Redeems",
	},
	{
		"what certainly was not mailed is kept",
		"\tfor _, digest := range o.Discard {\n",
		"\tfor _, digest := range o.Discard[:0] {\n",
		"Finish/Discards",
	},
	{
		"nothing is given back",
		"	if j.Charged && len(o.Refund) > 0 {\n",
		"	if false {\n",
		"Finish/Refunds",
	},
	{
		"what was not taken is given back",
		"	if j.Charged && len(o.Refund) > 0 {\n",
		"	if len(o.Refund) > 0 {\n",
		"Finish/Refunds",
	},
	{
		"a newer mail does not supersede",
		"\t\t\tr.Ended = recovery.TokenSuperseded\n",
		"\t\t\t_ = by\n",
		"Finish/Supersedes",
	},
	{
		"only the first account's older mails are superseded",
		"range o.MailedAccountIDs {",
		"range o.MailedAccountIDs[:min(1, len(o.MailedAccountIDs))] {",
		"Finish/EachAccount",
	},
	{
		"a mail supersedes the tokens of its own retries",
		"\t\t\tr.mailed = true\n",
		"\t\t\tr.mailed, r.Ended = true, recovery.TokenSuperseded\n",
		"Finish/Supersedes",
	},
	{
		"that a mail was sent is forgotten",
		"\t\t\tr.mailed = true\n",
		"\t\t\t_ = by\n",
		"CreateResets/Superseded",
	},
	{
		"an older request may follow a newer one's mail",
		"\t\t\tsuperseded = append(superseded, r.AccountID)\n",
		"\t\t\tkept = append(kept, r)\n",
		"CreateResets/Superseded",
	},
	{
		"a mail supersedes tokens that have ended",
		"case r.Ended == \"\" && r.Requester",
		"case r.Requester",
		"Finish/SupersedesTheLive",
	},
	{
		"a mail marks newer requests as mailed",
		"\t\tcase r.JobID == by.JobID:\n",
		"\t\tcase !older(r.Reset, by):\n",
		"Finish/RemembersItsOwn",
	},
	{
		"a mail leaves an older request of the same instant",
		"by.Requester && older(r.Reset, by):",
		"by.Requester && r.RequestedAt.Before(by.RequestedAt):",
		"Finish/Order",
	},
	{
		"a mail supersedes a newer request of the same instant",
		"by.Requester && older(r.Reset, by):",
		"by.Requester && !r.RequestedAt.After(by.RequestedAt):",
		"Finish/Order",
	},
	{
		"an older request of the same instant may follow a mail",
		"&& older(r, other.Reset) &&",
		"&& r.RequestedAt.Before(other.RequestedAt) &&",
		"CreateResets/Order",
	},
	{
		"a newer request of the same instant may not follow a mail",
		"&& older(r, other.Reset) &&",
		"&& r.JobID != other.JobID && !r.RequestedAt.After(other.RequestedAt) &&",
		"CreateResets/Order",
	},
	{
		"what was never claimed is finished without a lease",
		"if !ok || j.LeaseID == \"\" || j.LeaseID != leaseID {",
		"if !ok || j.LeaseID != leaseID {",
		"Finish/NeverClaimed",
	},
	{
		"what was never claimed is finished with any lease",
		"if !ok || j.LeaseID == \"\" || j.LeaseID != leaseID {",
		"if !ok || j.LeaseID != \"\" && j.LeaseID != leaseID {",
		"Finish/NeverClaimed",
	},
	{
		"no lease is as good as the right one",
		"if !ok || j.LeaseID == \"\" || j.LeaseID != leaseID {",
		"if !ok || j.LeaseID == \"\" || leaseID != \"\" && j.LeaseID != leaseID {",
		"Finish/LeaseLost",
	},
	{
		"the notice is forgotten",
		"\tfor _, j := range c.Add {\n",
		"\tfor _, j := range c.Add[:0] {\n",
		"Redeem/AddsToTheQueue",
	},
	{
		"Purge takes live resets",
		"s.expiry.next(before)",
		"s.expiry.next(before.Add(time.Second))",
		"Purge/Resets",
	},
	{
		"Purge forgets limits when the clock went back",
		"if !known || tat.Before(state.look) {",
		"if !known {",
		"Purge/ClockWentBack",
	},
	{
		"Purge leaves what a wrong clock made",
		"\tif n < max {\n\t\tn += s.mend",
		"\tif n < 0 {\n\t\tn += s.mend",
		"Purge/FarAhead",
	},
	{
		"Purge takes what may be",
		"r.ExpiresAt.After(ahead)",
		"!r.ExpiresAt.Before(ahead)",
		"Purge/FarAhead",
	},
	{
		"Stats leave out what is leased",
		"[]jobHeap{s.queue.lanes[name].fresh, s.queue.lanes[name].again}",
		"[]jobHeap{s.queue.lanes[name].fresh}",
		"Queue/Stats",
	},
	{
		"an ended context is ignored",
		"\tif err := ctx.Err(); err != nil {\n\t\treturn err\n\t}\n",
		"",
		"Context/Ended",
	},
}

func TestMutants(t *testing.T) {
	is := is.New(t)
	goTool, err := exec.LookPath("go")
	is.NoErr(err) // the go command builds the mutants
	path, err := filepath.Abs("../memstore/memstore.go")
	is.NoErr(err)
	source, err := os.ReadFile(path)
	is.NoErr(err)

	test := func(t *testing.T, source, name string) (string, error) {
		is := is.New(t)
		is.Helper()
		dir := t.TempDir()
		mutant := filepath.Join(dir, "memstore.go")
		is.NoErr(os.WriteFile(mutant, []byte(source), 0o600))
		overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutant}})
		is.NoErr(err)
		file := filepath.Join(dir, "overlay.json")
		is.NoErr(os.WriteFile(file, overlay, 0o600))
		pattern := "^TestStore$"
		for _, part := range strings.Split(name, "/") {
			pattern += "/^" + part + "$"
		}
		cmd := exec.CommandContext(t.Context(), goTool, "test", "-vet=off", "-count=1", "-v", "-overlay", file, "-run", pattern, ".")
		cmd.Dir = filepath.Dir(path)
		out, err := cmd.CombinedOutput()
		is.True(strings.Contains(string(out), "=== RUN   TestStore/"+name)) // the case must exist and the mutant compile
		return string(out), err
	}

	out, err := test(t, string(source), mutants[0].caughtBy)
	is.NoErr(err) // without a bug the suite must pass
	is.True(strings.Contains(out, "--- PASS: TestStore"))

	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			is.Equal(strings.Count(string(source), m.old), 1) // the text to replace must occur once
			out, err := test(t, strings.Replace(string(source), m.old, m.new, 1), m.caughtBy)
			is.True(err != nil)                                                   // the case must fail
			is.True(strings.Contains(out, "--- FAIL: TestStore/"+m.caughtBy+" ")) // and tell so
			is.True(strings.Contains(out, "the interface says: "))                // with the sentence of the interface
		})
	}
}
