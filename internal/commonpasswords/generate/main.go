// Command generate writes the list of package commonpasswords from the unpacked npm package
// @zxcvbn-ts/language-common. The same package gives the same bytes.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The documentation of package commonpasswords names this release and its licence, so another one
// is an error: to take it, check what it holds and change both.
var source = manifest{Name: "@zxcvbn-ts/language-common", Version: "4.1.3", License: "MIT"}

const (
	minCharacters = 8
	width         = 8  // bytes kept of each hash, as in package commonpasswords
	longest       = 64 // bytes of an entry; package commonpasswords hashes nothing longer
)

type manifest struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	License string `json:"license"`
}

func main() {
	in := flag.String("in", "", "folder of the unpacked npm package")
	out := flag.String("out", "", "file to write")
	flag.Parse()
	if err := run(*in, *out, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(in, out string, report io.Writer) error {
	if in == "" || out == "" {
		return errors.New("-in and -out are both needed")
	}
	if err := checkManifest(filepath.Join(in, "package.json")); err != nil {
		return err
	}
	entries, err := readEntries(filepath.Join(in, "src", "passwords.json"))
	if err != nil {
		return err
	}
	list := encode(entries)
	if len(list) == 0 {
		return fmt.Errorf("none of the %d entries has %d characters", len(entries), minCharacters)
	}
	if err := os.WriteFile(out, list, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(report, "entries read: %d\nentries kept: %d\nbytes: %d\nSHA-256: %x\n",
		len(entries), len(list)/width, len(list), sha256.Sum256(list))
	return err
}

func checkManifest(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var got manifest
	if err := json.Unmarshal(data, &got); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if got != source {
		return fmt.Errorf("%s: this is %q %q under %q, want %q %q under %q", name,
			got.Name, got.Version, got.License, source.Name, source.Version, source.License)
	}
	return nil
}

// readEntries reads one JSON array of strings. It refuses what package json would repair in
// silence, because a repaired password is one that nobody uses: null becomes "", and bytes that
// are not UTF-8 and lone surrogates become U+FFFD.
func readEntries(name string) ([]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s: not UTF-8", name)
	}
	var entries []string
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%s: no entries", name)
	}
	for i, e := range entries {
		if e == "" {
			return nil, fmt.Errorf("%s: entry %d is empty or null", name, i)
		}
		if len(e) > longest {
			return nil, fmt.Errorf("%s: entry %d has %d bytes, more than %d", name, i, len(e), longest)
		}
		if strings.ContainsFunc(e, unfit) {
			return nil, fmt.Errorf("%s: entry %d, %q, has a character that nobody types",
				name, i, e)
		}
	}
	return entries, nil
}

func unfit(r rune) bool { return r == unicode.ReplacementChar || unicode.IsControl(r) }

// encode returns the list: the prefixes of the entries that are long enough, each of them once.
func encode(entries []string) []byte {
	var prefixes [][]byte
	for _, e := range entries {
		if utf8.RuneCountInString(e) < minCharacters {
			continue
		}
		sum := sha256.Sum256([]byte(lowerASCII(e)))
		prefixes = append(prefixes, sum[:width])
	}
	slices.SortFunc(prefixes, bytes.Compare)
	return bytes.Join(slices.CompactFunc(prefixes, bytes.Equal), nil)
}

// lowerASCII leaves every other letter alone: their lower case depends on the language and on the
// version of Unicode, and the list must not.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
