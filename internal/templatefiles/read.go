// Package templatefiles reads folders of templates and texts, built in or of the application.
package templatefiles

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"
)

// Read calls add with the text of every file. It skips what begins with a dot, and what check
// returns an error for. A fault begins with the name of the package and that of the file.
func Read(pkg string, folder fs.FS, check func(name string, isDir bool) error, add func(name, text string)) (faults []error) {
	fault := func(name string, err error) { faults = append(faults, fmt.Errorf("%s: %s: %w", pkg, name, err)) }
	_ = fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		isHidden := name != "." && strings.HasPrefix(path.Base(name), ".")
		if err == nil && name != "." && !isHidden {
			err = check(name, entry.IsDir())
		}
		if err != nil {
			fault(name, err)
		}
		switch isDir := entry != nil && entry.IsDir(); {
		case isDir && (err != nil || isHidden):
			return fs.SkipDir
		case isDir || err != nil || isHidden:
			return nil
		}
		text, err := fs.ReadFile(folder, name)
		switch {
		case err != nil:
			fault(name, err)
		case !utf8.Valid(text):
			fault(name, errors.New("must be UTF-8"))
		default:
			// Editors and Git leave byte order marks and CR LF behind.
			add(name, strings.ReplaceAll(strings.TrimPrefix(string(text), "\ufeff"), "\r\n", "\n"))
		}
		return nil
	})
	return faults
}
