package catalogue

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/spy"
)

// An endless password is refused before any call of the Store and before any hashing. Some have too
// many bytes only: the policy allows the greatest number of characters.
func TestAttack_S80_PasswordsWithoutEnd(t *testing.T) {
	lax := func(s *site, o *recovery.Options) {
		generous(s, o)
		o.Policy = &recovery.Policy{MaxLength: 1000, Require: recovery.NoClasses, AllowCommon: true}
	}
	onEveryEntry(t, lax, func(s *site, e *entry) {
		token := s.token("billybob")
		s.trace.calls()
		for i, v := range s.vectors("passwords", "S80") {
			if !s.turn(e, i) {
				continue
			}
			for _, token := range []string{token, noToken} {
				got, v := e.complete(token, v.Value), v
				if v.Want == weak && token == noToken && strings.HasPrefix(e.name, "Rackspace") {
					v.Want = badToken // which comes first there
				}
				s.meets(v, e, got)
				s.is.True(e.name != "direct" || got.outcome == weak)
				s.is.True(len(got.text) < 16<<10) // the answer does not repeat it
			}
			if e.name == "direct" {
				s.is.True(quickest(func() { e.complete(token, v.Value) }) < time.Millisecond)
			}
		}
		s.is.True(!slices.ContainsFunc(s.trace.calls(), func(call string) bool {
			return !strings.HasPrefix(e.name, "Rackspace") || call != "TakeLimits" && call != "FindReset"
		}))
		s.is.Equal(s.hashed.Load(), int32(0))
		s.lives(e, "3", token)
		s.is.Equal(s.hashed.Load(), int32(1))
		s.sound("3")
	})
}

// quickest returns how long f takes when nothing else has the processor.
func quickest(f func()) time.Duration {
	least := time.Hour
	for range 5 {
		start := time.Now()
		f()
		least = min(least, time.Since(start))
	}
	return least
}

func TestAttack_S81_BcryptCutsNothingOff(t *testing.T) {
	for _, v := range vectors(t, "passwords", "S81") {
		err := recovery.VerifyPassword(v.Body, v.Value)
		if want := verdicts[v.Want]; want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, want %s", v.What, err, v.Want)
		}
		attacked(t, 1)
		v.tried()
	}
}

var verdicts = map[string]error{"match": nil, "mismatch": recovery.ErrPasswordMismatch, "unsupported": recovery.ErrUnsupportedHash}

// A stored hash that would exhaust the memory is refused before any of it is allocated.
func TestAttack_S83_HostileStoredHashes(t *testing.T) {
	for _, v := range vectors(t, "passwords", "S83") {
		for _, password := range []string{newPassword, "", strings.Repeat("x", 1024)} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := recovery.VerifyPassword(v.Value, password)
			runtime.ReadMemStats(&after)
			if refused := v.Want == "refused" && errors.Is(err, recovery.ErrPasswordMismatch); !refused && !errors.Is(err, recovery.ErrUnsupportedHash) {
				t.Errorf("%s: %v", v.What, err)
				continue
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > uint64(1<<20+16*len(v.Value)) {
				t.Errorf("%s: %d bytes were allocated", v.What, took)
			}
			if len(v.Value) > 20 && strings.Contains(err.Error(), v.Value[len(v.Value)-10:]) {
				t.Errorf("%s: the error repeats the hash", v.What)
			}
			attacked(t, 1)
		}
		v.tried()
	}
}

// A scribe is a log in both formats of slog, and what it was given.
type scribe struct {
	text, json spy.Log
	given      spy.Log // one record a line: the attributes as a JSON object
}

func (l *scribe) logger() *slog.Logger {
	return slog.New(&tee{l, slog.NewTextHandler(&l.text, nil), slog.NewJSONHandler(&l.json, nil)})
}

type tee struct {
	log        *scribe
	text, json slog.Handler
}

func (h *tee) Enabled(context.Context, slog.Level) bool { return true }
func (h *tee) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *tee) WithGroup(string) slog.Handler            { return h }

func (h *tee) Handle(ctx context.Context, r slog.Record) error {
	given := map[string]string{"msg": r.Message}
	r.Attrs(func(a slog.Attr) bool { given[a.Key] = a.Value.String(); return true })
	line, err := json.Marshal(given)
	_, _ = io.WriteString(&h.log.given, string(line)+"\n")
	return errors.Join(err, h.text.Handle(ctx, r), h.json.Handle(ctx, r))
}

// parsed reads a line of slog's text format.
func parsed(t *testing.T, line string) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for rest := line; rest != ""; {
		key, value, ok := strings.Cut(rest, "=")
		if !ok || strings.ContainsAny(key, " \"") || fields[key] != "" {
			t.Fatalf("no record: %q", clip(line))
		}
		if strings.HasPrefix(value, `"`) {
			quoted, err := strconv.QuotedPrefix(value)
			is.New(t).NoErr(err)
			fields[key], err = strconv.Unquote(quoted)
			is.New(t).NoErr(err)
			rest = strings.TrimPrefix(value[len(quoted):], " ")
		} else {
			fields[key], rest, _ = strings.Cut(value, " ")
		}
	}
	return fields
}

// checkLog checks that a log has as many lines as records, and that the lines read back as written.
func checkLog(t *testing.T, text string) (records []map[string]string) {
	t.Helper()
	for _, r := range strings.ReplaceAll(text, "\n", "") {
		if !unicode.IsPrint(r) {
			t.Fatalf("the log has %q", r)
		}
	}
	for line := range strings.Lines(text) {
		record := parsed(t, strings.TrimSuffix(line, "\n"))
		for _, key := range []string{"time", "level", "msg"} {
			is.New(t).True(record[key] != "")
		}
		records = append(records, record)
	}
	return records
}

// A database's error text gets into the logs of the adapters.
func TestAttack_S84_LogOfTheEntries(t *testing.T) {
	onEntries(t, apart, generous, func(s *site, e *entry) {
		for i, v := range s.vectors("passwords", "S84") {
			if !s.turn(e, i) {
				continue
			}
			for _, method := range []string{"Enqueue", "FindReset"} {
				s.mount() // or only the first fault of a minute has a line
				s.trace.fail(failOn(method, errors.New(v.Value)))
				before := len(s.log.String())
				op := "recovery: add the request: "
				if method == "Enqueue" {
					s.is.Equal(e.byName("billybob").outcome, unavailable)
				} else {
					op = "recovery: find the token: "
					s.is.Equal(e.complete(noToken, newPassword).outcome, unavailable)
				}
				s.trace.fail(nil)
				records := checkLog(s.t, s.log.String()[before:])
				if e.name == "direct" {
					s.is.Equal(len(records), 0) // the caller has the error
					continue
				}
				s.is.Equal(len(records), 1)
				s.is.Equal(len(records[0]), 4) // time, level, msg and error
				s.is.Equal(records[0]["level"], "ERROR")
				s.is.Equal(records[0]["error"], op+v.Value)
			}
		}
		s.sound()
	})
}

// The error texts of mail servers, databases and breach services, and of panics, get into the
// worker's log.
func TestAttack_S84_LogOfTheWorker(t *testing.T) {
	onStores(t, func(t *testing.T, k kind) {
		log, fault := &scribe{}, error(nil)
		var s *site
		var e *entry
		begin := func() { // a service that has logged no fault within the minute
			s = newSite(t, k.empty(t), func(_ *site, o *recovery.Options) {
				o.Logger = log.logger()
				o.Policy = &recovery.Policy{Breached: func(context.Context, string) (bool, error) { return false, fault }}
			})
			e = s.direct()
		}
		begin()
		try := func(what string, v vector, attr string, do func()) {
			s.is.Helper()
			before := [3]int{len(log.text.String()), len(log.json.String()), len(log.given.String())}
			do()
			records := checkLog(s.t, log.text.String()[before[0]:])
			given := strings.Split(strings.TrimSuffix(log.given.String()[before[2]:], "\n"), "\n")
			objects := strings.Split(strings.TrimSuffix(log.json.String()[before[1]:], "\n"), "\n")
			s.is.True(len(records) > 0) // the fault was logged
			if len(records) != len(given) || len(objects) != len(given) {
				s.t.Fatalf("%s, %s: %d records became %d and %d lines", what, v.What, len(given), len(records), len(objects))
			}
			seen := false
			for i, line := range given {
				var want, got map[string]string
				var object map[string]any
				s.is.NoErr(json.Unmarshal([]byte(line), &want))
				s.is.NoErr(json.Unmarshal([]byte(objects[i]), &object))
				got = records[i]
				s.is.Equal(len(got), len(want)+2)    // and the time and the level
				s.is.Equal(len(object), len(want)+2) // nothing was added
				for key, value := range want {
					s.is.Equal(string([]rune(got[key])), value) // which has no bytes that are no UTF-8
					if text, ok := object[key].(string); ok {
						s.is.Equal(text, value)
					}
				}
				for key, text := range got {
					if attr == "" && strings.Contains(text, v.Value) {
						s.t.Errorf("%s, %s: %s has the value", what, v.What, key)
					}
				}
				seen = seen || v.Value != "" && strings.HasSuffix(got[attr], v.Value)
			}
			s.is.Equal(seen, attr != "" && v.Value != "") // the text came through
		}
		for i, v := range s.vectors("passwords", "S84") {
			if s.db != nil && i%5 != 0 {
				continue // the log does not depend on the store
			}
			if i > 0 {
				begin()
			}
			hostile := errors.New(v.Value)
			s.put(billybob)
			s.deliver()
			s.is.Equal(e.byName("billybob").outcome, accepted)
			try("the mail server", v, "error", func() {
				s.mail.Fail(func(recovery.Message) error { return hostile })
				_, _ = s.Deliver(s.ctx)
				s.mail.Fail(nil)
			})
			s.advance(10 * time.Minute)
			try("the look-up", v, "error", func() {
				s.trace.fail(failOn("FindAccounts", hostile))
				_, _ = s.Deliver(s.ctx)
			})
			if v.Value != "" && len(v.Value) > 3 {
				s.advance(10 * time.Minute)
				try("a panic", v, "", func() {
					s.trace.fail(func(m string) error {
						if m == "CreateResets" {
							panic(v.Value)
						}
						return nil
					})
					_, _ = s.Deliver(s.ctx)
				})
			}
			try("the claim", v, "error", func() {
				s.trace.fail(failOn("Claim", hostile))
				_, _ = s.Deliver(s.ctx)
			})
			s.trace.fail(nil)
			s.advance(10 * time.Minute)
			before := len(s.mail.Messages())
			s.deliver()
			mails := s.mail.Messages()[before:]
			s.is.Equal(len(mails), 1) // the mail came in the end
			try("the breach service", v, "error", func() {
				fault = hostile
				s.lives(e, "3", spy.Token(mails[0]))
				fault = nil
			})
			s.sound("3")
		}
	})
}
