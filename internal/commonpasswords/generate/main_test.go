package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"
)

const madeUp = "testdata/package"

func TestListHoldsEveryLongEntryOnceInLowerCaseAndInOrder(t *testing.T) {
	is := is.New(t)
	var want []string
	for _, e := range []string{"made-up-one", "made-up-two", "éééééééé", "exactly8"} {
		sum := sha256.Sum256([]byte(e))
		want = append(want, string(sum[:8]))
	}
	slices.Sort(want)

	out := filepath.Join(t.TempDir(), "list.bin")
	is.NoErr(run(madeUp, out, &bytes.Buffer{}))
	got, err := os.ReadFile(out)
	is.NoErr(err)
	is.Equal(string(got), strings.Join(want, "")) // sorted prefixes, short entries and repeats left out
}

func TestReportCountsEntriesAndNamesTheHash(t *testing.T) {
	is := is.New(t)
	out := filepath.Join(t.TempDir(), "list.bin")
	var report bytes.Buffer
	is.NoErr(run(madeUp, out, &report))
	list, err := os.ReadFile(out)
	is.NoErr(err)
	want := fmt.Sprintf("entries read: 7\nentries kept: 4\nbytes: 32\nSHA-256: %x\n", sha256.Sum256(list))
	is.Equal(report.String(), want) // what the maintainer compares
}

func TestSameInputGivesTheSameBytes(t *testing.T) {
	is := is.New(t)
	var lists [2][]byte
	for i := range lists {
		out := filepath.Join(t.TempDir(), "list.bin")
		is.NoErr(run(madeUp, out, &bytes.Buffer{}))
		var err error
		lists[i], err = os.ReadFile(out)
		is.NoErr(err)
	}
	is.Equal(lists[0], lists[1]) // two runs agree
}

func TestUnexpectedInputIsRefusedAndNothingIsWritten(t *testing.T) {
	is := is.New(t)
	data, err := os.ReadFile(filepath.Join(madeUp, "package.json"))
	is.NoErr(err)
	good := string(data)
	const list = `["made-up-one"]`

	for _, c := range []struct {
		name, manifest, passwords string
		says                      string
	}{
		{"another package", strings.Replace(good, "common", "en", 1), list, "language-en"},
		{"another version", strings.Replace(good, "4.1.3", "4.1.4", 1), list, `"4.1.4"`},
		{"another licence", strings.Replace(good, "MIT", "GPL-3.0", 1), list, `"GPL-3.0"`},
		{"manifest not JSON", "name: x", list, "package.json"},
		{"object", good, `{"made-up-one": 1}`, "cannot unmarshal object"},
		{"number", good, `["made-up-one", 12345678]`, "cannot unmarshal number"},
		{"null entry", good, `["made-up-one", null]`, "entry 1 is empty"},
		{"null", good, `null`, "no entries"},
		{"no entries", good, `[]`, "no entries"},
		{"empty entry", good, `["", "made-up-one"]`, "entry 0 is empty"},
		{"control character", good, `["made-up\n-one"]`, "entry 0"},
		{"lone surrogate", good, `["made-up-\ud800"]`, "entry 0"},
		{"too long", good, `["` + strings.Repeat("x", 65) + `"]`, "entry 0 has 65 bytes"},
		{"not UTF-8", good, "[\"made-up-\xff\"]", "not UTF-8"},
		{"text after the array", good, list + list, "after top-level value"},
		{"cut short", good, `["made-up-one"`, "unexpected end"},
		{"only short entries", good, `["short"]`, "none of the 1 entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := is.New(t)
			in := t.TempDir()
			is.NoErr(os.Mkdir(filepath.Join(in, "src"), 0o755))
			is.NoErr(os.WriteFile(filepath.Join(in, "package.json"), []byte(c.manifest), 0o644))
			is.NoErr(os.WriteFile(filepath.Join(in, "src", "passwords.json"), []byte(c.passwords), 0o644))
			out := filepath.Join(t.TempDir(), "list.bin")

			err := run(in, out, &bytes.Buffer{})
			is.True(err != nil) // refused
			t.Log(err)
			is.True(strings.Contains(err.Error(), c.says)) // says what is wrong
			_, err = os.Stat(out)
			is.True(os.IsNotExist(err)) // the old list is left alone
		})
	}
}

func TestBothFlagsAreNeeded(t *testing.T) {
	is := is.New(t)
	is.True(run("", "list.bin", &bytes.Buffer{}) != nil) // no input
	is.True(run(madeUp, "", &bytes.Buffer{}) != nil)     // no output
}

func TestMissingFilesAreNamed(t *testing.T) {
	is := is.New(t)
	err := run(t.TempDir(), filepath.Join(t.TempDir(), "list.bin"), &bytes.Buffer{})
	is.True(os.IsNotExist(err))                            // no package there
	is.True(strings.Contains(err.Error(), "package.json")) // says which file
}
