package portal

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"example.com/recovery/internal/templatefiles"
)

// readFiles returns all versions of every template and locale by its path, the built-in one first.
// Of a template the last version counts; those of a locale are merged when they are compiled.
func readFiles(override fs.FS) (files map[string][]string, faults []error) {
	files = map[string][]string{}
	add := func(name, text string) {
		if name != stylesheetName && name != scriptName {
			files[name] = append(files[name], text)
		}
	}
	builtIn, _ := fs.Sub(embedded, "assets") // fails for malformed paths only
	faults = templatefiles.Read("portal", builtIn, func(string, bool) error { return nil }, add)
	if override != nil {
		faults = append(faults, templatefiles.Read("portal", override, checkFile, add)...)
	}
	return files, faults
}

// checkFile refuses what is no template or locale.
func checkFile(name string, isDir bool) error {
	allowed := strings.Join(templateFiles, ", ")
	switch dir := path.Dir(name); {
	case isDir && name != localesDir:
		return fmt.Errorf("unknown directory; allowed is %s", localesDir)
	case isDir, dir == localesDir && path.Ext(name) == ".json", slices.Contains(templateFiles, name):
		return nil
	case dir == localesDir:
		allowed = "files such as ja.json"
	}
	return fmt.Errorf("unknown file; allowed here are %s", allowed)
}
