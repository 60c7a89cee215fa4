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
	builtIn, _ := fs.Sub(embedded, "assets") // fails for malformed paths only
	files = map[string][]string{}
	faults = readInto(files, builtIn)
	delete(files, stylesheetName)
	delete(files, scriptName)
	if override != nil {
		faults = append(faults, readInto(files, override)...)
		for _, name := range []string{stylesheetName, scriptName} {
			if files[name] != nil {
				faults = append(faults, fmt.Errorf("portal: %s: %w", name, unknownFile(strings.Join(templateFiles, ", "))))
			}
		}
	}
	return files, faults
}

func unknownFile(allowed string) error {
	return fmt.Errorf("unknown file; allowed here are %s", allowed)
}

func readInto(files map[string][]string, folder fs.FS) []error {
	return templatefiles.Read("portal", folder, func(name string, isDir bool) error {
		dir, base := path.Split(name)
		switch {
		case isDir && name != localesDir:
			return fmt.Errorf("unknown directory; allowed is %s", localesDir)
		case dir != "" && path.Ext(base) != ".json":
			return unknownFile("files such as ja.json")
		case !isDir && dir == "" && !slices.Contains(templateFiles, base) && base != stylesheetName && base != scriptName:
			return unknownFile(strings.Join(templateFiles, ", "))
		}
		return nil
	}, func(name, text string) { files[name] = append(files[name], text) })
}
