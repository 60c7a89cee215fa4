package catalogue

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"

	"example.com/recovery"
	"example.com/recovery/internal/systemtest/formats"
)

// A vector is a line of testdata; doc.go says what the fields mean.
type vector struct {
	Row, What     string
	Kind, Value   string
	Entry, Call   string
	Types, Header []string
	Body          string
	Hex           bool
	Fill          string
	Repeat        int
	Want          string

	at string // file and line
}

var loaded sync.Map // vectors by the path of their file, and there by row

// load returns the vectors of a file by row.
func load(path string) (map[string][]vector, error) {
	if rows, ok := loaded.Load(path); ok {
		return rows.(map[string][]vector), nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rows, n := map[string][]vector{}, 0
	for line := range strings.Lines(string(text)) {
		n++
		v := vector{at: fmt.Sprintf("%s:%d", path, n)}
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		err := d.Decode(&v)
		if v.Hex {
			for _, s := range []*string{&v.Value, &v.Body} {
				b, wrong := hex.DecodeString(strings.ReplaceAll(*s, " ", ""))
				err, *s = errors.Join(err, wrong), string(b)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.at, err)
		}
		if v.Repeat > 0 && v.Fill == "" {
			v.Value = strings.Repeat(v.Value, v.Repeat)
		} else if v.Repeat > 0 {
			v.Body = strings.Replace(v.Body, v.Fill, strings.Repeat(v.Fill, v.Repeat), 1)
		}
		v.Header = slices.Clip(v.Header)
		rows[v.Row] = append(rows[v.Row], v)
		if own, ok := v.own(); ok {
			rows[v.Row] = append(rows[v.Row], own)
		}
	}
	loaded.Store(path, rows)
	return rows, nil
}

// own returns the vector for JSON that is made of one for Xandr, by taking its root away.
func (v vector) own() (vector, bool) {
	body, ok := strings.CutPrefix(v.Body, `{"account-recovery":`)
	if v.Entry != formats.Xandr || !ok || !strings.HasSuffix(body, "}") || v.Row == "S74" { // Xandr reads every type
		return vector{}, false
	}
	v.Entry, v.Body, v.at = formats.Own, strings.TrimSuffix(body, "}"), v.at+", for JSON"
	return v, true
}

// vectors returns the vectors of a row, from the file of its class.
func vectors(t *testing.T, file, row string) []vector {
	t.Helper()
	is := is.New(t)
	rows, err := load("testdata/" + file + ".jsonl")
	is.NoErr(err)
	is.True(len(rows[row]) > 0) // the row must have vectors
	return rows[row]
}

// vectors ranges over the vectors of a row, and notes as tried those that the loop's body attacks
// with.
func (s *site) vectors(file, row string) iter.Seq2[int, vector] {
	return func(yield func(int, vector) bool) {
		for i, v := range vectors(s.t, file, row) {
			before := s.attacks.Load()
			if !yield(i, v) {
				return
			}
			if s.attacks.Load() > before {
				v.tried()
			}
		}
	}
}

// unknown returns a random identifier of the kind, as long as like where that is possible.
func unknown(kind, like string) string {
	suffix := ""
	if kind == "email" {
		suffix = "@example.org"
	}
	name := make([]byte, min(max(len(like)-len(suffix), 8), 60))
	for i := range name {
		name[i] = 'a' + byte(rand.IntN(26))
	}
	return string(name) + suffix
}

// wants of vectors, beside the outcomes.
const (
	same    = "same"
	meant   = "meant"
	either  = "either"
	tooLong = "too long"
)

// tryAll tries the vectors of a row that concern the entry.
func (s *site) tryAll(e *entry, file, row string) {
	s.is.Helper()
	t := &trial{site: s, entry: e, unknowns: map[string]answer{}, silent: map[string]string{}}
	for _, v := range s.vectors(file, row) {
		if v.Kind == "" && v.Entry == e.name {
			t.check(v, ask{name: v.Call}, e.send(v.Call, v.Body, v.lines()...))
		}
		for _, a := range e.asks() {
			if a.kind == v.Kind {
				t.check(v, a, a.ask(v.Value))
			}
		}
	}
	t.settle()
}

// takes reports whether the entry has a way for the vector: its own body, or an identifier of such
// a kind.
func (e *entry) takes(v vector) bool {
	if v.Kind == "" {
		return v.Entry == e.name
	}
	return slices.ContainsFunc(e.asks(), func(a ask) bool { return a.kind == v.Kind })
}

// A trial takes the vectors of one row through one entry. Its end empties the queue.
type trial struct {
	*site
	entry    *entry
	unknowns map[string]answer // to unknown names, by the way of asking and their length
	silent   map[string]string // requests that must not be mailed, by their ID
}

// settle empties the queue and returns the allowed mails.
func (t *trial) settle() (mails []recovery.Message) {
	t.is.Helper()
	for _, m := range t.deliver() {
		if what, ok := t.silent[m.ID]; ok {
			t.t.Errorf("%s: mail went to %s", what, m.To)
		} else {
			mails = append(mails, m)
		}
	}
	t.trace.calls()
	return mails
}

// lines are the header lines of a vector.
func (v *vector) lines() []string {
	lines := v.Header
	for _, media := range v.Types {
		lines = append(lines, "Content-Type: "+media)
	}
	if v.Types != nil && len(v.Types) == 0 {
		lines = append(lines, "Content-Type")
	}
	return lines
}

// check compares the result of a vector with what it wants.
func (t *trial) check(v vector, a ask, got answer) {
	t.is.Helper()
	what := fmt.Sprintf("%s %s, %s, %q", v.Row, v.What, a.name, clip(v.Value+v.Body))
	calls := t.trace.calls()
	ok := got.outcome == v.Want
	switch v.Want {
	case same, meant:
		ok = got.outcome == accepted
	case either:
		ok = got.outcome == accepted || got.outcome == malformed
	case tooLong:
		ok = got.outcome == malformed || got.outcome == tooLarge
	}
	if !ok {
		t.t.Errorf("%s: %s, not %s", what, got.outcome, v.Want)
	}
	if got.outcome != accepted {
		if len(calls) > 0 {
			t.t.Errorf("%s: refused after %q", what, calls)
		}
		return
	}
	if v.Want != meant {
		t.silent[t.trace.added()] = what
	} else if mails := t.settle(); len(mails) != 1 || mails[0].To != "victim@example.com" {
		t.t.Errorf("%s: there were %d mails", what, len(mails))
	}
	if a.ask == nil {
		return
	}
	if want := t.unknown(a, v.Value); got != want {
		t.t.Errorf("%s: answered\n%s\nand for an unknown name\n%s", what, got.text, want.text)
	}
}

// unknown returns the answer for a random unknown identifier about as long as like.
func (t *trial) unknown(a ask, like string) answer {
	t.is.Helper()
	key := fmt.Sprint(a.name, len(like)/16)
	known, ok := t.unknowns[key]
	if !ok {
		known = a.ask(unknown(a.kind, like))
		t.is.Equal(known.outcome, accepted)
		t.silent[t.trace.added()] = "an unknown name"
		t.trace.calls()
		t.unknowns[key] = known
	}
	return known
}

// works ends a row: an honest request through the entry still gets its one mail, so the refusals
// before were not because nothing works.
func (s *site) works(e *entry) {
	s.is.Helper()
	defer s.attacks.Store(s.attacks.Load()) // these are no attacks
	for _, a := range e.asks() {
		name := "billybob"
		if a.kind == "email" {
			name = "billybob@example.com"
		}
		s.is.Equal(a.ask(name).outcome, accepted)
		mails := s.deliver()
		s.is.Equal(len(mails), 1) // the mail that was asked for
		s.is.Equal(mails[0].To, "billybob@example.com")
	}
	s.trace.calls()
}

// clip shortens a value for a message.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
