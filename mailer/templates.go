package mailer

import (
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"path"
	"slices"
	"strings"
	texttemplate "text/template"

	"golang.org/x/text/language"

	"example.com/recovery"
	"example.com/recovery/internal/templatefiles"
)

//go:embed templates
var embedded embed.FS

const (
	layoutFile = "layout.html"
	piecesFile = "pieces.html"
	wordsFile  = "words.txt"
	english    = "en"
)

// A part is one of the three templates of a message; its value is the end of the file's name.
type part string

const (
	subjectPart part = ".subject.txt"
	textPart    part = ".txt"
	htmlPart    part = ".html"
)

var kinds = []recovery.MessageKind{
	recovery.MessageResetToken, recovery.MessageResetLink,
	recovery.MessagePasswordChanged, recovery.MessageUsernames, recovery.MessageSignIn,
}

// localeFiles are the files of a locale's directory: all of them are required, others are refused.
var localeFiles = func() []string {
	names := []string{wordsFile}
	for _, k := range kinds {
		for _, p := range []part{subjectPart, textPart, htmlPart} {
			names = append(names, string(k)+string(p))
		}
	}
	return names
}()

// A templateError says which file is at fault.
type templateError struct {
	file string
	err  error
}

func (e *templateError) Error() string { return "mailer: " + e.file + ": " + e.err.Error() }
func (e *templateError) Unwrap() error { return e.err }

// A locale is the compiled templates of one language.
type locale struct {
	name  string
	tag   language.Tag
	parts map[recovery.MessageKind]parts
}

type parts struct {
	subject, text *texttemplate.Template
	html          *htmltemplate.Template
}

func (l locale) file(k recovery.MessageKind, p part) string {
	return path.Join(l.name, string(k)+string(p))
}

// readFiles returns the text of every template by its path. A file of override replaces the
// built-in one. Beside an error it returns what is usable.
func readFiles(override fs.FS) (map[string]string, error) {
	files := map[string]string{}
	builtIn, _ := fs.Sub(embedded, "templates") // fails for malformed paths only
	faults := readInto(files, builtIn)
	if override != nil {
		faults = append(faults, readInto(files, override)...)
	}
	return files, errors.Join(faults...)
}

func readInto(files map[string]string, templates fs.FS) []error {
	return templatefiles.Read("mailer", templates, func(name string, isDir bool) error {
		dir, base := path.Split(name)
		switch {
		case isDir && dir == "":
			if tag, err := language.Parse(name); err != nil {
				return fmt.Errorf("a directory must be named by a BCP 47 tag, such as %q or %q", "ja", "pt-BR")
			} else if tag.String() != name {
				return fmt.Errorf("the directory must be named %q", tag)
			}
			files[name] = "" // so that an empty directory is seen as a locale
		case isDir:
			return fmt.Errorf("unknown directory; allowed here are the files %s", strings.Join(localeFiles, ", "))
		case dir == "" && base != layoutFile && base != piecesFile:
			return fmt.Errorf("unknown file; allowed here are %s, %s and a directory for each locale", layoutFile, piecesFile)
		case dir != "" && !slices.Contains(localeFiles, base):
			return fmt.Errorf("unknown file; allowed here are %s", strings.Join(localeFiles, ", "))
		}
		return nil
	}, func(name, text string) { files[name] = text })
}

// compile returns the locales of files, English first. A locale with a fault is left out, and the
// fault is in the error.
func compile(files map[string]string) ([]locale, error) {
	var faults []error
	broken := map[string]bool{}
	var names []string
	for name, text := range files {
		if path.Ext(name) == "" { // a locale's directory
			names = append(names, name)
			continue
		}
		// A file that does not parse is reported once, however many templates include it.
		var err error
		if strings.HasSuffix(name, ".html") {
			_, err = htmltemplate.New(name).Parse(text)
		} else {
			_, err = texttemplate.New(name).Parse(text)
		}
		if err != nil {
			faults = append(faults, &templateError{name, err})
			broken[path.Dir(name)] = true
		}
	}
	slices.Sort(names)
	if i := slices.Index(names, english); i > 0 { // the matcher falls back to the first one
		names = slices.Insert(slices.Delete(names, i, i+1), 0, english)
	}
	var locales []locale
	for _, name := range names {
		var missing []string
		for _, file := range localeFiles {
			if _, ok := files[path.Join(name, file)]; !ok {
				missing = append(missing, path.Join(name, file))
			}
		}
		switch {
		case len(missing) > 0:
			faults = append(faults, fmt.Errorf("mailer: locale %q has no %s", name, strings.Join(missing, ", ")))
		case !broken[name] && !broken["."]:
			l, err := compileLocale(name, files)
			if err != nil {
				faults = append(faults, err)
				continue
			}
			locales = append(locales, l)
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return locales, errors.Join(faults...)
}

func compileLocale(name string, files map[string]string) (locale, error) {
	l := locale{name: name, tag: language.Make(name), parts: map[recovery.MessageKind]parts{}}
	for _, k := range kinds {
		var p parts
		var err error
		if p.subject, err = l.compileText(l.file(k, subjectPart), files); err != nil {
			return locale{}, err
		}
		if p.text, err = l.compileText(l.file(k, textPart), files); err != nil {
			return locale{}, err
		}
		if p.html, err = l.compileHTML(l.file(k, htmlPart), files); err != nil {
			return locale{}, err
		}
		l.parts[k] = p
	}
	return l, nil
}

func (l locale) compileText(file string, files map[string]string) (*texttemplate.Template, error) {
	t, err := texttemplate.New(path.Join(l.name, wordsFile)).Parse(files[path.Join(l.name, wordsFile)])
	if err == nil {
		t, err = t.New(file).Parse(files[file])
	}
	if err != nil {
		return nil, &templateError{file, err}
	}
	return t, nil
}

func (l locale) compileHTML(file string, files map[string]string) (*htmltemplate.Template, error) {
	words := path.Join(l.name, wordsFile)
	t := htmltemplate.New("")
	for _, part := range [][2]string{
		{words, files[words]}, {piecesFile, files[piecesFile]}, {layoutFile, files[layoutFile]},
		// The part keeps a name of its own, so that errors name the file.
		{"content", `{{template "` + file + `" .}}`}, {file, files[file]},
	} {
		if _, err := t.New(part[0]).Parse(part[1]); err != nil {
			return nil, &templateError{file, err}
		}
	}
	return t.Lookup(layoutFile), nil
}
