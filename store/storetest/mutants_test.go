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
		"	a.hash = c.PasswordHash\n",
		"	s.mu.Unlock()\n	time.Sleep(time.Millisecond)\n	s.mu.Lock()\n	a.hash = c.PasswordHash\n",
		"Redeem/RaceOneToken",
	},
	{
		"expiry is off by one",
		"case !at.Before(r.ExpiresAt):",
		"case at.After(r.ExpiresAt):",
		"Resets/Expiry",
	},
	{
		"limits are counted outside the lock",
		storing,
		"	s.mu.Unlock()\n	time.Sleep(time.Millisecond)\n	s.mu.Lock()\n" + storing,
		"Limits/RaceHard",
	},
	{
		"soft limits are counted outside the lock",
		storing,
		"	s.mu.Unlock()\n	time.Sleep(time.Millisecond)\n	s.mu.Lock()\n" + storing,
		"Limits/RaceSoft",
	},
	{
		"other tokens are not voided",
		"			other.ended = recovery.TokenVoided\n",
		"			_ = other\n",
		"Redeem/VoidsTheRest",
	},
	{
		"the lease is ignored by other claims",
		"		s.queue.add(r, l.Until)\n",
		"		s.queue.add(r, l.At)\n",
		"Queue/Leased",
	},
	{
		"the lease is ignored by a claim of one request",
		"ok && (r.LeaseID == \"\" || !r.free.After(l.At))",
		"ok",
		"Queue/OneRequest",
	},
	{
		"one request is claimed only when it is due",
		"ok && (r.LeaseID == \"\" || !r.free.After(l.At))",
		"ok && !r.free.After(l.At)",
		"Queue/OneRequest",
	},
	{
		"the lease is ignored by finish",
		"if !ok || r.LeaseID == \"\" || r.LeaseID != o.LeaseID {",
		"if !ok {",
		"Finish/LeaseLost",
	},
	{
		"the version is not checked",
		"case version != r.Version:",
		"case version != version:",
		"Resets/Stale",
	},
	{
		"the identifier is kept after finish",
		"	delete(s.requests, r.ID)\n",
		"",
		"Finish/KeepsNoIdentifier",
	},
	{
		"a used token works again",
		"	r.ended = recovery.TokenUsed\n",
		"	r.ended = \"\"\n",
		"Redeem/Redeems",
	},
	{
		"the account's status is not checked",
		"case !a.Eligible():",
		"case !exists:",
		"Resets/AccountGone",
	},
	{
		"a throttled request counts",
		"refused == nil {",
		"true {",
		"Limits/SoftThrottles",
	},
	{
		"a newer mail does not supersede",
		"			r.ended = recovery.TokenSuperseded\n",
		"			_ = mine\n",
		"Finish/Supersedes",
	},
	{
		"a mail supersedes the tokens of its own retries",
		"			r.mailed = true\n",
		"			r.mailed, r.ended = true, recovery.TokenSuperseded\n",
		"Finish/Supersedes",
	},
	{
		"that a mail was sent is forgotten",
		"			r.mailed = true\n",
		"			_ = mine\n",
		"Resets/Superseded",
	},
	{
		"an older request may follow a newer one's mail",
		"			return recovery.ErrSuperseded\n",
		"			break\n",
		"Resets/Superseded",
	},
	{
		"a mail supersedes tokens that have ended",
		"		case r.ended == \"\" && older(r.Reset, mine):\n",
		"		case older(r.Reset, mine):\n",
		"Finish/SupersedesTheLive",
	},
	{
		"a mail marks newer requests as mailed",
		"		case r.JobID == by.ID:\n",
		"		case !older(r.Reset, mine):\n",
		"Finish/RemembersItsOwn",
	},
	{
		"a mail leaves an older request of the same instant",
		"		case r.ended == \"\" && older(r.Reset, mine):\n",
		"		case r.ended == \"\" && r.RequestedAt.Before(mine.RequestedAt):\n",
		"Finish/Order",
	},
	{
		"a mail supersedes a newer request of the same instant",
		"		case r.ended == \"\" && older(r.Reset, mine):\n",
		"		case r.ended == \"\" && !r.RequestedAt.After(mine.RequestedAt):\n",
		"Finish/Order",
	},
	{
		"an older request of the same instant may follow a mail",
		"other.mailed && older(r, other.Reset)",
		"other.mailed && r.RequestedAt.Before(other.RequestedAt)",
		"Resets/Order",
	},
	{
		"a newer request of the same instant may not follow a mail",
		"other.mailed && older(r, other.Reset)",
		"other.mailed && r.JobID != other.JobID && !r.RequestedAt.After(other.RequestedAt)",
		"Resets/Order",
	},
	{
		"what was never claimed is finished without a lease",
		"if !ok || r.LeaseID == \"\" || r.LeaseID != o.LeaseID {",
		"if !ok || r.LeaseID != o.LeaseID {",
		"Finish/NeverClaimed",
	},
	{
		"what was never claimed is finished with any lease",
		"if !ok || r.LeaseID == \"\" || r.LeaseID != o.LeaseID {",
		"if !ok || r.LeaseID != \"\" && r.LeaseID != o.LeaseID {",
		"Finish/NeverClaimed",
	},
	{
		"no lease is as good as the right one",
		"if !ok || r.LeaseID == \"\" || r.LeaseID != o.LeaseID {",
		"if !ok || r.LeaseID == \"\" || o.LeaseID != \"\" && r.LeaseID != o.LeaseID {",
		"Finish/LeaseLost",
	},
	{
		"the notice is forgotten",
		"	s.add(c.Add...)\n",
		"",
		"Redeem/AddsToTheQueue",
	},
	{
		"purge takes live resets",
		"s.expiry.next(before)",
		"s.expiry.next(before.Add(time.Second))",
		"Purge/Resets",
	},
	{
		"purge forgets limits when the clock went back",
		"if !known || state.tat.Before(state.look) {",
		"if !known {",
		"Purge/ClockWentBack",
	},
	{
		"an ended context is ignored",
		"	if err := ctx.Err(); err != nil {\n		return err\n	}\n",
		"",
		"Context/Ended",
	},
}

// storing is where limits are stored after they were judged.
const storing = "	for _, c := range charges { // what is refused"

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
