package portal

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
)

const (
	localesDir = "locales"
	english    = "en"
)

// A locale is the texts of one language by their keys.
type locale struct {
	tag   language.Tag
	texts map[string]string
}

func (l *locale) name() string { return l.tag.String() }

// text returns the text of key with "{name}" replaced by the value that follows name in pairs.
func (l *locale) text(key string, pairs ...string) (string, error) {
	text, ok := l.texts[key]
	if !ok {
		return "", fmt.Errorf("there is no text %q", key)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		text = strings.ReplaceAll(text, "{"+pairs[i]+"}", pairs[i+1])
	}
	return text, nil
}

// known returns a text that every locale has.
func (l *locale) known(key string) string { return l.texts[key] }

// duration spells d in whole hours, or in minutes if it is less than 2 hours. It rounds up if up is
// set, as for a time to wait, and else down, as for a validity.
func (l *locale) duration(d time.Duration, up bool) string {
	unit, name := time.Minute, "duration.minute"
	if d >= time.Hour && d%time.Hour == 0 || d >= 2*time.Hour {
		unit, name = time.Hour, "duration.hour"
	}
	n := int64(d / unit)
	if up && time.Duration(n)*unit < d {
		n++
	}
	if n > 1 {
		name += "s"
	}
	return strings.ReplaceAll(l.known(name), "{n}", strconv.FormatInt(n, 10))
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// compileLocales returns the locales, English first.
func compileLocales(files map[string][]string) (locales []*locale, faults []error) {
	var wanted map[string]string // English as it is built in
	names := []string{path.Join(localesDir, english+".json")}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Dir(name) == localesDir && name != names[0] {
			names = append(names, name)
		}
	}
	for _, name := range names {
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("portal: %s: "+format, append([]any{name}, args...)...))
		}
		base := strings.TrimSuffix(path.Base(name), ".json")
		tag, err := language.Parse(base)
		if err != nil || tag.String() != base || base == "und" {
			fault("the file must be named by a BCP 47 tag, such as %q or %q", "ja.json", "pt-BR.json")
			continue
		}
		l := &locale{tag: tag, texts: map[string]string{}}
		for _, source := range files[name] {
			texts, err := decodeTexts(source)
			if err != nil {
				fault("must be one JSON object of strings, each name once: %w", err)
				continue
			}
			if wanted == nil {
				wanted = maps.Clone(texts)
			}
			maps.Copy(l.texts, texts)
		}
		for _, key := range slices.Sorted(maps.Keys(l.texts)) {
			if _, known := wanted[key]; !known {
				fault("unknown text %q", key)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(wanted)) {
			text := l.texts[key]
			if strings.TrimSpace(text) == "" {
				fault("the text %q is missing", key)
				continue
			}
			for _, p := range placeholder.FindAllString(text, -1) {
				if !strings.Contains(wanted[key], p) {
					fault("%q must not have %s", key, p)
				}
			}
			for _, p := range placeholder.FindAllString(wanted[key], -1) {
				if !strings.Contains(text, p) {
					fault("%q must have %s", key, p)
				}
			}
		}
		locales = append(locales, l)
	}
	return locales, faults
}

// decodeTexts reads an object of strings. [json.Unmarshal] alone would accept repeated names, and
// null as a string.
func decodeTexts(source string) (map[string]string, error) {
	if err := json.Unmarshal([]byte(source), &map[string]string{}); err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(source))
	if start, _ := d.Token(); start != json.Delim('{') {
		return nil, fmt.Errorf("it is %v", start)
	}
	texts := map[string]string{}
	for d.More() {
		name, _ := d.Token()
		value, _ := d.Token()
		key := fmt.Sprint(name)
		if _, twice := texts[key]; twice {
			return nil, fmt.Errorf("%q is there twice", key)
		}
		text, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("%q is %v", key, value)
		}
		texts[key] = text
	}
	return texts, nil
}
