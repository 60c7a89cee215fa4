package sqlstore

import (
	"reflect"
	"strings"
	"testing"

	"github.com/matryer/is"
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
			t.Run(dialectNames[d]+"/"+prefix, func(t *testing.T) {
				is := is.New(t)
				plain := fields(statementsOf(d))
				for name, text := range fields(statementsOf(d).prefixed(prefix)) {
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

func TestDefaultPrefixChangesNothing(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			is.Equal(statementsOf(d).prefixed("recovery_"), statementsOf(d))
		})
	}
}

// What a dialect leaves out, it says in another way.
func TestDialectsAreComplete(t *testing.T) {
	instead := map[string][]string{
		"claim":    {"lockDue", "lease"},
		"claimOne": {"lockOne"},
	}
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			texts := fields(statementsOf(d))
			for one, others := range instead {
				for _, other := range others {
					is.True((texts[one] == "") != (texts[other] == "")) // one way, not both
					delete(texts, other)
				}
				delete(texts, one)
			}
			is.Equal(texts["lockDatabase"] != "", d == SQLite)
			delete(texts, "lockDatabase")
			is.Equal(texts["ensureLimits"] != "", d != SQLite) // nobody else writes
			delete(texts, "ensureLimits")
			is.Equal(texts["addAtOnce"] != "", d == PostgreSQL) // MySQL writes one table in a statement
			delete(texts, "addAtOnce")
			for name, text := range texts {
				t.Log(name)
				is.True(text != "") // the statement
			}
		})
	}
}

// What has ended stays as it ended, and a token is redeemed by a statement that looks for itself:
// whatever was read before, and whoever locked what.
func TestStatementsEndOnlyWhatLives(t *testing.T) {
	for _, d := range dialects {
		t.Run(dialectNames[d], func(t *testing.T) {
			is := is.New(t)
			texts := fields(statementsOf(d))
			for _, name := range []string{"redeem", "voidOthers", "supersede"} {
				_, where, _ := strings.Cut(texts[name], " WHERE ")
				is.True(strings.Contains(where, " AND ended = ''")) // resets that live
			}
			is.True(strings.Contains(texts["redeem"], " AND ended = '' AND expires_at > ")) // and are not over
		})
	}
}

// Time comes with the call.
func TestStatementsHaveNoClock(t *testing.T) {
	is := is.New(t)
	for _, d := range dialects {
		for _, text := range fields(statementsOf(d)) {
			for _, clock := range []string{"now()", "current_timestamp", "unixepoch", "datetime", "random"} {
				is.True(!strings.Contains(strings.ToLower(text), clock)) // a statement that asks the database for the time
			}
		}
	}
}
