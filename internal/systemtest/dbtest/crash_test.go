package dbtest

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"example.com/recovery/internal/systemtest/dbtest/databases"
	"github.com/matryer/is"
)

// A process that works on the store is killed again and again: at a named point in two of three
// runs, and at a random instant in the others. The promises hold after each kill.
//
// RECOVERY_CRASHES is how often it is killed per database: 63 if it is not set, three times at each
// point; 900 in the full run and at the most, because every child's clock is a minute later.
func TestAttack_S43_Crash(t *testing.T) {
	crashes := fromEnv(t, "RECOVERY_CRASHES", 63)
	databases.OnEachOnce(t, func(t *testing.T, s databases.Server) {
		is := is.New(t)
		p := s.Place(t)
		db := p.Open(t)
		prepareWork(t, s.Dialect, db)
		dir := t.TempDir()
		o := orders{
			Driver: p.Driver, DSN: p.DSN, Dialect: s.Dialect,
			Ledger: ledger{Mails: filepath.Join(dir, "mails"), Acks: filepath.Join(dir, "acks")},
		}
		promised := &promises{db: db, dialect: s.Dialect, ledger: o.Ledger}
		check := func() sight {
			t.Helper()
			seen := promised.check(t)
			is.True(seen.repeated <= (o.Run+1)*workPlaces) // at most what was being mailed is repeated after a kill
			is.True(seen.left <= (o.Run+1)*workPlaces)     // and at most so many tokens of refused mails are left
			return seen
		}
		named := rand.Perm(len(points))
		for ; o.Run < crashes; o.Run++ {
			o.Point, o.Life = "", 20*time.Millisecond+rand.N(130*time.Millisecond)
			if o.Run%3 != 0 {
				o.Point, o.Pass, o.Life = points[named[o.Run*2/3%len(points)]], 1+rand.IntN(6), 0
			}
			runChild(t, o)
			check()
			if t.Failed() {
				t.Fatalf("after run %d, killed %q", o.Run, o.Point)
			}
		}
		o.Point, o.Life, o.Drain = "", 0, true
		runChild(t, o)
		seen := check()
		is.Equal(seen.waiting, 0) // the queue is empty in the end
		t.Logf("%d kills: %+v", crashes, seen)
		is.True(crashes < 20 || seen.used > 0 && seen.mails > seen.used && seen.refused > 0) // the children got to work
	})
}
