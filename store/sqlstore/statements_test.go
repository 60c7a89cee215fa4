package sqlstore

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
)

// fields returns the statements of a dialect by name.
func fields(s statements) map[string]string {
	fields := map[string]string{}
	for i, v := 0, reflect.ValueOf(s); i < v.NumField(); i++ {
		fields[v.Type().Field(i).Name] = v.Field(i).String()
	}
	return fields
}

func TestAnotherPrefixReplacesEveryName(t *testing.T) {
	for _, d := range dialects {
		for _, prefix := range []string{"a", "app_", "x_recovery_"} {
			t.Run(d.String()+"/"+prefix, func(t *testing.T) {
				is := is.New(t)
				plain := fields(statementsOf(d))
				for name, text := range fields(statementsOf(d).named(names{SQLite, "", prefix})) {
					is.Equal(text, strings.ReplaceAll(plain[name], "recovery_", prefix)) // every statement
					if !strings.Contains(prefix, "recovery_") {
						is.True(!strings.Contains(text, "recovery")) // a name with the default prefix
					}
				}
				is.Equal(fields(statementsOf(d)), plain) // the dialect's own are as they were
			})
		}
	}
}

// An ended reset keeps its reason, and the statement that redeems a token checks the token itself,
// whatever was read or locked before.
func TestStatementsEndOnlyLiveResets(t *testing.T) {
	onEach(t, func(t *testing.T, d Dialect) {
		is := is.New(t)
		texts := fields(statementsOf(d))
		for _, name := range []string{"redeem", "voidOthers", "supersede"} {
			_, where, _ := strings.Cut(texts[name], " WHERE ")
			is.True(strings.Contains(where, " AND ended = ''")) // resets that live
		}
		is.True(strings.Contains(texts["redeem"], " AND ended = '' AND expires_at > ")) // and are not over
	})
}

// Many rows are locked in one order, or two transactions could deadlock. Where any rows will do, a
// statement skips locked ones.
func TestStatementsLockInOrder(t *testing.T) {
	is := is.New(t)
	locks := func(d Dialect, name, how string) {
		t.Helper()
		t.Log(d, name)
		is.True(strings.Contains(strings.Join(strings.Fields(fields(statementsOf(d))[name]), " "), how))
	}
	for _, name := range []string{"claimAgain", "claimFresh", "purgeJobs", "purgeLimits", "purgeResets", "purgeAhead"} {
		locks(PostgreSQL, name, " FOR UPDATE SKIP LOCKED)")
	}
	for _, name := range []string{"claimAgain", "claimFresh", "claimOne"} {
		locks(MySQL, name, " FOR UPDATE SKIP LOCKED")
	}
}

// Every method that locks an account does so before it locks or writes anything else: two that lock
// in different orders deadlock.
func TestAccountsAreLockedFirst(t *testing.T) {
	for _, d := range dialects {
		for _, name := range []string{"CreateResets", "Redeem", "Finish for good"} {
			is := is.New(t)
			s := newStub(d)
			store, _ := s.store(t, nil)
			_, err := methodNamed(name).call(t.Context(), store)
			is.NoErr(err)
			isAccount := func(call string) bool { return strings.HasPrefix(call, findsAccount) }
			isOther := func(call string) bool {
				return !strings.HasPrefix(call, findsReset) && call != sqlite.lockDatabase && regexp.MustCompile(`recovery_(jobs|limits|resets) `).MatchString(call)
			}
			is.True(slices.IndexFunc(s.calls, isAccount) < slices.IndexFunc(s.calls, isOther))
		}
	}
}

// Purge names every lane, so that the index is used.
func TestPurgeKnowsTheLanes(t *testing.T) {
	is := is.New(t)
	var lanes []string // the constants of type Lane, so that a new one is not forgotten
	files, err := filepath.Glob("../../*.go")
	is.NoErr(err)
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		is.NoErr(err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Lane" {
				for _, value := range spec.Values {
					lanes = append(lanes, strings.Trim(value.(*ast.BasicLit).Value, `"`))
				}
			}
			return false
		})
	}
	slices.Sort(lanes)
	is.True(slices.Contains(lanes, string(recovery.LaneNotice))) // they were found
	inSQL := regexp.MustCompile(`lane IN \('(.*?)'\)`)
	for _, d := range dialects {
		found := inSQL.FindStringSubmatch(statementsOf(d).purgeJobs)
		is.Equal(len(found), 2)
		is.Equal(slices.Sorted(slices.Values(strings.Split(found[1], "', '"))), lanes)
	}
}

// Time comes with the call, except in Now.
func TestStatementsHaveNoClock(t *testing.T) {
	is := is.New(t)
	for _, d := range dialects {
		for name, text := range fields(statementsOf(d)) {
			clocks := []string{"now()", "timestamp", "unixepoch", "datetime", "random", "sysdate"}
			asks := slices.ContainsFunc(clocks, func(clock string) bool { return strings.Contains(strings.ToLower(text), clock) })
			is.Equal(asks, name == "now" && d != SQLite)
		}
	}
}
